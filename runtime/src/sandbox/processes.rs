//! The processes of one connector: its zygote, started with its first call, those forked ahead while it is busy, and the
//! end of both when it is idle.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::{CallProcess, ConnectorZygote, Sandbox, SandboxError, locked};
use crate::isolate::Image;
use crate::limits::Limits;

/// Calls within [`READY_FOR`] of each other after which a connector counts as busy.
const BUSY_AFTER_CALLS: u32 = 2;
/// How long processes forked ahead outlive the last call.
const READY_FOR: Duration = Duration::from_secs(30);
/// How long a zygote outlives the last call.
const ZYGOTE_FOR: Duration = Duration::from_secs(300);
/// How often idleness is looked at.
const ROUND: Duration = Duration::from_secs(10);

/// What one connector has running.
#[derive(Debug)]
pub(crate) struct ConnectorProcesses {
    image: Image,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    zygote: Option<Arc<ConnectorZygote>>,
    /// Calls since the connector was last idle.
    n_calls: u32,
    last_call: Instant,
}

impl ConnectorProcesses {
    /// Nothing runs yet.
    pub(crate) fn new(image: Image) -> Self {
        let state = State { zygote: None, n_calls: 0, last_call: Instant::now() };
        Self { image, state: Mutex::new(state) }
    }

    pub(crate) fn image(&self) -> &Image {
        &self.image
    }

    /// A process for one call. A zygote that doesn't answer is given up and replaced, once.
    pub(crate) fn call_process(
        &self,
        sandbox: &Sandbox,
        limits: &Limits,
        deadline: Instant,
    ) -> Result<CallProcess, SandboxError> {
        let zygote = self.zygote(sandbox, limits)?;
        match zygote.call_process(deadline) {
            Err(_) if Instant::now() < deadline => self.forget(&zygote),
            answered => return answered,
        }
        self.zygote(sandbox, limits)?.call_process(deadline)
    }

    /// Forks processes ahead of the next calls, where the connector is busy.
    fn keep_ready(&self, n_ready: usize) {
        let zygote = {
            let state = locked(&self.state);
            state.zygote.clone().filter(|_| state.n_calls >= BUSY_AFTER_CALLS)
        };
        if let Some(zygote) = zygote {
            zygote.keep_ready(n_ready);
        }
    }

    fn zygote(&self, sandbox: &Sandbox, limits: &Limits) -> Result<Arc<ConnectorZygote>, SandboxError> {
        let mut state = locked(&self.state);
        state.n_calls = state.n_calls.saturating_add(1);
        state.last_call = Instant::now();
        match &state.zygote {
            Some(zygote) => Ok(Arc::clone(zygote)),
            None => {
                let zygote = Arc::new(sandbox.connector(&self.image, limits)?);
                state.zygote = Some(Arc::clone(&zygote));
                Ok(zygote)
            }
        }
    }

    fn forget(&self, broken: &Arc<ConnectorZygote>) {
        let mut state = locked(&self.state);
        if state.zygote.as_ref().is_some_and(|running| Arc::ptr_eq(running, broken)) {
            state.zygote = None;
        }
    }

    /// Ends what an idle connector has running. Whether anything still runs.
    fn give_up_idle(&self, now: Instant) -> bool {
        let mut state = locked(&self.state);
        let idle = now.saturating_duration_since(state.last_call);
        if idle >= ZYGOTE_FOR {
            state.zygote = None;
        }
        if idle >= READY_FOR {
            state.n_calls = 0;
            if let Some(zygote) = &state.zygote {
                zygote.drop_ready();
            }
        }
        state.zygote.is_some()
    }
}

/// Looks after the connectors of one engine, on a thread of its own: forks ahead for the busy ones, so that no call waits
/// for that, and ends what idle ones have running.
#[derive(Debug)]
pub(crate) struct Keeper {
    n_ready: usize,
    sender: Mutex<Option<Sender<Weak<ConnectorProcesses>>>>,
}

impl Keeper {
    /// A keeper of `n_ready` processes for each busy connector; its thread starts with the first call.
    pub(crate) fn new(n_ready: usize) -> Self {
        Self { n_ready, sender: Mutex::new(None) }
    }

    /// Tells of a connector that was called.
    pub(crate) fn called(&self, processes: &Arc<ConnectorProcesses>) {
        let mut sender = locked(&self.sender);
        let told = sender.as_ref().is_some_and(|sender| sender.send(Arc::downgrade(processes)).is_ok());
        if !told {
            let (new_sender, calls) = channel();
            let n_ready = self.n_ready;
            // Without a thread nothing is forked ahead and nothing ended early: slower, and no fault.
            let keep = move || keep(&calls, n_ready);
            let _ = thread::Builder::new().name("keeper".into()).stack_size(128 * 1024).spawn(keep);
            let _ = new_sender.send(Arc::downgrade(processes));
            *sender = Some(new_sender);
        }
    }
}

/// Forks wait for so long after a call, so that its answer isn't on its way to its caller beside them: where there are few
/// cores, they take one, and the caches of both.
const ANSWER_FIRST: Duration = Duration::from_micros(300);

fn keep(calls: &Receiver<Weak<ConnectorProcesses>>, n_ready: usize) {
    let mut connectors: HashMap<*const ConnectorProcesses, Weak<ConnectorProcesses>> = HashMap::new();
    let mut next_round = Instant::now() + ROUND;
    loop {
        match calls.recv_timeout(next_round.saturating_duration_since(Instant::now())) {
            Ok(called) => {
                thread::sleep(ANSWER_FIRST);
                let called = std::iter::once(called).chain(calls.try_iter());
                let called: HashMap<_, _> = called.map(|connector| (connector.as_ptr(), connector)).collect();
                called.values().filter_map(Weak::upgrade).for_each(|connector| connector.keep_ready(n_ready));
                connectors.extend(called);
            }
            Err(RecvTimeoutError::Timeout) => {
                let now = Instant::now();
                connectors.retain(|_, connector| match connector.upgrade() {
                    Some(connector) => connector.give_up_idle(now),
                    None => false,
                });
                next_round = now + ROUND;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::Language;

    #[test]
    fn a_connector_is_idle_after_its_last_call_and_not_before() {
        let image = Image {
            language: Language::TypeScript,
            module: false,
            bytecode: vec![],
            positions: vec![],
            early: false,
        };
        let processes = ConnectorProcesses::new(image);
        let now = Instant::now();
        locked(&processes.state).n_calls = 7;
        processes.give_up_idle(now + READY_FOR - Duration::from_secs(1));
        assert_eq!(locked(&processes.state).n_calls, 7);
        processes.give_up_idle(now + READY_FOR + Duration::from_secs(1));
        assert_eq!(locked(&processes.state).n_calls, 0, "busy no more");
    }
}
