//! The way to a server: which addresses may be dialled, what is encrypted, whose certificate counts, what the environment may say.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use portcullis_runtime::{EgressConfig, Engine, ErrorCode};
use serde_json::{Value, json};

use crate::support::{Case, Kind, Place, check, engine, local_network, on_each_server};
use crate::workspace::Workspace;

on_each_server!(
    addresses_are_checked,
    names_are_mapped,
    certificates_are_verified,
    encryption_is_as_the_manifest_says,
    servers_that_offer_no_tls_get_no_password,
    the_environment_says_nothing,
);

fn addresses_are_checked(place: &Place) {
    let strict = engine(&EgressConfig::default(), place.folder());
    for server in
        ["localhost", "127.0.0.1", "::1", "[::1]", "0x7f.1", "127.1", "2130706433", "LOCALHOST.", "0.0.0.0"]
    {
        let case = place.read("SELECT 1 AS n").engine(&strict).config(json!({"server": server}));
        let error = case.fails(ErrorCode::HostBlocked);
        assert!(error.message.contains("--allow-network"), "{server}: {error:#?}");
        assert!(error.message.contains(place.server().name()), "{server}: {error:#?}");
    }
    for server in ["localhost", "127.0.0.1", "127.1", "0x7f.1"] {
        let case = place.read("SELECT 1 AS n").config(json!({"server": server}));
        check(format!("{place:?} {server}, allowed"), &case.single(), &json!(1));
    }
    let here = Workspace::new();
    here.write(
        "c/config.json",
        place.manifest(json!([{"name": "one", "query": "SELECT 1 AS n"}])).to_string(),
    );
    let flags: Vec<String> =
        place.flags().into_iter().filter(|flag| !flag.starts_with("--allow-network")).collect();
    let arguments = [vec!["run".to_owned(), "c".to_owned(), "one".to_owned()], flags].concat();
    here.run(&arguments).exits(1).says("--allow-network 127.0.0.1/32").says("HOST_BLOCKED");
}

/// `db.test` on the engine's own port leads to the test server.
fn mapped(place: &Place, egress: EgressConfig) -> Engine {
    let target = format!("db.test=127.0.0.1:{}", place.server().port());
    engine(&EgressConfig { map: vec![target.parse().unwrap()], ..egress }, place.folder())
}

fn at_db_test(case: Case) -> Case {
    case.config(json!({"server": "db.test", "port": null}))
}

fn names_are_mapped(place: &Place) {
    let one = || at_db_test(place.read("SELECT 1 AS n"));
    check("mapped", &one().engine(&mapped(place, local_network())).single(), &json!(1));
    let strict = mapped(place, EgressConfig::default());
    let error = one().engine(&strict).fails(ErrorCode::HostBlocked);
    assert!(error.message.contains("--allow-network"), "{error:#?}");
    let unmapped = one().fails(ErrorCode::ProviderUnavailable);
    assert!(unmapped.message.contains("db.test"), "{unmapped:#?}");
}

fn with_roots(file: &Path) -> EgressConfig {
    EgressConfig { extra_roots_pem: vec![fs::read_to_string(file).unwrap()], ..local_network() }
}

/// How the server says that this very connection is encrypted: a cipher or version, or an empty text.
fn cipher(place: &Place) -> &'static str {
    place.pick(
        "",
        "SELECT coalesce(version, '') AS v FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
        "SELECT variable_value AS v FROM information_schema.session_status WHERE variable_name = 'Ssl_cipher'",
    )
}

fn certificates_are_verified(place: &Place) {
    let server = place.server().server();
    let trusting = with_roots(server.ca_pem());
    let verified = |egress: EgressConfig| {
        place.read(cipher(place)).engine(&mapped(place, egress)).sql(json!({"options": {"encrypt": true}}))
    };
    for name in ["localhost", "127.0.0.1"] {
        let found = verified(trusting.clone()).config(json!({"server": name})).single();
        assert!(found.as_str().unwrap().len() > 3, "{place:?} {name}: {found}");
    }
    for (what, case) in [
        ("a name that it isn't for", at_db_test(verified(trusting))),
        (
            "another authority's",
            verified(with_roots(server.other_ca_pem())).config(json!({"server": "localhost"})),
        ),
        ("nobody's", verified(local_network()).config(json!({"server": "localhost"}))),
        ("nobody's, by address", verified(local_network())),
    ] {
        let error = case.fails(ErrorCode::ProviderUnavailable);
        let text = error.message.to_lowercase();
        assert!(text.contains("certificate") || text.contains("tls"), "{place:?} {what}: {error:#?}");
        assert!(!text.contains(place.server().password()), "{error:#?}");
    }
    for case in [verified(local_network()), at_db_test(verified(local_network()))] {
        let any = case.sql(json!({"options": {"encrypt": true, "trustServerCertificate": true}})).single();
        assert!(any.as_str().unwrap().len() > 3, "{place:?} any certificate: {any}");
    }
}

fn encryption_is_as_the_manifest_says(place: &Place) {
    let with = |options: Value| place.read(cipher(place)).sql(json!({"options": options})).single();
    check(format!("{place:?} encrypt: false"), &with(json!({"encrypt": false})), &json!(""));
    let preferred = with(json!({}));
    assert!(preferred.as_str().unwrap().len() > 3, "{place:?}: {preferred}");
}

/// A server in between that says it has no TLS: what needs it doesn't go on, and no password is sent.
fn servers_that_offer_no_tls_get_no_password(place: &Place) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (kind, real) = (place.kind, place.server().port());
    for options in [json!({"encrypt": true}), json!({"encrypt": true, "trustServerCertificate": true})] {
        let sent = thread::scope(|scope| {
            let middle = scope.spawn(|| {
                let (mut client, _) = listener.accept().unwrap();
                client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                offer_no_tls(kind, &mut client, real);
                let mut sent = Vec::new();
                // An end in any way is what is waited for.
                let _ = client.read_to_end(&mut sent);
                sent
            });
            let case =
                place.read("SELECT 1 AS n").config(json!({"port": port})).sql(json!({"options": options}));
            let error = case.fails(ErrorCode::ProviderUnavailable);
            assert!(error.message.contains(&port.to_string()), "{error:#?}");
            middle.join().unwrap()
        });
        assert_eq!(String::from_utf8_lossy(&sent), "", "{place:?} {options}");
    }
}

/// PostgreSQL's answer to a client that asks for TLS, or MariaDB's greeting without the flag for it.
fn offer_no_tls(kind: Kind, client: &mut TcpStream, real: u16) {
    if kind == Kind::Postgres {
        let mut request = [0; 8];
        client.read_exact(&mut request).unwrap();
        return client.write_all(b"N").unwrap();
    }
    let mut server = TcpStream::connect(("127.0.0.1", real)).unwrap();
    let mut header = [0; 4];
    server.read_exact(&mut header).unwrap();
    let mut greeting = vec![0; usize::from(header[0]) | usize::from(header[1]) << 8];
    server.read_exact(&mut greeting).unwrap();
    // Protocol version, server version and its NUL, connection id, 8 bytes of the challenge, a NUL; then capabilities.
    let capabilities = greeting.iter().position(|byte| *byte == 0).unwrap() + 1 + 4 + 8 + 1;
    greeting[capabilities + 1] &= !0x08;
    client.write_all(&[&header[..], &greeting].concat()).unwrap();
}

/// What a driver may read of its process's environment and home has no effect.
fn the_environment_says_nothing(place: &Place) {
    let here = Workspace::new();
    let query = place.pick(
        "",
        "SELECT current_setting('application_name') AS a, current_setting('search_path') AS p, current_setting('TimeZone') AS z, current_user::text AS u",
        "SELECT CURRENT_USER() AS u, DATABASE() AS d, @@session.sql_mode AS m, @@session.time_zone AS z",
    );
    here.write("c/config.json", place.manifest(json!([{"name": "one", "query": query}])).to_string());
    let (port, password) = (place.server().port(), place.server().password());
    here.write("home/.pgpass", format!("*:*:*:*:{password}\n"));
    fs::set_permissions(here.path("home/.pgpass"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    here.write("home/.my.cnf", format!("[client]\npassword={password}\n"));
    let hostile = [
        ("PGHOST", "nowhere.test"),
        ("PGHOSTADDR", "192.0.2.1"),
        ("PGPORT", "1"),
        ("PGUSER", "nobody"),
        ("PGDATABASE", "nothing"),
        ("PGPASSWORD", "wrong"),
        ("PGAPPNAME", "from-the-environment"),
        ("PGSSLMODE", "verify-full"),
        ("PGSSLROOTCERT", "/nonexistent.pem"),
        ("PGTZ", "Asia/Tokyo"),
        ("TZ", "Asia/Tokyo"),
        ("MYSQL_HOST", "nowhere.test"),
        ("MYSQL_TCP_PORT", "1"),
        ("MYSQL_PWD", "wrong"),
        ("MYSQL_UNIX_PORT", "/nonexistent"),
        ("DATABASE_URL", "postgres://nowhere.test/nothing"),
        ("SSL_CERT_FILE", "/nonexistent.pem"),
    ];
    let arguments = [vec!["run".to_owned(), "c".to_owned(), "one".to_owned()], place.flags()].concat();
    let plain = here.run(&arguments).exits(0).json();
    let strange: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let found = here.run_with_env(&strange, &hostile).exits(0).json();
    check(format!("{place:?} in a strange environment"), &found["rows"], &plain["rows"]);
    // What sqlx can't be kept from taking up is refused instead.
    for variable in ["PGOPTIONS", "PGSSLCERT", "PGSSLKEY"] {
        let ran = here.run_with_env(&strange, &[(variable, "-c search_path=pg_temp")]);
        if ran.status == Some(0) {
            check(format!("{place:?} with {variable}"), &ran.json()["rows"], &plain["rows"]);
        } else {
            ran.exits(1).says(variable);
        }
    }
    // Nor does it help: without a password there is none.
    let port = port.to_string();
    let helpful = [
        ("PGPASSWORD", password),
        ("MYSQL_PWD", password),
        ("PGPORT", port.as_str()),
        ("PGHOST", "127.0.0.1"),
    ];
    let without: Vec<&str> = without_password(&strange);
    here.run_with_env(&without, &helpful).exits(1);
}

fn without_password<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let at = arguments.iter().position(|argument| argument.starts_with("password=")).unwrap();
    let mut rest = arguments.to_vec();
    rest.drain(at - 1..=at);
    rest
}
