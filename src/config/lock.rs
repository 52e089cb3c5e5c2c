//! The lock that keeps two servers off one SQLite database.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::error::{Failure, FailureKind};

/// How long a server that was just killed may take to be gone for good: whatever starts it again needn't know.
const PATIENCE: Duration = Duration::from_secs(2);

/// Held as long as it lives; it goes with the process, however that ends.
pub(crate) struct DataLock {
    _file: File,
}

impl DataLock {
    /// Takes the lock beside this database, `portcullis.db.lock`.
    pub(super) fn take(database: &Path) -> Result<Self, Failure> {
        let mut path = database.as_os_str().to_owned();
        path.push(".lock");
        let refuse = |problem: String| {
            Failure::new(FailureKind::Store, format!("the database {}: {problem}", database.display()))
        };
        let unusable =
            |error: io::Error| refuse(format!("can't lock it by {}: {error}", Path::new(&path).display()));
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = opened.map_err(unusable)?;
        match lock_within(&file, PATIENCE) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(refuse(
                "another `portcullis serve` is using it. Stop that one, give this one a folder of its own with --data, or \
                 let both share a PostgreSQL database with --database"
                    .to_owned(),
            )),
            Err(error) => Err(unusable(error.into())),
        }
    }
}

/// Tries again until `patience` is over.
fn lock_within(file: &File, patience: Duration) -> rustix::io::Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(20));
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("portcullis.db");
        let first = DataLock::take(&database).map_err(|failure| failure.message).unwrap();
        let Err(refused) = DataLock::take(&database) else { panic!("two locks at once") };
        assert!(refused.message.contains("another `portcullis serve` is using it"), "{}", refused.message);
        drop(first);
        assert!(DataLock::take(&database).is_ok());
    }
}
