//! Names that the contract fixes: slugs of connectors and connections, and names of operations.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest slug, in characters.
pub const MAX_SLUG_LEN: usize = 40;
/// The longest operation name, in characters.
pub const MAX_OPERATION_NAME_LEN: usize = 64;

/// The name of a connector's folder, or of a connection: `^[a-z0-9]+([_-][a-z0-9]+)*$`, 1 to 40 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slug(String);

/// The name of an operation: `^[A-Za-z][A-Za-z0-9_-]{0,63}$`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OperationName(String);

/// A name that doesn't have the form that the contract asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a slug.
    #[error(
        "{found:?} is not a slug: use 1 to {MAX_SLUG_LEN} lower-case letters and digits, with single `_` or `-` between them"
    )]
    Slug {
        /// What stood there, cut to a length that fits a message.
        found: String,
    },
    /// Not an operation name.
    #[error(
        "{found:?} is not an operation name: begin with a letter, then up to {} letters, digits, `_` or `-`",
        MAX_OPERATION_NAME_LEN - 1
    )]
    OperationName {
        /// What stood there, cut to a length that fits a message.
        found: String,
    },
}

impl Slug {
    /// Reads a slug; the error says what a slug looks like.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let well_formed = text.len() <= MAX_SLUG_LEN
            && text.split(['_', '-']).all(|word| {
                !word.is_empty()
                    && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            });
        if well_formed { Ok(Self(text.to_owned())) } else { Err(NameError::Slug { found: shorten(text) }) }
    }

    /// The slug as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl OperationName {
    /// Reads an operation's name; the error says what one looks like.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let well_formed = text.len() <= MAX_OPERATION_NAME_LEN
            && text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        if well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::OperationName { found: shorten(text) })
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn shorten(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

macro_rules! name_conversions {
    ($name:ty) => {
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }
        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name_conversions!(Slug);
name_conversions!(OperationName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_lower_case_words_joined_by_single_separators() {
        for good in ["a", "0", "google_gmail", "my-shop-2", "a_b-c", &"a".repeat(40)] {
            assert_eq!(Slug::parse(good).map(|slug| slug.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "-a", "a-", "a--b", "a_-b", "A", "ä", "a b", "a/b", "..", &"a".repeat(41)] {
            assert!(Slug::parse(bad).is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn operation_names_begin_with_a_letter() {
        for good in ["a", "Z", "list_Users-2", &"a".repeat(64)] {
            assert!(OperationName::parse(good).is_ok(), "{good:?} refused");
        }
        for bad in ["", "1a", "_a", "a b", "a.b", "é", &"a".repeat(65)] {
            assert!(OperationName::parse(bad).is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn a_long_wrong_name_is_cut_in_the_message() {
        let message = Slug::parse(&"X".repeat(10_000)).unwrap_err().to_string();
        assert!(message.len() < 300, "{message}");
    }
}
