//! Windows code page 1252, in which `char`, `varchar` and `text` are sent under the collation used here.

/// What the bytes from 0x80 to 0x9F mean; the rest of the page is Latin-1.
const HIGH: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8D}', 'Ž', '\u{8F}', '\u{90}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9D}', 'ž', 'Ÿ',
];

/// The text in code page 1252; `?` for what isn't in it, as SQL Server converts.
pub(crate) fn encode(text: &str) -> Vec<u8> {
    text.chars().map(|char| encode_char(char).unwrap_or(b'?')).collect()
}

fn encode_char(char: char) -> Option<u8> {
    match HIGH.iter().position(|high| *high == char) {
        Some(position) => u8::try_from(0x80 + position).ok(),
        None => u8::try_from(u32::from(char)).ok().filter(|byte| !(0x80..0xA0).contains(byte)),
    }
}

/// The text that these bytes are.
pub(crate) fn decode(bytes: &[u8]) -> String {
    let decode_byte = |byte: &u8| match byte.checked_sub(0x80).map(usize::from) {
        Some(high) if high < HIGH.len() => HIGH[high],
        _ => char::from(*byte),
    };
    bytes.iter().map(decode_byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_windows_1252() {
        assert_eq!(encode("é€Ÿ ☃"), [0xE9, 0x80, 0x9F, b' ', b'?']);
        assert_eq!(decode(&[0xE9, 0x80, 0x9F]), "é€Ÿ");
    }
}
