//! The settings of `portcullis serve`.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, value_parser};
use portcullis_runtime::{BytecodeCache, Engine, EngineConfig, FileStore};
use url::Url;

use super::{CacheFlags, LimitFlags, NetworkFlags, StoreFlags};
use crate::error::{Failure, FailureKind};
use crate::gateway::GatewayConfig;
use crate::http::HttpConfig;
use crate::mcp::McpSettings;
use crate::mcp::hosts::Hosts;
use crate::telemetry::{LogFormat, TelemetryConfig};

/// All that `serve` can be told.
#[derive(Args)]
pub(crate) struct ServeFlags {
    #[command(flatten)]
    server: ServerFlags,
    #[command(flatten)]
    connectors: ConnectorFlags,
    #[command(flatten)]
    pub(crate) store: StoreFlags,
    #[command(flatten)]
    calls: CallFlags,
    #[command(flatten)]
    mcp: McpFlags,
    #[command(flatten)]
    telemetry: TelemetryFlags,
    #[command(flatten)]
    network: NetworkFlags,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    cache: CacheFlags,
}

/// Where the server listens, and how it ends.
#[derive(Args)]
#[command(next_help_heading = "Server")]
struct ServerFlags {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", env = "PORTCULLIS_LISTEN", hide_env_values = true,
        default_value = "127.0.0.1:7400", value_parser = listen_address)]
    listen: SocketAddr,
    /// The address that others reach the server by, https://portcullis.example.com [default: the one listened on]
    #[arg(long, value_name = "URL", env = "PORTCULLIS_PUBLIC_URL", hide_env_values = true, value_parser = public_url)]
    public_url: Option<Url>,
    /// Let consents end at pages of this origin, https://app.example.com; repeatable
    #[arg(long, value_name = "ORIGIN", env = "PORTCULLIS_CALLBACK_ORIGIN", hide_env_values = true,
        value_delimiter = ',', value_parser = origin)]
    callback_origin: Vec<String>,
    /// A proxy in front terminates TLS; clients' addresses are read from its X-Forwarded-For
    #[arg(long, env = "PORTCULLIS_BEHIND_PROXY", hide_env_values = true, value_parser = BoolishValueParser::new())]
    behind_proxy: bool,
    /// Listen on an address that other machines reach, though keys and answers then cross the network unencrypted
    #[arg(long, env = "PORTCULLIS_INSECURE_LISTEN", hide_env_values = true, value_parser = BoolishValueParser::new())]
    insecure_listen: bool,
    /// How long calls under way may take to end at shutdown, in milliseconds
    #[arg(long, value_name = "MS", env = "PORTCULLIS_DRAIN_MS", hide_env_values = true,
        default_value_t = 30_000, value_parser = value_parser!(u64).range(0..=3_600_000))]
    drain_ms: u64,
}

/// Where connectors are, and what they work on.
#[derive(Args)]
#[command(next_help_heading = "Connectors")]
struct ConnectorFlags {
    /// The folder of connectors, one folder each, that is served and watched; made if missing
    #[arg(
        long,
        value_name = "DIR",
        env = "PORTCULLIS_INTEGRATIONS",
        hide_env_values = true,
        default_value = "integrations"
    )]
    integrations: PathBuf,
    /// Give connectors ctx.files, which stores into this folder [default: no ctx.files]
    #[arg(long, value_name = "DIR", env = "PORTCULLIS_FILES", hide_env_values = true)]
    files: Option<PathBuf>,
    /// The folder that SQLite connectors' databases are in [default: no SQLite connector can be called]
    #[arg(long, value_name = "DIR", env = "PORTCULLIS_SQLITE_DIR", hide_env_values = true)]
    sqlite_dir: Option<PathBuf>,
}

/// How many calls there may be, and how long they are remembered.
#[derive(Args)]
#[command(next_help_heading = "Calls")]
struct CallFlags {
    /// Calls under way at most
    #[arg(long, value_name = "N", env = "PORTCULLIS_MAX_CALLS", hide_env_values = true,
        default_value_t = 1024, value_parser = value_parser!(u32).range(1..=20_000))]
    max_calls: u32,
    /// Calls of one project under way at most, so that others find room [default: five eighths of --max-calls]
    #[arg(long, value_name = "N", env = "PORTCULLIS_MAX_CALLS_PER_PROJECT", hide_env_values = true,
        value_parser = value_parser!(u32).range(1..=20_000))]
    max_calls_per_project: Option<u32>,
    /// Calls of one project that may wait for room; more are refused with 429
    #[arg(long, value_name = "N", env = "PORTCULLIS_MAX_QUEUED_CALLS", hide_env_values = true,
        default_value_t = 2048, value_parser = value_parser!(u32).range(0..=1_000_000))]
    max_queued_calls: u32,
    /// The longest that a call waits for room, or for its connection's rate limit, in milliseconds
    #[arg(long, value_name = "MS", env = "PORTCULLIS_MAX_QUEUE_MS", hide_env_values = true,
        default_value_t = 10_000, value_parser = value_parser!(u64).range(0..=3_600_000))]
    max_queue_ms: u64,
    /// How long executions are kept, in days
    #[arg(long, value_name = "DAYS", env = "PORTCULLIS_EXECUTION_DAYS", hide_env_values = true,
        default_value_t = 30, value_parser = value_parser!(u32).range(1..=36_500))]
    execution_days: u32,
    /// How many executions of each project are kept
    #[arg(long, value_name = "N", env = "PORTCULLIS_EXECUTION_COUNT", hide_env_values = true,
        default_value_t = 1_000_000, value_parser = value_parser!(u64).range(1..=1_000_000_000))]
    execution_count: u64,
}

/// What MCP clients are given.
#[derive(Args)]
#[command(next_help_heading = "MCP")]
pub(crate) struct McpFlags {
    /// Characters of text in one result of a tool; the rest can be read on with the tool read_more
    #[arg(long, value_name = "N", env = "PORTCULLIS_MCP_RESULT_CHARS", hide_env_values = true,
        default_value_t = 100_000, value_parser = value_parser!(u32).range(1_000..=10_000_000))]
    pub(crate) mcp_result_chars: u32,
}

/// What the server tells about itself.
#[derive(Args)]
#[command(next_help_heading = "Telemetry")]
struct TelemetryFlags {
    /// What to log on standard error: a level (error, warn, info, debug, trace), or more of it by module: info,sqlx=debug
    #[arg(long, value_name = "FILTER", env = "PORTCULLIS_LOG", hide_env_values = true,
        default_value = "info", value_parser = log_filter)]
    log: String,
    /// How log lines are written: for people, in colour on a terminal, or as JSON objects for machines
    #[arg(
        long,
        value_name = "FORMAT",
        env = "PORTCULLIS_LOG_FORMAT",
        hide_env_values = true,
        default_value = "pretty",
        value_enum
    )]
    log_format: LogFormat,
    /// Send traces to an OpenTelemetry collector by OTLP over HTTP, such as http://127.0.0.1:4318
    #[arg(long, value_name = "URL", env = "PORTCULLIS_OTLP_ENDPOINT", hide_env_values = true, value_parser = http_url)]
    otlp_endpoint: Option<Url>,
}

impl ServeFlags {
    /// Where to listen; an address that other machines reach must be meant.
    pub(crate) fn listen(&self) -> Result<SocketAddr, Failure> {
        let ServerFlags { listen, behind_proxy, insecure_listen, .. } = &self.server;
        if listen.ip().to_canonical().is_loopback() || *behind_proxy || *insecure_listen {
            return Ok(*listen);
        }
        Err(Failure::usage(format!(
            "--listen {listen} can be reached from other machines, and the server speaks plain HTTP: keys, arguments and \
             results would cross the network unencrypted.\n\
             Behind a proxy that terminates TLS, add --behind-proxy. If the network itself is trusted, add --insecure-listen."
        )))
    }

    /// The address to tell people who listen on `bound`, without a slash at its end.
    pub(crate) fn address(&self, bound: SocketAddr) -> String {
        match &self.server.public_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => {
                let host = match bound.ip() {
                    IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
                    IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
                    ip => ip,
                };
                format!("http://{}", SocketAddr::new(host, bound.port()))
            }
        }
    }

    /// The settings of the HTTP server that listens on `bound`.
    pub(crate) fn http(&self, bound: SocketAddr) -> HttpConfig {
        HttpConfig {
            behind_proxy: self.server.behind_proxy,
            drain: self.drain(),
            hosts: Hosts::new(self.server.public_url.clone(), bound),
            mcp: McpSettings { max_chars: count(self.mcp.mcp_result_chars) },
        }
    }

    /// How long calls under way may take to end at shutdown.
    pub(crate) fn drain(&self) -> Duration {
        Duration::from_millis(self.server.drain_ms)
    }

    /// The settings of a gateway that listens on `bound`.
    pub(crate) fn gateway(&self, bound: SocketAddr) -> Result<GatewayConfig, Failure> {
        let calls = &self.calls;
        let of_project = calls.max_calls_per_project.unwrap_or((calls.max_calls * 5 / 8).max(1));
        if of_project > calls.max_calls {
            return Err(Failure::usage(format!(
                "--max-calls-per-project {of_project} is more than --max-calls {}: one project could never have so many",
                calls.max_calls
            )));
        }
        Ok(GatewayConfig {
            max_calls: self.max_calls(),
            max_calls_per_project: count(of_project),
            max_queued_per_project: count(calls.max_queued_calls),
            max_queue_time: Duration::from_millis(calls.max_queue_ms),
            execution_age: Duration::from_secs(u64::from(calls.execution_days) * 24 * 3600),
            execution_count: calls.execution_count,
            public_url: self.address(bound),
            callback_origins: self.server.callback_origin.clone(),
        })
    }

    /// Calls under way at most.
    pub(crate) fn max_calls(&self) -> usize {
        count(self.calls.max_calls)
    }

    /// The folder of connectors, made if missing.
    pub(crate) fn integrations(&self) -> Result<&Path, Failure> {
        let folder = self.connectors.integrations.as_path();
        fs::create_dir_all(folder).map_err(|error| {
            Failure::usage(format!("--integrations: can't make the folder {}: {error}", folder.display()))
        })?;
        Ok(folder)
    }

    /// The engine, and why compiled connectors can't be kept, where they can't.
    pub(crate) fn engine(&self) -> Result<(Engine, Option<String>), Failure> {
        let files = self.connectors.files.as_ref().map(|folder| {
            FileStore::in_folder(folder).map_err(|error| {
                Failure::usage(format!("--files: can't use the folder {}: {error}", folder.display()))
            })
        });
        let (cache, problem) = match self.cache.cache_or_in(self.store.data()) {
            Ok(cache) => (cache, None),
            Err(problem) => (None::<BytecodeCache>, Some(problem)),
        };
        let engine = Engine::new(EngineConfig {
            limits: self.limits.limits(),
            files: files.transpose()?,
            cache,
            sqlite_folder: self.sqlite_folder()?,
            ..EngineConfig::new(self.network.client()?)
        });
        Ok((engine, problem))
    }

    fn sqlite_folder(&self) -> Result<Option<PathBuf>, Failure> {
        let Some(folder) = &self.connectors.sqlite_dir else { return Ok(None) };
        if !folder.is_dir() {
            return Err(Failure::usage(format!(
                "--sqlite-dir {}: there is no such folder",
                folder.display()
            )));
        }
        Ok(Some(folder.clone()))
    }

    /// The settings of logs and traces.
    pub(crate) fn telemetry(&self) -> Result<TelemetryConfig, Failure> {
        let TelemetryFlags { log, log_format, otlp_endpoint } = &self.telemetry;
        Ok(TelemetryConfig {
            filter: log.clone(),
            format: *log_format,
            otlp_endpoint: otlp_endpoint.clone(),
            extra_roots_pem: self.network.client()?.extra_roots_pem().to_owned(),
        })
    }

    /// What no message may show.
    pub(crate) fn secrets(&self) -> Vec<&str> {
        self.network.proxy_credentials()
    }
}

impl ServeFlags {
    /// What to say where nobody can listen on `address`.
    pub(crate) fn listen_failure(address: SocketAddr, error: &std::io::Error) -> Failure {
        let advice = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "another program, perhaps another `portcullis serve`, listens there; stop it, or choose another port with --listen"
            }
            std::io::ErrorKind::PermissionDenied => {
                "ports below 1024 are for privileged users; choose another with --listen"
            }
            std::io::ErrorKind::AddrNotAvailable => {
                "this machine has no such address; choose another with --listen"
            }
            _ => "choose another address with --listen",
        };
        Failure::new(FailureKind::Listen, format!("can't listen on {address}: {error}\n{advice}"))
    }
}

/// Counts are far below the type's end.
fn count(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let local = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    local
        .as_deref()
        .unwrap_or(text)
        .parse()
        .map_err(|_| "write an IP address and a port: 127.0.0.1:7400, 0.0.0.0:8080, [::1]:7400".to_owned())
}

fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("it is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("it must begin with http:// or https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it can't hold a user name or password".to_owned());
    }
    Ok(url)
}

fn public_url(text: &str) -> Result<Url, String> {
    let url = http_url(text)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("it must end before any ? or #".to_owned());
    }
    Ok(url)
}

fn origin(text: &str) -> Result<String, String> {
    let url = http_url(text)?;
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("it must end after the host or port".to_owned());
    }
    Ok(url.origin().ascii_serialization())
}

fn log_filter(text: &str) -> Result<String, String> {
    tracing_subscriber::EnvFilter::builder()
        .parse(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("{error}; a level is one of error, warn, info, debug, trace and off"))
}
