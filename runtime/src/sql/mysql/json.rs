//! MariaDB's JSON columns. `JSON` is another word for LONGTEXT there, and all that remains of it is the column's check
//! `json_valid(column)`, which the server is asked for once for each table and connection.
//!
//! A view's columns, and expressions such as `JSON_OBJECT(…)`, stay texts: nothing that sqlx reads tells them apart.

use std::collections::{HashMap, HashSet};

use sqlx::Column as _;
use sqlx::mysql::{MySqlColumn, MySqlConnection, MySqlTypeInfo};

use super::connect::text_at;

/// The JSON columns of the tables that were asked about, by `schema.table`.
#[derive(Debug, Default)]
pub(super) struct JsonColumns {
    tables: HashMap<String, HashSet<String>>,
}

impl JsonColumns {
    /// Which of a statement's columns hold JSON, by their places.
    pub(super) async fn among(
        &mut self,
        columns: &[MySqlColumn],
        driver: &mut MySqlConnection,
    ) -> Result<Vec<usize>, sqlx::Error> {
        let mut places = Vec::new();
        for (place, column) in
            columns.iter().enumerate().filter(|(_, column)| may_be_json(column.type_info()))
        {
            let origin = column.origin();
            let Some(origin) = origin.table_column() else { continue };
            if !self.tables.contains_key(&*origin.table) {
                let names = ask(&origin.table, driver).await?;
                self.tables.insert(origin.table.to_string(), names);
            }
            if self.tables.get(&*origin.table).is_some_and(|names| names.contains(&*origin.name)) {
                places.push(place);
            }
        }
        Ok(places)
    }
}

/// Whether it is LONGTEXT with the collation utf8mb4_bin.
pub(super) fn may_be_json(type_info: &MySqlTypeInfo) -> bool {
    super::decode::is_text(type_info) && matches!(sqlx::TypeInfo::name(type_info), "BLOB" | "LONGBLOB")
}

async fn ask(table: &str, driver: &mut MySqlConnection) -> Result<HashSet<String>, sqlx::Error> {
    let Some((schema, table)) = table.split_once('.') else { return Ok(HashSet::new()) };
    let text = "SELECT CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS \
                WHERE CONSTRAINT_SCHEMA = ? AND TABLE_NAME = ?";
    match sqlx::query(text).bind(schema).bind(table).fetch_all(driver).await {
        Ok(rows) => Ok(rows.iter().filter_map(|row| checked_column(text_at(row, 0))).collect()),
        // Before 10.3 there is no such table.
        Err(sqlx::Error::Database(_)) => Ok(HashSet::new()),
        Err(error) => Err(error),
    }
}

/// The column of a check ``json_valid(`column`)``.
fn checked_column(clause: &str) -> Option<String> {
    let name = clause.strip_prefix("json_valid(`")?.strip_suffix("`)")?;
    let is_one_name = !name.replace("``", "").contains('`');
    is_one_name.then(|| name.replace("``", "`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_column_is_one_whose_check_is_just_that() {
        assert_eq!(checked_column("json_valid(`a`)").as_deref(), Some("a"));
        assert_eq!(checked_column("json_valid(`a``b`)").as_deref(), Some("a`b"));
        assert_eq!(checked_column("json_valid(`a`) and json_valid(`b`)"), None);
        assert_eq!(checked_column("json_length(`a`) > 0"), None);
    }
}
