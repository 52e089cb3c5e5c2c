//! API keys: 43 random characters after `pc_`, shown once, kept as a hash.

use std::fmt;
use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::vault::random;

const PREFIX: &str = "pc_";

/// How many characters follow the prefix.
const LENGTH: usize = 43;

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A key as its holder has it: `pc_` and 43 characters of A-Z a-z 0-9 (256 bits).
pub(crate) struct ApiKey(Zeroizing<String>);

/// SHA-256 of a key. Keys are random and long, so that no slow hash is needed. Compared in constant time.
#[derive(Clone, Copy, Eq)]
pub(crate) struct KeyHash(pub(crate) [u8; 32]);

impl ApiKey {
    /// A new one, from the system's random numbers.
    pub(crate) fn generate() -> Self {
        let mut key = Zeroizing::new(String::with_capacity(PREFIX.len() + LENGTH));
        key.push_str(PREFIX);
        while key.len() < PREFIX.len() + LENGTH {
            let bytes = random::bytes::<64>();
            let room = PREFIX.len() + LENGTH - key.len();
            key.extend(bytes.iter().filter_map(|byte| character(*byte)).take(room));
        }
        Self(key)
    }

    /// A text that has a key's form; none else is looked up.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let characters = text.strip_prefix(PREFIX)?;
        let is_key =
            characters.len() == LENGTH && characters.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_key.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The key itself, to be shown once.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// What lists show of it: `pc_` and its last four characters, `pc_…x7Qf`.
    pub(crate) fn hint(&self) -> String {
        format!("{PREFIX}…{}", &self.0[self.0.len() - 4..])
    }

    /// What the store keeps of it.
    pub(crate) fn hash(&self) -> KeyHash {
        KeyHash(Sha256::digest(self.0.as_bytes()).into())
    }
}

/// The character of six random bits, so that each is as likely as any other; none for the two values without one.
fn character(byte: u8) -> Option<char> {
    ALPHABET.get(usize::from(byte & 0x3f)).map(|letter| char::from(*letter))
}

impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Hash for KeyHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_new_key_has_the_form_that_is_parsed_and_no_two_are_alike() {
        let keys: BTreeSet<String> = (0..2_000).map(|_| ApiKey::generate().reveal().to_owned()).collect();
        assert_eq!(keys.len(), 2_000);
        for key in &keys {
            assert_eq!(ApiKey::parse(key).unwrap().reveal(), key);
        }
    }

    #[test]
    fn each_character_has_four_of_256_bytes() {
        let mut counts = std::collections::BTreeMap::new();
        for character in (0..=255).filter_map(character) {
            *counts.entry(character).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 62);
        assert!(counts.values().all(|count| *count == 4), "{counts:?}");
        assert!(counts.keys().all(char::is_ascii_alphanumeric));
    }

    #[test]
    fn what_only_resembles_a_key_is_none() {
        let key = format!("pc_{}", "a".repeat(43));
        assert!(ApiKey::parse(&key).is_some());
        let others = [
            String::new(),
            "pc_".to_owned(),
            key[1..].to_owned(),
            key[..45].to_owned(),
            format!("{key}a"),
            format!(" {key}"),
            format!("{key}\n"),
            key.replacen("pc_", "PC_", 1),
            key.replacen('a', "-", 1),
            // As long in bytes, and a letter in Unicode's eyes.
            key.replacen("aa", "é", 1),
        ];
        for other in others {
            assert!(ApiKey::parse(&other).is_none(), "{other:?}");
        }
    }

    #[test]
    fn a_hint_shows_four_characters_and_a_hash_is_sha_256() {
        let key = ApiKey::parse(&format!("pc_{}x7Qf", "0".repeat(39))).unwrap();
        assert_eq!(key.hint(), "pc_…x7Qf");
        // printf pc_000…000x7Qf | sha256sum
        let hex: String = key.hash().0.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "e554025189ded3a3a9d0e5ba661924b92cf5079230b84929a2777dec3d3d8c30");
        assert!(!format!("{key:?}").contains("x7Qf"));
    }

    proptest! {
        #[test]
        fn nothing_but_the_form_is_parsed(text in "(pc_)?[ -~]{40,46}") {
            let is_key = text.len() == 46
                && text.starts_with("pc_")
                && text[3..].bytes().all(|byte| ALPHABET.contains(&byte));
            prop_assert_eq!(ApiKey::parse(&text).is_some(), is_key);
        }

        #[test]
        fn every_base62_text_is_parsed(text in "pc_[A-Za-z0-9]{43}") {
            let key = ApiKey::parse(&text);
            prop_assert_eq!(key.as_ref().map(ApiKey::reveal), Some(text.as_str()));
        }
    }
}
