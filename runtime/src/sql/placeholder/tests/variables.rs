//! Placeholders beside the variables of the dialects that have them.

use super::*;

#[test]
fn mysql_variables() {
    table(
        Mysql,
        &[
            ("SELECT @@x, @@global.x, @@session.x, @@`x`", "="),
            ("SELECT @'x', @\"x\", @`x`, @`a``@x`, @'a''@x'", "="),
            ("SELECT @other, @x", "SELECT @other, «x»"),
            ("SELECT @other := @x", "SELECT @other := «x»"),
            ("SET @other = @x", "SET @other = «x»"),
            ("SET @other = (@x = 1), @b := @x = 2", "SET @other = («x» = 1), @b := «x» = 2"),
            ("UPDATE t SET a = @x, b = @id WHERE c = @x", "UPDATE t SET a = «x», b = «id» WHERE c = «x»"),
            ("SELECT a INTO @other FROM t WHERE b = @x", "SELECT a INTO @other FROM t WHERE b = «x»"),
            ("INSERT INTO t VALUES (@x, @id)", "INSERT INTO t VALUES («x», «id»)"),
            ("SELECT @a.b, @x.y", "="),
            ("GRANT SELECT ON t TO me@other, 'me'@other, `me`@other", "="),
        ],
    );
    errors(
        Mysql,
        &[
            ("SELECT ‸@x := 1", "@x is a parameter"),
            ("SELECT ‸@x:=@x+1", "rename the variable"),
            ("SET ‸@x = 1", "@x is a parameter"),
            ("SET @other = 1, ‸@x = 2", "@x is a parameter"),
            ("SELECT 1 INTO ‸@x", "@x is a parameter"),
            ("SELECT 1, 2 INTO @other, ‸@id", "@id is a parameter"),
        ],
    );
    warnings(
        Mysql,
        &[
            ("SELECT ‸@X", "did you mean @x?"),
            ("SELECT ‸@status, @status", "did you mean @Status?"),
            ("SELECT ‸@first_nam", "left alone as a variable; did you mean @first_name?"),
            ("SELECT me‸@x", "left alone"),
            ("SELECT 'me'‸@x", "left alone"),
        ],
    );
    table(Mysql, &[("SET @first_nam = 1; SELECT @first_nam", "SET @first_nam = 1 ¦ SELECT @first_nam")]);
}

#[test]
fn t_sql_literals_and_variables() {
    table(
        Mssql,
        &[
            ("SELECT [@x], [a]]@x], [a[b@x], @x", "SELECT [@x], [a]]@x], [a[b@x], «x»"),
            ("SELECT 1 /* /* @x */ @x */, @x", "SELECT 1 /* /* @x */ @x */, «x»"),
            ("SELECT @@ROWCOUNT, @@x, @x", "SELECT @@ROWCOUNT, @@x, «x»"),
            ("SELECT name@x, #tmp@x, a#b FROM #t", "="),
            ("SELECT [a]+@x, $5, $action, ?, :x", "SELECT [a]+«x», $5, $action, ?, :x"),
            ("DECLARE @y int = @x, @z int; SET @y = @id", "DECLARE @y int = «x», @z int; SET @y = «id»"),
            ("DECLARE @y int\nSELECT 1, @x", "DECLARE @y int\nSELECT 1, «x»"),
            (
                "SELECT @y = a FROM t WHERE b = @x AND @id = 1",
                "SELECT @y = a FROM t WHERE b = «x» AND «id» = 1",
            ),
            ("IF @x = 1 SELECT 1 ELSE SELECT 2", "IF «x» = 1 SELECT 1 ELSE SELECT 2"),
            (
                "SELECT CASE WHEN @x = 1 THEN 2 END WHERE (@x = 1)",
                "SELECT CASE WHEN «x» = 1 THEN 2 END WHERE («x» = 1)",
            ),
            ("UPDATE t SET a = @x, b = @id", "UPDATE t SET a = «x», b = «id»"),
            (
                "SELECT 1 OPTION (OPTIMIZE FOR (@x = 5, @id = 6))",
                "SELECT 1 OPTION (OPTIMIZE FOR («x» = 5, «id» = 6))",
            ),
            // A procedure's arguments have names that are no placeholders.
            ("EXEC p @x = @x, @id=@id", "EXEC p @x = «x», @id=«id»"),
            ("EXECUTE @r = dbo.[p] @x, @id = 1 SELECT @id", "EXECUTE @r = dbo.[p] «x», @id = 1 SELECT «id»"),
            ("INSERT INTO t EXEC p @x = @id; SELECT @x", "INSERT INTO t EXEC p @x = «id»; SELECT «x»"),
            ("EXEC p @P1 = @x", "EXEC p @P1 = «x»"),
            (";WITH a AS (SELECT @x b) SELECT b FROM a;", ";WITH a AS (SELECT «x» b) SELECT b FROM a;"),
            ("SELECT 1; SELECT @x", "SELECT 1; SELECT «x»"),
        ],
    );
    errors(
        Mssql,
        &[
            ("SELECT ‸[a]]", "quoted name that begins here never ends: ] is missing"),
            ("SELECT ‸/* /* */", "never ends"),
            ("DECLARE ‸@x int", "@x is a parameter"),
            ("DECLARE @y int = 1, ‸@x int", "@x is a parameter"),
            ("SET ‸@x = 1", "@x is a parameter"),
            ("SET ‸@x += 1", "@x is a parameter"),
            ("SELECT ‸@x = a FROM t", "@x is a parameter"),
            ("SELECT @y = 1, ‸@x = a FROM t", "@x is a parameter"),
            ("SELECT TOP (1) ‸@x = a FROM t", "@x is a parameter"),
            ("SELECT TOP 1 ‸@x = a FROM t", "@x is a parameter"),
            ("UPDATE t SET ‸@x = a = 1", "@x is a parameter"),
            ("FETCH NEXT FROM c INTO @y, ‸@x", "@x is a parameter"),
            ("EXEC ‸@x = p", "@x is a parameter"),
            ("INSERT INTO ‸@x SELECT 1", "@x is a parameter"),
            ("DECLARE ‸@P1 int; SELECT @P1", "@P1 is taken"),
            ("SELECT ‸@p12", "@p12 is taken"),
        ],
    );
    warnings(
        Mssql,
        &[("SELECT ‸@ID", "did you mean @id?"), ("SELECT ‸@frist_name", "did you mean @first_name?")],
    );
    table(Mssql, &[("DECLARE @first_nam int; SELECT @first_nam", "="), ("SELECT @Page, @P", "=")]);
}

#[test]
fn sqlite_literals_and_variables() {
    table(
        Sqlite,
        &[
            ("SELECT [@x], `@x`, `a``@x`, [a[b], @x", "SELECT [@x], `@x`, `a``@x`, [a[b], «x»"),
            ("SELECT [a]]@x", "SELECT [a]]«x»"),
            ("SELECT 1 /* /* @x */, @x", "SELECT 1 /* /* @x */, «x»"),
            ("SELECT @x /* no end @id", "SELECT «x»"),
            ("SELECT x'00', a->'$.b', a->>'$.b', @x", "SELECT x'00', a->'$.b', a->>'$.b', «x»"),
            ("SELECT a->>@x, a||@x, -@x, a$b", "SELECT a->>«x», a||«x», -«x», a$b"),
            ("SELECT 1 --a\r@x", "SELECT 1"),
        ],
    );
    errors(
        Sqlite,
        &[
            ("SELECT ‸[@x", "never ends: ] is missing"),
            ("SELECT ‸?", "? is a bind variable of SQLite's own"),
            ("SELECT ‸?1", "write @name"),
            ("SELECT ‸:x", ":x is a bind variable"),
            ("SELECT ‸$x", "$x is a bind variable"),
            ("SELECT ‸@nothing", "add \"nothing\" to parametersSchema.properties"),
            ("SELECT ‸@firstname", "did you mean @first_name?"),
            ("SELECT 1 LIMIT‸@x", "write a space before it"),
        ],
    );
}
