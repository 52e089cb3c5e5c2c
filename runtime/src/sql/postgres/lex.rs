//! Cuts SQL into tokens, as far as it takes to tell words from what is quoted.

/// How long the token is that `text` begins with: a word, a quoted text, a comment, or one character.
pub(super) fn token_length(text: &str, first: char) -> usize {
    let is_word = |char: char| char.is_alphanumeric() || matches!(char, '_' | '$');
    match first {
        '"' | '\'' => {
            let inner = &text[1..];
            // A doubled quote ends here and begins again at once, which is as good.
            inner.find(first).map_or(text.len(), |end| end + 2)
        }
        '-' if text.starts_with("--") => text.find('\n').unwrap_or(text.len()),
        '/' if text.starts_with("/*") => comment_length(text),
        '$' => dollar_length(text),
        _ if is_word(first) => text.find(|char| !is_word(char)).unwrap_or(text.len()),
        _ => first.len_utf8(),
    }
}

/// The length of a comment, which may hold others.
fn comment_length(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find(['/', '*']) {
        at += found;
        let pair = text.as_bytes().get(at..at + 2);
        match pair {
            Some(b"/*") => depth += 1,
            Some(b"*/") => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// The length of a dollar-quoted text, or of what else begins with a dollar.
fn dollar_length(text: &str) -> usize {
    let is_tag = |char: char| char.is_alphanumeric() || char == '_';
    let Some(end) = text[1..].find(|char| !is_tag(char)).map(|end| end + 1) else { return text.len() };
    if !text[end..].starts_with('$') || text[1..].starts_with(|char: char| char.is_ascii_digit()) {
        return end;
    }
    let (quote, inner) = text.split_at(end + 1);
    inner.find(quote).map_or(text.len(), |found| found + 2 * quote.len())
}

/// The tokens of a text that aren't white space or comments.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let first = rest.chars().next()?;
            let (token, after) = rest.split_at(token_length(rest, first));
            rest = after;
            let is_code = !first.is_whitespace() && !token.starts_with("--") && !token.starts_with("/*");
            if is_code {
                return Some(token);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_from_what_is_quoted() {
        let text = "SELECT \"a (\"(b), 'it''s (', $x$ f( $x$ -- g(\n, /* h( /* */ */ é($1)";
        let expected = [
            "SELECT",
            "\"a (\"",
            "(",
            "b",
            ")",
            ",",
            "'it'",
            "'s ('",
            ",",
            "$x$ f( $x$",
            ",",
            "é",
            "(",
            "$1",
            ")",
        ];
        assert_eq!(tokens(text).collect::<Vec<_>>(), expected);
    }
}
