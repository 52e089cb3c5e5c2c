//! Runs the statements of a call in one transaction.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments as _, AssertSqlSafe, Connection as _, Either, Executor as _, Row as _, ValueRef as _};
use tokio::task::coop::consume_budget;

use super::Connection;
use super::decode::Malformed;
use super::error::{broken, failed, refusal};
use super::harmless::KNOWN;
use super::plan::{Plan, PlanError, PlannedColumn, Plans, QueryPlans};
use super::prepare::{Preparer, Refused};
use super::shape::Shape;
use crate::sql::backend::{After, Failed, Job};
use crate::sql::error::SqlError;
use crate::sql::placeholder::Statement;
use crate::sql::result::{Column, ResultSink, Wanted};

/// The query after `BEGIN` takes the transaction's snapshot, after which PostgreSQL lets nothing make it one that writes.
const BEGIN_READ: &str = "BEGIN READ ONLY; SELECT 1";
const BEGIN_WRITE: &str = "BEGIN READ WRITE";

/// Runs a call's statements.
pub(super) async fn run(
    plans: &Plans,
    connection: &mut Connection,
    job: &Job<'_>,
    sink: &mut ResultSink,
) -> Result<After, Failed> {
    let first = Attempt::new(plans, connection, job, false).run(sink).await;
    let Err(Stop { is_stale: true, failed }) = first else { return first.map_err(|stop| stop.failed) };
    if failed.after == After::Close {
        return Err(failed);
    }
    // The database isn't what it was when the plan was made. Nothing of the first attempt remains.
    plans.forget(job.query);
    if connection.pg.clear_cached_statements().await.is_err() {
        return Err(Failed::closing(failed.error));
    }
    Attempt::new(plans, connection, job, true).run(sink).await.map_err(|stop| stop.failed)
}

/// An attempt ended early.
struct Stop {
    failed: Failed,
    /// It may have failed because of an outdated plan.
    is_stale: bool,
}

impl From<Failed> for Stop {
    fn from(failed: Failed) -> Self {
        Self { failed, is_stale: false }
    }
}

struct Attempt<'a> {
    connection: &'a mut Connection,
    job: &'a Job<'a>,
    plans: Arc<QueryPlans>,
    /// Whether a first attempt failed on outdated plans.
    is_second: bool,
    /// Rows that statements changed, if any could.
    n_affected: Option<u64>,
}

impl<'a> Attempt<'a> {
    fn new(plans: &Plans, connection: &'a mut Connection, job: &'a Job<'a>, is_second: bool) -> Self {
        Self { connection, job, plans: plans.of(job), is_second, n_affected: None }
    }

    async fn run(mut self, sink: &mut ResultSink) -> Result<After, Stop> {
        refuse_copying(self.job).map_err(Failed::in_order)?;
        let after = if self.is_transaction_by_itself() {
            let plan = self.plan(0, false).await?;
            let after = self.statement(0, &plan, sink).await?;
            self.connection.is_clean = true;
            after
        } else {
            self.transaction(sink).await?
        };
        if let Some(n_rows) = self.n_affected {
            sink.affected(n_rows);
        }
        Ok(after)
    }

    /// Whether the call is one statement that reads, without a side effect that a read-only transaction lets through (large
    /// objects, before PostgreSQL 16) and only a rollback takes back: then it needs no transaction around it.
    fn is_transaction_by_itself(&self) -> bool {
        self.is_plain() && self.plans.assurance.get() == Some(true)
    }

    fn is_plain(&self) -> bool {
        let [statement] = self.job.query.statements() else { return false };
        self.job.read_only
            && self.plans.is_harmless
            && matches!(statement.keyword(), "SELECT" | "WITH" | "VALUES" | "TABLE")
    }

    /// Whether the text leaves nothing behind, and the database hasn't been asked yet if that is all that runs.
    fn wants_assurance(&self) -> bool {
        self.is_plain() && self.plans.assurance.get().is_none()
    }

    async fn transaction(&mut self, sink: &mut ResultSink) -> Result<After, Stop> {
        let n_statements = self.job.query.statements().len();
        self.connection.may_have_prepared = self.may_prepare();
        self.plan_ahead(n_statements).await?;
        let begin = if self.job.read_only { BEGIN_READ } else { BEGIN_WRITE };
        self.control(begin).await?;
        for index in 0..n_statements {
            let ended = match self.plan(index, true).await {
                Ok(plan) => self.statement(index, &plan, sink).await,
                Err(stop) => Err(stop),
            };
            match ended {
                Ok(After::Reset) => {}
                // The transaction ends with the connection; only a read is left before its end.
                Ok(After::Close) => return Ok(After::Close),
                Err(stop) => return Err(self.roll_back(stop).await),
            }
        }
        if self.wants_assurance() {
            let asked = self.plans.assurance.ask(&mut self.connection.pg, KNOWN).await;
            asked.map_err(|error| failed(&self.connection.route, &error, "", &[]))?;
        }
        self.control(if self.job.read_only { "ROLLBACK" } else { "COMMIT" }).await?;
        Ok(After::Reset)
    }

    /// Makes the plans that can be made before the transaction: what fails there costs nothing. Statements after the first
    /// may need what those before them do, and are tried again in their turn.
    async fn plan_ahead(&mut self, n_statements: usize) -> Result<(), Stop> {
        for index in 0..n_statements {
            if self.is_of_another(index) {
                return Ok(());
            }
            match self.plan(index, false).await {
                Err(stop) if index == 0 || stop.failed.after == After::Close => return Err(stop),
                // A later statement that is planned before its time may find another table by the same name.
                Ok(_) if self.is_second => return Ok(()),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Whether a statement's columns are those of another that the text prepares or declares: they are known only after
    /// that, and may be others the next time.
    fn is_of_another(&self, index: usize) -> bool {
        matches!(self.job.query.statements()[index].keyword(), "FETCH" | "EXECUTE")
    }

    async fn plan(&mut self, index: usize, is_inside: bool) -> Result<Arc<Plan>, Stop> {
        if let Some(plan) = self.plans.get(index) {
            return Ok(plan);
        }
        let made = self.make_plan(index, is_inside).await;
        let plan = made.map_err(|error| match error {
            PlanError::Unreadable(error) => Failed::in_order(error),
            PlanError::Refused(refused) => {
                let name = |parameter: &usize| self.job.arguments[*parameter].name;
                let names: Vec<&str> = refused.parameters.iter().map(name).collect();
                failed(&self.connection.route, &refused.error, &refused.sql, &names)
            }
        })?;
        if self.is_of_another(index) {
            return Ok(Arc::new(plan));
        }
        Ok(self.plans.set(index, plan))
    }

    async fn make_plan(&mut self, index: usize, is_inside: bool) -> Result<Plan, PlanError> {
        let (statement, arguments) = (&self.job.query.statements()[index], &self.job.arguments);
        let pg = &mut self.connection.pg;
        let unsaid = |error| PlanError::Refused(Refused::beside(error));
        let mut preparer =
            if is_inside { Preparer::inside(pg).await.map_err(unsaid)? } else { Preparer::outside(pg) };
        let plan = Plan::make(&mut preparer, statement, arguments).await?;
        preparer.finish().await.map_err(unsaid)?;
        Ok(plan)
    }

    /// Runs a statement to its end, or in a read until no more rows are wanted.
    async fn statement(&mut self, index: usize, plan: &Plan, sink: &mut ResultSink) -> Result<After, Stop> {
        let statement = &self.job.query.statements()[index];
        let bounds = plan.bind(&self.job.arguments).map_err(Failed::in_order)?;
        let sql = plan.text(statement, &bounds);
        let mut arguments = PgArguments::default();
        for bound in bounds {
            let added = arguments.add(bound);
            added
                .map_err(|error| broken(&self.connection.route, &sqlx::Error::Encode(error)))
                .map_err(Failed::in_order)?;
        }
        let is_last = index + 1 == self.job.query.statements().len();
        let mut reader = Reader::new(plan, sink, self.job.read_only && is_last);
        reader.begin();
        let query = sqlx::query_with(AssertSqlSafe(Arc::clone(&sql)), arguments);
        let mut answers = self.connection.pg.fetch_many(query);
        loop {
            // The driver doesn't yield as long as it has rows to give, and the call's limits want to be heard.
            consume_budget().await;
            match answers.try_next().await {
                Ok(Some(Either::Left(done))) => {
                    if plan.shape == Shape::Change {
                        *self.n_affected.get_or_insert(0) += done.rows_affected();
                    }
                }
                Ok(Some(Either::Right(row))) => match reader.row(&row) {
                    Ok(Progress::More) => {}
                    Ok(Progress::Enough) => return Ok(After::Close),
                    Ok(Progress::Outdated) => {
                        let error =
                            SqlError::database("the result's columns changed while the query ran", None);
                        return Err(Stop { failed: Failed::in_order(error), is_stale: true });
                    }
                    Err(error) => return Err(Failed::closing(error).into()),
                },
                Ok(None) => return Ok(After::Reset),
                Err(error) => {
                    drop(answers);
                    let names = plan.names(&self.job.arguments);
                    let failed = failed(&self.connection.route, &error, &sql, &names);
                    return Err(Stop { failed, is_stale: is_outdated(&error) });
                }
            }
        }
    }

    /// Begins or ends the transaction.
    async fn control(&mut self, text: &'static str) -> Result<(), Stop> {
        match self.connection.pg.execute(text).await {
            Ok(_) => Ok(()),
            Err(error) if text == "COMMIT" && refusal(&error).is_none() => {
                let SqlError::Unreachable { database, detail } = broken(&self.connection.route, &error)
                else {
                    return Err(failed(&self.connection.route, &error, text, &[]).into());
                };
                let detail =
                    format!("{detail} (while committing: whether the changes were kept isn't known)");
                Err(Failed::closing(SqlError::Unreachable { database, detail }).into())
            }
            Err(error) => Err(failed(&self.connection.route, &error, text, &[]).into()),
        }
    }

    async fn roll_back(&mut self, mut stop: Stop) -> Stop {
        if stop.failed.after == After::Reset && self.connection.pg.execute("ROLLBACK").await.is_err() {
            stop.failed.after = After::Close;
        }
        stop
    }

    /// Whether statements may be prepared by name in the session, where they stay even if the transaction fails.
    fn may_prepare(&self) -> bool {
        let mut keywords = self.job.query.statements().iter().map(Statement::keyword);
        keywords.any(|keyword| matches!(keyword, "PREPARE" | "DO" | "CALL"))
    }
}

/// `COPY` speaks a protocol of its own, and in a read-only transaction too writes files on the server, also within `DO`.
fn refuse_copying(job: &Job<'_>) -> Result<(), SqlError> {
    let has = |keyword: &str| job.query.statements().iter().any(|own| own.keyword() == keyword);
    let message = if has("COPY") {
        "COPY can't be run here: use SELECT, or INSERT with the rows as arguments"
    } else if job.read_only && has("DO") {
        "DO runs code that returns nothing, which isn't a read: its operation must be a write"
    } else {
        return Ok(());
    };
    Err(SqlError::database(message, None))
}

/// Whether a statement failed in a way that it may not have if its plan had been made now: because a table, a column or a
/// function isn't what it was, before anything of it ran.
fn is_outdated(error: &sqlx::Error) -> bool {
    let Some(refused) = refusal(error) else { return false };
    match refused.code() {
        // "cached plan must not change result type"
        "0A000" => refused.routine() == Some("RevalidateCachedQuery"),
        // The prepared statement is gone.
        "26000" => true,
        "42501" => false,
        // With a context, it comes from inside a function, which has run by then.
        code => code.starts_with("42") && refused.r#where().is_none(),
    }
}

/// What comes after a row.
enum Progress {
    More,
    /// Nobody wants more rows.
    Enough,
    /// These aren't the columns that were planned, and can't be read.
    Outdated,
}

/// Gives a statement's rows to the sink.
struct Reader<'r> {
    plan: &'r Plan,
    sink: &'r mut ResultSink,
    /// Whether reading stops where no more rows are wanted.
    may_stop: bool,
    /// The columns, where they aren't the planned ones.
    other_columns: Option<Vec<PlannedColumn>>,
    values: Vec<serde_json::Value>,
    is_first: bool,
    is_full: bool,
}

impl<'r> Reader<'r> {
    fn new(plan: &'r Plan, sink: &'r mut ResultSink, may_stop: bool) -> Self {
        let values = Vec::with_capacity(plan.columns.len());
        Self { plan, sink, may_stop, other_columns: None, values, is_first: true, is_full: false }
    }

    fn begin(&mut self) {
        if !self.plan.columns.is_empty() {
            self.sink.begin(columns(&self.plan.columns));
        }
    }

    fn row(&mut self, row: &PgRow) -> Result<Progress, SqlError> {
        if self.is_full {
            return Ok(Progress::More);
        }
        if std::mem::take(&mut self.is_first) && !self.plan.expects(row.columns()) {
            let Some(others) = self.plan.columns_as_sent(row.columns()) else {
                return Ok(Progress::Outdated);
            };
            self.sink.begin(columns(&others));
            self.other_columns = Some(others);
        }
        let planned = self.other_columns.as_ref().unwrap_or(&self.plan.columns);
        for (index, column) in planned.iter().enumerate() {
            self.values.push(value(row, index, column)?);
        }
        match self.sink.row(self.values.drain(..)).map_err(SqlError::Exceeded)? {
            Wanted::More => Ok(Progress::More),
            Wanted::Enough if self.may_stop => Ok(Progress::Enough),
            Wanted::Enough => {
                self.is_full = true;
                Ok(Progress::More)
            }
        }
    }
}

fn columns(planned: &[PlannedColumn]) -> Vec<Column> {
    planned.iter().map(|planned| planned.column.clone()).collect()
}

fn value(row: &PgRow, index: usize, column: &PlannedColumn) -> Result<serde_json::Value, SqlError> {
    let malformed = |_| {
        let Column { name, type_name } = &column.column;
        let message = format!("the column {name:?} holds a {type_name} that can't be read: cast it to text");
        SqlError::database(message, None)
    };
    let sent = row.try_get_raw(index).map_err(|_| malformed(Malformed))?;
    if sent.is_null() {
        return Ok(serde_json::Value::Null);
    }
    let bytes = sent.as_bytes().map_err(|_| malformed(Malformed))?;
    column.decoder.decode(bytes).map_err(malformed)
}
