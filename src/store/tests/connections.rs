//! Connections and their fields.

use super::*;
use crate::store::connections::{ConnectionChange, ConnectionFilter, Viewer};

on_both! {
    a_connection_comes_back_as_it_was,
    a_slug_is_given_once_in_a_project,
    all_or_nothing_of_a_connection_is_stored,
    viewers_see_their_own_and_what_is_shared,
    filters_restrict_a_list,
    what_changes_changes_and_the_rest_stays,
    a_change_can_clear_and_replace,
    a_change_to_a_taken_slug_changes_nothing,
    fields_go_with_their_connection,
    a_damaged_connection_is_told,
}

async fn a_connection_comes_back_as_it_was(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let full = Connection {
        mode: AuthMethod::OAuth2,
        status: ConnectionStatus::Pending,
        description: Some(String::new()),
        last_error: Some("x".repeat(10_000)),
        identity: Some("octocat".to_owned()),
        scopes: Some(vec!["repo".to_owned(), "a \"b\"".to_owned()]),
        expires_at: Some(Timestamp(i64::MAX)),
        visibility: Visibility::Project,
        ..connection(project, "full")
    };
    let empty = Connection { name: String::new(), scopes: Some(Vec::new()), ..connection(project, "empty") };
    for connection in [&full, &empty] {
        store.insert_connection(connection, &[]).await.unwrap();
    }
    assert_eq!(list(&store, project, &Viewer::All).await, [empty, full]);
}

async fn list(store: &Store, project: ProjectId, viewer: &Viewer) -> Vec<Connection> {
    let listed = store.connections(project, viewer, &ConnectionFilter::default()).await.unwrap();
    for _cached in [false, true] {
        assert_eq!(*store.visible_connections(project, viewer).await.unwrap(), listed);
    }
    listed
}

async fn a_slug_is_given_once_in_a_project(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let other = store.create_project("other").await.unwrap().id;
    store.insert_connection(&connection(project, "support"), &[]).await.unwrap();
    store.insert_connection(&connection(other, "support"), &[]).await.unwrap();
    let again = Connection { owner: user("bob"), ..connection(project, "support") };
    assert_eq!(taken(store.insert_connection(&again, &[]).await), "connection slug \"support\"");
    assert!(store.is_slug_taken(project, "support").await.unwrap());
    assert!(!store.is_slug_taken(project, "sales").await.unwrap());
}

async fn all_or_nothing_of_a_connection_is_stored(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let epoch = store.epoch();
    let token = credential("token", FieldContent::Secret("clay".to_owned()));
    let stored = store.insert_connection(&connection(project, "support"), &[token.clone(), token]).await;
    assert_eq!(taken(stored), "credential \"token\"");
    assert!(list(&store, project, &Viewer::All).await.is_empty());
    assert_eq!(store.epoch(), epoch);
}

async fn viewers_see_their_own_and_what_is_shared(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    for (name, owner, visibility) in [
        ("a-own", "alice", Visibility::User),
        ("b-own", "bob", Visibility::User),
        ("shared", "bob", Visibility::Project),
    ] {
        let connection = Connection { owner: user(owner), visibility, ..connection(project, name) };
        store.insert_connection(&connection, &[]).await.unwrap();
    }
    let slugs = async |viewer: Viewer| -> Vec<String> {
        list(&store, project, &viewer).await.iter().map(|seen| seen.slug.as_str().to_owned()).collect()
    };
    assert_eq!(slugs(Viewer::All).await, ["a-own", "b-own", "shared"]);
    assert_eq!(slugs(Viewer::User(user("alice"))).await, ["a-own", "shared"]);
    assert_eq!(slugs(Viewer::User(user("ALICE"))).await, ["shared"]);
    assert_eq!(slugs(Viewer::Shared).await, ["shared"]);
    let other = store.create_project("other").await.unwrap().id;
    assert!(list(&store, other, &Viewer::All).await.is_empty());
}

async fn filters_restrict_a_list(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let a = connection(project, "a");
    let b = Connection {
        integration: slug("slack"),
        status: ConnectionStatus::Failed,
        ..connection(project, "b")
    };
    for connection in [&a, &b] {
        store.insert_connection(connection, &[]).await.unwrap();
    }
    let all = ConnectionFilter::default();
    let filters = [
        ConnectionFilter { integration: Some("slack".to_owned()), ..all.clone() },
        ConnectionFilter { id: Some(b.id), ..all.clone() },
        ConnectionFilter { slug: Some("b".to_owned()), ..all.clone() },
        ConnectionFilter { status: Some(ConnectionStatus::Failed), ..all.clone() },
    ];
    for filter in filters {
        let found = store.connections(project, &Viewer::User(user("alice")), &filter).await.unwrap();
        assert_eq!(found, std::slice::from_ref(&b), "{filter:?}");
    }
    let none = ConnectionFilter { slug: Some("a".to_owned()), id: Some(b.id), ..all };
    assert!(store.connections(project, &Viewer::All, &none).await.unwrap().is_empty());
}

async fn what_changes_changes_and_the_rest_stays(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let old = Connection { description: Some("old".to_owned()), ..connection(project, "support") };
    let field = credential("token", FieldContent::Secret("clay".to_owned()));
    store.insert_connection(&old, std::slice::from_ref(&field)).await.unwrap();

    let change = ConnectionChange { name: Some("new".to_owned()), ..ConnectionChange::default() };
    let changed = store.change_connection(project, old.id, &change).await.unwrap().unwrap();
    assert!(changed.updated_at > old.updated_at);
    let expected = Connection { name: "new".to_owned(), updated_at: changed.updated_at, ..old.clone() };
    assert_eq!(changed, expected);
    assert_eq!(list(&store, project, &Viewer::All).await, [expected]);
    assert_eq!(*store.connection_fields(project, old.id).await.unwrap(), [field]);

    let other = store.create_project("other").await.unwrap().id;
    assert_eq!(store.change_connection(other, old.id, &change).await.unwrap(), None);
}

async fn a_change_can_clear_and_replace(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let old = Connection { description: Some("old".to_owned()), ..connection(project, "support") };
    let config = StoredField {
        kind: FieldKind::Config,
        field: String::new(),
        content: FieldContent::Sealed(sealed("k", b"{}")),
    };
    let password = credential("password", FieldContent::Sealed(sealed("k", b"hunter2")));
    store.insert_connection(&old, &[password, config.clone()]).await.unwrap();
    assert_eq!(store.connection_fields(project, old.id).await.unwrap().len(), 2);

    let token = credential("token", FieldContent::Sealed(sealed("k", b"")));
    let change = ConnectionChange {
        slug: Some(slug("sales")),
        name: None,
        description: Some(None),
        mode: Some(AuthMethod::BearerToken),
        status: Some(ConnectionStatus::Failed),
        last_error: Some(Some("401".to_owned())),
        identity: Some(Some("octocat".to_owned())),
        scopes: Some(Some(vec!["repo".to_owned()])),
        expires_at: Some(Some(Timestamp(3_000))),
        visibility: Some(Visibility::Project),
        fields: Some((vec![FieldKind::Credential], vec![token.clone()])),
    };
    let changed = store.change_connection(project, old.id, &change).await.unwrap().unwrap();
    let expected = Connection {
        slug: slug("sales"),
        description: None,
        mode: AuthMethod::BearerToken,
        status: ConnectionStatus::Failed,
        last_error: Some("401".to_owned()),
        identity: Some("octocat".to_owned()),
        scopes: Some(vec!["repo".to_owned()]),
        expires_at: Some(Timestamp(3_000)),
        visibility: Visibility::Project,
        updated_at: changed.updated_at,
        ..old.clone()
    };
    assert_eq!(changed, expected);
    assert_eq!(list(&store, project, &Viewer::Shared).await, [expected]);
    assert_eq!(*store.connection_fields(project, old.id).await.unwrap(), [config, token]);
}

async fn a_change_to_a_taken_slug_changes_nothing(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let support = connection(project, "support");
    store.insert_connection(&support, &[]).await.unwrap();
    store.insert_connection(&connection(project, "sales"), &[]).await.unwrap();
    let change = ConnectionChange { slug: Some(slug("sales")), ..ConnectionChange::default() };
    let changed = store.change_connection(project, support.id, &change).await;
    assert_eq!(taken(changed), "connection slug \"sales\"");
    assert_eq!(list(&store, project, &Viewer::All).await[1], support);
}

async fn fields_go_with_their_connection(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let doomed = connection(project, "support");
    let field = credential("token", FieldContent::Sealed(sealed("k", b"x")));
    store.insert_connection(&doomed, &[field]).await.unwrap();
    let other = store.create_project("other").await.unwrap().id;
    assert!(!store.delete_connection(other, doomed.id, None).await.unwrap());
    assert_eq!(store.connection_fields(other, doomed.id).await.unwrap().len(), 0);
    assert_eq!(store.connection_fields(project, doomed.id).await.unwrap().len(), 1);
    assert!(store.delete_connection(project, doomed.id, None).await.unwrap());
    assert!(!store.delete_connection(project, doomed.id, None).await.unwrap());
    assert_eq!(store.connection_fields(project, doomed.id).await.unwrap().len(), 0);
    assert!(database.rows("SELECT field FROM connection_fields").await.is_empty());
}

async fn a_damaged_connection_is_told(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let connection = connection(project, "support");
    store.insert_connection(&connection, &[]).await.unwrap();
    let damages = [
        ("status", "status = 'SLEEPING'"),
        ("scopes", "status = 'ACTIVE', scopes = '{'"),
        ("id", "scopes = NULL, id = 'not a UUID'"),
    ];
    for (column, damage) in damages {
        database.execute(&format!("UPDATE connections SET {damage}")).await;
        let error = store.connections(project, &Viewer::All, &ConnectionFilter::default()).await.unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
        let name = if column == "id" { "not a UUID".to_owned() } else { connection.id.to_string() };
        let expected = format!("the store holds a damaged connection {name:?}: its {column} can't be read");
        assert_eq!(error.to_string(), expected);
    }
}
