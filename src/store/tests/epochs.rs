//! Epochs and what is cached in them, in one process and across several.

use super::*;
use crate::api_key::KeyHash;
use crate::identity::Role;
use crate::store::connections::{ConnectionChange, Viewer};

on_both! {
    each_change_begins_an_epoch_and_wakes_those_who_wait,
    what_changes_nothing_begins_no_epoch,
    answers_are_kept_within_an_epoch,
    the_changes_of_another_process_are_seen,
    an_answer_that_was_read_before_a_change_is_not_kept_after_it,
}

async fn each_change_begins_an_epoch_and_wakes_those_who_wait(database: TestDatabase) {
    let store = database.open().await;
    let mut epochs = store.epochs();
    let mut last = store.epoch();
    let mut has_begun = move |store: &Store, what: &str| {
        assert!(epochs.has_changed().unwrap(), "{what}");
        assert!(store.epoch() > last, "{what}");
        last = *epochs.borrow_and_update();
    };
    let project = project(&store).await;
    has_begun(&store, "create_project");
    let key = keys::key(project);
    store.insert_key(&key, KeyHash([1; 32])).await.unwrap();
    has_begun(&store, "insert_key");
    store.revoke_key(project, key.id).await.unwrap();
    has_begun(&store, "revoke_key");
    let connection = connection(project, "support");
    store.insert_connection(&connection, &[]).await.unwrap();
    has_begun(&store, "insert_connection");
    store.change_connection(project, connection.id, &ConnectionChange::default()).await.unwrap();
    has_begun(&store, "change_connection");
    store.delete_connection(project, connection.id, None).await.unwrap();
    has_begun(&store, "delete_connection");
    store.put_secret(project, "clay", "…", &sealed("k", b"x")).await.unwrap();
    has_begun(&store, "put_secret");
    store.delete_secret(project, "clay").await.unwrap();
    has_begun(&store, "delete_secret");
    let upload = uploads::upload(project, "d");
    store.put_upload(&upload, b"zip", None).await.unwrap();
    has_begun(&store, "put_upload");
    store.delete_upload(project, &upload.slug).await.unwrap();
    has_begun(&store, "delete_upload");
    store.set_active_master_key("k").await.unwrap();
    has_begun(&store, "set_active_master_key");
    store.delete_project(project).await.unwrap();
    has_begun(&store, "delete_project");
}

async fn what_changes_nothing_begins_no_epoch(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let none = Uuid::now_v7();
    let epoch = store.epoch();
    assert!(store.create_project("default").await.is_err());
    assert!(!store.revoke_key(project, none).await.unwrap());
    assert!(!store.delete_connection(project, none, None).await.unwrap());
    assert!(!store.delete_secret(project, "none").await.unwrap());
    assert!(!store.delete_upload(project, &slug("none")).await.unwrap());
    assert!(!store.delete_project(ProjectId(none)).await.unwrap());
    let change = ConnectionChange::default();
    assert_eq!(store.change_connection(project, none, &change).await.unwrap(), None);
    assert_eq!(store.epoch(), epoch);
    let rows = database.rows("SELECT n FROM changes").await;
    assert_eq!(sqlx::Row::get::<i64, _>(&rows[0], 0), 1);
}

/// Reads everything that is cached; what is there of each.
async fn read_all(store: &Store, project: ProjectId, connection: Uuid) -> [bool; 5] {
    [
        store.key_of_hash(KeyHash([1; 32])).await.unwrap().is_some(),
        !store.visible_connections(project, &Viewer::User(user("alice"))).await.unwrap().is_empty(),
        !store.connection_fields(project, connection).await.unwrap().is_empty(),
        store.secret(project, "clay").await.unwrap().is_some(),
        !store.uploads(project).await.unwrap().is_empty(),
    ]
}

async fn answers_are_kept_within_an_epoch(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let connection = connection(project, "support");
    let field = credential("token", FieldContent::Secret("clay".to_owned()));
    store.insert_connection(&connection, &[field]).await.unwrap();
    store.insert_key(&keys::key(project), KeyHash([1; 32])).await.unwrap();
    store.put_secret(project, "clay", "…", &sealed("k", b"x")).await.unwrap();
    store.put_upload(&uploads::upload(project, "d"), b"zip", None).await.unwrap();
    assert_eq!(read_all(&store, project, connection.id).await, [true; 5]);
    for table in ["connection_fields", "connections", "api_keys", "secrets", "uploads"] {
        database.execute(&format!("DELETE FROM {table}")).await;
    }
    assert_eq!(read_all(&store, project, connection.id).await, [true; 5]);
    store.create_project("other").await.unwrap();
    assert_eq!(read_all(&store, project, connection.id).await, [false; 5]);
}

async fn the_changes_of_another_process_are_seen(database: TestDatabase) {
    let (here, there) = (database.open().await, database.open().await);
    let project = project(&here).await;
    let key = crate::store::keys::KeyRecord { role: Role::Admin, ..keys::key(project) };
    there.epochs().wait_for(|epoch| *epoch > 0).await.unwrap();
    assert_eq!(there.key_of_hash(KeyHash([1; 32])).await.unwrap(), None);

    for is_valid in [true, false] {
        let before = there.epoch();
        if is_valid {
            here.insert_key(&key, KeyHash([1; 32])).await.unwrap();
        } else {
            here.revoke_key(project, key.id).await.unwrap();
        }
        there.epochs().wait_for(|epoch| *epoch > before).await.unwrap();
        assert_eq!(there.key_of_hash(KeyHash([1; 32])).await.unwrap().is_some(), is_valid);
    }
}

async fn an_answer_that_was_read_before_a_change_is_not_kept_after_it(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    store.put_secret(project, "clay", "…", &sealed("k", b"one")).await.unwrap();
    let slow_read = async {
        let read = store.secret(project, "clay").await;
        store.put_secret(project, "clay", "…", &sealed("k", b"two")).await.unwrap();
        read
    };
    let question = (project, "clay".to_owned());
    let answer = store.inner.epochs.cached(|caches| &caches.secrets, question, slow_read).await.unwrap();
    assert_eq!(answer.as_deref(), Some(&sealed("k", b"one")));
    assert_eq!(store.secret(project, "clay").await.unwrap().as_deref(), Some(&sealed("k", b"two")));
}
