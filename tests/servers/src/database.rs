//! A test's own database on a server.

use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::server::Server;

/// A database that nobody else uses. Dropping the value drops it, with whoever is still connected.
#[derive(Debug)]
pub struct Database {
    /// Joined: the database doesn't keep it running.
    server: Server,
    name: String,
}

impl Database {
    pub(crate) fn create(server: Server) -> Result<Database> {
        let name = new_name();
        server.engine().dbms().create_database(&server, &name)?;
        Ok(Database { server, name })
    }

    /// Its name: lower-case letters, digits and `_`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server that it is on: its users, its certificates.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// [`Server::port`].
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// [`Server::user`].
    pub fn user(&self) -> &str {
        self.server.user()
    }

    /// [`Server::password`].
    pub fn password(&self) -> &str {
        self.server.password()
    }

    /// Runs statements as the owner, by the engine's own client.
    ///
    /// # Panics
    ///
    /// At the first that fails.
    #[track_caller]
    pub fn execute(&self, sql: &str) {
        self.query(sql);
    }

    /// The same, and returns the rows that they gave, one result after the other, as the client prints values. A NULL
    /// is the text `NULL`.
    ///
    /// # Panics
    ///
    /// At the first that fails.
    #[track_caller]
    pub fn query(&self, sql: &str) -> Vec<Vec<String>> {
        match self.server.query_in(&self.name, sql) {
            Ok(rows) => rows,
            Err(error) => panic!("{error:#}\nin: {sql}"),
        }
    }
}

impl Drop for Database {
    #[allow(clippy::print_stderr, reason = "a test that fails already must not panic a second time")]
    fn drop(&mut self) {
        if let Err(error) = self.server.engine().dbms().drop_database(&self.server, &self.name) {
            eprintln!("can't drop the test database {}: {error:#}", self.name);
        }
    }
}

/// Unlike that of any other process or moment: the server may outlive many processes.
fn new_name() -> String {
    static N_NAMES: AtomicUsize = AtomicUsize::new(0);
    let number = N_NAMES.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    format!("test_{now:x}_{}_{number}", process::id())
}
