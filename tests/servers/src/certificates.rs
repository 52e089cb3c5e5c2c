//! The test CA, and the certificate for `localhost` and `127.0.0.1` that it signed.

use std::sync::OnceLock;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// One set, in PEM. No system trusts its CA.
#[derive(Debug)]
pub(crate) struct Certificates {
    /// The root that signed `server`.
    pub(crate) ca: String,
    /// A root that signed nothing.
    pub(crate) other_ca: String,
    /// The servers' certificate.
    pub(crate) server: String,
    /// Its private key.
    pub(crate) server_key: String,
}

/// This process's set: all servers that it starts have the same.
pub(crate) fn certificates() -> Result<&'static Certificates> {
    static CERTIFICATES: OnceLock<Result<Certificates, rcgen::Error>> = OnceLock::new();
    CERTIFICATES.get_or_init(make).as_ref().context("can't make certificates for the test servers")
}

fn make() -> Result<Certificates, rcgen::Error> {
    let (ca, issuer) = authority("Portcullis test CA")?;
    let (other_ca, _) = authority("Portcullis other test CA")?;
    let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, "localhost");
    let key = KeyPair::generate()?;
    let server = params.signed_by(&key, &issuer)?.pem();
    Ok(Certificates { ca, other_ca, server, server_key: key.serialize_pem() })
}

/// A root certificate, and what signs with it.
fn authority(name: &str) -> Result<(String, Issuer<'static, KeyPair>), rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    Ok((pem, Issuer::new(params, key)))
}
