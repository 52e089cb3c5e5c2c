//! tiberius's logins: encryption, trust, refusals.

use portcullis_test_servers::tds::{Encryption, End, Protection};
use tiberius::{AuthMethod, Config, EncryptionLevel};

use crate::support::{PASSWORD, PATIENCE, USER, certificates, encrypted, ended_session, options, start};
use crate::tiberius_client::{config, connect, run};

#[test]
fn it_logs_in_under_each_encryption() {
    use EncryptionLevel::{NotSupported, Off, On, Required};
    let certificates = certificates();
    let cases = [
        (None, NotSupported, Some(Protection::Plain)),
        (None, On, None),
        (None, Required, None),
        (Some(Encryption::Optional), NotSupported, Some(Protection::Plain)),
        (Some(Encryption::Optional), Off, Some(Protection::Login)),
        (Some(Encryption::Optional), On, Some(Protection::Session)),
        (Some(Encryption::Optional), Required, Some(Protection::Session)),
        (Some(Encryption::Required), Off, Some(Protection::Session)),
        (Some(Encryption::Required), On, Some(Protection::Session)),
    ];
    for (server, client, protection) in cases {
        let case = format!("server {server:?}, client {client:?}");
        let server = start(server.map_or_else(options, |server| encrypted(server, &certificates)));
        let mut config = config(client);
        config.trust_cert_ca_bundle(certificates.ca.clone());
        let connected = run(async {
            let mut client = connect(&server, config).await?;
            // Past the size of a TLS record, both ways.
            let sql = format!("types {}", " ".repeat(20_000));
            let rows = client.simple_query(sql).await?.into_first_result().await?;
            tiberius::Result::Ok(rows.len())
        });
        let session = ended_session(&server);
        match protection {
            Some(protection) => {
                assert_eq!(connected, Ok(2), "{case}");
                assert_eq!(session.protection, Some(protection), "{case}");
                assert_eq!(session.login.unwrap().password, PASSWORD);
            }
            None => assert!(connected.is_err() && session.login.is_none(), "{case}"),
        }
        assert_eq!(session.end, Some(End::Closed), "{case}");
    }
}

#[test]
fn it_trusts_a_certificate_only_as_it_is_told_to() {
    let (theirs, others) = (certificates(), certificates());
    let try_with = |trust: &dyn Fn(&mut Config)| {
        let server = start(encrypted(Encryption::Required, &theirs));
        let mut config = config(EncryptionLevel::Required);
        trust(&mut config);
        let connected = run(connect(&server, config)).is_ok();
        assert_eq!(ended_session(&server).login.is_some(), connected);
        connected
    };
    let file = tempfile::tempdir().unwrap();
    let path = file.path().join("ca.pem");
    std::fs::write(&path, &theirs.ca).unwrap();
    assert!(try_with(&|config| config.trust_cert_ca(path.display())));
    assert!(try_with(&|config| config.trust_cert_ca_bundle(theirs.ca.clone())));
    assert!(try_with(&Config::trust_cert));
    assert!(!try_with(&|_| {}));
    assert!(!try_with(&|config| config.trust_cert_ca_bundle(others.ca.clone())));
    assert!(!try_with(&|config| {
        config.trust_cert_ca_bundle(theirs.ca.clone());
        config.host("example.org");
    }));
}

#[test]
fn it_is_told_why_it_is_refused() {
    let server = start(options());
    let mut wrong = config(EncryptionLevel::NotSupported);
    wrong.authentication(AuthMethod::sql_server(USER, "wrong"));
    let mut unknown = config(EncryptionLevel::NotSupported);
    unknown.database("motel");
    for (config, code) in [(wrong, 18456), (unknown, 4060)] {
        let error = run(connect(&server, config)).unwrap_err();
        assert_eq!(error.code(), Some(code), "{error}");
    }
    let ends = [Some(End::Refused(18456)), Some(End::Refused(4060))];
    let as_told =
        server.wait_until(PATIENCE, |sessions| sessions.iter().map(|session| &session.end).eq(&ends));
    assert!(as_told, "{:#?}", server.sessions());
}
