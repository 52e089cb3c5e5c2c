//! The words of a statement, as far as it takes to tell what the statement can't do.
//!
//! What is told here only ever spares work: a statement that isn't known to be quiet runs in a transaction, and its
//! session is looked into afterwards.

/// Functions and words that may stand before a parenthesis in a quiet statement: functions that MySQL and MariaDB have
/// both had for long, so that the names don't mean a stored function, and which change nothing in a session.
#[rustfmt::skip]
const HARMLESS: &[&str] = &[
    "ABS", "ACOS", "ADDDATE", "ADDTIME", "AES_DECRYPT", "AES_ENCRYPT", "AGAINST", "ALL", "AND", "ANY", "AS",
    "ASCII", "ASIN", "ATAN", "ATAN2", "AVG", "BETWEEN", "BIN", "BINARY", "BIT_AND", "BIT_COUNT", "BIT_LENGTH",
    "BIT_OR", "BIT_XOR", "BY", "CASE", "CAST", "CEIL", "CEILING", "CHAR", "CHARACTER_LENGTH", "CHAR_LENGTH",
    "COALESCE", "CONCAT", "CONCAT_WS", "CONNECTION_ID", "CONV", "CONVERT", "CONVERT_TZ", "COS", "COT",
    "COUNT", "CRC32", "CURDATE", "CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "CURRENT_USER",
    "CURTIME", "DATABASE", "DATE", "DATEDIFF", "DATETIME", "DATE_ADD", "DATE_FORMAT", "DATE_SUB", "DAY",
    "DAYNAME", "DAYOFMONTH", "DAYOFWEEK", "DAYOFYEAR", "DECIMAL", "DEFAULT", "DEGREES", "DENSE_RANK",
    "DISTINCT", "DIV", "ELSE", "ELT", "EXCEPT", "EXISTS", "EXP", "EXTRACT", "FIELD", "FIND_IN_SET",
    "FIRST_VALUE", "FLOOR", "FORMAT", "FROM", "FROM_BASE64", "FROM_DAYS", "FROM_UNIXTIME", "GREATEST",
    "GROUP_CONCAT", "HAVING", "HEX", "HOUR", "IF", "IFNULL", "IN", "INDEX", "INNER", "INSTR", "INTERSECT",
    "INTERVAL", "IS", "ISNULL", "JOIN", "JSON_ARRAY", "JSON_ARRAYAGG", "JSON_CONTAINS", "JSON_CONTAINS_PATH",
    "JSON_EXTRACT", "JSON_KEYS", "JSON_LENGTH", "JSON_OBJECT", "JSON_OBJECTAGG", "JSON_QUOTE", "JSON_SEARCH",
    "JSON_TYPE", "JSON_UNQUOTE", "JSON_VALID", "KEY", "LAG", "LAST_DAY", "LAST_VALUE", "LCASE", "LEAD",
    "LEAST", "LEFT", "LENGTH", "LIKE", "LIMIT", "LN", "LOCALTIME", "LOCALTIMESTAMP", "LOCATE", "LOG", "LOG10",
    "LOG2", "LOWER", "LPAD", "LTRIM", "MAKEDATE", "MAKETIME", "MATCH", "MAX", "MD5", "MICROSECOND", "MID",
    "MIN", "MINUTE", "MOD", "MONTH", "MONTHNAME", "NOT", "NOW", "NTILE", "NULLIF", "NUMERIC", "OCT",
    "OCTET_LENGTH", "OFFSET", "ON", "OR", "ORD", "OVER", "PARTITION", "PERIOD_ADD", "PERIOD_DIFF", "PI",
    "POSITION", "POW", "POWER", "QUARTER", "QUOTE", "RADIANS", "RAND", "RANK", "REGEXP", "REPEAT", "REPLACE",
    "REVERSE", "RIGHT", "ROUND", "ROW", "ROW_NUMBER", "RPAD", "RTRIM", "SECOND", "SEC_TO_TIME", "SELECT",
    "SHA", "SHA1", "SHA2", "SIGN", "SIGNED", "SIN", "SLEEP", "SOME", "SOUNDEX", "SPACE", "SQRT", "STD",
    "STDDEV", "STDDEV_POP", "STDDEV_SAMP", "STRCMP", "STR_TO_DATE", "SUBDATE", "SUBSTR", "SUBSTRING",
    "SUBSTRING_INDEX", "SUBTIME", "SUM", "SYSDATE", "TAN", "THEN", "TIME", "TIMEDIFF", "TIMESTAMP",
    "TIMESTAMPADD", "TIMESTAMPDIFF", "TIME_FORMAT", "TIME_TO_SEC", "TO_BASE64", "TO_DAYS", "TO_SECONDS",
    "TRIM", "TRUNCATE", "UCASE", "UNHEX", "UNION", "UNIX_TIMESTAMP", "UNSIGNED", "UPPER", "USER", "USING",
    "UTC_DATE", "UTC_TIME", "UTC_TIMESTAMP", "UUID", "VALUES", "VARCHAR", "VARIANCE", "VAR_POP", "VAR_SAMP",
    "VERSION", "WEEK", "WEEKDAY", "WEEKOFYEAR", "WHEN", "WHERE", "XOR", "YEAR", "YEARWEEK",
];

/// A piece of a statement. Space and comments are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'t> {
    /// A name, keyword or number.
    Word(&'t str),
    /// In backticks or double quotes, with these.
    Quoted(&'t str),
    /// In single quotes.
    Literal,
    /// A comment that a server may read as code.
    Executable,
    /// Any other character, by its first byte.
    Mark(u8),
}

/// The tokens of a statement in MySQL's SQL, with backslashes as escapes.
pub(super) struct Tokens<'t> {
    text: &'t str,
}

/// Cuts a statement into tokens.
pub(super) fn tokens(text: &str) -> Tokens<'_> {
    Tokens { text }
}

/// The statement's words outside of quotes and comments.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    tokens(text).filter_map(|token| match token {
        Token::Word(word) => Some(word),
        _ => None,
    })
}

/// Whether a statement that asks for rows can leave nothing in its session by itself: it uses no variables, and of
/// functions only such as are known to be harmless. What views do that it uses is another question.
pub(super) fn is_quiet(text: &str) -> bool {
    // Where names stand in double quotes, a backslash before one wouldn't be an escape.
    if text.contains('\\') {
        return false;
    }
    let (mut before, mut last) = (None, None);
    tokens(text).all(|token| {
        let is_quiet = match (token, last) {
            (Token::Executable | Token::Mark(b'@'), _) => false,
            (Token::Mark(b'('), Some(Token::Quoted(_))) => false,
            (Token::Mark(b'('), Some(Token::Word(name))) => {
                before != Some(Token::Mark(b'.')) && is_harmless(name)
            }
            _ => true,
        };
        (before, last) = (last, Some(token));
        is_quiet
    })
}

fn is_harmless(name: &str) -> bool {
    HARMLESS.iter().any(|harmless| harmless.eq_ignore_ascii_case(name))
}

impl<'t> Iterator for Tokens<'t> {
    type Item = Token<'t>;

    fn next(&mut self) -> Option<Token<'t>> {
        loop {
            let first = *self.text.as_bytes().first()?;
            match first {
                b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => self.take(1),
                b'#' => self.take_line(),
                b'-' if self.begins_dashed_comment() => self.take_line(),
                b'/' if self.text.starts_with("/*") => {
                    let comment = self.take(self.text.find("*/").map_or(self.text.len(), |at| at + 2));
                    if ["/*!", "/*M", "/*+"].iter().any(|start| comment.starts_with(start)) {
                        return Some(Token::Executable);
                    }
                    comment
                }
                _ => return Some(self.token(first)),
            };
        }
    }
}

impl<'t> Tokens<'t> {
    /// A token that begins with this byte.
    fn token(&mut self, first: u8) -> Token<'t> {
        match first {
            b'\'' => {
                self.take(quoted_length(self.text, first));
                Token::Literal
            }
            b'"' | b'`' => Token::Quoted(self.take(quoted_length(self.text, first))),
            _ if is_of_word(first) => {
                let length = self.text.bytes().position(|byte| !is_of_word(byte));
                Token::Word(self.take(length.unwrap_or(self.text.len())))
            }
            _ => {
                self.take(1);
                Token::Mark(first)
            }
        }
    }

    fn take(&mut self, n_bytes: usize) -> &'t str {
        let (taken, rest) = self.text.split_at(n_bytes);
        self.text = rest;
        taken
    }

    fn take_line(&mut self) -> &'t str {
        self.take(self.text.find('\n').unwrap_or(self.text.len()))
    }

    /// `--` is a comment where white space or nothing follows.
    fn begins_dashed_comment(&self) -> bool {
        let after = self.text.strip_prefix("--");
        after.is_some_and(|after| after.bytes().next().is_none_or(|byte| byte <= b' '))
    }
}

/// Every byte of characters past ASCII is one of a word's.
fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// How long a quoted text is, with its quotes; to the end where it isn't closed. A doubled quote makes two such texts one
/// after the other, which is the same to whoever asks here.
fn quoted_length(text: &str, quote: u8) -> usize {
    let mut bytes = text.bytes().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        if byte == quote {
            return at + 1;
        }
        if byte == b'\\' && quote != b'`' {
            bytes.next();
        }
    }
    text.len()
}

/// The name that a result's column has if it is exactly the placeholder `?` with this number: `?` itself, or its alias.
/// None if the placeholder doesn't stand alone in a list of columns.
pub(super) fn column_of_placeholder(text: &str, number: usize) -> Option<String> {
    let tokens: Vec<Token<'_>> = tokens(text).collect();
    let is_placeholder = |token: &&Token<'_>| **token == Token::Mark(b'?');
    let at = tokens.iter().enumerate().filter(|(_, token)| is_placeholder(token)).nth(number)?.0;
    if !tokens[..at].last().is_some_and(begins_column) {
        return None;
    }
    let after = match &tokens[at + 1..] {
        [first, rest @ ..] if first.is_one_of(&["AS"]) => rest,
        rest => rest,
    };
    match after {
        after if ends_column(after.first()) => Some("?".to_owned()),
        [Token::Word(alias), rest @ ..] if ends_column(rest.first()) => Some((*alias).to_owned()),
        [Token::Quoted(alias), rest @ ..] if ends_column(rest.first()) => {
            Some(alias.trim_matches(['`', '"']).to_owned())
        }
        _ => None,
    }
}

fn begins_column(before: &Token<'_>) -> bool {
    *before == Token::Mark(b',') || before.is_one_of(&["SELECT", "DISTINCT", "ALL"])
}

fn ends_column(after: Option<&Token<'_>>) -> bool {
    match after {
        None | Some(Token::Mark(b',' | b')')) => true,
        Some(token) => token.is_one_of(&["FROM", "UNION", "LIMIT"]),
    }
}

impl Token<'_> {
    fn is_one_of(&self, words: &[&str]) -> bool {
        matches!(self, Self::Word(word) if words.iter().any(|other| other.eq_ignore_ascii_case(word)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_outside_of_quotes_and_comments() {
        let text = "a 'b' \"c\" `d` -- e\n--f # g\n/* h */ i /*! j */ 'k\\'l' m 'n''o' é";
        assert_eq!(words(text).collect::<Vec<_>>(), ["a", "f", "i", "m", "é"]);
    }

    #[test]
    fn a_statement_is_quiet_if_nothing_in_it_can_change_the_session() {
        for (text, expected) in [
            ("SELECT * FROM t WHERE a = ? AND b IN (1, 2)", true),
            ("SELECT COUNT(*), max( x ) FROM t -- f(\n WHERE a = '@x(' /* g() */ LIMIT ?", true),
            ("SELECT '@' FROM t", true),
            ("SELECT f(1)", false),
            ("SELECT f (1)", false),
            ("SELECT f/* count */(1)", false),
            ("SELECT f -- count\n (1)", false),
            ("SELECT `count`(1)", false),
            ("SELECT \"count\"(1)", false),
            ("SELECT db.count(1)", false),
            ("SELECT db . count (1)", false),
            ("SELECT @a", false),
            ("SELECT @@sql_mode", false),
            ("SELECT /*! @a := */ 1", false),
            ("SELECT /*M! @a := */ 1", false),
            ("SELECT GET_LOCK('a', 1)", false),
            ("SELECT LAST_INSERT_ID(1)", false),
            ("SELECT '\\'', @a, '\\''", false),
            ("SELECT 'unclosed", true),
        ] {
            assert_eq!(is_quiet(text), expected, "{text}");
        }
    }

    #[test]
    fn a_placeholder_that_is_a_column_is_found() {
        for (text, number, expected) in [
            ("SELECT ?", 0, Some("?")),
            ("SELECT '?', ? AS `on time`, x", 0, Some("on time")),
            ("SELECT a, ? flag FROM t", 0, Some("flag")),
            ("SELECT DISTINCT ? as b FROM t", 0, Some("b")),
            ("SELECT a FROM t WHERE b = ?", 0, None),
            ("SELECT ? + 1", 0, None),
            ("SELECT COALESCE(?, a) AS b", 0, None),
            ("SELECT ?, ? AS b", 1, Some("b")),
            ("SELECT 1", 0, None),
        ] {
            assert_eq!(column_of_placeholder(text, number).as_deref(), expected, "{text}");
        }
    }
}
