//! Sessions over HTTP: whose each is, when it was last used, and its end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::GatewayCaller;
use crate::identity::{ProjectId, UserName};

/// How long a session lives that nobody uses and whose client listens to nothing.
const IDLE: Duration = Duration::from_secs(600);
/// Sessions of one key; one more ends the one that was used least lately.
const MAX_OF_KEY: usize = 100;
/// Sessions altogether; one more ends the one that was used least lately.
const MAX: usize = 10_000;

/// Who may use a session: who began it, at the same path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    project: ProjectId,
    key: Uuid,
    user: Option<UserName>,
    agent: Option<String>,
}

impl Owner {
    pub(super) fn of(caller: &GatewayCaller) -> Self {
        let identity = &caller.identity;
        Self {
            project: identity.project,
            key: identity.key,
            user: identity.user.clone(),
            agent: caller.agent.clone(),
        }
    }
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    owner: Owner,
    /// Cancelled at its end.
    pub(super) ended: CancellationToken,
    used: Mutex<Instant>,
    /// Streams that its client listens to.
    pub(super) n_streams: AtomicUsize,
    /// How often its client came back for a stream that broke off.
    pub(super) n_resumed: AtomicU64,
}

impl Session {
    fn new(owner: Owner) -> Self {
        Self {
            owner,
            ended: CancellationToken::new(),
            used: Mutex::new(Instant::now()),
            n_streams: AtomicUsize::new(0),
            n_resumed: AtomicU64::new(0),
        }
    }

    pub(super) fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.n_streams.load(Ordering::Relaxed) == 0 && now.saturating_duration_since(self.used()) > IDLE
    }
}

/// All sessions, by id.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_id: Mutex<HashMap<String, Arc<Session>>>,
}

impl Sessions {
    /// Adds a session; the ids of those that end for it.
    pub(super) fn add(&self, id: String, owner: Owner) -> Vec<String> {
        let mut by_id = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        let n_of_key = by_id.values().filter(|session| session.owner.key == owner.key).count();
        let is_over = |session: &Session| match n_of_key >= MAX_OF_KEY {
            true => session.owner.key == owner.key,
            false => by_id.len() >= MAX,
        };
        let oldest =
            by_id.iter().filter(|(_, session)| is_over(session)).min_by_key(|(_, session)| session.used());
        let ending: Vec<String> = oldest.map(|(id, _)| id.clone()).into_iter().collect();
        for id in &ending {
            end(by_id.remove(id));
        }
        by_id.insert(id, Arc::new(Session::new(owner)));
        ending
    }

    /// The owner's session of this id. Another's is as if it didn't exist.
    pub(super) fn find(&self, id: &str, owner: &Owner) -> Option<Arc<Session>> {
        let by_id = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        let session = by_id.get(id).filter(|session| session.owner == *owner)?;
        session.touch();
        Some(Arc::clone(session))
    }

    pub(super) fn remove(&self, id: &str) {
        end(self.by_id.lock().unwrap_or_else(PoisonError::into_inner).remove(id));
    }

    /// Ends those that are idle; their ids.
    pub(super) fn end_idle(&self, now: Instant) -> Vec<String> {
        let mut by_id = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        let idle: Vec<String> =
            by_id.iter().filter(|(_, session)| session.is_idle(now)).map(|(id, _)| id.clone()).collect();
        for id in &idle {
            end(by_id.remove(id));
        }
        idle
    }
}

fn end(session: Option<Arc<Session>>) {
    if let Some(session) = session {
        session.ended.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(key: u128, user: &str) -> Owner {
        Owner {
            project: ProjectId(Uuid::nil()),
            key: Uuid::from_u128(key),
            user: UserName::new(user).ok(),
            agent: None,
        }
    }

    #[test]
    fn a_session_is_found_by_its_owner_alone() {
        let sessions = Sessions::default();
        sessions.add("s".to_owned(), owner(1, "ada"));
        assert!(sessions.find("s", &owner(1, "ada")).is_some());
        let of_agent = Owner { agent: Some("helper".to_owned()), ..owner(1, "ada") };
        for other in [owner(2, "ada"), owner(1, "eve"), of_agent] {
            assert!(sessions.find("s", &other).is_none(), "{other:?}");
        }
        sessions.remove("s");
        assert!(sessions.find("s", &owner(1, "ada")).is_none());
    }

    #[test]
    fn one_too_many_ends_the_least_used_of_its_key() {
        let sessions = Sessions::default();
        sessions.add("other".to_owned(), owner(2, "eve"));
        for n in 0..MAX_OF_KEY {
            assert!(sessions.add(n.to_string(), owner(1, "ada")).is_empty());
        }
        let oldest = sessions.find("1", &owner(1, "ada")).unwrap();
        sessions.find("0", &owner(1, "ada")).unwrap();
        let used = sessions.by_id.lock().unwrap()["2"].used();
        *oldest.used.lock().unwrap() = used.checked_sub(Duration::from_secs(9)).unwrap();
        assert_eq!(sessions.add("new".to_owned(), owner(1, "ada")), ["1"]);
        assert!(oldest.ended.is_cancelled());
        assert!(sessions.find("other", &owner(2, "eve")).is_some());
    }

    #[test]
    fn idle_ones_end_unless_somebody_listens() {
        let sessions = Sessions::default();
        sessions.add("idle".to_owned(), owner(1, "ada"));
        sessions.add("listening".to_owned(), owner(1, "ada"));
        sessions.find("listening", &owner(1, "ada")).unwrap().n_streams.store(1, Ordering::Relaxed);
        assert!(sessions.end_idle(Instant::now()).is_empty());
        assert_eq!(sessions.end_idle(Instant::now() + IDLE + Duration::from_secs(1)), ["idle"]);
    }
}
