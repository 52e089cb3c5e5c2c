//! The operator's settings: one clap struct for each group of flags, each flag an environment variable too.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, value_parser};
use ipnet::IpNet;
use portcullis_runtime::{BytecodeCache, Client, EgressConfig, EgressMapping, KIB, Limits, MIB};

use crate::error::{Failure, chain};

/// What connectors may reach beyond their `allowedHosts`, and how.
#[derive(Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkFlags {
    /// Let connectors reach a network that is refused otherwise, such as 127.0.0.0/8; repeatable
    #[arg(
        long,
        value_name = "CIDR",
        env = "PORTCULLIS_ALLOW_NETWORK",
        hide_env_values = true,
        value_delimiter = ','
    )]
    allow_network: Vec<String>,
    /// Dial another address for a host (`*` is every host); the TLS name stays; repeatable
    #[arg(
        long,
        value_name = "HOST[:PORT]=ADDR:PORT",
        env = "PORTCULLIS_EGRESS_MAP",
        hide_env_values = true,
        value_delimiter = ','
    )]
    egress_map: Vec<String>,
    /// Trust the certificate authorities in a PEM file too; repeatable
    #[arg(long, value_name = "PEM", env = "PORTCULLIS_CA_FILE", hide_env_values = true)]
    ca_file: Vec<PathBuf>,
    /// Send all requests through an HTTP proxy, http://[user:password@]host[:port]
    #[arg(long, value_name = "URL", env = "PORTCULLIS_EGRESS_PROXY", hide_env_values = true)]
    egress_proxy: Option<String>,
}

impl NetworkFlags {
    /// The client that these settings make.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let config = EgressConfig {
            allow_networks: given(&self.allow_network).map(network).collect::<Result<_, _>>()?,
            map: given(&self.egress_map).map(mapping).collect::<Result<_, _>>()?,
            extra_roots_pem: self.ca_files().map(|path| certificates(path)).collect::<Result<_, _>>()?,
            proxy: self.egress_proxy.clone().filter(|url| !url.trim().is_empty()),
        };
        // Checked one by one before all together, so that the message can name the file.
        for (path, pem) in self.ca_files().zip(&config.extra_roots_pem) {
            let alone = EgressConfig { extra_roots_pem: vec![pem.clone()], ..EgressConfig::default() };
            if Client::new(&alone).is_err() {
                let path = path.display();
                return Err(Failure::usage(format!(
                    "--ca-file {path}: no certificate in it that can be used; it must be PEM, with BEGIN CERTIFICATE"
                )));
            }
        }
        Client::new(&config).map_err(|error| Failure::usage(chain(&error)))
    }

    /// The proxy's user name and password, which no message may show.
    pub(crate) fn proxy_credentials(&self) -> Vec<&str> {
        let authority =
            self.egress_proxy.as_deref().map(|url| url.split_once("://").map_or(url, |(_, rest)| rest));
        let Some((user_info, _)) = authority.and_then(|authority| authority.rsplit_once('@')) else {
            return Vec::new();
        };
        let password = user_info.split_once(':').map(|(_, password)| password);
        std::iter::once(user_info).chain(password).collect()
    }

    fn ca_files(&self) -> impl Iterator<Item = &PathBuf> {
        self.ca_file.iter().filter(|path| !path.as_os_str().is_empty())
    }
}

/// The entries of a list; empty ones, as an empty environment variable gives, are none.
fn given(list: &[String]) -> impl Iterator<Item = &str> {
    list.iter().map(|entry| entry.trim()).filter(|entry| !entry.is_empty())
}

fn network(text: &str) -> Result<IpNet, Failure> {
    let alone = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>().or_else(|_| alone()).map_err(|_| {
        Failure::usage(format!(
            "--allow-network {text:?} is no network: write it like 127.0.0.0/8, 10.1.2.3 or fd00::/8"
        ))
    })
}

fn mapping(text: &str) -> Result<EgressMapping, Failure> {
    text.parse().map_err(|error| Failure::usage(format!("--egress-map: {}", chain(&error))))
}

fn certificates(path: &Path) -> Result<String, Failure> {
    let bytes = fs::read(path)
        .map_err(|error| Failure::usage(format!("--ca-file: can't read {}: {error}", path.display())))?;
    // A PEM file may hold remarks in any encoding around its certificates, which are ASCII.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What a call may use.
#[derive(Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitFlags {
    /// Wall-clock time of an operation, in milliseconds
    #[arg(long, value_name = "MS", env = "PORTCULLIS_DEADLINE_MS", hide_env_values = true,
        default_value_t = ms(Limits::default().deadline), value_parser = value_parser!(u64).range(1..=DAY_MS))]
    deadline_ms: u64,
    /// Wall-clock time of a connection test, in milliseconds
    #[arg(long, value_name = "MS", env = "PORTCULLIS_TEST_DEADLINE_MS", hide_env_values = true,
        default_value_t = ms(Limits::default().test_deadline), value_parser = value_parser!(u64).range(1..=DAY_MS))]
    test_deadline_ms: u64,
    /// The longest deadline that a connector's `connectionConfig.timeout` can ask for, in milliseconds
    #[arg(long, value_name = "MS", env = "PORTCULLIS_MAX_DEADLINE_MS", hide_env_values = true,
        default_value_t = ms(Limits::default().max_deadline), value_parser = value_parser!(u64).range(1..=DAY_MS))]
    max_deadline_ms: u64,
    /// Processor time, in milliseconds
    #[arg(long, value_name = "MS", env = "PORTCULLIS_CPU_MS", hide_env_values = true,
        default_value_t = ms(Limits::default().cpu), value_parser = value_parser!(u64).range(1..=DAY_MS))]
    cpu_ms: u64,
    /// Memory, in MiB
    #[arg(long, value_name = "MIB", env = "PORTCULLIS_MEMORY_MIB", hide_env_values = true,
        default_value_t = Limits::default().memory / MIB, value_parser = value_parser!(u64).range(1..=65_536))]
    memory_mib: u64,
    /// Stack, in KiB
    #[arg(long, value_name = "KIB", env = "PORTCULLIS_STACK_KIB", hide_env_values = true,
        default_value_t = Limits::default().stack / KIB, value_parser = value_parser!(u64).range(64..=4_096))]
    stack_kib: u64,
    /// Number of HTTP requests
    #[arg(long, value_name = "N", env = "PORTCULLIS_HTTP_REQUESTS", hide_env_values = true, default_value_t = Limits::default().http_requests)]
    http_requests: u32,
    /// An HTTP response's body, in KiB
    #[arg(long, value_name = "KIB", env = "PORTCULLIS_RESPONSE_BODY_KIB", hide_env_values = true,
        default_value_t = Limits::default().response_body / KIB, value_parser = value_parser!(u64).range(1..=4_194_304))]
    response_body_kib: u64,
    /// A file that is downloaded or stored, in MiB
    #[arg(long, value_name = "MIB", env = "PORTCULLIS_FILE_MIB", hide_env_values = true,
        default_value_t = Limits::default().file / MIB, value_parser = value_parser!(u64).range(1..=1_048_576))]
    file_mib: u64,
    /// The result as JSON, in KiB
    #[arg(long, value_name = "KIB", env = "PORTCULLIS_RESULT_KIB", hide_env_values = true,
        default_value_t = Limits::default().result / KIB, value_parser = value_parser!(u64).range(1..=1_048_576))]
    result_kib: u64,
    /// All log messages together, in KiB
    #[arg(long, value_name = "KIB", env = "PORTCULLIS_LOGS_KIB", hide_env_values = true,
        default_value_t = Limits::default().logs / KIB, value_parser = value_parser!(u64).range(1..=1_048_576))]
    logs_kib: u64,
}

impl LimitFlags {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            deadline: Duration::from_millis(self.deadline_ms),
            test_deadline: Duration::from_millis(self.test_deadline_ms),
            max_deadline: Duration::from_millis(self.max_deadline_ms),
            cpu: Duration::from_millis(self.cpu_ms),
            memory: self.memory_mib * MIB,
            stack: self.stack_kib * KIB,
            http_requests: self.http_requests,
            response_body: self.response_body_kib * KIB,
            file: self.file_mib * MIB,
            result: self.result_kib * KIB,
            logs: self.logs_kib * KIB,
        }
    }
}

/// The flag that raises a limit, by the limit's name in an error's details.
pub(crate) fn flag_of_limit(limit: &str) -> Option<&'static str> {
    Some(match limit {
        "deadline" => "--deadline-ms",
        "cpu" => "--cpu-ms",
        "memory" => "--memory-mib",
        "stack" => "--stack-kib",
        "http_requests" => "--http-requests",
        "response_body" => "--response-body-kib",
        "file" => "--file-mib",
        "result" => "--result-kib",
        "logs" => "--logs-kib",
        _ => return None,
    })
}

/// Whole milliseconds; the defaults are all far below the type's end.
fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Where compiled connectors are kept from one run to the next.
#[derive(Args)]
#[command(next_help_heading = "Cache")]
pub(crate) struct CacheFlags {
    /// Keep compiled connectors under this folder [default: $XDG_CACHE_HOME/portcullis or ~/.cache/portcullis]
    #[arg(long, value_name = "DIR", env = "PORTCULLIS_CACHE_DIR", hide_env_values = true)]
    cache_dir: Option<PathBuf>,
    /// Compile anew, and keep nothing
    #[arg(long)]
    no_cache: bool,
}

impl CacheFlags {
    /// The cache, where there is one; where it can't be used, why not.
    pub(crate) fn cache(&self) -> Result<Option<BytecodeCache>, String> {
        if self.no_cache {
            return Ok(None);
        }
        let own = self.cache_dir.clone().filter(|folder| !folder.as_os_str().is_empty());
        let Some(folder) = own.or_else(user_cache) else { return Ok(None) };
        BytecodeCache::in_folder(folder.join("bytecode")).map(Some).map_err(|error| chain(&error))
    }
}

/// The user's own cache folder for this program, by the XDG base directory specification: relative paths don't count.
fn user_cache() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(caches.join("portcullis"))
}
