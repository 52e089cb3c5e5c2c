//! The rows of one statement on their way to the result.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::decode::{self, Kind};
use super::plan::{Plan, PlannedColumn};
use super::shape;
use crate::sql::backend::{Hint, Job};
use crate::sql::error::SqlError;
use crate::sql::placeholder::Statement;
use crate::sql::result::{Column, ResultSink, Wanted};

/// Takes the rows of a statement.
pub(super) struct Reading<'a> {
    columns: Vec<ReadColumn<'a>>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// No row came so far.
    Before,
    /// Rows come.
    Within,
    /// No more of them are taken.
    Full,
}

struct ReadColumn<'a> {
    planned: &'a PlannedColumn,
    name: String,
    kind: Kind,
}

impl<'a> Reading<'a> {
    pub(super) fn new(plan: &'a Plan, statement: &Statement, job: &Job<'_>) -> Self {
        let columns = plan.columns.iter().map(|planned| {
            let argument = planned.parameter.and_then(|index| job.arguments.get(index));
            let is_bool = argument.is_some_and(|argument| argument.hint == Hint::Bool);
            ReadColumn {
                planned,
                name: shape::name_as_written(&planned.name, statement.text(), job.query.parameters()),
                kind: if is_bool { Kind::Bool } else { planned.kind },
            }
        });
        Self { columns: columns.collect(), state: State::Before }
    }

    /// Takes a row.
    ///
    /// # Errors
    /// The result becomes too large, or a value is a text that isn't UTF-8.
    pub(super) fn row(&mut self, row: &SqliteRow, sink: &mut ResultSink) -> Result<Wanted, SqlError> {
        match self.state {
            State::Before => self.begin(Some(row), sink),
            State::Within => {}
            State::Full => return Ok(Wanted::Enough),
        }
        let mut values = Vec::with_capacity(self.columns.len());
        for (place, column) in self.columns.iter().enumerate() {
            let value = row.try_get_raw(place).map_err(super::refused)?;
            values.push(decode::value(value, column.kind).map_err(|error| {
                let name = &column.name;
                let advice = format!("cast it to a blob: CAST({name} AS BLOB)");
                SqlError::database(
                    format!("the column {name:?} holds a text that isn't UTF-8 ({error}); {advice}"),
                    None,
                )
            })?);
        }
        let wanted = sink.row(values).map_err(SqlError::Exceeded)?;
        if wanted == Wanted::Enough {
            self.state = State::Full;
        }
        Ok(wanted)
    }

    /// There are no more rows.
    pub(super) fn end(&mut self, sink: &mut ResultSink) {
        if self.state == State::Before && !self.columns.is_empty() {
            self.begin(None, sink);
        }
    }

    fn begin(&mut self, first: Option<&SqliteRow>, sink: &mut ResultSink) {
        let columns = self.columns.iter().enumerate();
        let columns = columns.map(|(place, column)| Column {
            name: column.name.clone(),
            type_name: match &column.planned.declared {
                Some(declared) => declared.clone(),
                None if column.kind == Kind::Bool => "boolean".to_owned(),
                None => {
                    let value = first.and_then(|row| row.try_get_raw(place).ok());
                    value.as_ref().map_or("null", decode::storage_class).to_owned()
                }
            },
        });
        sink.begin(columns.collect());
        self.state = State::Within;
    }
}
