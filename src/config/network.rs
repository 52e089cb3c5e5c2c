//! What connectors may reach beyond their `allowedHosts`: the settings of egress.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use ipnet::IpNet;
use portcullis_runtime::{Client, EgressConfig, EgressMapping};

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
