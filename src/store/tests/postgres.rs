//! What a server at the other end of a network asks for.

use std::sync::Arc;

use sqlx::Row as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::*;
use crate::api_key::KeyHash;

/// Leads to a server until it is cut: then its connections are gone, and new ones are refused.
struct Wire {
    port: u16,
    carrying: JoinHandle<()>,
}

impl Wire {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::carry(listener, port)
    }

    fn carry(listener: TcpListener, to: u16) -> Self {
        let port = listener.local_addr().unwrap().port();
        let carrying = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut here, _) = listener.accept().await.unwrap();
                connections.spawn(async move {
                    let mut there = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                    // Ends when either side does.
                    let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
                });
            }
        });
        Self { port, carrying }
    }

    async fn cut(self) -> u16 {
        self.carrying.abort();
        let _ = self.carrying.await;
        self.port
    }
}

fn server(database: &TestDatabase) -> &PostgresDatabase {
    match database {
        TestDatabase::Postgres(database) => database,
        TestDatabase::Sqlite(_) => unreachable!(),
    }
}

#[test]
fn a_database_that_is_away_is_told_and_found_again() {
    run(TestDatabase::postgres(), async |database| {
        let server = server(&database);
        let wire = Wire::to(server.port()).await;
        let url = DatabaseUrl::Postgres(postgres_url(server, wire.port));
        let store = Store::open(&url).await.unwrap();
        let project = project(&store).await;
        let key = keys::key(project);
        store.insert_key(&key, KeyHash([1; 32])).await.unwrap();
        assert!(store.key_of_hash(KeyHash([1; 32])).await.unwrap().is_some());

        let epoch = store.epoch();
        let port = wire.cut().await;
        store.epochs().wait_for(|now| *now > epoch).await.unwrap();
        // Nothing that was cached outlives it.
        let error = store.key_of_hash(KeyHash([1; 32])).await.unwrap_err();
        let text = chain(&error);
        assert!(text.starts_with("the store can't look up the API key: "), "{text}");
        assert!(!text.contains(server.password()), "{text}");
        assert!(matches!(store.ping().await, Err(StoreError::Unavailable { .. })));
        assert!(matches!(store.create_project("x").await, Err(StoreError::Unavailable { .. })));

        let _wire = Wire::carry(TcpListener::bind(("127.0.0.1", port)).await.unwrap(), server.port());
        assert_eq!(store.key_of_hash(KeyHash([1; 32])).await.unwrap(), Some(key));
        store.ping().await.unwrap();
        store.create_project("x").await.unwrap();
    });
}

#[test]
fn sessions_that_the_server_ended_are_replaced() {
    run(TestDatabase::postgres(), async |database| {
        let store = database.open().await;
        let reads = (0..8).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.projects().await.map(drop) })
        });
        for read in reads.collect::<Vec<_>>() {
            read.await.unwrap().unwrap();
        }
        for n in 0..5 {
            server(&database).execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
            );
            store.create_project(&n.to_string()).await.unwrap();
        }
        assert_eq!(store.projects().await.unwrap().len(), 5);
    });
}

#[test]
fn a_password_is_in_no_error() {
    run(TestDatabase::postgres(), async |database| {
        let server = server(&database);
        let address = format!("127.0.0.1:{}/{}", server.port(), server.name());
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let urls = [
            format!("postgres://owner:hunter2@{address}"),
            format!("postgres://nobody:hunter2@{address}"),
            format!("postgres://owner:hunter2@{free}/x"),
            format!("postgres://owner:hunter2@{address}?sslmode=none"),
            format!("postgres://owner@{address}?password=hunter2"),
        ];
        for url in urls {
            let url = DatabaseUrl::parse(&url).unwrap();
            let error = Store::open(&url).await.map(drop).unwrap_err();
            let shown = format!("{} {error:?} {url} {url:?}", chain(&error));
            assert!(matches!(error, StoreError::Unavailable { .. }), "{shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    });
}

#[test]
fn sessions_say_whose_they_are() {
    run(TestDatabase::postgres(), async |database| {
        let store = database.open().await;
        store.projects().await.unwrap();
        let sessions = "SELECT DISTINCT application_name FROM pg_stat_activity \
                        WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let rows = database.rows(sessions).await;
        let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(names, ["portcullis"]);
    });
}

#[test]
fn a_server_that_only_reads_is_not_ready() {
    run(TestDatabase::postgres(), async |database| {
        database.open().await.close().await;
        let name = server(&database).name();
        database.execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
        let store = Store::open(&database.url()).await;
        // It may already be refused at the start.
        let error = match store {
            Ok(store) => store.ping().await.unwrap_err(),
            Err(error) => error,
        };
        assert!(chain(&error).contains("read-only transaction"), "{}", chain(&error));
    });
}

/// A server may be set to isolate more than the store's transactions are made for.
#[test]
fn the_servers_default_isolation_does_not_matter() {
    run(TestDatabase::postgres(), async |database| {
        let name = server(&database).name();
        database
            .execute(&format!("ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'"))
            .await;
        let stores = Arc::new([database.open().await, database.open().await]);
        let writers: Vec<_> = (0..20)
            .map(|n| {
                let stores = stores.clone();
                tokio::spawn(async move { stores[n % 2].create_project(&n.to_string()).await.map(drop) })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap().unwrap();
        }
    });
}
