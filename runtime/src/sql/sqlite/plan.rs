//! What is known of a statement before it runs: its columns, with the types that they were declared with.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::sqlite::{SqliteColumn, SqliteConnection};
use sqlx::{AssertSqlSafe, Column, ColumnOrigin, Executor, Row, SqlSafeStr, Statement, TypeInfo};

use super::decode::Kind;
use super::refused;
use super::shape::{self, Item};
use crate::sql::error::SqlError;

/// A statement, ready to run.
#[derive(Debug)]
pub(super) struct Plan {
    /// The statement, with `?NNN` for its parameters.
    pub(super) text: Arc<str>,
    /// The columns that it returns.
    pub(super) columns: Vec<PlannedColumn>,
    /// Whether it is an INSERT, UPDATE or DELETE.
    pub(super) changes_rows: bool,
    /// Whether it may create, alter or drop something.
    pub(super) changes_schema: bool,
}

/// A column of a result.
#[derive(Debug)]
pub(super) struct PlannedColumn {
    pub(super) name: String,
    /// The type that the table's column was declared with, or that a value is cast to, lower case; none for what is
    /// computed otherwise.
    pub(super) declared: Option<String>,
    pub(super) kind: Kind,
    /// The parameter that the column is, and nothing else: its index.
    pub(super) parameter: Option<usize>,
}

/// The declared types of the tables that results came from, by their columns' names.
pub(super) type Tables = HashMap<Arc<str>, HashMap<String, String>>;

/// Prepares a statement.
///
/// # Errors
/// SQLite doesn't understand it, or it is one that a connector can't run.
pub(super) async fn plan(
    connection: &mut SqliteConnection,
    tables: &mut Tables,
    text: &str,
) -> Result<Plan, SqlError> {
    if let Some(reason) = shape::refusal(text) {
        return Err(SqlError::database(reason, None));
    }
    let text: Arc<str> = text.into();
    let sql = AssertSqlSafe(Arc::clone(&text)).into_sql_str();
    let prepared = connection.prepare(sql).await.map_err(refused)?;
    let items: HashMap<usize, Item<'_>> = shape::items(&text).into_iter().collect();
    let mut columns = Vec::with_capacity(prepared.columns().len());
    for (place, column) in prepared.columns().iter().enumerate() {
        let mut declared = declared(connection, tables, column).await?;
        let mut parameter = None;
        match items.get(&place) {
            Some(Item::Parameter(number)) => parameter = number.checked_sub(1),
            Some(Item::Cast(to)) => declared = declared.or_else(|| Some(to.to_ascii_lowercase())),
            None => {}
        }
        columns.push(PlannedColumn {
            name: column.name().to_owned(),
            kind: declared.as_deref().map(Kind::of).unwrap_or_default(),
            declared,
            parameter,
        });
    }
    let changes_rows = shape::changes_rows(&text);
    let changes_schema = !changes_rows && !shape::only_reads(&text);
    Ok(Plan { text, columns, changes_rows, changes_schema })
}

/// The type that a column was declared with. The driver knows which table's column it is, but forgets the types that it
/// has no use for.
async fn declared(
    connection: &mut SqliteConnection,
    tables: &mut Tables,
    column: &SqliteColumn,
) -> Result<Option<String>, SqlError> {
    let ColumnOrigin::Table(origin) = column.origin() else { return Ok(None) };
    if !tables.contains_key(&origin.table) {
        let types = declared_types(connection, &origin.table).await.map_err(refused)?;
        tables.insert(Arc::clone(&origin.table), types);
    }
    let own = tables.get(&origin.table).and_then(|types| types.get(&*origin.name)).cloned();
    let own = own.filter(|declared| !declared.is_empty());
    // A rowid is no column of its table, and is an integer.
    let known = column.type_info();
    Ok(own.or_else(|| (!known.is_null()).then(|| known.name().to_ascii_lowercase())))
}

async fn declared_types(
    connection: &mut SqliteConnection,
    table: &str,
) -> Result<HashMap<String, String>, sqlx::Error> {
    let (schema, table) = table.strip_prefix("temp.").map_or(("main", table), |table| ("temp", table));
    let columns = "SELECT name, type FROM pragma_table_xinfo(?1, ?2)";
    let columns = connection.fetch_all(sqlx::query(columns).bind(table).bind(schema)).await?;
    columns
        .iter()
        .map(|column| {
            let declared: String = column.try_get(1)?;
            Ok((column.try_get(0)?, declared.trim().to_ascii_lowercase()))
        })
        .collect()
}
