//! SQLite files as another program sees them: made, filled and read by the driver alone, without Portcullis.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, Column, ConnectOptions, Connection, Row};

/// Makes an empty database.
#[track_caller]
pub(crate) fn create(file: &Path) {
    query(file, "PRAGMA user_version = 1");
}

/// Runs statements, and returns the rows that they gave as texts; a NULL is the text `NULL`.
#[track_caller]
pub(crate) fn query(file: &Path, sql: &str) -> Vec<Vec<String>> {
    try_query(file, sql).unwrap_or_else(|error| panic!("{error}\nin: {sql}"))
}

/// The same, or why not.
pub(crate) fn try_query(file: &Path, sql: &str) -> sqlx::Result<Vec<Vec<String>>> {
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut connection = options.connect().await?;
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut connection).await;
        connection.close().await?;
        Ok(rows?.iter().map(texts).collect())
    })
}

fn texts(row: &SqliteRow) -> Vec<String> {
    let text = |index| row.try_get_unchecked::<Option<String>, _>(index).unwrap();
    row.columns().iter().map(|column| text(column.ordinal()).unwrap_or_else(|| "NULL".to_owned())).collect()
}
