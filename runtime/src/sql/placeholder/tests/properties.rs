//! What holds for any text: what isn't a placeholder comes out as it went in, and placeholders are where they were put.

use proptest::prelude::*;

use super::*;

fn dialect() -> impl Strategy<Value = Dialect> {
    prop::sample::select(DIALECTS.to_vec())
}

/// Pieces that mean something in some dialect, in any order.
fn fragments() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "SELECT ",
        "@x",
        "@id",
        "@@x",
        "@nothing",
        "@",
        "x",
        "'",
        "''",
        "\"",
        "`",
        "[",
        "]",
        "\\",
        "E'",
        "N'",
        "U&'",
        "$$",
        "$a$",
        "$1",
        "$",
        "--",
        "-- ",
        "#",
        "\n",
        "\r",
        " ",
        "/*",
        "*/",
        "/*!",
        "/*M!",
        "/*!50000 ",
        ";",
        "(",
        ")",
        ",",
        "=",
        "<",
        ">",
        "||",
        ":",
        "::",
        ":=",
        "?",
        "+",
        "-",
        "~",
        "|",
        "BEGIN ",
        "END",
        "CASE ",
        "IF ",
        "IF(",
        "CREATE ",
        "TRIGGER ",
        "FUNCTION ",
        "PROCEDURE ",
        "ATOMIC ",
        "DECLARE ",
        "SET ",
        "INTO ",
        "EXEC ",
        "COMMIT",
        "GO",
        "é",
        "😀",
        "\0",
        "1",
        "1.5",
        "a.b",
        "_",
    ];
    prop::collection::vec(prop::sample::select(PIECES), 0..24).prop_map(|pieces| pieces.concat())
}

/// A piece that means the same wherever it stands between spaces, with or without a placeholder in it.
#[derive(Clone, Debug)]
enum Piece {
    Placeholder(&'static str),
    Other(String),
}

/// Text that ends no quotes, with an `@x` in it.
fn inside() -> impl Strategy<Value = String> {
    (
        "[a-z ;,()-]{0,4}",
        prop::sample::select(vec!["@x", "@id", "@@x", ";", "@x@id", "a@x.com", "é@x"]),
        "[a-z .;=]{0,4}",
    )
        .prop_map(|(before, middle, after)| format!("{before}{middle}{after}"))
}

fn piece(dialect: Dialect) -> impl Strategy<Value = Piece> {
    let quotes: &[(&str, &str)] = match dialect {
        // The operator keeps a string that may come next from continuing the escape string.
        Postgres => &[
            ("'", "'"),
            ("'it''s ", "'"),
            ("E'\\' ", "\\\\' ||"),
            ("N'", "'"),
            ("U&'\\", "'"),
            ("\"", "\"\"\""),
            ("U&\"", "\""),
            ("$$", "$$"),
            ("$a$ $$ ' ", "$a$"),
            ("-- ' ", "\n"),
            ("/* /* */ ' ", " */"),
            ("/* ", "/* */ \" */"),
            ("'\\", "\\'"),
            ("B'", "'"),
        ],
        Mysql => &[
            ("'", "'"),
            ("'it''s \\' ", "\\\\'"),
            ("\"", "\""),
            ("\"\"\" \\\" ", "\""),
            ("`", "`"),
            ("```\\", "`"),
            ("# ' ", "\n"),
            ("-- ' ", "\n"),
            ("/* /* ' ", " */"),
            ("_utf8'", "'"),
            ("x'", "'"),
            ("@'", "'"),
            ("@`", "`"),
            ("@\"", "\""),
            ("/*+ ", "*/"),
        ],
        Mssql => &[
            ("'", "'"),
            ("'it''s ", "\\'"),
            ("N'", "'"),
            ("[", "]"),
            ("[a]] [ ' ", "]"),
            ("\"", "\"\"\""),
            ("-- ' ", "\n"),
            ("/* /* */ ' ", " */"),
        ],
        Sqlite => &[
            ("'", "'"),
            ("'it''s ", "\\'"),
            ("x'", "'"),
            ("[[ ' ", "]"),
            ("\"", "\"\"\""),
            ("`", "```"),
            ("-- ' ", "\n"),
            ("/* /* ' ", " */"),
        ],
    };
    let plain: &[&str] = match dialect {
        Postgres => &[
            "a @> b", "<@", "@@", "::date", "a[1:2]", "->>", "a$b$", "@ a", "@(-5)", ":x", "a ? b",
            "name@x2y", "(", ")", ",", "=",
        ],
        Mysql => &["@@x", "@other", "@other :=", "me@other", "->>", "(", ")", ",", "=", "5--1", "a$b"],
        Mssql => &["@@ROWCOUNT", "@other", "name@x", "#tmp", "(", ")", ",", "=", "<>", "$5"],
        Sqlite => &["->>", "||", "(", ")", ",", "=", "a$b", "@", "-"],
    };
    prop_oneof![
        4 => prop::sample::select(vec!["x", "id", "x2", "é", "first_name"]).prop_map(Piece::Placeholder),
        4 => (prop::sample::select(quotes), inside())
            .prop_map(|((open, close), inside)| Piece::Other(format!("{open}{inside}{close}"))),
        3 => prop::sample::select(plain).prop_map(|text| Piece::Other(text.to_owned())),
        1 => Just(Piece::Other(";".to_owned())),
    ]
}

fn pieces() -> impl Strategy<Value = (Dialect, Vec<(Piece, &'static str)>)> {
    let gap = prop::sample::select(vec![" ", "\n", "\t", " /* @x */ ", " -- @x ' \n "]);
    dialect().prop_flat_map(move |dialect| {
        (Just(dialect), prop::collection::vec((piece(dialect), gap.clone()), 0..12))
    })
}

/// The text that a query's statements were cut from, with each placeholder written as it was.
fn put_together(text: &str, query: &Query) -> String {
    let mut whole = String::new();
    for statement in query.statements() {
        whole.push_str(&text[whole.len()..statement.start()]);
        whole.push_str(&statement.render(|out, _, parameter| {
            out.push('@');
            out.push_str(&query.parameters()[parameter]);
        }));
    }
    whole.push_str(&text[whole.len()..]);
    whole
}

fn check_any(dialect: Dialect, text: &str) {
    let (query, problems) = Query::parse(dialect, text, NAMES);
    for problem in &problems {
        assert!(
            problem.offset <= text.len() && text.is_char_boundary(problem.offset),
            "{problem:?} in {text:?}"
        );
    }
    assert_eq!(query.is_none(), problems.iter().any(|problem| problem.severity == Severity::Error));
    let Some(query) = query else { return };
    assert_eq!(put_together(text, &query), text);
    assert!(!query.statements().is_empty());
    for statement in query.statements() {
        let mut n_written = 0;
        statement.render(|_, number, parameter| {
            assert_eq!(number, n_written);
            assert!(parameter < query.parameters().len());
            n_written += 1;
        });
        assert_eq!(statement.placeholders().count(), n_written);
        assert_eq!(statement.text().trim_start_matches(' '), statement.text());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_no_placeholder_comes_out_byte_for_byte(dialect in dialect(), text in fragments()) {
        check_any(dialect, &text);
        check_any(dialect, &format!("SELECT {text}"));
    }

    #[test]
    fn placeholders_are_where_they_were_put((dialect, pieces) in pieces()) {
        let mut text = "SELECT 1, ".to_owned();
        let mut expected = text.clone();
        for (piece, gap) in &pieces {
            match piece {
                Piece::Placeholder(name) => {
                    text.push_str(&format!("@{name}"));
                    expected.push_str(&format!("«{name}»"));
                }
                Piece::Other(other) => {
                    text.push_str(other);
                    expected.push_str(other);
                }
            }
            text.push_str(gap);
            expected.push_str(gap);
        }
        let (query, problems) = Query::parse(dialect, &text, NAMES);
        let assigns = problems.iter().any(|problem| problem.message.contains("can't declare or assign"));
        prop_assume!(!assigns);
        let Some(query) = query else { panic!("{dialect:?} {text:?}: {problems:?}") };
        let mut found = String::new();
        let mut at = 0;
        for statement in query.statements() {
            found.push_str(&text[at..statement.start()]);
            found.push_str(&statement.render(|out, _, parameter| {
                out.push_str(&format!("«{}»", query.parameters()[parameter]));
            }));
            at = statement.start() + statement.text().len();
        }
        found.push_str(&text[at..]);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn any_text_is_handled(dialect in dialect(), text in any::<String>()) {
        check_any(dialect, &text);
    }

    #[test]
    fn any_text_between_quotes_is_handled(dialect in dialect(), text in "[@xa'\"`\\[\\]$;/*#!\\\\\\n -]{0,40}") {
        check_any(dialect, &text);
    }
}
