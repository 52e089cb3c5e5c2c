//! Statements: where they end, which keyword they begin with, and which of them are refused.

use super::*;

#[test]
fn statements_end_at_semicolons() {
    for dialect in [Postgres, Mysql, Sqlite] {
        table(
            dialect,
            &[
                ("SELECT 1; SELECT 2", "SELECT 1 ¦ SELECT 2"),
                (";;SELECT 1;; \n ; SELECT @x ;", "SELECT 1 ¦ SELECT «x»"),
                ("SELECT ';' ; -- ;\nSELECT 2 /* ; */;-- end", "SELECT ';' ¦ -- ;\nSELECT 2"),
                ("SELECT 1; /* a */ /*+ b */ SELECT 2", "SELECT 1 ¦ /* a */ /*+ b */ SELECT 2"),
                ("CREATE TABLE t (begin int); SELECT 1", "CREATE TABLE t (begin int) ¦ SELECT 1"),
                ("SELECT CASE WHEN 1 THEN 2 END; SELECT 1", "SELECT CASE WHEN 1 THEN 2 END ¦ SELECT 1"),
            ],
        );
    }
    table(Mssql, &[("SELECT 1; SELECT 2 -- a", "SELECT 1; SELECT 2"), ("IF 1=1 BEGIN SELECT 1; END", "=")]);
}

#[test]
fn bodies_stay_whole() {
    table(
        Sqlite,
        &[
            (
                "CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET a = CASE WHEN 1 THEN 2 END; SELECT 1; END; SELECT 2",
                "CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET a = CASE WHEN 1 THEN 2 END; SELECT 1; END ¦ SELECT 2",
            ),
            (
                "create temp trigger g BEGIN SELECT 1; END; SELECT 2",
                "create temp trigger g BEGIN SELECT 1; END ¦ SELECT 2",
            ),
            ("EXPLAIN CREATE TEMPORARY TRIGGER g BEGIN SELECT 1; END", "="),
        ],
    );
    table(
        Postgres,
        &[
            (
                "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN a.end THEN 2 END AS end; SELECT 2; END; SELECT 3",
                "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN a.end THEN 2 END AS end; SELECT 2; END ¦ SELECT 3",
            ),
            (
                "CREATE PROCEDURE p() BEGIN ATOMIC SELECT 1; END; SELECT 2",
                "CREATE PROCEDURE p() BEGIN ATOMIC SELECT 1; END ¦ SELECT 2",
            ),
            (
                "CREATE FUNCTION f() RETURNS int RETURN 1; SELECT 2",
                "CREATE FUNCTION f() RETURNS int RETURN 1 ¦ SELECT 2",
            ),
            ("DO $$ BEGIN COMMIT; END $$; SELECT 1", "DO $$ BEGIN COMMIT; END $$ ¦ SELECT 1"),
        ],
    );
    for body in [
        "BEGIN SELECT 1; BEGIN SELECT 2; END; END",
        "BEGIN IF a THEN SELECT 1; ELSEIF b THEN SELECT 2; END IF; SELECT IF(a, b, c); END",
        "BEGIN IF (a) THEN SELECT 1; END IF; DROP TABLE IF EXISTS t; CREATE TABLE IF NOT EXISTS t (a int); END",
        "BEGIN IF EXISTS (SELECT 1) THEN SELECT 1; END IF; IF NOT EXISTS (SELECT 1) THEN SELECT 2; END IF; END",
        "BEGIN l: LOOP SELECT 1; LEAVE l; END LOOP l; WHILE a DO SELECT 1; END WHILE; END",
        "BEGIN REPEAT SELECT REPEAT('a', 3); UNTIL a END REPEAT; FOR i IN 1..2 DO SELECT i; END FOR; END",
        "BEGIN CASE a WHEN 1 THEN SELECT 1; END CASE; SELECT CASE WHEN b THEN 1 END; DECLARE c CURSOR FOR SELECT 1; END",
        "IF a THEN SELECT 1; END IF",
    ] {
        for header in [
            "CREATE PROCEDURE p()",
            "CREATE OR REPLACE DEFINER = 'a'@'%' FUNCTION f() RETURNS int",
            "create trigger g BEFORE INSERT ON t FOR EACH ROW",
            "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO",
            "ALTER EVENT e DO",
        ] {
            let text = format!("{header} {body}; SELECT @x");
            assert_eq!(read(Mysql, &text), format!("{header} {body} ¦ SELECT «x»"));
        }
    }
    table(
        Mysql,
        &[(
            "CREATE TABLE event (a int); SELECT 1; SELECT 2",
            "CREATE TABLE event (a int) ¦ SELECT 1 ¦ SELECT 2",
        )],
    );
}

#[test]
fn transactions_are_not_the_querys() {
    const RUNS_IN_ONE: &str = "the statements run in one transaction, which Portcullis begins and ends";
    let all = |words: &[&str], dialects: &[Dialect]| {
        for dialect in dialects {
            for words in words {
                errors(
                    *dialect,
                    &[
                        (format!("‸{words}").as_str(), RUNS_IN_ONE),
                        (format!("SELECT 1; -- a\n /* b */ ‸{words} ; SELECT 2").as_str(), RUNS_IN_ONE),
                        (format!("‸{}", words.to_lowercase()).as_str(), RUNS_IN_ONE),
                    ],
                );
            }
        }
    };
    let ends = ["BEGIN", "COMMIT", "COMMIT WORK", "END", "ROLLBACK", "ABORT", "SAVEPOINT a", "RELEASE a"];
    all(&ends, &[Postgres, Mysql, Sqlite]);
    all(&["START TRANSACTION"], &[Postgres, Mysql]);
    all(
        &[
            "PREPARE TRANSACTION 'a'",
            "SET TRANSACTION READ WRITE",
            "SET LOCAL TRANSACTION READ WRITE",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
            "SET transaction_read_only = off",
            "SET \"transaction_read_only\" TO off",
            "SET SESSION transaction_isolation TO 'x'",
            "RESET transaction_read_only",
        ],
        &[Postgres],
    );
    all(
        &[
            "XA START 'a'",
            "LOCK TABLES t WRITE",
            "UNLOCK TABLES",
            "SET TRANSACTION READ WRITE",
            "SET SESSION TRANSACTION READ WRITE",
            "SET autocommit = 1",
            "SET @@autocommit=1",
            "SET @a = 1, SESSION autocommit := 1",
            "SET @@session.transaction_read_only = 0",
            "SET @@session.`tx_read_only` = 0",
            "SET STATEMENT max_statement_time = 1 FOR COMMIT",
        ],
        &[Mysql],
    );
    errors(
        Mysql,
        &[
            ("/*!50000 ‸COMMIT */", RUNS_IN_ONE),
            // A server that skips the comment sees the COMMIT.
            ("/*!99999 SELECT */ ‸COMMIT", RUNS_IN_ONE),
            ("/*M! SELECT *//*! ‸COMMIT */", RUNS_IN_ONE),
        ],
    );
    table(
        Postgres,
        &[
            ("SET LOCAL search_path TO transactions", "="),
            ("PREPARE a AS SELECT 1", "="),
            ("SET ROLE transactions", "="),
        ],
    );
    table(
        Mysql,
        &[
            ("SET @a = (SELECT max(transaction_id) FROM t)", "="),
            ("SELECT commit FROM t", "="),
            ("START SLAVE", "="),
        ],
    );
    table(Sqlite, &[("SELECT 1 AS end", "="), ("REPLACE INTO t VALUES (1)", "=")]);
}

#[test]
fn t_sql_has_no_words_of_transactions_anywhere() {
    errors(
        Mssql,
        &[
            ("‸COMMIT", "COMMIT isn't allowed: the statements run in one transaction"),
            ("SELECT 1 ‸rollback TRAN", "ROLLBACK isn't allowed"),
            ("IF 1=1 ‸BEGIN TRAN", "BEGIN TRAN isn't allowed"),
            ("‸BEGIN TRANSACTION", "BEGIN TRANSACTION isn't allowed"),
            ("‸BEGIN DISTRIBUTED TRAN", "BEGIN DISTRIBUTED isn't allowed"),
            ("SELECT 1; ‸SAVE TRAN a", "SAVE TRAN isn't allowed"),
            ("‸SET IMPLICIT_TRANSACTIONS ON", "isn't allowed"),
        ],
    );
    table(
        Mssql,
        &[
            ("BEGIN TRY SELECT 1; END TRY BEGIN CATCH THROW; END CATCH", "="),
            ("SELECT [commit], 'COMMIT', @commit, #commit -- COMMIT\n, \"rollback\"", "="),
        ],
    );
}

#[test]
fn words_of_clients_and_sqlites_other_files() {
    errors(
        Mssql,
        &[
            ("SELECT 1\n‸GO\nSELECT 2", "GO is a word of SQL Server's own client"),
            ("SELECT 1\r\n  ‸go  \r\n", "one batch"),
            ("SELECT 1\n‸GO 5", "GO"),
            ("‸GO\nSELECT 1", "GO"),
            (" ‸GO\nSELECT 1", "GO"),
        ],
    );
    table(
        Mssql,
        &[
            ("SELECT go\nFROM t", "="),
            ("SELECT 1 GO", "="),
            ("SELECT 1 '\nGO\n'", "="),
            ("SELECT /*\nGO\n*/ 1", "="),
        ],
    );
    errors(
        Mysql,
        &[(
            "‸DELIMITER //\nCREATE PROCEDURE p() BEGIN SELECT 1",
            "DELIMITER is a word of MySQL's own client",
        )],
    );
    errors(
        Sqlite,
        &[
            ("‸PRAGMA table_info(t)", "pragma_table_info('t')"),
            ("EXPLAIN ‸PRAGMA journal_mode = DELETE", "PRAGMA isn't allowed"),
            ("SELECT 1; ‸ATTACH 'a.db' AS a", "its own file alone"),
            ("‸DETACH a", "its own file alone"),
            ("EXPLAIN QUERY PLAN ‸VACUUM INTO 'a.db'", "its own file alone"),
        ],
    );
    table(Sqlite, &[("SELECT * FROM pragma_table_info('t')", "="), ("EXPLAIN QUERY PLAN SELECT 1", "=")]);
    for dialect in [Postgres, Mysql, Mssql] {
        table(dialect, &[("SELECT pragma, vacuum", "=")]);
    }
}

#[test]
fn keywords_come_after_comments_and_parentheses() {
    for (dialect, text, keywords) in [
        (
            Postgres,
            "-- a\n ((/* b */ select 1)); with a as (select 1) insert into t select 2",
            vec!["SELECT", "WITH"],
        ),
        // Whether a server sees what is in an executable comment depends on the server.
        (Mysql, "/*!50000 insert */ into t values (1); call /*! p() */; 1", vec!["", "CALL", ""]),
        (Mssql, ";;with a as (select 1 b) select b from a; update t set a = 1", vec!["WITH"]),
        (Sqlite, "explain select 1; 'a'; \"select\"", vec!["EXPLAIN", "", ""]),
    ] {
        let (query, problems) = Query::parse(dialect, text, NAMES);
        let query = query.unwrap_or_else(|| panic!("{problems:?}"));
        assert_eq!(query.statements().iter().map(Statement::keyword).collect::<Vec<_>>(), keywords);
    }
}

#[test]
fn statements_share_parameters() {
    let text = "UPDATE t SET a = @id, b = @x;\n SELECT @x, @id, @x";
    let (query, _) = Query::parse(Postgres, text, NAMES);
    let query = query.unwrap();
    assert_eq!((query.text(), query.parameters()), (text, &["id".to_owned(), "x".to_owned()][..]));
    let [update, select] = query.statements() else { panic!("{query:?}") };
    assert_eq!(update.placeholders().collect::<Vec<_>>(), [0, 1]);
    assert_eq!(select.placeholders().collect::<Vec<_>>(), [1, 0, 1]);
    assert_eq!((select.start(), select.text()), (31, "SELECT @x, @id, @x"));
    let numbered = select.render(|out, number, parameter| out.push_str(&format!("${number}:{parameter}")));
    assert_eq!(numbered, "SELECT $0:1, $1:0, $2:1");
}
