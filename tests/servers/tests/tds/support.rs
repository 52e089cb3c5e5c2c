//! A server with a little database of its own, and what each statement there answers.

use std::time::Duration;

use portcullis_test_servers::tds::{
    Column, Encryption, Entry, Length, Message, Options, Outcome, Reply, Request, Response, Session,
    TdsServer, Type, Value,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::values::all_types;

pub(crate) const USER: &str = "sa";
pub(crate) const PASSWORD: &str = "pässword 1";
pub(crate) const DATABASE: &str = "hotel";

/// Long enough for a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A CA, and a certificate for `localhost` that it signed.
pub(crate) struct Certificates {
    pub(crate) ca: String,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

pub(crate) fn certificates() -> Certificates {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    Certificates {
        ca: ca_pem,
        chain: vec![certificate.der().clone()],
        key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    }
}

pub(crate) fn options() -> Options {
    Options::new(USER, PASSWORD, DATABASE)
}

pub(crate) fn encrypted(encryption: Encryption, certificates: &Certificates) -> Options {
    options().encryption(encryption, certificates.chain.clone(), certificates.key.clone_key())
}

pub(crate) fn start(options: Options) -> TdsServer {
    TdsServer::start(options, answer)
}

/// The statements that the tests send.
fn answer(request: &Request) -> Response {
    let sql = request.sql().unwrap_or_default().trim();
    match sql.split_whitespace().next().unwrap_or_default() {
        "types" => {
            let (columns, values): (Vec<Column>, Vec<Value>) = all_types().into_iter().unzip();
            let nulls = columns.iter().zip(&values);
            let nulls =
                nulls.map(|(column, value)| if is_fixed(column) { value.clone() } else { Value::Null });
            let rows = vec![values.clone(), nulls.collect()];
            vec![Reply::rows(columns, rows)]
        }
        "several" => vec![one("first", 1), Reply::RowCount(7), one("second", 2), none("third")],
        "broken" => vec![one("first", 1), Reply::Error(error()), one("after", 2)],
        "cut" => vec![Reply::ResultSet {
            columns: vec![Column::new("n", Type::IntN(4))],
            rows: Box::new([Ok(vec![Value::Int(1)]), Err(error())].into_iter()),
        }],
        "many" => vec![Reply::stream(wide(), (0..20_000).map(wide_row))],
        "endless" => vec![Reply::stream(wide(), (0..).map(wide_row))],
        "slow" => vec![one("before", 1), Reply::Wait(PATIENCE * 10)],
        "gone" => vec![one("before", 1), Reply::HangUp],
        "print" => vec![Reply::Info(Message::new(0, "hello").class(0)), Reply::RowCount(3)],
        "commit" => vec![Reply::Commit],
        _ => vec![one("one", 1)],
    }
}

fn error() -> Message {
    Message::new(8134, "Divide by zero error encountered.").line(4)
}

fn is_fixed(column: &Column) -> bool {
    column.name.starts_with("fixed")
}

fn one(name: &str, value: i64) -> Reply {
    Reply::rows(vec![Column::new(name, Type::IntN(4))], vec![vec![Value::Int(value)]])
}

fn none(name: &str) -> Reply {
    Reply::rows(vec![Column::new(name, Type::Int)], vec![])
}

/// Columns whose rows don't end where packets do.
fn wide() -> Vec<Column> {
    vec![Column::new("n", Type::BigInt), Column::new("t", Type::NVarChar(Length::Limited(100)))]
}

fn wide_row(n: i64) -> Vec<Value> {
    vec![Value::Int(n), Value::Text(format!("row {n} of many"))]
}

/// The only session that came to a login.
#[track_caller]
pub(crate) fn only_session(server: &TdsServer) -> Session {
    let mut sessions = server.sessions();
    assert_eq!(sessions.len(), 1, "{sessions:#?}");
    sessions.remove(0)
}

/// Waits until the first session has ended, and gives it.
#[track_caller]
pub(crate) fn ended_session(server: &TdsServer) -> Session {
    let ended = server.wait_until(PATIENCE, |sessions| sessions.iter().any(|session| session.end.is_some()));
    assert!(ended, "{:#?}", server.sessions());
    only_session(server)
}

/// What became of the request with this SQL.
#[track_caller]
pub(crate) fn outcome_of(session: &Session, sql: &str) -> Outcome {
    let outcome = session.log.iter().find_map(|entry| match entry {
        Entry::Request { request, outcome } if request.sql().map(str::trim) == Some(sql) => Some(*outcome),
        _ => None,
    });
    outcome.unwrap_or_else(|| panic!("no request {sql:?} in {:#?}", session.log))
}
