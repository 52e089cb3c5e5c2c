//! Whatever a query says, reading it ends in statements that hold the text byte for byte, or in problems that stand inside
//! it; and placeholders that stand between literals, comments and names are found, and nothing in these is.
//!
//! The first byte chooses the dialect, and whether the rest is the text or a recipe for one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_runtime::Severity;
use portcullis_runtime::sql::placeholder::{Dialect, MAX_PROBLEMS, Query};

const DIALECTS: [Dialect; 4] = [Dialect::Postgres, Dialect::Mysql, Dialect::Mssql, Dialect::Sqlite];

const NAMES: &[&str] = &["x", "id", "x2", "é", "first_name", "a$1", "T#", "a.b"];

/// What each dialect takes for a literal, a comment or a name, and neither ends a statement nor assigns a variable.
const CLOSED: &[&str] = &[
    "'@x'",
    "'it''s @x ; '",
    "N'@id'",
    "/* @x ; ' */",
    "/**/",
    "-- @x ; '\n",
    "''",
    "t.name",
    "name",
    "1.5",
    ",",
    "(",
    ")",
    "=",
    "@@x",
    "@ 5",
];

/// The same of one dialect alone, in the order of [`DIALECTS`].
const CLOSED_IN: [&[&str]; 4] = [
    &[
        "E'\\'@x' ||",
        "$$@x;'$$",
        "$a$@x$$;$a$",
        "/* /* @x */ ; @x */",
        "\"@x\"\"\"",
        "U&'\\'",
        "a$b$",
        "a @> b",
        "<@",
        "::date",
        "->>",
        "@(-5)",
        "'\\'",
    ],
    &[
        "'\\'@x'",
        "\"@x;\\\"\"",
        "`@x``;`",
        "# @x;'\n",
        "@'x;'",
        "@`x`",
        "@other",
        "@@global.x",
        "me@id",
        "5--1",
        "@x.y",
    ],
    &[
        "[@x]];]",
        "/* /* @x */ ; @x */",
        "\"@x\"\"\"",
        "@@ROWCOUNT",
        "@other",
        "name@x",
        "#t",
        "'\\'",
        "@x@id",
    ],
    &["[@x[;]", "`@x``;`", "\"@x\"\"\"", "/* /* @x */", "'\\'", "->>", "a$b"],
];

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let index = usize::from(choice / 2) % DIALECTS.len();
    if choice % 2 == 0 {
        read(DIALECTS[index], &String::from_utf8_lossy(bytes));
    } else {
        follow(index, bytes);
    }
});

/// Reads any text.
fn read(dialect: Dialect, text: &str) {
    let (query, problems) = Query::parse(dialect, text, NAMES);
    assert!(problems.len() <= 2 * MAX_PROBLEMS);
    for problem in &problems {
        assert!(problem.offset <= text.len() && text.is_char_boundary(problem.offset), "{problem:?}");
    }
    assert_eq!(query.is_none(), problems.iter().any(|problem| problem.severity == Severity::Error));
    let Some(query) = query else { return };
    assert!(!query.statements().is_empty());
    assert_eq!(written(text, &query, "@", ""), text);
    for statement in query.statements() {
        assert!(!statement.text().trim().is_empty());
        assert!(statement.placeholders().all(|parameter| parameter < query.parameters().len()));
        if statement.text().ends_with("--") {
            // At the end of a text MySQL takes it for a comment, before a `;` for two operators.
            continue;
        }
        // A statement by itself is what it was among others.
        let (alone, problems) = Query::parse(dialect, statement.text(), NAMES);
        let alone = alone.unwrap_or_else(|| panic!("{:?}: {problems:?}", statement.text()));
        assert_eq!(alone.statements().len(), 1, "{:?}", statement.text());
        assert_eq!(
            written(statement.text(), &alone, "«", "»"),
            statement.render(|out, _, parameter| {
                out.push_str(&format!("«{}»", query.parameters()[parameter]));
            })
        );
    }
}

/// Makes a text of pieces whose meaning is known, and reads it.
fn follow(index: usize, recipe: &[u8]) {
    let (mut text, mut expected) = ("SELECT 1 ".to_owned(), "SELECT 1 ".to_owned());
    for &byte in recipe {
        let number = usize::from(byte / 3);
        let (piece, marked) = match byte % 3 {
            0 => (format!("@{} ", NAMES[number % 5]), format!("«{}» ", NAMES[number % 5])),
            kind => {
                let pieces = if kind == 1 { CLOSED } else { CLOSED_IN[index] };
                let piece = format!("{} ", pieces[number % pieces.len()]);
                (piece.clone(), piece)
            }
        };
        text.push_str(&piece);
        expected.push_str(&marked);
    }
    let (query, problems) = Query::parse(DIALECTS[index], &text, NAMES);
    if problems.iter().any(|problem| problem.message.contains("declare or assign")) {
        return;
    }
    let query = query.unwrap_or_else(|| panic!("{text:?}: {problems:?}"));
    assert_eq!(written(&text, &query, "«", "»"), expected);
}

/// The text with each placeholder written again between `before` and `after`.
fn written(text: &str, query: &Query, before: &str, after: &str) -> String {
    let (mut whole, mut end) = (String::new(), 0);
    for statement in query.statements() {
        whole.push_str(&text[end..statement.start()]);
        whole.push_str(&statement.render(|out, _, parameter| {
            out.push_str(&format!("{before}{}{after}", query.parameters()[parameter]));
        }));
        end = statement.start() + statement.text().len();
    }
    whole.push_str(&text[end..]);
    whole
}
