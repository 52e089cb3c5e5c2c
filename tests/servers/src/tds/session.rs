//! One session: prelogin, TLS, login, then requests until someone ends it.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::ServerConfig;

use crate::tds::Encryption;
use crate::tds::failure::Failure;
use crate::tds::journal::{Cause, End, Entry, Journal, Outcome, Protection};
use crate::tds::login::Login;
use crate::tds::packet::{Connection, INITIAL_SIZE, Message, kind};
use crate::tds::prelogin::Prelogin;
use crate::tds::reply::{Message as ServerMessage, Reply, Response};
use crate::tds::request::{Decoded, Request, TransactionRequest, declared_names, decode};
use crate::tds::respond::{Answered, Responder};
use crate::tds::token::{
    DoneKind, EnvChange, command, done, put_done, put_env_change, put_error, put_info, put_login_ack,
};
use crate::tds::transaction::{Transaction, recognise};

/// The database that every login can open.
const MASTER: &str = "master";

/// What all sessions of a server share.
pub(crate) struct Shared {
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) database: String,
    pub(crate) encryption: Encryption,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) packet_size: usize,
    pub(crate) handler: Box<dyn Fn(&Request) -> Response + Send + Sync>,
    pub(crate) journal: Journal,
    /// Set while the sockets are shut from this side.
    pub(crate) is_killing: AtomicBool,
}

/// Serves one client to its end, and notes that.
pub(crate) fn serve(shared: &Shared, stream: TcpStream, id: u16) {
    let end = match Connection::new(stream, id) {
        Ok(connection) => Session { shared, id, connection, transaction: Transaction::default() }.run(),
        Err(failure) => end_of(shared, failure),
    };
    shared.journal.update(id, |session| session.end = Some(end));
}

fn end_of(shared: &Shared, failure: Failure) -> End {
    match failure {
        _ if shared.is_killing.load(Ordering::Acquire) => End::Killed,
        Failure::Closed => End::Closed,
        failure => End::Violation(failure.to_string()),
    }
}

struct Session<'a> {
    shared: &'a Shared,
    id: u16,
    connection: Connection,
    transaction: Transaction,
}

impl Session<'_> {
    fn run(mut self) -> End {
        let end = match self.log_in().and_then(|refusal| match refusal {
            Some(number) => Ok(End::Refused(number)),
            None => self.serve_requests(),
        }) {
            Ok(end) => end,
            Err(failure) => end_of(self.shared, failure),
        };
        self.shared.journal.conclude(self.id, Outcome::Abandoned);
        if self.transaction.rollback().is_ok() {
            self.shared.journal.log(self.id, Entry::RolledBack(Cause::Disconnect));
        }
        end
    }

    /// Everything up to the login's answer. The error's number where the login is refused.
    fn log_in(&mut self) -> Result<Option<u32>, Failure> {
        let prelogin = Prelogin::decode(&self.expect(kind::PRELOGIN)?.payload)?;
        let negotiated = prelogin.negotiate(self.shared.encryption)?;
        let protection = negotiated.protection;
        self.shared.journal.update(self.id, |session| session.protection = Some(protection));
        self.connection.send(kind::RESULT, &negotiated.encode())?;
        if protection != Protection::Plain {
            // The server doesn't start with encryption and without a certificate.
            let tls = self.shared.tls.as_ref().expect("a certificate");
            self.connection.handshake(tls)?;
        }
        let login = Login::decode(&self.expect(kind::LOGIN7)?.payload)?;
        if protection == Protection::Login {
            self.connection.stop_tls();
        }
        self.shared.journal.update(self.id, |session| session.login = Some(login.clone()));
        match self.refusal(&login) {
            Some(errors) => self.refuse(&errors),
            None => self.admit(&login).map(|()| None),
        }
    }

    fn expect(&mut self, kind: u8) -> Result<Message, Failure> {
        let message = self.connection.read_message()?;
        if message.kind != kind {
            let found = message.kind;
            return Err(Failure::protocol(format!("a message of type {found} where {kind} was due")));
        }
        Ok(message)
    }

    /// The errors that a login meets, the telling one first.
    fn refusal(&self, login: &Login) -> Option<Vec<ServerMessage>> {
        let failed = ServerMessage::new(18456, &format!("Login failed for user '{}'.", login.user)).class(14);
        if login.user != self.shared.user || login.password != self.shared.password {
            return Some(vec![failed]);
        }
        let known = ["", MASTER, &self.shared.database];
        if known.iter().any(|known| login.database.eq_ignore_ascii_case(known)) {
            return None;
        }
        let text =
            format!("Cannot open database \"{}\" requested by the login. The login failed.", login.database);
        Some(vec![ServerMessage::new(4060, &text).class(11), failed])
    }

    fn refuse(&mut self, errors: &[ServerMessage]) -> Result<Option<u32>, Failure> {
        let out = self.connection.outbox();
        for error in errors {
            put_error(out, error);
        }
        put_done(out, DoneKind::Done, done::ERROR, command::NONE, 0);
        self.connection.finish()?;
        Ok(errors.first().map(|error| error.number))
    }

    fn admit(&mut self, login: &Login) -> Result<(), Failure> {
        let database = if login.database.is_empty() { &self.shared.database } else { &login.database };
        let asked = usize::try_from(login.packet_size).unwrap_or(usize::MAX);
        let asked = if asked == 0 { INITIAL_SIZE } else { asked };
        let packet_size = asked.clamp(512, self.shared.packet_size);
        let out = self.connection.outbox();
        put_env_change(out, &EnvChange::Database { old: MASTER, new: database });
        put_info(
            out,
            &ServerMessage::new(5701, &format!("Changed database context to '{database}'.")).class(0),
        );
        put_env_change(out, &EnvChange::Collation);
        put_login_ack(out, login);
        put_env_change(out, &EnvChange::PacketSize { old: INITIAL_SIZE, new: packet_size });
        put_done(out, DoneKind::Done, 0, command::NONE, 0);
        // Before the answer, so that a client that has it finds itself logged in.
        self.shared.journal.update(self.id, |session| session.logged_in = true);
        self.connection.finish()?;
        self.connection.set_packet_size(packet_size);
        Ok(())
    }

    fn serve_requests(&mut self) -> Result<End, Failure> {
        loop {
            let message = self.connection.read_message()?;
            let decoded = decode(&message)?;
            let entry = Entry::Request { request: decoded.request.clone(), outcome: Outcome::Running };
            self.shared.journal.log(self.id, entry);
            match self.answer(&decoded)? {
                Answered::HungUp => return Ok(End::HungUp),
                Answered::Outcome(outcome) => self.conclude(outcome),
            }
        }
    }

    /// Notes what became of a request, and the Attention that ended it.
    fn conclude(&self, outcome: Outcome) {
        self.shared.journal.conclude(self.id, outcome);
        if outcome == Outcome::Cancelled {
            let entry = Entry::Request { request: Request::Attention, outcome: Outcome::Completed };
            self.shared.journal.log(self.id, entry);
        }
    }

    fn answer(&mut self, decoded: &Decoded) -> Result<Answered, Failure> {
        let Decoded { request, transaction } = decoded;
        let is_current = *transaction == self.transaction.descriptor;
        let is_procedure = matches!(request, Request::Rpc { .. });
        let responder = Responder::new(
            &mut self.connection,
            &mut self.transaction,
            &self.shared.journal,
            self.id,
            is_procedure,
        );
        match request {
            // It came after the answer was complete, and is acknowledged all the same.
            Request::Attention => {
                responder.cancel()?;
                Ok(Answered::Outcome(Outcome::Completed))
            }
            _ if !is_current => responder.respond(vec![Reply::Error(ServerMessage::new(
                3989,
                "New request is not allowed to start because it should come with valid transaction descriptor.",
            ))]),
            Request::TransactionManager(request) => responder.respond(vec![transaction_reply(*request)]),
            Request::Batch { sql } if let Some(statements) = recognise(sql) => responder.run(statements),
            Request::Rpc { declarations, .. } if let Some(error) = misdeclared(request, declarations.as_deref()) => {
                responder.respond(vec![Reply::Error(error)])
            }
            request => {
                let response = (self.shared.handler)(request);
                responder.respond(response)
            }
        }
    }
}

fn transaction_reply(request: TransactionRequest) -> Reply {
    match request {
        TransactionRequest::Begin(_) => Reply::BeginTransaction,
        TransactionRequest::Commit => Reply::Commit,
        TransactionRequest::Rollback => Reply::Rollback,
        TransactionRequest::Save => Reply::Done,
    }
}

/// What SQL Server answers an `sp_executesql` whose parameters aren't those that it declares.
fn misdeclared(request: &Request, declarations: Option<&str>) -> Option<ServerMessage> {
    let (Some(sql), parameters) = (request.sql(), request.parameters()) else { return None };
    let declared = declared_names(declarations.unwrap_or_default());
    let missing = declared.iter().enumerate().find(|(position, name)| {
        !parameters.iter().any(|parameter| parameter.name.eq_ignore_ascii_case(name))
            && parameters.get(*position).is_none_or(|parameter| !parameter.name.is_empty())
    });
    if let Some((_, name)) = missing {
        let text = format!(
            "The parameterized query '({}){sql}' expects the parameter '{name}', which was not supplied.",
            declarations.unwrap_or_default()
        );
        return Some(ServerMessage::new(8178, &text));
    }
    let text = "Procedure or function  has too many arguments specified.";
    (parameters.len() > declared.len()).then(|| ServerMessage::new(8144, text))
}
