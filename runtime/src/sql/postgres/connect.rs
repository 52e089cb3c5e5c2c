//! Connecting and logging in, with nothing taken from the process's environment or files.

use std::sync::atomic::{AtomicU8, Ordering};

use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, PgConnection, Row as _};

use super::Connection;
use super::error::unreachable_detail;
use crate::limits::whole_ms;
use crate::sql::dial::{Relay, Route};
use crate::sql::error::SqlError;
use crate::sql::settings::{Encryption, Settings};

/// Statements that a connection keeps prepared.
const N_PREPARED: usize = 256;

/// Undoes what a query can leave behind in its session, but for the statements that sqlx prepared.
pub(super) const RESET: &str = "SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; CLOSE ALL; UNLISTEN *; \
                     SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

/// Fails where statements are left that the query's text prepared: the connection is closed then.
pub(super) const FAIL_IF_PREPARED: &str =
    "SELECT 1 / (NOT EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql))::int";

/// How a server takes the settings of a session, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Startup {
    /// All of them, as it logs in.
    Complete,
    /// The same without `client_connection_check_interval`, which began with PostgreSQL 14 and not on all systems.
    Unchecked,
    /// None as it logs in (a pooler such as PgBouncer refuses them), but afterwards.
    Later,
}

impl Startup {
    const ALL: [Self; 3] = [Self::Complete, Self::Unchecked, Self::Later];

    /// From this one on.
    fn remembered(memory: &AtomicU8) -> &'static [Self] {
        let first = usize::from(memory.load(Ordering::Relaxed));
        Self::ALL.get(first..).unwrap_or(&Self::ALL)
    }

    fn remember(self, memory: &AtomicU8) {
        let number = match self {
            Self::Complete => 0,
            Self::Unchecked => 1,
            Self::Later => 2,
        };
        memory.store(number, Ordering::Relaxed);
    }
}

/// Connects and logs in. `memory` holds from one connection to the next which [`Startup`] the server takes.
pub(super) async fn connect(route: &Route, memory: &AtomicU8) -> Result<Connection, SqlError> {
    let mut refused = None;
    for startup in Startup::remembered(memory) {
        match log_in(route, *startup).await {
            Ok(pg) => {
                startup.remember(memory);
                return ready(route, pg, *startup).await;
            }
            Err(LoginError::Ours(error)) => return Err(error),
            Err(LoginError::Driver(error)) if refuses_settings(&error) => refused = Some(error),
            Err(LoginError::Driver(error)) => return Err(login_error(route, &error)),
        }
    }
    // Only a server that refuses every way gets here, and `refused` then says how.
    Err(login_error(route, &refused.unwrap_or(sqlx::Error::WorkerCrashed)))
}

enum LoginError {
    Ours(SqlError),
    Driver(sqlx::Error),
}

async fn log_in(route: &Route, startup: Startup) -> Result<PgConnection, LoginError> {
    let options = options(route, startup).map_err(LoginError::Ours)?;
    if route.needs_name() {
        let socket = format!(".s.PGSQL.{}", route.settings.port);
        let relay = Relay::open(route, &socket).await.map_err(LoginError::Ours)?;
        let options = options.host(&route.settings.host).socket(relay.folder());
        return options.connect().await.map_err(LoginError::Driver);
    }
    let mut last = sqlx::Error::Io(std::io::ErrorKind::AddrNotAvailable.into());
    for address in route.addresses().await.map_err(LoginError::Ours)? {
        let options = options.clone().host(&address.ip().to_string()).port(address.port());
        match options.connect().await {
            Err(error @ sqlx::Error::Io(_)) => last = error,
            ended => return ended.map_err(LoginError::Driver),
        }
    }
    Err(LoginError::Driver(last))
}

fn options(route: &Route, startup: Startup) -> Result<PgConnectOptions, SqlError> {
    let settings = &route.settings;
    let options = blank()?
        .port(settings.port)
        .username(&settings.username)
        .password(&settings.password)
        .database(&settings.database)
        .ssl_mode(match settings.encryption {
            Encryption::Off => PgSslMode::Disable,
            Encryption::Preferred => PgSslMode::Prefer,
            Encryption::Required => PgSslMode::Require,
            Encryption::Verified => PgSslMode::VerifyFull,
        })
        // Even when there are none: what the environment names is replaced.
        .ssl_root_cert_from_pem(route.extra_roots_pem().as_bytes().to_vec())
        .application_name("portcullis")
        .statement_cache_capacity(N_PREPARED)
        .disable_statement_logging();
    Ok(match startup {
        Startup::Complete => {
            options.options(session(settings)).options([("client_connection_check_interval", "1s")])
        }
        Startup::Unchecked => options.options(session(settings)),
        Startup::Later => options.extra_float_digits(None),
    })
}

/// Options that name nothing yet. sqlx fills them from the environment: all that can be set over is, and the rest is
/// refused.
fn blank() -> Result<PgConnectOptions, SqlError> {
    // Those that sqlx can't make a URL of are set over before it is asked for one.
    let options = PgConnectOptions::new_without_pgpass().host("localhost").username("nobody");
    let url = options.to_url_lossy();
    let has_certificate = url.query_pairs().any(|(key, _)| key == "sslcert" || key == "sslkey");
    if options.get_options().is_some() || has_certificate {
        let message = "the server process runs with PGOPTIONS, PGSSLCERT or PGSSLKEY in its environment, which \
                       connections to PostgreSQL must not take up: start it without them";
        return Err(SqlError::Settings(message.to_owned()));
    }
    Ok(options)
}

/// The settings of a session. The server's limit on a query comes a second after ours, for when nobody is left to cancel it.
fn session(settings: &Settings) -> [(&'static str, String); 9] {
    let limit = |more: u64| {
        let ms = whole_ms(settings.query_timeout).saturating_add(more);
        // The server's limits are 31-bit numbers; 24 days are as good as none.
        i32::try_from(ms).unwrap_or(i32::MAX).to_string()
    };
    [
        ("default_transaction_read_only", "on".to_owned()),
        ("statement_timeout", limit(1000)),
        ("idle_in_transaction_session_timeout", limit(10_000)),
        ("timezone", "UTC".to_owned()),
        ("datestyle", "ISO".to_owned()),
        ("intervalstyle", "iso_8601".to_owned()),
        ("bytea_output", "hex".to_owned()),
        ("standard_conforming_strings", "on".to_owned()),
        ("client_min_messages", "error".to_owned()),
    ]
}

async fn ready(route: &Route, mut pg: PgConnection, startup: Startup) -> Result<Connection, SqlError> {
    let mut settings = String::new();
    if startup == Startup::Later {
        let set = |(name, value)| format!("SET {name} = '{value}'");
        settings = session(&route.settings).map(set).join("; ");
        let text = sqlx::raw_sql(AssertSqlSafe(settings.clone()));
        pg.execute(text).await.map_err(|error| login_error(route, &error))?;
    }
    let asked = pg.fetch_one("SELECT pg_catalog.pg_backend_pid()").await;
    let process_id = asked.and_then(|row| row.try_get(0)).map_err(|error| login_error(route, &error))?;
    Ok(Connection {
        pg,
        process_id,
        settings,
        may_have_prepared: false,
        is_clean: false,
        is_resetting: false,
        route: route.clone(),
    })
}

/// Whether the server would have let us in, but for the settings.
fn refuses_settings(error: &sqlx::Error) -> bool {
    let code = postgres_error(error).map(PgDatabaseError::code);
    // An unknown setting, one with an impossible value, a pooler's "unsupported startup parameter".
    matches!(code, Some("42704" | "22023" | "08P01" | "0A000"))
}

/// Why there is no connection: the server's word on who may come in, or anything that kept us from hearing it.
fn login_error(route: &Route, error: &sqlx::Error) -> SqlError {
    let database = route.settings.to_string();
    match postgres_error(error) {
        Some(refused) if is_refusal(refused.code()) => {
            let detail = match refused.detail() {
                Some(detail) => format!("{}: {detail}", refused.message()),
                None => refused.message().to_owned(),
            };
            SqlError::LoginRefused { database, detail }
        }
        Some(other) => SqlError::Unreachable { database, detail: other.message().to_owned() },
        None => SqlError::Unreachable { database, detail: unreachable_detail(error) },
    }
}

/// Whether a server's answer to a login means that trying again is of no use: a wrong password or role, no such database,
/// no right to connect.
fn is_refusal(code: &str) -> bool {
    code.starts_with("28")
        || matches!(code, "3D000" | "42501" | "42704" | "22023" | "08P01" | "0A000" | "55000")
}

fn postgres_error(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error().and_then(|error| error.try_downcast_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_takes_is_remembered() {
        let memory = AtomicU8::new(0);
        assert_eq!(Startup::remembered(&memory), Startup::ALL);
        Startup::Unchecked.remember(&memory);
        assert_eq!(Startup::remembered(&memory), [Startup::Unchecked, Startup::Later]);
        Startup::Later.remember(&memory);
        assert_eq!(Startup::remembered(&memory), [Startup::Later]);
    }

    #[test]
    fn a_full_server_is_no_refusal() {
        for code in ["28P01", "28000", "3D000", "42501"] {
            assert!(is_refusal(code), "{code}");
        }
        for code in ["53300", "57P03", "XX000"] {
            assert!(!is_refusal(code), "{code}");
        }
    }
}
