//! Connects to a server, logs in, and makes the session what every call expects.

use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlRow, MySqlSslMode};
use sqlx::{AssertSqlSafe, Column as _, ConnectOptions as _, Decode, Either, Executor as _, MySql, Row as _};

use super::super::dial::{Relay, Route};
use super::super::error::SqlError;
use super::super::settings::{Encryption, Settings};
use super::json::JsonColumns;
use super::reset::{COUNTERS, Counters, Traces};
use super::{ArgumentTypes, Connection, error};

/// Statements that one connection keeps prepared. The server bounds those of all its sessions, at 16,382 by default.
const PREPARED: usize = 200;
/// How much later than Portcullis itself the server ends a query.
const GRACE: Duration = Duration::from_secs(1);

/// Connects, logs in, and sets the session up.
pub(super) async fn connect(route: &Route) -> Result<Connection, SqlError> {
    let driver = log_in(route).await?;
    let database = route.settings.to_string();
    set_up(driver, database.clone(), route.settings.query_timeout + GRACE)
        .await
        .map_err(|error| error::of_login(&database, error))
}

/// Connects and logs in. The session is as the server begins it.
pub(super) async fn log_in(route: &Route) -> Result<MySqlConnection, SqlError> {
    let database = route.settings.to_string();
    let failed = |error| error::of_login(&database, error);
    if route.needs_name() {
        let relay = Relay::open(route, "mysql.sock").await?;
        let options = options(route).host(&route.settings.host).socket(relay.path());
        return Box::pin(options.connect()).await.map_err(failed);
    }
    let mut last = None;
    for address in route.addresses().await? {
        let options = options(route).host(&address.ip().to_string()).port(address.port());
        match Box::pin(options.connect()).await {
            Err(sqlx::Error::Io(error)) => last = Some(sqlx::Error::Io(error)),
            connected => return connected.map_err(failed),
        }
    }
    // There is an address, or `addresses` would have said so.
    Err(failed(last.unwrap_or_else(|| sqlx::Error::Io(std::io::ErrorKind::AddrNotAvailable.into()))))
}

/// What sqlx is told about a server; all but the address. Its own statements to set a session up are left out.
fn options(route: &Route) -> MySqlConnectOptions {
    let Settings { username, password, database, encryption, .. } = &*route.settings;
    let mut options = MySqlConnectOptions::new()
        .username(username)
        .database(database)
        .ssl_mode(ssl_mode(*encryption))
        .charset("utf8mb4")
        .set_names(false)
        .timezone(None)
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .statement_cache_capacity(PREPARED)
        .disable_statement_logging();
    // An empty password is no password: sqlx would answer a challenge with it, which servers refuse.
    if !password.is_empty() {
        options = options.password(password);
    }
    if !route.extra_roots_pem().is_empty() {
        options = options.ssl_ca_from_pem(route.extra_roots_pem().as_bytes().to_vec());
    }
    options
}

fn ssl_mode(encryption: Encryption) -> MySqlSslMode {
    match encryption {
        Encryption::Off => MySqlSslMode::Disabled,
        Encryption::Preferred => MySqlSslMode::Preferred,
        Encryption::Required => MySqlSslMode::Required,
        Encryption::Verified => MySqlSslMode::VerifyIdentity,
    }
}

/// The settings of a session: `SET` takes them one after the other.
///
/// The two time limits stand in comments that MariaDB, or else MySQL from 5.7.8, reads as code. MySQL's is for `SELECT`
/// alone. Of the server's own `sql_mode` two are taken out: without backslashes in literals a query would be cut into
/// statements otherwise than Portcullis did, and sqlx brings IGNORE_SPACE, which makes functions' names reserved words.
pub(super) fn settings(limit: Duration) -> String {
    let (seconds, millis) = (limit.as_secs(), limit.subsec_millis());
    let milliseconds = limit.as_millis();
    format!(
        "SET /*M! max_statement_time = {seconds}.{millis:03}, */ \
         /*!50708 max_execution_time = {milliseconds}, */ \
         time_zone = '+00:00', autocommit = 1, completion_type = 0, \
         sql_mode = REPLACE(REPLACE(@@GLOBAL.sql_mode, 'NO_BACKSLASH_ESCAPES', ''), 'IGNORE_SPACE', ''), \
         NAMES utf8mb4; \
         SET SESSION TRANSACTION READ ONLY"
    )
}

/// One round trip for all of it.
async fn set_up(
    mut driver: MySqlConnection,
    database: String,
    limit: Duration,
) -> Result<Connection, sqlx::Error> {
    let settings = settings(limit);
    let facts = "SELECT CONNECTION_ID(), VERSION(), NULL, CAST(0 AS DECIMAL(1, 0))";
    let text = format!("{settings}; {facts}; {COUNTERS}");
    let rows: Vec<MySqlRow> = (&mut driver)
        .fetch_many(sqlx::raw_sql(AssertSqlSafe(text)))
        .try_filter_map(|item| std::future::ready(Ok(item.right())))
        .try_collect()
        .await?;
    let [facts, counters @ ..] = &rows[..] else { return Err(sqlx::Error::RowNotFound) };
    let number = |text: &str| text.parse().map_err(|_| sqlx::Error::Protocol("no connection id".to_owned()));
    let column_type = |index: usize| facts.columns()[index].type_info().clone();
    Ok(Connection {
        id: number(text_at(facts, 0))?,
        is_mariadb: text_at(facts, 1).to_ascii_lowercase().contains("mariadb"),
        types: ArgumentTypes { null: column_type(2), decimal: column_type(3) },
        json: JsonColumns::default(),
        traces: Traces::new(Counters::read(counters), limit),
        driver,
        database,
    })
}

/// A text in a row that came by the text protocol; empty if it is NULL.
pub(super) fn text_at(row: &MySqlRow, index: usize) -> &str {
    let value = row.try_get_raw(index).ok();
    let bytes = value.and_then(|value| <&[u8] as Decode<MySql>>::decode(value).ok());
    bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
}

/// Runs statements that return nothing of interest, in one round trip.
pub(super) async fn execute(driver: &mut MySqlConnection, text: String) -> Result<(), sqlx::Error> {
    let mut answers = driver.fetch_many(sqlx::raw_sql(AssertSqlSafe(text)));
    while answers.try_next().await?.is_some() {}
    Ok(())
}

/// The rows of statements by the text protocol, in one round trip.
pub(super) async fn fetch(driver: &mut MySqlConnection, text: String) -> Result<Vec<MySqlRow>, sqlx::Error> {
    let answers = driver.fetch_many(sqlx::raw_sql(AssertSqlSafe(text)));
    answers.try_filter_map(|item| std::future::ready(Ok(Either::right(item)))).try_collect().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_told_the_limit_in_its_own_unit() {
        let text = settings(Duration::from_millis(31_005));
        assert!(text.contains("/*M! max_statement_time = 31.005, */"), "{text}");
        assert!(text.contains("/*!50708 max_execution_time = 31005, */"), "{text}");
    }
}
