//! Writing values into rows, each in the form of its column's type.

use crate::tds::calendar::{DAYS_TO_1900, TICKS_PER_DAY, TICKS_PER_SECOND};
use crate::tds::code_page;
use crate::tds::types::{Length, Type, decimal_size, time_size};
use crate::tds::value::Value;
use crate::tds::wire::{Put, utf16_bytes};

const PLP_NULL: u64 = u64::MAX;
const PLP_UNKNOWN_LENGTH: u64 = u64::MAX - 1;

/// The bytes of one chunk of a `max` value: small, so that clients meet several.
const PLP_CHUNK: usize = 2000;

/// Writes a value. `None` when the type can't hold it; what was written then is to be thrown away.
pub(crate) fn put_value(out: &mut Vec<u8>, r#type: Type, value: &Value) -> Option<()> {
    if *value == Value::Null {
        return put_null(out, r#type);
    }
    match r#type {
        Type::Null => None,
        Type::TinyInt | Type::SmallInt | Type::Int | Type::BigInt | Type::Bit => {
            out.put(&int_bytes(fixed_size(r#type), value)?);
            Some(())
        }
        Type::IntN(size) => put_sized(out, &int_bytes(size, value)?),
        Type::BitN => put_sized(out, &int_bytes(1, value)?),
        Type::Real | Type::Float => {
            out.put(&float_bytes(fixed_size(r#type), value)?);
            Some(())
        }
        Type::FloatN(size) => put_sized(out, &float_bytes(size, value)?),
        Type::SmallMoney | Type::Money => {
            out.put(&money_bytes(fixed_size(r#type), value)?);
            Some(())
        }
        Type::MoneyN(size) => put_sized(out, &money_bytes(size, value)?),
        Type::SmallDateTime | Type::DateTime => {
            out.put(&datetime_bytes(fixed_size(r#type), value)?);
            Some(())
        }
        Type::DateTimeN(size) => put_sized(out, &datetime_bytes(size, value)?),
        Type::Decimal(precision, scale) | Type::Numeric(precision, scale) => {
            put_sized(out, &decimal_bytes(precision, scale, value)?)
        }
        Type::Guid => put_sized(out, &guid_bytes(value)?),
        Type::Date | Type::Time(_) | Type::DateTime2(_) | Type::DateTimeOffset(_) => {
            put_sized(out, &moment_bytes(r#type, value)?)
        }
        Type::Char(_) | Type::VarChar(_) | Type::NChar(_) | Type::NVarChar(_) => put_text(out, r#type, value),
        Type::Binary(length) => {
            let mut bytes = as_bytes(value)?.to_vec();
            let n_missing = usize::from(length).checked_sub(bytes.len())?;
            bytes.extend(std::iter::repeat_n(0, n_missing));
            put_limited(out, &bytes, length)
        }
        Type::VarBinary(length) => put_varying(out, as_bytes(value)?, length, 1),
        Type::Text => put_pointed(out, &code_page::encode(as_text(value)?)),
        Type::NText => put_pointed(out, &utf16_bytes(as_text(value)?)),
        Type::Image => put_pointed(out, as_bytes(value)?),
        Type::Xml => put_chunks(out, &utf16_bytes(as_text(value)?)),
    }
}

fn put_null(out: &mut Vec<u8>, r#type: Type) -> Option<()> {
    match r#type {
        _ if !r#type.is_nullable() => return None,
        Type::VarChar(Length::Max)
        | Type::NVarChar(Length::Max)
        | Type::VarBinary(Length::Max)
        | Type::Xml => {
            out.put_u64(PLP_NULL);
        }
        Type::Char(_)
        | Type::VarChar(_)
        | Type::NChar(_)
        | Type::NVarChar(_)
        | Type::Binary(_)
        | Type::VarBinary(_) => out.put_u16(0xFFFF),
        Type::Null => {}
        _ => out.put_u8(0),
    }
    Some(())
}

fn fixed_size(r#type: Type) -> u8 {
    match r#type {
        Type::TinyInt | Type::Bit => 1,
        Type::SmallInt => 2,
        Type::Int | Type::Real | Type::SmallMoney | Type::SmallDateTime => 4,
        _ => 8,
    }
}

/// Bytes after their count in one byte.
fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    out.put_u8(u8::try_from(bytes.len()).ok()?);
    out.put(bytes);
    Some(())
}

/// Bytes after their count in two bytes, of which there may be `length`.
fn put_limited(out: &mut Vec<u8>, bytes: &[u8], length: u16) -> Option<()> {
    let n_bytes = u16::try_from(bytes.len()).ok().filter(|n_bytes| *n_bytes <= length)?;
    out.put_u16(n_bytes);
    out.put(bytes);
    Some(())
}

fn put_varying(out: &mut Vec<u8>, bytes: &[u8], length: Length, unit: u16) -> Option<()> {
    match length {
        Length::Limited(length) => put_limited(out, bytes, length.saturating_mul(unit)),
        Length::Max => put_chunks(out, bytes),
    }
}

/// PLP: the length, where it is told, then chunks up to an empty one. Odd lengths aren't told, so that clients meet both
/// forms.
fn put_chunks(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    let n_units = bytes.len() / 2;
    out.put_u64(if n_units.is_multiple_of(2) {
        u64::try_from(bytes.len()).ok()?
    } else {
        PLP_UNKNOWN_LENGTH
    });
    for chunk in bytes.chunks(PLP_CHUNK) {
        out.put_u32(u32::try_from(chunk.len()).ok()?);
        out.put(chunk);
    }
    out.put_u32(0);
    Some(())
}

/// A value behind a text pointer and a timestamp, whose contents say nothing to clients.
fn put_pointed(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    out.put_u8(16);
    out.put(&[0x55; 16]);
    out.put(&[0x66; 8]);
    out.put_u32(u32::try_from(bytes.len()).ok()?);
    out.put(bytes);
    Some(())
}

fn put_text(out: &mut Vec<u8>, r#type: Type, value: &Value) -> Option<()> {
    let text = as_text(value)?;
    match r#type {
        Type::Char(length) => {
            let padded = format!("{text:<width$}", width = usize::from(length));
            put_limited(out, &code_page::encode(&padded), length)
        }
        Type::VarChar(length) => put_varying(out, &code_page::encode(text), length, 1),
        Type::NChar(length) => {
            let n_missing = usize::from(length).checked_sub(text.encode_utf16().count())?;
            put_limited(out, &utf16_bytes(&format!("{text}{}", " ".repeat(n_missing))), length * 2)
        }
        Type::NVarChar(length) => put_varying(out, &utf16_bytes(text), length, 2),
        _ => None,
    }
}

fn as_text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

fn as_bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}

/// The low `size` bytes of a number that fits into them.
fn low_bytes(number: i64, size: u8) -> Vec<u8> {
    number.to_le_bytes()[..usize::from(size)].to_vec()
}

fn int_bytes(size: u8, value: &Value) -> Option<Vec<u8>> {
    let (number, range) = match (value, size) {
        (Value::Bit(bit), 1) => (i64::from(*bit), 0..=1),
        (Value::Int(int), 1) => (*int, 0..=255),
        (Value::Int(int), 2) => (*int, i64::from(i16::MIN)..=i64::from(i16::MAX)),
        (Value::Int(int), 4) => (*int, i64::from(i32::MIN)..=i64::from(i32::MAX)),
        (Value::Int(int), _) => (*int, i64::MIN..=i64::MAX),
        _ => return None,
    };
    range.contains(&number).then(|| low_bytes(number, size))
}

fn float_bytes(size: u8, value: &Value) -> Option<Vec<u8>> {
    let Value::Float(float) = value else { return None };
    #[expect(clippy::cast_possible_truncation, reason = "a `real` column rounds, as the server does")]
    let single = *float as f32;
    Some(if size == 4 { single.to_le_bytes().to_vec() } else { float.to_le_bytes().to_vec() })
}

fn money_bytes(size: u8, value: &Value) -> Option<Vec<u8>> {
    let Value::Money(amount) = value else { return None };
    if size == 4 {
        return Some(i32::try_from(*amount).ok()?.to_le_bytes().to_vec());
    }
    // The two halves are little-endian each, the high one first.
    let bytes = amount.to_le_bytes();
    Some([&bytes[4..], &bytes[..4]].concat())
}

/// `smalldatetime` counts minutes, `datetime` three-hundredths of a second.
fn datetime_bytes(size: u8, value: &Value) -> Option<Vec<u8>> {
    let Value::DateTime { days, ticks } = value else { return None };
    if size == 4 {
        let days = u16::try_from(days.checked_sub(DAYS_TO_1900)?).ok()?;
        let minutes = u16::try_from(ticks / (60 * TICKS_PER_SECOND)).ok()?;
        return Some([days.to_le_bytes(), minutes.to_le_bytes()].concat());
    }
    let days = i64::from(*days) - i64::from(DAYS_TO_1900);
    let fragments = (ticks * 300 + TICKS_PER_SECOND / 2) / TICKS_PER_SECOND;
    Some([low_bytes(days, 4), low_bytes(i64::try_from(fragments).ok()?, 4)].concat())
}

fn decimal_bytes(precision: u8, scale: u8, value: &Value) -> Option<Vec<u8>> {
    let Value::Decimal { value, scale: given } = value else { return None };
    let scaled = value.checked_mul(10_i128.checked_pow(u32::from(scale.checked_sub(*given)?))?)?;
    if scaled.unsigned_abs() >= 10_u128.checked_pow(u32::from(precision))? {
        return None;
    }
    let magnitude = scaled.unsigned_abs().to_le_bytes();
    let n_bytes = usize::from(decimal_size(precision)) - 1;
    Some([&[u8::from(scaled >= 0)], &magnitude[..n_bytes]].concat())
}

/// The first three groups of a GUID are little-endian numbers.
fn guid_bytes(value: &Value) -> Option<Vec<u8>> {
    let Value::Guid(guid) = value else { return None };
    Some(swap_guid(*guid).to_vec())
}

pub(crate) fn swap_guid(mut guid: [u8; 16]) -> [u8; 16] {
    guid[..4].reverse();
    guid[4..6].reverse();
    guid[6..8].reverse();
    guid
}

fn moment_bytes(r#type: Type, value: &Value) -> Option<Vec<u8>> {
    match (r#type, value) {
        (Type::Date, Value::Date(days)) => Some(low_bytes((*days).into(), 3)),
        (Type::Time(scale), Value::Time(ticks)) => time_bytes(scale, *ticks),
        (Type::DateTime2(scale), Value::DateTime { days, ticks }) => {
            Some([time_bytes(scale, *ticks)?, low_bytes((*days).into(), 3)].concat())
        }
        (Type::DateTimeOffset(scale), Value::DateTimeOffset { days, ticks, offset }) => {
            let date = low_bytes((*days).into(), 3);
            Some([time_bytes(scale, *ticks)?, date, offset.to_le_bytes().to_vec()].concat())
        }
        _ => None,
    }
}

/// What is below the scale is cut off.
fn time_bytes(scale: u8, ticks: u64) -> Option<Vec<u8>> {
    if scale > 7 || ticks >= TICKS_PER_DAY {
        return None;
    }
    let increments = ticks / 10_u64.pow(u32::from(7 - scale));
    Some(increments.to_le_bytes()[..time_size(scale)].to_vec())
}
