//! Cuts the text of a query into tokens by the rules of its dialect; joined, the tokens are the text.
//!
//! The rules are those of the databases' own lexers: PostgreSQL's scan.l, MySQL's and MariaDB's sql_lex.cc, SQLite's
//! tokenize.c, and for SQL Server the reference of T-SQL. Only what decides where a literal, a comment or a name ends is
//! looked at; whether the tokens make sense is for the database to say.

use super::Dialect::{self, Mssql, Mysql, Postgres, Sqlite};
use super::problems::{Problems, shown};

/// A piece of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    pub(super) text: &'t str,
    /// Where it begins in the text, in bytes.
    pub(super) start: usize,
    /// Where the comment begins that the token stands in, if it's one that MySQL or MariaDB executes.
    pub(super) executable: Option<usize>,
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// White space.
    Space,
    /// A comment that nothing executes.
    Comment,
    /// The opening, such as `/*!50000`, or the end of a comment that MySQL or MariaDB executes.
    Marker,
    /// A string or dollar-quoted literal.
    Literal,
    /// A quoted name, or what may be one.
    Name,
    /// A keyword or a name without quotes.
    Word,
    /// A number.
    Number,
    /// `@name`: a placeholder, or a variable of the dialect.
    Variable,
    /// What begins with `@` and is never a placeholder: `@@name`, `@'name'`.
    ServerVariable,
    /// A bind variable in the database's own spelling.
    Bind,
    /// A run of PostgreSQL's operator characters.
    Operator,
    /// Any other character.
    Symbol,
}

impl Token<'_> {
    /// Where it ends in the text, in bytes.
    pub(super) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// Whether the database's parser sees it.
    pub(super) fn is_code(&self) -> bool {
        !matches!(self.kind, Kind::Space | Kind::Comment | Kind::Marker)
    }

    /// Whether it is that symbol or operator.
    pub(super) fn is(&self, symbol: &str) -> bool {
        matches!(self.kind, Kind::Symbol | Kind::Operator) && self.text == symbol
    }

    /// Whether it is that keyword, in whatever case.
    pub(super) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// Whether it is one of those keywords, in whatever case.
    pub(super) fn is_one_of(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is_word(word))
    }
}

/// Cuts a text into tokens. A literal, name or comment without its end reaches to the end of the text, and is reported.
pub(super) fn tokens<'t>(dialect: Dialect, text: &'t str, problems: &mut Problems) -> Vec<Token<'t>> {
    if let Some(offset) = text.find('\0') {
        problems.error(offset, "the query holds a NUL character, which no database takes");
    }
    if let Some(offset) = text.find('\u{feff}').filter(|_| dialect == Dialect::Sqlite) {
        problems
            .error(offset, "the query holds a byte order mark (U+FEFF), which SQLite takes for white space");
    }
    let mut lexer = Lexer { dialect, text, at: 0, executable: None, problems };
    let mut tokens = Vec::new();
    while let Some(first) = lexer.rest().chars().next() {
        let start = lexer.at;
        let executable = lexer.executable;
        let kind = lexer.token(first);
        let token = Token { kind, text: &text[start..lexer.at], start, executable };
        lexer.check_executable(&token);
        tokens.push(token);
    }
    if let Some(opening) = lexer.executable {
        lexer.unterminated(opening, "comment", "*/");
    }
    tokens
}

struct Lexer<'t, 'p> {
    dialect: Dialect,
    text: &'t str,
    at: usize,
    /// Where the executable comment begins whose end wasn't seen.
    executable: Option<usize>,
    problems: &'p mut Problems,
}

impl<'t> Lexer<'t, '_> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    /// Moves past the next token, which begins with `first`.
    fn token(&mut self, first: char) -> Kind {
        let dialect = self.dialect;
        match first {
            '-' if self.begins_line_comment() => self.line_comment(),
            '#' if dialect == Mysql => self.line_comment(),
            '/' if self.byte(1) == Some(b'*') => self.block_comment(),
            '*' if self.executable.is_some() && self.byte(1) == Some(b'/') => self.end_executable(),
            '\'' => self.quoted(Kind::Literal, self.at),
            '"' if dialect == Mysql => self.quoted(Kind::Literal, self.at),
            '"' => self.quoted(Kind::Name, self.at),
            '`' if matches!(dialect, Mysql | Sqlite) => self.quoted(Kind::Name, self.at),
            '[' if matches!(dialect, Mssql | Sqlite) => self.quoted(Kind::Name, self.at),
            '$' if dialect == Postgres => self.dollar(),
            '?' if matches!(dialect, Mysql | Sqlite) => self.bind(),
            ':' | '$' if dialect == Sqlite && self.word_len(1) > 0 => self.bind(),
            _ if dialect == Postgres && is_operator(first) => self.operator(),
            '@' => self.at_sign(),
            '0'..='9' => self.number(),
            _ if dialect.is_space(first) => self.take(Kind::Space, |c| dialect.is_space(c)),
            _ if dialect.begins_word(first) => self.word(),
            _ => self.symbol(first),
        }
    }

    fn take(&mut self, kind: Kind, belongs: impl Fn(char) -> bool) -> Kind {
        self.at += length_of(self.rest(), belongs);
        kind
    }

    /// The length of the word characters that begin `ahead` bytes from here.
    fn word_len(&self, ahead: usize) -> usize {
        length_of(&self.rest()[ahead..], |c| self.dialect.is_word(c))
    }

    fn symbol(&mut self, symbol: char) -> Kind {
        self.at += symbol.len_utf8();
        Kind::Symbol
    }

    fn begins_line_comment(&self) -> bool {
        let rest = self.rest().strip_prefix("--");
        // MySQL wants white space after it, so that `5--1` is 6.
        let is_end = |c: char| c.is_ascii_whitespace() || c.is_ascii_control();
        rest.is_some_and(|rest| self.dialect != Mysql || rest.is_empty() || rest.starts_with(is_end))
    }

    fn line_comment(&mut self) -> Kind {
        let returns_end = matches!(self.dialect, Postgres | Mssql);
        self.take(Kind::Comment, |c| c != '\n' && !(returns_end && c == '\r'))
    }

    fn block_comment(&mut self) -> Kind {
        if self.dialect == Mysql && self.executable.is_none() {
            let opening = ["/*!", "/*M!"].into_iter().find(|opening| self.rest().starts_with(opening));
            if let Some(opening) = opening {
                self.executable = Some(self.at);
                self.at += opening.len();
                return self.take(Kind::Marker, |c| c.is_ascii_digit());
            }
        }
        let nests = matches!(self.dialect, Postgres | Mssql);
        let opening = self.at;
        let mut depth = 1_usize;
        self.at += 2;
        while depth > 0 {
            match (self.byte(0), self.byte(1)) {
                (Some(b'*'), Some(b'/')) => (self.at, depth) = (self.at + 2, depth - 1),
                (Some(b'/'), Some(b'*')) if nests => (self.at, depth) = (self.at + 2, depth + 1),
                (Some(_), _) => self.at += 1,
                (None, _) => {
                    // SQLite takes the end of the text for the comment's.
                    if self.dialect != Sqlite {
                        self.unterminated(opening, "comment", "*/");
                    }
                    break;
                }
            }
        }
        Kind::Comment
    }

    fn end_executable(&mut self) -> Kind {
        self.executable = None;
        self.at += 2;
        Kind::Marker
    }

    /// A server that is too old, or the other of MySQL and MariaDB, skips an executable comment up to the first `*/`. So
    /// that all of them agree where it ends, nothing in it may hold one, or be a comment.
    fn check_executable(&mut self, token: &Token<'_>) {
        let is_comment = token.kind == Kind::Comment;
        if token.executable.is_some()
            && (is_comment || token.kind != Kind::Marker && token.text.contains("*/"))
        {
            let found = if is_comment { "a comment" } else { "\"*/\"" };
            let message = format!("{found} inside a comment that is executed (/*! … */)");
            let help = "servers don't agree where such a comment ends: write the code outside of it";
            self.problems.error_with_help(token.start, message, help);
        }
    }

    /// A literal or name whose opening quote stands at `self.at`; the token itself begins at `start`.
    fn quoted(&mut self, kind: Kind, start: usize) -> Kind {
        let opening = self.byte(0).unwrap_or_default();
        let close = if opening == b'[' { b']' } else { opening };
        let doubles = !(opening == b'[' && self.dialect == Sqlite);
        let is_escape_string = self.dialect == Postgres && start < self.at;
        let escapes = is_escape_string || self.dialect == Mysql && opening != b'`';
        self.at += 1;
        loop {
            match self.byte(0) {
                Some(b'\\') if escapes => self.skip_escaped(),
                Some(byte) if byte == close && doubles && self.byte(1) == Some(close) => self.at += 2,
                Some(byte) if byte == close => break self.at += 1,
                Some(_) => self.at += 1,
                None => {
                    let what = if kind == Kind::Literal { "literal" } else { "quoted name" };
                    break self.unterminated(start, what, char::from(close).encode_utf8(&mut [0; 4]));
                }
            }
        }
        kind
    }

    /// Moves past a backslash and the character after it.
    fn skip_escaped(&mut self) {
        self.at += 1;
        self.at += self.rest().chars().next().map_or(0, char::len_utf8);
    }

    /// `$tag$ … $tag$`, or `$1`.
    fn dollar(&mut self) -> Kind {
        let opening = self.at;
        let after = &self.rest()[1..];
        let n_digits = length_of(after, |c| c.is_ascii_digit());
        if n_digits > 0 {
            self.at += 1 + n_digits;
            return Kind::Bind;
        }
        let tag = length_of(after, |c| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii());
        if !after[tag..].starts_with('$') {
            return self.symbol('$');
        }
        let (quote, inside) = self.rest().split_at(tag + 2);
        match inside.find(quote) {
            Some(length) => self.at += length + 2 * quote.len(),
            None => {
                self.at = self.text.len();
                self.unterminated(opening, "literal", quote);
            }
        }
        Kind::Literal
    }

    fn bind(&mut self) -> Kind {
        self.at += 1;
        match self.dialect {
            Sqlite => self.take(Kind::Bind, |c| Sqlite.is_word(c)),
            _ => Kind::Bind,
        }
    }

    /// A run of operator characters. An `@` that ends the run and touches an identifier is cut off: it may begin a
    /// placeholder.
    fn operator(&mut self) -> Kind {
        let run = &self.rest()[..operator_len(self.rest())];
        let ends_in_at = run.ends_with('@') && !run.ends_with("@@");
        let begins_name = self.rest()[run.len()..].starts_with(|c| Postgres.is_word(c) && c != '$');
        if !(ends_in_at && begins_name) {
            self.at += run.len();
            return Kind::Operator;
        }
        if run.len() == 1 {
            self.at += 1;
            return self.take(Kind::Variable, |c| Postgres.is_word(c));
        }
        self.at += run.len() - 1;
        Kind::Operator
    }

    fn at_sign(&mut self) -> Kind {
        let dialect = self.dialect;
        let start = self.at;
        match self.byte(1) {
            Some(b'@') => {
                self.take(Kind::ServerVariable, |c| c == '@');
                self.take(Kind::ServerVariable, |c| dialect.is_variable(c))
            }
            Some(b'\'' | b'"' | b'`') if dialect == Mysql => {
                self.at += 1;
                self.quoted(Kind::ServerVariable, start)
            }
            _ => {
                self.at += 1;
                self.take(Kind::Variable, |c| dialect.is_variable(c));
                if self.at == start + 1 { Kind::Symbol } else { Kind::Variable }
            }
        }
    }

    fn number(&mut self) -> Kind {
        self.take(Kind::Number, |c| c.is_ascii_alphanumeric() || c == '_');
        while self.byte(0) == Some(b'.') && self.byte(1).is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
            self.take(Kind::Number, |c| c.is_ascii_alphanumeric() || c == '_');
        }
        Kind::Number
    }

    fn word(&mut self) -> Kind {
        let start = self.at;
        self.at += self.word_len(0);
        let word = &self.text[start..self.at];
        if self.dialect == Postgres && word.eq_ignore_ascii_case("e") && self.byte(0) == Some(b'\'') {
            self.escape_string(start);
            return Kind::Literal;
        }
        Kind::Word
    }

    /// `E'…'`, which a string on a later line continues, with its escapes.
    fn escape_string(&mut self, start: usize) {
        loop {
            self.quoted(Kind::Literal, start);
            let length = gap_len(self.rest());
            if !self.rest()[length..].starts_with('\'') || !self.rest()[..length].contains(['\n', '\r']) {
                return;
            }
            self.at += length;
        }
    }

    fn unterminated(&mut self, opening: usize, what: &str, end: &str) {
        let message = format!("the {what} that begins here never ends: {} is missing", shown(end));
        self.problems.error(opening, message);
    }
}

/// The length of the white space and line comments that begin a text of PostgreSQL.
fn gap_len(text: &str) -> usize {
    let mut length = 0;
    loop {
        let rest = &text[length..];
        length += match rest.starts_with("--") {
            true => length_of(rest, |c| c != '\n' && c != '\r'),
            false => length_of(rest, |c| Postgres.is_space(c)),
        };
        if text.len() - length == rest.len() {
            return length;
        }
    }
}

/// The length of the operator that begins a text of PostgreSQL: up to a comment, which its characters could begin.
fn operator_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let begins_comment = |at: usize| matches!(bytes.get(at..at + 2), Some(b"--" | b"/*"));
    (0..bytes.len())
        .find(|&at| !is_operator(char::from(bytes[at])) || begins_comment(at))
        .unwrap_or(bytes.len())
}

fn is_operator(c: char) -> bool {
    "+-*/<>=~!@#%^&|`?".contains(c)
}

fn length_of(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

impl Dialect {
    fn is_space(self, c: char) -> bool {
        matches!(c, ' ' | '\t'..='\r') || self == Mssql && c.is_whitespace()
    }

    fn begins_word(self, c: char) -> bool {
        self.is_word(c) && !c.is_ascii_digit() && !(self == Mssql && matches!(c, '@' | '$'))
    }

    fn is_word(self, c: char) -> bool {
        match self {
            Mssql => c.is_alphanumeric() || matches!(c, '_' | '$' | '#' | '@'),
            _ => c.is_ascii_alphanumeric() || matches!(c, '_' | '$') || !c.is_ascii(),
        }
    }

    /// Whether a variable's name can have the character. MySQL's have dots, as host names do.
    fn is_variable(self, c: char) -> bool {
        self.is_word(c) || self == Mysql && c == '.'
    }
}
