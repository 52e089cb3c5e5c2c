//! LOGIN7: who wants in, with which password, to which database (MS-TDS 2.2.6.4).

use crate::tds::failure::Failure;
use crate::tds::wire::{Reader, utf16};

/// The versions of TDS whose types and tokens this server speaks: 7.3A to 7.4.
const VERSIONS: &[u32] = &[0x730A_0003, 0x730B_0003, 0x7400_0004];

/// What a client said at its login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The client's name for its own machine.
    pub host: String,
    /// The SQL Server login.
    pub user: String,
    /// The password, out of its obfuscation.
    pub password: String,
    /// What the client calls the program.
    pub application: String,
    /// The server as the client named it.
    pub server: String,
    /// The client library.
    pub library: String,
    /// The database asked for; empty for the login's default.
    pub database: String,
    /// The version of TDS, such as `0x74000004`.
    pub tds_version: u32,
    /// The packet size asked for, in bytes; 0 for the server's choice.
    pub packet_size: u32,
    /// Whether the client says that it only reads (`ApplicationIntent=ReadOnly`).
    pub read_only_intent: bool,
}

impl Login {
    pub(crate) fn decode(payload: &[u8]) -> Result<Login, Failure> {
        let mut fixed = Reader::new(payload);
        let length = fixed.length32()?;
        if length != payload.len() {
            let held = payload.len();
            return Err(Failure::protocol(format!("a LOGIN7 that says {length} bytes and has {held}")));
        }
        let tds_version = fixed.u32()?;
        if !VERSIONS.contains(&tds_version) {
            return Err(Failure::protocol(format!("TDS version {tds_version:#010x} isn't 7.3 or 7.4")));
        }
        let packet_size = fixed.u32()?;
        fixed.take(14)?;
        let read_only_intent = fixed.u8()? & 0x20 != 0;
        fixed.take(9)?;
        let mut field = || counted(payload, &mut fixed);
        let (host, user, password) = (field()?, field()?, field()?);
        let (application, server, _extension) = (field()?, field()?, field()?);
        let (library, _language, database) = (field()?, field()?, field()?);
        Ok(Login {
            host: utf16(host)?,
            user: utf16(user)?,
            password: utf16(&reveal(password))?,
            application: utf16(application)?,
            server: utf16(server)?,
            library: utf16(library)?,
            database: utf16(database)?,
            tds_version,
            packet_size,
            read_only_intent,
        })
    }
}

/// The bytes of the text whose place and length in UTF-16 units come next.
fn counted<'a>(payload: &'a [u8], fixed: &mut Reader<'_>) -> Result<&'a [u8], Failure> {
    let offset = fixed.length16()?;
    let n_bytes = fixed.length16()? * 2;
    // The extension's length is in bytes, not units: it isn't read, so that what is there of it is enough.
    let end = (offset + n_bytes).min(payload.len());
    payload
        .get(offset..end)
        .ok_or_else(|| Failure::protocol("a field of LOGIN7 points past the message".to_owned()))
}

/// Undoes the swap of nibbles and the exclusive or that a password is sent in.
fn reveal(obfuscated: &[u8]) -> Vec<u8> {
    obfuscated.iter().map(|byte| (byte ^ 0xA5).rotate_left(4)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_comes_out_of_its_obfuscation() {
        // The letter `a` is 61 00: nibbles swapped 16 00, xor A5: B3 A5.
        assert_eq!(reveal(&[0xB3, 0xA5]), b"a\0");
    }
}
