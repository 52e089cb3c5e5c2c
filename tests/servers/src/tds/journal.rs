//! What happened on the server, for tests to look at: sessions, their requests, their transactions, their ends.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::tds::login::Login;
use crate::tds::request::Request;

/// One connection of a client, from its first packet on.
#[derive(Clone, Debug)]
pub struct Session {
    /// The number that clients see as `@@SPID`, from 51.
    pub id: u16,
    /// What of it is encrypted, once that is negotiated.
    pub protection: Option<Protection>,
    /// What the client said at its login, whether it was let in or not.
    pub login: Option<Login>,
    /// Whether the client was let in.
    pub logged_in: bool,
    /// What happened since, in order.
    pub log: Vec<Entry>,
    /// How it ended; `None` while it runs.
    pub end: Option<End>,
}

impl Session {
    /// Its requests, in order.
    pub fn requests(&self) -> impl Iterator<Item = &Request> {
        self.log.iter().filter_map(|entry| match entry {
            Entry::Request { request, .. } => Some(request),
            _ => None,
        })
    }

    /// The SQL of its requests, in order.
    pub fn sql(&self) -> impl Iterator<Item = &str> {
        self.requests().filter_map(Request::sql)
    }
}

/// What of a session is in TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Nothing, the password included.
    Plain,
    /// The login alone.
    Login,
    /// All that follows the prelogin.
    Session,
}

/// One thing that happened in a session.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// A request came.
    Request {
        /// Which.
        request: Request,
        /// What became of it.
        outcome: Outcome,
    },
    /// A transaction was begun.
    Begun,
    /// The transaction was committed.
    Committed,
    /// The transaction was rolled back.
    RolledBack(Cause),
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is being answered.
    Running,
    /// It was answered to the end, with or without errors.
    Completed,
    /// An Attention ended it.
    Cancelled,
    /// The connection ended before its answer did.
    Abandoned,
}

/// What a transaction was rolled back by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A ROLLBACK.
    Statement,
    /// An error or an Attention under `SET XACT_ABORT ON`.
    Abort,
    /// The end of the session.
    Disconnect,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The client left.
    Closed,
    /// The server was stopped, or the session killed.
    Killed,
    /// A handler hung up.
    HungUp,
    /// The login was refused with this error.
    Refused(u32),
    /// The client broke the protocol, in this way; a TLS handshake that failed is one.
    Violation(String),
}

/// The sessions so far, and a signal on each change.
#[derive(Default)]
pub(crate) struct Journal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    sessions: Vec<Session>,
    /// All requests in the order of their arrival.
    requests: Vec<Request>,
}

const FIRST_ID: u16 = 51;

impl Journal {
    /// Opens a session and gives it its number.
    pub(crate) fn open(&self) -> u16 {
        let mut state = self.lock();
        let n_sessions = u16::try_from(state.sessions.len()).unwrap_or(u16::MAX - FIRST_ID);
        let id = FIRST_ID + n_sessions;
        state.sessions.push(Session {
            id,
            protection: None,
            login: None,
            logged_in: false,
            log: Vec::new(),
            end: None,
        });
        id
    }

    /// Changes what is known of a session.
    pub(crate) fn update(&self, id: u16, change: impl FnOnce(&mut Session)) {
        if let Some(session) = self.lock().sessions.iter_mut().find(|session| session.id == id) {
            change(session);
        }
        self.changed.notify_all();
    }

    pub(crate) fn log(&self, id: u16, entry: Entry) {
        if let Entry::Request { request, .. } = &entry {
            self.lock().requests.push(request.clone());
        }
        self.update(id, |session| session.log.push(entry));
    }

    /// Says what became of the last request that was running.
    pub(crate) fn conclude(&self, id: u16, conclusion: Outcome) {
        self.update(id, |session| {
            let running = session.log.iter_mut().rev().find_map(|entry| match entry {
                Entry::Request { outcome: outcome @ Outcome::Running, .. } => Some(outcome),
                _ => None,
            });
            if let Some(outcome) = running {
                *outcome = conclusion;
            }
        });
    }

    pub(crate) fn sessions(&self) -> Vec<Session> {
        self.lock().sessions.clone()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    /// Waits until the sessions are as they should, for at most that long. Whether they came to be so.
    pub(crate) fn wait_until(&self, timeout: Duration, is_so: impl Fn(&[Session]) -> bool) -> bool {
        let end = Instant::now() + timeout;
        let mut state = self.lock();
        while !is_so(&state.sessions) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
