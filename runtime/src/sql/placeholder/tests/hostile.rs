//! Texts made to take long.

use super::*;

#[test]
fn hostile_texts_take_linear_time() {
    // Quadratic time for this length takes many seconds.
    const LENGTH: usize = 32_768;
    let long_names: Vec<_> = (0..5_000).map(|n| format!("name_{n}")).collect();
    let names: Vec<_> = long_names.iter().map(String::as_str).chain(["x"]).collect();
    for piece in [
        "/*",
        "/*/",
        "/**/+",
        "+",
        "@",
        "@x",
        "@x ",
        "@y1z ",
        "$a$b$c",
        "$$",
        "$a.",
        "$1",
        "'",
        "''",
        "E'a'\n",
        "E'\\",
        "\"",
        "`",
        "[",
        "]",
        "(",
        "IF(",
        "IF(a,",
        ")",
        ";",
        "; ",
        "CASE ",
        "BEGIN ",
        "END;",
        "GO ",
        "GO\n",
        "--",
        "-- \n",
        "#\n",
        "/*! ",
        "/*!*/",
        "/*!SET*/",
        "/*!SET STATEMENT a FOR*/",
        "*/",
        "<@x ",
        "=@",
        "a@",
        "FOR ",
        "é",
        "@é",
        "1.",
        "\0",
        "\\",
        "DECLARE @",
        ",@x=",
        "EXEC ",
        "SET ",
        "INTO @x,",
        "?",
        ":x",
    ] {
        for prefix in ["", "CREATE PROCEDURE p() BEGIN ", "EXEC p "] {
            let text = format!("{prefix}{}", piece.repeat(LENGTH / piece.len()));
            for dialect in DIALECTS {
                let started = std::time::Instant::now();
                let (_, problems) = Query::parse(dialect, &text, &names);
                assert!(problems.len() <= 2 * MAX_PROBLEMS);
                assert!(
                    started.elapsed().as_secs() < 2,
                    "{dialect:?} {prefix}{piece}…: {:?}",
                    started.elapsed()
                );
            }
        }
    }
    let unknown: String = (0..8_000).map(|n| format!("@mane_{n},")).collect();
    for dialect in DIALECTS {
        let started = std::time::Instant::now();
        let _ = Query::parse(dialect, &format!("SELECT {unknown} 1"), &names);
        assert!(started.elapsed().as_secs() < 3, "{dialect:?}: {:?}", started.elapsed());
    }
}
