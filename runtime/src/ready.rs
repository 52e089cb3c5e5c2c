//! Waiting for a socket until a deadline, to the millisecond.
//!
//! A socket's own time-outs (`SO_RCVTIMEO`, `SO_SNDTIMEO`) run on the kernel's timer wheel, which rounds a time up by as much
//! as an eighth: at a deadline of 30 s that is seconds. `poll` has a precise timer.

use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Waits until the socket can be read from ([`PollFlags::IN`]) or written to ([`PollFlags::OUT`]), or has failed.
/// Past the deadline, an error of kind `TimedOut`.
pub(crate) fn wait_until_ready(socket: impl AsFd, what: PollFlags, deadline: Instant) -> io::Result<()> {
    let mut sockets = [PollFd::new(&socket, what)];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // A time that the kernel can't count is as good as none.
        match poll(&mut sockets, Timespec::try_from(left).ok().as_ref()) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_socket_is_waited_for_until_the_deadline() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let deadline = || Instant::now() + Duration::from_millis(50);
        assert!(wait_until_ready(&ours, PollFlags::OUT, deadline()).is_ok());
        let started = Instant::now();
        let error = wait_until_ready(&ours, PollFlags::IN, deadline()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() >= Duration::from_millis(50), "{:?}", started.elapsed());
        theirs.write_all(b"x").unwrap();
        assert!(wait_until_ready(&ours, PollFlags::IN, deadline()).is_ok());
        assert!(
            wait_until_ready(&ours, PollFlags::IN, Instant::now()).is_err(),
            "past it, even what is there"
        );
    }
}
