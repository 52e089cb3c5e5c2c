//! Each server starts, speaks TLS with the test CA's certificate, gives databases out, and goes when its owner does.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use portcullis_test_servers::{Engine, Server, find_program, mariadb, postgres};

/// A client's run, over TCP: whether it came in, and what it printed of its connection's encryption.
struct Client {
    output: Output,
}

impl Client {
    fn run(program: &str, arguments: &[&OsStr], environment: &[(&str, &OsStr)]) -> Client {
        let mut command = Command::new(find_program(program).unwrap());
        command.args(arguments).envs(environment.iter().copied()).stdin(Stdio::null());
        // Not ours: psql would look there for certificates.
        command.env("HOME", "/var/empty");
        Client { output: command.output().unwrap() }
    }

    fn printed(&self) -> String {
        assert!(self.output.status.success(), "{}", String::from_utf8_lossy(&self.output.stderr));
        String::from_utf8(self.output.stdout.clone()).unwrap().trim().to_owned()
    }

    fn complaint(&self) -> String {
        assert!(!self.output.status.success(), "{}", String::from_utf8_lossy(&self.output.stdout));
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }
}

/// psql, which prints the TLS version in use, or an empty line.
fn psql(host: &str, user: &str, password: &str, mode: &str, root: &Path) -> Client {
    let server = postgres();
    let address =
        format!("host={host} hostaddr=127.0.0.1 port={} user={user} dbname=postgres", server.port());
    let sql = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    Client::run(
        "psql",
        &["-X", "-A", "-t", "-d", &address, "-c", sql].map(OsStr::new),
        &[
            ("PGPASSWORD", OsStr::new(password)),
            ("PGSSLMODE", OsStr::new(mode)),
            ("PGSSLROOTCERT", root.as_os_str()),
        ],
    )
}

/// MariaDB's client, which prints the TLS version in use, or an empty text.
fn mariadb_client(host: &str, user: &str, password: &str, tls: &[&str]) -> Client {
    let port = format!("--port={}", mariadb().port());
    let (host, user) = (format!("--host={host}"), format!("--user={user}"));
    let mut arguments = vec!["--no-defaults", "--protocol=tcp", &host, &port, &user];
    arguments.extend(tls);
    arguments.extend([
        "-N",
        "-B",
        "-e",
        "SELECT variable_value FROM information_schema.session_status WHERE variable_name = 'ssl_version'",
    ]);
    let arguments: Vec<&OsStr> = arguments.into_iter().map(OsStr::new).collect();
    Client::run("mariadb", &arguments, &[("MYSQL_PWD", OsStr::new(password))])
}

#[test]
fn postgres_has_a_certificate_of_the_test_ca() {
    let server = postgres();
    let (user, password) = (server.user(), server.password());
    for host in ["localhost", "127.0.0.1"] {
        assert_eq!(psql(host, user, password, "verify-full", server.ca_pem()).printed(), "TLSv1.3");
    }
    let complaint = psql("localhost", user, password, "verify-full", server.other_ca_pem()).complaint();
    assert!(complaint.contains("certificate verify failed"), "{complaint}");
    let complaint = psql("db.example.com", user, password, "verify-full", server.ca_pem()).complaint();
    assert!(complaint.contains("does not match host name"), "{complaint}");
}

#[test]
fn postgres_takes_its_two_users_with_their_passwords_and_without_tls_too() {
    let server = postgres();
    let ca = server.ca_pem();
    assert_eq!(psql("localhost", server.user(), server.password(), "disable", ca).printed(), "");
    assert_eq!(
        psql("localhost", server.reader(), server.reader_password(), "require", ca).printed(),
        "TLSv1.3"
    );
    let complaint = psql("localhost", server.user(), server.reader_password(), "require", ca).complaint();
    assert!(complaint.contains("password authentication failed"), "{complaint}");
    let passwords =
        server.query("SELECT rolname, left(rolpassword, 14) FROM pg_authid WHERE rolcanlogin ORDER BY 1");
    assert_eq!(passwords, [["owner", "SCRAM-SHA-256$"], ["reader", "SCRAM-SHA-256$"]]);
}

#[test]
fn mariadb_has_a_certificate_of_the_test_ca() {
    let server = mariadb();
    let (user, password) = (server.user(), server.password());
    let roots = |file: &Path| format!("--ssl-ca={}", file.display());
    let (ca, other_ca) = (roots(server.ca_pem()), roots(server.other_ca_pem()));
    for host in ["localhost", "127.0.0.1"] {
        let client = mariadb_client(host, user, password, &[&ca, "--ssl-verify-server-cert"]);
        assert_eq!(client.printed(), "TLSv1.3");
    }
    let client = mariadb_client("127.0.0.1", user, password, &[&other_ca, "--ssl-verify-server-cert"]);
    let complaint = client.complaint();
    assert!(complaint.contains("certificate"), "{complaint}");
}

#[test]
fn mariadb_takes_its_two_users_with_their_passwords_and_without_tls_too() {
    let server = mariadb();
    let client = mariadb_client("127.0.0.1", server.user(), server.password(), &["--skip-ssl"]);
    assert_eq!(client.printed(), "");
    let client = mariadb_client("127.0.0.1", server.reader(), server.reader_password(), &["--ssl"]);
    assert_eq!(client.printed(), "TLSv1.3");
    let client = mariadb_client("127.0.0.1", server.user(), server.reader_password(), &[]);
    assert!(client.complaint().contains("Access denied"));
    let users = server.query("SELECT user, host FROM mysql.global_priv ORDER BY 1");
    assert_eq!(users, [["mariadb.sys", "localhost"], ["owner", "%"], ["reader", "%"]]);
}

#[test]
fn values_come_back_as_they_went_in() {
    for server in [postgres(), mariadb()] {
        let database = server.create_database();
        database.execute("CREATE TABLE t (number int, text varchar(100));");
        assert!(database.query("SELECT * FROM t").is_empty());
        database.execute(
            "INSERT INTO t VALUES (1, 'a\tb\nc, \"d\" ''e'' 🐘'), (2, NULL), (3, '');\n-- nothing follows",
        );
        let rows = database.query("SELECT number, text FROM t ORDER BY number; SELECT 'second'");
        let expected: [&[&str]; 4] =
            [&["1", "a\tb\nc, \"d\" 'e' 🐘"], &["2", "NULL"], &["3", ""], &["second"]];
        assert_eq!(rows, expected, "{}", server.engine().name());
    }
}

#[test]
fn the_reader_reads_what_the_owner_made_and_writes_nothing() {
    let database = postgres().create_database();
    database.execute("CREATE TABLE t AS SELECT 7 AS number");
    let may = |what: &str| database.query(&format!("SELECT has_table_privilege('reader', 't', '{what}')"));
    assert_eq!(may("SELECT"), [["t"]]);
    assert_eq!(may("INSERT"), [["f"]]);
    assert_eq!(database.query("SELECT has_schema_privilege('reader', 'public', 'CREATE')"), [["f"]]);

    let database = mariadb().create_database();
    database.execute("CREATE TABLE t AS SELECT 7 AS number");
    let of_reader = |sql: &str| {
        let server = mariadb();
        let (port, user) = (format!("--port={}", server.port()), format!("--user={}", server.reader()));
        let arguments = ["--no-defaults", "--host=127.0.0.1", &port, &user, "-N", "-e", sql, database.name()];
        Client::run(
            "mariadb",
            &arguments.map(OsStr::new),
            &[("MYSQL_PWD", OsStr::new(server.reader_password()))],
        )
    };
    assert_eq!(of_reader("SELECT number FROM t").printed(), "7");
    assert!(of_reader("INSERT INTO t VALUES (8)").complaint().contains("denied"));
}

#[test]
fn a_statement_that_fails_is_told_and_ends_the_script() {
    for server in [postgres(), mariadb()] {
        let database = server.create_database();
        let result = std::panic::catch_unwind(|| {
            database
                .execute("CREATE TABLE first (a int); SELECT * FROM nowhere; CREATE TABLE second (a int)");
        });
        let message = *result.unwrap_err().downcast::<String>().unwrap();
        assert!(message.contains("nowhere"), "{message}");
        let names =
            "SELECT table_name FROM information_schema.tables WHERE table_name IN ('first', 'second')";
        assert_eq!(database.query(names), [["first"]], "{}", server.engine().name());
    }
}

#[test]
fn a_database_goes_even_while_a_client_has_a_transaction_open_in_it() {
    let databases = [
        (postgres(), "SELECT count(*) FROM pg_database WHERE datname = "),
        (mariadb(), "SELECT count(*) FROM information_schema.schemata WHERE schema_name = "),
    ];
    for (server, count) in databases {
        let database = server.create_database();
        let count = format!("{count}'{}'", database.name());
        database.execute("CREATE TABLE t (a int)");
        assert_eq!(server.query(&count), [["1"]]);
        let mut client = sleeping_client(server, database.name());
        let started = Instant::now();
        drop(database);
        assert_eq!(server.query(&count), [["0"]]);
        assert!(started.elapsed() < Duration::from_secs(10), "it waited for the client");
        client.wait().unwrap();
    }
}

/// A client that has read a table in a transaction, and stays in it.
fn sleeping_client(server: &Server, database: &str) -> Child {
    let port = server.port().to_string();
    let address = ["-h", "127.0.0.1", if server.engine() == Engine::Postgres { "-p" } else { "-P" }, &port];
    let (program, quiet, user, sql, asleep) = match server.engine() {
        Engine::Postgres => (
            "psql",
            "-X",
            "-U",
            ["-c", "BEGIN; SELECT count(*) FROM t; SELECT pg_sleep(60)"],
            "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = ",
        ),
        Engine::MariaDb => (
            "mariadb",
            "--no-defaults",
            "-u",
            ["-e", "BEGIN; SELECT count(*) FROM t; SELECT sleep(60)"],
            "SELECT 1 FROM information_schema.processlist WHERE info LIKE 'SELECT sleep%' AND db = ",
        ),
    };
    let mut command = Command::new(find_program(program).unwrap());
    command.arg(quiet).args(address).args([user, server.user()]).args(sql).arg(database);
    command.env("PGPASSWORD", server.password()).env("MYSQL_PWD", server.password());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let client = command.spawn().unwrap();
    let asleep = format!("{asleep}'{database}'");
    wait_until("the client sleeps", || !server.query(&asleep).is_empty());
    client
}

#[test]
fn servers_end_with_the_process_that_started_them_even_if_it_is_killed() {
    let mut holder = Command::new(env!("CARGO_BIN_EXE_hold-test-servers"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: Vec<String> =
        BufReader::new(holder.stdout.take().unwrap()).lines().take(2).map(Result::unwrap).collect();
    let servers: Vec<Server> =
        Engine::ALL.iter().zip(&lines).map(|(engine, line)| join(*engine, line)).collect();
    let process_ids: Vec<String> = servers.iter().map(process_id).collect();
    for server in &servers {
        assert_eq!(server.create_database().query("SELECT 'here'"), [["here"]]);
    }

    holder.kill().unwrap();
    holder.wait().unwrap();
    for (server, process_id) in servers.iter().zip(&process_ids) {
        wait_until("the server has ended", || !is_running(process_id));
        wait_until("its folder is gone", || !server.folder().exists());
        assert!(TcpStream::connect(("127.0.0.1", server.port())).is_err());
        let error = format!("{:#}", Server::join(server.engine(), server.folder()).unwrap_err());
        assert!(error.contains(&format!("no {} test server runs in", server.engine().name())), "{error}");
    }
}

#[test]
fn a_dropped_server_has_ended() {
    for engine in Engine::ALL {
        let server = Server::start(engine).unwrap();
        let (folder, port, process_id) = (server.folder().to_owned(), server.port(), process_id(&server));
        assert!(is_running(&process_id));
        drop(server);
        assert!(!is_running(&process_id));
        assert!(!folder.exists());
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    }
}

/// Joins the server of an `export` line.
fn join(engine: Engine, line: &str) -> Server {
    let folder = line.strip_prefix(&format!("export {}=", engine.variable())).unwrap();
    Server::join(engine, &PathBuf::from(folder)).unwrap()
}

fn process_id(server: &Server) -> String {
    std::fs::read_to_string(server.folder().join("server.pid")).unwrap().trim().to_owned()
}

/// Whether the process is there and no zombie: where nothing reaps orphans, those stay.
fn is_running(process_id: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process_id}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
}

#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "it never happened that {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
