//! What kind of statement a text is, and the same statement with some of its columns cast.

use std::fmt::Write as _;

use super::lex::token_length;

/// What a statement does with rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Returns them: it can stand where a table can.
    Query,
    /// Changes them, and perhaps returns what it changed.
    Change,
    /// Neither.
    Other,
}

impl Shape {
    /// The shape of a statement with this keyword and this text.
    pub(super) fn of(keyword: &str, text: &str) -> Self {
        match keyword {
            "SELECT" | "VALUES" | "TABLE" => Self::Query,
            "INSERT" | "UPDATE" | "DELETE" | "MERGE" => Self::Change,
            "WITH" => Self::after_with(text),
            _ => Self::Other,
        }
    }

    /// The shape by the first verb of a `WITH` statement that stands in no parentheses.
    fn after_with(text: &str) -> Self {
        let mut depth = 0_usize;
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let length = token_length(rest, first);
            let (token, after) = rest.split_at(length);
            match first {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ if depth == 0 => match token.to_ascii_uppercase().as_str() {
                    "SELECT" | "VALUES" | "TABLE" => return Self::Query,
                    // These may be names: a name in this place is followed by its columns or by AS.
                    "INSERT" | "UPDATE" | "DELETE" | "MERGE" if !is_name(after) => return Self::Change,
                    _ => {}
                },
                _ => {}
            }
            rest = after;
        }
        // `WITH … (SELECT …)`: the last parentheses were the statement.
        Self::Query
    }

    /// The statement `text` with the casts that `casts` has for its columns, none for those that stay as they are. None if
    /// a statement of this shape can't stand inside another.
    pub(super) fn cast(self, text: &str, casts: &[Option<&str>]) -> Option<String> {
        let names: Vec<String> = (1..=casts.len()).map(|number| format!("c{number}")).collect();
        let mut columns = String::new();
        for (name, cast) in names.iter().zip(casts) {
            let comma = if columns.is_empty() { "" } else { ", " };
            // Writing into a String can't fail.
            let _ = match cast {
                Some(cast) => write!(columns, "{comma}q.{name}::{cast}"),
                None => write!(columns, "{comma}q.{name}"),
            };
        }
        let names = names.join(", ");
        // The text may end in a comment to the end of its line.
        match self {
            Self::Query => Some(format!("SELECT {columns} FROM (\n{text}\n) AS q({names})")),
            Self::Change => Some(format!("WITH q({names}) AS (\n{text}\n) SELECT {columns} FROM q")),
            Self::Other => None,
        }
    }
}

/// Whether what stands before `after` is the name of a `WITH` query.
fn is_name(after: &str) -> bool {
    let mut rest = after;
    while let Some(first) = rest.chars().next() {
        let is_comment = rest.starts_with("--") || rest.starts_with("/*");
        if !first.is_whitespace() && !is_comment {
            let length = token_length(rest, first);
            return first == '(' || rest[..length].eq_ignore_ascii_case("AS");
        }
        rest = &rest[token_length(rest, first)..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verb_after_with_says_what_a_statement_does() {
        for (text, expected) in [
            ("WITH a AS (SELECT 1) SELECT * FROM a", Shape::Query),
            ("WITH a AS (UPDATE t SET x = 1 RETURNING x) SELECT * FROM a", Shape::Query),
            ("with a as (select 1) insert into t select * from a", Shape::Change),
            ("WITH RECURSIVE \"insert\"(n) AS (SELECT ')') UPDATE t SET n = 1", Shape::Change),
            ("WITH a AS (SELECT $x$ ) delete $x$), b AS (SELECT 1) /* delete /* */ */ TABLE b", Shape::Query),
            ("WITH update AS (SELECT 1), delete(n) AS (SELECT 2) -- insert\nSELECT 1", Shape::Query),
            ("WITH a AS (SELECT $1, $2) DELETE FROM t", Shape::Change),
            ("WITH a AS (SELECT 1) (SELECT 2)", Shape::Query),
            ("WITH a AS MATERIALIZED (SELECT 1) MERGE INTO t USING a ON true", Shape::Change),
        ] {
            assert_eq!(Shape::of("WITH", text), expected, "{text}");
        }
        assert_eq!(Shape::of("EXPLAIN", "EXPLAIN SELECT 1"), Shape::Other);
    }

    #[test]
    fn no_text_is_cut_inside_a_character() {
        for text in ["é", "\"é", "$é$ é", "/* é", "--é", "'", "$", "$$", "/*/", "é/", "$1$é"] {
            Shape::after_with(text);
        }
    }

    #[test]
    fn columns_are_cast_around_a_statement() {
        let casts = [None, Some("pg_catalog.text")];
        assert_eq!(
            Shape::Query.cast("SELECT 1, r FROM t -- x", &casts).as_deref(),
            Some("SELECT q.c1, q.c2::pg_catalog.text FROM (\nSELECT 1, r FROM t -- x\n) AS q(c1, c2)")
        );
        assert_eq!(
            Shape::Change.cast("DELETE FROM t RETURNING r", &casts[1..]).as_deref(),
            Some("WITH q(c1) AS (\nDELETE FROM t RETURNING r\n) SELECT q.c1::pg_catalog.text FROM q")
        );
        assert_eq!(Shape::Other.cast("CALL p()", &casts), None);
    }
}
