//! `introspect_tables` and `introspect_columns`, which every SQL connector has besides its own operations, and the query
//! that tests a connection.

use serde_json::{Value, json};

use super::placeholder::{Dialect, Query};
use crate::manifest::name::OperationName;
use crate::manifest::{Engine, Operation, OperationType, ParametersSchema};

/// The parameters of both operations.
const PARAMETERS: [&str; 2] = ["schemaName", "tableName"];

/// The operations that a connector of this engine has besides its own.
pub(crate) fn operations(engine: Engine) -> Vec<Operation> {
    let (tables, columns) = queries(engine);
    [
        (
            "introspect_tables",
            "List tables",
            "Lists the tables and views of the database: schemaName, tableName and tableType (table or view). Both \
             parameters are optional filters, compared exactly.",
            tables,
        ),
        (
            "introspect_columns",
            "List columns",
            "Lists the columns of the database's tables and views in order: schemaName, tableName, columnName, position, \
             dataType, nullable, defaultValue and primaryKey. Both parameters are optional filters, compared exactly.",
            columns,
        ),
    ]
    .into_iter()
    .filter_map(|(name, title, description, query)| operation(engine, name, title, description, query))
    .collect()
}

/// Makes booleans of those columns of `introspect_columns` that not every engine has as such.
pub(crate) fn with_booleans(mut result: Value) -> Value {
    let rows = result.get_mut("rows").and_then(Value::as_array_mut);
    for row in rows.into_iter().flatten() {
        for column in ["nullable", "primaryKey"] {
            if let Some(value) = row.get_mut(column)
                && let Some(number) = value.as_i64()
            {
                *value = Value::Bool(number != 0);
            }
        }
    }
    result
}

/// The operation that tests a connection.
pub(crate) fn test_operation(engine: Engine) -> Option<Operation> {
    let query = Query::parse(Dialect::from(engine), "SELECT 1", &[]).0?;
    Some(reading(OperationName::parse("test").ok()?, ParametersSchema::any(), query))
}

/// None is never the answer: names, schema and queries are this file's, and its tests parse them all.
fn operation(engine: Engine, name: &str, title: &str, description: &str, query: &str) -> Option<Operation> {
    let query = Query::parse(Dialect::from(engine), query, &PARAMETERS).0?;
    let operation = reading(OperationName::parse(name).ok()?, ParametersSchema::new(schema()).ok()?, query);
    Some(Operation { title: Some(title.to_owned()), description: Some(description.to_owned()), ..operation })
}

fn reading(name: OperationName, parameters: ParametersSchema, query: Query) -> Operation {
    Operation {
        name,
        title: None,
        description: None,
        operation_type: OperationType::Read,
        requires_approval: None,
        required_scopes: Vec::new(),
        parameters,
        query: Some(query),
    }
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "schemaName": {"type": "string", "description": "Only this schema (MySQL: database)"},
            "tableName": {"type": "string", "description": "Only this table or view"},
        },
        "additionalProperties": false,
    })
}

/// The queries for tables and for columns. Their rows are the same on every engine.
fn queries(engine: Engine) -> (&'static str, &'static str) {
    match engine {
        Engine::Postgres => (POSTGRES_TABLES, POSTGRES_COLUMNS),
        Engine::Mysql => (MYSQL_TABLES, MYSQL_COLUMNS),
        Engine::Mssql => (MSSQL_TABLES, MSSQL_COLUMNS),
        Engine::Sqlite => (SQLITE_TABLES, SQLITE_COLUMNS),
    }
}

const POSTGRES_TABLES: &str = r#"
SELECT n.nspname::text AS "schemaName", c.relname::text AS "tableName",
       CASE WHEN c.relkind IN ('v', 'm') THEN 'view' ELSE 'table' END AS "tableType"
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND (@schemaName::text IS NULL OR n.nspname = @schemaName::text)
  AND (@tableName::text IS NULL OR c.relname = @tableName::text)
ORDER BY 1, 2"#;

const POSTGRES_COLUMNS: &str = r#"
SELECT n.nspname::text AS "schemaName", c.relname::text AS "tableName", a.attname::text AS "columnName",
       row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum) AS "position",
       pg_catalog.format_type(a.atttypid, a.atttypmod) AS "dataType", NOT a.attnotnull AS "nullable",
       pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS "defaultValue",
       EXISTS (SELECT 1 FROM pg_catalog.pg_index i
               WHERE i.indrelid = c.oid AND i.indisprimary AND a.attnum = ANY (i.indkey)) AS "primaryKey"
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND (@schemaName::text IS NULL OR n.nspname = @schemaName::text)
  AND (@tableName::text IS NULL OR c.relname = @tableName::text)
ORDER BY 1, 2, a.attnum"#;

const MYSQL_TABLES: &str = r"
SELECT t.TABLE_SCHEMA AS `schemaName`, t.TABLE_NAME AS `tableName`,
       CASE WHEN t.TABLE_TYPE LIKE '%VIEW' THEN 'view' ELSE 'table' END AS `tableType`
FROM information_schema.TABLES t
WHERE t.TABLE_SCHEMA NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys')
  AND (@schemaName IS NULL OR t.TABLE_SCHEMA = @schemaName)
  AND (@tableName IS NULL OR t.TABLE_NAME = @tableName)
ORDER BY t.TABLE_SCHEMA, t.TABLE_NAME";

const MYSQL_COLUMNS: &str = r"
SELECT c.TABLE_SCHEMA AS `schemaName`, c.TABLE_NAME AS `tableName`, c.COLUMN_NAME AS `columnName`,
       CAST(c.ORDINAL_POSITION AS UNSIGNED) AS `position`, c.COLUMN_TYPE AS `dataType`,
       c.IS_NULLABLE = 'YES' AS `nullable`, c.COLUMN_DEFAULT AS `defaultValue`, c.COLUMN_KEY = 'PRI' AS `primaryKey`
FROM information_schema.COLUMNS c
WHERE c.TABLE_SCHEMA NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys')
  AND (@schemaName IS NULL OR c.TABLE_SCHEMA = @schemaName)
  AND (@tableName IS NULL OR c.TABLE_NAME = @tableName)
ORDER BY c.TABLE_SCHEMA, c.TABLE_NAME, c.ORDINAL_POSITION";

const MSSQL_TABLES: &str = r"
SELECT s.name AS [schemaName], o.name AS [tableName], CASE o.type WHEN 'V' THEN 'view' ELSE 'table' END AS [tableType]
FROM sys.objects o JOIN sys.schemas s ON s.schema_id = o.schema_id
WHERE o.type IN ('U', 'V') AND o.is_ms_shipped = 0
  AND (@schemaName IS NULL OR s.name = @schemaName) AND (@tableName IS NULL OR o.name = @tableName)
ORDER BY s.name, o.name";

const MSSQL_COLUMNS: &str = r"
SELECT s.name AS [schemaName], o.name AS [tableName], c.name AS [columnName],
       ROW_NUMBER() OVER (PARTITION BY c.object_id ORDER BY c.column_id) AS [position],
       TYPE_NAME(c.user_type_id) AS [dataType], c.is_nullable AS [nullable], d.definition AS [defaultValue],
       CAST(CASE WHEN EXISTS (
           SELECT 1 FROM sys.indexes i JOIN sys.index_columns k ON k.object_id = i.object_id AND k.index_id = i.index_id
           WHERE i.object_id = c.object_id AND i.is_primary_key = 1 AND k.column_id = c.column_id
       ) THEN 1 ELSE 0 END AS bit) AS [primaryKey]
FROM sys.columns c JOIN sys.objects o ON o.object_id = c.object_id JOIN sys.schemas s ON s.schema_id = o.schema_id
LEFT JOIN sys.default_constraints d ON d.object_id = c.default_object_id
WHERE o.type IN ('U', 'V') AND o.is_ms_shipped = 0
  AND (@schemaName IS NULL OR s.name = @schemaName) AND (@tableName IS NULL OR o.name = @tableName)
ORDER BY s.name, o.name, c.column_id";

const SQLITE_TABLES: &str = r#"
SELECT l.schema AS "schemaName", l.name AS "tableName", CASE l.type WHEN 'view' THEN 'view' ELSE 'table' END AS "tableType"
FROM pragma_table_list l
WHERE l.schema = 'main' AND l.name NOT LIKE 'sqlite\_%' ESCAPE '\' AND l.type <> 'shadow'
  AND (@schemaName IS NULL OR l.schema = @schemaName) AND (@tableName IS NULL OR l.name = @tableName)
ORDER BY l.name"#;

const SQLITE_COLUMNS: &str = r#"
SELECT l.schema AS "schemaName", l.name AS "tableName", c.name AS "columnName", c.cid + 1 AS "position",
       lower(c.type) AS "dataType", CAST(c."notnull" = 0 AND c.pk = 0 AS BOOLEAN) AS "nullable",
       c.dflt_value AS "defaultValue", CAST(c.pk > 0 AS BOOLEAN) AS "primaryKey"
FROM pragma_table_list l JOIN pragma_table_info(l.name) c
WHERE l.schema = 'main' AND l.name NOT LIKE 'sqlite\_%' ESCAPE '\' AND l.type <> 'shadow'
  AND (@schemaName IS NULL OR l.schema = @schemaName) AND (@tableName IS NULL OR l.name = @tableName)
ORDER BY l.name, c.cid"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engine_has_both_operations() {
        for engine in [Engine::Postgres, Engine::Mysql, Engine::Mssql, Engine::Sqlite] {
            let names: Vec<String> =
                operations(engine).iter().map(|operation| operation.name.to_string()).collect();
            assert_eq!(names, ["introspect_tables", "introspect_columns"], "{engine:?}");
            assert!(test_operation(engine).is_some());
        }
    }

    #[test]
    fn both_filters_are_bound() {
        for engine in [Engine::Postgres, Engine::Mysql, Engine::Mssql, Engine::Sqlite] {
            for operation in operations(engine) {
                let query = operation.query.expect("a query");
                assert_eq!(query.parameters(), PARAMETERS, "{engine:?}");
            }
        }
    }
}
