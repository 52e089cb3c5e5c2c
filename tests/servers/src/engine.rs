//! The two engines, and what the rest of this crate needs to know of each.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::account::Account;
use crate::folder::Folder;
use crate::mariadb::MariaDbServer;
use crate::postgres::PostgresServer;
use crate::server::Server;

/// Which kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// PostgreSQL.
    Postgres,
    /// MariaDB.
    MariaDb,
}

impl Engine {
    /// All of them.
    pub const ALL: [Engine; 2] = [Engine::Postgres, Engine::MariaDb];

    /// Its name, as people write it.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Postgres => "PostgreSQL",
            Engine::MariaDb => "MariaDB",
        }
    }

    /// The environment variable that holds the folder of a running server.
    pub fn variable(self) -> &'static str {
        match self {
            Engine::Postgres => "PORTCULLIS_TEST_POSTGRES",
            Engine::MariaDb => "PORTCULLIS_TEST_MARIADB",
        }
    }

    /// The programs that a server and its clients here are made of.
    pub fn programs(self) -> &'static [&'static str] {
        match self {
            Engine::Postgres => &["initdb", "postgres", "pg_isready", "psql"],
            Engine::MariaDb => &["mariadb-install-db", "mariadbd", "mariadb-admin", "mariadb"],
        }
    }

    /// The Debian packages that have these programs.
    pub fn debian_packages(self) -> &'static [&'static str] {
        match self {
            Engine::Postgres => &["postgresql"],
            // Not mariadb-server: that one adds nothing but the machine's own service.
            Engine::MariaDb => &["mariadb-server-core", "mariadb-client"],
        }
    }

    pub(crate) fn dbms(self) -> &'static dyn Dbms {
        match self {
            Engine::Postgres => &PostgresServer,
            Engine::MariaDb => &MariaDbServer,
        }
    }
}

/// How a server is set up, run and talked to.
pub(crate) trait Dbms {
    /// The account that Debian's package runs it as.
    fn account(&self) -> &'static str;

    /// A database that is always there.
    fn maintenance_database(&self) -> &'static str;

    /// The signal that ends the server at once, without writing anything.
    fn end_signal(&self) -> &'static str;

    /// The server's command line. The folder needn't be filled yet.
    fn command_line(&self, folder: &Folder, port: u16) -> Result<Vec<OsString>>;

    /// Fills the folder: settings, and an empty cluster. `account` is who the server will run as.
    fn set_up(&self, server: &Server, account: &Account) -> Result<()>;

    /// Whether it takes connections.
    fn is_ready(&self, server: &Server) -> bool;

    /// What remains to do once it is ready.
    fn complete(&self, server: &Server) -> Result<()>;

    /// A client, logged in as the owner, that reads statements from its standard input, stops at the first error, and
    /// prints rows for `rows` to read.
    fn client(&self, server: &Server, database: &str) -> Result<Command>;

    /// The rows in what the client printed. A NULL is the text `NULL`.
    fn rows(&self, printed: &str) -> Vec<Vec<String>>;

    /// Makes a database that the reader may read.
    fn create_database(&self, server: &Server, name: &str) -> Result<()>;

    /// Drops it, whoever is connected to it.
    fn drop_database(&self, server: &Server, name: &str) -> Result<()>;
}
