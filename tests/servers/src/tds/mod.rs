//! A SQL Server of the tests' own: TDS 7.3 and 7.4 over real sockets, with answers that a test's handler makes up.
//!
//! It follows MS-TDS: prelogin with negotiated encryption and the TLS handshake inside of it, LOGIN7, packets of the
//! negotiated size, batches, `sp_executesql` and other procedure calls with typed parameters, result sets with the DONE
//! flags that go with them, errors in the middle, transactions with their descriptors, and Attention. It understands no
//! SQL but what is about transactions and settings (`BEGIN TRAN`, `IF @@TRANCOUNT > 0 ROLLBACK`, `SET …`, see
//! [`TdsServer::start`]): a test says what each statement answers. A client that breaks the protocol loses its
//! connection, and [`End::Violation`] says why; a wrong transaction descriptor is error 3989, as on the original.
//!
//! Not there: MARS, TDS 8 (`Encrypt=Strict`), Windows and federated logins, bulk load, `sql_variant`, UDTs and
//! table-valued parameters, cursors, connection resets.
//!
//! ```no_run
//! use portcullis_test_servers::tds::{Column, Options, Reply, Request, TdsServer, Type, Value};
//!
//! let server = TdsServer::start(Options::new("sa", "secret", "hotel"), |request: &Request| {
//!     match request.sql() {
//!         Some("SELECT 1") => vec![Reply::rows(vec![Column::new("one", Type::IntN(4))], vec![vec![Value::Int(1)]])],
//!         _ => vec![Reply::RowCount(1)],
//!     }
//! });
//! println!("port {}", server.port());
//! ```

mod calendar;
mod code_page;
mod decode;
mod encode;
mod failure;
mod journal;
mod login;
mod packet;
mod prelogin;
mod reply;
mod request;
mod respond;
mod session;
mod token;
mod transaction;
mod transport;
mod types;
mod value;
mod wire;

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub use crate::tds::journal::{Cause, End, Entry, Outcome, Protection, Session};
pub use crate::tds::login::Login;
pub use crate::tds::reply::{Column, Message, Reply, Response, Rows};
pub use crate::tds::request::{Parameter, Request, TransactionRequest};
pub use crate::tds::types::{Length, Type};
pub use crate::tds::value::Value;

use crate::tds::journal::Journal;
use crate::tds::session::{Shared, serve};

/// What the server says about encryption in its prelogin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// It has none. Clients that want it leave.
    NotSupported,
    /// It is the client's choice; one that doesn't want it has its login encrypted nevertheless. As SQL Server is
    /// installed.
    Optional,
    /// All or nothing: `Force Encryption`.
    Required,
}

/// How a server is set up.
pub struct Options {
    user: String,
    password: String,
    database: String,
    encryption: Encryption,
    tls: Option<Arc<ServerConfig>>,
    packet_size: usize,
}

impl Options {
    /// A server with one login and one database beside `master`, without encryption. A login that names no database
    /// gets that one.
    #[must_use]
    pub fn new(user: &str, password: &str, database: &str) -> Options {
        Options {
            user: user.to_owned(),
            password: password.to_owned(),
            database: database.to_owned(),
            encryption: Encryption::NotSupported,
            tls: None,
            packet_size: 32_767,
        }
    }

    /// With encryption, under this certificate (the server's first, then those that signed it) and its key. TLS is at
    /// 1.2, as SQL Server's is before TDS 8.
    ///
    /// # Panics
    ///
    /// When the key isn't the certificate's.
    #[must_use]
    pub fn encryption(
        self,
        encryption: Encryption,
        certificates: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Options {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS12])
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
            .unwrap_or_else(|error| panic!("the certificate of a TDS test server: {error}"));
        Options { encryption, tls: Some(Arc::new(config)), ..self }
    }

    /// Grants packets of at most this many bytes, from 512 to 32767, whatever the client asks for.
    #[must_use]
    pub fn packet_size(self, packet_size: usize) -> Options {
        Options { packet_size: packet_size.clamp(512, 32_767), ..self }
    }
}

/// A running server, on a port of its own on 127.0.0.1. Dropped, it kills its sessions and waits for their threads.
pub struct TdsServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    clients: Arc<Mutex<Vec<Client>>>,
    is_stopping: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

struct Client {
    stream: TcpStream,
    thread: JoinHandle<()>,
}

impl TdsServer {
    /// Starts a server. The handler is called for each batch and procedure call, on the session's thread.
    ///
    /// It isn't called for what the server answers by itself: transaction manager requests, and batches of nothing but
    /// `BEGIN TRAN`, `COMMIT`, `ROLLBACK`, the same after `IF @@TRANCOUNT > 0`, `SET` of options, `SELECT @@TRANCOUNT`
    /// and `SELECT @@SPID`. These keep the session's `@@TRANCOUNT`; `XACT_ABORT` does what it does on the original.
    ///
    /// # Panics
    ///
    /// When there is no port to listen on.
    #[must_use]
    pub fn start(
        options: Options,
        handler: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> TdsServer {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap_or_else(|error| panic!("listening for TDS on 127.0.0.1: {error}"));
        let address =
            listener.local_addr().unwrap_or_else(|error| panic!("the address of a TDS test server: {error}"));
        let shared = Arc::new(Shared {
            user: options.user,
            password: options.password,
            database: options.database,
            encryption: options.encryption,
            tls: options.tls,
            packet_size: options.packet_size,
            handler: Box::new(handler),
            journal: Journal::default(),
            is_killing: AtomicBool::new(false),
        });
        let (clients, is_stopping) = (Arc::default(), Arc::default());
        let accepting = (Arc::clone(&shared), Arc::clone(&clients), Arc::clone(&is_stopping));
        let listener = thread::spawn(move || accept(&listener, &accepting.0, &accepting.1, &accepting.2));
        TdsServer { address, shared, clients, is_stopping, listener: Some(listener) }
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// All requests so far, over all sessions, in the order of their arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.journal.requests()
    }

    /// All sessions so far, those that ended and those that never came to a login included.
    #[must_use]
    pub fn sessions(&self) -> Vec<Session> {
        self.shared.journal.sessions()
    }

    /// Waits until the sessions are as a test expects them, for at most `timeout`. Whether they came to be so.
    pub fn wait_until(&self, timeout: Duration, is_so: impl Fn(&[Session]) -> bool) -> bool {
        self.shared.journal.wait_until(timeout, is_so)
    }

    /// Shuts the connections of all sessions, as a server that fails does, and goes on accepting new ones. Returns when
    /// their threads have ended: not before a handler that is running.
    pub fn kill_sessions(&self) {
        self.shut_clients();
    }

    /// Shuts all connections and waits for their threads. Whether one of them had panicked.
    fn shut_clients(&self) -> bool {
        self.shared.is_killing.store(true, Ordering::Release);
        let clients = std::mem::take(&mut *self.clients.lock().unwrap_or_else(PoisonError::into_inner));
        for client in &clients {
            // One that is gone already needs no shutting.
            let _ = client.stream.shutdown(Shutdown::Both);
        }
        let n_panics = clients.into_iter().map(|client| client.thread.join()).filter(Result::is_err).count();
        self.shared.is_killing.store(false, Ordering::Release);
        n_panics > 0
    }
}

impl Drop for TdsServer {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Release);
        // Wakes the listener up, so that it sees that it is to stop.
        let _ = TcpStream::connect(self.address);
        let listener_panicked = self.listener.take().is_some_and(|listener| listener.join().is_err());
        let session_panicked = self.shut_clients();
        if (listener_panicked || session_panicked) && !thread::panicking() {
            panic!(
                "a thread of the TDS test server panicked, a handler's assertion perhaps: see its message above"
            );
        }
    }
}

fn accept(
    listener: &TcpListener,
    shared: &Arc<Shared>,
    clients: &Mutex<Vec<Client>>,
    is_stopping: &AtomicBool,
) {
    for stream in listener.incoming() {
        if is_stopping.load(Ordering::Acquire) {
            return;
        }
        // A client that is gone before it is accepted is no session.
        let Ok(client) = stream.and_then(|stream| start_session(stream, shared)) else { continue };
        clients.lock().unwrap_or_else(PoisonError::into_inner).push(client);
    }
}

fn start_session(stream: TcpStream, shared: &Arc<Shared>) -> io::Result<Client> {
    let kept = stream.try_clone()?;
    let shared = Arc::clone(shared);
    let id = shared.journal.open();
    let thread = thread::spawn(move || serve(&shared, stream, id));
    Ok(Client { stream: kept, thread })
}
