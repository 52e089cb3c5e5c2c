//! The schema's versions, and how a database is brought to the newest.

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, Connection as _, SqlSafeStr as _};

use super::StoreError;
use super::database::Engine;

const OPERATION: &str = "bring the database's schema up to date";

/// Each version of the schema: its number, what it brings, and its statements for SQLite and for PostgreSQL.
const VERSIONS: &[(i64, &str, &str, &str)] = &[
    (
        1,
        "gateway",
        include_str!("../../migrations/sqlite/0001_gateway.sql"),
        include_str!("../../migrations/postgres/0001_gateway.sql"),
    ),
    (
        2,
        "oauth",
        include_str!("../../migrations/sqlite/0002_oauth.sql"),
        include_str!("../../migrations/postgres/0002_oauth.sql"),
    ),
    (
        3,
        "approvals",
        include_str!("../../migrations/sqlite/0003_approvals.sql"),
        include_str!("../../migrations/postgres/0003_approvals.sql"),
    ),
    (
        4,
        "agents",
        include_str!("../../migrations/sqlite/0004_agents.sql"),
        include_str!("../../migrations/postgres/0004_agents.sql"),
    ),
];

/// Applies what is missing. Processes that start at once wait for each other: on PostgreSQL by sqlx's advisory lock, which
/// ends with `connection`; on SQLite by one transaction around all of it.
pub(super) async fn run(engine: Engine, connection: &mut AnyConnection) -> Result<(), StoreError> {
    let migrator = migrator(engine);
    // Not Migrator::run: with it the compiler can't tell that what calls this may change threads.
    match engine {
        Engine::Postgres => migrator.run_direct(None, connection, false).await.map_err(failed),
        Engine::Sqlite => {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(execution_failed)?;
            migrator.run_direct(None, &mut *transaction, false).await.map_err(failed)?;
            transaction.commit().await.map_err(execution_failed)
        }
    }
}

fn migrator(engine: Engine) -> Migrator {
    let migrations = VERSIONS.iter().map(|&(version, description, sqlite, postgres)| {
        let sql = match engine {
            Engine::Sqlite => sqlite,
            Engine::Postgres => postgres,
        };
        Migration::new(version, description.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.collect())
}

fn execution_failed(error: sqlx::Error) -> StoreError {
    failed(MigrateError::Execute(error))
}

fn failed(error: MigrateError) -> StoreError {
    let source = match error {
        MigrateError::VersionMissing(version) => format!(
            "it was written by a newer version of Portcullis (its schema has version {version}, this program knows up to \
             {}): run that version, or restore a backup from before the upgrade",
            VERSIONS.last().map_or(0, |&(version, ..)| version)
        )
        .into(),
        MigrateError::VersionMismatch(version) => {
            format!("version {version} of its schema isn't the one that this program knows").into()
        }
        MigrateError::Execute(error) => error.into(),
        other => other.into(),
    };
    StoreError::Unavailable { operation: OPERATION, source }
}
