//! One suite for both databases, and what only one of them can go wrong with.

use std::future::Future;
use std::time::Duration;

use portcullis_runtime::manifest::AuthMethod;
use portcullis_runtime::manifest::name::Slug;
use portcullis_test_servers::Database as PostgresDatabase;
use sqlx::any::{AnyConnectOptions, AnyRow};
use sqlx::{AnyConnection, AssertSqlSafe, ConnectOptions as _};
use tempfile::TempDir;
use url::Url;
use uuid::Uuid;

use super::connections::{Connection, ConnectionStatus, FieldContent, FieldKind, StoredField, Visibility};
use super::file::DatabaseFile;
use super::projects::Project;
use super::{DatabaseUrl, Store, StoreError};
use crate::identity::{ProjectId, UserName};
use crate::time::Timestamp;
use crate::vault::Sealed;

/// Makes of each named test one on SQLite and one on PostgreSQL.
macro_rules! on_both {
    ($($test:ident,)*) => {
        mod on_sqlite {
            use crate::store::tests::{TestDatabase, run};
            $(#[test] fn $test() { run(TestDatabase::sqlite(), super::$test); })*
        }
        mod on_postgres {
            use crate::store::tests::{TestDatabase, run};
            $(#[test] fn $test() { run(TestDatabase::postgres(), super::$test); })*
        }
    };
}

mod agents;
mod approvals;
mod connections;
mod epochs;
mod executions;
mod keys;
mod leases;
mod migrations;
mod oauth;
mod postgres;
mod projects;
mod sealed;
mod secrets;
mod sqlite;
mod texts;
mod uploads;

/// Whatever has to happen happens sooner.
const DEADLINE: Duration = Duration::from_secs(30);

/// An empty database of a test's own; dropping it removes it.
enum TestDatabase {
    Sqlite(TempDir),
    Postgres(PostgresDatabase),
}

impl TestDatabase {
    fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    fn postgres() -> Self {
        Self::Postgres(portcullis_test_servers::postgres().create_database())
    }

    fn url(&self) -> DatabaseUrl {
        match self {
            Self::Sqlite(folder) => DatabaseUrl::Sqlite(folder.path().join("portcullis.db")),
            Self::Postgres(database) => DatabaseUrl::Postgres(postgres_url(database, database.port())),
        }
    }

    async fn open(&self) -> Store {
        Store::open(&self.url()).await.unwrap()
    }

    /// A connection that knows nothing of the store.
    async fn connect(&self) -> AnyConnection {
        sqlx::any::install_default_drivers();
        let url = match self.url() {
            DatabaseUrl::Sqlite(path) => DatabaseFile::open_or_create(&path).unwrap().url(),
            DatabaseUrl::Postgres(url) => url,
        };
        url.parse::<AnyConnectOptions>().unwrap().connect().await.unwrap()
    }

    /// Runs a statement behind the store's back.
    async fn execute(&self, sql: &str) {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut self.connect().await).await.unwrap();
    }

    /// The same, and returns its rows.
    async fn rows(&self, sql: &str) -> Vec<AnyRow> {
        sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut self.connect().await).await.unwrap()
    }
}

/// The URL of a test's database on 127.0.0.1, at the server's port or another that leads there.
fn postgres_url(database: &PostgresDatabase, port: u16) -> String {
    let mut url = Url::parse(&format!("postgres://127.0.0.1:{port}/{}", database.name())).unwrap();
    url.set_username(database.user()).unwrap();
    // What else means something in a URL is escaped by set_password itself.
    url.set_password(Some(&database.password().replace('%', "%25"))).unwrap();
    url.into()
}

/// Runs a test on several threads, as the gateway runs.
fn run<F: Future<Output = ()>>(database: TestDatabase, test: impl FnOnce(TestDatabase) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, test(database)).await.unwrap() });
}

async fn project(store: &Store) -> ProjectId {
    let Project { id, .. } = store.create_project("default").await.unwrap();
    id
}

fn user(name: &str) -> UserName {
    UserName::new(name).unwrap()
}

fn slug(text: &str) -> Slug {
    Slug::parse(text).unwrap()
}

/// A connection of alice's, for her alone.
fn connection(project: ProjectId, name: &str) -> Connection {
    Connection {
        id: Uuid::now_v7(),
        project,
        owner: user("alice"),
        integration: slug("github"),
        slug: slug(name),
        mode: AuthMethod::ApiKey,
        status: ConnectionStatus::Active,
        name: name.to_owned(),
        description: None,
        last_error: None,
        identity: None,
        scopes: None,
        expires_at: None,
        visibility: Visibility::User,
        created_at: Timestamp(1_000),
        updated_at: Timestamp(2_000),
    }
}

fn sealed(key_id: &str, ciphertext: &[u8]) -> Sealed {
    Sealed { key_id: key_id.to_owned(), nonce: *b"nonce-nonce-", ciphertext: ciphertext.to_vec() }
}

fn credential(field: &str, content: FieldContent) -> StoredField {
    StoredField { kind: FieldKind::Credential, field: field.to_owned(), content }
}

/// What is taken, as the error says.
#[track_caller]
fn taken<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Taken { what }) => what,
        other => panic!("{other:?}"),
    }
}

/// An error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |cause| cause.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
