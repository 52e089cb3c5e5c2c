//! Values of MySQL's binary and text protocols, as JSON.

mod moment;

use serde_json::Value;
use sqlx::mysql::{MySqlColumn, MySqlRow, MySqlTypeInfo};
use sqlx::{Column as _, Decode, MySql, Row as _, Type, TypeInfo as _};

use self::moment::{Moment, Span};
use super::super::error::SqlError;
use super::super::result::Column;
use super::super::text;

/// In which of its two protocols the server sends rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Of prepared statements.
    Binary,
    /// Of all others: every value is its text.
    Text,
}

/// How the values of a result's rows are read.
#[derive(Debug)]
pub(super) struct Layout {
    columns: Vec<Column>,
    kinds: Vec<Kind>,
    format: Format,
}

/// What the columns' own types don't tell.
#[derive(Debug, Default)]
pub(super) struct Hints {
    /// The names of columns that hold nothing but a boolean argument.
    pub(super) bools: Vec<String>,
    /// The places of columns that hold JSON, though their type is a text.
    pub(super) json: Vec<usize>,
}

/// How the values of one column are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Signed,
    Unsigned,
    /// TINYINT(1): 0 and 1 are booleans, what else stands there is a number.
    Bool,
    /// TINYINT(1) UNSIGNED.
    UnsignedBool,
    Float,
    Double,
    /// The text that the server sends: decimals, enumerations, texts.
    Text,
    Bytes,
    /// BIT(1).
    Bit,
    Bits,
    Date,
    /// DATETIME, which has no zone.
    DateTime,
    /// TIMESTAMP, a moment; the session's zone is UTC.
    Timestamp,
    Time,
    Json,
}

impl Layout {
    /// How to read rows of these columns, with what else is known of them.
    pub(super) fn new(columns: &[MySqlColumn], hints: &Hints, format: Format) -> Self {
        let mut layout = Self { columns: Vec::new(), kinds: Vec::new(), format };
        for (place, column) in columns.iter().enumerate() {
            let type_info = column.type_info();
            let is_named = || hints.bools.iter().any(|name| name == column.name());
            let is_argument = column.origin().table_column().is_none() && is_integer(type_info) && is_named();
            let (type_name, kind) = if is_argument {
                ("boolean", Kind::Bool)
            } else if hints.json.contains(&place) {
                ("json", Kind::Json)
            } else {
                (type_name(type_info), Kind::of(type_info))
            };
            layout.kinds.push(kind);
            layout
                .columns
                .push(Column { name: column.name().to_owned(), type_name: type_name.to_lowercase() });
        }
        layout
    }

    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// A row's values.
    ///
    /// # Errors
    /// A value isn't what its column's type says; the message names the column.
    pub(super) fn decode(&self, row: &MySqlRow) -> Result<Vec<Value>, SqlError> {
        let mut values = Vec::with_capacity(self.kinds.len());
        for (index, kind) in self.kinds.iter().enumerate() {
            let value = row.try_get_raw(index).ok();
            let bytes = value.and_then(|value| <&[u8] as Decode<'_, MySql>>::decode(value).ok());
            let value = match (bytes, self.format) {
                (None, _) => Some(Value::Null),
                (Some(bytes), Format::Binary) => kind.binary(bytes),
                (Some(bytes), Format::Text) => kind.text(bytes),
            };
            values.push(value.ok_or_else(|| self.undecodable(index))?);
        }
        Ok(values)
    }

    fn undecodable(&self, index: usize) -> SqlError {
        let Column { name, type_name } = &self.columns[index];
        let message = format!(
            "a value of the column {name:?} can't be read as {type_name}: select CAST({name} AS CHAR) in its place"
        );
        SqlError::database(message, None)
    }
}

/// The type's name by sqlx, which takes every text with a binary collation, such as utf8mb4_bin, for bytes.
fn type_name(type_info: &MySqlTypeInfo) -> &str {
    match type_info.name() {
        name if !is_text(type_info) => name,
        "BINARY" => "CHAR",
        "VARBINARY" => "VARCHAR",
        "TINYBLOB" => "TINYTEXT",
        "BLOB" => "TEXT",
        "MEDIUMBLOB" => "MEDIUMTEXT",
        "LONGBLOB" => "LONGTEXT",
        name => name,
    }
}

/// Whether it is a type of texts: that of bytes has the collation `binary`.
pub(super) fn is_text(type_info: &MySqlTypeInfo) -> bool {
    <str as Type<MySql>>::compatible(type_info)
}

fn is_integer(type_info: &MySqlTypeInfo) -> bool {
    matches!(Kind::of(type_info), Kind::Signed | Kind::Unsigned | Kind::Bool | Kind::UnsignedBool)
}

/// Whether it is BIT(1) or TINYINT(1): sqlx tells the length in its description alone.
fn has_length_1(type_info: &MySqlTypeInfo) -> bool {
    format!("{type_info:?}").contains("max_size: Some(1)")
}

impl Kind {
    fn of(type_info: &MySqlTypeInfo) -> Self {
        match type_info.name() {
            "BOOLEAN" if <u8 as Type<MySql>>::compatible(type_info) => Self::UnsignedBool,
            "BOOLEAN" => Self::Bool,
            "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => Self::Signed,
            "TINYINT UNSIGNED" | "SMALLINT UNSIGNED" | "MEDIUMINT UNSIGNED" | "INT UNSIGNED"
            | "BIGINT UNSIGNED" | "YEAR" => Self::Unsigned,
            "FLOAT" => Self::Float,
            "DOUBLE" => Self::Double,
            "BIT" if has_length_1(type_info) => Self::Bit,
            "BIT" => Self::Bits,
            "DATE" => Self::Date,
            "DATETIME" => Self::DateTime,
            "TIMESTAMP" => Self::Timestamp,
            "TIME" => Self::Time,
            "JSON" => Self::Json,
            "DECIMAL" | "ENUM" | "SET" | "NULL" => Self::Text,
            "GEOMETRY" => Self::Bytes,
            _ if is_text(type_info) => Self::Text,
            _ => Self::Bytes,
        }
    }

    /// A value of the binary protocol.
    fn binary(self, bytes: &[u8]) -> Option<Value> {
        match self {
            Self::Signed => signed(bytes).map(text::integer),
            Self::Unsigned => unsigned(bytes).map(text::integer),
            Self::Bool => signed(bytes).map(bool_or_number),
            Self::UnsignedBool => unsigned(bytes).map(bool_or_number),
            Self::Float => Some(text::float32(f32::from_le_bytes(bytes.try_into().ok()?))),
            Self::Double => Some(text::float(f64::from_le_bytes(bytes.try_into().ok()?))),
            Self::Date => Some(Value::String(Moment::read(bytes)?.date())),
            Self::DateTime => Some(Value::String(Moment::read(bytes)?.to_string())),
            Self::Timestamp => Some(Value::String(format!("{}Z", Moment::read(bytes)?))),
            Self::Time => Some(Value::String(Span::read(bytes)?.to_string())),
            Self::Text | Self::Bytes | Self::Bit | Self::Bits | Self::Json => self.either(bytes),
        }
    }

    /// A value of the text protocol.
    fn text(self, bytes: &[u8]) -> Option<Value> {
        let string = || std::str::from_utf8(bytes).ok();
        match self {
            Self::Signed | Self::Unsigned => string()?.parse().ok().map(text::integer),
            Self::Bool | Self::UnsignedBool => string()?.parse().ok().map(bool_or_number),
            Self::Float => string()?.parse().ok().map(text::float32),
            Self::Double => string()?.parse().ok().map(text::float),
            Self::Date => string().map(Value::from),
            Self::DateTime => string().map(|text| Value::String(moment::iso(text))),
            Self::Timestamp => string().map(|text| Value::String(format!("{}Z", moment::iso(text)))),
            Self::Time => string().map(|text| Value::from(moment::without_zeros(text))),
            Self::Text | Self::Bytes | Self::Bit | Self::Bits | Self::Json => self.either(bytes),
        }
    }

    /// A value that both protocols send alike.
    fn either(self, bytes: &[u8]) -> Option<Value> {
        match self {
            Self::Bit => Some(Value::Bool(bytes.iter().any(|byte| *byte != 0))),
            Self::Bits if bytes.len() <= 8 => {
                Some(text::integer(bytes.iter().fold(0, |bits, byte| bits << 8 | i128::from(*byte))))
            }
            Self::Bytes => Some(text::bytes(bytes)),
            Self::Json => serde_json::from_slice(bytes).ok().or_else(|| Self::Text.either(bytes)),
            _ => std::str::from_utf8(bytes).ok().map(Value::from),
        }
    }
}

fn bool_or_number(value: i128) -> Value {
    match value {
        0 => Value::Bool(false),
        1 => Value::Bool(true),
        _ => text::integer(value),
    }
}

fn signed(bytes: &[u8]) -> Option<i128> {
    Some(match *bytes {
        [byte] => i8::from_le_bytes([byte]).into(),
        [a, b] => i16::from_le_bytes([a, b]).into(),
        [a, b, c, d] => i32::from_le_bytes([a, b, c, d]).into(),
        _ => i64::from_le_bytes(bytes.try_into().ok()?).into(),
    })
}

fn unsigned(bytes: &[u8]) -> Option<i128> {
    Some(match *bytes {
        [byte] => byte.into(),
        [a, b] => u16::from_le_bytes([a, b]).into(),
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]).into(),
        _ => u64::from_le_bytes(bytes.try_into().ok()?).into(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn integers_are_read_at_their_width_and_sign() {
        assert_eq!(Kind::Signed.binary(&[0xff]), Some(json!(-1)));
        assert_eq!(Kind::Unsigned.binary(&[0xff]), Some(json!(255)));
        assert_eq!(Kind::Signed.binary(&[0xff, 0xff]), Some(json!(-1)));
        assert_eq!(Kind::Unsigned.binary(&2026_u16.to_le_bytes()), Some(json!(2026)));
        assert_eq!(Kind::Signed.binary(&i32::MIN.to_le_bytes()), Some(json!(i32::MIN)));
        assert_eq!(Kind::Signed.binary(&i64::MIN.to_le_bytes()), Some(json!("-9223372036854775808")));
        assert_eq!(Kind::Unsigned.binary(&u64::MAX.to_le_bytes()), Some(json!("18446744073709551615")));
        assert_eq!(Kind::Signed.binary(&[1, 2, 3]), None);
        assert_eq!(Kind::Signed.text(b"-12"), Some(json!(-12)));
    }

    #[test]
    fn only_0_and_1_are_booleans() {
        assert_eq!(Kind::Bool.binary(&[1]), Some(json!(true)));
        assert_eq!(Kind::Bool.binary(&[0]), Some(json!(false)));
        assert_eq!(Kind::Bool.binary(&[0xff]), Some(json!(-1)));
        assert_eq!(Kind::UnsignedBool.binary(&[0xff]), Some(json!(255)));
        assert_eq!(Kind::Bool.binary(&1_i64.to_le_bytes()), Some(json!(true)));
        assert_eq!(Kind::Bool.text(b"1"), Some(json!(true)));
    }

    #[test]
    fn bits_are_a_boolean_or_an_integer() {
        assert_eq!(Kind::Bit.binary(&[1]), Some(json!(true)));
        assert_eq!(Kind::Bit.binary(&[0]), Some(json!(false)));
        assert_eq!(Kind::Bits.binary(&[1, 5]), Some(json!(261)));
        assert_eq!(Kind::Bits.binary(&[0xff; 8]), Some(json!("18446744073709551615")));
    }

    #[test]
    fn other_values_are_their_text_number_or_base64() {
        assert_eq!(Kind::Float.binary(&0.1_f32.to_le_bytes()), Some(json!(0.1)));
        assert_eq!(Kind::Double.binary(&0.1_f64.to_le_bytes()), Some(json!(0.1)));
        assert_eq!(Kind::Double.text(b"1e300"), Some(json!(1e300)));
        assert_eq!(Kind::Text.binary(b"12.50"), Some(json!("12.50")));
        assert_eq!(Kind::Text.binary(&[0xff]), None);
        assert_eq!(Kind::Bytes.binary(&[0xff]), Some(json!("/w==")));
        assert_eq!(Kind::Json.binary(br#"{"a": [1, null]}"#), Some(json!({"a": [1, null]})));
        assert_eq!(Kind::Json.binary(b"{"), Some(json!("{")));
    }
}
