//! The transaction of a session, and the SQL about transactions and settings that the server answers by itself.

/// Where a session stands.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    /// `@@TRANCOUNT`.
    pub(crate) count: i64,
    /// The descriptor that clients put into their requests; 0 outside of a transaction.
    pub(crate) descriptor: u64,
    /// `SET XACT_ABORT`.
    pub(crate) abort_on_error: bool,
    n_begun: u64,
}

impl Transaction {
    /// Begins one, or goes one deeper. The new descriptor where one was begun.
    pub(crate) fn begin(&mut self) -> Option<u64> {
        self.count += 1;
        if self.count > 1 {
            return None;
        }
        self.n_begun += 1;
        // High bytes as well, so that a client that cuts descriptors is found out.
        self.descriptor = 0x7D50_0000_0000_0000 | self.n_begun;
        Some(self.descriptor)
    }

    /// Commits one level. `Err` outside of a transaction, `Ok` with the descriptor of what is over now.
    pub(crate) fn commit(&mut self) -> Result<Option<u64>, ()> {
        match self.count {
            0 => Err(()),
            1 => self.rollback().map(Some),
            _ => {
                self.count -= 1;
                Ok(None)
            }
        }
    }

    /// Ends all levels. `Err` outside of a transaction, else the descriptor of what is over now.
    pub(crate) fn rollback(&mut self) -> Result<u64, ()> {
        if self.count == 0 {
            return Err(());
        }
        self.count = 0;
        Ok(std::mem::take(&mut self.descriptor))
    }
}

/// A statement that the server answers by itself.
#[derive(Debug, PartialEq)]
pub(crate) enum Statement {
    Begin,
    Commit,
    Rollback,
    /// `IF @@TRANCOUNT > 0` before another one.
    IfOpen(Box<Statement>),
    /// `SET XACT_ABORT`.
    AbortOnError(bool),
    /// Any other option: `SET LOCK_TIMEOUT 1000`.
    Set,
    /// `SELECT @@TRANCOUNT`.
    SelectCount,
    /// `SELECT @@SPID`.
    SelectSession,
}

/// The statements of a batch, when it has no others than these.
pub(crate) fn recognise(sql: &str) -> Option<Vec<Statement>> {
    if sql.contains(['\'', '"', '[', '-', '/']) {
        return None;
    }
    let spaced = sql.to_uppercase().replace(';', " ; ").replace('>', " > ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut words = words.as_slice();
    let mut statements = Vec::new();
    loop {
        while let [";", rest @ ..] = words {
            words = rest;
        }
        if words.is_empty() {
            return (!statements.is_empty()).then_some(statements);
        }
        let (statement, rest) = statement(words)?;
        statements.push(statement);
        words = rest;
    }
}

fn statement<'a, 'b>(words: &'a [&'b str]) -> Option<(Statement, &'a [&'b str])> {
    match words {
        ["BEGIN", "TRAN" | "TRANSACTION", rest @ ..] => Some((Statement::Begin, rest)),
        ["COMMIT", rest @ ..] => Some((Statement::Commit, without_noun(rest))),
        ["ROLLBACK", rest @ ..] => Some((Statement::Rollback, without_noun(rest))),
        ["IF", "@@TRANCOUNT", ">", "0", rest @ ..] => {
            let (inner, rest) = statement(rest)?;
            Some((Statement::IfOpen(Box::new(inner)), rest))
        }
        ["SET", "XACT_ABORT", value @ ("ON" | "OFF"), rest @ ..] => {
            Some((Statement::AbortOnError(*value == "ON"), rest))
        }
        ["SET", option, ..] if !option.starts_with('@') => {
            let is_start = |word: &&str| {
                matches!(*word, ";" | "BEGIN" | "COMMIT" | "ROLLBACK" | "IF" | "SET" | "SELECT")
            };
            let end = words.iter().skip(1).position(is_start).map_or(words.len(), |place| place + 1);
            Some((Statement::Set, &words[end..]))
        }
        ["SELECT", "@@TRANCOUNT", rest @ ..] => Some((Statement::SelectCount, rest)),
        ["SELECT", "@@SPID", rest @ ..] => Some((Statement::SelectSession, rest)),
        _ => None,
    }
}

fn without_noun<'a, 'b>(words: &'a [&'b str]) -> &'a [&'b str] {
    match words {
        ["TRAN" | "TRANSACTION" | "WORK", rest @ ..] => rest,
        words => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_about_transactions_are_recognised() {
        use Statement::{AbortOnError, Begin, Commit, IfOpen, Rollback, SelectCount, SelectSession, Set};
        let cases = [
            ("BEGIN TRAN", vec![Begin]),
            ("begin transaction;", vec![Begin]),
            ("COMMIT", vec![Commit]),
            ("IF @@TRANCOUNT > 0 ROLLBACK TRAN", vec![IfOpen(Box::new(Rollback))]),
            ("if @@trancount>0 rollback", vec![IfOpen(Box::new(Rollback))]),
            ("SET XACT_ABORT ON; BEGIN TRAN", vec![AbortOnError(true), Begin]),
            ("SET TRANSACTION ISOLATION LEVEL READ COMMITTED\nBEGIN TRAN", vec![Set, Begin]),
            ("set textsize 64512 select @@spid ", vec![Set, SelectSession]),
            ("SELECT @@TRANCOUNT", vec![SelectCount]),
        ];
        for (sql, statements) in cases {
            assert_eq!(recognise(sql), Some(statements), "{sql}");
        }
    }

    #[test]
    fn other_sql_is_left_to_the_handler() {
        let cases =
            ["", "SELECT 1", "BEGIN TRAN; INSERT INTO t VALUES (1); COMMIT", "SET @x = 1", "BEGIN TRAN -- x"];
        for sql in cases {
            assert_eq!(recognise(sql), None, "{sql}");
        }
    }
}
