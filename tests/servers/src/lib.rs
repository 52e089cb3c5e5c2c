//! Real database servers for tests: PostgreSQL and MariaDB from Debian's packages, private to whoever starts them.
//!
//! A test asks for [`postgres`] or [`mariadb`], and makes a [`Database`] of its own there:
//!
//! ```no_run
//! let database = portcullis_test_servers::postgres().create_database();
//! database.execute("CREATE TABLE guest (name text)");
//! assert!(database.query("SELECT name FROM guest").is_empty());
//! ```
//!
//! `cargo xtask test` and `cargo xtask servers` start both once, for all test processes, and say so in the environment
//! ([`Engine::variable`]). Where that is absent, a process starts its own at the first call. Either way a server ends
//! with the process that started it, however that ends, and leaves nothing behind.
//!
//! No SQL Server can be had from Debian: [`tds`] is one of the tests' own.
//!
//! For OAuth2 there are [`Oidc`], npm's oidc-provider with its pages, and a [`Browser`] to go through them with; and
//! [`oauth`], a provider of the tests' own that misbehaves as a test wants.

mod account;
mod browser;
mod certificates;
mod database;
mod engine;
mod folder;
mod hold;
mod http1;
mod keeper;
mod mariadb;
pub mod oauth;
mod oidc;
mod postgres;
mod programs;
mod server;
pub mod tds;

use std::sync::OnceLock;

pub use crate::browser::Browser;
pub use crate::database::Database;
pub use crate::engine::Engine;
pub use crate::hold::hold;
pub use crate::oidc::{Oidc, OidcClient};
pub use crate::programs::find as find_program;
pub use crate::server::Server;

/// A PostgreSQL server.
pub type Postgres = Server;
/// A MariaDB server.
pub type MariaDb = Server;

/// The PostgreSQL server for this process: the one that the environment names, or one of its own.
///
/// # Panics
///
/// Where there is none and none can be started; the message says what to do, or shows the end of the server's log.
#[track_caller]
pub fn postgres() -> &'static Postgres {
    static POSTGRES: OnceLock<Result<Server, String>> = OnceLock::new();
    of_this_process(&POSTGRES, Engine::Postgres)
}

/// The MariaDB server for this process: the one that the environment names, or one of its own.
///
/// # Panics
///
/// Where there is none and none can be started; the message says what to do, or shows the end of the server's log.
#[track_caller]
pub fn mariadb() -> &'static MariaDb {
    static MARIADB: OnceLock<Result<Server, String>> = OnceLock::new();
    of_this_process(&MARIADB, Engine::MariaDb)
}

/// The first caller starts it. A failure is kept as well: each test says the same, and none tries again for a minute.
#[track_caller]
fn of_this_process(cell: &'static OnceLock<Result<Server, String>>, engine: Engine) -> &'static Server {
    match cell.get_or_init(|| Server::shared_or_own(engine).map_err(|error| format!("{error:#}"))) {
        Ok(server) => server,
        Err(message) => panic!("{message}"),
    }
}
