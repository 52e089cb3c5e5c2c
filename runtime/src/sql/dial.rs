//! From a server's name to a socket: the address is resolved and checked as every address is, and exactly that is dialled.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixListener};

use super::error::SqlError;
use super::settings::{Encryption, Settings};
use crate::egress::Client;
use crate::egress::resolver::{AddressResolver, ResolveError};

/// The way to a database server.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) settings: Arc<Settings>,
    network: Network,
}

/// What of the network a route needs.
#[derive(Clone, Debug)]
pub(super) struct Network {
    resolver: AddressResolver,
    /// Certificates to trust besides Mozilla's, as PEM.
    extra_roots_pem: Arc<str>,
    has_proxy: bool,
}

impl Network {
    pub(super) fn new(client: &Client) -> Self {
        Self {
            resolver: client.resolver().clone(),
            extra_roots_pem: client.extra_roots_pem().into(),
            has_proxy: client.has_proxy(),
        }
    }
}

impl Route {
    pub(super) fn new(settings: Arc<Settings>, network: Network) -> Self {
        Self { settings, network }
    }

    /// The way to another server that this one names in its place, for the same account.
    pub(super) fn with_server(&self, host: &str, port: u16) -> Self {
        let settings = Settings { host: host.to_owned(), port, ..Settings::clone(&self.settings) };
        Self::new(Arc::new(settings), self.network.clone())
    }

    /// Certificates to trust besides Mozilla's, as PEM; perhaps empty.
    pub(super) fn extra_roots_pem(&self) -> &str {
        &self.network.extra_roots_pem
    }

    /// Whether drivers that take a host's name, and nothing else, to verify its certificate need a [`Relay`].
    pub(super) fn needs_name(&self) -> bool {
        self.settings.encryption == Encryption::Verified
            && self.settings.host.parse::<std::net::IpAddr>().is_err()
    }

    /// The addresses of the server that may be dialled, in order; never empty.
    ///
    /// # Errors
    /// The name has no address, or one that the operator doesn't allow.
    pub(super) async fn addresses(&self) -> Result<Vec<SocketAddr>, SqlError> {
        let database = self.settings.to_string();
        if self.network.has_proxy {
            let detail = "the operator sends all traffic through an HTTP proxy (--egress-proxy), \
                          which SQL connections can't take";
            return Err(SqlError::Unreachable { database, detail: detail.to_owned() });
        }
        let (resolver, settings) = (self.network.resolver.clone(), Arc::clone(&self.settings));
        let deadline = Instant::now() + settings.connection_timeout;
        let lookup = move || resolver.resolve(&settings.host, settings.port, deadline);
        let resolved = tokio::task::spawn_blocking(lookup).await;
        match resolved {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(refused @ ResolveError::Refused { .. })) => Err(SqlError::Refused { database, refused }),
            Ok(Err(failed)) => Err(SqlError::Unreachable { database, detail: failed.to_string() }),
            Err(panicked) => Err(SqlError::Unreachable { database, detail: panicked.to_string() }),
        }
    }

    /// A connection to the first of the server's addresses that answers.
    pub(super) async fn connect(&self) -> Result<TcpStream, SqlError> {
        let mut last = None;
        for address in self.addresses().await? {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(|error| self.unreachable(&error))?;
                    return Ok(stream);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(self.unreachable(&last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into())))
    }

    /// No connection to this server came about.
    pub(super) fn unreachable(&self, error: &dyn std::error::Error) -> SqlError {
        SqlError::Unreachable { database: self.settings.to_string(), detail: error.to_string() }
    }
}

/// A Unix socket that leads to a server's address: for drivers that resolve the name which they verify a certificate for
/// by themselves. They are given the name and this socket, and so dial nothing but what was checked.
#[derive(Debug)]
pub(super) struct Relay {
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl Relay {
    /// Connects to the server, and waits for one connection on a socket called `name` in a new private folder.
    pub(super) async fn open(route: &Route, name: &str) -> Result<Self, SqlError> {
        let mut server = route.connect().await?;
        let failed = |error: io::Error| route.unreachable(&error);
        let folder = tempfile::Builder::new().prefix("portcullis-").tempdir().map_err(failed)?;
        let path = folder.path().join(name);
        let listener = UnixListener::bind(&path).map_err(failed)?;
        tokio::spawn(async move {
            // Whoever else gets at the folder is this user or root; still, only this process is served.
            let Ok((mut client, _)) = listener.accept().await else { return };
            let own = i32::try_from(std::process::id()).ok();
            if client.peer_cred().is_ok_and(|peer| peer.pid() == own) {
                // Either side may end the connection in any way: it is over then.
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
        });
        Ok(Self { folder, path })
    }

    /// The folder that holds the socket.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The socket.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
