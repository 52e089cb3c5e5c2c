//! Tests of placeholders: the rules of each dialect in tables, and what holds for any text.

use super::Dialect::{Mssql, Mysql, Postgres, Sqlite};
use super::*;
use crate::manifest::Severity;

mod hostile;
mod properties;
mod statements;
mod tokens;
mod variables;

const DIALECTS: [Dialect; 4] = [Postgres, Mysql, Mssql, Sqlite];

/// The parameters' names in all tables.
const NAMES: &[&str] = &["x", "id", "é", "x2", "first_name", "n$1", "tag#", "Status"];

/// The statements that a text without problems has, separated by ` ¦ `, placeholders written `«name»`.
#[track_caller]
fn read(dialect: Dialect, text: &str) -> String {
    let (query, problems) = Query::parse(dialect, text, NAMES);
    assert!(problems.is_empty(), "{dialect:?} {text:?}: {problems:?}");
    marked(&query.unwrap_or_else(|| panic!("{dialect:?} {text:?}: no problem and no query")))
}

fn marked(query: &Query) -> String {
    let marked = |statement: &Statement| {
        statement.render(|out, _, parameter| {
            out.push('«');
            out.push_str(&query.parameters()[parameter]);
            out.push('»');
        })
    };
    query.statements().iter().map(marked).collect::<Vec<_>>().join(" ¦ ")
}

/// Checks pairs of a text without problems and what is read of it; `=` if nothing is a placeholder.
#[track_caller]
fn table(dialect: Dialect, cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        let expected = if *expected == "=" { text } else { expected };
        assert_eq!(read(dialect, text), *expected, "{dialect:?} {text:?}");
    }
}

/// Checks texts that have one error (or one warning), which begins at `‸`, and parts of its message.
#[track_caller]
fn refused(dialect: Dialect, severity: Severity, cases: &[(&str, &str)]) {
    for (marked, part) in cases {
        let text = marked.replace('‸', "");
        let offset = marked.find('‸').expect("a place is marked");
        let (query, problems) = Query::parse(dialect, &text, NAMES);
        let [problem] = &problems[..] else { panic!("{dialect:?} {text:?}: {problems:?}") };
        let message = format!("{}; {}", problem.message, problem.help.as_deref().unwrap_or_default());
        assert!(message.contains(part), "{dialect:?} {text:?}: {message}");
        assert_eq!((problem.offset, problem.severity), (offset, severity), "{dialect:?} {text:?}: {message}");
        assert_eq!(query.is_some(), severity == Severity::Warning);
    }
}

#[track_caller]
fn errors(dialect: Dialect, cases: &[(&str, &str)]) {
    refused(dialect, Severity::Error, cases);
}

#[track_caller]
fn warnings(dialect: Dialect, cases: &[(&str, &str)]) {
    refused(dialect, Severity::Warning, cases);
}
