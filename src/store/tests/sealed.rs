//! The master key that is in force, and its rotation.

use super::*;
use crate::store::connections::ConnectionChange;
use crate::store::sealed::SealedRow;

on_both! {
    before_the_first_master_key_anything_goes,
    values_under_a_replaced_key_are_refused,
    a_writer_that_waited_for_a_rotation_is_refused,
    a_rotation_waits_for_a_writer,
    what_other_keys_seal_is_found_and_sealed_anew,
    a_value_that_changed_meanwhile_is_not_overwritten,
}

async fn before_the_first_master_key_anything_goes(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    assert_eq!(store.active_master_key().await.unwrap(), None);
    store.put_secret(project, "a", "…", &sealed("k1", b"x")).await.unwrap();
    store.put_secret(project, "b", "…", &sealed("k2", b"x")).await.unwrap();
    store.set_active_master_key("k2").await.unwrap();
    assert_eq!(store.active_master_key().await.unwrap().as_deref(), Some("k2"));
}

async fn values_under_a_replaced_key_are_refused(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let connection = connection(project, "support");
    store.set_active_master_key("k1").await.unwrap();
    let field = |key_id| credential("token", FieldContent::Sealed(sealed(key_id, b"x")));
    store.insert_connection(&connection, &[field("k1")]).await.unwrap();
    store.set_active_master_key("k2").await.unwrap();

    let epoch = store.epoch();
    let change = ConnectionChange {
        name: Some("new".to_owned()),
        fields: Some((vec![FieldKind::Credential], vec![field("k2"), field("k1")])),
        ..ConnectionChange::default()
    };
    let another = Connection { slug: slug("another"), id: Uuid::now_v7(), ..connection.clone() };
    let row = SealedRow {
        project,
        kind: "credential".to_owned(),
        owner: connection.id.to_string(),
        field: "token".to_owned(),
        sealed: sealed("k1", b"x"),
    };
    let refused = [
        store.put_secret(project, "clay", "…", &sealed("k1", b"x")).await.map(drop),
        store.insert_connection(&another, &[field("k1")]).await,
        store.change_connection(project, connection.id, &change).await.map(drop),
        store.reseal(&row, &sealed("k1", b"y")).await.map(drop),
    ];
    for refused in refused {
        assert!(matches!(refused, Err(StoreError::KeyRotated)), "{refused:?}");
    }
    assert_eq!(store.epoch(), epoch);
    assert_eq!(*store.connection_fields(project, connection.id).await.unwrap(), [field("k1")]);
    assert!(!store.is_slug_taken(project, "another").await.unwrap());
    // What holds no value, and what does under the key in force, is stored.
    let change = ConnectionChange { fields: None, ..change };
    assert!(store.change_connection(project, connection.id, &change).await.unwrap().is_some());
    store.insert_connection(&another, &[field("k2")]).await.unwrap();
}

async fn a_writer_that_waited_for_a_rotation_is_refused(database: TestDatabase) {
    let (rotating, writing) = (database.open().await, database.open().await);
    let project = project(&rotating).await;
    rotating.set_active_master_key("k1").await.unwrap();
    let mut rotation = rotating.begin_change("rotate").await.unwrap();
    rotation.execute(sqlx::query("UPDATE master_key SET key_id = 'k2'")).await.unwrap();
    let writer =
        tokio::spawn(async move { writing.put_secret(project, "clay", "…", &sealed("k1", b"x")).await });
    // Time for it to get stuck; it must be refused whether it did or not.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!writer.is_finished());
    rotation.commit().await.unwrap();
    let written = writer.await.unwrap();
    assert!(matches!(written, Err(StoreError::KeyRotated)), "{written:?}");
}

async fn a_rotation_waits_for_a_writer(database: TestDatabase) {
    let (writing, rotating) = (database.open().await, database.open().await);
    let project = project(&writing).await;
    writing.set_active_master_key("k1").await.unwrap();
    let mut write = writing.begin_change("write").await.unwrap();
    write.check_master_key([&sealed("k1", b"x")]).await.unwrap();
    let rotation = tokio::spawn(async move { rotating.set_active_master_key("k2").await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!rotation.is_finished());
    drop(write);
    rotation.await.unwrap().unwrap();
    let late = writing.put_secret(project, "clay", "…", &sealed("k1", b"x")).await;
    assert!(matches!(late, Err(StoreError::KeyRotated)), "{late:?}");
}

async fn what_other_keys_seal_is_found_and_sealed_anew(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let connection = connection(project, "support");
    let config = StoredField {
        kind: FieldKind::Config,
        field: String::new(),
        content: FieldContent::Sealed(sealed("k1", b"config")),
    };
    let fields = [
        credential("new", FieldContent::Sealed(sealed("k2", b"x"))),
        credential("old", FieldContent::Sealed(sealed("k1", b"credential"))),
        credential("reference", FieldContent::Secret("clay".to_owned())),
        config,
    ];
    store.insert_connection(&connection, &fields).await.unwrap();
    store.put_secret(project, "clay", "…", &sealed("k1", b"secret")).await.unwrap();
    store.set_active_master_key("k2").await.unwrap();

    assert_eq!(store.sealed_under_other_keys("k2", 2).await.unwrap().len(), 2);
    let mut rows = store.sealed_under_other_keys("k2", 10).await.unwrap();
    rows.sort_by(|a, b| a.kind.cmp(&b.kind));
    let row = |kind: &str, owner: &str, field: &str| SealedRow {
        project,
        kind: kind.to_owned(),
        owner: owner.to_owned(),
        field: field.to_owned(),
        sealed: sealed("k1", kind.as_bytes()),
    };
    let owner = connection.id.to_string();
    assert_eq!(
        rows,
        [row("config", &owner, ""), row("credential", &owner, "old"), row("secret", "", "clay")]
    );

    let epoch = store.epoch();
    for row in &rows {
        let anew = Sealed { key_id: "k2".to_owned(), ..row.sealed.clone() };
        assert!(store.reseal(row, &anew).await.unwrap());
        assert!(!store.reseal(row, &anew).await.unwrap());
    }
    assert!(store.epoch() > epoch);
    assert!(store.sealed_under_other_keys("k2", 10).await.unwrap().is_empty());
    assert_eq!(store.secret(project, "clay").await.unwrap().as_deref(), Some(&sealed("k2", b"secret")));
    let stored = store.connection_fields(project, connection.id).await.unwrap();
    assert_eq!(stored[0].content, FieldContent::Sealed(sealed("k2", b"config")));
    assert_eq!(stored[2], credential("old", FieldContent::Sealed(sealed("k2", b"credential"))));
}

async fn a_value_that_changed_meanwhile_is_not_overwritten(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    store.put_secret(project, "clay", "…", &sealed("k1", b"one")).await.unwrap();
    let rows = store.sealed_under_other_keys("k2", 10).await.unwrap();
    store.put_secret(project, "clay", "…", &sealed("k1", b"two")).await.unwrap();
    assert!(!store.reseal(&rows[0], &sealed("k2", b"one")).await.unwrap());
    assert_eq!(store.secret(project, "clay").await.unwrap().as_deref(), Some(&sealed("k1", b"two")));
}
