//! An OAuth2 provider of the tests' own, over TLS, that misbehaves as a test wants and remembers what it was asked.
//!
//! It has an authorization endpoint that asks nobody, a token endpoint for all grants, revocation (RFC 7009), the device
//! grant (RFC 8628), and a resource under `/api/` that takes the access tokens. Refresh tokens rotate: when one comes a
//! second time, all that came from the same consent is void. PKCE with S256, the exact redirect URI and the client's
//! authentication are insisted on. A test changes the [`Behaviour`] for good, or sets [`Fault`]s for the next requests.
//!
//! ```no_run
//! use portcullis_test_servers::oauth::{Fault, Life, Provider};
//!
//! let provider = Provider::start();
//! provider.behave(|behaviour| behaviour.life = Life::Text(3600));
//! provider.next(Fault::Status(503));
//! println!("{}", provider.url("/token"));
//! ```

mod answer;
mod authorize;
mod behaviour;
mod device;
mod request;
mod serve;
mod state;
mod token;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tempfile::TempDir;

pub use crate::oauth::behaviour::{Behaviour, Encoding, Fault, Life, Refresh, ScopeList, TokenAuth};
pub use crate::oauth::request::Asked;

use crate::certificates::certificates;
use crate::http1::{Message, connect};
use crate::oauth::authorize::authorize;
use crate::oauth::serve::{Shared, listen};
use crate::oauth::state::State;

/// A running provider on `https://localhost:PORT`, in this process. Dropping it ends it.
pub struct Provider {
    port: u16,
    shared: Arc<Shared>,
    ca_pem: PathBuf,
    _folder: TempDir,
}

impl Provider {
    /// The only client's id. It has characters that mean something in a form and in Basic authentication.
    pub const CLIENT_ID: &str = "client:1 + x";
    /// Its secret, with more of them.
    pub const CLIENT_SECRET: &str = "s3cret%Canary:/+&=\"1";

    /// Starts one.
    ///
    /// # Panics
    ///
    /// Without a free port or a folder for the certificate.
    #[track_caller]
    pub fn start() -> Provider {
        match Provider::try_start() {
            Ok(provider) => provider,
            Err(error) => panic!("no OAuth2 test provider: {error:#}"),
        }
    }

    fn try_start() -> anyhow::Result<Provider> {
        let folder = tempfile::Builder::new().prefix("portcullis-oauth-").tempdir()?;
        let ca_pem = folder.path().join("ca.pem");
        std::fs::write(&ca_pem, &certificates()?.ca)?;
        let (port, shared) = listen()?;
        Ok(Provider { port, shared, ca_pem, _folder: folder })
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `https://localhost:PORT` and a path.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// The file of the root certificate that its own is signed with.
    pub fn ca_pem(&self) -> &Path {
        &self.ca_pem
    }

    /// Changes how it behaves from now on.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.state().behaviour);
    }

    /// Makes this of the next request to the token endpoint that none was set for yet.
    pub fn next(&self, fault: Fault) {
        self.shared.state().faults.push_back(fault);
    }

    /// The same for the revocation endpoint.
    pub fn next_revocation(&self, fault: Fault) {
        self.shared.state().revocation_faults.push_back(fault);
    }

    /// Does what a browser does at the authorization endpoint: where it is sent back to.
    ///
    /// # Panics
    ///
    /// If the request isn't for this provider, or isn't as it must be.
    #[track_caller]
    pub fn consent(&self, url: &str) -> String {
        let Some(target) = url.strip_prefix(&self.url("")) else { panic!("{url} isn't at {}", self.url("")) };
        let asked = Asked::new(Message { line: format!("GET {target} HTTP/1.1"), ..Message::default() });
        assert_eq!(asked.path(), "/authorize", "{url}");
        let mut state = self.shared.state();
        state.requests.push(asked.clone());
        let answer = authorize(&mut state, &asked);
        drop(state);
        match answer.header("location") {
            Some(location) => location.to_owned(),
            None => panic!("{url} is refused: {}", String::from_utf8_lossy(&answer.body)),
        }
    }

    /// Lets the answers go that [`Fault::Hold`] holds back.
    pub fn release(&self) {
        let mut state = self.shared.state();
        state.n_released += state.n_held;
        state.n_held = 0;
        self.shared.changed.notify_all();
    }

    /// How many answers are held back now.
    pub fn n_held(&self) -> usize {
        self.shared.state().n_held
    }

    /// Every request until now.
    pub fn requests(&self) -> Vec<Asked> {
        self.shared.state().requests.clone()
    }

    /// The requests until now for this path.
    pub fn requests_for(&self, path: &str) -> Vec<Asked> {
        self.requests().into_iter().filter(|asked| asked.path() == path).collect()
    }

    /// The token endpoint's requests until now for this grant.
    pub fn grants(&self, grant_type: &str) -> Vec<Asked> {
        let requests = self.requests_for("/token");
        requests.into_iter().filter(|asked| asked.param("grant_type") == Some(grant_type)).collect()
    }

    /// How many refreshes were asked for until now.
    pub fn n_refreshes(&self) -> usize {
        self.grants("refresh_token").len()
    }

    /// How often a refresh token came that had been used before.
    pub fn n_reuses(&self) -> usize {
        self.shared.state().n_reuses
    }

    /// Makes all access tokens void that it has given out; refresh tokens stay good.
    pub fn void_access_tokens(&self) {
        self.shared.state().void_access_tokens();
    }

    /// Makes all tokens void that it has given out, as a person does who withdraws the consent.
    pub fn void_everything(&self) {
        self.shared.state().void_everything();
    }

    /// The tokens that were revoked at the revocation endpoint, in their order.
    pub fn revoked(&self) -> Vec<String> {
        self.shared.state().revoked.clone()
    }

    /// The access token that it gave out last.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[track_caller]
    pub fn last_access_token(&self) -> String {
        let state = self.shared.state();
        let Some(token) = state.last_access_token.clone() else { panic!("no access token was given out") };
        token
    }

    /// Whether this access token is good at the resource now.
    pub fn takes(&self, access_token: &str) -> bool {
        self.shared.state().holder(access_token).is_some()
    }

    /// Each code and token that it ever gave out: what may show up nowhere.
    pub fn given_out(&self) -> Vec<String> {
        self.shared.state().given_out.clone()
    }

    /// Does what a person does with each user code that is out: approves as this account, or denies.
    pub fn decide_devices(&self, account: Option<&str>) {
        self.shared.state().decide_devices(account);
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.release();
        // Wakes the listener up.
        drop(connect(self.port));
    }
}

impl State {
    /// How long a test may have an answer held back before it goes by itself: the test has failed by then.
    pub(crate) const HOLD: Duration = Duration::from_secs(60);
}
