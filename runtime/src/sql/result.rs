//! The result of a query as it is read: bounded in rows and bytes, with a JSON object for each row.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::limits::Exceeded;

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    /// Its name as the database gives it, perhaps empty.
    pub(super) name: String,
    /// Its type, in the database's own words, lower case.
    pub(super) type_name: String,
}

/// Whether more rows are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Wanted {
    /// Go on.
    More,
    /// The row that was offered is one too many, and was not taken: there is no need for others.
    Enough,
}

/// Takes the rows of a query, and makes its result of the last statement that returned columns.
#[derive(Debug)]
pub(super) struct ResultSink {
    max_rows: usize,
    max_bytes: u64,
    names: Vec<String>,
    columns: Vec<Column>,
    rows: Vec<Value>,
    n_bytes: u64,
    n_affected: Option<u64>,
    truncated: bool,
}

impl ResultSink {
    /// A sink for at most `max_rows` rows and `max_bytes` bytes of JSON.
    pub(super) fn new(max_rows: u64, max_bytes: u64) -> Self {
        Self {
            max_rows: usize::try_from(max_rows).unwrap_or(usize::MAX),
            max_bytes,
            names: Vec::new(),
            columns: Vec::new(),
            rows: Vec::new(),
            n_bytes: 0,
            n_affected: None,
            truncated: false,
        }
    }

    /// The most bytes of JSON that it takes.
    pub(super) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// A statement returns rows of these columns: what an earlier statement returned is no longer the result.
    pub(super) fn begin(&mut self, columns: Vec<Column>) {
        self.names = unique_names(&columns);
        self.columns = columns;
        self.rows.clear();
        self.n_bytes = 0;
        self.truncated = false;
    }

    /// Takes a row, with a value for each column.
    ///
    /// # Errors
    /// The result is larger than a result may be.
    pub(super) fn row(&mut self, values: impl IntoIterator<Item = Value>) -> Result<Wanted, Exceeded> {
        if self.rows.len() >= self.max_rows {
            self.truncated = true;
            return Ok(Wanted::Enough);
        }
        let mut row = Map::with_capacity(self.names.len());
        for (name, value) in self.names.iter().zip(values) {
            self.n_bytes += string_length(name) + 2 + json_length(&value);
            row.insert(name.clone(), value);
        }
        self.n_bytes += 2;
        if self.n_bytes > self.max_bytes {
            return Err(Exceeded::Result(self.max_bytes));
        }
        self.rows.push(Value::Object(row));
        Ok(Wanted::More)
    }

    /// A statement changed rows.
    pub(super) fn affected(&mut self, n_rows: u64) {
        *self.n_affected.get_or_insert(0) += n_rows;
    }

    /// The result: `{rows, rowCount, rowsAffected?, truncated, columns}`.
    pub(super) fn finish(self) -> Value {
        let columns: Vec<Value> = self
            .names
            .into_iter()
            .zip(self.columns)
            .map(|(name, column)| {
                let mut object = Map::with_capacity(2);
                object.insert("name".to_owned(), Value::String(name));
                object.insert("type".to_owned(), Value::String(column.type_name));
                Value::Object(object)
            })
            .collect();
        let mut result = Map::new();
        let n_rows = self.rows.len();
        result.insert("rows".to_owned(), Value::Array(self.rows));
        result.insert("rowCount".to_owned(), Value::from(n_rows));
        if let Some(n_affected) = self.n_affected {
            result.insert("rowsAffected".to_owned(), Value::from(n_affected));
        }
        result.insert("truncated".to_owned(), Value::Bool(self.truncated));
        result.insert("columns".to_owned(), Value::Array(columns));
        Value::Object(result)
    }
}

/// A name for each column that no other has: an unnamed one is `column_N` by its place, and of equal ones the later get
/// `_2`, `_3` … appended.
fn unique_names(columns: &[Column]) -> Vec<String> {
    if are_unique(columns) {
        return columns.iter().map(|column| column.name.clone()).collect();
    }
    let mut taken: std::collections::HashSet<String> = std::collections::HashSet::new();
    let own: std::collections::HashSet<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let mut names = Vec::with_capacity(columns.len());
    for (index, column) in columns.iter().enumerate() {
        let base = if column.name.is_empty() { format!("column_{}", index + 1) } else { column.name.clone() };
        let mut name = base.clone();
        let mut n = 1;
        while taken.contains(&name) || (name != column.name && own.contains(name.as_str())) {
            n += 1;
            name = format!("{base}_{n}");
        }
        taken.insert(name.clone());
        names.push(name);
    }
    names
}

/// Whether the names are names for an object's keys as they are. Few names are compared faster than hashed.
fn are_unique(columns: &[Column]) -> bool {
    let is_taken = |(index, column): (usize, &Column)| {
        column.name.is_empty() || columns[..index].iter().any(|other| other.name == column.name)
    };
    columns.len() <= 32 && !columns.iter().enumerate().any(is_taken)
}

/// How many bytes a value takes as JSON.
fn json_length(value: &Value) -> u64 {
    match value {
        Value::Null | Value::Bool(true) => 4,
        Value::Bool(false) => 5,
        Value::Number(number) => {
            let mut length = Length(0);
            // A counter takes everything.
            let _ = write!(length, "{number}");
            length.0
        }
        Value::String(text) => string_length(text),
        Value::Array(values) => between(values.iter().map(json_length)),
        Value::Object(map) => {
            between(map.iter().map(|(key, value)| string_length(key) + 1 + json_length(value)))
        }
    }
}

/// Brackets, and the parts with a comma between each two.
fn between(parts: impl Iterator<Item = u64>) -> u64 {
    let (n_parts, length) = parts.fold((0_u64, 0), |(n, sum), length| (n + 1, sum + length));
    2 + length + n_parts.saturating_sub(1)
}

/// Counts what is written.
struct Length(u64);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0 += text.len() as u64;
        Ok(())
    }
}

fn string_length(text: &str) -> u64 {
    let extra: usize = text
        .bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 1,
            0..=0x1f => 5,
            _ => 0,
        })
        .sum();
    (text.len() + extra + 2) as u64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn columns(names: &[&str]) -> Vec<Column> {
        let column = |name: &&str| Column { name: (*name).to_owned(), type_name: "text".to_owned() };
        names.iter().map(column).collect()
    }

    #[test]
    fn every_column_has_a_name_of_its_own() {
        for (given, expected) in [
            (vec!["a", "b"], vec!["a", "b"]),
            (vec!["", "", "x"], vec!["column_1", "column_2", "x"]),
            (vec!["a", "a", "a"], vec!["a", "a_2", "a_3"]),
            (vec!["a", "a", "a_2"], vec!["a", "a_3", "a_2"]),
            (vec!["column_2", ""], vec!["column_2", "column_2_2"]),
        ] {
            assert_eq!(unique_names(&columns(&given)), expected, "{given:?}");
        }
    }

    #[test]
    fn a_row_too_many_is_not_taken() {
        let mut sink = ResultSink::new(2, 1000);
        sink.begin(columns(&["n"]));
        assert_eq!(sink.row([json!(1)]), Ok(Wanted::More));
        assert_eq!(sink.row([json!(2)]), Ok(Wanted::More));
        assert_eq!(sink.row([json!(3)]), Ok(Wanted::Enough));
        let expected = json!({
            "rows": [{"n": 1}, {"n": 2}], "rowCount": 2, "truncated": true,
            "columns": [{"name": "n", "type": "text"}],
        });
        assert_eq!(sink.finish(), expected);
    }

    #[test]
    fn the_last_statement_with_columns_gives_the_result() {
        let mut sink = ResultSink::new(1, 1000);
        sink.begin(columns(&["old"]));
        assert_eq!(sink.row([json!(1)]), Ok(Wanted::More));
        assert_eq!(sink.row([json!(2)]), Ok(Wanted::Enough));
        sink.affected(2);
        sink.affected(1);
        sink.begin(columns(&["new"]));
        let expected = json!({
            "rows": [], "rowCount": 0, "rowsAffected": 3, "truncated": false,
            "columns": [{"name": "new", "type": "text"}],
        });
        assert_eq!(sink.finish(), expected);
    }

    #[test]
    fn a_statement_without_columns_gives_an_empty_result() {
        let expected = json!({"rows": [], "rowCount": 0, "truncated": false, "columns": []});
        assert_eq!(ResultSink::new(1, 1000).finish(), expected);
    }

    #[test]
    fn bytes_are_bounded() {
        let mut sink = ResultSink::new(1000, 100);
        sink.begin(columns(&["t"]));
        assert_eq!(sink.row([json!("x".repeat(50))]), Ok(Wanted::More));
        assert_eq!(sink.row([json!("x".repeat(50))]), Err(Exceeded::Result(100)));
    }

    #[test]
    fn lengths_are_those_of_the_json() {
        for value in [
            json!(null),
            json!(true),
            json!(-12.5),
            json!("a\"\\\n\u{1}é"),
            json!([1, [2], {}, [false, ""]]),
            json!({"a": {"b": []}, "é\n": 1e300}),
        ] {
            assert_eq!(json_length(&value), value.to_string().len() as u64, "{value}");
        }
    }
}
