//! Sending an answer: tokens in order, packets as they fill up, an Attention noticed between them.

use std::time::{Duration, Instant};

use crate::tds::failure::Failure;
use crate::tds::journal::{Cause, Entry, Journal, Outcome};
use crate::tds::packet::Connection;
use crate::tds::reply::{Column, Message, Reply, Response, Rows};
use crate::tds::token::{
    DoneKind, EnvChange, command, done, put_columns, put_done, put_env_change, put_error, put_info,
    put_return_status, put_row,
};
use crate::tds::transaction::{Statement, Transaction};
use crate::tds::transport::Wait;
use crate::tds::types::Type;
use crate::tds::value::Value;

/// How an answer ended.
pub(crate) enum Answered {
    Outcome(Outcome),
    HungUp,
}

/// Whether the answer goes on after one of its parts.
enum Flow {
    Go,
    /// The batch ends here, on the server's side.
    Stop,
    Cancelled,
    HungUp,
}

/// The end of a statement, held back until it is known whether more follows.
#[derive(Clone, Copy)]
struct Pending {
    flags: u16,
    command: u16,
    count: u64,
}

/// One answer that is being sent.
pub(crate) struct Responder<'a> {
    pub(crate) connection: &'a mut Connection,
    pub(crate) transaction: &'a mut Transaction,
    pub(crate) journal: &'a Journal,
    pub(crate) session: u16,
    is_procedure: bool,
    pending: Option<Pending>,
    last_error: Option<u32>,
    status: Option<i32>,
}

impl<'a> Responder<'a> {
    pub(crate) fn new(
        connection: &'a mut Connection,
        transaction: &'a mut Transaction,
        journal: &'a Journal,
        session: u16,
        is_procedure: bool,
    ) -> Responder<'a> {
        Responder {
            connection,
            transaction,
            journal,
            session,
            is_procedure,
            pending: None,
            last_error: None,
            status: None,
        }
    }

    /// Sends what a handler answered.
    pub(crate) fn respond(mut self, response: Response) -> Result<Answered, Failure> {
        for reply in response {
            match self.reply(reply)? {
                Flow::Go => {}
                Flow::Stop => break,
                Flow::Cancelled => return self.cancel(),
                Flow::HungUp => {
                    self.connection.flush()?;
                    return Ok(Answered::HungUp);
                }
            }
        }
        self.finish()
    }

    /// Runs statements that the server answers by itself.
    pub(crate) fn run(mut self, statements: Vec<Statement>) -> Result<Answered, Failure> {
        for statement in statements {
            if let Flow::Stop = self.statement(statement)? {
                break;
            }
        }
        self.finish()
    }

    fn statement(&mut self, statement: Statement) -> Result<Flow, Failure> {
        let reply = match statement {
            Statement::Begin => Reply::BeginTransaction,
            Statement::Commit => Reply::Commit,
            Statement::Rollback => Reply::Rollback,
            Statement::IfOpen(inner) if self.transaction.count > 0 => return self.statement(*inner),
            Statement::IfOpen(_) | Statement::Set => Reply::Done,
            Statement::AbortOnError(on) => {
                self.transaction.abort_on_error = on;
                Reply::Done
            }
            Statement::SelectCount => one_value(Type::IntN(4), self.transaction.count),
            Statement::SelectSession => one_value(Type::IntN(2), i64::from(self.session)),
        };
        self.reply(reply)
    }

    fn reply(&mut self, reply: Reply) -> Result<Flow, Failure> {
        match reply {
            Reply::ResultSet { columns, rows } => return self.result_set(&columns, rows),
            Reply::RowCount(count) => self.end_statement(done::COUNT, command::INSERT, count),
            Reply::Done => self.end_statement(0, command::NONE, 0),
            Reply::Info(message) => {
                self.settle(done::MORE);
                put_info(self.connection.outbox(), &message);
            }
            Reply::Error(message) => return Ok(self.error(&message)),
            Reply::ReturnStatus(status) => self.status = Some(status),
            Reply::BeginTransaction => self.begin(),
            Reply::Commit => return Ok(self.commit()),
            Reply::Rollback => return Ok(self.rollback()),
            Reply::Wait(duration) => return self.wait(duration),
            Reply::HangUp => {
                self.settle(done::MORE);
                return Ok(Flow::HungUp);
            }
        }
        self.push()
    }

    fn result_set(&mut self, columns: &[Column], rows: Rows) -> Result<Flow, Failure> {
        self.settle(done::MORE);
        put_columns(self.connection.outbox(), columns);
        let mut count = 0;
        for row in rows {
            let put = row.and_then(|row| {
                put_row(self.connection.outbox(), columns, &row)
                    .map_err(|wrong| Message::new(50_000, &format!("the test's handler gave {wrong}")))
            });
            if let Err(message) = put {
                return Ok(self.error(&message));
            }
            count += 1;
            if let flow @ Flow::Cancelled = self.push()? {
                return Ok(flow);
            }
        }
        self.end_statement(done::COUNT, command::SELECT, count);
        self.push()
    }

    fn error(&mut self, message: &Message) -> Flow {
        self.settle(done::MORE);
        put_error(self.connection.outbox(), message);
        self.last_error = Some(message.number);
        let aborts = self.transaction.abort_on_error;
        if aborts {
            self.abort();
        }
        self.end_statement(done::ERROR, command::NONE, 0);
        if aborts { Flow::Stop } else { Flow::Go }
    }

    fn begin(&mut self) {
        self.settle(done::MORE);
        if let Some(descriptor) = self.transaction.begin() {
            put_env_change(self.connection.outbox(), &EnvChange::BeginTransaction(descriptor));
            self.journal.log(self.session, Entry::Begun);
        }
        self.end_statement(0, command::NONE, 0);
    }

    fn commit(&mut self) -> Flow {
        self.settle(done::MORE);
        match self.transaction.commit() {
            Err(()) => return self.error(&no_transaction(3902, "COMMIT", "BEGIN")),
            Ok(None) => {}
            Ok(Some(descriptor)) => {
                put_env_change(self.connection.outbox(), &EnvChange::Commit(descriptor));
                self.journal.log(self.session, Entry::Committed);
            }
        }
        self.end_statement(0, command::NONE, 0);
        Flow::Go
    }

    fn rollback(&mut self) -> Flow {
        self.settle(done::MORE);
        match self.transaction.rollback() {
            Err(()) => return self.error(&no_transaction(3903, "ROLLBACK", "BEGIN")),
            Ok(descriptor) => self.say_rolled_back(descriptor, Cause::Statement),
        }
        self.end_statement(0, command::NONE, 0);
        Flow::Go
    }

    /// Rolls back what is open, as XACT_ABORT does.
    fn abort(&mut self) {
        if let Ok(descriptor) = self.transaction.rollback() {
            self.say_rolled_back(descriptor, Cause::Abort);
        }
    }

    fn say_rolled_back(&mut self, descriptor: u64, cause: Cause) {
        put_env_change(self.connection.outbox(), &EnvChange::Rollback(descriptor));
        self.journal.log(self.session, Entry::RolledBack(cause));
    }

    fn wait(&mut self, duration: Duration) -> Result<Flow, Failure> {
        self.settle(done::MORE);
        self.connection.flush()?;
        let cancelled = self.connection.attention(Wait::Until(Instant::now() + duration))?;
        Ok(if cancelled { Flow::Cancelled } else { Flow::Go })
    }

    /// Sends the packets that are full; looks for an Attention when there were any.
    fn push(&mut self) -> Result<Flow, Failure> {
        let cancelled = self.connection.flush_full()? && self.connection.attention(Wait::No)?;
        Ok(if cancelled { Flow::Cancelled } else { Flow::Go })
    }

    fn end_statement(&mut self, flags: u16, command: u16, count: u64) {
        self.settle(done::MORE);
        self.pending = Some(Pending { flags, command, count });
    }

    /// Writes the end of the statement before, if it is held back.
    fn settle(&mut self, more: u16) {
        if let Some(Pending { flags, command, count }) = self.pending.take() {
            let kind = if self.is_procedure { DoneKind::DoneInProc } else { DoneKind::Done };
            put_done(self.connection.outbox(), kind, flags | more, command, count);
        }
    }

    fn finish(mut self) -> Result<Answered, Failure> {
        if self.is_procedure {
            self.settle(done::MORE);
            let flags = if self.last_error.is_some() { done::ERROR } else { 0 };
            let failed = self.last_error.and_then(|number| i32::try_from(number).ok());
            let status = self.status.or(failed).unwrap_or_default();
            put_return_status(self.connection.outbox(), status);
            put_done(self.connection.outbox(), DoneKind::DoneProc, flags, command::EXECUTE, 0);
        } else {
            if self.pending.is_none() {
                self.end_statement(0, command::NONE, 0);
            }
            self.settle(0);
        }
        self.connection.finish()?;
        Ok(Answered::Outcome(Outcome::Completed))
    }

    /// Acknowledges the Attention.
    pub(crate) fn cancel(mut self) -> Result<Answered, Failure> {
        self.settle(done::MORE);
        if self.transaction.abort_on_error {
            self.abort();
        }
        put_done(self.connection.outbox(), DoneKind::Done, done::ATTENTION, command::NONE, 0);
        self.connection.finish()?;
        Ok(Answered::Outcome(Outcome::Cancelled))
    }
}

fn one_value(r#type: Type, value: i64) -> Reply {
    Reply::rows(vec![Column::new("", r#type)], vec![vec![Value::Int(value)]])
}

fn no_transaction(number: u32, statement: &str, missing: &str) -> Message {
    let text = format!("The {statement} TRANSACTION request has no corresponding {missing} TRANSACTION.");
    Message::new(number, &text)
}
