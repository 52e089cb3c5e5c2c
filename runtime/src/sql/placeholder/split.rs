//! Cuts a query into statements at its `;`, but for those inside the bodies of triggers and routines.

use std::ops::Range;

use super::Dialect;
use super::lexer::{Kind, Token};
use super::problems::Problems;

/// How many tokens may stand between CREATE and PROCEDURE, as `OR REPLACE DEFINER = 'app'@'%'` does.
const HEADER: usize = 20;

/// The statements, as ranges of tokens without the `;`; each holds at least one.
pub(super) fn statements(dialect: Dialect, code: &[Token<'_>], problems: &mut Problems) -> Vec<Range<usize>> {
    if dialect == Dialect::Mssql {
        let has_code = code.iter().any(|token| !token.is(";"));
        return has_code.then_some(0..code.len()).into_iter().collect();
    }
    let lists = lists(code);
    let mut ranges = Vec::new();
    let mut start = 0;
    while start < code.len() {
        let length = statement_len(dialect, &code[start..], &lists[start..]);
        if length > 0 {
            ranges.push(start..start + length);
        }
        start += length;
        if let Some(Token { executable: Some(_), start, .. }) = code.get(start) {
            let help = "write the statements outside of it";
            problems.error_with_help(*start, "a comment that is executed (/*! … */) holds a \";\"", help);
        }
        start += 1;
    }
    ranges
}

/// Where a statement stands in the text: from a comment before it, which may hold hints, to its last token.
pub(super) fn span(tokens: &[Token<'_>], code: &[Token<'_>]) -> Range<usize> {
    let (Some(first), Some(last)) = (code.first(), code.last()) else { return 0..0 };
    let n_before = tokens.partition_point(|token| token.start < first.start);
    let n_comments = tokens[..n_before].iter().rev().take_while(|token| !token.is_code()).count();
    let before = &tokens[n_before - n_comments..n_before];
    let start =
        before.iter().find(|token| token.kind != Kind::Space).map_or(first.start, |token| token.start);
    let n_until = tokens.partition_point(|token| token.start <= last.start);
    let after = tokens[n_until..].iter().take_while(|token| !token.is_code());
    let end = after.filter(|token| token.kind == Kind::Marker).last().map_or(last.end(), Token::end);
    start..end
}

/// The number of tokens before the `;` that ends the first statement.
fn statement_len(dialect: Dialect, code: &[Token<'_>], lists: &[bool]) -> usize {
    let mut body = Body::of(dialect, code);
    for (index, token) in code.iter().enumerate() {
        if token.is(";") {
            if body.ends_at(code, index) {
                return index;
            }
        } else if token.kind == Kind::Word {
            body.enter(code, lists, index);
        }
    }
    code.len()
}

/// What decides which `;` ends a statement.
enum Body {
    /// The first.
    Plain,
    /// SQLite's trigger: the one after `; END`.
    Trigger,
    /// PostgreSQL's routine: the first outside of `BEGIN ATOMIC … END`, with the number of blocks open.
    Atomic(usize),
    /// MySQL's routine, trigger or event: the first outside of all blocks, with their number.
    Routine(usize),
}

impl Body {
    fn of(dialect: Dialect, code: &[Token<'_>]) -> Self {
        match dialect {
            Dialect::Sqlite if begins_trigger(code) => Self::Trigger,
            Dialect::Postgres if begins_sql_routine(code) => Self::Atomic(0),
            Dialect::Mysql if begins_routine(code) => Self::Routine(0),
            _ => Self::Plain,
        }
    }

    fn ends_at(&self, code: &[Token<'_>], index: usize) -> bool {
        match self {
            Self::Plain => true,
            Self::Trigger => {
                matches!(&code[..index], [.., semicolon, end] if semicolon.is(";") && end.is_word("END"))
            }
            Self::Atomic(n_open) | Self::Routine(n_open) => *n_open == 0,
        }
    }

    /// Counts the blocks that the keyword at `index` opens or closes.
    fn enter(&mut self, code: &[Token<'_>], lists: &[bool], index: usize) {
        let token = &code[index];
        let before = index.checked_sub(1).map(|index| &code[index]);
        if before.is_some_and(|before| before.is(".")) {
            return;
        }
        match self {
            Self::Plain | Self::Trigger => {}
            // A label, as in `SELECT 1 AS end`.
            Self::Atomic(_) if before.is_some_and(|before| before.is_word("AS")) => {}
            Self::Atomic(n_open @ 0) => *n_open += usize::from(begins_atomic(&code[index..])),
            Self::Atomic(n_open) | Self::Routine(n_open) if token.is_word("END") => {
                *n_open = n_open.saturating_sub(1);
            }
            Self::Atomic(n_open) => *n_open += usize::from(token.is_word("CASE")),
            // The second word of `END IF`.
            Self::Routine(_) if before.is_some_and(|before| before.is_word("END")) => {}
            Self::Routine(n_open) => *n_open += usize::from(opens_block(&code[index..], &lists[index..])),
        }
    }
}

/// SQLite's `CREATE [TEMP] TRIGGER`, as its sqlite3_complete sees it.
fn begins_trigger(code: &[Token<'_>]) -> bool {
    let code = after_explain(code);
    let rest = match code {
        [create, temporary, rest @ ..]
            if create.is_word("CREATE") && temporary.is_one_of(&["TEMP", "TEMPORARY"]) =>
        {
            rest
        }
        [create, rest @ ..] if create.is_word("CREATE") => rest,
        _ => return false,
    };
    rest.first().is_some_and(|token| token.is_word("TRIGGER"))
}

/// SQLite's statement without `EXPLAIN [QUERY PLAN]` before it.
pub(super) fn after_explain<'c, 't>(code: &'c [Token<'t>]) -> &'c [Token<'t>] {
    match code {
        [explain, query, plan, rest @ ..]
            if explain.is_word("EXPLAIN") && query.is_word("QUERY") && plan.is_word("PLAN") =>
        {
            rest
        }
        [explain, rest @ ..] if explain.is_word("EXPLAIN") => rest,
        _ => code,
    }
}

/// PostgreSQL's `CREATE [OR REPLACE] FUNCTION | PROCEDURE`.
fn begins_sql_routine(code: &[Token<'_>]) -> bool {
    let [create, rest @ ..] = code else { return false };
    let rest = match rest {
        [or, replace, rest @ ..] if or.is_word("OR") && replace.is_word("REPLACE") => rest,
        _ => rest,
    };
    create.is_word("CREATE") && rest.first().is_some_and(|token| token.is_one_of(&["FUNCTION", "PROCEDURE"]))
}

fn begins_atomic(code: &[Token<'_>]) -> bool {
    matches!(code, [begin, atomic, ..] if begin.is_word("BEGIN") && atomic.is_word("ATOMIC"))
}

/// MySQL's `CREATE … PROCEDURE | FUNCTION | TRIGGER | EVENT`, and `ALTER EVENT`.
fn begins_routine(code: &[Token<'_>]) -> bool {
    const WITH_BODY: &[&str] = &["PROCEDURE", "FUNCTION", "TRIGGER", "EVENT", "PACKAGE"];
    const WITHOUT: &[&str] =
        &["TABLE", "VIEW", "INDEX", "DATABASE", "SCHEMA", "USER", "ROLE", "SERVER", "SEQUENCE", "AS"];
    let [create, rest @ ..] = code else { return false };
    let mut header = rest.iter().take(HEADER).take_while(|token| !token.is("(") && !token.is(";"));
    let kind = header.find(|token| token.is_one_of(WITH_BODY) || token.is_one_of(WITHOUT));
    create.is_one_of(&["CREATE", "ALTER"]) && kind.is_some_and(|kind| kind.is_one_of(WITH_BODY))
}

/// Whether the keyword that the tokens begin with opens a block of MySQL that an END closes.
fn opens_block(code: &[Token<'_>], lists: &[bool]) -> bool {
    let next = code.get(1);
    // A function's arguments, as in `IF(a, b, c)` and `REPEAT('-', 3)`.
    let has_arguments = next.is_some_and(|next| next.is("(")) && lists.get(1).copied().unwrap_or_default();
    match code {
        [token, ..] if token.is_one_of(&["BEGIN", "CASE", "LOOP", "WHILE"]) => true,
        [token, ..] if token.is_word("REPEAT") => !has_arguments,
        [token, rest @ ..] if token.is_word("IF") => !has_arguments && !asks_existence(rest),
        // MariaDB's loop, and none of the many other clauses that begin with FOR.
        [token, _, of, ..] if token.is_word("FOR") => of.is_word("IN"),
        _ => false,
    }
}

/// `[NOT] EXISTS name`, as in `DROP TABLE IF EXISTS t`; before parentheses it's the condition of an IF.
fn asks_existence(code: &[Token<'_>]) -> bool {
    let code = match code {
        [not, rest @ ..] if not.is_word("NOT") => rest,
        _ => code,
    };
    matches!(code, [exists, next, ..] if exists.is_word("EXISTS") && !next.is("("))
}

/// For each token, whether it is an opening parenthesis whose group has a comma of its own.
fn lists(code: &[Token<'_>]) -> Vec<bool> {
    let mut lists = vec![false; code.len()];
    let mut open = Vec::new();
    for (index, token) in code.iter().enumerate() {
        if token.is("(") {
            open.push(index);
        } else if token.is(")") {
            open.pop();
        } else if token.is(",")
            && let Some(&opening) = open.last()
        {
            lists[opening] = true;
        }
    }
    lists
}
