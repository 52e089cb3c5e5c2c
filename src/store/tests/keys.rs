//! API keys.

use super::*;
use crate::api_key::KeyHash;
use crate::identity::Role;
use crate::store::keys::KeyRecord;

on_both! {
    a_key_is_found_by_its_hash_until_it_is_revoked,
    keys_are_listed_newest_first,
    a_key_is_revoked_in_its_project_alone,
    a_hash_is_stored_once,
    an_admin_key_counts_until_it_is_revoked,
    a_use_is_noted_to_the_minute,
    a_key_of_no_project_is_refused,
}

/// An admin's key, made in the second second of 1970.
pub(super) fn key(project: ProjectId) -> KeyRecord {
    KeyRecord {
        id: Uuid::now_v7(),
        project,
        role: Role::Admin,
        user: Some(user("admin")),
        name: "first".to_owned(),
        hint: "pc_…x7Qf".to_owned(),
        created_at: Timestamp(2_000),
        last_used_at: None,
        revoked_at: None,
    }
}

async fn a_key_is_found_by_its_hash_until_it_is_revoked(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let service = KeyRecord { role: Role::Service, user: None, ..key(project) };
    let hash = KeyHash([0xff; 32]);
    assert_eq!(store.key_of_hash(hash).await.unwrap(), None);
    store.insert_key(&service, hash).await.unwrap();
    for _cached in [false, true] {
        assert_eq!(store.key_of_hash(hash).await.unwrap(), Some(service.clone()));
        assert_eq!(store.key_of_hash(KeyHash([0; 32])).await.unwrap(), None);
    }
    assert!(store.revoke_key(project, service.id).await.unwrap());
    assert_eq!(store.key_of_hash(hash).await.unwrap(), None);
    assert!(!store.revoke_key(project, service.id).await.unwrap());
    assert!(store.keys(project).await.unwrap()[0].revoked_at.is_some());
}

async fn keys_are_listed_newest_first(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let old = KeyRecord { created_at: Timestamp(1_000), ..key(project) };
    let (new, newest) = (key(project), key(project));
    for (n, key) in [&new, &old, &newest].into_iter().enumerate() {
        store.insert_key(key, KeyHash([u8::try_from(n).unwrap(); 32])).await.unwrap();
    }
    assert_eq!(store.keys(project).await.unwrap(), [newest, new, old]);
}

async fn a_key_is_revoked_in_its_project_alone(database: TestDatabase) {
    let store = database.open().await;
    let key = key(project(&store).await);
    let other = store.create_project("other").await.unwrap().id;
    store.insert_key(&key, KeyHash([1; 32])).await.unwrap();
    assert!(!store.revoke_key(other, key.id).await.unwrap());
    assert_eq!(store.keys(other).await.unwrap(), []);
    assert_eq!(store.key_of_hash(KeyHash([1; 32])).await.unwrap(), Some(key));
}

async fn a_hash_is_stored_once(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    store.insert_key(&key(project), KeyHash([1; 32])).await.unwrap();
    assert_eq!(taken(store.insert_key(&key(project), KeyHash([1; 32])).await), "API key pc_…x7Qf");
}

async fn an_admin_key_counts_until_it_is_revoked(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    store.insert_key(&KeyRecord { role: Role::User, ..key(project) }, KeyHash([1; 32])).await.unwrap();
    assert!(!store.has_admin_key().await.unwrap());
    let admin = key(project);
    store.insert_key(&admin, KeyHash([2; 32])).await.unwrap();
    assert!(store.has_admin_key().await.unwrap());
    store.revoke_key(project, admin.id).await.unwrap();
    assert!(!store.has_admin_key().await.unwrap());
}

async fn a_use_is_noted_to_the_minute(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let key = key(project);
    store.insert_key(&key, KeyHash([1; 32])).await.unwrap();
    let epoch = store.epoch();
    let used = [(key.id, Timestamp(179_999)), (Uuid::now_v7(), Timestamp(1)), (key.id, Timestamp(60_000))];
    store.touch_keys(&used).await.unwrap();
    store.touch_keys(&[(key.id, Timestamp(60_001))]).await.unwrap();
    store.touch_keys(&[]).await.unwrap();
    assert_eq!(store.keys(project).await.unwrap()[0].last_used_at, Some(Timestamp(120_000)));
    assert_eq!(store.epoch(), epoch);
}

async fn a_key_of_no_project_is_refused(database: TestDatabase) {
    let store = database.open().await;
    let key = key(ProjectId(Uuid::now_v7()));
    let stored = store.insert_key(&key, KeyHash([1; 32])).await;
    assert!(matches!(stored, Err(StoreError::Unavailable { .. })), "{stored:?}");
}
