//! Rows into values, and statements whose conditions vary.

use std::fmt::Display;

use portcullis_runtime::manifest::name::Slug;
use serde::de::DeserializeOwned;
use serde::de::value::{Error as WordError, StrDeserializer};
use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Decode, Row as _, Type};
use uuid::Uuid;

use super::StoreError;
use super::database::Query;
use crate::identity::{ProjectId, UserName};
use crate::time::Timestamp;
use crate::vault::Sealed;

/// A row, and what it is the row of.
pub(super) struct Fields<'r> {
    what: &'static str,
    row: &'r AnyRow,
}

impl<'r> Fields<'r> {
    /// The row of a `what`, such as "connection".
    pub(super) fn of(what: &'static str, row: &'r AnyRow) -> Self {
        Self { what, row }
    }

    pub(super) fn text(&self, column: &str) -> Result<String, StoreError> {
        self.get(column)
    }

    pub(super) fn optional_text(&self, column: &str) -> Result<Option<String>, StoreError> {
        self.get(column)
    }

    pub(super) fn bytes(&self, column: &str) -> Result<Vec<u8>, StoreError> {
        self.get(column)
    }

    pub(super) fn integer(&self, column: &str) -> Result<i64, StoreError> {
        self.get(column)
    }

    /// A number that isn't negative, and fits.
    pub(super) fn count<T: TryFrom<i64>>(&self, column: &str) -> Result<T, StoreError> {
        self.integer(column)?.try_into().map_err(|_| self.damaged(column))
    }

    pub(super) fn optional_count<T: TryFrom<i64>>(&self, column: &str) -> Result<Option<T>, StoreError> {
        let number: Option<i64> = self.get(column)?;
        number.map(|number| number.try_into().map_err(|_| self.damaged(column))).transpose()
    }

    pub(super) fn time(&self, column: &str) -> Result<Timestamp, StoreError> {
        self.integer(column).map(Timestamp)
    }

    pub(super) fn optional_time(&self, column: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.get::<Option<i64>>(column)?.map(Timestamp))
    }

    pub(super) fn uuid(&self, column: &str) -> Result<Uuid, StoreError> {
        self.parsed(column, |text| Uuid::parse_str(text).ok())
    }

    pub(super) fn optional_uuid(&self, column: &str) -> Result<Option<Uuid>, StoreError> {
        self.optionally_parsed(column, |text| Uuid::parse_str(text).ok())
    }

    pub(super) fn project(&self) -> Result<ProjectId, StoreError> {
        self.uuid("project_id").map(ProjectId)
    }

    pub(super) fn user(&self, column: &str) -> Result<UserName, StoreError> {
        self.parsed(column, |text| UserName::new(text).ok())
    }

    pub(super) fn optional_user(&self, column: &str) -> Result<Option<UserName>, StoreError> {
        self.optionally_parsed(column, |text| UserName::new(text).ok())
    }

    pub(super) fn slug(&self, column: &str) -> Result<Slug, StoreError> {
        self.parsed(column, |text| Slug::parse(text).ok())
    }

    /// A value of an enum that is stored as serde names its variants.
    pub(super) fn word<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        self.parsed(column, |text| T::deserialize(StrDeserializer::<WordError>::new(text)).ok())
    }

    /// A value that is stored as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        self.parsed(column, |text| serde_json::from_str(text).ok())
    }

    /// The sealed value in the columns `key_id`, `nonce` and `ciphertext`.
    pub(super) fn sealed(&self) -> Result<Sealed, StoreError> {
        let nonce = self.bytes("nonce")?.try_into().map_err(|_| self.damaged("nonce"))?;
        Ok(Sealed { key_id: self.text("key_id")?, nonce, ciphertext: self.bytes("ciphertext")? })
    }

    /// What a text stands for.
    pub(super) fn parsed<T>(
        &self,
        column: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, StoreError> {
        parse(self.get::<&str>(column)?).ok_or_else(|| self.damaged(column))
    }

    pub(super) fn optionally_parsed<T>(
        &self,
        column: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        let text: Option<&str> = self.get(column)?;
        text.map(|text| parse(text).ok_or_else(|| self.damaged(column))).transpose()
    }

    fn get<T: Decode<'r, Any> + Type<Any>>(&self, column: &str) -> Result<T, StoreError> {
        self.row.try_get(column).map_err(|_| self.damaged(column))
    }

    /// Names the row by its id, where it has one.
    fn damaged(&self, column: &str) -> StoreError {
        let name = ["id", "name", "slug"].iter().find_map(|key| self.row.try_get::<&str, _>(*key).ok());
        let name = name.map(|name| format!(" {name:?}")).unwrap_or_default();
        StoreError::Damaged { what: format!("{}{name}: its {column} can't be read", self.what) }
    }
}

/// A text as both databases take it: PostgreSQL refuses NUL, so that it becomes U+FFFD.
pub(super) fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// The same for a text that may be absent.
pub(super) fn clean_optional(text: Option<&str>) -> Option<String> {
    text.map(clean)
}

/// An id as it is stored.
pub(super) fn id(id: impl Display) -> String {
    id.to_string()
}

/// A count as it is stored; one too large, as the largest.
pub(super) fn stored_count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A value of a [`Statement`].
pub(super) enum Value {
    Text(Option<String>),
    Integer(Option<i64>),
    Bytes(Vec<u8>),
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Integer(number)
    }
}

/// A statement that is put together from fixed pieces of text; values only ever come in as arguments.
pub(super) struct Statement {
    text: String,
    values: Vec<Value>,
}

impl Statement {
    /// One that begins with this text.
    pub(super) fn new(text: &'static str) -> Self {
        Self { text: text.to_owned(), values: Vec::new() }
    }

    /// Adds text.
    pub(super) fn push(&mut self, text: &'static str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Adds a value, and its place to the text.
    pub(super) fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        self.text.push('$');
        self.text.push_str(&self.values.len().to_string());
        self
    }

    /// Adds a condition, if there is something to compare with: `and(" AND tool = ", tool)`.
    pub(super) fn and(&mut self, condition: &'static str, value: Option<impl Into<Value>>) -> &mut Self {
        match value {
            Some(value) => self.push(condition).bind(value),
            None => self,
        }
    }

    /// The statement, ready to run: its text holds nothing but constants and the places of values.
    pub(super) fn query(self) -> Query {
        self.values.into_iter().fold(sqlx::query(AssertSqlSafe(self.text)), |query, value| match value {
            Value::Text(text) => query.bind(text),
            Value::Integer(number) => query.bind(number),
            Value::Bytes(bytes) => query.bind(bytes),
        })
    }
}
