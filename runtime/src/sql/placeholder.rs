//! The query of a SQL operation: its statements, and in them the placeholders `@name`, found by the rules of a dialect.
//!
//! [`Query::parse`] works in linear time on any text: a lexer cuts the text into tokens, each `@name` among them is told
//! apart from the dialect's own variables and operators, the tokens are cut into statements at `;`, and statements that
//! would take the transaction out of Portcullis' hands are refused. Nothing but placeholders is ever changed.

mod control;
mod lexer;
mod problems;
mod split;
mod usage;
mod variable;

use std::collections::HashMap;
use std::ops::Range;

use self::lexer::{Kind, Token};
use self::problems::Problems;
pub use self::problems::{MAX_PROBLEMS, Problem};
use self::variable::Found;

/// The SQL that a query is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// PostgreSQL's.
    Postgres,
    /// MySQL's and MariaDB's.
    Mysql,
    /// Transact-SQL, Microsoft SQL Server's.
    Mssql,
    /// SQLite's.
    Sqlite,
}

/// A query cut into statements, with its placeholders found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    text: String,
    parameters: Vec<String>,
    statements: Vec<Statement>,
}

/// One statement of a query, without the `;` that ends it. It has code: it is never white space and comments alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    text: String,
    start: usize,
    keyword: String,
    placeholders: Vec<Placeholder>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Placeholder {
    /// Where it stands in the statement's text, in bytes, the `@` included.
    range: Range<usize>,
    parameter: usize,
}

impl Query {
    /// Reads a query. `names` are the parameters' names, the keys of `parametersSchema.properties`: `@name` is a
    /// placeholder where `name`, as long as the dialect's identifiers can be, is exactly one of them.
    ///
    /// Gives the query, or none if one of the problems is an error, and the problems in the order of the text.
    pub fn parse(dialect: Dialect, text: &str, names: &[&str]) -> (Option<Self>, Vec<Problem>) {
        let mut problems = Problems::default();
        let tokens = lexer::tokens(dialect, text, &mut problems);
        let code: Vec<_> = tokens.iter().copied().filter(Token::is_code).collect();
        let found = variable::placeholders(dialect, &code, names, &mut problems);
        let ranges = split::statements(dialect, &code, &mut problems);
        for range in &ranges {
            control::check(dialect, &code[range.clone()], &mut problems);
        }
        if dialect == Dialect::Mssql {
            control::check_batch(&tokens, &mut problems);
        }
        if ranges.is_empty() {
            problems.error(0, "the query holds no statement");
        }
        let query = (!problems.has_errors()).then(|| Self::new(text, &tokens, &code, &ranges, &found));
        (query, problems.finish())
    }

    fn new(
        text: &str,
        tokens: &[Token<'_>],
        code: &[Token<'_>],
        ranges: &[Range<usize>],
        found: &[Found<'_>],
    ) -> Self {
        let mut parameters = Parameters::default();
        let mut rest = found;
        let statements = ranges
            .iter()
            .map(|range| {
                let code = &code[range.clone()];
                let span = split::span(tokens, code);
                let n_inside = rest.partition_point(|found| found.range.start < span.end);
                let (inside, after) = rest.split_at(n_inside);
                rest = after;
                Statement::new(text, span, code, inside, &mut parameters)
            })
            .collect();
        Self { text: text.to_owned(), parameters: parameters.names, statements }
    }

    /// The query as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The names that its placeholders have, each once, in the order of their first use.
    pub fn parameters(&self) -> &[String] {
        &self.parameters
    }

    /// Its statements, at least one. A query in T-SQL is one batch, and is held as one statement.
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }
}

/// Names in the order of their first use.
#[derive(Default)]
struct Parameters<'t> {
    names: Vec<String>,
    indexes: HashMap<&'t str, usize>,
}

impl<'t> Parameters<'t> {
    fn index(&mut self, name: &'t str) -> usize {
        *self.indexes.entry(name).or_insert_with(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }
}

impl Statement {
    fn new<'t>(
        text: &str,
        span: Range<usize>,
        code: &[Token<'_>],
        found: &[Found<'t>],
        parameters: &mut Parameters<'t>,
    ) -> Self {
        let placeholder = |found: &Found<'t>| Placeholder {
            range: found.range.start - span.start..found.range.end - span.start,
            parameter: parameters.index(found.name),
        };
        Self {
            placeholders: found.iter().map(placeholder).collect(),
            start: span.start,
            keyword: keyword(code),
            text: text[span].to_owned(),
        }
    }

    /// Where the statement begins in the query's text, in bytes.
    pub fn start(&self) -> usize {
        self.start
    }

    /// The statement as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first keyword in upper case, after comments and opening parentheses: `SELECT`, `WITH`, `INSERT`, `CALL`.
    /// Empty if the statement begins with something else.
    pub fn keyword(&self) -> &str {
        &self.keyword
    }

    /// The parameter of each placeholder, in the order of the text: indexes into [`Query::parameters`].
    pub fn placeholders(&self) -> impl Iterator<Item = usize> {
        self.placeholders.iter().map(|placeholder| placeholder.parameter)
    }

    /// The statement with each placeholder replaced by what `write` writes for it; the rest is there byte for byte.
    /// `write` gets the text so far, the placeholder's number in this statement (from 0) and its parameter's index.
    pub fn render(&self, mut write: impl FnMut(&mut String, usize, usize)) -> String {
        let mut rendered = String::with_capacity(self.text.len());
        let mut end = 0;
        for (number, placeholder) in self.placeholders.iter().enumerate() {
            rendered.push_str(&self.text[end..placeholder.range.start]);
            write(&mut rendered, number, placeholder.parameter);
            end = placeholder.range.end;
        }
        rendered.push_str(&self.text[end..]);
        rendered
    }
}

/// None where an executable comment comes first: whether a server sees what is in it depends on the server.
fn keyword(code: &[Token<'_>]) -> String {
    if code.first().is_some_and(|token| token.executable.is_some()) {
        return String::new();
    }
    match code.iter().find(|token| !token.is("(") && !token.is(";")) {
        Some(token) if token.kind == Kind::Word => token.text.to_uppercase(),
        _ => String::new(),
    }
}

impl Dialect {
    /// Whether `@name` can stand for a parameter of that name.
    pub fn can_name(self, name: &str) -> bool {
        let mut problems = Problems::default();
        let text = format!("@{name}");
        let tokens = lexer::tokens(self, &text, &mut problems);
        matches!(tokens[..], [Token { kind: Kind::Variable, .. }])
    }

    /// The database's name, as messages write it.
    fn database(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Mysql => "MySQL",
            Self::Mssql => "SQL Server",
            Self::Sqlite => "SQLite",
        }
    }
}

#[cfg(test)]
mod tests;
