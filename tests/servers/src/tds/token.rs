//! The tokens that an answer is made of (MS-TDS 2.2.7).

use crate::tds::encode::put_value;
use crate::tds::login::Login;
use crate::tds::prelogin;
use crate::tds::reply::{Column, Message};
use crate::tds::types::COLLATION;
use crate::tds::value::Value;
use crate::tds::wire::Put;

const COL_METADATA: u8 = 0x81;
const RETURN_STATUS: u8 = 0x79;
const ERROR: u8 = 0xAA;
const INFO: u8 = 0xAB;
const LOGIN_ACK: u8 = 0xAD;
const ROW: u8 = 0xD1;
const NBC_ROW: u8 = 0xD2;
const ENV_CHANGE: u8 = 0xE3;

/// The flags of a DONE.
pub(crate) mod done {
    pub(crate) const MORE: u16 = 0x01;
    pub(crate) const ERROR: u16 = 0x02;
    pub(crate) const COUNT: u16 = 0x10;
    pub(crate) const ATTENTION: u16 = 0x20;
}

/// Which of the three DONE tokens.
#[derive(Clone, Copy)]
pub(crate) enum DoneKind {
    /// After a statement of a batch.
    Done = 0xFD,
    /// After a procedure.
    DoneProc = 0xFE,
    /// After a statement in a procedure.
    DoneInProc = 0xFF,
}

/// What ran, for DONE's sake.
pub(crate) mod command {
    pub(crate) const NONE: u16 = 0;
    pub(crate) const SELECT: u16 = 0xC1;
    pub(crate) const INSERT: u16 = 0xC3;
    pub(crate) const EXECUTE: u16 = 0xE0;
}

pub(crate) fn put_done(out: &mut Vec<u8>, kind: DoneKind, flags: u16, command: u16, count: u64) {
    out.put_u8(kind as u8);
    out.put_u16(flags);
    out.put_u16(command);
    out.put_u64(count);
}

pub(crate) fn put_return_status(out: &mut Vec<u8>, status: i32) {
    out.put_u8(RETURN_STATUS);
    out.put(&status.to_le_bytes());
}

/// An error.
pub(crate) fn put_error(out: &mut Vec<u8>, message: &Message) {
    put_message(out, ERROR, message, message.class);
}

/// A message that isn't an error: its class is at most 10.
pub(crate) fn put_info(out: &mut Vec<u8>, message: &Message) {
    put_message(out, INFO, message, message.class.min(10));
}

fn put_message(out: &mut Vec<u8>, token: u8, message: &Message, class: u8) {
    let mut body = Vec::new();
    body.put_u32(message.number);
    body.put(&[message.state, class]);
    body.put_us_varchar(&message.text);
    body.put_b_varchar("tds-test-server");
    body.put_b_varchar(&message.procedure);
    body.put_u32(message.line);
    out.put_u8(token);
    out.put_counted(&body);
}

pub(crate) fn put_login_ack(out: &mut Vec<u8>, login: &Login) {
    let mut body = vec![1];
    // The only number of TDS 7 that goes the high byte first.
    body.put(&login.tds_version.to_be_bytes());
    body.put_b_varchar("Microsoft SQL Server");
    body.put(&prelogin::VERSION);
    out.put_u8(LOGIN_ACK);
    out.put_counted(&body);
}

/// A change in the session that the client has to know of.
pub(crate) enum EnvChange<'a> {
    Database { old: &'a str, new: &'a str },
    PacketSize { old: usize, new: usize },
    Collation,
    BeginTransaction(u64),
    Commit(u64),
    Rollback(u64),
}

pub(crate) fn put_env_change(out: &mut Vec<u8>, change: &EnvChange<'_>) {
    let mut body = Vec::new();
    match change {
        EnvChange::Database { old, new } => put_text_change(&mut body, 1, old, new),
        EnvChange::PacketSize { old, new } => {
            put_text_change(&mut body, 4, &old.to_string(), &new.to_string());
        }
        EnvChange::Collation => put_bytes_change(&mut body, 7, &[], &COLLATION),
        EnvChange::BeginTransaction(new) => put_bytes_change(&mut body, 8, &[], &new.to_le_bytes()),
        EnvChange::Commit(old) => put_bytes_change(&mut body, 9, &old.to_le_bytes(), &[]),
        EnvChange::Rollback(old) => put_bytes_change(&mut body, 10, &old.to_le_bytes(), &[]),
    }
    out.put_u8(ENV_CHANGE);
    out.put_counted(&body);
}

fn put_text_change(body: &mut Vec<u8>, number: u8, old: &str, new: &str) {
    body.put_u8(number);
    body.put_b_varchar(new);
    body.put_b_varchar(old);
}

/// Bytes of which there are at most eight.
fn put_bytes_change(body: &mut Vec<u8>, number: u8, old: &[u8], new: &[u8]) {
    body.put_u8(number);
    for value in [new, old] {
        body.put_u8(u8::try_from(value.len()).unwrap_or(u8::MAX));
        body.put(value);
    }
}

pub(crate) fn put_columns(out: &mut Vec<u8>, columns: &[Column]) {
    out.put_u8(COL_METADATA);
    // A SELECT has at most 4096 columns.
    out.put_u16(u16::try_from(columns.len()).unwrap_or(u16::MAX));
    for column in columns {
        out.put_u32(0);
        out.put_u16(u16::from(column.r#type.is_nullable()));
        column.r#type.encode(out);
        if column.r#type.is_long() {
            // The table's name, in one part.
            out.put_u8(1);
            out.put_us_varchar("t");
        }
        out.put_b_varchar(&column.name);
    }
}

/// A row; with NULLs in it the form that says them in a bitmap, where that is shorter.
///
/// # Errors
///
/// With what is wrong with the row, when it doesn't fit its columns. Nothing is written then.
pub(crate) fn put_row(out: &mut Vec<u8>, columns: &[Column], row: &[Value]) -> Result<(), String> {
    if row.len() != columns.len() {
        return Err(format!("a row of {} values for {} columns", row.len(), columns.len()));
    }
    let start = out.len();
    let n_nulls = row.iter().filter(|value| **value == Value::Null).count();
    let bitmap = if n_nulls > columns.len().div_ceil(8) { null_bitmap(row) } else { Vec::new() };
    out.put_u8(if bitmap.is_empty() { ROW } else { NBC_ROW });
    out.put(&bitmap);
    for (column, value) in columns.iter().zip(row) {
        let is_left_out = !bitmap.is_empty() && *value == Value::Null && column.r#type.is_nullable();
        if !is_left_out && put_value(out, column.r#type, value).is_none() {
            out.truncate(start);
            let Column { name, r#type: declared } = column;
            return Err(format!("{value} isn't a value of column {name:?} of type {declared}"));
        }
    }
    Ok(())
}

/// A bit for each column, from the low bit of the first byte on, set for NULL.
fn null_bitmap(row: &[Value]) -> Vec<u8> {
    let byte = |values: &[Value]| {
        values.iter().enumerate().fold(0, |bits, (bit, value)| bits | u8::from(*value == Value::Null) << bit)
    };
    row.chunks(8).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tds::types::Type;

    #[test]
    fn many_nulls_go_into_a_bitmap() {
        let columns: Vec<Column> = (0..9).map(|_| Column::new("", Type::IntN(4))).collect();
        let mut row = vec![Value::Null; 9];
        row[8] = Value::Int(7);
        let mut out = Vec::new();
        put_row(&mut out, &columns, &row).unwrap();
        assert_eq!(out, [NBC_ROW, 0xFF, 0x00, 4, 7, 0, 0, 0]);
    }

    #[test]
    fn a_row_that_does_not_fit_leaves_nothing_behind() {
        let mut out = vec![1];
        let error = put_row(&mut out, &[Column::new("n", Type::Int)], &[Value::Null]).unwrap_err();
        assert_eq!(error, "NULL isn't a value of column \"n\" of type int");
        assert_eq!(out, [1]);
    }
}
