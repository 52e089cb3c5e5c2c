//! What ends where in each dialect: literals, comments, quoted names, operators and identifiers.

use super::*;

#[test]
fn what_all_dialects_share() {
    for dialect in DIALECTS {
        table(
            dialect,
            &[
                ("SELECT @x", "SELECT «x»"),
                ("SELECT @x, @id,@x", "SELECT «x», «id»,«x»"),
                (
                    "SELECT * FROM t WHERE (@x IS NULL OR a = @x)",
                    "SELECT * FROM t WHERE («x» IS NULL OR a = «x»)",
                ),
                ("SELECT a=@x,(@id),a>=@x,b>@x,1+@x,1-@x", "SELECT a=«x»,(«id»),a>=«x»,b>«x»,1+«x»,1-«x»"),
                ("SELECT @x2, @first_name", "SELECT «x2», «first_name»"),
                ("SELECT @é", "SELECT «é»"),
                ("SELECT @n$1", "SELECT «n$1»"),
                ("SELECT 'a@x.com', '@x', 'it''s @x', ''", "="),
                ("SELECT '', @x, '''', @id", "SELECT '', «x», '''', «id»"),
                ("SELECT N'@x', @x", "SELECT N'@x', «x»"),
                ("SELECT 1 -- @x\n, @x", "SELECT 1 -- @x\n, «x»"),
                ("SELECT 1 /* @x ' */, @x", "SELECT 1 /* @x ' */, «x»"),
                ("SELECT 1/**/, @x /***/, @id", "SELECT 1/**/, «x» /***/, «id»"),
                ("/* @x */ -- @x\nSELECT @x", "/* @x */ -- @x\nSELECT «x»"),
                ("SELECT '-- ', @x, '/*', @id, '*/'", "SELECT '-- ', «x», '/*', «id», '*/'"),
                ("SELECT '@x@id'", "="),
                ("\r\n\tSELECT @x\r\n", "SELECT «x»"),
                ("SELECT '😀@x', @x", "SELECT '😀@x', «x»"),
                ("SELECT 1 -- no end of line @x", "SELECT 1"),
            ],
        );
        errors(
            dialect,
            &[
                ("SELECT ‸'@x", "literal that begins here never ends: ' is missing"),
                ("SELECT 'a', ‸'it''s", "never ends"),
                ("‸", "no statement"),
                ("‸ \n", "no statement"),
                ("‸-- nothing", "no statement"),
                ("‸/* a */ ; ;", "no statement"),
                ("SELECT ‸\0", "NUL"),
                ("SELECT '‸\0'", "NUL"),
            ],
        );
    }
    errors(Sqlite, &[("SELECT 1; ‸\u{feff}COMMIT", "byte order mark")]);
    for dialect in [Postgres, Mssql, Mysql] {
        errors(dialect, &[("SELECT 1 ‸/* @x", "comment that begins here never ends: */ is missing")]);
    }
    for dialect in [Postgres, Mssql, Sqlite] {
        table(
            dialect,
            &[
                ("SELECT \"@x\", \"a\"\"@x\", @x", "SELECT \"@x\", \"a\"\"@x\", «x»"),
                ("SELECT '\\', @x, '\\'", "SELECT '\\', «x», '\\'"),
                ("SELECT 1--@x\n,@x", "SELECT 1--@x\n,«x»"),
            ],
        );
        errors(dialect, &[("SELECT ‸\"@x", "quoted name that begins here never ends: \" is missing")]);
    }
}

#[test]
fn two_at_signs_never_begin_a_placeholder() {
    for dialect in DIALECTS {
        table(
            dialect,
            &[("SELECT @@x", "="), ("SELECT a @@x", "="), ("SELECT @@@x", "="), ("SELECT @ x", "=")],
        );
    }
}

#[test]
fn names_are_as_long_as_they_can_be() {
    let parse = |dialect, text| Query::parse(dialect, text, &["id", "a"]);
    for dialect in [Postgres, Sqlite] {
        for text in ["SELECT @id2", "SELECT @idé", "SELECT @id$", "SELECT @id_"] {
            assert!(parse(dialect, text).0.is_none(), "{dialect:?} {text}: @id isn't meant");
        }
    }
    for (dialect, text) in [
        (Mysql, "SELECT @id2x"),
        (Mysql, "SELECT @id$xx"),
        (Mysql, "SELECT @a.b"),
        (Mssql, "SELECT @id@b"),
        (Mssql, "SELECT @id#b"),
        (Mssql, "SELECT @ida2"),
    ] {
        let (query, problems) = parse(dialect, text);
        assert_eq!((marked(&query.unwrap()).as_str(), problems.len()), (text, 0), "{dialect:?}");
    }
    table(Mssql, &[("SELECT @tag#, @x.value('.', 'int')", "SELECT «tag#», «x».value('.', 'int')")]);
}

#[test]
fn names_that_can_be_written() {
    for dialect in DIALECTS {
        for name in ["a", "first_name", "é", "_1", "a1"] {
            assert!(dialect.can_name(name), "{dialect:?} {name}");
        }
        for name in ["", "first-name", "a b", "@a", "a'", "a;"] {
            assert!(!dialect.can_name(name), "{dialect:?} {name}");
        }
    }
    assert!(
        Mysql.can_name("a.b") && !Postgres.can_name("a.b") && Mssql.can_name("a#") && !Sqlite.can_name("a#")
    );
}

#[test]
fn postgres_literals() {
    table(
        Postgres,
        &[
            (r"SELECT E'\'@x', @x", r"SELECT E'\'@x', «x»"),
            (r"SELECT e'\\', @x, e'\\\'@x''@x'", r"SELECT e'\\', «x», e'\\\'@x''@x'"),
            (r"SELECT E'é\é@x', @x", r"SELECT E'é\é@x', «x»"),
            (r"SELECT nameE'\', @x, '@x'", r"SELECT nameE'\', «x», '@x'"),
            // What continues an escape string has its escapes.
            ("SELECT E'a'\n'\\'@x', @x", "SELECT E'a'\n'\\'@x', «x»"),
            ("SELECT E'a' -- '\n -- b\n '\\'@x', @x", "SELECT E'a' -- '\n -- b\n '\\'@x', «x»"),
            ("SELECT E'a' '\\', @x, '@x'", "SELECT E'a' '\\', «x», '@x'"),
            (r"SELECT U&'\0041@x', U&'\', @x", r"SELECT U&'\0041@x', U&'\', «x»"),
            ("SELECT U&\"d\\0061t@x\", @x", "SELECT U&\"d\\0061t@x\", «x»"),
            ("SELECT B'01', X'1F', @x", "SELECT B'01', X'1F', «x»"),
            ("SELECT $$ @x ' $$, @x", "SELECT $$ @x ' $$, «x»"),
            ("SELECT $a$ @x $$ $b$ $a $a$, @x", "SELECT $a$ @x $$ $b$ $a $a$, «x»"),
            ("SELECT $é_1$@x$é_1$, @x", "SELECT $é_1$@x$é_1$, «x»"),
            ("SELECT $a$$b$a$, @x", "SELECT $a$$b$a$, «x»"),
            ("SELECT a$b$, @x, c$b$", "SELECT a$b$, «x», c$b$"),
            ("SELECT a$$, @x, b$$", "SELECT a$$, «x», b$$"),
            ("SELECT 1 /* a /* @x */ @x */, @x", "SELECT 1 /* a /* @x */ @x */, «x»"),
            ("SELECT 1 /* /* */ /*/ */ @x */, @x", "SELECT 1 /* /* */ /*/ */ @x */, «x»"),
            ("SELECT 1 --a\r, @x", "SELECT 1 --a\r, «x»"),
            ("SELECT '`', `@ x`, @id", "SELECT '`', `@ x`, «id»"),
        ],
    );
    errors(
        Postgres,
        &[
            ("SELECT ‸$$ @x", "never ends: $$ is missing"),
            ("SELECT ‸$a$ @x $A$", "never ends: $a$ is missing"),
            (r"SELECT ‸E'a\'", "never ends"),
            ("SELECT ‸/* /* */ @x", "never ends"),
            ("SELECT @x ‸\"a\"\"", "never ends"),
            ("SELECT ‸$1", "$1 is a bind variable of PostgreSQL's own"),
        ],
    );
    table(Postgres, &[("PREPARE p AS SELECT $1", "="), ("CREATE FUNCTION f(int) RETURN $1 + 1", "=")]);
}

#[test]
fn postgres_operators() {
    table(
        Postgres,
        &[
            ("SELECT a @> b, a <@ b, a @@ b, a @? b, a @@@ b, a ~@ b, a #@ b, @-@ b, a |@ b, a ^@ b", "="),
            ("SELECT a @>@x, a @@ @x, a @? @x, a <@ @x", "SELECT a @>«x», a @@ «x», a @? «x», a <@ «x»"),
            ("SELECT a||@x, a->>@x, a#>>@x, a->'b'->>@x", "SELECT a||«x», a->>«x», a#>>«x», a->'b'->>«x»"),
            ("SELECT a !~*@x, a~*@x, a!=@x, a<>@x, a<=@x", "SELECT a !~*«x», a~*«x», a!=«x», a<>«x», a<=«x»"),
            ("SELECT a ? @x, a ?| @x, a ?&@x, a ?|@x", "SELECT a ? «x», a ?| «x», a ?&«x», a ?|«x»"),
            ("SELECT a * -@x, f(b=>@x), -@id", "SELECT a * -«x», f(b=>«x»), -«id»"),
            ("SELECT @x::date, @x ::date, a::int=@x", "SELECT «x»::date, «x» ::date, a::int=«x»"),
            ("SELECT a[1:@x], a[@x:@id], a[@x]", "SELECT a[1:«x»], a[«x»:«id»], a[«x»]"),
            ("SELECT a = ANY(@id)", "SELECT a = ANY(«id»)"),
            ("SELECT @(-5), @ -5, @-5, @5, @ a, @\"a\", @'5'", "="),
            ("SELECT a <@b, a ~@b, a ^@nothing, a &&@b", "="),
            ("SELECT :name, a:b, :x", "="),
            ("SELECT a +/*@x*/@x, a+--@x\n@x", "SELECT a +/*@x*/«x», a+--@x\n«x»"),
            ("SELECT a<@/**/x", "="),
            ("SELECT name@host", "="),
        ],
    );
    errors(
        Postgres,
        &[
            ("SELECT a ‸<@x", "write < @x for the parameter, or <@ x for the operator"),
            ("SELECT a‸<@x", "ambiguous"),
            ("SELECT ‸@-@x", "ambiguous: the operator @-@"),
            ("SELECT a ‸~@id", "ambiguous"),
            ("SELECT a ‸^@x", "ambiguous"),
            ("SELECT a ‸#@x", "ambiguous"),
            ("SELECT a ‸|@x", "ambiguous"),
            ("SELECT ‸@idd", "did you mean @id?"),
            (
                "SELECT ‸@nothing, @nothing",
                "add \"nothing\" to parametersSchema.properties, or write @ nothing",
            ),
            ("SELECT a=‸@nothing", "@nothing is no parameter"),
            ("SELECT a &&@nothing, ‸@nothing", "@nothing is no parameter"),
            ("SELECT ‸@X", "did you mean @x?"),
        ],
    );
    warnings(
        Postgres,
        &[
            ("SELECT a‸@x", "left alone"),
            ("SELECT 1 LIMIT‸@x", "write a space"),
            ("SELECT $‸@x", "left alone"),
        ],
    );
}

#[test]
fn mysql_literals_and_comments() {
    table(
        Mysql,
        &[
            (r"SELECT '\'@x', @x", r"SELECT '\'@x', «x»"),
            (r#"SELECT "\"@x", "a""@x", '\\', @x"#, r#"SELECT "\"@x", "a""@x", '\\', «x»"#),
            (r"SELECT `@x`, `a``@x`, `\`, @x, `@x`", r"SELECT `@x`, `a``@x`, `\`, «x», `@x`"),
            (
                "SELECT _utf8'@x', _utf8mb4\"@x\", x'00', b'1', @x",
                "SELECT _utf8'@x', _utf8mb4\"@x\", x'00', b'1', «x»",
            ),
            ("SELECT 1 # @x '\n, @x", "SELECT 1 # @x '\n, «x»"),
            ("SELECT 5--@x\n,@id", "SELECT 5--«x»\n,«id»"),
            ("SELECT 5--\t@x\n,@id", "SELECT 5--\t@x\n,«id»"),
            ("SELECT 1 /* /* @x */, @x", "SELECT 1 /* /* @x */, «x»"),
            ("SELECT 1 /*/ @x */, @x", "SELECT 1 /*/ @x */, «x»"),
            ("SELECT /*+ MAX_EXECUTION_TIME(1) @x */ @x", "SELECT /*+ MAX_EXECUTION_TIME(1) @x */ «x»"),
            ("SELECT 1 /*! , @x */, @id", "SELECT 1 /*! , «x» */, «id»"),
            ("SELECT 1 /*!50000 , '@x', @x */", "SELECT 1 /*!50000 , '@x', «x» */"),
            ("SELECT /*M!100101 @x, */@id, 2*/*! @x */3", "SELECT /*M!100101 «x», */«id», 2*/*! «x» */3"),
            ("SELECT 1 */ 2, @x", "SELECT 1 */ 2, «x»"),
            ("SELECT 1 -- a\r@x\n, @x", "SELECT 1 -- a\r@x\n, «x»"),
        ],
    );
    errors(
        Mysql,
        &[
            (r"SELECT ‸'a\'", "never ends"),
            ("SELECT ‸`a``", "never ends"),
            ("SELECT 1 ‸/*! , @x", "comment that begins here never ends"),
            ("SELECT /*! ‸'*/' */", "inside a comment that is executed"),
            ("SELECT /*! 1 ‸/* a */ */", "a comment inside a comment that is executed"),
            ("SELECT 1 /*! ‸; SELECT 2 */", "holds a \";\""),
            ("SELECT ‸?", "? is a bind variable of MySQL's own"),
            ("SELECT ‸@`x", "never ends"),
        ],
    );
}
