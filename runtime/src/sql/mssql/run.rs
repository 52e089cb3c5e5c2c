//! A query from its BEGIN TRANSACTION to the transaction's end.

use std::borrow::Cow;

use futures_util::TryStreamExt;
use serde_json::Value;
use tiberius::error::Error;
use tiberius::{ColumnData, Command, CommandItem, Row};

use super::super::backend::{After, Failed, Job};
use super::super::error::SqlError;
use super::super::placeholder::Statement;
use super::super::result::{Column, ResultSink, Wanted};
use super::batch::Batch;
use super::{Connection, SMALL_ANSWER, decode, encode, error};
use crate::limits::Exceeded;

const BEGIN_WRITE: &str = "SET XACT_ABORT ON; BEGIN TRANSACTION";
/// Two deep: a COMMIT that comes from somewhere inside only takes back one.
const BEGIN_READ: &str = "SET XACT_ABORT ON; BEGIN TRANSACTION; BEGIN TRANSACTION";
const READ_DEPTH: i64 = 2;
const COMMIT: &str = "COMMIT TRANSACTION; SELECT @@TRANCOUNT";
const END_READ: &str = "SELECT @@TRANCOUNT; IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION";
const ROLL_BACK: &str = "IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION";

/// Whether the answer was read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Complete,
    /// It is left in the middle.
    Enough,
}

/// Runs a query and ends its transaction.
pub(super) async fn run(
    connection: &mut Connection,
    job: &Job<'_>,
    sink: &mut ResultSink,
) -> Result<After, Failed> {
    // A query in T-SQL is one statement, the whole batch.
    let Some(statement) = job.query.statements().first() else { return Ok(After::Reset) };
    let batch = Batch::read(statement.text());
    let begin = if job.read_only { BEGIN_READ } else { BEGIN_WRITE };
    connection.batch(begin).await.map_err(|error| Failed::closing(connection.broken(&error)))?;
    let after = if batch.leaves_traces { After::Close } else { After::Reset };
    match execute(connection, job, statement, batch, sink).await {
        // The end of the connection rolls back what the rest would have done.
        Ok(Ended::Enough) => Ok(After::Close),
        Ok(Ended::Complete) if job.read_only => end_read(connection).await.map(|()| after),
        Ok(Ended::Complete) => commit(connection).await.map(|()| after),
        Err(error) if connection.is_busy => Err(Failed::closing(error)),
        Err(error) => match connection.batch(ROLL_BACK).await {
            Ok(_) => Err(Failed { error, after }),
            Err(_) => Err(Failed::closing(error)),
        },
    }
}

/// Why an answer wasn't read to its end, or the server's error at its end.
enum Stopped {
    Driver(Error),
    Reader(SqlError),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Driver(error)
    }
}

/// Sends the batch with its parameters, and reads the answer.
async fn execute(
    connection: &mut Connection,
    job: &Job<'_>,
    statement: &Statement,
    batch: Batch,
    sink: &mut ResultSink,
) -> Result<Ended, SqlError> {
    let max_bytes = sink.max_bytes();
    let mut reader = Reader::new(batch, job.read_only, sink);
    connection.is_busy = true;
    let ended = read(connection, command(job, statement), &mut reader, max_bytes).await;
    // An error of the server's is given when the answer has been read to its end.
    connection.is_busy = !matches!(ended, Ok(Ended::Complete) | Err(Stopped::Driver(Error::Server(_))));
    match ended {
        Ok(ended) => Ok(ended),
        Err(Stopped::Reader(error)) => Err(error),
        Err(Stopped::Driver(_)) if connection.is_busy && connection.allowance.is_used() => {
            Err(SqlError::Exceeded(Exceeded::Result(max_bytes)))
        }
        Err(Stopped::Driver(error)) => Err(error::of_query(error, statement.text(), &connection.database)),
    }
}

async fn read(
    connection: &mut Connection,
    command: Command<'_>,
    reader: &mut Reader<'_>,
    max_bytes: u64,
) -> Result<Ended, Stopped> {
    // UTF-16 takes up to two bytes for one in JSON, a row of numbers some more.
    let row_allowance = max_bytes.saturating_mul(4).saturating_add(SMALL_ANSWER);
    connection.allowance.grant(row_allowance);
    let mut answer = command.exec(&mut connection.client).await?;
    while let Some(item) = answer.try_next().await? {
        if reader.take(item).map_err(Stopped::Reader)? == Ended::Enough {
            return Ok(Ended::Enough);
        }
        connection.allowance.grant(row_allowance);
    }
    reader.begin(None);
    Ok(Ended::Complete)
}

/// The call of `sp_executesql`: the text, the parameters' declarations, their values. The parameters are `@P1`, `@P2` …,
/// names that a query's own variables can't have.
fn command<'a>(job: &'a Job<'_>, statement: &Statement) -> Command<'a> {
    let text = statement.render(|out, _, parameter| out.push_str(&name(parameter)));
    let mut command = Command::new("sp_executesql");
    command.bind_param("", Cow::<str>::Owned(text));
    let parameters: Vec<_> = job.arguments.iter().map(encode::parameter).collect();
    if parameters.is_empty() {
        return command;
    }
    let declaration = |(index, parameter): (usize, &encode::Parameter<'_>)| {
        format!("{} {}", name(index), parameter.type_name)
    };
    let declarations: Vec<String> = parameters.iter().enumerate().map(declaration).collect();
    command.bind_param("", Cow::<str>::Owned(declarations.join(",")));
    for (index, parameter) in parameters.into_iter().enumerate() {
        command.bind_param(name(index), parameter.value);
    }
    command
}

fn name(parameter: usize) -> String {
    format!("@P{}", parameter + 1)
}

/// Commits. After it, nothing of the transaction is open, or it failed.
async fn commit(connection: &mut Connection) -> Result<(), Failed> {
    match connection.batch(COMMIT).await {
        Ok(Some(0)) => Ok(()),
        Ok(_) => Err(Failed::closing(SqlError::database(
            "the query began a transaction that it didn't end: nothing was changed",
            None,
        ))),
        Err(Error::Server(error)) if error.code() == 3902 => Err(Failed::closing(SqlError::database(
            "the query ended the transaction that it ran in: what it did before that may be done, or undone",
            Some(error.code().to_string()),
        ))),
        Err(error @ Error::Server(_)) => {
            Err(Failed::closing(error::of_query(error, COMMIT, &connection.database)))
        }
        Err(error) => {
            let detail = format!("the connection broke at COMMIT, which may be done or not: {error}");
            let database = connection.database.clone();
            Err(Failed::closing(SqlError::Unreachable { database, detail }))
        }
    }
}

/// Rolls a read back, and makes sure that there was all of it to roll back.
async fn end_read(connection: &mut Connection) -> Result<(), Failed> {
    match connection.batch(END_READ).await {
        Ok(Some(READ_DEPTH)) => Ok(()),
        Ok(_) => Err(Failed::closing(SqlError::database(
            "the query ended or began a transaction, which a read may not",
            None,
        ))),
        Err(error) => Err(Failed::closing(connection.broken(&error))),
    }
}

/// Gives what comes to the sink.
struct Reader<'a> {
    sink: &'a mut ResultSink,
    batch: Batch,
    /// Whether reading stops at the row too many.
    stops_early: bool,
    /// The columns of the last result.
    columns: Vec<tiberius::Column>,
    /// Whether the sink hasn't been told of them: its first row, or its end, tells all of their types.
    is_beginning: bool,
    is_in_result: bool,
    has_enough: bool,
    n_counts: usize,
}

impl<'a> Reader<'a> {
    fn new(batch: Batch, read_only: bool, sink: &'a mut ResultSink) -> Self {
        Self {
            sink,
            batch,
            stops_early: read_only && batch.has_one_result,
            columns: Vec::new(),
            is_beginning: false,
            is_in_result: false,
            has_enough: false,
            n_counts: 0,
        }
    }

    fn take(&mut self, item: CommandItem) -> Result<Ended, SqlError> {
        match item {
            CommandItem::Metadata(metadata) => {
                self.begin(None);
                self.columns = metadata.columns().to_vec();
                (self.is_beginning, self.is_in_result, self.has_enough) = (true, true, false);
            }
            CommandItem::Row(row) => return self.row(row),
            CommandItem::RowsAffected(count) => self.count(count),
            CommandItem::ReturnStatus(_) | CommandItem::ReturnValue(_) => {}
        }
        Ok(Ended::Complete)
    }

    /// Tells the sink of a result, if it hasn't been told.
    fn begin(&mut self, first: Option<&Row>) {
        if !std::mem::take(&mut self.is_beginning) {
            return;
        }
        let column = |(index, column): (usize, &tiberius::Column)| {
            let value = first.and_then(|row| row.get_column_data(index).ok());
            let type_name = decode::type_name(column.column_type(), value).to_owned();
            Column { name: column.name().to_owned(), type_name }
        };
        self.sink.begin(self.columns.iter().enumerate().map(column).collect());
    }

    fn row(&mut self, row: Row) -> Result<Ended, SqlError> {
        self.begin(Some(&row));
        if self.has_enough {
            return Ok(Ended::Complete);
        }
        let values: Result<Vec<_>, SqlError> =
            self.columns.iter().zip(row).map(|(column, data)| value(column, data)).collect();
        match self.sink.row(values?).map_err(SqlError::Exceeded)? {
            Wanted::More => Ok(Ended::Complete),
            Wanted::Enough if self.stops_early => Ok(Ended::Enough),
            Wanted::Enough => {
                self.has_enough = true;
                Ok(Ended::Complete)
            }
        }
    }

    /// A statement has ended, with a count or without.
    fn count(&mut self, count: u64) {
        self.begin(None);
        let has_rows = std::mem::take(&mut self.is_in_result);
        if let Some(n_rows) = self.batch.changed(count, has_rows, self.n_counts == 0) {
            self.sink.affected(n_rows);
        }
        self.n_counts += 1;
    }
}

fn value(column: &tiberius::Column, data: ColumnData<'_>) -> Result<Value, SqlError> {
    decode::value(column.column_type(), data).map_err(|reason| {
        let type_name = decode::type_name(column.column_type(), None);
        SqlError::database(format!("a {type_name} in the column {:?} {reason}", column.name()), None)
    })
}
