//! What each database engine provides: to connect, to run a query in one transaction, to cancel it, to clean up after it.

use std::future::Future;
use std::time::Instant;

use serde_json::{Map, Number, Value};

use super::dial::Route;
use super::error::SqlError;
use super::placeholder::Query;
use super::result::ResultSink;

/// A database engine: its driver, and the engine's own ways.
pub(super) trait Backend: Send + Sync + Sized + 'static {
    /// A connection, logged in.
    type Connection: Send + 'static;
    /// What it takes to cancel what a connection is running, from beside it.
    type Canceller: Clone + Send + Sync + 'static;

    /// Connects and logs in, and makes the session ready: UTC, UTF-8, the server's own limit on a query's time.
    /// The caller bounds the time that it takes.
    fn connect(&self, route: &Route) -> impl Future<Output = Result<Self::Connection, SqlError>> + Send;

    /// The canceller of a connection.
    fn canceller(connection: &Self::Connection) -> Self::Canceller;

    /// Runs a query's statements in order in one transaction, and gives their rows to `sink`. A write is committed; a
    /// read is held to reading by the database, or rolled back. After an error nothing remains of the transaction.
    ///
    /// The future may be dropped at any time: the connection is then cancelled and closed.
    fn run(
        &self,
        connection: &mut Self::Connection,
        job: &Job<'_>,
        sink: &mut ResultSink,
    ) -> impl Future<Output = Result<After, Failed>> + Send;

    /// Brings a connection back to how [`Backend::connect`] left it: session settings, temporary tables, locks. On an error
    /// the connection is closed. What it doesn't have to wait for happens at once, the rest after the caller has its result.
    fn reset(&self, connection: &mut Self::Connection) -> impl Future<Output = Result<(), SqlError>> + Send;

    /// Whether a connection that lay idle still works.
    fn ping(&self, connection: &mut Self::Connection) -> impl Future<Output = Result<(), SqlError>> + Send;

    /// Cancels on the server what a connection is running. The connection is closed afterwards.
    fn cancel(&self, route: &Route, canceller: Self::Canceller) -> impl Future<Output = ()> + Send;

    /// Closes a connection at once, without waiting for what it may still be sending.
    fn close(connection: Self::Connection) -> impl Future<Output = ()> + Send;
}

/// A query to run.
#[derive(Debug)]
pub(super) struct Job<'a> {
    pub(super) query: &'a Query,
    /// One for each of the query's parameters, in their order.
    pub(super) arguments: Vec<Argument<'a>>,
    /// Whether the query may only read.
    pub(super) read_only: bool,
    /// When the query must have ended.
    pub(super) deadline: Instant,
}

/// A value for a parameter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Argument<'a> {
    /// The parameter's name, for messages.
    pub(super) name: &'a str,
    /// The value.
    pub(super) value: ArgumentValue<'a>,
    /// What the parameter's schema says that it is, for the places where the database can't tell.
    pub(super) hint: Hint,
}

/// A parameter's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ArgumentValue<'a> {
    /// Not given, or `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number, exactly as it was written.
    Number(&'a Number),
    /// A text without NUL characters.
    Text(&'a str),
    /// Bytes: a text whose schema says `"contentEncoding": "base64"`.
    Bytes(Vec<u8>),
    /// An array.
    List(&'a [Value]),
    /// An object.
    Object(&'a Map<String, Value>),
}

/// The type that a parameter's schema names, where it names exactly one besides `null`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Hint {
    /// None, several, or a string, which says nothing about the type in the database.
    #[default]
    None,
    /// `boolean`.
    Bool,
    /// `integer`.
    Integer,
    /// `number`.
    Number,
    /// A string with `"contentEncoding": "base64"`.
    Bytes,
    /// A string with `"format": "date-time"`.
    DateTime,
}

/// What becomes of a connection after a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// It can be used again, once it is reset.
    Reset,
    /// It must be closed: rows that nobody wants are still coming, or its state can't be known.
    Close,
}

/// A query failed.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: SqlError,
    pub(super) after: After,
}

impl Failed {
    /// The transaction was rolled back and the connection is in order.
    pub(super) fn in_order(error: SqlError) -> Self {
        Self { error, after: After::Reset }
    }

    /// The connection must be closed, which also ends the transaction.
    pub(super) fn closing(error: SqlError) -> Self {
        Self { error, after: After::Close }
    }
}
