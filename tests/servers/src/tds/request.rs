//! What clients ask for after their login, decoded: batches, procedure calls, transaction manager requests.

use crate::tds::decode::take_value;
use crate::tds::failure::Failure;
use crate::tds::packet::{Message, kind};
use crate::tds::types::Type;
use crate::tds::value::Value;
use crate::tds::wire::{Reader, utf16};

/// One request of a client.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// A SQL batch.
    Batch {
        /// Its text.
        sql: String,
    },
    /// A call of a procedure.
    Rpc {
        /// Its name, as sent or after its number: `sp_executesql`.
        procedure: String,
        /// For `sp_executesql` the statement, its first parameter.
        sql: Option<String>,
        /// For `sp_executesql` the declarations of the parameters, its second: `@P1 int,@P2 nvarchar(4000)`.
        declarations: Option<String>,
        /// The other parameters, in the order in which they were sent.
        parameters: Vec<Parameter>,
    },
    /// The client took back the request that was being answered, or one that was answered already.
    Attention,
    /// A transaction, begun or ended without SQL.
    TransactionManager(TransactionRequest),
}

impl Request {
    /// The SQL of a batch or an `sp_executesql`.
    #[must_use]
    pub fn sql(&self) -> Option<&str> {
        match self {
            Request::Batch { sql } => Some(sql),
            Request::Rpc { sql, .. } => sql.as_deref(),
            _ => None,
        }
    }

    /// The parameters of a procedure call; none for other requests.
    #[must_use]
    pub fn parameters(&self) -> &[Parameter] {
        match self {
            Request::Rpc { parameters, .. } => parameters,
            _ => &[],
        }
    }
}

/// One parameter of a procedure call.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name, with the `@`; empty where it was passed by position.
    pub name: String,
    /// The type that it was sent in, which can differ from the declared one.
    pub r#type: Type,
    /// What was sent.
    pub value: Value,
    /// Whether it is an output parameter.
    pub output: bool,
}

/// What a transaction manager request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionRequest {
    /// Begin; with the isolation level's number, 0 for the session's own.
    Begin(u8),
    /// Commit.
    Commit,
    /// Roll back.
    Rollback,
    /// Set a savepoint.
    Save,
}

/// A request and the transaction that its sender believes to be in.
pub(crate) struct Decoded {
    pub(crate) request: Request,
    pub(crate) transaction: u64,
}

const HEADER_TRANSACTION: u16 = 2;

/// Decodes a message that came after the login.
pub(crate) fn decode(message: &Message) -> Result<Decoded, Failure> {
    let mut reader = Reader::new(&message.payload);
    if message.kind == kind::ATTENTION {
        return Ok(Decoded { request: Request::Attention, transaction: 0 });
    }
    let transaction = all_headers(&mut reader)?;
    let request = match message.kind {
        kind::BATCH => Request::Batch { sql: utf16(reader.rest())? },
        kind::RPC => rpc(&mut reader)?,
        kind::TRANSACTION_MANAGER => Request::TransactionManager(transaction_manager(&mut reader)?),
        kind => return Err(Failure::protocol(format!("a message of type {kind} after the login"))),
    };
    Ok(Decoded { request, transaction })
}

/// ALL_HEADERS (MS-TDS 2.2.5.3): the transaction's descriptor has to be among them.
fn all_headers(reader: &mut Reader<'_>) -> Result<u64, Failure> {
    let total = reader.length32()?;
    let mut headers = Reader::new(reader.take(total.saturating_sub(4))?);
    let mut transaction = None;
    while !headers.is_empty() {
        let length = headers.length32()?;
        let mut header = Reader::new(headers.take(length.saturating_sub(4))?);
        if header.u16()? == HEADER_TRANSACTION {
            transaction = Some(header.u64()?);
            let n_outstanding = header.u32()?;
            if n_outstanding != 1 {
                return Err(Failure::protocol(format!("{n_outstanding} outstanding requests without MARS")));
            }
        }
    }
    transaction.ok_or_else(|| Failure::protocol("a request without a transaction descriptor".to_owned()))
}

/// The procedures that have numbers, from 1.
const NUMBERED: &[&str] = &[
    "sp_cursor",
    "sp_cursoropen",
    "sp_cursorprepare",
    "sp_cursorexecute",
    "sp_cursorprepexec",
    "sp_cursorunprepare",
    "sp_cursorfetch",
    "sp_cursoroption",
    "sp_cursorclose",
    "sp_executesql",
    "sp_prepare",
    "sp_execute",
    "sp_prepexec",
    "sp_prepexecrpc",
    "sp_unprepare",
];

fn rpc(reader: &mut Reader<'_>) -> Result<Request, Failure> {
    let procedure = procedure(reader)?;
    let _options = reader.u16()?;
    let mut parameters = Vec::new();
    while let Some(first) = reader.peek() {
        if matches!(first, 0x80 | 0xFE | 0xFF) {
            return Err(Failure::protocol("several procedure calls in one message".to_owned()));
        }
        parameters.push(parameter(reader)?);
    }
    if !procedure.eq_ignore_ascii_case("sp_executesql") {
        return Ok(Request::Rpc { procedure, sql: None, declarations: None, parameters });
    }
    let mut parameters = parameters.into_iter();
    let sql = leading_text(parameters.next(), "statement")?;
    if sql.is_none() {
        return Err(Failure::protocol("sp_executesql without a statement".to_owned()));
    }
    let declarations = leading_text(parameters.next(), "parameter declarations")?;
    Ok(Request::Rpc { procedure, sql, declarations, parameters: parameters.collect() })
}

fn procedure(reader: &mut Reader<'_>) -> Result<String, Failure> {
    let units = reader.u16()?;
    if units != 0xFFFF {
        return reader.utf16(units.into());
    }
    let number = reader.u16()?;
    let name = usize::from(number).checked_sub(1).and_then(|index| NUMBERED.get(index));
    name.map(|name| (*name).to_owned())
        .ok_or_else(|| Failure::protocol(format!("a call of procedure {number}, which doesn't exist")))
}

fn parameter(reader: &mut Reader<'_>) -> Result<Parameter, Failure> {
    let name = reader.b_varchar()?;
    let output = reader.u8()? & 1 != 0;
    let r#type = Type::decode(reader)?;
    let value = take_value(reader, r#type)?;
    Ok(Parameter { name, r#type, value, output })
}

/// One of the first two parameters of `sp_executesql`, which have to be Unicode text (error 214 on SQL Server).
fn leading_text(parameter: Option<Parameter>, what: &str) -> Result<Option<String>, Failure> {
    match parameter {
        None => Ok(None),
        Some(Parameter { r#type: Type::NVarChar(_) | Type::NChar(_) | Type::NText, value, .. }) => {
            match value {
                Value::Text(text) => Ok(Some(text)),
                _ => Ok(None),
            }
        }
        Some(parameter) => Err(Failure::protocol(format!(
            "sp_executesql whose {what} is of type {}, not nvarchar",
            parameter.r#type
        ))),
    }
}

fn transaction_manager(reader: &mut Reader<'_>) -> Result<TransactionRequest, Failure> {
    let request = match reader.u16()? {
        5 => TransactionRequest::Begin(reader.u8()?),
        7 => TransactionRequest::Commit,
        8 => TransactionRequest::Rollback,
        9 => TransactionRequest::Save,
        number => return Err(Failure::protocol(format!("transaction manager request {number}"))),
    };
    let length = usize::from(reader.u8()?);
    reader.take(length)?;
    Ok(request)
}

/// The names that the declarations of an `sp_executesql` declare, each with its `@`.
pub(crate) fn declared_names(declarations: &str) -> Vec<String> {
    let mut depth = 0_u32;
    let parts = declarations.split(|char| {
        match char {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        char == ',' && depth == 0
    });
    parts.filter_map(|part| part.split_whitespace().next()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_split_outside_of_parentheses() {
        assert_eq!(declared_names("@P1 numeric(10,2),@P2 nvarchar(max), @x int"), ["@P1", "@P2", "@x"]);
        assert_eq!(declared_names(""), [""; 0]);
    }

    #[test]
    fn a_request_without_its_transaction_is_refused() {
        let message = Message { kind: kind::BATCH, payload: vec![4, 0, 0, 0, b'X', 0] };
        assert!(decode(&message).is_err());
    }
}
