//! Random bytes from the system's generator.

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroizing;

/// That many random bytes; wiped when dropped, for they may become a key.
pub(crate) fn bytes<const N: usize>() -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    let mut n_filled = 0;
    while n_filled < N {
        match getrandom(&mut bytes[n_filled..], GetRandomFlags::empty()) {
            Ok(n) => n_filled += n,
            Err(Errno::INTR) => {}
            // Linux has the call since 3.17, and it doesn't fail; nothing else would be a safe source.
            Err(error) => panic!("the system's random numbers can't be read: {error}"),
        }
    }
    bytes
}
