//! What is known of the request that the current thread is about: ureq's parts run inside one another on one thread and
//! pass nothing along, so they note it here.

use std::cell::RefCell;
use std::time::Instant;

use super::error::Phase;

/// One request on one connection.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    /// When everything must be over.
    pub(super) deadline: Instant,
    /// What is being done.
    pub(super) phase: Phase,
    /// Whether a connection was dialled for it, rather than one reused.
    pub(super) dialled: bool,
    /// Whether a byte of it may have left.
    pub(super) has_left: bool,
    /// Whether the peer reset the connection.
    pub(super) was_reset: bool,
    /// How many bytes came back.
    pub(super) n_received: usize,
    /// How many of them belong to the body as it is on the wire.
    pub(super) n_body_bytes: usize,
    /// The status line of the final response: its code and reason phrase. ureq doesn't keep the phrase.
    pub(super) status_line: Option<(u16, String)>,
}

thread_local! {
    static ATTEMPT: RefCell<Attempt> = RefCell::new(Attempt::new(Instant::now()));
}

/// Begins a new attempt on this thread.
pub(super) fn begin(deadline: Instant) {
    ATTEMPT.set(Attempt::new(deadline));
}

/// Begins a second attempt at the same request: what left with the first one has left.
pub(super) fn begin_again(deadline: Instant) {
    let has_left = with(|attempt| attempt.has_left);
    ATTEMPT.set(Attempt { has_left, ..Attempt::new(deadline) });
}

/// Reads or changes this thread's attempt. `act` must not itself come back here.
pub(super) fn with<T>(act: impl FnOnce(&mut Attempt) -> T) -> T {
    ATTEMPT.with_borrow_mut(act)
}

impl Attempt {
    fn new(deadline: Instant) -> Attempt {
        Attempt {
            deadline,
            phase: Phase::Starting,
            dialled: false,
            has_left: false,
            was_reset: false,
            n_received: 0,
            n_body_bytes: 0,
            status_line: None,
        }
    }

    pub(super) fn note_sending(&mut self) {
        self.phase = Phase::Sending;
        self.has_left = true;
    }

    pub(super) fn note_waiting(&mut self) {
        self.phase = if self.status_line.is_some() { Phase::Reading } else { Phase::Waiting };
    }

    /// Notes that `n_bytes` came, after which `input` is what hasn't been parsed yet.
    pub(super) fn note_received(&mut self, input: &[u8], n_bytes: usize) {
        self.n_received += n_bytes;
        if self.status_line.is_some() {
            self.n_body_bytes += n_bytes;
            return;
        }
        let mut rest = input;
        while let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
            let (head, tail) = rest.split_at(end + 4);
            rest = tail;
            match parse_status_line(head) {
                Some((status, _)) if (100..200).contains(&status) && status != 101 => {}
                Some(line) => {
                    self.status_line = Some(line);
                    self.n_body_bytes = rest.len();
                    return;
                }
                None => return,
            }
        }
    }
}

/// `HTTP/1.1 200 All is well` is 200 and `All is well`.
fn parse_status_line(head: &[u8]) -> Option<(u16, String)> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let text = String::from_utf8_lossy(line);
    let mut parts = text.splitn(3, ' ');
    let version = parts.next()?;
    let status = parts.next()?.parse().ok()?;
    version.starts_with("HTTP/1.").then(|| (status, parts.next().unwrap_or_default().trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(pieces: &[&str]) -> Attempt {
        let mut attempt = Attempt::new(Instant::now());
        let mut input = String::new();
        for piece in pieces {
            input.push_str(piece);
            attempt.note_received(input.as_bytes(), piece.len());
        }
        attempt
    }

    #[test]
    fn the_final_status_line_is_found() {
        let attempt = after(&["HTTP/1.1 200 All is ", "well\r\nA: b\r\n\r", "\nbody", "more"]);
        assert_eq!(attempt.status_line, Some((200, "All is well".to_owned())));
        assert_eq!(attempt.n_body_bytes, 8);
        let attempt = after(&["HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 404\r\n\r\n"]);
        assert_eq!(attempt.status_line, Some((404, String::new())));
        assert_eq!(after(&["HTTP/1.1 200 OK\r\n"]).status_line, None);
        assert_eq!(after(&["nonsense\r\n\r\n"]).status_line, None);
    }
}
