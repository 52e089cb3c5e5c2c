//! Workspace secrets.

use super::*;
use crate::store::secrets::SecretRecord;

on_both! {
    a_secret_is_set_and_set_again,
    a_secret_is_deleted_in_its_project_alone,
    those_who_use_a_secret_are_known,
}

async fn a_secret_is_set_and_set_again(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    assert_eq!(store.secret(project, "clay").await.unwrap(), None);
    let (first, is_new) = store.put_secret(project, "clay", "a…", &sealed("k", b"one")).await.unwrap();
    assert!(is_new);
    assert_eq!(store.secret(project, "clay").await.unwrap().as_deref(), Some(&sealed("k", b"one")));

    let (second, is_new) = store.put_secret(project, "clay", "b…", &sealed("k", b"two")).await.unwrap();
    assert!(!is_new);
    assert_eq!(second, SecretRecord { mask: "b…".to_owned(), updated_at: second.updated_at, ..first });
    assert_eq!(store.secret(project, "clay").await.unwrap().as_deref(), Some(&sealed("k", b"two")));
    let (earlier, _) = store.put_secret(project, "apollo", "…", &sealed("k", &[0, 255])).await.unwrap();
    assert_eq!(store.secrets(project).await.unwrap(), [earlier, second]);
}

async fn a_secret_is_deleted_in_its_project_alone(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let other = store.create_project("other").await.unwrap().id;
    store.put_secret(project, "clay", "…", &sealed("k", b"x")).await.unwrap();
    assert!(!store.delete_secret(other, "clay").await.unwrap());
    assert_eq!(store.secret(other, "clay").await.unwrap(), None);
    assert!(store.secret(project, "clay").await.unwrap().is_some());
    assert!(store.delete_secret(project, "clay").await.unwrap());
    assert_eq!(store.secret(project, "clay").await.unwrap(), None);
    assert!(!store.delete_secret(project, "clay").await.unwrap());
}

async fn those_who_use_a_secret_are_known(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let reference = |field, name: &str| credential(field, FieldContent::Secret(name.to_owned()));
    let both = [reference("a", "clay"), reference("b", "clay")];
    store.insert_connection(&connection(project, "second"), &both).await.unwrap();
    store.insert_connection(&connection(project, "first"), &both[..1]).await.unwrap();
    store.insert_connection(&connection(project, "third"), &[reference("a", "other")]).await.unwrap();
    assert_eq!(store.users_of_secret(project, "clay").await.unwrap(), ["first", "second"]);
    assert!(store.users_of_secret(project, "none").await.unwrap().is_empty());
}
