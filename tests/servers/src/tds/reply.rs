//! What a handler answers a request with.

use std::fmt;
use std::time::Duration;

use crate::tds::types::Type;
use crate::tds::value::Value;

/// The answer to a request, in order.
pub type Response = Vec<Reply>;

/// The rows of a result, made as they are sent. An `Err` ends the result with an error in its middle.
///
/// While an iterator makes a row, nothing is noticed of the client: to wait for one there is [`Reply::Wait`].
pub type Rows = Box<dyn Iterator<Item = Result<Vec<Value>, Message>> + Send>;

/// One part of an answer. Each but `Info`, `ReturnStatus` and `Wait` ends a statement.
pub enum Reply {
    /// A SELECT.
    ResultSet {
        /// The columns; names may be empty and repeat.
        columns: Vec<Column>,
        /// The rows, each with a value for each column.
        rows: Rows,
    },
    /// A statement that changed so many rows.
    RowCount(u64),
    /// A statement that counts nothing, such as SET.
    Done,
    /// A message that isn't an error: its class is sent as 10 at most.
    Info(Message),
    /// A statement that failed. Under `SET XACT_ABORT ON` the batch ends here and its transaction is rolled back.
    Error(Message),
    /// The return status of the procedure; without it 0, or the number of the last error.
    ReturnStatus(i32),
    /// A BEGIN TRAN inside of what the handler was asked.
    BeginTransaction,
    /// A COMMIT inside of what the handler was asked.
    Commit,
    /// A ROLLBACK inside of what the handler was asked.
    Rollback,
    /// A statement that takes so long. What was answered before is sent first; an Attention ends it, and the request.
    Wait(Duration),
    /// The connection ends here, in the middle of the answer.
    HangUp,
}

impl Reply {
    /// A result with these rows.
    #[must_use]
    pub fn rows(columns: Vec<Column>, rows: Vec<Vec<Value>>) -> Reply {
        Reply::stream(columns, rows.into_iter())
    }

    /// A result whose rows are made as they are sent: there may be any number.
    pub fn stream(columns: Vec<Column>, rows: impl Iterator<Item = Vec<Value>> + Send + 'static) -> Reply {
        Reply::ResultSet { columns, rows: Box::new(rows.map(Ok)) }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::ResultSet { columns, .. } => f.debug_tuple("ResultSet").field(columns).finish(),
            Reply::RowCount(count) => f.debug_tuple("RowCount").field(count).finish(),
            Reply::Done => f.write_str("Done"),
            Reply::Info(message) => f.debug_tuple("Info").field(message).finish(),
            Reply::Error(message) => f.debug_tuple("Error").field(message).finish(),
            Reply::ReturnStatus(status) => f.debug_tuple("ReturnStatus").field(status).finish(),
            Reply::BeginTransaction => f.write_str("BeginTransaction"),
            Reply::Commit => f.write_str("Commit"),
            Reply::Rollback => f.write_str("Rollback"),
            Reply::Wait(duration) => f.debug_tuple("Wait").field(duration).finish(),
            Reply::HangUp => f.write_str("HangUp"),
        }
    }
}

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name; what is past 255 UTF-16 units is cut off.
    pub name: String,
    /// Its type.
    pub r#type: Type,
}

impl Column {
    /// A column.
    #[must_use]
    pub fn new(name: &str, r#type: Type) -> Column {
        Column { name: name.to_owned(), r#type }
    }
}

/// A message of the server: an error, or information.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its number, such as 208.
    pub number: u32,
    /// Its state.
    pub state: u8,
    /// Its severity: errors have 11 to 25.
    pub class: u8,
    /// Its text.
    pub text: String,
    /// The procedure that it comes from; empty for a batch.
    pub procedure: String,
    /// The line of the batch or procedure, from 1.
    pub line: u32,
}

impl Message {
    /// A message of severity 16 in line 1.
    #[must_use]
    pub fn new(number: u32, text: &str) -> Message {
        Message { number, state: 1, class: 16, text: text.to_owned(), procedure: String::new(), line: 1 }
    }

    /// The same in another severity.
    #[must_use]
    pub fn class(self, class: u8) -> Message {
        Message { class, ..self }
    }

    /// The same in another line.
    #[must_use]
    pub fn line(self, line: u32) -> Message {
        Message { line, ..self }
    }
}
