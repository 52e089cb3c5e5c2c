//! The account that a server runs as: ours, or where we are root, one that isn't, as no database server runs as root.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::programs;

/// Debian's account for what owns nothing. Every system has it.
const NOBODY: Account = Account { uid: 65534, gid: 65534, is_ours: false };

/// Who a server runs as, and owns its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    uid: u32,
    gid: u32,
    /// Whether it is the one that this process runs as.
    is_ours: bool,
}

impl Account {
    /// Ours, for servers that don't mind being root's.
    pub(crate) fn ours() -> Result<Account> {
        let ours = fs::metadata("/proc/self").context("can't see who this process runs as")?;
        Ok(Account { uid: ours.uid(), gid: ours.gid(), is_ours: true })
    }

    /// Ours; where we are root the account `name`, or `nobody` where there is none of that name.
    pub(crate) fn for_server(name: &str) -> Result<Account> {
        let ours = Account::ours()?;
        if ours.uid != 0 {
            return Ok(ours);
        }
        let accounts = fs::read_to_string("/etc/passwd").context("can't read /etc/passwd")?;
        Ok(find(&accounts, name).unwrap_or(NOBODY))
    }

    /// Whether this process runs as it too.
    pub(crate) fn is_ours(&self) -> bool {
        self.is_ours
    }

    /// The command line that runs `line` as this account.
    pub(crate) fn run_as(&self, line: Vec<OsString>) -> Vec<OsString> {
        if self.is_ours { line } else { setpriv(self.identity(), line) }
    }

    /// A command as this account, with the environment of `programs::clear_environment`. It is killed with the thread
    /// that runs it, so that it doesn't go on in a folder that is being removed.
    pub(crate) fn command_as(&self, command: &Command) -> Command {
        let line = std::iter::once(command.get_program()).chain(command.get_args());
        let mut options = vec!["--pdeathsig=KILL".to_owned()];
        if !self.is_ours {
            options.extend(self.identity());
        }
        let whole = setpriv(options, line.map(OsString::from).collect());
        let mut command = Command::new(&whole[0]);
        command.args(&whole[1..]).current_dir("/");
        programs::clear_environment(&mut command);
        command
    }

    /// What makes a process run as it, as options of setpriv.
    fn identity(&self) -> Vec<String> {
        vec![format!("--reuid={}", self.uid), format!("--regid={}", self.gid), "--clear-groups".to_owned()]
    }

    /// Gives it the file or folder.
    pub(crate) fn own(&self, path: &Path) -> Result<()> {
        if self.is_ours {
            return Ok(());
        }
        chown(path, Some(self.uid), Some(self.gid))
            .with_context(|| format!("can't give {} to the account {}", path.display(), self.uid))
    }
}

fn setpriv(options: Vec<String>, line: Vec<OsString>) -> Vec<OsString> {
    let start = std::iter::once("setpriv".to_owned()).chain(options).chain(["--".to_owned()]);
    start.map(OsString::from).chain(line).collect()
}

/// The account's line in the text of /etc/passwd.
fn find(accounts: &str, name: &str) -> Option<Account> {
    let fields = accounts.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let account = fields.into_iter().find(|fields| fields.first() == Some(&name))?;
    Some(Account { uid: account.get(2)?.parse().ok()?, gid: account.get(3)?.parse().ok()?, is_ours: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\nmysqlx:x:7:8::/:/bin/false\nmysql:x:102:105:,,,:/none:/bin/false\n";
        assert_eq!(find(accounts, "mysql"), Some(Account { uid: 102, gid: 105, is_ours: false }));
        assert_eq!(find(accounts, "postgres"), None);
    }

    #[test]
    fn a_line_of_another_account_goes_through_setpriv() {
        let line = Account { uid: 7, gid: 8, is_ours: false }.run_as(vec!["postgres".into(), "-D".into()]);
        assert_eq!(line, ["setpriv", "--reuid=7", "--regid=8", "--clear-groups", "--", "postgres", "-D"]);
    }
}
