//! How MySQL's and T-SQL's variables are used: for their value, as what is assigned, or as the name of an argument.

use super::Dialect::{self, Mssql, Mysql};
use super::lexer::{Kind, Token};

/// How a variable is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// For its value.
    Value,
    /// As what is declared or assigned.
    Assigned,
    /// As the name of a procedure's argument: `EXEC p @name = 1`.
    Argument,
}

/// The clause around a token, as far as it decides what a variable is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clause {
    Declare,
    Into,
    Set,
    Exec,
    Other,
}

/// T-SQL's reserved words that begin another statement or clause than EXEC's, DECLARE's or INTO's.
const T_SQL_CLAUSES: &[&str] = &[
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "MERGE",
    "WITH",
    "FROM",
    "WHERE",
    "VALUES",
    "IF",
    "ELSE",
    "WHILE",
    "BEGIN",
    "END",
    "RETURN",
    "PRINT",
    "RAISERROR",
    "TRUNCATE",
    "CREATE",
    "ALTER",
    "DROP",
    "OPEN",
    "CLOSE",
    "FETCH",
    "DEALLOCATE",
    "GOTO",
    "WAITFOR",
    "USE",
    "GRANT",
    "REVOKE",
    "DENY",
    "BREAK",
    "CONTINUE",
    "THROW",
];

/// How each token's variable is used, for the dialects that have variables.
pub(super) fn uses(dialect: Dialect, code: &[Token<'_>]) -> Vec<Use> {
    let mut uses = vec![Use::Value; code.len()];
    if !matches!(dialect, Mysql | Mssql) {
        return uses;
    }
    let (mut clause, mut depth) = (Clause::Other, 0_usize);
    for (index, token) in code.iter().enumerate() {
        match token.kind {
            Kind::Symbol if token.is("(") => depth += 1,
            Kind::Symbol if token.is(")") => depth = depth.saturating_sub(1),
            Kind::Symbol if token.is(";") => (clause, depth) = (Clause::Other, 0),
            Kind::Word => clause = clause_after(dialect, clause, token),
            Kind::Variable if dialect == Mssql => uses[index] = use_in_t_sql(code, index, clause, depth),
            Kind::Variable => uses[index] = use_in_mysql(code, index, clause, depth),
            _ => {}
        }
    }
    uses
}

fn clause_after(dialect: Dialect, clause: Clause, token: &Token<'_>) -> Clause {
    let is_t_sql = dialect == Mssql;
    match token {
        _ if token.is_word("SET") => Clause::Set,
        _ if token.is_word("INTO") => Clause::Into,
        _ if is_t_sql && token.is_word("DECLARE") => Clause::Declare,
        _ if is_t_sql && token.is_one_of(&["EXEC", "EXECUTE"]) => Clause::Exec,
        _ if is_t_sql && token.is_one_of(T_SQL_CLAUSES) => Clause::Other,
        _ if !is_t_sql && token.is_one_of(&["SELECT", "FROM", "WHERE", "ORDER", "LIMIT"]) => Clause::Other,
        // A table or a column comes after it, and no variables.
        _ if clause == Clause::Into => Clause::Other,
        _ => clause,
    }
}

fn use_in_mysql(code: &[Token<'_>], index: usize, clause: Clause, depth: usize) -> Use {
    let before = index.checked_sub(1).map(|index| &code[index]);
    let follows =
        |word: &str| before.is_some_and(|before| before.is_word(word) || depth == 0 && before.is(","));
    let is_assigned = match clause {
        _ if assigns(&code[index + 1..], &[":"]) => true,
        Clause::Set => follows("SET") && assigns(&code[index + 1..], &[]),
        Clause::Into => follows("INTO"),
        _ => false,
    };
    if is_assigned { Use::Assigned } else { Use::Value }
}

fn use_in_t_sql(code: &[Token<'_>], index: usize, clause: Clause, depth: usize) -> Use {
    let Some(before) = index.checked_sub(1).map(|index| &code[index]) else { return Use::Value };
    let next_of_list = depth == 0 && before.is(",");
    let compound = ["+", "-", "*", "/", "%", "&", "^", "|"];
    let assigns = assigns(&code[index + 1..], &compound) || assigns(&code[index + 1..], &[]);
    let is_assigned = match clause {
        Clause::Exec if before.is_one_of(&["EXEC", "EXECUTE"]) => assigns,
        Clause::Exec => return if assigns && depth == 0 { Use::Argument } else { Use::Value },
        Clause::Declare => before.is_word("DECLARE") || next_of_list,
        Clause::Into => before.is_word("INTO") || next_of_list,
        // `SELECT @x = a, @y += b`, `SELECT TOP (1) @x = a`, `UPDATE t SET @x = a = 1`
        _ => {
            let begins = before.is_one_of(&["SET", "SELECT", "DISTINCT", "ALL", "PERCENT", "TIES"]);
            let follows_top = depth == 0 && (before.is(")") || before.kind == Kind::Number);
            assigns && (begins || next_of_list || follows_top)
        }
    };
    if is_assigned { Use::Assigned } else { Use::Value }
}

/// Whether the tokens begin with `=`, or with one of the characters and `=` touching it if there are any.
fn assigns(code: &[Token<'_>], before: &[&str]) -> bool {
    match code {
        [equals, ..] if before.is_empty() => equals.is("="),
        [first, equals, ..] => {
            before.iter().any(|symbol| first.is(symbol)) && equals.is("=") && first.end() == equals.start
        }
        _ => false,
    }
}
