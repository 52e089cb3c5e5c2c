//! SQL connectors: their queries, run on PostgreSQL, MySQL or MariaDB, SQL Server and SQLite with bound parameters.

mod backend;
mod dial;
mod error;
pub(crate) mod introspect;
mod moment;
mod mssql;
mod mysql;
pub mod placeholder;
mod pool;
mod postgres;
mod result;
mod settings;
mod sqlite;
mod text;

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Map, Number, Value};
use tokio_util::task::TaskTracker;

use self::backend::{Argument, ArgumentValue, Hint, Job};
use self::dial::{Network, Route};
use self::error::SqlError;
use self::placeholder::{Dialect, Query};
use self::pool::{AnyDatabase, Database};
use self::result::ResultSink;
use self::settings::Settings;
use crate::cancellation::Cancellation;
use crate::egress::Client;
use crate::error::CallError;
use crate::limits::Exceeded;
use crate::manifest::{Engine, SqlConfig};

/// Connections that nobody used for so long are closed.
const IDLE: Duration = Duration::from_secs(60);
/// Threads that wait for databases' answers.
const N_THREADS: usize = 2;

/// The databases that are connected to, by everything that decides which one a call reaches and as whom.
type Open = HashMap<Arc<Settings>, Arc<dyn AnyDatabase>>;

/// The databases that an engine's SQL connectors are connected to.
pub(crate) struct Databases {
    network: Network,
    sqlite_folder: Option<PathBuf>,
    runtime: OnceLock<tokio::runtime::Runtime>,
    open: Arc<Mutex<Open>>,
    aftermath: TaskTracker,
}

/// One query of a connector, to be run on a connection's database.
pub(crate) struct SqlCall<'a> {
    pub(crate) config: &'a SqlConfig,
    /// The connection's config over the manifest's.
    pub(crate) connection: Map<String, Value>,
    pub(crate) secrets: &'a BTreeMap<String, String>,
    pub(crate) query: &'a Query,
    /// The operation's `parametersSchema`.
    pub(crate) schema: &'a Value,
    /// Valid arguments.
    pub(crate) arguments: &'a Map<String, Value>,
    /// Whether the query may only read.
    pub(crate) read_only: bool,
    pub(crate) deadline: Instant,
    /// The deadline as a limit, for the message.
    pub(crate) deadline_limit: Duration,
    /// The most bytes of a result.
    pub(crate) max_bytes: u64,
    pub(crate) cancellation: &'a Cancellation,
}

impl Databases {
    /// No database is connected to before the first call. `sqlite_folder` is the one folder that SQLite files are in;
    /// where there is none, no SQLite database can be used.
    pub(crate) fn new(client: &Client, sqlite_folder: Option<PathBuf>) -> Self {
        Self {
            network: Network::new(client),
            sqlite_folder,
            runtime: OnceLock::new(),
            open: Arc::default(),
            aftermath: TaskTracker::new(),
        }
    }

    /// Runs a query, on this thread, to its end.
    pub(crate) fn call(&self, call: &SqlCall<'_>) -> Result<Value, CallError> {
        let settings = Settings::gather(call.config, &call.connection, call.secrets)?;
        let arguments = arguments(call)?;
        let job = Job { query: call.query, arguments, read_only: call.read_only, deadline: call.deadline };
        let sink = ResultSink::new(call.config.max_result_rows, call.max_bytes);
        let runtime = self.runtime()?;
        let _entered = runtime.enter();
        let name = settings.to_string();
        let database = self.database(settings)?;
        // A driver that panics over what a server sends ends this call, and no other.
        let run = AssertUnwindSafe(|| runtime.block_on(database.run(&job, sink, call.cancellation)));
        let ended = catch_unwind(run).unwrap_or_else(|_| {
            Err(SqlError::Unreachable { database: name, detail: "its answer broke the driver".to_owned() })
        });
        match ended {
            Ok(sink) => Ok(sink.finish()),
            Err(SqlError::TimedOut(_)) if Instant::now() >= call.deadline => {
                Err(CallError::exceeded(Exceeded::deadline(call.deadline_limit)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until the queries that were given up are cancelled on their servers, and connections are in order; for so
    /// long at most.
    pub(crate) fn settle(&self, limit: Duration) {
        let Some(runtime) = self.runtime.get() else { return };
        self.aftermath.close();
        // What isn't done by then ends with the process.
        let _ = runtime.block_on(async { tokio::time::timeout(limit, self.aftermath.wait()).await });
        self.aftermath.reopen();
    }

    fn runtime(&self) -> Result<&tokio::runtime::Runtime, SqlError> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(N_THREADS)
            .thread_name("sql")
            .enable_all()
            .build()
            .map_err(|error| SqlError::Settings(format!("no threads for SQL: {error}")))?;
        if self.runtime.set(runtime).is_ok() {
            self.close_idle_from_now_on();
        }
        // Whoever lost the race to set it uses the winner's.
        self.runtime.get().ok_or_else(|| SqlError::Settings("no threads for SQL".to_owned()))
    }

    fn close_idle_from_now_on(&self) {
        let Some(runtime) = self.runtime.get() else { return };
        let open = Arc::downgrade(&self.open);
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(IDLE / 4).await;
                let Some(open) = open.upgrade() else { return };
                let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
                open.retain(|_, database| !database.close_idle(IDLE) || Arc::strong_count(database) > 1);
            }
        });
    }

    fn database(&self, settings: Settings) -> Result<Arc<dyn AnyDatabase>, SqlError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = open.get(&settings) {
            return Ok(Arc::clone(database));
        }
        let settings = Arc::new(settings);
        let database = self.connectable(&settings)?;
        open.insert(settings, Arc::clone(&database));
        Ok(database)
    }

    fn connectable(&self, settings: &Arc<Settings>) -> Result<Arc<dyn AnyDatabase>, SqlError> {
        let route = Route::new(Arc::clone(settings), self.network.clone());
        let aftermath = self.aftermath.clone();
        Ok(match settings.engine {
            Engine::Postgres => Arc::new(Database::new(postgres::Postgres::default(), route, aftermath)?),
            Engine::Mysql => Arc::new(Database::new(mysql::Mysql, route, aftermath)?),
            Engine::Mssql => Arc::new(Database::new(mssql::Mssql, route, aftermath)?),
            Engine::Sqlite => {
                let file = sqlite::file(self.sqlite_folder.as_deref(), &settings.database)?;
                Arc::new(Database::new(sqlite::Sqlite::new(file), route, aftermath)?)
            }
        })
    }
}

impl std::fmt::Debug for Databases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Databases").field("sqlite_folder", &self.sqlite_folder).finish_non_exhaustive()
    }
}

impl Drop for Databases {
    /// A caller may itself be in an asynchronous context, where waiting for the threads to end isn't allowed.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl From<Engine> for Dialect {
    fn from(engine: Engine) -> Self {
        match engine {
            Engine::Postgres => Self::Postgres,
            Engine::Mysql => Self::Mysql,
            Engine::Mssql => Self::Mssql,
            Engine::Sqlite => Self::Sqlite,
        }
    }
}

/// The query's parameters with their values: what isn't given is NULL.
fn arguments<'a>(call: &SqlCall<'a>) -> Result<Vec<Argument<'a>>, SqlError> {
    call.query
        .parameters()
        .iter()
        .map(|name| {
            let hint = call.schema.pointer("/properties").and_then(|properties| properties.get(name));
            let hint = hint.map_or(Hint::None, hint_of);
            let value = argument_value(name, call.arguments.get(name), hint)?;
            Ok(Argument { name, value, hint })
        })
        .collect()
}

fn hint_of(property: &Value) -> Hint {
    let types: Vec<&str> = match property.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let mut types = types.into_iter().filter(|name| *name != "null");
    match (types.next(), types.next()) {
        (Some("boolean"), None) => Hint::Bool,
        (Some("integer"), None) => Hint::Integer,
        (Some("number"), None) => Hint::Number,
        (Some("string"), None) if property.get("contentEncoding") == Some(&Value::from("base64")) => {
            Hint::Bytes
        }
        (Some("string"), None) if property.get("format") == Some(&Value::from("date-time")) => Hint::DateTime,
        _ => Hint::None,
    }
}

/// Whether an integer is the one that was written.
fn is_exact(number: &Number) -> bool {
    !number.is_f64() || number.as_f64().is_some_and(|value| value.abs() < 9_007_199_254_740_992.0)
}

fn argument_value<'a>(
    name: &str,
    value: Option<&'a Value>,
    hint: Hint,
) -> Result<ArgumentValue<'a>, SqlError> {
    Ok(match value {
        None | Some(Value::Null) => ArgumentValue::Null,
        Some(Value::Bool(value)) => ArgumentValue::Bool(*value),
        Some(Value::Number(number)) if hint == Hint::Integer && !is_exact(number) => {
            let reason = "is an integer that a JSON number doesn't hold exactly: give it as a string, and let its schema allow one";
            return Err(SqlError::argument(name, reason));
        }
        Some(Value::Number(number)) => ArgumentValue::Number(number),
        Some(Value::String(text)) if text.contains('\0') => {
            return Err(SqlError::argument(
                name,
                "holds a NUL character, which databases don't store in text",
            ));
        }
        Some(Value::String(text)) if hint == Hint::Bytes => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text);
            ArgumentValue::Bytes(
                bytes.map_err(|error| SqlError::argument(name, format!("is no base64: {error}")))?,
            )
        }
        Some(Value::String(text)) => ArgumentValue::Text(text),
        Some(Value::Array(values)) => ArgumentValue::List(values),
        Some(Value::Object(map)) => ArgumentValue::Object(map),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_that_a_json_number_does_not_hold_is_refused() {
        for (json, hint, is_taken) in [
            ("12345678901234567890123", Hint::Integer, false),
            ("12345678901234567890123", Hint::Number, true),
            ("18446744073709551615", Hint::Integer, true),
            ("-9223372036854775808", Hint::Integer, true),
            ("5.0", Hint::Integer, true),
        ] {
            let value: Value = serde_json::from_str(json).expect("JSON");
            assert_eq!(argument_value("n", Some(&value), hint).is_ok(), is_taken, "{json} {hint:?}");
        }
    }
}
