//! SQL Server's types and how TYPE_INFO says them (MS-TDS 2.2.5.4 to 2.2.5.6).

use std::fmt;

use crate::tds::failure::Failure;
use crate::tds::wire::{Put, Reader};

/// The collation of all text here: SQL_Latin1_General_CP1_CI_AS, code page 1252.
pub(crate) const COLLATION: [u8; 5] = [0x09, 0x04, 0xD0, 0x00, 0x34];

/// How much a `varchar`, `nvarchar` or `varbinary` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many characters (`nvarchar`) or bytes.
    Limited(u16),
    /// `max`: sent in chunks.
    Max,
}

/// A type, as a column has it or a parameter was sent with.
///
/// The names without `N` are the fixed-length forms, which can't be NULL; those with `N` carry a length with each value
/// and their own size in bytes here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A NULL without a type, as a parameter.
    Null,
    /// `tinyint`.
    TinyInt,
    /// `smallint`.
    SmallInt,
    /// `int`.
    Int,
    /// `bigint`.
    BigInt,
    /// `bit`.
    Bit,
    /// `real`.
    Real,
    /// `float`.
    Float,
    /// `smallmoney`.
    SmallMoney,
    /// `money`.
    Money,
    /// `smalldatetime`.
    SmallDateTime,
    /// `datetime`.
    DateTime,
    /// An integer of 1, 2, 4 or 8 bytes.
    IntN(u8),
    /// `bit`.
    BitN,
    /// A floating-point number of 4 or 8 bytes.
    FloatN(u8),
    /// `smallmoney` in 4 bytes, `money` in 8.
    MoneyN(u8),
    /// `smalldatetime` in 4 bytes, `datetime` in 8.
    DateTimeN(u8),
    /// `decimal(precision, scale)`.
    Decimal(u8, u8),
    /// `numeric(precision, scale)`.
    Numeric(u8, u8),
    /// `uniqueidentifier`.
    Guid,
    /// `date`.
    Date,
    /// `time(scale)`.
    Time(u8),
    /// `datetime2(scale)`.
    DateTime2(u8),
    /// `datetimeoffset(scale)`.
    DateTimeOffset(u8),
    /// `char(n)`.
    Char(u16),
    /// `varchar(n)`.
    VarChar(Length),
    /// `nchar(n)`.
    NChar(u16),
    /// `nvarchar(n)`.
    NVarChar(Length),
    /// `binary(n)`.
    Binary(u16),
    /// `varbinary(n)`.
    VarBinary(Length),
    /// `text`.
    Text,
    /// `ntext`.
    NText,
    /// `image`.
    Image,
    /// `xml`, without a schema.
    Xml,
}

const MAX: u16 = 0xFFFF;

impl Type {
    /// Whether a NULL can be sent in it.
    pub(crate) fn is_nullable(self) -> bool {
        !matches!(
            self,
            Type::TinyInt
                | Type::SmallInt
                | Type::Int
                | Type::BigInt
                | Type::Bit
                | Type::Real
                | Type::Float
                | Type::SmallMoney
                | Type::Money
                | Type::SmallDateTime
                | Type::DateTime
        )
    }

    /// Whether a column of it says its table as well, and each value has a text pointer.
    pub(crate) fn is_long(self) -> bool {
        matches!(self, Type::Text | Type::NText | Type::Image)
    }

    /// The byte of its token.
    fn token(self) -> u8 {
        match self {
            Type::Null => 0x1F,
            Type::Image => 0x22,
            Type::Text => 0x23,
            Type::Guid => 0x24,
            Type::IntN(_) => 0x26,
            Type::Date => 0x28,
            Type::Time(_) => 0x29,
            Type::DateTime2(_) => 0x2A,
            Type::DateTimeOffset(_) => 0x2B,
            Type::TinyInt => 0x30,
            Type::Bit => 0x32,
            Type::SmallInt => 0x34,
            Type::Int => 0x38,
            Type::SmallDateTime => 0x3A,
            Type::Real => 0x3B,
            Type::Money => 0x3C,
            Type::DateTime => 0x3D,
            Type::Float => 0x3E,
            Type::NText => 0x63,
            Type::BitN => 0x68,
            Type::Decimal(..) => 0x6A,
            Type::Numeric(..) => 0x6C,
            Type::FloatN(_) => 0x6D,
            Type::MoneyN(_) => 0x6E,
            Type::DateTimeN(_) => 0x6F,
            Type::SmallMoney => 0x7A,
            Type::BigInt => 0x7F,
            Type::VarBinary(_) => 0xA5,
            Type::VarChar(_) => 0xA7,
            Type::Binary(_) => 0xAD,
            Type::Char(_) => 0xAF,
            Type::NVarChar(_) => 0xE7,
            Type::NChar(_) => 0xEF,
            Type::Xml => 0xF1,
        }
    }

    /// Writes the TYPE_INFO.
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        out.put_u8(self.token());
        match self {
            Type::IntN(size) | Type::FloatN(size) | Type::MoneyN(size) | Type::DateTimeN(size) => {
                out.put_u8(size);
            }
            Type::BitN => out.put_u8(1),
            Type::Guid => out.put_u8(16),
            Type::Decimal(precision, scale) | Type::Numeric(precision, scale) => {
                out.put(&[decimal_size(precision), precision, scale]);
            }
            Type::Time(scale) | Type::DateTime2(scale) | Type::DateTimeOffset(scale) => out.put_u8(scale),
            Type::Binary(length) => out.put_u16(length),
            Type::VarBinary(length) => out.put_u16(n_bytes(length, 1)),
            Type::Char(length) => put_text(out, length),
            Type::VarChar(length) => put_text(out, n_bytes(length, 1)),
            Type::NChar(length) => put_text(out, n_bytes(Length::Limited(length), 2)),
            Type::NVarChar(length) => put_text(out, n_bytes(length, 2)),
            Type::Text | Type::NText => {
                out.put_u32(0x7FFF_FFFF);
                out.put(&COLLATION);
            }
            Type::Image => out.put_u32(0x7FFF_FFFF),
            Type::Xml => out.put_u8(0),
            _ => {}
        }
    }

    /// Reads the TYPE_INFO of a parameter.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Type, Failure> {
        let token = reader.u8()?;
        let fixed = FIXED.iter().find(|fixed| fixed.token() == token);
        if let Some(fixed) = fixed {
            return Ok(*fixed);
        }
        let decoded = match token {
            0x24 => sized(reader, &[16])?.map(|_| Type::Guid),
            0x26 => sized(reader, &[1, 2, 4, 8])?.map(Type::IntN),
            0x68 => sized(reader, &[1])?.map(|_| Type::BitN),
            0x6D => sized(reader, &[4, 8])?.map(Type::FloatN),
            0x6E => sized(reader, &[4, 8])?.map(Type::MoneyN),
            0x6F => sized(reader, &[4, 8])?.map(Type::DateTimeN),
            0x29 => scale(reader)?.map(Type::Time),
            0x2A => scale(reader)?.map(Type::DateTime2),
            0x2B => scale(reader)?.map(Type::DateTimeOffset),
            0x6A => digits(reader)?.map(|(precision, scale)| Type::Decimal(precision, scale)),
            0x6C => digits(reader)?.map(|(precision, scale)| Type::Numeric(precision, scale)),
            _ => decode_long(token, reader)?,
        };
        decoded.ok_or_else(|| Failure::protocol(format!("a parameter whose type {token:#04x} is invalid")))
    }
}

/// The types that are one byte.
const FIXED: &[Type] = &[
    Type::Null,
    Type::Date,
    Type::TinyInt,
    Type::SmallInt,
    Type::Int,
    Type::BigInt,
    Type::Bit,
    Type::Real,
    Type::Float,
    Type::SmallMoney,
    Type::Money,
    Type::SmallDateTime,
    Type::DateTime,
];

/// Texts and bytes.
fn decode_long(token: u8, reader: &mut Reader<'_>) -> Result<Option<Type>, Failure> {
    let decoded = match token {
        0xA5 => length(reader.u16()?, 1).map(Type::VarBinary),
        0xAD => Some(Type::Binary(reader.u16()?)),
        0xA7 => text(reader, 1)?.map(Type::VarChar),
        0xE7 => text(reader, 2)?.map(Type::NVarChar),
        0xAF => text(reader, 1)?.and_then(limited).map(Type::Char),
        0xEF => text(reader, 2)?.and_then(limited).map(Type::NChar),
        0x22 => {
            reader.u32()?;
            Some(Type::Image)
        }
        0x23 | 0x63 => {
            reader.u32()?;
            reader.take(COLLATION.len())?;
            Some(if token == 0x23 { Type::Text } else { Type::NText })
        }
        0xF1 => (reader.u8()? == 0).then_some(Type::Xml),
        _ => None,
    };
    Ok(decoded)
}

fn sized(reader: &mut Reader<'_>, sizes: &[u8]) -> Result<Option<u8>, Failure> {
    let size = reader.u8()?;
    Ok(sizes.contains(&size).then_some(size))
}

fn scale(reader: &mut Reader<'_>) -> Result<Option<u8>, Failure> {
    let scale = reader.u8()?;
    Ok((scale <= 7).then_some(scale))
}

/// Precision and scale, which the server holds to 38 digits.
fn digits(reader: &mut Reader<'_>) -> Result<Option<(u8, u8)>, Failure> {
    let (size, precision, scale) = (reader.u8()?, reader.u8()?, reader.u8()?);
    let valid = (1..=38).contains(&precision) && scale <= precision && size >= decimal_size(precision);
    Ok(valid.then_some((precision, scale)))
}

fn text(reader: &mut Reader<'_>, unit: u16) -> Result<Option<Length>, Failure> {
    let bytes = reader.u16()?;
    reader.take(COLLATION.len())?;
    Ok(length(bytes, unit))
}

/// A length in characters of `unit` bytes. `None` past the 8000 bytes that SQL Server allows.
fn length(bytes: u16, unit: u16) -> Option<Length> {
    match bytes {
        MAX => Some(Length::Max),
        0..=8000 => Some(Length::Limited(bytes / unit)),
        _ => None,
    }
}

fn limited(length: Length) -> Option<u16> {
    match length {
        Length::Limited(length) => Some(length),
        Length::Max => None,
    }
}

fn n_bytes(length: Length, unit: u16) -> u16 {
    match length {
        Length::Limited(length) => length.saturating_mul(unit),
        Length::Max => MAX,
    }
}

fn put_text(out: &mut Vec<u8>, n_bytes: u16) {
    out.put_u16(n_bytes);
    out.put(&COLLATION);
}

/// The bytes of a decimal's value, the one of its sign included.
pub(crate) fn decimal_size(precision: u8) -> u8 {
    match precision {
        0..=9 => 5,
        10..=19 => 9,
        20..=28 => 13,
        _ => 17,
    }
}

/// The bytes of a time of day at a scale.
pub(crate) fn time_size(scale: u8) -> usize {
    match scale {
        0..=2 => 3,
        3..=4 => 4,
        _ => 5,
    }
}

impl fmt::Display for Type {
    /// As in a declaration: `nvarchar(40)`, `varbinary(max)`, `decimal(10,2)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Type::Null => f.write_str("null"),
            Type::TinyInt | Type::IntN(1) => f.write_str("tinyint"),
            Type::SmallInt | Type::IntN(2) => f.write_str("smallint"),
            Type::BigInt | Type::IntN(8) => f.write_str("bigint"),
            Type::Int | Type::IntN(_) => f.write_str("int"),
            Type::Bit | Type::BitN => f.write_str("bit"),
            Type::Real | Type::FloatN(4) => f.write_str("real"),
            Type::Float | Type::FloatN(_) => f.write_str("float"),
            Type::SmallMoney | Type::MoneyN(4) => f.write_str("smallmoney"),
            Type::Money | Type::MoneyN(_) => f.write_str("money"),
            Type::SmallDateTime | Type::DateTimeN(4) => f.write_str("smalldatetime"),
            Type::DateTime | Type::DateTimeN(_) => f.write_str("datetime"),
            Type::Decimal(precision, scale) => write!(f, "decimal({precision},{scale})"),
            Type::Numeric(precision, scale) => write!(f, "numeric({precision},{scale})"),
            Type::Guid => f.write_str("uniqueidentifier"),
            Type::Date => f.write_str("date"),
            Type::Time(scale) => write!(f, "time({scale})"),
            Type::DateTime2(scale) => write!(f, "datetime2({scale})"),
            Type::DateTimeOffset(scale) => write!(f, "datetimeoffset({scale})"),
            Type::Char(length) => write!(f, "char({length})"),
            Type::VarChar(length) => write!(f, "varchar({length})"),
            Type::NChar(length) => write!(f, "nchar({length})"),
            Type::NVarChar(length) => write!(f, "nvarchar({length})"),
            Type::Binary(length) => write!(f, "binary({length})"),
            Type::VarBinary(length) => write!(f, "varbinary({length})"),
            Type::Text => f.write_str("text"),
            Type::NText => f.write_str("ntext"),
            Type::Image => f.write_str("image"),
            Type::Xml => f.write_str("xml"),
        }
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Length::Limited(length) => write!(f, "{length}"),
            Length::Max => f.write_str("max"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_infos_read_as_they_were_written() {
        let types = [
            Type::IntN(8),
            Type::BitN,
            Type::Numeric(38, 10),
            Type::DateTimeOffset(3),
            Type::NVarChar(Length::Limited(4000)),
            Type::VarBinary(Length::Max),
            Type::NText,
            Type::Xml,
        ];
        for expected in types.iter().chain(FIXED) {
            let mut bytes = Vec::new();
            expected.encode(&mut bytes);
            let mut reader = Reader::new(&bytes);
            assert_eq!(Type::decode(&mut reader).unwrap(), *expected);
            assert!(reader.is_empty(), "{expected}");
        }
    }

    #[test]
    fn a_numeric_of_39_digits_is_refused() {
        assert!(Type::decode(&mut Reader::new(&[0x6C, 17, 39, 0])).is_err());
    }
}
