//! A client that is wrong on purpose, byte by byte: what real ones can't be made to do.

use std::io::{Read, Write};
use std::net::TcpStream;

use portcullis_test_servers::tds::{End, Outcome, Request, TdsServer};

use crate::support::{DATABASE, PASSWORD, PATIENCE, USER, ended_session, options, outcome_of, start};

const BATCH: u8 = 1;
const ATTENTION: u8 = 6;
const LOGIN7: u8 = 16;
const PRELOGIN: u8 = 18;

const END_OF_MESSAGE: u8 = 1;
const IGNORE: u8 = 3;

struct Raw(TcpStream);

impl Raw {
    fn connect(server: &TdsServer) -> Raw {
        let stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Raw(stream)
    }

    fn logged_in(server: &TdsServer) -> Raw {
        let mut raw = Raw::connect(server);
        // Version, encryption: not supported.
        raw.send(PRELOGIN, END_OF_MESSAGE, &[1, 0, 6, 0, 1, 0xFF, 2]);
        raw.receive();
        raw.send(LOGIN7, END_OF_MESSAGE, &login7());
        assert!(raw.receive().contains(&0xAD), "no LOGINACK");
        raw
    }

    fn send(&mut self, kind: u8, status: u8, payload: &[u8]) {
        let length = u16::try_from(payload.len() + 8).unwrap().to_be_bytes();
        let packet = [&[kind, status, length[0], length[1], 0, 0, 1, 0], payload].concat();
        self.0.write_all(&packet).unwrap();
    }

    /// The payload of the next message.
    fn receive(&mut self) -> Vec<u8> {
        let mut message = Vec::new();
        loop {
            let mut header = [0; 8];
            self.0.read_exact(&mut header).unwrap();
            let length = usize::from(u16::from_be_bytes([header[2], header[3]])) - 8;
            let start = message.len();
            message.resize(start + length, 0);
            self.0.read_exact(&mut message[start..]).unwrap();
            if header[1] & END_OF_MESSAGE != 0 {
                return message;
            }
        }
    }
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn login7() -> Vec<u8> {
    let password: Vec<u8> = utf16(PASSWORD).iter().map(|byte| byte.rotate_left(4) ^ 0xA5).collect();
    let fields = [vec![], utf16(USER), password, vec![], vec![], vec![], vec![], vec![], utf16(DATABASE)];
    let mut fixed = [&0x7400_0004_u32.to_le_bytes()[..], &512_u32.to_le_bytes(), &[0; 24]].concat();
    let mut data = Vec::new();
    for field in fields {
        let offset = u16::try_from(94 + data.len()).unwrap();
        fixed.extend(offset.to_le_bytes());
        fixed.extend(u16::try_from(field.len() / 2).unwrap().to_le_bytes());
        data.extend(field);
    }
    fixed.extend([0; 22]);
    let length = u32::try_from(4 + fixed.len() + data.len()).unwrap();
    [&length.to_le_bytes()[..], &fixed, &data].concat()
}

/// A batch in a transaction.
fn batch(sql: &str, descriptor: u64) -> Vec<u8> {
    let headers = [22_u32.to_le_bytes(), 18_u32.to_le_bytes()].concat();
    [&headers[..], &[2, 0], &descriptor.to_le_bytes(), &1_u32.to_le_bytes(), &utf16(sql)].concat()
}

/// Whether the message holds this error.
fn has_error(message: &[u8], number: u32) -> bool {
    // Behind the token come its length and the number.
    message.windows(7).any(|bytes| bytes[0] == 0xAA && bytes[3..] == number.to_le_bytes())
}

#[test]
fn a_request_outside_of_the_transaction_is_refused() {
    let server = start(options());
    let mut raw = Raw::logged_in(&server);
    raw.send(BATCH, END_OF_MESSAGE, &batch("BEGIN TRAN", 0));
    let begun = raw.receive();
    // ENVCHANGE of type 8: its length, the type, eight bytes.
    let descriptor = begun.windows(5).position(|bytes| bytes == [0xE3, 11, 0, 8, 8]).unwrap() + 5;
    let descriptor = u64::from_le_bytes(begun[descriptor..descriptor + 8].try_into().unwrap());
    raw.send(BATCH, END_OF_MESSAGE, &batch("select 1", 0));
    assert!(has_error(&raw.receive(), 3989));
    raw.send(BATCH, END_OF_MESSAGE, &batch("select 1", descriptor));
    assert!(!has_error(&raw.receive(), 3989));
}

#[test]
fn an_attention_drops_the_message_that_it_interrupts() {
    let server = start(options());
    let mut raw = Raw::logged_in(&server);
    raw.send(BATCH, 0, &batch("select", 0));
    raw.send(ATTENTION, END_OF_MESSAGE, &[]);
    assert_eq!(raw.receive()[..3], [0xFD, 0x20, 0]);
    raw.send(BATCH, IGNORE, &batch("select 2", 0));
    raw.send(BATCH, END_OF_MESSAGE, &batch("select 3", 0));
    raw.receive();
    drop(raw);
    let session = ended_session(&server);
    assert_eq!(session.sql().collect::<Vec<_>>(), ["select 3"]);
    assert!(session.requests().any(|request| *request == Request::Attention));
}

#[test]
fn a_violation_of_the_protocol_ends_the_session() {
    type Wrong = fn(&TdsServer) -> Raw;
    let cases: [(Wrong, &str); 5] = [
        (
            |server| {
                let mut raw = Raw::connect(server);
                raw.send(LOGIN7, END_OF_MESSAGE, &login7());
                raw
            },
            "a message of type 16 where 18 was due",
        ),
        (
            |server| {
                let mut raw = Raw::logged_in(server);
                raw.send(BATCH, 0, &[0; 5000]);
                raw
            },
            "a packet of type 1 and 5008 bytes, where 512 were negotiated",
        ),
        (
            |server| {
                let mut raw = Raw::logged_in(server);
                raw.send(7, END_OF_MESSAGE, &batch("", 0));
                raw
            },
            "a message of type 7 after the login",
        ),
        (
            |server| {
                let mut raw = Raw::logged_in(server);
                raw.send(BATCH, END_OF_MESSAGE, &[4, 0, 0, 0]);
                raw
            },
            "a request without a transaction descriptor",
        ),
        (
            |server| {
                let mut raw = Raw::logged_in(server);
                raw.send(BATCH, END_OF_MESSAGE, &batch("slow", 0));
                raw.send(BATCH, END_OF_MESSAGE, &batch("select 1", 0));
                raw
            },
            "a packet of type 1 before the answer to the last request was complete",
        ),
    ];
    for (wrong, why) in cases {
        let server = start(options());
        let _client = wrong(&server);
        assert_eq!(ended_session(&server).end, Some(End::Violation(why.to_owned())));
    }
}

#[test]
fn a_request_is_abandoned_when_its_client_leaves() {
    let server = start(options());
    let mut raw = Raw::logged_in(&server);
    raw.send(BATCH, END_OF_MESSAGE, &batch("slow", 0));
    drop(raw);
    let session = ended_session(&server);
    assert_eq!((outcome_of(&session, "slow"), session.end), (Outcome::Abandoned, Some(End::Closed)));
}
