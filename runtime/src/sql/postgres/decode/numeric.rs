//! `numeric`: digits of base 10,000, as decimal digits with the scale that the value has.

use std::fmt::Write as _;

use super::{Malformed, take};

const NEGATIVE: u16 = 0x4000;
const NOT_A_NUMBER: u16 = 0xc000;
const INFINITY: u16 = 0xd000;
const NEGATIVE_INFINITY: u16 = 0xf000;

/// Reads a `numeric`: every digit, also the zeros that its scale asks for.
pub(super) fn decode(mut bytes: &[u8]) -> Result<String, Malformed> {
    let n_digits = usize::from(u16::from_be_bytes(take(&mut bytes)?));
    let weight = i32::from(i16::from_be_bytes(take(&mut bytes)?));
    let sign = u16::from_be_bytes(take(&mut bytes)?);
    let scale = usize::from(u16::from_be_bytes(take(&mut bytes)?));
    match sign {
        0 | NEGATIVE => {}
        NOT_A_NUMBER => return Ok("NaN".to_owned()),
        INFINITY => return Ok("Infinity".to_owned()),
        NEGATIVE_INFINITY => return Ok("-Infinity".to_owned()),
        _ => return Err(Malformed),
    }
    if bytes.len() != n_digits * 2 {
        return Err(Malformed);
    }
    // The digit that counts 10,000 to the power of `weight - index`; those not sent are 0.
    let digit = |index: i32| {
        let start = usize::try_from(index).ok()?.checked_mul(2)?;
        Some(u16::from_be_bytes([*bytes.get(start)?, *bytes.get(start + 1)?]))
    };
    let mut text = String::with_capacity(scale + 12);
    if sign == NEGATIVE {
        text.push('-');
    }
    push_whole(&mut text, weight, digit);
    if scale > 0 {
        push_fraction(&mut text, weight, scale, digit);
    }
    Ok(text)
}

fn push_whole(text: &mut String, weight: i32, digit: impl Fn(i32) -> Option<u16>) {
    if weight < 0 {
        text.push('0');
    }
    for index in 0..=weight {
        let digit = digit(index).unwrap_or(0);
        // Writing into a String can't fail.
        let _ = if index == 0 { write!(text, "{digit}") } else { write!(text, "{digit:04}") };
    }
}

fn push_fraction(text: &mut String, weight: i32, scale: usize, digit: impl Fn(i32) -> Option<u16>) {
    text.push('.');
    let end = text.len() + scale;
    let mut index = weight + 1;
    while text.len() < end {
        let _ = write!(text, "{:04}", digit(index).unwrap_or(0));
        index += 1;
    }
    text.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(weight: i16, sign: u16, scale: u16, digits: &[u16]) -> Vec<u8> {
        let n_digits = u16::try_from(digits.len()).unwrap();
        let head = [n_digits.to_be_bytes(), weight.to_be_bytes(), sign.to_be_bytes(), scale.to_be_bytes()];
        let digits = digits.iter().flat_map(|digit| digit.to_be_bytes());
        head.into_iter().flatten().chain(digits).collect()
    }

    #[test]
    fn every_digit_is_there() {
        for (weight, sign, scale, digits, expected) in [
            (0, 0, 0, &[][..], "0"),
            (0, 0, 2, &[], "0.00"),
            (0, 0, 2, &[12, 5000], "12.50"),
            (0, NEGATIVE, 1, &[12, 5000], "-12.5"),
            (1, 0, 0, &[1], "10000"),
            (2, 0, 0, &[12, 3, 4567], "1200034567"),
            (-1, 0, 4, &[1], "0.0001"),
            (-2, 0, 8, &[1], "0.00000001"),
            (-2, NEGATIVE, 6, &[100], "-0.000001"),
            (0, 0, 10, &[1, 2345, 6789, 1000], "1.2345678910"),
            (0, NOT_A_NUMBER, 0, &[], "NaN"),
            (0, INFINITY, 0, &[], "Infinity"),
            (0, NEGATIVE_INFINITY, 0, &[], "-Infinity"),
        ] {
            assert_eq!(decode(&sent(weight, sign, scale, digits)).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_is_too_short_is_malformed() {
        let whole = sent(0, 0, 2, &[12, 5000]);
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]), Err(Malformed), "{length}");
        }
    }
}
