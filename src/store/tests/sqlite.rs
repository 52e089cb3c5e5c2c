//! What SQLite's file, journal and locks ask for.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use sqlx::{Connection as _, Row as _};

use super::*;
use crate::store::executions::Execution;

#[test]
fn the_files_are_for_their_owner_alone() {
    run(TestDatabase::sqlite(), async |database| {
        let store = database.open().await;
        project(&store).await;
        let TestDatabase::Sqlite(folder) = &database else { unreachable!() };
        let mut files: Vec<(String, u32)> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
                (entry.file_name().into_string().unwrap(), mode)
            })
            .collect();
        files.sort();
        let names = ["portcullis.db", "portcullis.db-shm", "portcullis.db-wal"];
        assert_eq!(files, names.map(|name| (name.to_owned(), 0o600)));
        store.close().await;
        // All is in the file.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    });
}

#[test]
fn a_path_may_hold_what_means_something_in_a_url() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("a?b#c%20 é:&");
    fs::create_dir(&inner).unwrap();
    let path = inner.join("d?mode=memory%2F'.db");
    let url = DatabaseUrl::Sqlite(
        inner.join("..").join(inner.file_name().unwrap()).join(path.file_name().unwrap()),
    );
    run(TestDatabase::sqlite(), async |_| {
        let store = Store::open(&url).await.unwrap();
        store.create_project("default").await.unwrap();
        store.close().await;
        assert!(fs::read(&path).unwrap().starts_with(b"SQLite format 3\0"));
        assert_eq!(fs::read_dir(&inner).unwrap().count(), 1);
    });
}

#[test]
fn a_folder_that_is_missing_is_named() {
    run(TestDatabase::sqlite(), async |_| {
        let url = DatabaseUrl::Sqlite("/nowhere/at/all/p.db".into());
        let error = Store::open(&url).await.map(drop).unwrap_err();
        let expected =
            "the store can't open its database file: /nowhere/at/all/p.db: No such file or directory";
        assert!(chain(&error).starts_with(expected), "{}", chain(&error));
    });
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    run(TestDatabase::sqlite(), async |database| {
        let DatabaseUrl::Sqlite(path) = database.url() else { unreachable!() };
        fs::write(&path, "no database ".repeat(1_000)).unwrap();
        let error = Store::open(&database.url()).await.map(drop).unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        assert!(chain(&error).contains("file is not a database"), "{}", chain(&error));
        assert!(fs::read(&path).unwrap().starts_with(b"no database"));
    });
}

/// What a commit that was acknowledged needs to survive a power cut, and what keeps a tampered schema from running code.
#[test]
fn connections_are_set_up() {
    run(TestDatabase::sqlite(), async |database| {
        let store = database.open().await;
        let mut write = store.inner.database.begin("look").await.unwrap();
        let pragmas = [
            ("PRAGMA synchronous", 2),
            ("PRAGMA trusted_schema", 0),
            ("PRAGMA foreign_keys", 1),
            ("PRAGMA auto_vacuum", 2),
            ("PRAGMA query_only", 0),
            ("PRAGMA busy_timeout", 5_000),
        ];
        for (pragma, value) in pragmas {
            assert_eq!(write.number(sqlx::query(pragma)).await.unwrap(), value, "{pragma}");
        }
        drop(write);
        let mode = store.inner.database.row("look", sqlx::query("PRAGMA journal_mode")).await.unwrap();
        assert_eq!(mode.unwrap().get::<String, _>(0), "wal");
        let written = store.inner.database.rows("write", sqlx::query("UPDATE changes SET n = 7")).await;
        assert!(matches!(written, Err(StoreError::Unavailable { .. })));
    });
}

/// As the command line does while the gateway serves.
#[test]
fn another_process_that_writes_is_waited_for() {
    run(TestDatabase::sqlite(), async |database| {
        let store = database.open().await;
        let mut other = database.connect().await;
        let mut transaction = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let writer = tokio::spawn({
            let store = store.clone();
            async move { store.create_project("default").await }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!writer.is_finished());
        // Readers don't wait.
        assert_eq!(store.projects().await.unwrap(), []);
        sqlx::query("UPDATE heartbeat SET at = 1").execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
        writer.await.unwrap().unwrap();
    });
}

#[test]
fn many_writers_of_two_processes_all_get_their_turn() {
    run(TestDatabase::sqlite(), async |database| {
        let stores = [database.open().await, database.open().await];
        let writers: Vec<_> = (0..40)
            .map(|n| {
                let store = stores[n % 2].clone();
                tokio::spawn(async move { store.create_project(&n.to_string()).await.map(drop) })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap().unwrap();
        }
        assert_eq!(stores[0].projects().await.unwrap().len(), 40);
    });
}

#[test]
fn a_file_that_vanished_is_noticed() {
    run(TestDatabase::sqlite(), async |database| {
        let store = database.open().await;
        store.ping().await.unwrap();
        let DatabaseUrl::Sqlite(path) = database.url() else { unreachable!() };
        fs::rename(&path, path.with_extension("old")).unwrap();
        let error = store.ping().await.unwrap_err();
        assert!(chain(&error).contains("No such file"), "{}", chain(&error));
        let error = store.create_project("lost").await.unwrap_err();
        assert!(chain(&error).contains("No such file"), "acknowledged nowhere: {}", chain(&error));
        fs::write(&path, "").unwrap();
        let error = store.ping().await.unwrap_err();
        assert!(chain(&error).ends_with("is another file by now: restart Portcullis"), "{}", chain(&error));
        fs::rename(path.with_extension("old"), &path).unwrap();
        store.ping().await.unwrap();
    });
}

#[test]
fn a_ping_writes() {
    run(TestDatabase::sqlite(), async |database| {
        let store = database.open().await;
        database
            .execute(
                "CREATE TRIGGER full BEFORE UPDATE ON heartbeat BEGIN SELECT RAISE(ABORT, 'disk full'); END",
            )
            .await;
        assert!(chain(&store.ping().await.unwrap_err()).contains("disk full"));
    });
}

#[test]
fn space_is_given_back_when_much_is_pruned() {
    run(TestDatabase::sqlite(), async |database| {
        let store = database.open().await;
        let project = project(&store).await;
        let records: Vec<Execution> = (0..400)
            .map(|_| Execution { message: Some("x".repeat(30_000)), ..executions::execution(project) })
            .collect();
        store.insert_executions(&records).await.unwrap();
        assert_eq!(store.prune_executions(Duration::from_secs(3600), 1).await.unwrap(), 399);
        store.close().await;
        let DatabaseUrl::Sqlite(path) = database.url() else { unreachable!() };
        let size = fs::metadata(path).unwrap().len();
        assert!(size < 6 << 20, "{size}");
    });
}

#[test]
fn writes_go_on_after_sqlite_has_undone_a_transaction_by_itself() {
    run(TestDatabase::sqlite(), async |database| {
        let store = database.open().await;
        // What a full disk does to a transaction: sqlx doesn't know that it is over.
        let mut write = store.inner.database.begin("fill the disk").await.unwrap();
        write.execute(sqlx::query("ROLLBACK")).await.unwrap();
        drop(write);
        store.create_project("after").await.unwrap();
        store.ping().await.unwrap();
    });
}
