//! multipart/form-data bodies (RFC 7578), names escaped as the HTML standard says.

use std::hash::{BuildHasher, Hasher, RandomState};

use super::error::EgressFailure;
use super::request::FormField;

/// The body that `fields` make, and the content type that names its boundary.
pub(super) fn encode(fields: &[FormField]) -> Result<(Vec<u8>, String), EgressFailure> {
    let boundary = fresh_boundary();
    let body = encode_with(fields, &boundary)?;
    Ok((body, format!("multipart/form-data; boundary={boundary}")))
}

fn encode_with(fields: &[FormField], boundary: &str) -> Result<Vec<u8>, EgressFailure> {
    let mut body = Vec::new();
    for field in fields {
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"{}\r\n{}\r\n",
            escape(&field.name),
            field
                .file_name
                .as_deref()
                .map(|name| format!("; filename=\"{}\"", escape(name)))
                .unwrap_or_default(),
            content_type_line(field)?,
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&field.value);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Ok(body)
}

/// The field's own content type; a file without one is `application/octet-stream`, a text has none.
fn content_type_line(field: &FormField) -> Result<String, EgressFailure> {
    let content_type = match (&field.content_type, &field.file_name) {
        (Some(content_type), _) => content_type.as_str(),
        (None, Some(_)) => "application/octet-stream",
        (None, None) => return Ok(String::new()),
    };
    if content_type.chars().any(char::is_control) {
        let message = format!(
            "the contentType of form field \"{}\" contains a control character",
            field.name.escape_debug()
        );
        return Err(EgressFailure::Invalid { message });
    }
    Ok(format!("Content-Type: {content_type}\r\n"))
}

fn escape(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// A boundary that nobody can foresee, so that no field's value can contain it.
fn fresh_boundary() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("----portcullis{:016x}{:016x}", random(), random())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_exact() {
        let fields = [
            FormField::text("a", "1\n2"),
            FormField { content_type: Some("text/csv".to_owned()), ..FormField::text("q\"\r\nX: y", "ü") },
            FormField {
                file_name: Some("f\"\n.bin".to_owned()),
                value: (0..=255).collect(),
                ..FormField::text("file", "")
            },
        ];
        let body = encode_with(&fields, "BOUNDARY").expect("valid");
        let mut expected = b"--BOUNDARY\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\n2\r\n\
            --BOUNDARY\r\nContent-Disposition: form-data; name=\"q%22%0D%0AX: y\"\r\nContent-Type: text/csv\r\n\r\n\xc3\xbc\r\n\
            --BOUNDARY\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f%22%0A.bin\"\r\n\
            Content-Type: application/octet-stream\r\n\r\n"
            .to_vec();
        expected.extend(0..=255);
        expected.extend(b"\r\n--BOUNDARY--\r\n");
        assert_eq!(body, expected);
    }

    #[test]
    fn no_fields_make_an_empty_form() {
        assert_eq!(encode_with(&[], "B").expect("valid"), b"--B--\r\n");
    }

    #[test]
    fn a_content_type_with_a_line_break_is_refused() {
        let field =
            FormField { content_type: Some("text/plain\r\nX: y".to_owned()), ..FormField::text("a\n", "") };
        let error = encode(&[field]).expect_err("refused").to_string();
        assert!(error.contains("form field \"a\\n\""), "{error}");
    }

    #[test]
    fn boundaries_differ() {
        assert_ne!(fresh_boundary(), fresh_boundary());
    }
}
