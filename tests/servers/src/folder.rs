//! The folder that a server lives in: what lies where, and who may read it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::account::Account;
use crate::certificates::certificates;

/// How much of the log a failure shows.
const N_LOG_LINES: usize = 30;

/// A server's folder, which needn't exist any more.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    root: PathBuf,
}

/// What a process that joins a server must know: the text of one file of the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) port: u16,
    pub(crate) owner_password: String,
    pub(crate) reader_password: String,
}

/// An empty folder that goes away if it isn't kept. It is in /tmp whatever TMPDIR says: the server's account must be able
/// to reach it, and a socket's path may have no more than 107 bytes.
pub(crate) fn temporary(name: &str, account: &Account) -> Result<TempDir> {
    let mode = if account.is_ours() { 0o700 } else { 0o711 };
    tempfile::Builder::new()
        .prefix(&format!("portcullis-{name}-"))
        .permissions(fs::Permissions::from_mode(mode))
        .tempdir_in("/tmp")
        .context("can't make a folder for a test server in /tmp")
}

impl Folder {
    /// The folder at this path.
    pub(crate) fn at(root: &Path) -> Folder {
        Folder { root: root.to_path_buf() }
    }

    /// Makes its subfolders and writes its certificates.
    pub(crate) fn fill(&self, account: &Account) -> Result<()> {
        for folder in [self.data(), self.run(), self.settings()] {
            fs::create_dir(&folder).with_context(|| format!("can't make {}", folder.display()))?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
            account.own(&folder)?;
        }
        let certificates = certificates()?;
        self.write_setting(account, "server.pem", &certificates.server)?;
        self.write_setting(account, "server.key", &certificates.server_key)?;
        write_private(&self.ca_pem(), &certificates.ca)?;
        write_private(&self.other_ca_pem(), &certificates.other_ca)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The server's data.
    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Its socket and temporary files.
    pub(crate) fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// Its settings, and its certificate.
    pub(crate) fn settings(&self) -> PathBuf {
        self.root.join("settings")
    }

    /// The root certificate that the server's is signed with.
    pub(crate) fn ca_pem(&self) -> PathBuf {
        self.root.join("ca.pem")
    }

    /// A root certificate that nothing is signed with.
    pub(crate) fn other_ca_pem(&self) -> PathBuf {
        self.root.join("other-ca.pem")
    }

    /// What the server printed.
    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("server.log")
    }

    /// The server's process id, once it has been started.
    pub(crate) fn process_id(&self) -> PathBuf {
        self.root.join("server.pid")
    }

    /// The last lines of the log.
    pub(crate) fn end_of_log(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(N_LOG_LINES)..].join("\n")
    }

    /// Writes a file of the settings, for the server to read.
    pub(crate) fn write_setting(&self, account: &Account, name: &str, text: &str) -> Result<()> {
        let file = self.settings().join(name);
        write_private(&file, text)?;
        account.own(&file)
    }

    pub(crate) fn write_handle(&self, handle: &Handle) -> Result<()> {
        let Handle { port, owner_password, reader_password } = handle;
        write_private(&self.handle(), &format!("{port}\n{owner_password}\n{reader_password}\n"))
    }

    pub(crate) fn read_handle(&self) -> Result<Handle> {
        let file = self.handle();
        let text = fs::read_to_string(&file).with_context(|| format!("can't read {}", file.display()))?;
        let lines: Vec<&str> = text.lines().collect();
        let [port, owner_password, reader_password] = lines[..] else {
            bail!("{} isn't what a test server writes", file.display());
        };
        let port = port.parse().with_context(|| format!("no port in {}", file.display()))?;
        Ok(Handle { port, owner_password: owner_password.into(), reader_password: reader_password.into() })
    }

    fn handle(&self) -> PathBuf {
        self.root.join("handle")
    }
}

/// Writes a file that nobody else can read, not even while it is being written.
fn write_private(file: &Path, text: &str) -> Result<()> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(file);
    opened
        .and_then(|mut opened| opened.write_all(text.as_bytes()))
        .with_context(|| format!("can't write {}", file.display()))
}
