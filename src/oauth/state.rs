//! Texts that nobody can guess, and the hashes that are kept in their place.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::vault::random;

/// The length of such a text, in characters.
const LENGTH: usize = 43;

/// A new text of 256 random bits, in base64url without padding.
pub(crate) fn random_text() -> Zeroizing<String> {
    Zeroizing::new(URL_SAFE_NO_PAD.encode(*random::bytes::<32>()))
}

/// What is kept of a text: enough to know it again, and nothing to make it of.
pub(crate) fn hash(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(text.as_bytes()))
}

/// Whether a text has the form of one of ours.
pub(crate) fn is_well_formed(text: &str) -> bool {
    text.len() == LENGTH
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_known_again_by_its_hash_alone() {
        let text = random_text();
        assert!(is_well_formed(&text));
        assert_eq!(hash(&text), hash(&text));
        assert_ne!(hash(&text), hash(&random_text()));
        assert!(!hash(&text).contains(text.as_str()));
    }

    #[test]
    fn what_is_none_of_ours_is_told_by_its_form() {
        for text in ["", "short", &"a".repeat(44), &"é".repeat(43), &format!("{}=", "a".repeat(42))] {
            assert!(!is_well_formed(text), "{text}");
        }
    }
}
