//! Another account than before: what a consent brought waits until somebody says that it is meant.

use zeroize::Zeroizing;

use super::super::{Gateway, GatewayError};
use super::callback::{ConsentEnd, Refusal};
use super::consent::{FlowSecrets, PATIENCE, Pending};
use crate::oauth::state;
use crate::store::connections::Connection;
use crate::store::oauth_flows::Flow;
use crate::time::Timestamp;

/// Whether one account may replace another.
pub(crate) struct Question {
    /// What the answer has to bring.
    pub(crate) token: Zeroizing<String>,
    /// As it is now, with the account that it has.
    pub(crate) connection: Connection,
    /// The account that would replace it.
    pub(crate) identity: Option<String>,
    pub(crate) callback_url: Option<String>,
}

impl Gateway {
    /// Keeps what a consent brought, sealed, until the question is answered.
    pub(super) async fn ask(
        &self,
        flow: &Flow,
        connection: Connection,
        mut secrets: FlowSecrets,
        brought: Pending,
    ) -> Result<Question, GatewayError> {
        let token = state::random_text();
        let identity = brought.identity.clone();
        secrets.pending = Some(brought);
        let store = &self.inner.store;
        let (hash, expires_at) = (state::hash(&token), Timestamp::now().plus(PATIENCE));
        let seal = || self.seal_flow(flow, &secrets);
        let write =
            async |sealed| store.await_confirmation(&flow.state_hash, &hash, &sealed, expires_at).await;
        self.inner.vault.sealed_write::<_, _, GatewayError, _>(store, seal, write).await?;
        Ok(Question { token, connection, identity, callback_url: flow.callback_url.clone() })
    }

    /// Takes the answer from the browser with this cookie: the account is replaced, or stays.
    pub(crate) async fn answer_question(
        &self,
        token: &str,
        browser: &str,
        replaces: bool,
    ) -> Result<ConsentEnd, GatewayError> {
        if !state::is_well_formed(token) {
            return Ok(ConsentEnd::Gone);
        }
        let (store, hash, now) = (&self.inner.store, state::hash(token), Timestamp::now());
        let Some(flow) = store.flow_to_confirm(&hash).await?.filter(|flow| now < flow.expires_at) else {
            return Ok(ConsentEnd::Gone);
        };
        if flow.browser_hash.as_deref() != Some(&state::hash(browser)) {
            return Ok(ConsentEnd::OtherBrowser);
        }
        if !store.use_confirmation(&flow.state_hash, &hash, now).await? {
            return Ok(ConsentEnd::Gone);
        }
        let Some(connection) = self.connection_of(&flow).await? else { return Ok(ConsentEnd::Gone) };
        let pending = self.open_flow(&flow)?.and_then(|secrets| secrets.pending);
        match pending {
            Some(brought) if replaces => self.keep(&flow, &connection, &brought, false).await,
            Some(_) => self.refuse(&flow, &connection, kept()).await,
            None => Ok(ConsentEnd::Gone),
        }
    }
}

fn kept() -> Refusal {
    Refusal {
        reason: "the consent was another account's, which was not to replace the one before".to_owned(),
        advice: "To connect the account of before again, sign in to the service with that one.",
    }
}
