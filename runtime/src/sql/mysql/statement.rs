//! One statement: prepared, checked, run with its arguments, its rows given to the sink.

use std::sync::Arc;

use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use sqlx::mysql::{MySqlArguments, MySqlColumn, MySqlQueryResult, MySqlRow, MySqlStatement};
use sqlx::{AssertSqlSafe, Column as _, Either, Executor as _, Row as _, SqlSafeStr as _, Statement as _};

use super::super::backend::{ArgumentValue, Failed, Job};
use super::super::error::SqlError;
use super::super::placeholder::Statement;
use super::super::result::{ResultSink, Wanted};
use super::decode::{Format, Hints, Layout};
use super::{Connection, encode, error, json, tokens};

/// Statements that tell rows of how many they changed.
const CHANGING: &[&str] = &["INSERT", "REPLACE", "UPDATE", "DELETE", "LOAD", "CALL", "WITH"];
/// Statements that may return rows of which the server says nothing at their preparation.
const TELLING: &[&str] = &["SHOW", "EXPLAIN", "DESCRIBE", "DESC", "HELP"];
/// Statements without rows that a read may hold: the server refuses those of them that write.
const WITHOUT_ROWS: &[&str] =
    &["CALL", "DELETE", "DO", "INSERT", "REPLACE", "SELECT", "SET", "UPDATE", "VALUES", "TABLE", "WITH"];

/// How a statement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// It ran to its end.
    Done,
    /// It has more rows than are wanted, and is still sending them.
    Stopped,
}

/// One statement of a call, to be run.
pub(super) struct Run<'a> {
    pub(super) job: &'a Job<'a>,
    pub(super) statement: &'a Statement,
    /// The statement as it is sent: with `?` for each placeholder.
    pub(super) text: Arc<str>,
    /// Whether to stop once there are more rows than wanted. They are read and thrown away otherwise.
    pub(super) may_stop: bool,
}

impl Run<'_> {
    /// Runs it. The transaction is the caller's.
    pub(super) async fn run(
        &self,
        connection: &mut Connection,
        sink: &mut ResultSink,
    ) -> Result<Flow, Failed> {
        let sql = AssertSqlSafe(Arc::clone(&self.text)).into_sql_str();
        let prepared = match (&mut connection.driver).prepare(sql).await {
            Err(error) if error::is_unpreparable(&error) => None,
            prepared => Some(prepared.map_err(|error| error::of_statement(&connection.database, error))?),
        };
        self.check(prepared.as_ref()).map_err(Failed::in_order)?;
        let columns = prepared.as_ref().map_or(&[][..], |prepared| prepared.columns());
        let hints =
            Hints { bools: self.columns_that_are_bools(), json: self.json(connection, columns).await? };
        let Connection { driver, database, types, .. } = connection;
        let (answers, format): (Answers<'_>, _) = match &prepared {
            Some(prepared) => {
                let arguments = self.arguments(types).map_err(Failed::in_order)?;
                (driver.fetch_many(prepared.query_with(arguments)), Format::Binary)
            }
            None => (driver.fetch_many(sqlx::raw_sql(AssertSqlSafe(Arc::clone(&self.text)))), Format::Text),
        };
        let reading = Reading {
            run: self,
            hints,
            columns,
            format,
            layout: None,
            n_rows: 0,
            held: false,
            is_full: false,
        };
        reading.read(answers, database, sink).await
    }

    /// The places of the columns that MariaDB only calls texts. To ask for them would change what `ROW_COUNT()` gives.
    async fn json(&self, connection: &mut Connection, columns: &[MySqlColumn]) -> Result<Vec<usize>, Failed> {
        let is_count =
            |word: &str| ["ROW_COUNT", "FOUND_ROWS"].iter().any(|count| count.eq_ignore_ascii_case(word));
        let is_candidate = |column: &MySqlColumn| json::may_be_json(column.type_info());
        if !connection.is_mariadb
            || !columns.iter().any(is_candidate)
            || tokens::words(&self.text).any(is_count)
        {
            return Ok(Vec::new());
        }
        let places = connection.json.among(columns, &mut connection.driver).await;
        places.map_err(|error| error::of_statement(&connection.database, error))
    }

    fn arguments(&self, types: &super::ArgumentTypes) -> Result<MySqlArguments, SqlError> {
        let mut arguments = MySqlArguments::default();
        for index in self.statement.placeholders() {
            encode::add(&mut arguments, &self.job.arguments[index], types)?;
        }
        Ok(arguments)
    }

    /// Refuses, by what the server says at the preparation, what a read may not do though the server would: a statement
    /// that returns no rows may write a file on the server, or set what holds for all sessions.
    fn check(&self, prepared: Option<&MySqlStatement>) -> Result<(), SqlError> {
        let keyword = self.statement.keyword();
        // One that begins with an executable comment, for instance, has no keyword that could be told.
        let subject = if keyword.is_empty() { "this statement" } else { keyword };
        let refused = |why: &str| Err(SqlError::database(format!("{subject} {why}"), None));
        if prepared.is_none() && self.statement.placeholders().next().is_some() {
            return refused("takes no parameters: MySQL can't prepare it");
        }
        // No word of SQL can be written in any other way. In a literal they do no harm, but who would know.
        let text = self.text.to_ascii_uppercase();
        let names = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if keyword == "SET" && names(&["TIME_ZONE"]) {
            return refused("of the time zone isn't allowed: moments are read and given in UTC");
        }
        if self.job.read_only && names(&["OUTFILE", "DUMPFILE"]) {
            return refused("writes a file on the server, which a read may not");
        }
        let has_rows = prepared.is_some_and(|prepared| !prepared.columns().is_empty());
        if !self.job.read_only || has_rows || TELLING.contains(&keyword) {
            return Ok(());
        }
        if prepared.is_none() || !WITHOUT_ROWS.contains(&keyword) {
            return refused(
                "returns no rows of its own, so that it isn't a read: its operation must be a write",
            );
        }
        // `SET STATEMENT … FOR` runs a statement of any kind.
        if keyword == "SET" && names(&["GLOBAL", "PERSIST", "PASSWORD", "ROLE", "STATEMENT"]) {
            return refused("of what isn't the session's own isn't a read: its operation must be a write");
        }
        Ok(())
    }

    /// The names of the result's columns that are nothing but a boolean argument: the server calls them integers.
    fn columns_that_are_bools(&self) -> Vec<String> {
        let is_bool = |index: usize| matches!(self.job.arguments[index].value, ArgumentValue::Bool(_));
        let places = self.statement.placeholders().enumerate();
        let places = places.filter(|(_, index)| is_bool(*index));
        places.filter_map(|(number, _)| tokens::column_of_placeholder(&self.text, number)).collect()
    }

    fn is_changing(&self) -> bool {
        CHANGING.contains(&self.statement.keyword())
    }
}

type Answers<'a> = BoxStream<'a, Result<Either<MySqlQueryResult, MySqlRow>, sqlx::Error>>;

/// The answers to a statement as they come: rows, and an end after those of each result and of the statement.
struct Reading<'a> {
    run: &'a Run<'a>,
    hints: Hints,
    /// The columns that the server announced.
    columns: &'a [MySqlColumn],
    format: Format,
    /// How to read the rows that are coming.
    layout: Option<Layout>,
    n_rows: u64,
    /// A procedure's result ended without rows, or the procedure did: the next answer tells which.
    held: bool,
    /// No more rows of this result are wanted.
    is_full: bool,
}

impl Reading<'_> {
    async fn read(
        mut self,
        mut answers: Answers<'_>,
        database: &str,
        sink: &mut ResultSink,
    ) -> Result<Flow, Failed> {
        while let Some(answer) =
            answers.try_next().await.map_err(|error| error::of_statement(database, error))?
        {
            if std::mem::take(&mut self.held) {
                sink.begin(Vec::new());
            }
            match answer {
                Either::Right(row) => {
                    // Rows that are there already wouldn't let the caller's timer have its turn.
                    tokio::task::coop::consume_budget().await;
                    if self.row(&row, sink).map_err(Failed::closing)? == Flow::Stopped {
                        return Ok(Flow::Stopped);
                    }
                }
                Either::Left(end) => {
                    tokio::task::coop::consume_budget().await;
                    self.end(&end, sink);
                }
            }
        }
        Ok(Flow::Done)
    }

    fn row(&mut self, row: &MySqlRow, sink: &mut ResultSink) -> Result<Flow, SqlError> {
        self.n_rows += 1;
        if self.is_full {
            return Ok(Flow::Done);
        }
        let layout = self.layout.get_or_insert_with(|| {
            let layout = Layout::new(row.columns(), &self.hints, self.format);
            sink.begin(layout.columns().to_vec());
            layout
        });
        let wanted = sink.row(layout.decode(row)?).map_err(SqlError::Exceeded)?;
        self.is_full = wanted == Wanted::Enough;
        Ok(if self.is_full && self.run.may_stop { Flow::Stopped } else { Flow::Done })
    }

    /// The end of a result, or of the statement.
    fn end(&mut self, end: &MySqlQueryResult, sink: &mut ResultSink) {
        let had_rows = self.layout.take().is_some();
        self.is_full = false;
        let n_rows = std::mem::take(&mut self.n_rows);
        let keyword = self.run.statement.keyword();
        if keyword == "CALL" {
            self.held = !had_rows;
            if !had_rows && !self.run.job.read_only {
                sink.affected(end.rows_affected());
            }
        } else if !had_rows && !self.columns.is_empty() {
            sink.begin(Layout::new(self.columns, &self.hints, self.format).columns().to_vec());
        } else if !had_rows && (TELLING.contains(&keyword) || self.is_returning()) {
            sink.begin(Vec::new());
        }
        if keyword != "CALL" && self.run.is_changing() && self.columns.is_empty() {
            // Those that return what they changed don't count it.
            sink.affected(if had_rows { n_rows } else { end.rows_affected() });
        }
    }

    /// Whether the statement returns the rows that it changes.
    fn is_returning(&self) -> bool {
        self.run.is_changing()
            && tokens::words(&self.run.text).any(|word| word.eq_ignore_ascii_case("RETURNING"))
    }
}
