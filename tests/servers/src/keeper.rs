//! The process that keeps a server: it ends the server and removes its folder when we are gone, however we went.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};

use crate::folder::Folder;
use crate::programs;

/// The arguments are the server's folder, its log, the file for its process id, the signal that ends it, and its command
/// line. It starts the server at the first line that it reads; its input ends when we do.
///
/// The signal is repeated, as a server that has just been started may not heed it yet. If we were killed while a program
/// set the folder up, that program's children go on for a while: they'd make the folder anew, or files in it while it is
/// being removed. So it goes a moment later, and again.
const SCRIPT: &str = r#"
folder=$1 log=$2 process_id=$3 signal=$4
shift 4
if read -r _; then
    "$@" </dev/null >"$log" 2>&1 &
    server=$!
    echo "$server" >"$process_id"
    while read -r _; do :; done
    {
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            kill -s "$signal" "$server"
            sleep 0.5
        done
        kill -s KILL "$server"
    } &
    killer=$!
    wait "$server"
    kill "$killer"
else
    sleep 1
fi
for _ in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf -- "$folder" && break
    sleep 1
done
"#;

/// A keeper. Dropping it ends the server, removes the folder, and waits until both is done.
#[derive(Debug)]
pub(crate) struct Keeper {
    process: Child,
    /// Its other end is the keeper's input. No child of ours inherits it: the standard library opens it close-on-exec.
    pipe: Option<ChildStdin>,
    folder: Folder,
}

impl Keeper {
    /// Hands the folder over to a new keeper, which will run `line`, and end it with `signal`.
    pub(crate) fn of(folder: &Folder, signal: &str, line: Vec<OsString>) -> Result<Keeper> {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "portcullis-test-server"]);
        command.args([folder.root(), &folder.log(), &folder.process_id()]).arg(signal).args(line);
        programs::clear_environment(&mut command);
        // A process group of its own, so that Ctrl-C and the test runner's signals reach us alone; and none of our
        // streams, which the runner watches.
        command.current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = command.spawn().context("can't start the keeper of a test server")?;
        let pipe = process.stdin.take();
        Ok(Keeper { process, pipe, folder: folder.clone() })
    }

    /// Lets it start the server.
    pub(crate) fn start_server(&mut self) -> Result<()> {
        let pipe = self.pipe.as_mut().context("the keeper of a test server has no input")?;
        pipe.write_all(b"start\n").context("the keeper of a test server is gone")
    }

    /// Whether the server was started and has ended. Its keeper doesn't wait for it yet, so it may still be a zombie.
    pub(crate) fn server_has_ended(&self) -> bool {
        let Ok(process_id) = fs::read_to_string(self.folder.process_id()) else { return false };
        let process_id = process_id.trim();
        if process_id.is_empty() {
            return false;
        }
        match fs::read_to_string(format!("/proc/{process_id}/stat")) {
            // The state stands after the program's name, which is in parentheses and may hold some itself.
            Ok(stat) => stat.rsplit(')').next().is_some_and(|fields| fields.trim_start().starts_with('Z')),
            Err(_) => true,
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // It can't fail but for a process that isn't ours any more, and then there's nothing to wait for.
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::*;

    fn keeper_of(line: &[&str]) -> Keeper {
        let folder = tempfile::tempdir().unwrap().keep();
        Keeper::of(&Folder::at(&folder), "KILL", line.iter().map(OsString::from).collect()).unwrap()
    }

    #[track_caller]
    fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !holds() {
            assert!(Instant::now() < deadline, "it never happened that {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_dropped_keeper_has_ended_the_server_and_removed_its_folder() {
        let mut keeper = keeper_of(&["sleep", "600"]);
        keeper.start_server().unwrap();
        let folder = keeper.folder.clone();
        let process_id = || fs::read_to_string(folder.process_id()).unwrap_or_default().trim().to_owned();
        wait_until("the server runs", || !process_id().is_empty());
        let process_id = process_id();
        assert!(!keeper.server_has_ended());
        drop(keeper);
        assert!(!folder.root().exists());
        assert!(!Path::new("/proc").join(process_id).exists());
    }

    #[test]
    fn a_server_that_ends_by_itself_is_noticed_and_its_log_kept() {
        let mut keeper = keeper_of(&["sh", "-c", "echo first >&2; echo last; exit 1"]);
        assert!(!keeper.server_has_ended());
        keeper.start_server().unwrap();
        wait_until("the server has ended", || keeper.server_has_ended());
        assert_eq!(keeper.folder.end_of_log(), "first\nlast");
    }

    #[test]
    fn a_keeper_whose_server_was_never_started_removes_the_folder() {
        let keeper = keeper_of(&["sleep", "600"]);
        let folder = keeper.folder.clone();
        drop(keeper);
        assert!(!folder.root().exists());
    }
}
