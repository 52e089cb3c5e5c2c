//! A folder of a test's own: the server's data and integrations, on either store, and the command line beside it.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use portcullis_test_servers::{Database, postgres};
use serde_json::Value;
use tempfile::TempDir;

use super::process::Server;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_portcullis");

/// The stores that the same tests run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    Sqlite,
    Postgres,
}

/// Makes each function of a [`Place`] a test on each store: `name::sqlite`, `name::postgres`.
macro_rules! on_each_store {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            #[test]
            fn sqlite() {
                super::$name(&crate::support::Place::new(crate::support::StoreKind::Sqlite));
            }

            #[test]
            fn postgres() {
                super::$name(&crate::support::Place::new(crate::support::StoreKind::Postgres));
            }
        })+
    };
}

pub(crate) use on_each_store;

/// Where a server runs, once or again and again; gone after the test.
pub(crate) struct Place {
    folder: TempDir,
    database: Option<Database>,
    /// The store's URL, where it isn't the default's file.
    database_url: Option<String>,
    /// Shown at the first start, and never again.
    pub(crate) admin_key: OnceLock<String>,
}

impl Place {
    pub(crate) fn new(store: StoreKind) -> Self {
        let database = (store == StoreKind::Postgres).then(|| postgres().create_database());
        let database_url = database.as_ref().map(|database| postgres_url(database, database.port()));
        Self::with_database(database, database_url)
    }

    pub(crate) fn sqlite() -> Self {
        Self::new(StoreKind::Sqlite)
    }

    /// On PostgreSQL, which is reached at another port than its own.
    pub(crate) fn behind(database: Database, port: u16) -> Self {
        let url = postgres_url(&database, port);
        Self::with_database(Some(database), Some(url))
    }

    fn with_database(database: Option<Database>, database_url: Option<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("integrations")).unwrap();
        Self { folder, database, database_url, admin_key: OnceLock::new() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder that the server keeps its data in.
    pub(crate) fn data(&self) -> PathBuf {
        self.path("portcullis-data")
    }

    /// The folder of an integration.
    pub(crate) fn integration(&self, slug: &str) -> PathBuf {
        self.path("integrations").join(slug)
    }

    /// The database on PostgreSQL, where the store is there.
    pub(crate) fn database(&self) -> Option<&Database> {
        self.database.as_ref()
    }

    /// Writes a file, and the folders it stands in.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Writes an integration's folder.
    pub(crate) fn install(&self, slug: &str, (manifest, code): &(Value, String)) {
        self.write(&format!("integrations/{slug}/config.json"), format!("{manifest:#}"));
        self.write(&format!("integrations/{slug}/connector.ts"), code);
    }

    /// The program, about to be run here with nothing in its environment but a home and the store.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(self.folder.path()).env_clear().stdin(Stdio::null());
        command.env("HOME", self.path("home"));
        if let Some(url) = &self.database_url {
            command.env("PORTCULLIS_DATABASE", url);
        }
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs the program to its end, which must be a good one; what it printed.
    #[track_caller]
    pub(crate) fn prints(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts a server that may reach loopback, on a free port.
    #[track_caller]
    pub(crate) fn start(&self) -> Server<'_> {
        self.start_with(&[])
    }

    /// The same with more flags.
    #[track_caller]
    pub(crate) fn start_with(&self, flags: &[&str]) -> Server<'_> {
        let own = ["serve", "--listen", "127.0.0.1:0", "--allow-network", "127.0.0.0/8"];
        let mut command = self.command(&[&own, flags].concat());
        command.stderr(self.log_file());
        Server::start(self, command)
    }

    /// Where servers' logs go, one start's after another's.
    pub(crate) fn log(&self) -> PathBuf {
        self.path("stderr.log")
    }

    fn log_file(&self) -> fs::File {
        OpenOptions::new().create(true).append(true).open(self.log()).unwrap()
    }

    /// All files under a folder.
    pub(crate) fn files_in(folder: &Path) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { files.extend(Self::files_in(&path)) } else { files.push(path) }
        }
        files
    }
}

/// Without TLS, whose handshakes take an unoptimised build half a second each; the store's own tests connect with it. The
/// password has characters that mean something in URLs.
fn postgres_url(database: &Database, port: u16) -> String {
    let password = percent_encoded(database.password());
    format!("postgres://{}:{password}@127.0.0.1:{port}/{}?sslmode=disable", database.user(), database.name())
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            },
        )
        .collect()
}
