//! What a batch's text tells about its answer, where TDS or tiberius doesn't: which counts are of changes, whether one
//! result is all, whether something outlives it.

use super::tokens::{Kind, Token, tokens};

/// What is read from the text of a batch. Nothing of it guards anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    changes: Changes,
    /// Whether it has no more than one statement that returns rows: the rows past the bound needn't be read then.
    pub(super) has_one_result: bool,
    /// Whether something in the session may outlive the batch: procedures and dynamic SQL can do anything.
    pub(super) leaves_traces: bool,
}

/// Whose changes the counts of a batch are. The counts of SELECTs come in the same form; tiberius doesn't say of which kind
/// of statement one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Changes {
    /// There are none.
    None,
    /// Each count without a result is one of a change.
    Statements,
    /// So is the first one, which comes with the rows of an OUTPUT clause.
    FirstAndStatements,
    /// Only procedures, dynamic SQL or `SELECT … INTO` can change anything: counts above zero without a result.
    Indirect,
    /// It can't be told: `SELECT @x = …` counts as well, and so do OUTPUT clauses after the first statement.
    Unknown,
}

/// The statements that return rows of what they change, with OUTPUT.
const CHANGING: &[&str] = &["INSERT", "UPDATE", "DELETE", "MERGE"];
/// What statements begin with; another word at the start of a batch is the name of a procedure to be called.
const BEGINNINGS: &[&str] = &[
    "SELECT",
    "WITH",
    "INSERT",
    "UPDATE",
    "DELETE",
    "MERGE",
    "DECLARE",
    "SET",
    "IF",
    "WHILE",
    "BEGIN",
    "PRINT",
    "RAISERROR",
    "THROW",
    "WAITFOR",
    "TRUNCATE",
    "CREATE",
    "ALTER",
    "DROP",
    "RETURN",
    "USE",
];
/// Words of statements that reach past the batch: calls, cursors and keys that stay open, the session's own values.
const TRACES: &[&str] = &[
    "EXEC",
    "EXECUTE",
    "CURSOR",
    "OPEN",
    "CONTEXT_INFO",
    "SETUSER",
    "DBCC",
    "REVERT",
    "CONVERSATION",
    "DIALOG",
];
/// Words of statements that can return any number of results.
const MANY_RESULTS: &[&str] =
    &["EXEC", "EXECUTE", "WHILE", "GOTO", "CURSOR", "OUTPUT", "DBCC", "RECEIVE", "GO"];

impl Batch {
    /// Reads the text of a batch.
    pub(super) fn read(text: &str) -> Self {
        let tokens: Vec<Token<'_>> = tokens(text).collect();
        let has = |words: &[&str]| tokens.iter().any(|token| token.is_one_of(words));
        let first = tokens.iter().find(|token| !token.is_symbol(';') && !token.is_symbol('('));
        let calls = first.is_some_and(|token| !token.is_one_of(BEGINNINGS));
        Self {
            changes: changes(&tokens, calls || has(&["EXEC", "EXECUTE"])),
            has_one_result: !calls && !has(MANY_RESULTS) && n_selects(&tokens) <= 1,
            leaves_traces: calls || has(TRACES) || tokens.iter().any(Token::is_global),
        }
    }

    /// How many rows were changed, if a count is one of changes. `has_rows`: it came at the end of a result. `is_first`: no
    /// count came before it.
    pub(super) fn changed(&self, count: u64, has_rows: bool, is_first: bool) -> Option<u64> {
        let counts = match self.changes {
            Changes::None | Changes::Unknown => false,
            Changes::Statements => !has_rows,
            Changes::FirstAndStatements => !has_rows || is_first,
            Changes::Indirect => !has_rows && count > 0,
        };
        counts.then_some(count)
    }
}

fn changes(tokens: &[Token<'_>], calls: bool) -> Changes {
    let has = |words: &[&str]| tokens.iter().any(|token| token.is_one_of(words));
    let outputs: Vec<usize> =
        (0..tokens.len()).filter(|&index| tokens[index].is_one_of(&["OUTPUT"])).collect();
    match outputs[..] {
        _ if assigns_in_select(tokens) => Changes::Unknown,
        [] if has(CHANGING) => Changes::Statements,
        [] if calls || has(&["INTO"]) => Changes::Indirect,
        [] => Changes::None,
        [output] if !calls && is_of_first(tokens, output) => Changes::FirstAndStatements,
        _ => Changes::Unknown,
    }
}

/// Whether a token belongs to the first statement, and that one changes rows.
fn is_of_first(tokens: &[Token<'_>], index: usize) -> bool {
    const MAIN: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"];
    let start = tokens.iter().position(|token| !token.is_symbol(';')).unwrap_or(0);
    let main = match &tokens[start] {
        token if token.is_one_of(CHANGING) => Some(start),
        // A common table expression before it is in parentheses.
        token if token.is_one_of(&["WITH"]) => tokens
            .iter()
            .position(|token| token.depth == 0 && token.is_one_of(MAIN))
            .filter(|&main| tokens[main].is_one_of(CHANGING)),
        _ => None,
    };
    main.is_some_and(|main| main < index && !tokens[main..index].iter().any(|token| token.is_symbol(';')))
}

/// How many SELECTs stand outside of parentheses, those that a UNION and its kin add to another not counted.
fn n_selects(tokens: &[Token<'_>]) -> usize {
    const JOINING: &[&str] = &["UNION", "ALL", "EXCEPT", "INTERSECT"];
    let adds = |index: usize| index > 0 && tokens[index - 1].is_one_of(JOINING);
    (0..tokens.len())
        .filter(|&index| tokens[index].depth == 0 && tokens[index].is_one_of(&["SELECT"]) && !adds(index))
        .count()
}

/// Whether there is a `SELECT @x = …`, perhaps with `TOP (1)` between.
fn assigns_in_select(tokens: &[Token<'_>]) -> bool {
    const BETWEEN: &[&str] = &["ALL", "DISTINCT", "TOP", "PERCENT", "WITH", "TIES"];
    let assigns = |select: usize| {
        let depth = tokens[select].depth;
        let list = tokens[select + 1..].iter().skip_while(|token| {
            token.depth > depth
                || token.is_symbol(')')
                || token.is_one_of(BETWEEN)
                || token.kind == Kind::Number
        });
        let mut list = list.map(|token| token.kind);
        list.next() == Some(Kind::Variable)
            && match list.next() {
                Some(Kind::Symbol('=')) => true,
                Some(Kind::Symbol('+' | '-' | '*' | '/' | '%' | '&' | '|' | '^')) => {
                    list.next() == Some(Kind::Symbol('='))
                }
                _ => false,
            }
    };
    (0..tokens.len()).any(|index| tokens[index].is_one_of(&["SELECT"]) && assigns(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_changes(expected: Changes, texts: &[&str]) {
        for text in texts {
            assert_eq!(Batch::read(text).changes, expected, "{text}");
        }
    }

    #[test]
    fn counts_of_changes_are_told_from_others() {
        check_changes(Changes::None, &["SELECT 1", "SELECT 'INSERT' AS [UPDATE] -- DELETE", "SELECT @x", ""]);
        check_changes(
            Changes::Statements,
            &[
                "UPDATE t SET a = 1",
                "SET @x = 1; insert into t VALUES (1); SELECT SCOPE_IDENTITY()",
                "WITH a AS (SELECT 1 AS x) DELETE FROM a",
                "UPDATE t SET @x = a = a + 1",
                "INSERT INTO t VALUES (1); SELECT @x AS x, @y",
            ],
        );
        check_changes(
            Changes::FirstAndStatements,
            &[
                "INSERT INTO t (a) OUTPUT inserted.id VALUES (@P1)",
                ";WITH a AS (SELECT 1 AS x) UPDATE a SET x = 2 OUTPUT deleted.x",
                "DELETE t OUTPUT deleted.a WHERE b = 'x;y'",
                "UPDATE t SET a = 1 OUTPUT inserted.id INTO @ids; SELECT id FROM @ids",
            ],
        );
        check_changes(Changes::Indirect, &["EXEC p @x", "sp_rename 'a', 'b'", "SELECT * INTO #t FROM u"]);
        check_changes(
            Changes::Unknown,
            &[
                "SELECT @x = a FROM t; UPDATE t SET b = @x",
                "SELECT TOP (1) @x = a FROM t",
                "SELECT DISTINCT TOP 5 @x += a FROM t",
                "EXEC p @x OUTPUT",
                "SELECT 1; INSERT INTO t OUTPUT inserted.id VALUES (1)",
                "UPDATE t SET a = 1; DELETE t OUTPUT deleted.a",
            ],
        );
    }

    #[test]
    fn only_counts_of_changes_count() {
        let plain = Batch::read("UPDATE t SET a = 1; SELECT 1");
        assert_eq!(plain.changed(0, false, true), Some(0));
        assert_eq!(plain.changed(1, true, false), None);
        let output = Batch::read("UPDATE t SET a = 1 OUTPUT inserted.id");
        assert_eq!(output.changed(3, true, true), Some(3));
        assert_eq!(output.changed(3, true, false), None);
        let call = Batch::read("EXEC p");
        assert_eq!((call.changed(0, false, true), call.changed(2, false, false)), (None, Some(2)));
        assert_eq!(Batch::read("SELECT 1").changed(1, false, true), None);
    }

    #[test]
    fn one_result_is_told_from_several() {
        for text in [
            "SELECT a FROM t",
            "SELECT a FROM t UNION ALL SELECT b FROM u",
            "WITH a AS (SELECT 1 AS x) SELECT x FROM a WHERE x IN (SELECT 1)",
            "DECLARE @x int = 1; SELECT @x",
            "SELECT a FROM t ORDER BY a OFFSET 5 ROWS FETCH NEXT 5 ROWS ONLY",
        ] {
            assert!(Batch::read(text).has_one_result, "{text}");
        }
        for text in ["SELECT 1; SELECT 2", "EXEC p", "p", "WHILE 1 = 1 SELECT 1", "SELECT 1 SELECT 2"] {
            assert!(!Batch::read(text).has_one_result, "{text}");
        }
    }

    #[test]
    fn what_can_outlive_a_batch_is_noticed() {
        for text in [
            "EXEC p",
            "execute('SELECT 1')",
            "sp_who",
            "[dbo].[p] 1",
            "CREATE TABLE ##t (a int)",
            "SELECT * INTO [##t] FROM u",
            "DECLARE c CURSOR FOR SELECT 1",
            "SET CONTEXT_INFO 0x01",
        ] {
            assert!(Batch::read(text).leaves_traces, "{text}");
        }
        for text in [
            "SELECT * INTO #t FROM u",
            "SELECT 'EXEC', [exec], \"exec\" /* exec */",
            "SET NOCOUNT ON; SELECT 1",
        ] {
            assert!(!Batch::read(text).leaves_traces, "{text}");
        }
    }
}
