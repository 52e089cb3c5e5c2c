//! What a connection to a database is made of: its address, account and options, gathered from manifest and connection.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use super::error::SqlError;
use crate::manifest::{Engine, SqlConfig};

/// How long connecting may take where the manifest doesn't say.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// The most connections to one database where the manifest doesn't say.
const POOL_SIZE: u32 = 10;

/// How a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Encryption {
    /// Not at all.
    Off,
    /// Where the server offers it, with any certificate.
    Preferred,
    /// Always, with any certificate.
    Required,
    /// Always, with a certificate that is trusted and names the server.
    Verified,
}

/// Everything that decides which database a call reaches and as whom: calls with equal settings share connections.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Settings {
    pub(super) engine: Engine,
    /// A host name or IP address; empty for SQLite.
    pub(super) host: String,
    pub(super) port: u16,
    /// The database's name; for SQLite the file's.
    pub(super) database: String,
    pub(super) username: String,
    pub(super) password: String,
    pub(super) encryption: Encryption,
    /// How long connecting may take.
    pub(super) connection_timeout: Duration,
    /// How long a query may run on the server.
    pub(super) query_timeout: Duration,
    /// The most connections at once.
    pub(super) pool_size: u32,
}

impl Settings {
    /// The settings of a connection: `config` holds the manifest's `connectionConfig` under the connection's own.
    ///
    /// # Errors
    /// The connection doesn't say which server or database, or as whom.
    pub(super) fn gather(
        sql: &SqlConfig,
        config: &Map<String, Value>,
        secrets: &BTreeMap<String, String>,
    ) -> Result<Self, SqlError> {
        let is_file = sql.engine == Engine::Sqlite;
        let secret = |key: &str| secrets.get(key).cloned().unwrap_or_default();
        let query_timeout = sql.request_timeout.map_or(sql.query_timeout, |own| own.min(sql.query_timeout));
        let settings = Self {
            engine: sql.engine,
            host: if is_file { String::new() } else { text(config, "server")? },
            port: if is_file { 0 } else { port(config, sql.engine)? },
            database: text(config, "database")?,
            username: if is_file { String::new() } else { secret("username") },
            password: if is_file { String::new() } else { secret("password") },
            encryption: encryption(sql),
            connection_timeout: sql.connection_timeout.unwrap_or(CONNECTION_TIMEOUT),
            query_timeout,
            pool_size: sql.max_connection_pool_size.unwrap_or(POOL_SIZE).max(1),
        };
        if !is_file && settings.username.is_empty() {
            return Err(SqlError::Settings("the connection has no credential \"username\"".to_owned()));
        }
        Ok(settings)
    }
}

impl fmt::Display for Settings {
    /// Which database this is, for messages: never the account's password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.engine {
            Engine::Sqlite => write!(f, "the SQLite database {:?}", self.database),
            engine => {
                let (host, port, database) = (&self.host, self.port, &self.database);
                write!(f, "the {} database {database:?} on {host}:{port}", product(engine))
            }
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("database", &self.to_string()).finish_non_exhaustive()
    }
}

/// An engine's name, for people.
fn product(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => "PostgreSQL",
        Engine::Mysql => "MySQL",
        Engine::Mssql => "SQL Server",
        Engine::Sqlite => "SQLite",
    }
}

fn text(config: &Map<String, Value>, key: &str) -> Result<String, SqlError> {
    match config.get(key) {
        Some(Value::String(text)) if text.contains('\0') => {
            Err(SqlError::Settings(format!("the connection's {key:?} holds a NUL character")))
        }
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        None | Some(Value::Null | Value::String(_)) => {
            Err(SqlError::Settings(format!("the connection's config has no {key:?}")))
        }
        Some(_) => Err(SqlError::Settings(format!("the connection's {key:?} must be a string"))),
    }
}

fn port(config: &Map<String, Value>, engine: Engine) -> Result<u16, SqlError> {
    let port = match config.get("port") {
        None | Some(Value::Null) => return Ok(default_port(engine)),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(default_port(engine)),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(value) => value.as_u64().and_then(|port| u16::try_from(port).ok()),
    };
    port.filter(|port| *port != 0)
        .ok_or_else(|| SqlError::Settings("the connection's \"port\" must be from 1 to 65535".to_owned()))
}

fn default_port(engine: Engine) -> u16 {
    match engine {
        Engine::Postgres => 5432,
        Engine::Mysql => 3306,
        Engine::Mssql => 1433,
        Engine::Sqlite => 0,
    }
}

/// Where the manifest doesn't say, each engine's drivers have a custom: SQL Server's encrypt and verify, the others encrypt
/// where the server can.
fn encryption(sql: &SqlConfig) -> Encryption {
    match (sql.encrypt, sql.trust_server_certificate) {
        (Some(false), _) => Encryption::Off,
        (Some(true), false) => Encryption::Verified,
        (Some(true), true) => Encryption::Required,
        (None, trusted) if sql.engine == Engine::Mssql && trusted => Encryption::Required,
        (None, _) if sql.engine == Engine::Mssql => Encryption::Verified,
        (None, _) => Encryption::Preferred,
    }
}
