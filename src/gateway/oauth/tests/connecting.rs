//! Connections that come to their tokens without a consent in this browser.

use portcullis_test_servers::oauth::Fault;

use super::*;
use crate::gateway::GatewayError;
use crate::gateway::connections::{Connected, NewConnection, Refresh};

pub(super) fn new(integration: &str) -> NewConnection {
    NewConnection {
        integration: integration.to_owned(),
        provider: None,
        mode: AuthMethod::OAuth2,
        slug: None,
        name: integration.to_owned(),
        description: None,
        credentials: Default::default(),
        config: Default::default(),
        callback_url: None,
        visibility: Visibility::User,
        oauth_app: None,
        scopes: None,
    }
}

impl Bench {
    async fn create(&self, integration: &str) -> Result<Connected, GatewayError> {
        self.gateway().create_connection(&self.admin(), new(integration)).await
    }

    /// The connection once it doesn't wait any more.
    async fn settled(&self, connection: &Connection) -> Connection {
        for _ in 0..400 {
            let found = self.gateway().connection(&self.admin(), connection.id).await.expect("a connection");
            if found.status != ConnectionStatus::Pending {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("it is still pending");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_for_itself_is_connected_at_once() {
    let bench = Bench::new().await;
    let connected = bench.create("robot").await.expect("connected");
    assert_eq!((connected.connection.status, &connected.redirect_url), (ConnectionStatus::Active, &None));
    assert_eq!(connected.connection.scopes, Some(vec!["a".to_owned()]));
    let first = bench.access_token(&bench.held(&connected.connection).await);
    assert!(bench.provider.takes(&first));
    bench.expire_in(&connected.connection, -1).await;
    let held = bench.renew(&connected.connection, Need::Due).await.expect("tokens");
    assert!(bench.access_token(&held) != first && bench.provider.takes(&bench.access_token(&held)));
    assert_eq!(bench.provider.grants("client_credentials").len(), 2);
    // After a breach, it connects anew without anybody's consent.
    bench.gateway().revoke_all(&bench.admin(), "robot").await.expect("revoked");
    let again = bench.gateway();
    let again = again.refresh_connection(&bench.admin(), connected.connection.id, Refresh::default()).await;
    let again = again.expect("connected");
    assert_eq!((again.connection.status, again.redirect_url), (ConnectionStatus::Active, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_refused_is_not_connected() {
    let bench = Bench::new().await;
    bench.provider.next(Fault::Refusal(401, "invalid_client".to_owned()));
    let refused = bench.create("robot").await.expect_err("a refusal");
    assert!(refused.to_string().contains("invalid_client"), "{refused}");
    let all = bench.gateway().connections(&bench.admin(), &Default::default()).await.expect("connections");
    assert!(all.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_asked_for_until_somebody_has_entered_it() {
    let bench = Bench::new().await;
    let connected = bench.create("tv").await.expect("begun");
    assert_eq!(connected.connection.status, ConnectionStatus::Pending);
    let device = connected.device.expect("a code");
    assert!(!device.user_code.is_empty() && device.expires_at > Timestamp::now());
    assert!(connected.redirect_url.is_some_and(|url| url.starts_with("https://")));
    while bench.provider.grants("urn:ietf:params:oauth:grant-type:device_code").is_empty() {
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    bench.provider.decide_devices(Some("ada"));
    let connection = bench.settled(&connected.connection).await;
    assert_eq!((connection.status, connection.last_error), (ConnectionStatus::Active, None));
    let held = bench.held(&connected.connection).await;
    assert!(bench.provider.takes(&bench.access_token(&held)) && bench.refresh_token(&held).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_denied_fails_the_connection() {
    let bench = Bench::new().await;
    let connected = bench.create("tv").await.expect("begun");
    bench.provider.decide_devices(None);
    let connection = bench.settled(&connected.connection).await;
    assert_eq!(connection.status, ConnectionStatus::Failed);
    assert!(connection.last_error.as_ref().is_some_and(|error| error.contains("denied")));
    // Another code.
    let refresh = Refresh::default();
    let again = bench.gateway().refresh_connection(&bench.admin(), connection.id, refresh).await;
    let again = again.expect("begun");
    assert_eq!(again.connection.status, ConnectionStatus::Pending);
    assert!(again.device.is_some());
    bench.provider.decide_devices(Some("ada"));
    assert_eq!(bench.settled(&connection).await.status, ConnectionStatus::Active);
}
