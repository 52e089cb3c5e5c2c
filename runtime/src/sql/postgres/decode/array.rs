//! Arrays: their dimensions first, then the elements one after the other.

use serde_json::Value;

use super::{Decoder, Malformed, take};

/// The server's own bound on dimensions.
const MAX_DIMENSIONS: i32 = 6;

/// Reads an array, nested by its dimensions. Where its indexes begin isn't told.
pub(super) fn decode(mut bytes: &[u8], element: &Decoder) -> Result<Value, Malformed> {
    let n_dimensions = i32::from_be_bytes(take(&mut bytes)?);
    let _has_nulls = take::<4>(&mut bytes)?;
    let _element_type = take::<4>(&mut bytes)?;
    if !(0..=MAX_DIMENSIONS).contains(&n_dimensions) {
        return Err(Malformed);
    }
    let mut lengths = Vec::new();
    for _ in 0..n_dimensions {
        let length = i32::from_be_bytes(take(&mut bytes)?);
        let _lower_bound = take::<4>(&mut bytes)?;
        lengths.push(usize::try_from(length).map_err(|_| Malformed)?);
    }
    // Each element takes four bytes at least: lengths that lie ask for no more memory than was sent.
    let n_elements = lengths.iter().try_fold(1, |product: usize, length| product.checked_mul(*length));
    if n_elements.is_none_or(|n_elements| n_elements > bytes.len() / 4) && !lengths.is_empty() {
        return Err(Malformed);
    }
    if lengths.is_empty() || n_elements == Some(0) {
        return Ok(Value::Array(Vec::new()));
    }
    nested(&mut bytes, &lengths, element)
}

fn nested(bytes: &mut &[u8], lengths: &[usize], element: &Decoder) -> Result<Value, Malformed> {
    let Some((length, inner)) = lengths.split_first() else { return one(bytes, element) };
    let mut values = Vec::with_capacity(*length);
    for _ in 0..*length {
        values.push(nested(bytes, inner, element)?);
    }
    Ok(Value::Array(values))
}

fn one(bytes: &mut &[u8], element: &Decoder) -> Result<Value, Malformed> {
    let length = i32::from_be_bytes(take(bytes)?);
    if length == -1 {
        return Ok(Value::Null);
    }
    let length = usize::try_from(length).map_err(|_| Malformed)?;
    let (value, rest) = bytes.split_at_checked(length).ok_or(Malformed)?;
    *bytes = rest;
    element.decode(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sent(lengths: &[i32], elements: &[Option<&[u8]>]) -> Vec<u8> {
        let n_dimensions = i32::try_from(lengths.len()).unwrap();
        let mut bytes = [n_dimensions.to_be_bytes(), [0; 4], 23_i32.to_be_bytes()].concat();
        for length in lengths {
            bytes.extend(length.to_be_bytes());
            bytes.extend(1_i32.to_be_bytes());
        }
        for element in elements {
            let length = element.map_or(-1, |element| i32::try_from(element.len()).unwrap());
            bytes.extend(length.to_be_bytes());
            bytes.extend(element.unwrap_or_default());
        }
        bytes
    }

    #[test]
    fn dimensions_nest() {
        let read =
            |lengths: &[i32], elements: &[Option<&[u8]>]| decode(&sent(lengths, elements), &Decoder::Text);
        assert_eq!(read(&[], &[]), Ok(json!([])));
        assert_eq!(read(&[3], &[Some(b"a"), None, Some(b"")]), Ok(json!(["a", null, ""])));
        let four = [Some(&b"a"[..]), Some(b"b"), Some(b"c"), None];
        assert_eq!(read(&[2, 2], &four), Ok(json!([["a", "b"], ["c", null]])));
        assert_eq!(read(&[1, 2, 2], &four), Ok(json!([[["a", "b"], ["c", null]]])));
    }

    #[test]
    fn what_is_too_short_is_malformed() {
        let whole = sent(&[2, 2], &[Some(b"a"), Some(b"b"), Some(b"c"), Some(b"d")]);
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length], &Decoder::Text), Err(Malformed), "{length}");
        }
        assert_eq!(decode(&sent(&[i32::MAX, i32::MAX], &[]), &Decoder::Text), Err(Malformed));
        assert_eq!(decode(&sent(&[-1], &[]), &Decoder::Text), Err(Malformed));
        assert_eq!(decode(&sent(&[i32::MAX, 0], &[]), &Decoder::Text), Ok(json!([])));
    }
}
