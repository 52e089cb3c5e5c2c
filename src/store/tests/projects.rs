//! Projects, and what goes with them.

use sqlx::Row as _;

use super::*;
use crate::api_key::KeyHash;
use crate::identity::Role;
use crate::store::connections::{ConnectionFilter, Viewer};

on_both! {
    a_project_is_listed_and_found,
    a_name_is_given_once,
    nothing_is_left_of_a_deleted_project,
    users_are_owners_and_holders_of_keys,
}

async fn a_project_is_listed_and_found(database: TestDatabase) {
    let store = database.open().await;
    assert_eq!(store.projects().await.unwrap(), []);
    let b = store.create_project("b").await.unwrap();
    let a = store.create_project("B").await.unwrap();
    assert_eq!(store.projects().await.unwrap(), [a, b.clone()]);
    assert_eq!(store.project_named("b").await.unwrap(), Some(b));
    assert_eq!(store.project_named("c").await.unwrap(), None);
}

async fn a_name_is_given_once(database: TestDatabase) {
    let store = database.open().await;
    store.create_project("it's").await.unwrap();
    assert_eq!(taken(store.create_project("it's").await), "project name \"it's\"");
}

async fn nothing_is_left_of_a_deleted_project(database: TestDatabase) {
    let store = database.open().await;
    let doomed = project(&store).await;
    let other = store.create_project("other").await.unwrap().id;
    for project in [doomed, other] {
        let connection = connection(project, "support");
        let field = credential("token", FieldContent::Sealed(sealed("k", b"x")));
        store.insert_connection(&connection, &[field]).await.unwrap();
        store.put_secret(project, "clay", "…", &sealed("k", b"x")).await.unwrap();
        store.insert_key(&keys::key(project), KeyHash([u8::from(project == other); 32])).await.unwrap();
        assert!(store.put_upload(&uploads::upload(project, "d"), b"zip", None).await.unwrap());
        store.insert_executions(&[executions::execution(project)]).await.unwrap();
    }
    assert!(store.delete_project(doomed).await.unwrap());
    assert!(!store.delete_project(doomed).await.unwrap());

    assert_eq!(store.projects().await.unwrap().len(), 1);
    for table in ["connections", "connection_fields", "secrets", "api_keys", "uploads", "executions"] {
        let rows = database.rows(&format!("SELECT project_id FROM {table}")).await;
        let left: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(left, [other.to_string()], "{table}");
    }
}

async fn users_are_owners_and_holders_of_keys(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let other = store.create_project("other").await.unwrap().id;
    for (project, n, holder) in [
        (project, 1, Some("carol")),
        (project, 2, Some("alice")),
        (project, 3, None),
        (other, 4, Some("eve")),
    ] {
        let key = crate::store::keys::KeyRecord {
            role: if holder.is_some() { Role::User } else { Role::Service },
            user: holder.map(user),
            ..keys::key(project)
        };
        store.insert_key(&key, KeyHash([n; 32])).await.unwrap();
    }
    for owner in ["bob", "alice"] {
        let connection = Connection { owner: user(owner), ..connection(project, owner) };
        store.insert_connection(&connection, &[]).await.unwrap();
    }
    assert_eq!(store.users(project).await.unwrap(), ["alice", "bob", "carol"].map(user));
    assert!(store.connections(other, &Viewer::All, &ConnectionFilter::default()).await.unwrap().is_empty());
}
