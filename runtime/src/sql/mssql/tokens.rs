//! T-SQL cut into words, quoted names and literals, variables and symbols, as far as [`super::batch`] asks.

/// The tokens of a text; comments and white space are none.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = Token<'_>> {
    Lexer { rest: text, depth: 0 }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    /// A quoted name or a literal.
    Quoted,
    Variable,
    Number,
    Symbol(char),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// How many parentheses are open around it; a parenthesis itself is inside.
    pub(super) depth: usize,
}

impl Token<'_> {
    /// Whether it is one of these words, in any case.
    pub(super) fn is_one_of(&self, words: &[&str]) -> bool {
        self.kind == Kind::Word && words.iter().any(|word| self.text.eq_ignore_ascii_case(word))
    }

    pub(super) fn is_symbol(&self, symbol: char) -> bool {
        self.kind == Kind::Symbol(symbol)
    }

    /// Whether it names a temporary object that outlives its scope.
    pub(super) fn is_global(&self) -> bool {
        let name = self.text.trim_start_matches(['[', '"']);
        matches!(self.kind, Kind::Word | Kind::Quoted) && name.starts_with("##")
    }
}

struct Lexer<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blank();
        let first = self.rest.chars().next()?;
        let (kind, length) = match first {
            '\'' | '"' => (Kind::Quoted, quoted_length(self.rest, first)),
            '[' => (Kind::Quoted, quoted_length(self.rest, ']')),
            '@' => (Kind::Variable, length_of(self.rest, is_in_word)),
            '0'..='9' => (Kind::Number, length_of(self.rest, |c| c.is_ascii_alphanumeric() || c == '.')),
            first if is_in_word(first) => (Kind::Word, length_of(self.rest, is_in_word)),
            first => (Kind::Symbol(first), first.len_utf8()),
        };
        let (text, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.depth += usize::from(kind == Kind::Symbol('('));
        let depth = self.depth;
        self.depth -= usize::from(kind == Kind::Symbol(')') && depth > 0);
        Some(Token { kind, text, depth })
    }
}

impl Lexer<'_> {
    fn skip_blank(&mut self) {
        loop {
            let rest = self.rest.trim_start();
            self.rest = match rest {
                rest if rest.starts_with("--") => &rest[length_of(rest, |c| c != '\n')..],
                rest if rest.starts_with("/*") => &rest[comment_length(rest)..],
                rest => {
                    self.rest = rest;
                    return;
                }
            };
        }
    }
}

fn is_in_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '#' | '$' | '@')
}

fn length_of(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// The length of what begins with a quote and ends with `close`, which is doubled inside.
fn quoted_length(text: &str, close: char) -> usize {
    let mut from = 1;
    loop {
        let Some(end) = text[from..].find(close).map(|place| from + place + 1) else { return text.len() };
        if !text[end..].starts_with(close) {
            return end;
        }
        from = end + 1;
    }
}

/// The length of a comment; T-SQL's nest.
fn comment_length(text: &str) -> usize {
    let (mut at, mut depth) = (2, 1_usize);
    while depth > 0 {
        let Some(mark) = text[at..].find("*/").into_iter().chain(text[at..].find("/*")).min() else {
            return text.len();
        };
        let opens = text[at + mark..].starts_with("/*");
        depth = if opens { depth + 1 } else { depth - 1 };
        at += mark + 2;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_comments_end_where_t_sql_ends_them() {
        let words = |text: &str| {
            let tokens = tokens(text).map(|token| token.text.to_owned());
            tokens.collect::<Vec<_>>()
        };
        assert_eq!(words("a 'b''c' d"), ["a", "'b''c'", "d"]);
        assert_eq!(words("[a]]b] c"), ["[a]]b]", "c"]);
        assert_eq!(words("/* a /* b */ c */ d -- e\nf"), ["d", "f"]);
        assert_eq!(words("@@x+@y 1.5e3é"), ["@@x", "+", "@y", "1.5e3", "é"]);
        assert_eq!(words("'open"), ["'open"]);
        assert_eq!(words("/* open /* */"), [""; 0]);
    }
}
