//! Texts that mean something in SQL, or that PostgreSQL doesn't take.

use super::*;
use crate::store::connections::{ConnectionChange, ConnectionFilter, Viewer};
use crate::store::executions::{Execution, ExecutionFilter};

on_both! {
    quotes_and_other_scripts_come_back,
    a_nul_character_becomes_a_replacement_character,
}

const TEXT: &str = "O'Brien \"x\"; DROP TABLE projects; -- $1 ? :a \\ % _ 名前 🦀 \u{301}";

async fn quotes_and_other_scripts_come_back(database: TestDatabase) {
    let store = database.open().await;
    let project = store.create_project(TEXT).await.unwrap();
    assert_eq!(store.project_named(TEXT).await.unwrap(), Some(project.clone()));
    let owner = user(TEXT);
    let mine = Connection {
        owner: owner.clone(),
        name: TEXT.to_owned(),
        identity: Some(TEXT.to_owned()),
        ..connection(project.id, "mine")
    };
    store.insert_connection(&mine, &[]).await.unwrap();
    assert_eq!(store.users(project.id).await.unwrap(), std::slice::from_ref(&owner));
    assert_eq!(*store.visible_connections(project.id, &Viewer::User(owner)).await.unwrap(), [mine]);
    store.put_secret(project.id, TEXT, TEXT, &sealed("k", b"x")).await.unwrap();
    assert!(store.secret(project.id, TEXT).await.unwrap().is_some());
}

async fn a_nul_character_becomes_a_replacement_character(database: TestDatabase) {
    const NUL: &str = "a\0b";
    const SHOWN: &str = "a\u{fffd}b";
    let store = database.open().await;
    let project = store.create_project(NUL).await.unwrap();
    assert_eq!(project.name, SHOWN);
    assert_eq!(store.project_named(NUL).await.unwrap(), Some(project.clone()));
    let project = project.id;

    let old = Connection { last_error: Some(NUL.to_owned()), ..connection(project, "support") };
    store.insert_connection(&old, &[]).await.unwrap();
    let change = ConnectionChange { description: Some(Some(NUL.to_owned())), ..ConnectionChange::default() };
    let changed = store.change_connection(project, old.id, &change).await.unwrap().unwrap();
    assert_eq!((changed.last_error.as_deref(), changed.description.as_deref()), (Some(SHOWN), Some(SHOWN)));
    let filter = ConnectionFilter { slug: Some(NUL.to_owned()), ..ConnectionFilter::default() };
    assert!(store.connections(project, &Viewer::All, &filter).await.unwrap().is_empty());
    assert!(!store.is_slug_taken(project, NUL).await.unwrap());

    let (secret, _) = store.put_secret(project, NUL, NUL, &sealed("k", b"\0")).await.unwrap();
    assert_eq!((secret.name.as_str(), secret.mask.as_str()), (SHOWN, SHOWN));
    assert_eq!(store.secret(project, NUL).await.unwrap().unwrap().ciphertext, b"\0");
    assert!(store.users_of_secret(project, NUL).await.unwrap().is_empty());
    assert!(store.delete_secret(project, NUL).await.unwrap());

    let record = Execution {
        message: Some(NUL.to_owned()),
        tool: NUL.to_owned(),
        logs: serde_json::json!([{"message": NUL}]),
        ..executions::execution(project)
    };
    store.insert_executions(std::slice::from_ref(&record)).await.unwrap();
    let filter = ExecutionFilter { tool: Some(NUL.to_owned()), limit: 1, ..ExecutionFilter::default() };
    let expected = Execution { message: Some(SHOWN.to_owned()), tool: SHOWN.to_owned(), ..record };
    assert_eq!(store.executions(project, &filter).await.unwrap(), [expected]);
}
