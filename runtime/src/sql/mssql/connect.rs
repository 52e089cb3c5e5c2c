//! Logging in: encryption, the server that another one names in its place, and what a session is set to.

use tiberius::error::Error;
use tiberius::{AuthMethod, Config, EncryptionLevel};
use tokio_util::compat::TokioAsyncWriteCompatExt;

use super::super::dial::Route;
use super::super::error::SqlError;
use super::super::settings::{Encryption, Settings};
use super::wire::{Allowance, Metered};
use super::{Connection, SMALL_ANSWER, error};

/// The name that the server shows for our sessions.
const APPLICATION: &str = "portcullis";

/// Why a login came to nothing.
enum Refusal {
    Failed(SqlError),
    /// The server says to go to another one, as gateways of Azure SQL do.
    Elsewhere {
        host: String,
        port: u16,
    },
}

impl From<SqlError> for Refusal {
    fn from(error: SqlError) -> Self {
        Self::Failed(error)
    }
}

/// Connects and logs in. Another server that this one names is checked like this one, and followed to once.
pub(super) async fn connect(route: &Route) -> Result<Connection, SqlError> {
    let (host, port) = match log_in(route).await {
        Ok(connection) => return Ok(connection),
        Err(Refusal::Failed(error)) => return Err(error),
        Err(Refusal::Elsewhere { host, port }) => (host, port),
    };
    match log_in(&route.with_server(&host, port)).await {
        Ok(connection) => Ok(connection),
        Err(Refusal::Failed(error)) => Err(error),
        Err(Refusal::Elsewhere { .. }) => Err(SqlError::Unreachable {
            database: route.settings.to_string(),
            detail: format!("it refers to {host}:{port}, which refers to yet another server"),
        }),
    }
}

async fn log_in(route: &Route) -> Result<Connection, Refusal> {
    check_name(&route.settings.host)?;
    let allowance = Allowance::new(SMALL_ANSWER);
    let stream = Metered::new(route.connect().await?, allowance.clone()).compat_write();
    let client = match Box::pin(tiberius::Client::connect(config(route), stream)).await {
        Ok(client) => client,
        Err(Error::Routing { host, port }) => return Err(Refusal::Elsewhere { host, port }),
        Err(error) => return Err(error::of_login(error, route).into()),
    };
    let database = route.settings.to_string();
    let mut connection = Connection { client, allowance, is_busy: false, database };
    match connection.batch(&session(&route.settings)).await {
        Ok(_) => Ok(connection),
        Err(error) => Err(error::of_login(error, route).into()),
    }
}

/// A server's name as SQL Server's own tools take it can have an instance or a port in it.
fn check_name(host: &str) -> Result<(), SqlError> {
    let advice = if host.contains('\\') {
        "names an instance, which only SQL Server Browser could find: give the host alone, and the instance's \"port\""
    } else if host.contains(',') {
        "holds a port: give the host alone, and the \"port\" beside it"
    } else {
        return Ok(());
    };
    Err(SqlError::Settings(format!("the connection's \"server\" {host:?} {advice}")))
}

fn config(route: &Route) -> Config {
    let settings = &route.settings;
    let mut config = Config::new();
    config.host(&settings.host);
    config.port(settings.port);
    config.database(&settings.database);
    config.authentication(AuthMethod::sql_server(&settings.username, &settings.password));
    config.application_name(APPLICATION);
    // Whoever calls bounds both.
    config.handshake_timeout(None);
    config.command_timeout(None);
    encrypt(&mut config, route);
    config
}

fn encrypt(config: &mut Config, route: &Route) {
    match route.settings.encryption {
        // A server that insists is given what it wants. tiberius can't encrypt the login alone where the server can't.
        Encryption::Off => {
            config.encryption(EncryptionLevel::NotSupported);
            config.trust_cert();
        }
        // `Preferred` isn't among what a SQL Server connector's settings can be.
        Encryption::Preferred | Encryption::Required => {
            config.encryption(EncryptionLevel::Required);
            config.trust_cert();
        }
        Encryption::Verified => {
            config.encryption(EncryptionLevel::Required);
            config.trust_webpki_roots();
            if !route.extra_roots_pem().is_empty() {
                config.trust_cert_ca_bundle(route.extra_roots_pem());
            }
        }
    }
}

/// What a session is set to, whatever the server's or the login's defaults are: the options that indexed views and JSON
/// functions ask for, row counts, and `2026-11-20` as a date in every language.
fn session(settings: &Settings) -> String {
    let lock_timeout = settings.query_timeout.as_millis() + 1000;
    format!(
        "SET QUOTED_IDENTIFIER, ANSI_NULLS, ANSI_PADDING, ANSI_WARNINGS, ARITHABORT, CONCAT_NULL_YIELDS_NULL ON; \
         SET NUMERIC_ROUNDABORT, IMPLICIT_TRANSACTIONS, CURSOR_CLOSE_ON_COMMIT, NOCOUNT OFF; \
         SET XACT_ABORT ON; \
         SET TRANSACTION ISOLATION LEVEL READ COMMITTED; \
         SET DATEFORMAT ymd; \
         SET TEXTSIZE 2147483647; \
         SET LOCK_TIMEOUT {}",
        lock_timeout.min(2_147_483_647)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_and_ports_in_names_are_refused_with_advice() {
        for (host, advice) in [("db\\sales", "instance's \"port\""), ("db,1433", "\"port\" beside it")] {
            let error = check_name(host).unwrap_err().to_string();
            assert!(error.contains(advice), "{error}");
        }
        for host in ["db.example", "10.0.0.1", "::1"] {
            assert!(check_name(host).is_ok(), "{host}");
        }
    }
}
