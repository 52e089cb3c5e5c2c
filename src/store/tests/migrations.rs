//! How a database gets its schema.

use super::*;

on_both! {
    processes_that_start_at_once_wait_for_each_other,
    what_is_stored_is_there_after_a_restart,
    a_database_of_a_newer_version_is_refused,
    a_database_of_another_version_is_refused,
}

async fn processes_that_start_at_once_wait_for_each_other(database: TestDatabase) {
    let url = database.url();
    let starts: Vec<_> = (0..6)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { Store::open(&url).await.map(drop) })
        })
        .collect();
    for start in starts {
        start.await.unwrap().unwrap();
    }
    database.open().await.create_project("default").await.unwrap();
}

async fn what_is_stored_is_there_after_a_restart(database: TestDatabase) {
    let store = database.open().await;
    let project = store.create_project("default").await.unwrap();
    store.close().await;
    store.close().await;
    let closed = store.projects().await;
    assert!(matches!(closed, Err(StoreError::Unavailable { .. })), "{closed:?}");
    assert_eq!(database.open().await.projects().await.unwrap(), [project]);
}

async fn a_database_of_a_newer_version_is_refused(database: TestDatabase) {
    database.open().await.close().await;
    let row = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
               SELECT 99, 'future', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1";
    database.execute(row).await;
    let error = Store::open(&database.url()).await.map(drop).unwrap_err();
    assert_eq!(
        chain(&error),
        "the store can't bring the database's schema up to date: it was written by a newer version of Portcullis (its schema \
         has version 99, this program knows up to 4): run that version, or restore a backup from before the upgrade"
    );
}

async fn a_database_of_another_version_is_refused(database: TestDatabase) {
    database.open().await.close().await;
    let other = match database {
        TestDatabase::Sqlite(_) => "x'00'",
        TestDatabase::Postgres(_) => "'\\x00'",
    };
    database.execute(&format!("UPDATE _sqlx_migrations SET checksum = {other}")).await;
    let error = Store::open(&database.url()).await.map(drop).unwrap_err();
    assert!(
        chain(&error).ends_with("version 1 of its schema isn't the one that this program knows"),
        "{error:?}"
    );
}
