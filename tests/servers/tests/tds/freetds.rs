//! FreeTDS's programs as clients: `tsql`, and `fisql` for the Attention that it sends on an interrupt.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use portcullis_test_servers::tds::{
    Column, Encryption, End, Outcome, Protection, Request, Session, TdsServer, Value,
};
use tempfile::TempDir;

use crate::support::{
    DATABASE, PASSWORD, PATIENCE, USER, certificates, encrypted, ended_session, options, outcome_of, start,
};
use crate::values::all_types;

/// A configuration of FreeTDS for one server.
struct FreeTds {
    folder: TempDir,
    password: &'static str,
    database: &'static str,
}

impl FreeTds {
    fn new(server: &TdsServer, settings: &str) -> FreeTds {
        let folder = tempfile::tempdir().unwrap();
        let port = server.port();
        let text = format!(
            "[global]\ntds version = 7.4\nclient charset = UTF-8\ntext size = 1000000\n{settings}\n\
             [test]\nhost = 127.0.0.1\nport = {port}\n"
        );
        std::fs::write(folder.path().join("freetds.conf"), text).unwrap();
        FreeTds { folder, password: PASSWORD, database: DATABASE }
    }

    /// Starts one of the programs, its output going into the folder.
    fn spawn(&self, program: &str, arguments: &[&str]) -> Child {
        Command::new(program)
            .args(["-S", "test", "-U", USER, "-P", self.password, "-D", self.database])
            .args(arguments)
            .env("FREETDSCONF", self.folder.path().join("freetds.conf"))
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} of the Debian package freetds-bin: {error}"))
    }

    /// Runs statements through `tsql`, each a batch of its own.
    fn tsql(&self, statements: &[&str]) -> Output {
        self.run("tsql", &["-o", "q"], statements)
    }

    fn run(&self, program: &str, arguments: &[&str], statements: &[&str]) -> Output {
        let mut program = self.spawn(program, arguments);
        let mut input = String::new();
        for statement in statements {
            let _ = writeln!(input, "{statement}\ngo");
        }
        // A program that couldn't log in reads nothing.
        let _ = program.stdin.take().unwrap().write_all(input.as_bytes());
        program.wait_with_output().unwrap()
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn assert_says(output: &Output, expected: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(expected), "{expected:?} isn't in {said:?}");
}

#[test]
fn tsql_logs_in_under_each_encryption() {
    let certificates = certificates();
    let plain = || options();
    let tls = |encryption| encrypted(encryption, &certificates);
    let cases = [
        (plain(), "off", Protection::Plain),
        (plain(), "request", Protection::Plain),
        (tls(Encryption::Optional), "request", Protection::Login),
        (tls(Encryption::Optional), "require", Protection::Session),
        (tls(Encryption::Required), "request", Protection::Session),
        (tls(Encryption::Required), "require", Protection::Session),
    ];
    for (options, wish, protection) in cases {
        let server = start(options);
        let output = FreeTds::new(&server, &format!("encryption = {wish}")).tsql(&["select 1"]);
        assert_eq!(stdout(&output), "one\n1\n", "{wish}: {}", String::from_utf8_lossy(&output.stderr));
        let session = ended_session(&server);
        assert_eq!(session.protection, Some(protection), "{wish}");
        assert_eq!(session.end, Some(End::Closed));
        let login = session.login.unwrap();
        assert_eq!((login.user.as_str(), login.password.as_str()), (USER, PASSWORD));
        assert_eq!((login.database.as_str(), login.application.as_str()), (DATABASE, "TSQL"));
        assert_eq!(login.tds_version, 0x7400_0004);
    }
}

#[test]
fn tsql_leaves_a_server_without_the_encryption_that_it_requires() {
    let server = start(options());
    let output = FreeTds::new(&server, "encryption = require").tsql(&["select 1"]);
    assert!(!output.status.success());
    assert_eq!(ended_session(&server).login, None);
}

#[test]
fn tsql_is_told_why_it_is_refused() {
    let server = start(options());
    let mut freetds = FreeTds::new(&server, "encryption = off");
    freetds.password = "wrong";
    let output = freetds.tsql(&[]);
    assert!(!output.status.success());
    assert_says(&output, "Msg 18456 (severity 14, state 1)");
    assert_says(&output, "Login failed for user 'sa'.");
    let session = ended_session(&server);
    assert_eq!((session.end, session.logged_in), (Some(End::Refused(18456)), false));
    assert_eq!(session.login.unwrap().password, "wrong");

    let server = start(options());
    let mut freetds = FreeTds::new(&server, "encryption = off");
    freetds.database = "motel";
    assert_says(&freetds.tsql(&[]), "Cannot open database \"motel\" requested by the login.");
    assert_eq!(ended_session(&server).end, Some(End::Refused(4060)));
}

#[test]
fn tsql_reads_every_type() {
    let server = start(options());
    let output = FreeTds::new(&server, "encryption = off").tsql(&["types"]);
    let printed = stdout(&output);
    let mut lines = printed.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let (names, values, nulls) = (lines.next().unwrap(), lines.next().unwrap(), lines.next().unwrap());
    let expected = expected_text();
    for (place, name) in names.iter().enumerate() {
        let (expected_name, value) = &expected[place];
        assert_eq!((*name, values[place]), (expected_name.as_str(), value.as_str()));
        let null = if name.starts_with("fixed") { value.as_str() } else { "NULL" };
        assert_eq!(nulls[place], null, "{name}");
    }
    assert_eq!(names.len(), expected.len());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// What `tsql` prints for each of the values: dates in the form of its locale, which has no seconds.
fn expected_text() -> Vec<(String, String)> {
    all_types().into_iter().map(|(column, value)| (printed(&column, &value), column.name)).map(swap).collect()
}

fn swap<A, B>((a, b): (A, B)) -> (B, A) {
    (b, a)
}

fn printed(column: &Column, value: &Value) -> String {
    let text = match column.name.as_str() {
        "fixed_float" => "-0.10000000000000001",
        "float" => "1.0000000000000001e+300",
        "fixed_smalldatetime" => "Feb 29 2024 11:59PM",
        "fixed_datetime" => "Jan  1 1753 12:00AM",
        "smalldatetime" => "Jan  1 1900 12:01AM",
        "datetime" => "Dec 31 9999 11:59PM",
        "date" => "Jan  1 1 12:00AM",
        "time" => "Jan  1 1900 11:59PM",
        "datetime2" => "Feb 29 2024 12:34PM",
        "datetimeoffset" => "Feb 29 2024 01:00AM",
        "char" => "é€   ",
        "nchar" => "日本  ",
        "binary" => "01020000",
        "guid" => return value.to_string().to_uppercase(),
        "varbinary" | "varbinary_max" | "image" => return value.to_string()[2..].to_lowercase(),
        _ => return value.to_string(),
    };
    text.to_owned()
}

#[test]
fn fisql_tells_results_and_counts_apart() {
    let server = start(options());
    let output = FreeTds::new(&server, "encryption = off").run("fisql", &[], &["several", "print", "exit"]);
    let counts: Vec<String> = stdout(&output)
        .lines()
        .filter(|line| line.starts_with('(') || ["first", "second", "hello"].contains(&line.trim()))
        .map(|line| line.trim().to_owned())
        .collect();
    let one = "(1 rows affected)";
    let expected = ["first", one, "(7 rows affected)", "second", one, "(0 rows affected)"];
    assert_eq!(counts[..6], expected);
    assert_eq!(counts[6..], ["hello", "(3 rows affected)"]);
}

#[test]
fn tsql_goes_on_after_an_error_in_a_batch() {
    let server = start(options());
    let output = FreeTds::new(&server, "encryption = off").tsql(&["broken", "cut", "select 1"]);
    assert_eq!(stdout(&output), "first\n1\nafter\n2\nn\n1\none\n1\n");
    assert_says(&output, "Msg 8134 (severity 16, state 1) from tds-test-server Line 4:");
}

#[test]
fn tsql_reads_a_result_over_many_packets() {
    for options in [options(), options().packet_size(512)] {
        let server = start(options);
        let output = FreeTds::new(&server, "encryption = off").tsql(&["many", "select 1"]);
        let text = stdout(&output);
        assert_eq!(text.lines().count(), 20_003);
        assert!(text.contains("\n19999\trow 19999 of many\none\n1\n"), "{}", &text[text.len() - 100..]);
    }
}

#[test]
fn tsql_sends_a_query_over_many_packets() {
    let server = start(options().packet_size(512));
    let sql = format!("select '{}'", "long é".repeat(3000));
    let output = FreeTds::new(&server, "encryption = off").tsql(&[&sql]);
    assert_eq!(stdout(&output), "one\n1\n");
    let session = ended_session(&server);
    assert!(session.sql().any(|received| received.trim() == sql), "it came otherwise");
}

#[test]
fn an_interrupted_fisql_sends_an_attention_and_goes_on() {
    let server = start(options());
    let freetds = FreeTds::new(&server, "encryption = off");
    let mut fisql = freetds.spawn("fisql", &[]);
    let mut input = fisql.stdin.take().unwrap();
    input.write_all(b"endless\ngo\n").unwrap();
    // It takes interrupts while it reads rows: it does that once it prints them.
    let mut output = fisql.stdout.take().unwrap();
    output.read_exact(&mut [0; 64 * 1024]).unwrap();
    let kill = Command::new("kill").args(["-INT", &fisql.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let reader = thread::spawn(move || {
        let mut rest = String::new();
        output.read_to_string(&mut rest).map(|_| rest).unwrap()
    });
    let is_cancelled = |sessions: &[Session]| {
        sessions.iter().any(|session| session.requests().any(|request| *request == Request::Attention))
    };
    if !server.wait_until(PATIENCE, is_cancelled) {
        fisql.kill().unwrap();
        panic!("no Attention came");
    }
    input.write_all(b"select 1\ngo\nexit\n").unwrap();
    drop(input);
    let rest = reader.join().unwrap();
    fisql.wait().unwrap();
    let session = ended_session(&server);
    assert_eq!(outcome_of(&session, "endless"), Outcome::Cancelled);
    assert_eq!(outcome_of(&session, "select 1"), Outcome::Completed);
    assert!(rest.contains("\none "));
}
