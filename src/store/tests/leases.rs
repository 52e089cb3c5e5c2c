//! Who refreshes a connection's tokens, who revokes those that are left, and who asks for those of a device.

use super::*;
use crate::store::connections::{
    ACCESS_TOKEN_FIELD, ConnectionChange, ConnectionFilter, REFRESH_TOKEN_FIELD, Viewer,
};
use crate::store::oauth_flows::{Flow, FlowKind};
use crate::store::oauth_grants::Grant;
use crate::store::oauth_refresh::{Lease, Setback};
use crate::store::oauth_revocations::Revocation;

on_both! {
    a_lease_is_one_holders_until_its_end,
    new_tokens_are_stored_by_the_holder_alone,
    a_setback_says_when_to_come_back,
    an_expired_connection_says_why_and_one_that_is_off_stays_off,
    tokens_that_nobody_uses_are_found,
    what_is_to_be_revoked_goes_in_with_what_takes_it_away,
    a_device_code_is_asked_for_by_one_at_a_time,
}

const MINUTE: Duration = Duration::from_secs(60);

/// A connection with tokens that it got at that time.
async fn granted(store: &Store, name: &str, obtained_at: Timestamp) -> Connection {
    let project = match store.project_named("default").await.unwrap() {
        Some(project) => project.id,
        None => project(store).await,
    };
    let connection = Connection { mode: AuthMethod::OAuth2, ..connection(project, name) };
    let token = |field: &str| StoredField {
        kind: FieldKind::Token,
        field: field.to_owned(),
        content: FieldContent::Sealed(sealed("k", b"old")),
    };
    let fields = [token(ACCESS_TOKEN_FIELD), token(REFRESH_TOKEN_FIELD)];
    let grant =
        Grant { obtained_at: Some(obtained_at), ..Grant::new(project, connection.id, None, Vec::new()) };
    store.insert_granted_connection(&connection, &fields, &grant).await.unwrap();
    connection
}

async fn take(store: &Store, connection: &Connection, generation: u64, now: i64) -> Option<Lease> {
    let (now, place) = (Timestamp(now), (connection.project, connection.id));
    store.take_refresh(place, generation, now, now.plus(MINUTE)).await.unwrap()
}

async fn read(store: &Store, connection: &Connection) -> Connection {
    let filter = ConnectionFilter { id: Some(connection.id), ..ConnectionFilter::default() };
    store.connections(connection.project, &Viewer::All, &filter).await.unwrap().remove(0)
}

async fn grant(store: &Store, connection: &Connection) -> Grant {
    store.oauth_grant(connection.project, connection.id).await.unwrap().unwrap()
}

fn new_token() -> ConnectionChange {
    let content = FieldContent::Sealed(sealed("k", b"new"));
    let field = StoredField { kind: FieldKind::Token, field: ACCESS_TOKEN_FIELD.to_owned(), content };
    ConnectionChange { fields: Some((vec![FieldKind::Token], vec![field])), ..ConnectionChange::default() }
}

async fn a_lease_is_one_holders_until_its_end(database: TestDatabase) {
    let (store, other) = (database.open().await, database.open().await);
    let connection = granted(&store, "a", Timestamp(0)).await;
    assert_eq!(take(&store, &connection, 1, 1_000).await, None, "of another generation");
    let lease = take(&store, &connection, 0, 1_000).await.unwrap();
    assert_eq!((lease.is_in_doubt, lease.failures), (false, 0));
    assert_eq!(take(&other, &connection, 0, 60_999).await, None);
    assert!(store.note_refresh_sent(&lease, Timestamp(2_000)).await.unwrap());
    let next = take(&other, &connection, 0, 61_000).await.unwrap();
    assert!(next.is_in_doubt);
    assert!(!store.note_refresh_sent(&lease, Timestamp(62_000)).await.unwrap(), "it is lost");
    // Of many that come at once one gets it.
    let free = granted(&store, "b", Timestamp(0)).await;
    let all = futures_util::future::join_all((0..8).map(|index| {
        let store = if index % 2 == 0 { &store } else { &other };
        take(store, &free, 0, 1_000)
    }));
    assert_eq!(all.await.into_iter().flatten().count(), 1);
}

async fn new_tokens_are_stored_by_the_holder_alone(database: TestDatabase) {
    let store = database.open().await;
    let connection = granted(&store, "a", Timestamp(0)).await;
    let lost = take(&store, &connection, 0, 1_000).await.unwrap();
    let held = take(&store, &connection, 0, 61_000).await.unwrap();
    assert_eq!(store.finish_refresh(&lost, &new_token(), Timestamp(61_000)).await.unwrap(), None);
    let fields = store.connection_fields_now(connection.project, connection.id).await.unwrap();
    assert_eq!(fields.len(), 2);
    store.note_refresh_sent(&held, Timestamp(61_000)).await.unwrap();
    assert!(store.finish_refresh(&held, &new_token(), Timestamp(62_000)).await.unwrap().is_some());
    let grant = grant(&store, &connection).await;
    assert_eq!(
        (grant.generation, grant.obtained_at, grant.refresh_sent_at),
        (1, Some(Timestamp(62_000)), None)
    );
    let fields = store.connection_fields_now(connection.project, connection.id).await.unwrap();
    assert_eq!(fields.len(), 1);
    assert_eq!(store.finish_refresh(&held, &new_token(), Timestamp(63_000)).await.unwrap(), None, "once");
    assert!(take(&store, &connection, 1, 62_000).await.is_some(), "it has ended");
}

async fn a_setback_says_when_to_come_back(database: TestDatabase) {
    let store = database.open().await;
    let connection = granted(&store, "a", Timestamp(0)).await;
    let lease = take(&store, &connection, 0, 1_000).await.unwrap();
    store.note_refresh_sent(&lease, Timestamp(1_000)).await.unwrap();
    let setback = Setback { retry_at: Some(Timestamp(5_000)), is_in_doubt: true };
    store.give_up_refresh(&lease, setback).await.unwrap();
    let now = grant(&store, &connection).await;
    assert_eq!(
        (now.failures, now.retry_at, now.refresh_sent_at),
        (1, Some(Timestamp(5_000)), Some(Timestamp(1_000)))
    );
    let lease = take(&store, &connection, 0, 2_000).await.unwrap();
    assert_eq!((lease.is_in_doubt, lease.failures), (true, 1));
    store.give_up_refresh(&lease, Setback { retry_at: None, is_in_doubt: false }).await.unwrap();
    let now = grant(&store, &connection).await;
    assert_eq!((now.failures, now.refresh_sent_at), (1, None));
}

async fn an_expired_connection_says_why_and_one_that_is_off_stays_off(database: TestDatabase) {
    let store = database.open().await;
    let (on, off) = (granted(&store, "on", Timestamp(0)).await, granted(&store, "off", Timestamp(0)).await);
    let change = ConnectionChange { status: Some(ConnectionStatus::Disabled), ..ConnectionChange::default() };
    store.change_connection(off.project, off.id, &change).await.unwrap();
    for (connection, status) in [(&on, ConnectionStatus::Expired), (&off, ConnectionStatus::Disabled)] {
        let lease = take(&store, connection, 0, 1_000).await.unwrap();
        assert!(store.expire_connection(&lease, "gone\0").await.unwrap());
        let now = read(&store, connection).await;
        assert_eq!((now.status, now.last_error.as_deref()), (status, Some("gone\u{fffd}")));
        assert!(!store.expire_connection(&lease, "again").await.unwrap(), "the lease has ended");
    }
}

async fn tokens_that_nobody_uses_are_found(database: TestDatabase) {
    let store = database.open().await;
    let (old, _new) =
        (granted(&store, "old", Timestamp(1_000)).await, granted(&store, "new", Timestamp(9_000)).await);
    let idle = async || store.idle_grants(Timestamp(5_000), Timestamp(10_000), 10).await.unwrap();
    assert_eq!(idle().await, [(old.project, old.id)]);
    let lease = take(&store, &old, 0, 9_000).await.unwrap();
    assert_eq!(idle().await, [], "it is being refreshed");
    store
        .give_up_refresh(&lease, Setback { retry_at: Some(Timestamp(11_000)), is_in_doubt: false })
        .await
        .unwrap();
    assert_eq!(idle().await, [], "it is left alone");
}

fn revocation(connection: &Connection, next_at: i64) -> Revocation {
    Revocation {
        project: connection.project,
        id: Uuid::now_v7(),
        integration: connection.integration.clone(),
        connection_slug: connection.slug.clone(),
        sealed: sealed("k", b"tokens"),
        attempts: 0,
        next_at: Timestamp(next_at),
        created_at: Timestamp(500),
    }
}

async fn what_is_to_be_revoked_goes_in_with_what_takes_it_away(database: TestDatabase) {
    let (store, other) = (database.open().await, database.open().await);
    let (deleted, expired) =
        (granted(&store, "a", Timestamp(0)).await, granted(&store, "b", Timestamp(0)).await);
    let (first, second) = (revocation(&deleted, 1_000), revocation(&expired, 2_000));
    assert!(store.delete_connection(deleted.project, deleted.id, Some(&first)).await.unwrap());
    assert!(!store.delete_connection(deleted.project, deleted.id, Some(&second)).await.unwrap());
    let lease = take(&store, &expired, 0, 1_000).await.unwrap();
    assert!(store.expire_and_revoke(expired.project, expired.id, "a breach", Some(&second)).await.unwrap());
    assert_eq!(store.connection_fields_now(expired.project, expired.id).await.unwrap().len(), 0);
    let now = read(&store, &expired).await;
    assert_eq!((now.status, now.last_error.as_deref()), (ConnectionStatus::Expired, Some("a breach")));
    // What a refresh brings that was under way is nobody's.
    assert_eq!(store.finish_refresh(&lease, &new_token(), Timestamp(2_000)).await.unwrap(), None);

    let due = async |store: &Store, now: i64| {
        let due = store.take_revocations(Timestamp(now), MINUTE, 10).await.unwrap();
        due.into_iter().map(|revocation| revocation.id).collect::<Vec<_>>()
    };
    assert!(due(&store, 999).await.is_empty());
    assert_eq!(due(&store, 1_500).await, [first.id]);
    assert_eq!(due(&other, 2_500).await, [second.id], "the first is another's for a minute");
    assert_eq!(due(&other, 61_500).await, [first.id]);
    store.postpone_revocation(&second, Timestamp(70_000), "503").await.unwrap();
    assert!(due(&store, 69_999).await.is_empty());
    let taken = store.take_revocations(Timestamp(70_000), MINUTE, 10).await.unwrap();
    assert_eq!((taken.len(), taken[0].attempts, &taken[0].sealed), (1, 1, &second.sealed));
    store.delete_revocation(&second).await.unwrap();
    assert_eq!(due(&store, 1_000_000).await, [first.id]);
}

async fn a_device_code_is_asked_for_by_one_at_a_time(database: TestDatabase) {
    let (store, other) = (database.open().await, database.open().await);
    let connection = granted(&store, "tv", Timestamp(0)).await;
    let flow = Flow {
        state_hash: "s".to_owned(),
        project: connection.project,
        connection: connection.id,
        user: user("alice"),
        kind: FlowKind::Device,
        app: None,
        scopes: Vec::new(),
        redirect_uri: None,
        callback_url: None,
        sealed: Some(sealed("k", b"code")),
        browser_hash: None,
        poll_at: Some(Timestamp(1_000)),
        poll_interval: Some(Duration::from_secs(5)),
        created_at: Timestamp(0),
        expires_at: Timestamp(100_000),
        used_at: None,
    };
    store.insert_flow(&flow, &ConnectionChange::default()).await.unwrap();
    let due = async |store: &Store, now: i64| {
        store.take_device_polls(Timestamp(now), MINUTE, 10).await.unwrap().pop()
    };
    assert_eq!(due(&store, 999).await, None);
    assert_eq!(due(&store, 1_000).await, Some(flow.clone()));
    assert_eq!(due(&other, 2_000).await, None, "it is another's for a minute");
    store.poll_later(&flow, Timestamp(11_000), Duration::from_secs(10)).await.unwrap();
    let polled = due(&other, 11_000).await.unwrap();
    assert_eq!(polled.poll_interval, Some(Duration::from_secs(10)));
    assert!(store.use_flow("s", Timestamp(12_000)).await.unwrap());
    assert_eq!(due(&store, 90_000).await, None, "it has ended");
}
