//! Reading the values of parameters, each in the form of its type.

use crate::tds::calendar::{DAYS_TO_1900, TICKS_PER_DAY, TICKS_PER_SECOND};
use crate::tds::code_page;
use crate::tds::encode::swap_guid;
use crate::tds::failure::Failure;
use crate::tds::types::{Length, Type, time_size};
use crate::tds::value::Value;
use crate::tds::wire::{Reader, utf16};

const PLP_NULL: u64 = u64::MAX;
const PLP_UNKNOWN_LENGTH: u64 = u64::MAX - 1;

/// Reads one value of this type.
pub(crate) fn take_value(reader: &mut Reader<'_>, r#type: Type) -> Result<Value, Failure> {
    match take_bytes(reader, r#type)? {
        None => Ok(Value::Null),
        Some(bytes) => read_value(&bytes, r#type)?.ok_or_else(|| {
            Failure::protocol(format!("{} bytes that aren't a value of type {}", bytes.len(), r#type))
        }),
    }
}

/// The bytes of the value, out of the framing of its type. `None` for NULL.
fn take_bytes(reader: &mut Reader<'_>, r#type: Type) -> Result<Option<Vec<u8>>, Failure> {
    let fixed = match r#type {
        Type::Null => return Ok(None),
        Type::TinyInt | Type::Bit => 1,
        Type::SmallInt => 2,
        Type::Int | Type::Real | Type::SmallMoney | Type::SmallDateTime => 4,
        Type::BigInt | Type::Float | Type::Money | Type::DateTime => 8,
        Type::VarChar(Length::Max)
        | Type::NVarChar(Length::Max)
        | Type::VarBinary(Length::Max)
        | Type::Xml => {
            return take_chunks(reader);
        }
        Type::Char(length) | Type::Binary(length) => return take_limited(reader, length),
        Type::NChar(length) => return take_limited(reader, length * 2),
        Type::VarChar(Length::Limited(length)) | Type::VarBinary(Length::Limited(length)) => {
            return take_limited(reader, length);
        }
        Type::NVarChar(Length::Limited(length)) => return take_limited(reader, length * 2),
        Type::Text | Type::NText | Type::Image => return take_long(reader),
        _ => return take_sized(reader),
    };
    Ok(Some(reader.take(fixed)?.to_vec()))
}

fn take_sized(reader: &mut Reader<'_>) -> Result<Option<Vec<u8>>, Failure> {
    match reader.u8()? {
        0 => Ok(None),
        length => Ok(Some(reader.take(length.into())?.to_vec())),
    }
}

fn take_limited(reader: &mut Reader<'_>, limit: u16) -> Result<Option<Vec<u8>>, Failure> {
    match reader.u16()? {
        0xFFFF => Ok(None),
        length if length > limit => {
            Err(Failure::protocol(format!("a value of {length} bytes in a type of {limit}")))
        }
        length => Ok(Some(reader.take(length.into())?.to_vec())),
    }
}

fn take_long(reader: &mut Reader<'_>) -> Result<Option<Vec<u8>>, Failure> {
    match reader.u32()? {
        u32::MAX => Ok(None),
        length => {
            let length = usize::try_from(length)
                .map_err(|_| Failure::protocol(format!("a value of {length} bytes")))?;
            Ok(Some(reader.take(length)?.to_vec()))
        }
    }
}

fn take_chunks(reader: &mut Reader<'_>) -> Result<Option<Vec<u8>>, Failure> {
    let told = reader.u64()?;
    if told == PLP_NULL {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    loop {
        match reader.length32()? {
            0 => break,
            length => bytes.extend_from_slice(reader.take(length)?),
        }
    }
    if told != PLP_UNKNOWN_LENGTH && usize::try_from(told) != Ok(bytes.len()) {
        let held = bytes.len();
        return Err(Failure::protocol(format!("a value that says {told} bytes and has {held}")));
    }
    Ok(Some(bytes))
}

/// `Ok(None)` when the bytes aren't such a value.
fn read_value(bytes: &[u8], r#type: Type) -> Result<Option<Value>, Failure> {
    let value = match r#type {
        Type::Null => None,
        Type::TinyInt | Type::SmallInt | Type::Int | Type::BigInt | Type::IntN(_) => read_int(bytes),
        Type::Bit | Type::BitN => match bytes {
            [bit @ 0..=1] => Some(Value::Bit(*bit == 1)),
            _ => None,
        },
        Type::Real | Type::Float | Type::FloatN(_) => read_float(bytes),
        Type::SmallMoney | Type::Money | Type::MoneyN(_) => read_money(bytes),
        Type::SmallDateTime | Type::DateTime | Type::DateTimeN(_) => read_datetime(bytes),
        Type::Decimal(precision, scale) | Type::Numeric(precision, scale) => {
            read_decimal(bytes, precision, scale)
        }
        Type::Guid => bytes.try_into().ok().map(|guid| Value::Guid(swap_guid(guid))),
        Type::Date => read_days(bytes).map(Value::Date),
        Type::Time(scale) => read_ticks(bytes, scale).map(Value::Time),
        Type::DateTime2(scale) => read_moment(bytes, scale),
        Type::DateTimeOffset(scale) => read_offset_moment(bytes, scale),
        Type::Char(_) | Type::VarChar(_) | Type::Text => Some(Value::Text(code_page::decode(bytes))),
        Type::NChar(_) | Type::NVarChar(_) | Type::NText | Type::Xml => Some(Value::Text(utf16(bytes)?)),
        Type::Binary(_) | Type::VarBinary(_) | Type::Image => Some(Value::Bytes(bytes.to_vec())),
    };
    Ok(value)
}

/// A `tinyint` has no sign, the longer ones do.
fn read_int(bytes: &[u8]) -> Option<Value> {
    let int = match *bytes {
        [byte] => i64::from(byte),
        [a, b] => i64::from(i16::from_le_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
        _ => i64::from_le_bytes(bytes.try_into().ok()?),
    };
    Some(Value::Int(int))
}

fn read_float(bytes: &[u8]) -> Option<Value> {
    let float = match *bytes {
        [a, b, c, d] => f64::from(f32::from_le_bytes([a, b, c, d])),
        _ => f64::from_le_bytes(bytes.try_into().ok()?),
    };
    Some(Value::Float(float))
}

fn read_money(bytes: &[u8]) -> Option<Value> {
    let amount = match *bytes {
        [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
        [e, f, g, h, a, b, c, d] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => return None,
    };
    Some(Value::Money(amount))
}

fn read_datetime(bytes: &[u8]) -> Option<Value> {
    match *bytes {
        [a, b, c, d] => {
            let days = u32::from(u16::from_le_bytes([a, b])) + DAYS_TO_1900;
            let minutes = u64::from(u16::from_le_bytes([c, d]));
            in_day(days, minutes * 60 * TICKS_PER_SECOND)
        }
        [a, b, c, d, e, f, g, h] => {
            let days = DAYS_TO_1900.checked_add_signed(i32::from_le_bytes([a, b, c, d]))?;
            let fragments = u64::from(u32::from_le_bytes([e, f, g, h]));
            in_day(days, (fragments * TICKS_PER_SECOND + 150) / 300)
        }
        _ => None,
    }
}

fn in_day(days: u32, ticks: u64) -> Option<Value> {
    (ticks < TICKS_PER_DAY).then_some(Value::DateTime { days, ticks })
}

fn read_decimal(bytes: &[u8], precision: u8, scale: u8) -> Option<Value> {
    let (sign, magnitude) = bytes.split_first()?;
    let mut all = [0; 16];
    all.get_mut(..magnitude.len())?.copy_from_slice(magnitude);
    let magnitude = u128::from_le_bytes(all);
    let value = i128::try_from(magnitude).ok().filter(|_| magnitude < 10_u128.pow(precision.into()))?;
    match sign {
        0 => Some(Value::Decimal { value: -value, scale }),
        1 => Some(Value::Decimal { value, scale }),
        _ => None,
    }
}

/// Days that `date` can hold: up to 9999-12-31.
fn read_days(bytes: &[u8]) -> Option<u32> {
    match *bytes {
        [a, b, c] => Some(u32::from_le_bytes([a, b, c, 0])).filter(|days| *days <= 3_652_058),
        _ => None,
    }
}

fn read_ticks(bytes: &[u8], scale: u8) -> Option<u64> {
    let mut all = [0; 8];
    let increments = all.get_mut(..bytes.len()).filter(|_| bytes.len() == time_size(scale))?;
    increments.copy_from_slice(bytes);
    let ticks = u64::from_le_bytes(all) * 10_u64.pow(u32::from(7 - scale));
    (ticks < TICKS_PER_DAY).then_some(ticks)
}

fn read_moment(bytes: &[u8], scale: u8) -> Option<Value> {
    let (time, date) = bytes.split_at_checked(time_size(scale))?;
    Some(Value::DateTime { days: read_days(date)?, ticks: read_ticks(time, scale)? })
}

fn read_offset_moment(bytes: &[u8], scale: u8) -> Option<Value> {
    let (moment, offset) = bytes.split_last_chunk::<2>()?;
    let offset = i16::from_le_bytes(*offset);
    match read_moment(moment, scale)? {
        Value::DateTime { days, ticks } if offset.abs() <= 14 * 60 => {
            Some(Value::DateTimeOffset { days, ticks, offset })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tds::encode::put_value;

    /// Values that read as they were written, in types that rows and parameters frame alike.
    #[test]
    fn values_read_as_they_were_written() {
        let cases = [
            (Type::IntN(1), Value::Int(255)),
            (Type::IntN(8), Value::Int(i64::MIN)),
            (Type::FloatN(4), Value::Float(-1.5)),
            (Type::MoneyN(8), Value::Money(i64::MIN)),
            (Type::DateTimeN(8), Value::datetime("1753-01-01 00:00:00")),
            (Type::DateTimeN(4), Value::datetime("2079-06-06 23:59:00")),
            (Type::Decimal(38, 2), Value::decimal("-999999999999999999999999999999999999.99")),
            (Type::Guid, Value::guid("6f9619ff-8b86-d011-b42d-00c04fc964ff")),
            (Type::Date, Value::date("9999-12-31")),
            (Type::Time(0), Value::time("23:59:59")),
            (Type::DateTime2(7), Value::datetime("2024-02-29 23:59:59.9999999")),
            (Type::DateTimeOffset(3), Value::datetimeoffset("2024-02-29 12:00:00.125 -08:00")),
            (Type::VarChar(Length::Limited(10)), Value::from("é€")),
            (Type::NVarChar(Length::Max), Value::from("🙂".repeat(3000))),
            (Type::VarBinary(Length::Max), Value::Bytes(vec![])),
        ];
        for (declared, value) in cases {
            let mut bytes = Vec::new();
            put_value(&mut bytes, declared, &value).unwrap();
            put_value(&mut bytes, declared, &Value::Null).unwrap();
            let mut reader = Reader::new(&bytes);
            assert_eq!(take_value(&mut reader, declared).unwrap(), value, "{declared}");
            assert_eq!(take_value(&mut reader, declared).unwrap(), Value::Null, "{declared}");
            assert!(reader.is_empty(), "{declared}");
        }
    }

    #[test]
    fn what_a_type_cannot_hold_is_not_written() {
        let cases = [
            (Type::IntN(4), Value::Int(1 << 40)),
            (Type::Int, Value::Null),
            (Type::Decimal(4, 2), Value::decimal("100.00")),
            (Type::NVarChar(Length::Limited(2)), Value::from("abc")),
            (Type::Date, Value::from("2024-01-01")),
        ];
        for (declared, value) in cases {
            assert_eq!(put_value(&mut Vec::new(), declared, &value), None, "{declared}");
        }
    }
}
