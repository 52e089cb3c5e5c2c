//! `portcullis serve`: the gateway, from its settings to the end of its last call.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Args;
use portcullis_runtime::Redactor;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::call::print_failure;
use super::output::Console;
use super::signals::end_by;
use crate::api_key::ApiKey;
use crate::config::{DataLock, ServeFlags};
use crate::error::{Failure, FailureKind, Status, chain};
use crate::gateway::keys::new_key;
use crate::gateway::{Gateway, GatewayError};
use crate::http;
use crate::identity::Role;
use crate::integrations::Registry;
use crate::reload::{self, Reload};
use crate::store::Store;
use crate::telemetry::{Metrics, Telemetry};
use crate::time::Timestamp;

const EXAMPLES: &str = "\
Each flag is an environment variable, and a key of the TOML file that --config names, such as
max-calls = 64. A flag goes before the environment, the environment before the file.

Examples:
  portcullis serve
  portcullis serve --listen 127.0.0.1:8080 --integrations ./connectors --data /var/lib/portcullis
  portcullis serve --listen 0.0.0.0:7400 --behind-proxy --public-url https://portcullis.example.com";

/// The project that there is from the first start on.
const DEFAULT_PROJECT: &str = "default";

/// Threads besides those that wait for calls: store, compiler, files.
const OTHER_THREADS: usize = 128;

/// The stack of a thread, in bytes; all that they do is wait and copy.
const STACK: usize = 1024 * 1024;

/// How long threads that are still at work at the very end are waited for.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Serve the gateway: its API, and live reload of the folder integrations/
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Serve {
    #[command(flatten)]
    flags: ServeFlags,
}

/// A gateway that is ready to serve.
struct Ready {
    listener: TcpListener,
    bound: SocketAddr,
    gateway: Gateway,
    _reload: Reload,
    _lock: Option<DataLock>,
}

impl Serve {
    pub(super) fn execute(&self, console: &mut Console) -> Status {
        match self.serve(console) {
            Ok(()) => Status::Done,
            Err(failure) => {
                let failure = failure.redacted(&Redactor::new(self.flags.secrets()));
                print_failure(console, &failure, false)
            }
        }
    }

    fn serve(&self, console: &mut Console) -> Result<(), Failure> {
        let address = self.flags.listen()?;
        let telemetry = Telemetry::start(&self.flags.telemetry()?)?;
        allow_open_files(self.flags.max_calls());
        let runtime = runtime(self.flags.max_calls())?;
        let served = runtime.block_on(self.run(console, address));
        runtime.shutdown_timeout(LAST_WAIT);
        telemetry.shutdown();
        served
    }

    /// Serves until a signal. One that comes before there is anything to put in order ends it as well.
    async fn run(&self, console: &mut Console, address: SocketAddr) -> Result<(), Failure> {
        let mut stop = StopSignals::listen()?;
        let metrics = Metrics::collect();
        tokio::spawn(metrics.clone().keep_up());
        let ready = tokio::select! {
            ready = Box::pin(self.make_ready(console, address)) => ready?,
            _ = stop.next() => return Ok(()),
        };
        let Ready { listener, bound, gateway, _reload, _lock } = ready;
        let shutdown = CancellationToken::new();
        let served =
            http::serve(listener, gateway.clone(), metrics, self.flags.http(bound), shutdown.clone());
        let mut server = tokio::spawn(served);
        tokio::select! {
            ended = &mut server => return Err(server_failure(ended)),
            signal = stop.next() => {
                let patience = self.flags.drain();
                tracing::info!(signal, ?patience, "shutting down: waiting for the calls under way");
            }
        }
        shutdown.cancel();
        tokio::select! {
            () = Box::pin(drain(server, &gateway, self.flags.drain())) => Ok(()),
            signal = stop.next() => {
                tracing::warn!(signal, "ending at once");
                end_by(signal);
                Ok(())
            }
        }
    }

    /// Everything up to the first request. The address is taken first and the key made last, so that a start that fails
    /// makes no key that nobody gets to see.
    async fn make_ready(&self, console: &mut Console, address: SocketAddr) -> Result<Ready, Failure> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| ServeFlags::listen_failure(address, &error))?;
        let bound = listener.local_addr().map_err(|error| ServeFlags::listen_failure(address, &error))?;
        let lock = self.flags.store.lock()?;
        let config = self.flags.gateway(bound)?;
        let (engine, cache_problem) = self.flags.engine()?;
        if let Some(problem) = cache_problem {
            tracing::warn!("{problem}; compiling without it (--cache-dir names another, --no-cache none)");
        }
        let (store, vault) = self.flags.store.open().await?;
        // Nobody else runs anything on a database that this process has locked.
        let lapsed = store.sweep_approvals(Timestamp::now(), lock.is_some()).await;
        let n_unknown = lapsed.map_err(|error| store_failure(&error))?.n_unknown;
        if n_unknown > 0 {
            tracing::warn!(
                n_unknown,
                "approved calls were cut off; whether they were sent isn't known, and they don't run again"
            );
        }
        let folder = self.flags.integrations()?;
        let registry = Registry::new(engine.clone(), store.clone(), Some(folder.to_owned()));
        let started = Instant::now();
        registry.load_all().await.map_err(|error| store_failure(&error))?;
        tracing::info!(elapsed = ?started.elapsed(), "integrations are loaded");
        let reload = reload::watch(folder, registry.clone());
        let first_key = first_key(&store).await.map_err(|error| store_failure(&error))?;
        let gateway = Gateway::new(config, engine, store, vault, registry);
        console.print(&welcome(&self.flags.address(bound), bound, first_key.as_ref()));
        tracing::info!(address = %bound, version = env!("CARGO_PKG_VERSION"), "listening");
        Ok(Ready { listener, bound, gateway, _reload: reload, _lock: lock })
    }
}

/// The signals that end the server.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Begins to listen; SIGHUP, which would end the process otherwise, is only logged.
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(FailureKind::Listen, format!("can't listen for signals: {error}"))
            })
        };
        let mut hangup = listen(SignalKind::hangup())?;
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                tracing::info!(
                    "SIGHUP is ignored: integrations reload by themselves, other settings at a restart"
                );
            }
        });
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// The next one's number.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        }
    }
}

/// Lets requests and calls end, and the store after them.
async fn drain(server: tokio::task::JoinHandle<std::io::Result<()>>, gateway: &Gateway, patience: Duration) {
    let started = Instant::now();
    match server.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("the HTTP server ended badly: {error}"),
        Err(error) => tracing::warn!("the HTTP server ended badly: {error}"),
    }
    gateway.drain(patience.saturating_sub(started.elapsed())).await;
    gateway.store().close().await;
    tracing::info!(elapsed = ?started.elapsed(), "shut down");
}

fn server_failure(ended: Result<std::io::Result<()>, tokio::task::JoinError>) -> Failure {
    let problem = match ended {
        Ok(Ok(())) => "it stopped by itself".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    Failure::new(FailureKind::Listen, format!("the HTTP server ended: {problem}"))
}

fn store_failure(error: &dyn std::error::Error) -> Failure {
    Failure::new(FailureKind::Store, chain(error))
}

/// An admin's key where there is none, in the project that there is from the first start on.
async fn first_key(store: &Store) -> Result<Option<ApiKey>, GatewayError> {
    if store.has_admin_key().await? {
        return Ok(None);
    }
    let project = match store.project_named(DEFAULT_PROJECT).await? {
        Some(project) => project,
        None => store.create_project(DEFAULT_PROJECT).await?,
    };
    let (key, record) = new_key(project.id, Role::Admin, None, "made at the first start")?;
    store.insert_key(&record, key.hash()).await?;
    Ok(Some(key))
}

/// What is told on standard output once the server listens; the key is told nowhere else.
fn welcome(address: &str, bound: SocketAddr, first_key: Option<&ApiKey>) -> String {
    let listening = format!("portcullis {} is listening on http://{bound}\n", env!("CARGO_PKG_VERSION"));
    match first_key {
        None => format!(
            "{listening}\n\
             The console:  {address}/\n\
             Keys:         portcullis keys create --role admin   makes another if yours is lost\n"
        ),
        Some(key) => format!(
            "{listening}\n\
             This is the first start. The admin key of the project \"{DEFAULT_PROJECT}\" is shown this once, so keep it:\n\n\
             \x20 {key}\n\n\
             Try it:\n\n\
             \x20 curl -H \"Authorization: Bearer {key}\" {address}/api/tools/catalog\n\n\
             The console:  {address}/\n",
            key = key.reveal(),
        ),
    }
}

/// The threads that everything runs on: few that never wait, and one for each call, which does.
fn runtime(max_calls: usize) -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(max_calls + OTHER_THREADS)
        .thread_stack_size(STACK)
        .thread_name("portcullis")
        .build()
        .map_err(|error| Failure::new(FailureKind::Sandbox, format!("can't start threads: {error}")))
}

/// Raises the limit on open files as far as it goes: a call has several.
fn allow_open_files(max_calls: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!("can't raise the limit on open files: {error}");
    }
    let needed = u64::try_from(max_calls).unwrap_or(u64::MAX).saturating_mul(4).saturating_add(512);
    if let Some(allowed) = getrlimit(Resource::Nofile).current.filter(|allowed| *allowed < needed) {
        tracing::warn!(
            allowed,
            needed,
            "few files may be open at once for --max-calls {max_calls}; raise the hard limit (ulimit -Hn) or lower --max-calls"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_told_at_the_first_start_alone() {
        let key = ApiKey::generate();
        let bound = "127.0.0.1:7400".parse().unwrap();
        let first = welcome("http://127.0.0.1:7400", bound, Some(&key));
        let command = format!(
            "curl -H \"Authorization: Bearer {}\" http://127.0.0.1:7400/api/tools/catalog\n",
            key.reveal()
        );
        assert!(
            first.contains(&command) && first.contains("listening on http://127.0.0.1:7400\n"),
            "{first}"
        );
        let later = welcome("https://portcullis.example.com", bound, None);
        assert!(!later.contains("pc_") && later.contains("keys create --role admin"), "{later}");
    }
}
