//! Consents in a browser: what they leave of tokens that work, and where an app's secret may be sent.

use super::connecting::new;
use super::*;
use crate::gateway::GatewayError;
use crate::gateway::connections::{Connected, ConnectionPatch, NewConnection, Refresh};
use crate::gateway::oauth::callback::{ConsentAnswer, ConsentEnd, Ended, Start};
use crate::oauth::state;

/// A browser's cookie.
const FIREFOX: &str = "the cookie of firefox";

impl Bench {
    fn user(&self, name: &str) -> Identity {
        Identity { role: Role::User, user: Some(UserName::new(name).expect("a name")), ..self.admin() }
    }

    async fn begin(&self) -> (Connection, String) {
        let begun = self.gateway().create_connection(&self.user("ada"), new("shop")).await.expect("begun");
        (begun.connection, begun.redirect_url.expect("a redirect URL"))
    }

    async fn begin_again(&self, connection: &Connection) -> String {
        let refresh = Refresh { force: true, callback_url: None };
        let again = self.gateway().refresh_connection(&self.user("ada"), connection.id, refresh).await;
        again.expect("begun").redirect_url.expect("a redirect URL")
    }

    /// What the provider sends the browser back with.
    async fn answer(&self, redirect_url: &str) -> ConsentAnswer {
        let state = parameter(redirect_url, "state").expect("a state");
        let Ok(Start::At(url)) = self.gateway().start_consent(&state, FIREFOX).await else {
            panic!("the consent can't begin")
        };
        let back = self.provider.consent(url.as_str());
        ConsentAnswer {
            state,
            code: parameter(&back, "code").map(Zeroizing::new),
            error: parameter(&back, "error"),
            error_description: parameter(&back, "error_description"),
            iss: parameter(&back, "iss"),
        }
    }

    async fn consent(&self, redirect_url: &str) -> Ended {
        let answer = self.answer(redirect_url).await;
        match self.gateway().end_consent(answer, FIREFOX).await {
            Ok(ConsentEnd::Ended(ended)) => *ended,
            _ => panic!("the consent hasn't ended"),
        }
    }
}

fn parameter(url: &str, name: &str) -> Option<String> {
    let url = Url::parse(url).expect("a URL");
    url.query_pairs().find(|(own, _)| own == name).map(|(_, value)| value.into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_that_brings_nothing_takes_nothing() {
    let bench = Bench::new().await;
    let (pending, redirect_url) = bench.begin().await;
    let connection = bench.consent(&redirect_url).await.connection;
    assert_eq!((connection.id, connection.status), (pending.id, ConnectionStatus::Active));
    let before = bench.held(&connection).await;
    // Nothing but another consent brings new tokens now.
    bench.provider.void_everything();
    let redirect_url = bench.begin_again(&connection).await;
    bench.provider.behave(|behaviour| behaviour.denial = Some("access_denied".to_owned()));
    let ended = bench.consent(&redirect_url).await;
    assert!(ended.refusal.is_some());
    let after = bench.held(&connection).await;
    assert_eq!(bench.access_token(&after), bench.access_token(&before));
    assert_eq!(bench.refresh_token(&after), bench.refresh_token(&before));
    assert_eq!(after.connection.scopes, before.connection.scopes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_stays_where_a_consent_brings_none() {
    let bench = Bench::new().await;
    let (_, redirect_url) = bench.begin().await;
    let connection = bench.consent(&redirect_url).await.connection;
    let before = bench.held(&connection).await;
    assert!(bench.refresh_token(&before).is_some());
    let failed = ConnectionChange { status: Some(ConnectionStatus::Failed), ..ConnectionChange::default() };
    bench.store().change_connection(bench.project, connection.id, &failed).await.expect("changed");
    bench.provider.behave(|behaviour| behaviour.refresh = portcullis_test_servers::oauth::Refresh::Never);
    let redirect_url = bench.begin_again(&connection).await;
    let ended = bench.consent(&redirect_url).await;
    assert_eq!(ended.connection.status, ConnectionStatus::Active);
    let after = bench.held(&connection).await;
    assert_ne!(bench.access_token(&after), bench.access_token(&before));
    assert_eq!(bench.refresh_token(&after), bench.refresh_token(&before));
    assert_eq!(after.grant.generation, before.grant.generation + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_is_its_browsers_and_its_answer_is_taken_once() {
    let bench = Bench::new().await;
    let (pending, redirect_url) = bench.begin().await;
    let state = parameter(&redirect_url, "state").expect("a state");
    let again = |answer: &ConsentAnswer| ConsentAnswer {
        state: answer.state.clone(),
        code: answer.code.clone(),
        ..ConsentAnswer::default()
    };
    let answer = bench.answer(&redirect_url).await;
    let gateway = bench.gateway();
    assert!(matches!(gateway.start_consent(&state, "chromium's").await, Ok(Start::OtherBrowser)));
    assert!(matches!(gateway.start_consent(&state::random_text(), FIREFOX).await, Ok(Start::Gone)));
    let stolen = gateway.end_consent(again(&answer), "chromium's").await;
    assert!(matches!(stolen, Ok(ConsentEnd::OtherBrowser)));
    assert!(bench.provider.grants("authorization_code").is_empty());
    let ends = (0..8).map(|_| {
        let (gateway, answer) = (gateway.clone(), again(&answer));
        tokio::spawn(async move { gateway.end_consent(answer, FIREFOX).await })
    });
    let mut n_ended = 0;
    for end in ends.collect::<Vec<_>>() {
        n_ended += u32::from(matches!(end.await.expect("no panic"), Ok(ConsentEnd::Ended(_))));
    }
    assert_eq!((n_ended, bench.provider.grants("authorization_code").len()), (1, 1));
    let connection = gateway.connection(&bench.user("ada"), pending.id).await.expect("a connection");
    assert_eq!(connection.status, ConnectionStatus::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_was_changed_meanwhile_ends_the_consent() {
    let bench = Bench::new().await;
    let (pending, redirect_url) = bench.begin().await;
    let answer = bench.answer(&redirect_url).await;
    let app = bench.store().oauth_app(bench.project, "shop", "default").await.expect("read").expect("an app");
    let other = OAuthApp { client_id: AppText::Plain("another".to_owned()), ..app };
    bench.store().put_oauth_app(&other).await.expect("stored");
    let end = bench.gateway().end_consent(answer, FIREFOX).await;
    let Ok(ConsentEnd::Ended(ended)) = end else { panic!("it hasn't ended") };
    assert!(ended.refusal.is_some_and(|refusal| refusal.reason.contains("was changed")));
    let failed = bench.gateway().connection(&bench.user("ada"), pending.id).await.expect("a connection");
    assert_eq!(failed.status, ConnectionStatus::Failed);
    assert!(
        bench.provider.grants("authorization_code").is_empty(),
        "no code is sent to another client's server"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apps_secret_goes_where_an_admin_sends_it() {
    let bench = Bench::new().await;
    bench.put_app("own").await;
    let connect = async |identity: &Identity, config: Value| {
        let config = config.as_object().expect("an object").clone();
        let new = NewConnection { config, ..new("own") };
        bench.gateway().create_connection(identity, new).await
    };
    let host = format!("localhost:{}", bench.provider.port());
    let elsewhere = json!({"host": host});
    let refused = connect(&bench.user("mallory"), elsewhere.clone()).await;
    assert!(matches!(&refused, Err(GatewayError::Forbidden(why)) if why.contains("secret")), "{refused:?}");
    let Connected { connection, .. } = connect(&bench.admin(), elsewhere.clone()).await.expect("begun");
    // The manifest's own host is the admin's word.
    let Connected { connection: ada, .. } = connect(&bench.user("ada"), json!({})).await.expect("begun");
    let patch = || ConnectionPatch { config: elsewhere.as_object().cloned(), ..ConnectionPatch::default() };
    let moved = bench.gateway().change_connection(&bench.user("ada"), ada.id, patch()).await;
    assert!(matches!(moved, Err(GatewayError::Forbidden(_))), "{moved:?}");
    let moved = bench.gateway().change_connection(&bench.admin(), connection.id, patch()).await;
    assert!(!matches!(moved, Err(GatewayError::Forbidden(_))), "{moved:?}");
}
