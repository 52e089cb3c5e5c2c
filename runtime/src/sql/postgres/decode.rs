//! Values in the binary forms that PostgreSQL sends, as JSON.

mod array;
mod network;
mod numeric;
mod time;

use std::fmt::Write as _;

use serde_json::Value;
use sqlx::TypeInfo as _;
use sqlx::postgres::{PgTypeInfo, PgTypeKind};

use super::types::oid;
use crate::sql::text;

/// How a type's values are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decoder {
    Bool,
    Int2,
    Int4,
    Int8,
    /// 32 bits without a sign.
    Unsigned4,
    /// 64 bits without a sign.
    Unsigned8,
    Float4,
    Float8,
    Numeric,
    Text,
    Bytes,
    Json,
    Jsonb,
    Uuid,
    Date,
    Time,
    TimeTz,
    Timestamp,
    TimestampTz,
    Interval,
    Inet,
    MacAddress,
    Bits,
    LogPosition,
    RowPosition,
    /// A function's that returns nothing.
    Nothing,
    Array(Box<Decoder>),
}

/// A value isn't in the form that its type has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// How a type's values are read, or what the server must cast them to so that they can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// As they are.
    Direct(Decoder),
    /// Cast to the type of this name, and read so.
    Cast(&'static str, Decoder),
}

/// How the values of a type are read.
pub(super) fn reading(info: &PgTypeInfo) -> Reading {
    if let Some(decoder) = decoder(info) {
        return Reading::Direct(decoder);
    }
    let is_money = |info: &PgTypeInfo| info.oid().is_some_and(|oid| oid.0 == oid::MONEY);
    match info.kind() {
        PgTypeKind::Array(element) if is_money(element) => {
            Reading::Cast("pg_catalog.numeric[]", Decoder::Array(Box::new(Decoder::Numeric)))
        }
        PgTypeKind::Array(_) => Reading::Cast("pg_catalog.text[]", Decoder::Array(Box::new(Decoder::Text))),
        _ if is_money(info) => Reading::Cast("pg_catalog.numeric", Decoder::Numeric),
        _ => Reading::Cast("pg_catalog.text", Decoder::Text),
    }
}

fn decoder(info: &PgTypeInfo) -> Option<Decoder> {
    match info.kind() {
        PgTypeKind::Enum(_) => Some(Decoder::Text),
        PgTypeKind::Domain(base) => decoder(base),
        PgTypeKind::Array(element) => decoder(element).map(|element| Decoder::Array(Box::new(element))),
        PgTypeKind::Simple | PgTypeKind::Pseudo => simple(info),
        PgTypeKind::Composite(_) | PgTypeKind::Range(_) => None,
    }
}

fn simple(info: &PgTypeInfo) -> Option<Decoder> {
    Some(match info.oid()?.0 {
        oid::BOOL => Decoder::Bool,
        oid::INT2 => Decoder::Int2,
        oid::INT4 => Decoder::Int4,
        oid::INT8 => Decoder::Int8,
        oid::OID | oid::XID | oid::CID => Decoder::Unsigned4,
        oid::XID8 => Decoder::Unsigned8,
        oid::FLOAT4 => Decoder::Float4,
        oid::FLOAT8 => Decoder::Float8,
        oid::NUMERIC => Decoder::Numeric,
        oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME | oid::CHAR => Decoder::Text,
        oid::UNKNOWN | oid::XML | oid::REFCURSOR => Decoder::Text,
        oid::BYTEA => Decoder::Bytes,
        oid::JSON => Decoder::Json,
        oid::JSONB => Decoder::Jsonb,
        oid::UUID => Decoder::Uuid,
        oid::DATE => Decoder::Date,
        oid::TIME => Decoder::Time,
        oid::TIMETZ => Decoder::TimeTz,
        oid::TIMESTAMP => Decoder::Timestamp,
        oid::TIMESTAMPTZ => Decoder::TimestampTz,
        oid::INTERVAL => Decoder::Interval,
        oid::INET | oid::CIDR => Decoder::Inet,
        oid::MACADDR | oid::MACADDR8 => Decoder::MacAddress,
        oid::BIT | oid::VARBIT => Decoder::Bits,
        oid::PG_LSN => Decoder::LogPosition,
        oid::TID => Decoder::RowPosition,
        oid::VOID => Decoder::Nothing,
        _ if is_citext(info.name()) => Decoder::Text,
        _ => return None,
    })
}

/// The extension's type has no number of its own; it may be in any schema.
fn is_citext(name: &str) -> bool {
    name == "citext" || name.ends_with(".citext")
}

/// A type's name in the catalog's short form, lower case: `int4`, `timestamptz[]`.
pub(super) fn type_name(info: &PgTypeInfo) -> String {
    match info.oid().map(|oid| oid.0) {
        Some(oid::BPCHAR) => "bpchar".to_owned(),
        Some(oid::BPCHAR_ARRAY) => "bpchar[]".to_owned(),
        Some(oid::CHAR) => "char".to_owned(),
        Some(oid::CHAR_ARRAY) => "char[]".to_owned(),
        Some(number) if number < oid::FIRST_OF_USERS => info.name().to_lowercase(),
        _ => info.name().to_owned(),
    }
}

impl Decoder {
    /// Reads a value that isn't NULL.
    pub(super) fn decode(&self, bytes: &[u8]) -> Result<Value, Malformed> {
        Ok(match self {
            Self::Bool => Value::Bool(fixed::<1>(bytes)? != [0]),
            Self::Int2 => Value::from(i16::from_be_bytes(fixed(bytes)?)),
            Self::Int4 => Value::from(i32::from_be_bytes(fixed(bytes)?)),
            Self::Int8 => text::integer(i64::from_be_bytes(fixed(bytes)?).into()),
            Self::Unsigned4 => Value::from(u32::from_be_bytes(fixed(bytes)?)),
            Self::Unsigned8 => text::integer(u64::from_be_bytes(fixed(bytes)?).into()),
            Self::Float4 => text::float32(f32::from_be_bytes(fixed(bytes)?)),
            Self::Float8 => text::float(f64::from_be_bytes(fixed(bytes)?)),
            Self::Numeric => Value::String(numeric::decode(bytes)?),
            Self::Text => Value::String(utf8(bytes)?.to_owned()),
            Self::Bytes => text::bytes(bytes),
            Self::Json => json(bytes)?,
            Self::Jsonb => json(bytes.strip_prefix(&[1]).ok_or(Malformed)?)?,
            Self::Uuid => Value::String(uuid::Uuid::from_bytes(fixed(bytes)?).hyphenated().to_string()),
            Self::Date => Value::String(time::date(i32::from_be_bytes(fixed(bytes)?))),
            Self::Time => Value::String(text::time_micros(i64::from_be_bytes(fixed(bytes)?))),
            Self::TimeTz => Value::String(time::time_with_zone(bytes)?),
            Self::Timestamp => Value::String(time::timestamp(i64::from_be_bytes(fixed(bytes)?), "")),
            Self::TimestampTz => Value::String(time::timestamp(i64::from_be_bytes(fixed(bytes)?), "Z")),
            Self::Interval => Value::String(time::interval(bytes)?),
            Self::Inet => Value::String(network::inet(bytes)?),
            Self::MacAddress => Value::String(network::mac_address(bytes)),
            Self::Bits => Value::String(bits(bytes)?),
            Self::LogPosition => {
                let position = u64::from_be_bytes(fixed(bytes)?);
                Value::String(format!("{:X}/{:X}", position >> 32, position & 0xffff_ffff))
            }
            Self::RowPosition => Value::String(row_position(bytes)?),
            Self::Nothing => Value::Null,
            Self::Array(element) => array::decode(bytes, element)?,
        })
    }
}

/// Exactly `N` bytes.
fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Malformed> {
    bytes.try_into().map_err(|_| Malformed)
}

/// Takes `N` bytes off the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (first, rest) = bytes.split_first_chunk::<N>().ok_or(Malformed)?;
    *bytes = rest;
    Ok(*first)
}

fn utf8(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed)
}

/// A JSON document; one that is nested deeper, or holds larger numbers, than is read here stays the text that it is.
fn json(bytes: &[u8]) -> Result<Value, Malformed> {
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        Err(_) => Ok(Value::String(utf8(bytes)?.to_owned())),
    }
}

fn bits(mut bytes: &[u8]) -> Result<String, Malformed> {
    let n_bits = usize::try_from(i32::from_be_bytes(take(&mut bytes)?)).map_err(|_| Malformed)?;
    if n_bits.div_ceil(8) != bytes.len() {
        return Err(Malformed);
    }
    let mut text = String::with_capacity(bytes.len() * 8);
    for byte in bytes {
        // Writing into a String can't fail.
        let _ = write!(text, "{byte:08b}");
    }
    text.truncate(n_bits);
    Ok(text)
}

fn row_position(mut bytes: &[u8]) -> Result<String, Malformed> {
    let block = u32::from_be_bytes(take(&mut bytes)?);
    let row = u16::from_be_bytes(fixed(bytes)?);
    Ok(format!("({block},{row})"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sqlx::postgres::types::Oid;

    use super::*;

    #[track_caller]
    fn reads(decoder: &Decoder, bytes: &[u8], expected: &Value) {
        assert_eq!(decoder.decode(bytes).as_ref(), Ok(expected), "{bytes:02x?}");
    }

    #[test]
    fn plain_values() {
        reads(&Decoder::Bool, &[1], &json!(true));
        reads(&Decoder::Int2, &[0xff, 0xff], &json!(-1));
        reads(&Decoder::Int8, &9_007_199_254_740_993_i64.to_be_bytes(), &json!("9007199254740993"));
        reads(&Decoder::Unsigned4, &[0xff; 4], &json!(4_294_967_295_u32));
        reads(&Decoder::Float4, &0.1_f32.to_be_bytes(), &json!(0.1));
        reads(&Decoder::Float8, &f64::INFINITY.to_be_bytes(), &json!("Infinity"));
        reads(&Decoder::Bytes, &[0, 255], &json!("AP8="));
        reads(&Decoder::Bits, &[0, 0, 0, 10, 0b1010_1010, 0b1100_0000], &json!("1010101011"));
        reads(&Decoder::Bits, &[0, 0, 0, 0], &json!(""));
        reads(&Decoder::LogPosition, &[0, 0, 0, 0x16, 0xb3, 0x74, 0xd8, 0x48], &json!("16/B374D848"));
        reads(&Decoder::RowPosition, &[0, 0, 0, 7, 0, 3], &json!("(7,3)"));
        let uuid =
            [0xa0, 0xee, 0xbc, 0x99, 0x9c, 0x0b, 0x4e, 0xf8, 0xbb, 0x6d, 0x6b, 0xb9, 0xbd, 0x38, 0x0a, 0x11];
        reads(&Decoder::Uuid, &uuid, &json!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"));
    }

    #[test]
    fn json_that_cannot_be_read_stays_text() {
        reads(&Decoder::Json, br#"{"b": 1, "a": 18446744073709551615}"#, &json!({"b": 1, "a": u64::MAX}));
        reads(&Decoder::Jsonb, b"\x01[null]", &json!([null]));
        reads(&Decoder::Json, b"1e999", &json!("1e999"));
        let deep = "[".repeat(500) + &"]".repeat(500);
        reads(&Decoder::Json, deep.as_bytes(), &json!(deep));
        assert_eq!(Decoder::Jsonb.decode(b"\x02[]"), Err(Malformed));
    }

    #[test]
    fn what_has_another_form_is_malformed() {
        for (decoder, bytes) in [
            (Decoder::Int4, &[0, 0, 1][..]),
            (Decoder::Text, &[0xff]),
            (Decoder::Uuid, &[0; 15]),
            (Decoder::Bits, &[0, 0, 0, 9, 0xff]),
            (Decoder::RowPosition, &[0; 5]),
        ] {
            assert_eq!(decoder.decode(bytes), Err(Malformed), "{decoder:?}");
        }
    }

    #[test]
    fn types_are_read_directly_or_cast() {
        // sqlx knows the names of these by their numbers alone once a connection has described them; those that it
        // knows by heart are declared by number here and keep the simple kind.
        assert_eq!(simple(&PgTypeInfo::with_oid(Oid(oid::UUID))), Some(Decoder::Uuid));
        assert_eq!(simple(&PgTypeInfo::with_oid(Oid(oid::MONEY))), None);
        assert!(is_citext("citext") && is_citext("extensions.citext") && !is_citext("mycitext"));
    }
}
