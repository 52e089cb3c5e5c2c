//! Programs of the servers' packages: where they are, and how a short one is run.

use std::cmp::Reverse;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use crate::engine::Engine;

/// Where Debian keeps the programs of each version of PostgreSQL: `15/bin` and so on, mostly not on the PATH.
const POSTGRES_VERSIONS: &str = "/usr/lib/postgresql";

/// A program's path: the newest of Debian's PostgreSQL versions, the PATH, and the folders of daemons, in this order.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let daemons = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let folders = postgres_folders().into_iter().chain(std::env::split_paths(&path)).chain(daemons);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// A program of this engine's packages, ready for arguments. It gets none of our environment: no setting, password file
/// or locale of whoever runs the tests changes what it does.
pub(crate) fn command(engine: Engine, name: &str) -> Result<Command> {
    let mut command = Command::new(need(engine, name)?);
    clear_environment(&mut command);
    Ok(command)
}

/// The path of a program of this engine's packages; the error says how to install it.
pub(crate) fn need(engine: Engine, name: &str) -> Result<PathBuf> {
    find(name).with_context(|| {
        format!(
            "`{name}` isn't installed, which the tests' {} server needs: run `cargo xtask test` (or `cargo xtask \
             servers`), which installs it, or install the Debian packages {}",
            engine.name(),
            engine.debian_packages().join(" and ")
        )
    })
}

/// Leaves nothing in the command's environment but a PATH, and a locale in which messages are English.
pub(crate) fn clear_environment(command: &mut Command) {
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("LC_ALL", "C");
}

/// Runs the command with `input`, and returns what it printed. The error has what it complained about.
pub(crate) fn run(mut command: Command, input: &str) -> Result<String> {
    let name =
        Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = talk(command, input).with_context(|| format!("can't run {name}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{name} ended with {}: {}", output.status, complaint.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{name} printed something that isn't UTF-8"))
}

/// Feeds the input from a thread: a program that prints before it has read all must not wait for us.
fn talk(mut command: Command, input: &str) -> std::io::Result<Output> {
    let mut child = command.spawn()?;
    let stdin = child.stdin.take();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A program that stops at an error has closed its end: its status says so.
            let _ = stdin.map(|mut stdin| stdin.write_all(input.as_bytes()));
        });
        child.wait_with_output()
    })
}

fn postgres_folders() -> Vec<PathBuf> {
    let versions = fs::read_dir(POSTGRES_VERSIONS).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|entry| entry.path().join("bin")).collect();
    folders.sort_by_key(|folder| Reverse(version(folder)));
    folders
}

/// The number in `…/15/bin`.
fn version(folder: &Path) -> Option<u32> {
    folder.parent()?.file_name()?.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(
            version(Path::new("/usr/lib/postgresql/15/bin"))
                > version(Path::new("/usr/lib/postgresql/9/bin"))
        );
    }

    #[test]
    fn a_missing_program_names_the_chore_that_installs_it() {
        let message = need(Engine::MariaDb, "no-such-program").unwrap_err().to_string();
        assert!(message.starts_with("`no-such-program` isn't installed"), "{message}");
        assert!(message.contains("run `cargo xtask test`"), "{message}");
        assert!(message.ends_with("the Debian packages mariadb-server-core and mariadb-client"), "{message}");
    }

    #[test]
    fn a_failure_has_the_programs_own_words() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "cat >/dev/null; echo broken >&2; exit 3"]);
        assert_eq!(run(command, "input").unwrap_err().to_string(), "sh ended with exit status: 3: broken");
    }

    #[test]
    fn input_larger_than_a_pipe_goes_through_a_program_that_echoes() {
        let input = "0123456789".repeat(100_000);
        assert_eq!(run(Command::new("/bin/cat"), &input).unwrap(), input);
    }
}
