//! Refuses the statements that aren't a connector's business: those that begin or end transactions, those that lead
//! SQLite out of its file, and the words of a database's own client.
//!
//! This tells authors early what can't work. It is no guard: what a query may do, the database and its role decide.

use super::Dialect::{self, Mssql, Mysql, Postgres, Sqlite};
use super::lexer::{Kind, Token};
use super::problems::{Problems, shown};
use super::split::after_explain;

const ONE_TRANSACTION: &str = "the statements run in one transaction, which Portcullis begins and ends";
const LEAVE_OUT: &str =
    "leave it out: the transaction ends after the last statement, and is rolled back if one fails";

/// How many of the executable comments that begin a statement are looked behind.
const MOST_SKIPPED: usize = 32;

/// Checks one statement.
pub(super) fn check(dialect: Dialect, code: &[Token<'_>], problems: &mut Problems) {
    check_binds(dialect, code, problems);
    if dialect == Mssql {
        return check_words(code, problems);
    }
    for start in beginnings(code) {
        let code = &code[start..];
        let code = if dialect == Sqlite { after_explain(code) } else { code };
        if let Some((message, help)) = refused(dialect, code) {
            return problems.error_with_help(code[0].start, message, help);
        }
    }
}

/// Where a server may see the statement begin: at the first word, and after executable comments that it skips.
fn beginnings(code: &[Token<'_>]) -> impl Iterator<Item = usize> {
    let first = code.iter().position(|token| !token.is("(")).unwrap_or_default();
    let n_skippable = code.iter().take_while(|token| token.executable.is_some()).count();
    let later = (1..=n_skippable.min(code.len() - 1))
        .filter(|&index| code[index].executable != code[index - 1].executable);
    std::iter::once(first).chain(later.take(MOST_SKIPPED))
}

/// Why a statement that begins with these tokens is refused, and what to do about it.
fn refused(dialect: Dialect, code: &[Token<'_>]) -> Option<(String, &'static str)> {
    let [first, rest @ ..] = code else { return None };
    if first.kind != Kind::Word {
        return None;
    }
    let keyword = first.text.to_ascii_uppercase();
    let second = rest.first().map_or_else(String::new, |token| token.text.to_ascii_uppercase());
    match (dialect, keyword.as_str(), second.as_str()) {
        (_, "BEGIN" | "COMMIT" | "END" | "ROLLBACK" | "ABORT" | "SAVEPOINT" | "RELEASE", _)
        | (Mysql, "XA" | "LOCK" | "UNLOCK", _) => Some(transaction(&keyword)),
        (Postgres | Mysql, "START", "TRANSACTION") | (Postgres, "PREPARE", "TRANSACTION") => {
            Some(transaction(&format!("{keyword} {second}")))
        }
        (Postgres, "SET" | "RESET", _) | (Mysql, "SET", _) => {
            let sets = if dialect == Mysql { mysql_sets_transaction(rest) } else { sets_transaction(rest) };
            sets.then(|| transaction(&format!("{keyword} of a transaction's mode")))
        }
        (Mysql, "DELIMITER", _) => Some((
            "DELIMITER is a word of MySQL's own client: the server doesn't know it".to_owned(),
            "leave it out: the body of a routine from BEGIN to END stays one statement",
        )),
        (Sqlite, "PRAGMA", _) => Some((
            "PRAGMA isn't allowed".to_owned(),
            "to ask for what a pragma tells, use its table-valued function, such as SELECT * FROM pragma_table_info('t')",
        )),
        (Sqlite, "ATTACH" | "DETACH" | "VACUUM", _) => {
            Some((format!("{keyword} isn't allowed"), "a connector reads and writes its own file alone"))
        }
        _ => None,
    }
}

fn transaction(what: &str) -> (String, &'static str) {
    (format!("{what} isn't allowed: {ONE_TRANSACTION}"), LEAVE_OUT)
}

/// PostgreSQL's `SET [SESSION | LOCAL] TRANSACTION`, `SET SESSION CHARACTERISTICS`, and `SET transaction_read_only`.
fn sets_transaction(code: &[Token<'_>]) -> bool {
    let name = match code {
        [scope, name, ..] if scope.is_one_of(&["SESSION", "LOCAL"]) => name,
        [name, ..] => name,
        [] => return false,
    };
    let plain = name.text.trim_matches('"').to_ascii_lowercase();
    matches!(name.kind, Kind::Word | Kind::Name)
        && (plain.starts_with("transaction") || plain == "characteristics")
}

/// MySQL's `SET … TRANSACTION`, `SET autocommit = 0`, `SET @@session.transaction_read_only = 0`, and MariaDB's
/// `SET STATEMENT … FOR COMMIT`.
fn mysql_sets_transaction(code: &[Token<'_>]) -> bool {
    let is_statement = code.first().is_some_and(|token| token.is_word("STATEMENT"));
    let ends_in_refused = |index: usize| {
        let inner = &code[index + 1..];
        is_statement
            && code[index].is_word("FOR")
            && inner.first().is_some_and(|token| !token.is_word("SET"))
            && refused(Mysql, inner).is_some()
    };
    code.iter().take(2).any(|token| token.is_word("TRANSACTION"))
        || code.windows(2).any(|pair| is_mode(&pair[0]) && (pair[1].is("=") || pair[1].is(":")))
        || (0..code.len()).any(ends_in_refused)
}

/// Whether it is MySQL's name of a setting that transactions hang on.
fn is_mode(token: &Token<'_>) -> bool {
    const MODES: &[&str] =
        &["autocommit", "transaction_read_only", "transaction_isolation", "tx_read_only", "tx_isolation"];
    let name = token.text.rsplit('.').next().unwrap_or_default().trim_matches(['`', '@']);
    matches!(token.kind, Kind::Word | Kind::Name | Kind::ServerVariable)
        && MODES.iter().any(|mode| name.eq_ignore_ascii_case(mode))
}

/// T-SQL's reserved words for transactions, wherever they stand: a batch has no marks between its statements.
fn check_words(code: &[Token<'_>], problems: &mut Problems) {
    const TRANSACTION: &[&str] = &["TRAN", "TRANSACTION"];
    for (index, token) in code.iter().enumerate() {
        let rest = &code[index + 1..];
        let before_one_of = |words: &[&str]| rest.first().is_some_and(|next| next.is_one_of(words));
        let n_words = if token.is_one_of(&["COMMIT", "ROLLBACK"]) {
            1
        } else if token.is_one_of(&["BEGIN", "SAVE"]) && before_one_of(TRANSACTION)
            || token.is_word("BEGIN") && before_one_of(&["DISTRIBUTED"])
            || token.is_word("SET") && before_one_of(&["IMPLICIT_TRANSACTIONS"])
        {
            2
        } else {
            continue;
        };
        let words: Vec<_> = code[index..index + n_words].iter().map(|token| token.text).collect();
        let (message, _) = transaction(&words.join(" ").to_ascii_uppercase());
        let help =
            "leave it out: the transaction ends after the query, and is rolled back if the query fails";
        problems.error_with_help(token.start, message, help);
    }
}

/// T-SQL's client cuts a text into batches where a line says GO.
pub(super) fn check_batch(tokens: &[Token<'_>], problems: &mut Problems) {
    let ends_line = |token: Option<&Token<'_>>| {
        token.is_none_or(|token| token.kind == Kind::Space && token.text.contains('\n'))
    };
    for (index, token) in tokens.iter().enumerate().filter(|(_, token)| token.is_word("GO")) {
        let begins_line = ends_line(tokens[..index].last()) || index == 1 && tokens[0].kind == Kind::Space;
        let after = match &tokens[index + 1..] {
            [space, number, rest @ ..] if !ends_line(Some(space)) && number.kind == Kind::Number => rest,
            rest => rest,
        };
        let after = match after {
            [space] if space.kind == Kind::Space => &[],
            _ => after,
        };
        if begins_line && ends_line(after.first()) {
            let message = "GO is a word of SQL Server's own client: the server doesn't know it";
            let help = "leave it out: the whole query runs as one batch";
            problems.error_with_help(token.start, message, help);
        }
    }
}

/// Bind variables in the database's own spelling, which would stay unbound or take another parameter's value.
fn check_binds(dialect: Dialect, code: &[Token<'_>], problems: &mut Problems) {
    // The parameters of a function's or a prepared statement's body.
    let defines =
        dialect == Postgres && code.first().is_some_and(|token| token.is_one_of(&["CREATE", "PREPARE"]));
    for token in code.iter().filter(|token| token.kind == Kind::Bind && !defines) {
        let (bind, database) = (shown(token.text), dialect.database());
        let message = format!("{bind} is a bind variable of {database}'s own, and nothing is bound to it");
        problems.error_with_help(token.start, message, "write @name for the parameter \"name\"");
    }
}
