//! Base64 as connectors write it: read from either alphabet, with or without padding and white space.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose};

/// Text that is no base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not base64: {0}")]
pub(crate) struct NotBase64(&'static str);

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The bytes that base64 text stands for: standard or URL-safe alphabet, padding and ASCII white space as they come.
pub(crate) fn decode_base64(text: &str) -> Result<Vec<u8>, NotBase64> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        })
        .collect();
    let unpadded = digits.iter().rposition(|&digit| digit != b'=').map_or(0, |last| last + 1);
    LENIENT.decode(&digits[..unpadded]).map_err(|error| {
        NotBase64(match error {
            base64::DecodeError::InvalidByte(..) => "it has a character that is in neither alphabet",
            _ => "its length is not that of any bytes",
        })
    })
}

/// Standard base64, padded.
pub(crate) fn encode_base64(bytes: &[u8]) -> String {
    general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_alphabets_missing_padding_and_white_space_are_read() {
        for text in ["+/8=", "-_8=", "+/8", " + / \n8\t", "-_8"] {
            assert_eq!(decode_base64(text), Ok(vec![0xfb, 0xff]), "{text:?}");
        }
        assert_eq!(decode_base64(""), Ok(vec![]));
    }

    #[test]
    fn every_byte_comes_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(decode_base64(&encode_base64(&bytes)), Ok(bytes));
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["a", "ab=c", "é", "a*b=", "abcde"] {
            assert!(decode_base64(text).is_err(), "{text:?} passed");
        }
    }
}
