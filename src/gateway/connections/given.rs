//! Credentials as requests give them: read without leaving copies behind.

use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

/// A credential as it is given.
pub(crate) enum GivenCredential {
    /// `{"secret": "clay"}`: a workspace secret's name.
    Secret {
        /// The name.
        secret: String,
    },
    /// The value.
    Value(Zeroizing<String>),
}

/// By hand: serde's untagged enums keep what they read in a buffer that nobody wipes, and their errors say little.
impl<'de> Deserialize<'de> for GivenCredential {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CredentialVisitor)
    }
}

struct CredentialVisitor;

impl<'de> Visitor<'de> for CredentialVisitor {
    type Value = GivenCredential;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"a credential: a string, or {"secret": "<the name of a workspace secret>"}"#)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<GivenCredential, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<GivenCredential, E> {
        Ok(GivenCredential::Value(Zeroizing::new(text)))
    }

    // The default messages repeat what they found.
    fn visit_bool<E: Error>(self, _: bool) -> Result<GivenCredential, E> {
        Err(unexpected())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<GivenCredential, E> {
        Err(unexpected())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<GivenCredential, E> {
        Err(unexpected())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<GivenCredential, E> {
        Err(unexpected())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<GivenCredential, A::Error> {
        let Reference { secret } =
            Reference::deserialize(serde::de::value::MapAccessDeserializer::new(&mut map))
                .map_err(|_| unexpected())?;
        Ok(GivenCredential::Secret { secret })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reference {
    secret: String,
}

fn unexpected<E: Error>() -> E {
    E::custom(r#"a credential is a string, or {"secret": "<the name of a workspace secret>"}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_a_string_or_the_name_of_a_secret() {
        let value: GivenCredential = serde_json::from_str(r#""a\nb""#).expect("a value");
        assert!(matches!(value, GivenCredential::Value(text) if *text == "a\nb"));
        let reference: GivenCredential = serde_json::from_str(r#"{"secret": "clay"}"#).expect("a reference");
        assert!(matches!(reference, GivenCredential::Secret { secret } if secret == "clay"));
    }

    #[test]
    fn what_is_no_credential_is_told_without_repeating_it() {
        for json in [
            "4242424242",
            "-4242424242",
            "42424242.42",
            r#"["4242424242"]"#,
            r#"{"secret": 4242424242}"#,
            r#"{"secret": "a", "value": "4242424242"}"#,
            r#"{"4242424242": "a"}"#,
            "{}",
            "null",
            "true",
        ] {
            let error = serde_json::from_str::<GivenCredential>(json).err().expect(json).to_string();
            assert!(
                error.contains("is a string") || error.contains("a credential: a string"),
                "{json}: {error}"
            );
            assert!(!error.contains("4242"), "{json}: {error}");
        }
    }
}
