//! Values of SQL Server's types: what parameters hold and rows are made of.

use std::fmt;

use crate::tds::calendar::{
    date_text, offset_text, parse_date, parse_datetime, parse_offset, parse_time, shift, time_text,
};

/// One value. Which of SQL Server's types it has is said by the [`Type`](crate::tds::Type) beside it: an `Int` is a
/// `tinyint` as well as a `bigint`, a `Text` a `char(3)` as well as `xml`.
///
/// `Display` gives its plain text: `NULL`, `1`, `-12.50`, `2024-02-29 12:34:56.5`, bytes as `0x00FF`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL, of any type.
    Null,
    /// `bit`.
    Bit(bool),
    /// `tinyint`, `smallint`, `int`, `bigint`.
    Int(i64),
    /// `real`, `float`.
    Float(f64),
    /// `decimal`, `numeric`: `value` × 10^−`scale`.
    Decimal {
        /// All the digits, as one number.
        value: i128,
        /// How many of them are behind the point.
        scale: u8,
    },
    /// `smallmoney`, `money`: ten-thousandths.
    Money(i64),
    /// `char`, `varchar`, `nchar`, `nvarchar`, `text`, `ntext`, `xml`.
    Text(String),
    /// `binary`, `varbinary`, `image`.
    Bytes(Vec<u8>),
    /// `uniqueidentifier`, in the order in which it is written out.
    Guid([u8; 16]),
    /// `date`: days since 0001-01-01.
    Date(u32),
    /// `time`: 100 ns since midnight.
    Time(u64),
    /// `datetime2`, `datetime`, `smalldatetime`.
    DateTime {
        /// Days since 0001-01-01.
        days: u32,
        /// 100 ns since midnight.
        ticks: u64,
    },
    /// `datetimeoffset`.
    DateTimeOffset {
        /// Days since 0001-01-01, in UTC.
        days: u32,
        /// 100 ns since midnight, in UTC.
        ticks: u64,
        /// The offset of local time, in minutes.
        offset: i16,
    },
}

/// What a literal in a test has to be; the test is wrong otherwise.
fn literal<T>(parsed: Option<T>, text: &str, form: &str) -> T {
    parsed.unwrap_or_else(|| panic!("{text:?} isn't {form}"))
}

impl Value {
    /// A decimal from text such as `-12.50`, whose scale is the number of digits behind the point.
    ///
    /// # Panics
    ///
    /// When the text isn't a decimal of at most 38 digits; so with its siblings.
    #[must_use]
    pub fn decimal(text: &str) -> Value {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let value = format!("{whole}{fraction}").parse().ok();
        let scale = u8::try_from(fraction.len()).ok().filter(|scale| *scale <= 38);
        Value::Decimal {
            value: literal(value, text, "a decimal"),
            scale: literal(scale, text, "a decimal of at most 38 digits"),
        }
    }

    /// An amount from text such as `12.5`, with at most four digits behind the point.
    ///
    /// # Panics
    ///
    /// When the text isn't one.
    #[must_use]
    pub fn money(text: &str) -> Value {
        let Value::Decimal { value, scale: scale @ 0..=4 } = Value::decimal(text) else {
            panic!("{text:?} has more than four digits behind the point")
        };
        let amount = i64::try_from(value * 10_i128.pow(4 - u32::from(scale))).ok();
        Value::Money(literal(amount, text, "an amount that money holds"))
    }

    /// A date from `YYYY-MM-DD`.
    ///
    /// # Panics
    ///
    /// When the text isn't one.
    #[must_use]
    pub fn date(text: &str) -> Value {
        Value::Date(literal(parse_date(text), text, "a date"))
    }

    /// A time from `HH:MM:SS`, with up to seven digits of a fraction.
    ///
    /// # Panics
    ///
    /// When the text isn't one.
    #[must_use]
    pub fn time(text: &str) -> Value {
        Value::Time(literal(parse_time(text), text, "a time"))
    }

    /// A date and a time from `YYYY-MM-DD HH:MM:SS`, with up to seven digits of a fraction.
    ///
    /// # Panics
    ///
    /// When the text isn't one.
    #[must_use]
    pub fn datetime(text: &str) -> Value {
        let (days, ticks) = literal(parse_datetime(text), text, "a date and a time");
        Value::DateTime { days, ticks }
    }

    /// A local date and time with its offset from `YYYY-MM-DD HH:MM:SS +HH:MM`.
    ///
    /// # Panics
    ///
    /// When the text isn't one.
    #[must_use]
    pub fn datetimeoffset(text: &str) -> Value {
        let parse = || {
            let (local, offset) = text.rsplit_once(' ')?;
            let (days, ticks) = parse_datetime(local)?;
            let offset = parse_offset(offset)?;
            let (days, ticks) = shift(days, ticks, -offset)?;
            Some(Value::DateTimeOffset { days, ticks, offset })
        };
        literal(parse(), text, "a date, a time and an offset")
    }

    /// A GUID from its 36 characters.
    ///
    /// # Panics
    ///
    /// When the text isn't one.
    #[must_use]
    pub fn guid(text: &str) -> Value {
        let digits: String = text.chars().filter(|char| *char != '-').collect();
        let parsed = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32);
        Value::Guid(literal(parsed, text, "a GUID").to_be_bytes())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("NULL"),
            Value::Bit(bit) => write!(f, "{}", u8::from(*bit)),
            Value::Int(int) => write!(f, "{int}"),
            Value::Float(float) => write!(f, "{float}"),
            Value::Decimal { value, scale } => f.write_str(&decimal_text(*value, *scale)),
            Value::Money(amount) => f.write_str(&decimal_text(i128::from(*amount), 4)),
            Value::Text(text) => f.write_str(text),
            Value::Bytes(bytes) => {
                f.write_str("0x")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
            }
            Value::Guid(guid) => {
                let digits = format!("{:032x}", u128::from_be_bytes(*guid));
                let (a, b, c) = (&digits[..8], &digits[8..12], &digits[12..16]);
                write!(f, "{a}-{b}-{c}-{}-{}", &digits[16..20], &digits[20..])
            }
            Value::Date(days) => f.write_str(&date_text(*days)),
            Value::Time(ticks) => f.write_str(&time_text(*ticks)),
            Value::DateTime { days, ticks } => write!(f, "{} {}", date_text(*days), time_text(*ticks)),
            Value::DateTimeOffset { days, ticks, offset } => {
                let (days, ticks) = shift(*days, *ticks, *offset).unwrap_or((*days, *ticks));
                write!(f, "{} {} {}", date_text(days), time_text(ticks), offset_text(*offset))
            }
        }
    }
}

fn decimal_text(value: i128, scale: u8) -> String {
    let scale = usize::from(scale);
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

impl From<bool> for Value {
    fn from(bit: bool) -> Value {
        Value::Bit(bit)
    }
}

impl From<i32> for Value {
    fn from(int: i32) -> Value {
        Value::Int(int.into())
    }
}

impl From<i64> for Value {
    fn from(int: i64) -> Value {
        Value::Int(int)
    }
}

impl From<f64> for Value {
    fn from(float: f64) -> Value {
        Value::Float(float)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Value {
        Value::Bytes(bytes)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_and_show_as_the_same_text() {
        let cases = [
            (Value::decimal("-0.50"), "-0.50"),
            (
                Value::decimal("99999999999999999999999999999999999999"),
                "99999999999999999999999999999999999999",
            ),
            (Value::money("-12.5"), "-12.5000"),
            (Value::datetime("2024-02-29T23:59:59.9999999"), "2024-02-29 23:59:59.9999999"),
            (Value::datetimeoffset("2024-02-29 01:00:00.5 +05:30"), "2024-02-29 01:00:00.5 +05:30"),
            (Value::guid("6F9619FF-8B86-D011-B42D-00C04FC964FF"), "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
            (Value::Bytes(vec![0, 255]), "0x00FF"),
        ];
        for (value, text) in cases {
            assert_eq!(value.to_string(), text);
        }
    }
}
