//! The gateway: the one door through which HTTP, MCP and the console reach integrations, connections and calls.
//!
//! Every method takes the [`Identity`] that it acts for and checks what that may do; what is another project's or another
//! user's own answers [`GatewayError::NotFound`], as if it didn't exist.

pub(crate) mod agents;
pub(crate) mod approvals;
pub(crate) mod call;
pub(crate) mod catalog;
pub(crate) mod connections;
pub(crate) mod credentials;
pub(crate) mod error;
pub(crate) mod executions;
pub(crate) mod fairness;
pub(crate) mod integrations;
pub(crate) mod keys;
pub(crate) mod names;
pub(crate) mod oauth;
pub(crate) mod recorder;
pub(crate) mod resolve;
pub(crate) mod retry;
pub(crate) mod secrets;
pub(crate) mod tools;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use portcullis_runtime::Engine;
use tokio_util::task::AbortOnDropHandle;

pub(crate) use error::GatewayError;

use crate::integrations::Registry;
use crate::store::Store;
use crate::vault::Vault;

/// The operator's settings of the gateway.
#[derive(Clone, Debug)]
pub(crate) struct GatewayConfig {
    /// Calls in flight at most, of all projects.
    pub(crate) max_calls: usize,
    /// Calls in flight at most, of one project; less than `max_calls`, so that others always find room.
    pub(crate) max_calls_per_project: usize,
    /// Calls of one project that may wait for room; one more is refused with 429.
    pub(crate) max_queued_per_project: usize,
    /// The longest that a call waits for room, or for its connection's rate limit.
    pub(crate) max_queue_time: Duration,
    /// How long executions are kept.
    pub(crate) execution_age: Duration,
    /// How many executions of each project are kept.
    pub(crate) execution_count: u64,
    /// The address that browsers reach the server by, without a slash at its end.
    pub(crate) public_url: String,
    /// The origins that browsers may be sent to after a consent, such as `https://app.example.com`.
    pub(crate) callback_origins: Vec<String>,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            max_calls: 1024,
            max_calls_per_project: 640,
            max_queued_per_project: 2048,
            max_queue_time: Duration::from_secs(10),
            execution_age: Duration::from_secs(30 * 24 * 3600),
            execution_count: 1_000_000,
            public_url: "http://127.0.0.1:7400".to_owned(),
            callback_origins: Vec::new(),
        }
    }
}

/// The one door; clones are the same gateway.
#[derive(Clone)]
pub(crate) struct Gateway {
    inner: Arc<Parts>,
}

/// What the gateway is made of; each file of this folder adds methods to [`Gateway`].
pub(crate) struct Parts {
    pub(crate) config: GatewayConfig,
    pub(crate) engine: Engine,
    pub(crate) store: Store,
    pub(crate) vault: Vault,
    pub(crate) registry: Arc<Registry>,
    pub(crate) recorder: recorder::Recorder,
    pub(crate) fairness: fairness::Fairness,
    pub(crate) catalogs: catalog::Catalogs,
    pub(in crate::gateway) approvals: approvals::Approvals,
    /// Notes consents that never came.
    _lapse: AbortOnDropHandle<()>,
    pub(in crate::gateway) tokens: oauth::refresh::TokenKeeper,
    /// What is done for tokens beside calls. It holds the gateway only while it does something.
    token_work: OnceLock<AbortOnDropHandle<()>>,
    /// The same for approvals.
    approval_work: OnceLock<AbortOnDropHandle<()>>,
}

impl Gateway {
    /// A gateway of these parts; begins to write executions.
    pub(crate) fn new(
        config: GatewayConfig,
        engine: Engine,
        store: Store,
        vault: Vault,
        registry: Arc<Registry>,
    ) -> Self {
        let recorder = recorder::Recorder::start(store.clone(), &config);
        let fairness = fairness::Fairness::new(&config);
        let catalogs = catalog::Catalogs::default();
        let _lapse = oauth::lapse::watch(store.clone());
        let inner = Arc::new(Parts {
            config,
            engine,
            store,
            vault,
            registry,
            recorder,
            fairness,
            catalogs,
            approvals: approvals::Approvals::default(),
            _lapse,
            tokens: oauth::refresh::TokenKeeper::default(),
            token_work: OnceLock::new(),
            approval_work: OnceLock::new(),
        });
        inner.token_work.get_or_init(|| oauth::background::start(Arc::downgrade(&inner)));
        inner.approval_work.get_or_init(|| approvals::background::start(Arc::downgrade(&inner)));
        Self { inner }
    }

    /// The store, for readiness.
    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The address that browsers reach the server by, without a slash at its end.
    pub(crate) fn public_url(&self) -> &str {
        &self.inner.config.public_url
    }

    /// Takes no new calls, waits for those in flight for so long at most, then cancels them and waits for their end; writes
    /// the last executions.
    pub(crate) async fn drain(&self, patience: Duration) {
        self.inner.fairness.drain(patience).await;
        // New tokens that aren't stored would be lost with the process.
        self.inner.tokens.settle(patience).await;
        self.inner.recorder.flush().await;
        let engine = self.inner.engine.clone();
        // Its thread may panic only if the runtime is gone, and with it everything that would wait here.
        let _ = tokio::task::spawn_blocking(move || engine.settle(Duration::from_secs(3))).await;
    }
}
