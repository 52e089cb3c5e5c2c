//! OAuth2 apps, consents and grants as they are stored.

use std::collections::BTreeMap;

use super::*;
use crate::store::connections::{ACCESS_TOKEN_FIELD, ConnectionChange, ConnectionFilter, Viewer};
use crate::store::oauth_apps::{AppText, OAuthApp, TokenAuth};
use crate::store::oauth_flows::{Flow, FlowKind};
use crate::store::oauth_grants::Grant;

on_both! {
    an_app_is_as_it_was_put,
    an_app_belongs_to_its_project_and_integration,
    a_consent_is_one_browsers,
    a_consents_answer_is_taken_once,
    a_consent_ends_with_its_tokens_or_with_nothing,
    another_consent_takes_the_place_of_the_one_before,
    a_question_is_answered_once,
    a_consent_that_never_comes_fails_its_connection,
    consents_go_with_their_connection,
    what_other_keys_seal_of_oauth_is_sealed_anew,
}

fn app(project: ProjectId, name: &str) -> OAuthApp {
    OAuthApp {
        project,
        integration: slug("github"),
        name: name.to_owned(),
        client_id: AppText::Plain("id".to_owned()),
        client_secret: Some(FieldContent::Sealed(sealed("k1", b"oauth_app"))),
        mask: Some("••••cret".to_owned()),
        token_auth: TokenAuth::Post,
        authorize_params: BTreeMap::from([("prompt".to_owned(), "consent".to_owned())]),
        created_at: Timestamp(1_000),
        updated_at: Timestamp(1_000),
    }
}

/// A connection that waits for its consent, whose state hashes to `state`.
async fn pending(store: &Store, name: &str, state: &str) -> (Connection, Flow) {
    let project = match store.project_named("default").await.unwrap() {
        Some(project) => project.id,
        None => project(store).await,
    };
    let connection = Connection {
        mode: AuthMethod::OAuth2,
        status: ConnectionStatus::Pending,
        ..connection(project, name)
    };
    let flow = flow(&connection, state);
    let grant = Grant::new(project, connection.id, flow.app.clone(), flow.scopes.clone());
    store.insert_pending_connection(&connection, &[], &grant, &flow).await.unwrap();
    (connection, flow)
}

fn flow(connection: &Connection, state: &str) -> Flow {
    Flow {
        state_hash: state.to_owned(),
        project: connection.project,
        connection: connection.id,
        user: user("alice"),
        kind: FlowKind::Connect,
        app: Some("default".to_owned()),
        scopes: vec!["repo".to_owned(), "user".to_owned()],
        redirect_uri: Some("https://portcullis.example/oauth/callback".to_owned()),
        callback_url: None,
        sealed: Some(sealed("k1", b"oauth_flow")),
        browser_hash: None,
        poll_at: None,
        poll_interval: Some(Duration::from_millis(5_000)),
        created_at: Timestamp(1_000),
        expires_at: Timestamp(601_000),
        used_at: None,
    }
}

const NOW: Timestamp = Timestamp(2_000);

async fn an_app_is_as_it_was_put(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let first = app(project, "default");
    assert_eq!(store.put_oauth_app(&first).await.unwrap(), (first.clone(), true));
    assert_eq!(store.oauth_app(project, "github", "default").await.unwrap(), Some(first.clone()));

    let public = OAuthApp {
        client_id: AppText::Secret("clay".to_owned()),
        client_secret: None,
        mask: None,
        token_auth: TokenAuth::None,
        authorize_params: BTreeMap::new(),
        created_at: Timestamp(5_000),
        updated_at: Timestamp(5_000),
        ..first
    };
    let stored = OAuthApp { created_at: Timestamp(1_000), ..public.clone() };
    assert_eq!(store.put_oauth_app(&public).await.unwrap(), (stored.clone(), false));
    let reading = OAuthApp {
        name: "reading".to_owned(),
        client_secret: Some(FieldContent::Secret("clay".to_owned())),
        client_id: AppText::Plain("b".to_owned()),
        ..stored.clone()
    };
    store.put_oauth_app(&reading).await.unwrap();
    assert_eq!(store.oauth_apps(project, "github").await.unwrap(), [stored, reading]);
    let users = store.oauth_apps_of_secret(project, "clay").await.unwrap();
    assert_eq!(users, ["github/default", "github/reading"]);
}

async fn an_app_belongs_to_its_project_and_integration(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let other = store.create_project("other").await.unwrap().id;
    store.put_oauth_app(&app(project, "default")).await.unwrap();
    assert_eq!(store.oauth_app(other, "github", "default").await.unwrap(), None);
    assert_eq!(store.oauth_app(project, "gitlab", "default").await.unwrap(), None);
    assert!(!store.delete_oauth_app(other, "github", "default").await.unwrap());
    let (connection, _) = pending(&store, "support", "s").await;
    assert_eq!(store.connections_of_app(project, "github", "default").await.unwrap(), ["support"]);
    assert!(store.connections_of_app(other, "github", "default").await.unwrap().is_empty());
    store.delete_connection(project, connection.id, None).await.unwrap();
    assert!(store.connections_of_app(project, "github", "default").await.unwrap().is_empty());
    assert!(store.delete_oauth_app(project, "github", "default").await.unwrap());
    assert!(store.oauth_apps(project, "github").await.unwrap().is_empty());
}

async fn a_consent_is_one_browsers(database: TestDatabase) {
    let store = database.open().await;
    let (_, flow) = pending(&store, "support", "s").await;
    assert_eq!(store.flow("s").await.unwrap(), Some(flow.clone()));
    assert_eq!(store.flow("t").await.unwrap(), None);
    assert!(!store.bind_flow("t", "firefox", NOW).await.unwrap());
    let late = flow.expires_at;
    assert!(!store.bind_flow("s", "firefox", late).await.unwrap(), "too late");
    assert!(store.bind_flow("s", "firefox", NOW).await.unwrap());
    assert!(store.bind_flow("s", "firefox", NOW).await.unwrap(), "it may come again");
    assert!(!store.bind_flow("s", "chromium", NOW).await.unwrap());
    assert_eq!(store.flow("s").await.unwrap().unwrap().browser_hash.as_deref(), Some("firefox"));
}

async fn a_consents_answer_is_taken_once(database: TestDatabase) {
    let store = database.open().await;
    pending(&store, "support", "s").await;
    let takers: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.use_flow("s", NOW).await.unwrap() })
        })
        .collect();
    let mut n_taken = 0;
    for taker in takers {
        n_taken += u32::from(taker.await.unwrap());
    }
    assert_eq!(n_taken, 1);
    assert!(!store.bind_flow("s", "firefox", NOW).await.unwrap());
    let (_, late) = pending(&store, "sales", "t").await;
    assert!(!store.use_flow("t", late.expires_at).await.unwrap());
}

async fn a_consent_ends_with_its_tokens_or_with_nothing(database: TestDatabase) {
    let store = database.open().await;
    let (connection, flow) = pending(&store, "support", "s").await;
    let token = |key| StoredField {
        kind: FieldKind::Token,
        field: ACCESS_TOKEN_FIELD.to_owned(),
        content: FieldContent::Sealed(sealed(key, b"token")),
    };
    let change = |key| ConnectionChange {
        status: Some(ConnectionStatus::Active),
        scopes: Some(Some(vec!["repo".to_owned()])),
        fields: Some((vec![FieldKind::Token], vec![token(key)])),
        ..ConnectionChange::default()
    };
    let grant = Grant {
        subject: Some("issuer 7".to_owned()),
        obtained_at: Some(Timestamp(3_000)),
        ..Grant::new(flow.project, flow.connection, flow.app.clone(), flow.scopes.clone())
    };
    store.set_active_master_key("k2").await.unwrap();
    let rotated = store.end_flow(&flow, &change("k1"), Some(&grant)).await;
    assert!(matches!(rotated, Err(StoreError::KeyRotated)), "{rotated:?}");
    assert!(store.flow("s").await.unwrap().unwrap().sealed.is_some(), "nothing has changed");

    let ended = store.end_flow(&flow, &change("k2"), Some(&grant)).await.unwrap().unwrap();
    assert_eq!((ended.status, ended.scopes), (ConnectionStatus::Active, Some(vec!["repo".to_owned()])));
    assert_eq!(*store.connection_fields(flow.project, connection.id).await.unwrap(), [token("k2")]);
    let stored = store.oauth_grant(flow.project, connection.id).await.unwrap().unwrap();
    assert_eq!(stored, Grant { generation: 1, ..grant });
    let ended = store.flow("s").await.unwrap().unwrap();
    assert_eq!(ended.sealed, None, "what was secret about it is gone");
    assert!(!ended.is_open(NOW));
}

async fn another_consent_takes_the_place_of_the_one_before(database: TestDatabase) {
    let store = database.open().await;
    let (connection, first) = pending(&store, "support", "s").await;
    let second = Flow { state_hash: "t".to_owned(), kind: FlowKind::Reconnect, ..first };
    let change = ConnectionChange { last_error: Some(None), ..ConnectionChange::default() };
    assert!(store.insert_flow(&second, &change).await.unwrap().is_some());
    assert_eq!(store.flow("s").await.unwrap(), None);
    assert_eq!(store.flow("t").await.unwrap(), Some(second.clone()));
    store.delete_connection(connection.project, connection.id, None).await.unwrap();
    assert_eq!(store.insert_flow(&second, &change).await.unwrap(), None);
}

async fn a_question_is_answered_once(database: TestDatabase) {
    let store = database.open().await;
    let (_, flow) = pending(&store, "support", "s").await;
    assert!(store.use_flow("s", NOW).await.unwrap());
    let kept = sealed("k1", b"pending");
    store.await_confirmation("s", "c", &kept, Timestamp(900_000)).await.unwrap();
    assert_eq!(store.flow_to_confirm("x").await.unwrap(), None);
    let asked = store.flow_to_confirm("c").await.unwrap().unwrap();
    assert_eq!((asked.sealed, asked.state_hash), (Some(kept), flow.state_hash));
    assert!(!store.use_confirmation("s", "c", Timestamp(900_000)).await.unwrap(), "too late");
    assert!(!store.use_confirmation("s", "x", NOW).await.unwrap());
    assert!(store.use_confirmation("s", "c", NOW).await.unwrap());
    assert!(!store.use_confirmation("s", "c", NOW).await.unwrap());
}

async fn a_consent_that_never_comes_fails_its_connection(database: TestDatabase) {
    let store = database.open().await;
    let (connection, flow) = pending(&store, "support", "s").await;
    let (other, _) = pending(&store, "sales", "t").await;
    let active = ConnectionChange { status: Some(ConnectionStatus::Active), ..ConnectionChange::default() };
    store.change_connection(other.project, other.id, &active).await.unwrap();
    let status = async |of: &Connection| {
        let all = store.connections(of.project, &Viewer::All, &ConnectionFilter::default()).await.unwrap();
        let found = all.into_iter().find(|one| one.id == of.id).unwrap();
        (found.status, found.last_error)
    };

    let epoch = store.epoch();
    let before = Timestamp(flow.expires_at.0 - 1);
    assert_eq!(store.lapse_flows("late", before).await.unwrap(), 0);
    assert!(store.has_open_flow(flow.project, connection.id, before).await.unwrap());
    assert_eq!(store.epoch(), epoch, "nothing has changed");
    assert!(!store.has_open_flow(flow.project, connection.id, flow.expires_at).await.unwrap());
    assert_eq!(store.lapse_flows("late", flow.expires_at).await.unwrap(), 1);
    assert_eq!(status(&connection).await, (ConnectionStatus::Failed, Some("late".to_owned())));
    assert_eq!(status(&other).await, (ConnectionStatus::Active, None));
    assert_eq!(store.flow("s").await.unwrap().unwrap().sealed, None, "nobody needs it any more");
    let much_later = flow.expires_at.plus(Duration::from_secs(2 * 24 * 3600));
    assert_eq!(store.lapse_flows("late", much_later).await.unwrap(), 0);
    assert_eq!(store.flow("s").await.unwrap(), None);
}

async fn consents_go_with_their_connection(database: TestDatabase) {
    let store = database.open().await;
    let (connection, _) = pending(&store, "support", "s").await;
    store.delete_connection(connection.project, connection.id, None).await.unwrap();
    assert_eq!(store.flow("s").await.unwrap(), None);
    assert_eq!(store.oauth_grant(connection.project, connection.id).await.unwrap(), None);
}

async fn what_other_keys_seal_of_oauth_is_sealed_anew(database: TestDatabase) {
    let store = database.open().await;
    let (connection, flow) = pending(&store, "support", "s").await;
    let project = connection.project;
    store.put_oauth_app(&app(project, "default")).await.unwrap();
    let public = OAuthApp { client_secret: None, mask: None, ..app(project, "public") };
    store.put_oauth_app(&public).await.unwrap();
    store.set_active_master_key("k2").await.unwrap();
    let mut rows = store.sealed_under_other_keys("k2", 10).await.unwrap();
    rows.sort_by(|a, b| a.kind.cmp(&b.kind));
    let places: Vec<_> =
        rows.iter().map(|row| (row.kind.as_str(), row.owner.as_str(), row.field.as_str())).collect();
    let id = connection.id.to_string();
    assert_eq!(places, [("oauth_app", "github", "default"), ("oauth_flow", id.as_str(), "s")]);
    for row in &rows {
        assert_eq!(row.sealed, sealed("k1", row.kind.as_bytes()));
        let anew = Sealed { key_id: "k2".to_owned(), ..row.sealed.clone() };
        assert!(store.reseal(row, &anew).await.unwrap());
        assert!(!store.reseal(row, &anew).await.unwrap());
    }
    assert!(store.sealed_under_other_keys("k2", 10).await.unwrap().is_empty());
    let app = store.oauth_app(project, "github", "default").await.unwrap().unwrap();
    assert_eq!(app.client_secret, Some(FieldContent::Sealed(sealed("k2", b"oauth_app"))));
    assert_eq!(store.flow("s").await.unwrap().unwrap().sealed, Some(sealed("k2", b"oauth_flow")));
    assert_eq!(flow.sealed, Some(sealed("k1", b"oauth_flow")));
}
