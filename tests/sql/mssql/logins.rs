//! Logging in: accounts, encryption, addresses, and what a session is set to.

use std::net::TcpListener;

use portcullis_runtime::EgressMapping;
use portcullis_test_servers::tds::{Encryption, Protection};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;

/// A server that offers or demands encryption, with a certificate for `name`, and the PEM of who issued it.
fn encrypted(encryption: Encryption, name: &str) -> (TdsServer, String) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority_key = KeyPair::generate().unwrap();
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let options = Options::new(USER, PASSWORD, DATABASE);
    let options = options.encryption(encryption, vec![certificate.der().clone()], key);
    (TdsServer::start(options, |_| vec![integers(&[1])]), pem)
}

fn trusting(pem: &str) -> EgressConfig {
    EgressConfig { extra_roots_pem: vec![pem.to_owned()], ..support::local_network() }
}

#[track_caller]
fn check_protection(encryption: Encryption, options: Value, expected: Protection) {
    let (server, pem) = encrypted(encryption, "127.0.0.1");
    let case = Case::read(&server, "SELECT 1 AS n").sql(json!({"options": options})).egress(&trusting(&pem));
    case.value();
    assert_eq!(server.sessions()[0].protection, Some(expected), "{encryption:?} {options}");
}

#[test]
fn encryption_is_as_the_options_say() {
    use Encryption::{Optional, Required};
    for options in
        [json!({}), json!({"encrypt": true}), json!({"encrypt": true, "trustServerCertificate": true})]
    {
        check_protection(Optional, options.clone(), Protection::Session);
        check_protection(Required, options, Protection::Session);
    }
    check_protection(Optional, json!({"encrypt": false}), Protection::Plain);
}

#[test]
fn a_server_that_insists_on_encryption_gets_it() {
    // With a certificate of nobody's.
    let (server, _) = encrypted(Encryption::Required, "elsewhere.test");
    Case::read(&server, "SELECT 1 AS n").value();
    assert_eq!(server.sessions()[0].protection, Some(Protection::Session));
}

#[test]
fn without_encryption_nothing_is_told_to_a_server_that_has_none() {
    let server = server(|_| vec![integers(&[1])]);
    for options in [json!({}), json!({"encrypt": true, "trustServerCertificate": true})] {
        let case = Case::read(&server, "SELECT 1 AS n").sql(json!({"options": options}));
        case.fails(ErrorCode::ProviderUnavailable);
    }
    assert!(server.sessions().iter().all(|session| session.login.is_none()));
}

#[test]
fn certificates_are_verified() {
    let strict = json!({"options": {"encrypt": true}});
    let lax = json!({"options": {"encrypt": true, "trustServerCertificate": true}});
    let (server, pem) = encrypted(Encryption::Optional, "127.0.0.1");
    let (misnamed, misnamed_pem) = encrypted(Encryption::Optional, "elsewhere.test");
    let unknown = Case::read(&server, "SELECT 1 AS n").sql(strict.clone());
    let wrong_name = Case::read(&misnamed, "SELECT 1 AS n").sql(strict).egress(&trusting(&misnamed_pem));
    for case in [unknown, wrong_name] {
        let error = case.fails(ErrorCode::ProviderUnavailable);
        assert!(error.message.contains("TLS"), "{error}");
        assert!(error.message.contains("trustServerCertificate"), "{error}");
        assert!(!error.message.contains("Config::"), "{error}");
    }
    assert!(server.sessions().iter().chain(&misnamed.sessions()).all(|session| session.login.is_none()));
    Case::read(&misnamed, "SELECT 1 AS n").sql(lax).value();
    Case::read(&server, "SELECT 1 AS n").egress(&trusting(&pem)).value();
}

#[test]
fn a_name_is_what_the_certificate_must_say() {
    let (server, pem) = encrypted(Encryption::Required, "db.test");
    let target = format!("db.test:{0}=127.0.0.1:{0}", server.port());
    let map: Vec<EgressMapping> = vec![target.parse().unwrap()];
    let egress = EgressConfig { map, ..trusting(&pem) };
    let case = Case::read(&server, "SELECT 1 AS n").sql(json!({"options": {}})).egress(&egress);
    case.config(json!({"server": "db.test"})).value();
    let login = server.sessions()[0].login.clone().unwrap();
    assert_eq!((login.server.as_str(), login.application.as_str()), ("db.test", "portcullis"));
    assert_eq!(login.database, DATABASE);
}

#[test]
fn refused_logins_say_why() {
    let server = server(|_| Vec::new());
    let wrong = Case::read(&server, "SELECT 1").secret("password", "wr0ng-s3cret");
    let error = wrong.fails(ErrorCode::ProviderError);
    assert!(error.message.contains("Login failed"), "{error}");
    assert!(!error.message.contains("wr0ng-s3cret"), "{error}");
    let unknown = Case::read(&server, "SELECT 1").config(json!({"database": "motel"}));
    let error = unknown.fails(ErrorCode::ProviderError);
    assert!(error.message.contains("Cannot open database \"motel\""), "{error}");
}

#[test]
fn a_server_that_is_down_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let server = server(|_| Vec::new());
    let case = Case::read(&server, "SELECT 1").config(json!({"port": port}));
    let error = case.fails(ErrorCode::ProviderUnavailable);
    assert!(error.message.contains(&format!("\"hotel\" on 127.0.0.1:{port}")), "{error}");
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = server(|_| Vec::new());
    let options = json!({"options": {"encrypt": false, "connectionTimeout": 300}});
    let error = Case::read(&server, "SELECT 1").config(json!({"port": port})).sql(options);
    let error = error.fails(ErrorCode::ProviderUnavailable);
    assert!(error.message.contains("no connection within 300 ms"), "{error}");
}

#[test]
fn the_address_is_the_operators_to_allow() {
    let server = server(|_| Vec::new());
    let case = Case::read(&server, "SELECT 1").egress(&EgressConfig::default());
    let error = case.fails(ErrorCode::HostBlocked);
    assert!(error.message.contains("127.0.0.1"), "{error}");
    assert!(server.sessions().is_empty());
}

#[test]
fn instances_cannot_be_named() {
    let server = server(|_| Vec::new());
    let error = Case::read(&server, "SELECT 1").config(json!({"server": "127.0.0.1\\SQLEXPRESS"}));
    let error = error.fails(ErrorCode::ProviderError);
    assert!(error.message.contains("instance"), "{error}");
}

#[test]
fn sessions_are_set_to_what_queries_can_rely_on() {
    let server = server(|_| vec![integers(&[1])]);
    Case::read(&server, "SELECT 1 AS n").sql(json!({"security": {"queryTimeoutMs": 5000}})).value();
    let session = server.sessions().remove(0);
    let first = session.sql().next().unwrap_or_default().to_owned();
    for option in ["DATEFORMAT ymd", "LOCK_TIMEOUT 6000", "XACT_ABORT ON", "IMPLICIT_TRANSACTIONS"] {
        assert!(first.contains(option), "{option} isn't in {first}");
    }
}

#[test]
fn a_test_of_the_connection_selects_1() {
    let server = server(|_| vec![integers(&[1])]);
    let mut case = Case::read(&server, "SELECT a FROM t");
    case.call.operation = None;
    case.value();
    assert!(executed(&server)[0].0.starts_with("SELECT 1"), "{:?}", executed(&server));
}
