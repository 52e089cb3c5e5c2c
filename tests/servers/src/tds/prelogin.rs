//! The prelogin exchange: versions, and who wants how much encryption (MS-TDS 2.2.6.5).

use crate::tds::failure::Failure;
use crate::tds::wire::{Put, Reader};
use crate::tds::{Encryption, Protection};

/// The version that the server gives: SQL Server 2022.
pub(crate) const VERSION: [u8; 4] = [16, 0, 0x03, 0xE8];

const TOKEN_VERSION: u8 = 0;
const TOKEN_ENCRYPTION: u8 = 1;
const TOKEN_INSTANCE: u8 = 2;
const TOKEN_THREAD: u8 = 3;
const TOKEN_MARS: u8 = 4;
const TERMINATOR: u8 = 0xFF;

const ENCRYPT_OFF: u8 = 0;
const ENCRYPT_ON: u8 = 1;
const ENCRYPT_NOT_SUPPORTED: u8 = 2;
const ENCRYPT_REQUIRED: u8 = 3;

/// What a client asks for.
#[derive(Debug)]
pub(crate) struct Prelogin {
    encryption: u8,
}

/// What both sides now do.
#[derive(Debug, PartialEq)]
pub(crate) struct Negotiated {
    /// What the answer says.
    encryption: u8,
    pub(crate) protection: Protection,
}

impl Prelogin {
    pub(crate) fn decode(payload: &[u8]) -> Result<Prelogin, Failure> {
        let mut options = Reader::new(payload);
        let mut encryption = ENCRYPT_NOT_SUPPORTED;
        loop {
            let token = options.u8()?;
            if token == TERMINATOR {
                return Ok(Prelogin { encryption });
            }
            let offset = usize::from(options.u16_be()?);
            let length = usize::from(options.u16_be()?);
            let value = payload.get(offset..offset + length).ok_or_else(|| {
                Failure::protocol(format!("prelogin option {token} points past the message"))
            })?;
            if token == TOKEN_ENCRYPTION {
                encryption = Reader::new(value).u8()?;
            }
        }
    }

    /// The table of MS-TDS 2.2.6.5. A client that can't do what the answer says has to leave.
    pub(crate) fn negotiate(&self, server: Encryption) -> Result<Negotiated, Failure> {
        let (encryption, protection) = match (self.encryption, server) {
            (_, Encryption::NotSupported) | (ENCRYPT_NOT_SUPPORTED, Encryption::Optional) => {
                (ENCRYPT_NOT_SUPPORTED, Protection::Plain)
            }
            (ENCRYPT_OFF, Encryption::Optional) => (ENCRYPT_OFF, Protection::Login),
            (ENCRYPT_ON | ENCRYPT_REQUIRED, _) => (ENCRYPT_ON, Protection::Session),
            (ENCRYPT_OFF | ENCRYPT_NOT_SUPPORTED, Encryption::Required) => {
                (ENCRYPT_REQUIRED, Protection::Session)
            }
            (unknown, _) => {
                return Err(Failure::protocol(format!("prelogin encryption {unknown}")));
            }
        };
        Ok(Negotiated { encryption, protection })
    }
}

impl Negotiated {
    /// The answer to a prelogin.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let [major, minor, high, low] = VERSION;
        let options: [(u8, &[u8]); 5] = [
            (TOKEN_VERSION, &[major, minor, high, low, 0, 0]),
            (TOKEN_ENCRYPTION, &[self.encryption]),
            (TOKEN_INSTANCE, &[0]),
            (TOKEN_THREAD, &[]),
            (TOKEN_MARS, &[0]),
        ];
        let mut table = Vec::new();
        let mut values = Vec::new();
        for (token, value) in options {
            // Both are small: five options of five bytes, and ten bytes of values.
            let offset = u16::try_from(options.len() * 5 + 1 + values.len()).unwrap_or(u16::MAX);
            let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
            table.put_u8(token);
            table.put(&offset.to_be_bytes());
            table.put(&length.to_be_bytes());
            values.put(value);
        }
        table.put_u8(TERMINATOR);
        table.put(&values);
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Client's wish, server's setting: the answer, and what is encrypted.
    const TABLE: &[(u8, Encryption, u8, Protection)] = &[
        (ENCRYPT_OFF, Encryption::NotSupported, ENCRYPT_NOT_SUPPORTED, Protection::Plain),
        (ENCRYPT_OFF, Encryption::Optional, ENCRYPT_OFF, Protection::Login),
        (ENCRYPT_OFF, Encryption::Required, ENCRYPT_REQUIRED, Protection::Session),
        (ENCRYPT_ON, Encryption::NotSupported, ENCRYPT_NOT_SUPPORTED, Protection::Plain),
        (ENCRYPT_ON, Encryption::Optional, ENCRYPT_ON, Protection::Session),
        (ENCRYPT_ON, Encryption::Required, ENCRYPT_ON, Protection::Session),
        (ENCRYPT_NOT_SUPPORTED, Encryption::Optional, ENCRYPT_NOT_SUPPORTED, Protection::Plain),
        (ENCRYPT_NOT_SUPPORTED, Encryption::Required, ENCRYPT_REQUIRED, Protection::Session),
        (ENCRYPT_REQUIRED, Encryption::Optional, ENCRYPT_ON, Protection::Session),
    ];

    #[test]
    fn encryption_is_negotiated_as_the_standard_says() {
        for (client, server, encryption, protection) in TABLE {
            let negotiated = Prelogin { encryption: *client }.negotiate(*server).unwrap();
            let expected = Negotiated { encryption: *encryption, protection: *protection };
            assert_eq!(negotiated, expected, "client {client}, server {server:?}");
        }
    }

    #[test]
    fn an_answer_reads_as_a_prelogin() {
        let negotiated = Negotiated { encryption: ENCRYPT_ON, protection: Protection::Session };
        assert_eq!(Prelogin::decode(&negotiated.encode()).unwrap().encryption, ENCRYPT_ON);
    }
}
