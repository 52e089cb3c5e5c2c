//! The provider's sockets: connections, TLS, which endpoint answers, and the faults.

use std::io::{self, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use crate::http1::{Message, server_config};
use crate::oauth::answer::{json as json_answer, plain, refusal};
use crate::oauth::authorize::authorize;
use crate::oauth::behaviour::Fault;
use crate::oauth::device;
use crate::oauth::request::Asked;
use crate::oauth::state::State;
use crate::oauth::token::{authenticate, token};

pub(crate) struct Shared {
    state: Mutex<State>,
    /// Told when held answers may go.
    pub(crate) changed: Condvar,
    pub(crate) is_over: AtomicBool,
    issuer: String,
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens on a free port, until it is over.
pub(crate) fn listen() -> anyhow::Result<(u16, Arc<Shared>)> {
    let tls = server_config()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let issuer = format!("https://localhost:{port}");
    let mut state = State::default();
    state.behaviour.iss = Some(issuer.clone());
    let shared = Arc::new(Shared {
        state: Mutex::new(state),
        changed: Condvar::new(),
        is_over: AtomicBool::new(false),
        issuer,
    });
    let accepting = Arc::clone(&shared);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if accepting.is_over.load(Ordering::SeqCst) {
                return;
            }
            let (shared, tls) = (Arc::clone(&accepting), Arc::clone(&tls));
            // A client that goes away has nothing to be told.
            thread::spawn(move || serve(stream, tls, &shared));
        }
    });
    Ok((port, shared))
}

fn serve(stream: TcpStream, tls: Arc<ServerConfig>, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    while let Some(message) = Message::read(&mut stream)? {
        let Some(answer) = answer(shared, Asked::new(message)) else { return Ok(()) };
        answer.write(stream.get_mut())?;
    }
    Ok(())
}

/// The answer, or none where the connection is to be closed.
fn answer(shared: &Shared, asked: Asked) -> Option<Message> {
    let mut state = shared.state();
    state.requests.push(asked.clone());
    let fault = match asked.path() {
        "/token" => state.faults.pop_front().or_else(|| state.behaviour.always.clone()),
        "/revoke" => state.revocation_faults.pop_front(),
        _ => None,
    };
    match fault.as_ref() {
        Some(Fault::Status(status)) => return Some(plain(*status, "text/html", "<h1>Out of order</h1>")),
        Some(Fault::Refusal(status, error)) => return Some(refusal(*status, error, "the test wants it")),
        Some(Fault::Garbage) => return Some(plain(200, "text/html", "<h1>Welcome</h1>")),
        Some(Fault::CloseBefore) => return None,
        _ => {}
    }
    let answer = endpoint(&mut state, &asked, &shared.issuer);
    match fault {
        Some(Fault::CloseAfter) => return None,
        Some(Fault::Delay(time)) => {
            drop(state);
            thread::sleep(time);
        }
        Some(Fault::Hold) => {
            state.n_held += 1;
            let before = state.n_released;
            let held =
                shared.changed.wait_timeout_while(state, State::HOLD, |state| state.n_released == before);
            drop(held.unwrap_or_else(PoisonError::into_inner));
        }
        _ => {}
    }
    Some(answer)
}

fn endpoint(state: &mut State, asked: &Asked, issuer: &str) -> Message {
    match (asked.method(), asked.path()) {
        ("GET", "/authorize") => authorize(state, asked),
        ("POST", "/token") => token(state, asked, issuer),
        ("POST", "/revoke") => match authenticate(state.behaviour.token_auth, asked) {
            Err(complaint) => refusal(401, "invalid_client", &complaint),
            Ok(()) => match asked.param("token") {
                Some(token) => {
                    state.revoke(token);
                    plain(200, "text/plain", "")
                }
                None => refusal(400, "invalid_request", "no token"),
            },
        },
        ("POST", "/device_authorization") => device::authorize(state, asked, issuer),
        (_, path) if path.starts_with("/api/") => resource(state, asked),
        _ => plain(404, "text/plain", "nothing here"),
    }
}

/// What the tokens are for.
fn resource(state: &State, asked: &Asked) -> Message {
    match asked.bearer().and_then(|token| state.holder(token)) {
        Some(consent) => {
            json_answer(200, &json!({"account": consent.account, "scope": consent.scopes.join(" ")}))
        }
        None => {
            let mut answer = json_answer(401, &json!({"error": "invalid_token"}));
            answer.headers.push(("www-authenticate".to_owned(), "Bearer error=\"invalid_token\"".to_owned()));
            answer
        }
    }
}
