//! What a statement's text tells beyond what SQLite does: what it must not be, whether it changes rows, and what some
//! columns are.

/// Statements that reach past the file or the transaction.
const REFUSED: &[&str] =
    &["ATTACH", "BEGIN", "COMMIT", "DETACH", "END", "PRAGMA", "RELEASE", "ROLLBACK", "SAVEPOINT", "VACUUM"];

/// Why a connector can't run a statement. SQLite has no accounts, and its driver no way to tell it what to forbid, so
/// this is what keeps a query inside its file: other than the check when a connector is loaded, it doesn't depend on how the
/// text was cut into statements.
pub(super) fn refusal(text: &str) -> Option<String> {
    let mut tokens = Tokens { rest: text }.skip_while(|token| *token == ";").peekable();
    if tokens.next_if(|token| is(token, "EXPLAIN")).is_some() {
        tokens.next_if(|token| is(token, "QUERY"));
        tokens.next_if(|token| is(token, "PLAN"));
    }
    let first = tokens.next().unwrap_or_default().to_ascii_uppercase();
    if REFUSED.contains(&first.as_str()) {
        return Some(format!("{first} isn't allowed: a query stays in its file and in its transaction"));
    }
    // A trigger's statements are no statements of the query; they are of a few kinds.
    let in_trigger =
        |token: &str| first == "CREATE" && (is(token, "END") || !REFUSED.iter().any(|word| is(token, word)));
    let mut is_several = false;
    while let Some(token) = tokens.next() {
        is_several |= token == ";" && tokens.peek().is_some_and(|next| !in_trigger(next));
    }
    if is_several || (Tokens { rest: text }).any(|token| token.starts_with(['$', ':', '@', '#'])) {
        return Some(
            "the statement can't be told from others, or has variables that nothing is bound to".to_owned(),
        );
    }
    // With a bound argument it reads and writes this process's memory, whatever is configured.
    let is_unsafe = text.to_ascii_lowercase().contains("fts3_tokenizer");
    is_unsafe.then(|| "fts3_tokenizer isn't allowed".to_owned())
}

/// Whether a statement is one that at most reads.
pub(super) fn only_reads(text: &str) -> bool {
    let first = at_top(text).next().unwrap_or_default();
    ["SELECT", "WITH", "VALUES", "EXPLAIN"].iter().any(|verb| is(first, verb))
}

/// Whether a statement is an INSERT, UPDATE, DELETE or REPLACE, also behind a WITH.
pub(super) fn changes_rows(text: &str) -> bool {
    let is_change = |word: &str| ["INSERT", "UPDATE", "DELETE", "REPLACE"].iter().any(|verb| is(word, verb));
    let mut tokens = at_top(text);
    let Some(first) = tokens.next() else { return false };
    if !is(first, "WITH") {
        return is_change(first);
    }
    // The statement proper begins behind the last table's parentheses; a name there stands behind AS or a comma.
    let mut after_parentheses = false;
    for token in tokens {
        if after_parentheses && (is(token, "SELECT") || is(token, "VALUES")) {
            return false;
        }
        if after_parentheses && is_change(token) {
            return true;
        }
        after_parentheses = token == ")";
    }
    false
}

/// A column of a SELECT's result whose text tells what SQLite doesn't.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item<'t> {
    /// A parameter and nothing else, perhaps renamed: the number in its `?NNN`.
    Parameter(usize),
    /// `CAST(… AS type)`, perhaps renamed: the type.
    Cast(&'t str),
}

/// The columns of a SELECT's result that are such items, with their places. Columns behind a `*` aren't among them.
pub(super) fn items(text: &str) -> Vec<(usize, Item<'_>)> {
    const ENDS: &[&str] =
        &["FROM", "WHERE", "GROUP", "HAVING", "WINDOW", "ORDER", "LIMIT", "UNION", "INTERSECT", "EXCEPT"];
    let mut tokens = at_top(text).peekable();
    if !tokens.next().is_some_and(|token| is(token, "SELECT")) {
        return Vec::new();
    }
    tokens.next_if(|token| is(token, "DISTINCT") || is(token, "ALL"));
    let mut found = Vec::new();
    let (mut column, mut tokens_of_item) = (0, Vec::new());
    loop {
        let token = tokens.next();
        let ends = token.is_none_or(|token| ENDS.iter().any(|end| is(token, end)));
        if !ends && token != Some(",") {
            tokens_of_item.extend(token);
            continue;
        }
        if matches!(tokens_of_item.as_slice(), ["*"] | [_, ".", "*"]) {
            return found;
        }
        found.extend(item(text, &tokens_of_item).map(|item| (column, item)));
        if ends {
            return found;
        }
        tokens_of_item.clear();
        column += 1;
    }
}

fn item<'t>(text: &'t str, tokens: &[&'t str]) -> Option<Item<'t>> {
    match tokens {
        [cast, close, name @ ..] if is(cast, "CAST") && *close == ")" && is_renaming(name) => {
            let (start, end) = (offset_in(text, cast) + cast.len(), offset_in(text, close));
            let (_, inside) = text.get(start..end)?.split_once('(')?;
            let word = at_top(inside).filter(|token| is(token, "AS")).last()?;
            Some(Item::Cast(inside[offset_in(inside, word) + word.len()..].trim()))
        }
        [parameter, name @ ..] if is_renaming(name) => {
            parameter.strip_prefix('?')?.parse().ok().map(Item::Parameter)
        }
        _ => None,
    }
}

/// Whether these tokens give an expression before them a name, or are none.
fn is_renaming(tokens: &[&str]) -> bool {
    match tokens {
        [] => true,
        [name] => {
            name.starts_with(|c: char| c.is_alphabetic() || "_\"`['".contains(c))
                && !is(name, "ISNULL")
                && !is(name, "NOTNULL")
        }
        [word, _] => is(word, "AS"),
        _ => false,
    }
}

/// Where a part of the text begins in it.
fn offset_in(text: &str, part: &str) -> usize {
    part.as_ptr().addr() - text.as_ptr().addr()
}

fn is(token: &str, word: &str) -> bool {
    token.eq_ignore_ascii_case(word)
}

/// The name of a column that its author didn't name is the text of its expression, where `?NNN` stands for what was written
/// as `@name`.
pub(super) fn name_as_written(name: &str, written: &str, parameters: &[String]) -> String {
    if !name.contains('?') || written.contains(name) {
        return name.to_owned();
    }
    let mut pieces = name.split('?');
    let mut restored = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let n_digits = piece.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = piece.split_at(n_digits);
        let parameter = digits.parse().ok().and_then(|number: usize| parameters.get(number.checked_sub(1)?));
        match parameter {
            Some(parameter) => restored.extend(["@", parameter, rest]),
            None => restored.extend(["?", piece]),
        }
    }
    restored
}

/// The tokens that stand in no parentheses; of a pair of parentheses, the closing one is there.
fn at_top(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    Tokens { rest: text }.filter(move |token| {
        match *token {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
    })
}

/// The tokens of a text in SQLite's SQL: words and numbers, parameters, literals and quoted names, and single characters.
struct Tokens<'t> {
    rest: &'t str,
}

impl<'t> Iterator for Tokens<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        loop {
            self.rest = self.rest.trim_start();
            let n_comment = comment(self.rest);
            if n_comment == 0 {
                break;
            }
            self.rest = &self.rest[n_comment..];
        }
        let first = self.rest.chars().next()?;
        let n_bytes = match first {
            '\'' | '"' | '`' => quoted(self.rest, first),
            '[' => self.rest.find(']').map_or(self.rest.len(), |end| end + 1),
            '?' => 1 + word(&self.rest[1..]),
            _ => word(self.rest).max(first.len_utf8()),
        };
        let (token, rest) = self.rest.split_at(n_bytes);
        self.rest = rest;
        Some(token)
    }
}

/// How many bytes of the text are a comment at its beginning.
fn comment(text: &str) -> usize {
    let end = |mark: &str, n_mark| text.find(mark).map_or(text.len(), |at| at + n_mark);
    match text.get(..2) {
        Some("--") => end("\n", 1),
        Some("/*") => text[2..].find("*/").map_or(text.len(), |at| at + 4),
        _ => 0,
    }
}

/// How many bytes a literal or quoted name at the beginning of the text has; a doubled quote doesn't end it.
fn quoted(text: &str, quote: char) -> usize {
    let mut quotes = text.char_indices().skip(1).filter(|(_, c)| *c == quote).map(|(at, _)| at);
    while let Some(at) = quotes.next() {
        if !text[at + 1..].starts_with(quote) {
            return at + 1;
        }
        quotes.next();
    }
    text.len()
}

fn word(text: &str) -> usize {
    text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii())).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_the_file_or_the_transaction_is_refused() {
        for text in [
            "ATTACH '/etc/passwd' AS a",
            " -- a\n/* b */ attach ?1 AS a",
            ";ATTACH ?1 AS a",
            "COMMIT",
            "PRAGMA query_only = 0",
            "EXPLAIN PRAGMA query_only = 0",
            "explain query plan PRAGMA x",
            "VACUUM INTO 'x'",
            "SELECT 1; ATTACH 'x' AS a",
            "SELECT 1;;SELECT 2",
            "CREATE TABLE t (a); ATTACH 'x' AS a",
            "SELECT $1('), 1; ATTACH 'x' AS a --')",
            "SELECT :a",
            "SELECT fts3_tokenizer('simple')",
            "SELECT \"FTS3_Tokenizer\"(?1, ?2)",
        ] {
            assert!(refusal(text).is_some(), "{text}");
        }
        for text in [
            "SELECT 1;",
            "SELECT ';' AS \"a;b\", [c;d] /* ; */ -- ;",
            "EXPLAIN QUERY PLAN SELECT 1",
            "SELECT 'a$b:c@d', a$b FROM t",
            "CREATE TRIGGER a AFTER INSERT ON t BEGIN DELETE FROM t; END",
            "SELECT begin FROM pragma",
        ] {
            assert_eq!(refusal(text), None, "{text}");
        }
    }

    #[test]
    fn statements_that_change_rows_are_known() {
        for text in [
            "INSERT INTO t VALUES (1)",
            "replace into t values (1)",
            "WITH a AS (SELECT 1) DELETE FROM t",
            "with recursive a(n) as not materialized (select ')' -- )\n), b as (values (1)) insert into t select 1",
            "WITH \"replace\" AS (SELECT 1) UPDATE t SET a = 1",
        ] {
            assert!(changes_rows(text), "{text}");
        }
        for text in [
            "SELECT 'INSERT'",
            "WITH a AS (SELECT 1) SELECT * FROM a",
            "WITH replace AS (SELECT 1) SELECT replace('a', 'b', 'c') FROM replace",
            "WITH replace AS (SELECT 1), a AS (SELECT 2) SELECT 1",
            "CREATE TABLE t (a)",
            "",
        ] {
            assert!(!changes_rows(text), "{text}");
        }
    }

    #[test]
    fn bare_parameters_and_casts_are_found() {
        use Item::{Cast, Parameter};

        for (text, expected) in [
            ("SELECT ?1", vec![(0, Parameter(1))]),
            (
                "select distinct ?2 AS v, ?1 w, 'a,b' x, ?3 \"y z\"",
                vec![(0, Parameter(2)), (1, Parameter(1)), (3, Parameter(3))],
            ),
            (
                "SELECT coalesce(?1, 2), (?1), ?1 + 1, -?1, ?1 IS NULL, ?1 ISNULL, ?12",
                vec![(6, Parameter(12))],
            ),
            ("SELECT ?1, *, ?2 FROM t", vec![(0, Parameter(1))]),
            ("SELECT ?1 AS a, t.*, ?2 FROM t", vec![(0, Parameter(1))]),
            (
                "SELECT 2 * 3, ?1 /* , */ AS a -- , ?2\n, ?3 FROM t WHERE a = ?4",
                vec![(1, Parameter(1)), (2, Parameter(3))],
            ),
            ("SELECT (SELECT ?1, 2), ?2 UNION SELECT ?3, 1", vec![(1, Parameter(2))]),
            ("SELECT 'it''s, ' || ?1, [a,b], `c,d`, ?2 FROM t", vec![(3, Parameter(2))]),
            (
                "SELECT cast(sum(a AS b) as DECIMAL(10, 2)) AS x, CAST(a AS INT) + 1, CAST ( ?1 AS BOOLEAN ) y, CAST(1)",
                vec![(0, Cast("DECIMAL(10, 2)")), (2, Cast("BOOLEAN"))],
            ),
            ("INSERT INTO t SELECT ?1", vec![]),
            ("VALUES (?1)", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(items(text), expected, "{text}");
        }
    }

    #[test]
    fn columns_are_named_as_their_expressions_were_written() {
        let parameters = ["a".to_owned(), "long_name".to_owned()];
        let name = |name: &str, written: &str| name_as_written(name, written, &parameters);
        assert_eq!(name("?1", "SELECT @a"), "@a");
        assert_eq!(name("?2 || '?' || ?1", "SELECT @long_name || '?' || @a"), "@long_name || '?' || @a");
        assert_eq!(name("really?1", "SELECT @a AS \"really?1\""), "really?1");
        assert_eq!(name("?9", "SELECT @a"), "?9");
        assert_eq!(name("price", "SELECT price"), "price");
    }

    #[test]
    fn any_text_has_tokens() {
        for text in ["'", "\"a''", "[", "/*", "--", "/* é", "é?é", "``` a", "?", "-", "(((", ")))"] {
            assert!(Tokens { rest: text }.count() <= text.len());
        }
    }
}
