//! How a statement is run: what its parameters are bound as, and how its columns are read. Found out once, then kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::Column as _;
use sqlx::postgres::PgColumn;

use super::decode::{Decoder, Reading, reading, type_name};
use super::encode::{self, Bound, Cast};
use super::error::refusal;
use super::harmless::is_harmless;
use super::infer::{Inferred, infer};
use super::prepare::{Preparer, Refused, number, render, signed};
use super::shape::Shape;
use super::types::{Class, Place, places};
use super::unseen::Assurance;
use crate::sql::backend::{Argument, Hint, Job};
use crate::sql::error::SqlError;
use crate::sql::placeholder::{Query, Statement};
use crate::sql::result::Column;

/// So many queries' plans are kept.
const MAX_QUERIES: usize = 1000;

/// How a statement is run.
#[derive(Debug)]
pub(super) struct Plan {
    /// For each place in the text, its slot.
    numbers: Vec<usize>,
    slots: Vec<Slot>,
    pub(super) columns: Vec<PlannedColumn>,
    /// What columns are cast to, where some must be to be read.
    casts: Option<Vec<Option<&'static str>>>,
    pub(super) shape: Shape,
    /// The text that was sent last, with how its values were bound: most calls send the same.
    last: Mutex<Option<(Binding, Arc<str>)>>,
}

/// The declared type of each `$n`, and whether it is cast.
type Binding = Vec<(u32, Cast)>;

/// What a `$n` is.
#[derive(Debug)]
struct Slot {
    parameter: usize,
    place: Arc<Place>,
    /// The place's type is the one that the parameter's schema names.
    is_hinted: bool,
}

/// A column of the result.
#[derive(Clone, Debug)]
pub(super) struct PlannedColumn {
    pub(super) column: Column,
    /// The type that the server sends, after a cast if there is one.
    pub(super) oid: u32,
    pub(super) decoder: Decoder,
}

/// Why there is no plan.
#[derive(Debug)]
pub(super) enum PlanError {
    /// The server refuses the statement, or the connection broke.
    Refused(Refused),
    /// It has a column that can't be read.
    Unreadable(SqlError),
}

impl From<Refused> for PlanError {
    fn from(refused: Refused) -> Self {
        match refused.error {
            // The driver doesn't know what to make of what the catalog says about a type.
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::TypeNotFound { .. } => {
                let message = "the statement has a column or a parameter of a type that can't be read here, such as \
                               a multirange: cast it to text";
                Self::Unreadable(SqlError::database(message, None))
            }
            _ => Self::Refused(refused),
        }
    }
}

impl Plan {
    /// Finds out how a statement is run.
    pub(super) async fn make(
        preparer: &mut Preparer<'_>,
        statement: &Statement,
        arguments: &[Argument<'_>],
    ) -> Result<Self, PlanError> {
        let Inferred { numbers, slots, columns } = infer(preparer, statement, arguments).await?;
        let looked_up = places(preparer.pg, slots.iter().map(|slot| slot.oid)).await;
        let places = looked_up.map_err(Refused::beside)?;
        let slots = slots.iter().map(|slot| {
            let place = places.get(&slot.oid).cloned().unwrap_or_else(|| Arc::new(Place::unknown(slot.oid)));
            Slot { parameter: slot.parameter, place, is_hinted: slot.is_hinted }
        });
        let mut plan = Self {
            numbers,
            slots: slots.collect(),
            columns: Vec::new(),
            casts: None,
            shape: Shape::of(statement.keyword(), statement.text()),
            last: Mutex::default(),
        };
        plan.read(preparer, statement, &columns).await?;
        Ok(plan)
    }

    /// Finds out how the columns are read.
    async fn read(
        &mut self,
        preparer: &mut Preparer<'_>,
        statement: &Statement,
        columns: &[PgColumn],
    ) -> Result<(), PlanError> {
        let readings: Vec<Reading> = columns.iter().map(|column| reading(column.type_info())).collect();
        let casts = readings.iter().map(|reading| match reading {
            Reading::Direct(_) => None,
            Reading::Cast(name, _) => Some(*name),
        });
        let casts: Vec<Option<&'static str>> = casts.collect();
        let first_cast = columns.iter().zip(&casts).find(|(_, cast)| cast.is_some());
        let mut sent = columns.to_vec();
        if let Some((column, _)) = first_cast {
            let unreadable = || PlanError::Unreadable(unreadable(column));
            let text = render(statement, &self.numbers, number);
            let text = self.shape.cast(&text, &casts).ok_or_else(unreadable)?;
            let oids: Vec<u32> = self.slots.iter().map(|slot| slot.place.oid).collect();
            let sql = signed(text, &oids);
            match preparer.prepare(&sql, &oids).await {
                Ok(prepared) => sent = sqlx::Statement::columns(&prepared).to_vec(),
                Err(error) if refusal(&error).is_some() => return Err(unreadable()),
                Err(error) => return Err(Refused::beside(error).into()),
            }
            self.casts = Some(casts);
        }
        let columns = columns.iter().zip(&sent).zip(readings);
        self.columns = columns.map(|((own, sent), reading)| PlannedColumn::new(own, sent, reading)).collect();
        Ok(())
    }

    /// Writes a call's arguments, one for each `$n`.
    pub(super) fn bind(&self, arguments: &[Argument<'_>]) -> Result<Vec<Bound>, SqlError> {
        let bind = |slot: &Slot| encode::bind(&arguments[slot.parameter], &slot.place, slot.is_hinted);
        self.slots.iter().map(bind).collect()
    }

    /// The text to send with these values.
    pub(super) fn text(&self, statement: &Statement, bounds: &[Bound]) -> Arc<str> {
        let binding = bounds.iter().map(|bound| (bound.oid, bound.cast));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((known, text)) if known.iter().copied().eq(binding.clone()) => Arc::clone(text),
            _ => {
                let text: Arc<str> = self.write_text(statement, bounds).into();
                *last = Some((binding.collect(), Arc::clone(&text)));
                text
            }
        }
    }

    fn write_text(&self, statement: &Statement, bounds: &[Bound]) -> String {
        let text = render(statement, &self.numbers, |out, slot| {
            let type_name = match bounds[slot].cast {
                Cast::Not => return number(out, slot),
                Cast::Own => &self.slots[slot].place.sql_name,
                Cast::Numeric => "pg_catalog.numeric",
            };
            out.push_str("CAST(");
            number(out, slot);
            out.push_str(" AS ");
            out.push_str(type_name);
            out.push(')');
        });
        let text = match &self.casts {
            // It could be cast when the plan was made.
            Some(casts) => self.shape.cast(&text, casts).unwrap_or(text),
            None => text,
        };
        let oids: Vec<u32> = bounds.iter().map(|bound| bound.oid).collect();
        signed(text, &oids)
    }

    /// What each `$n` is called in the query.
    pub(super) fn names<'a>(&self, arguments: &[Argument<'a>]) -> Vec<&'a str> {
        self.slots.iter().map(|slot| arguments[slot.parameter].name).collect()
    }

    /// The columns as they came, where they aren't those that were planned. None if some of them can't be read so.
    pub(super) fn columns_as_sent(&self, sent: &[PgColumn]) -> Option<Vec<PlannedColumn>> {
        let planned = |index: usize| self.columns.get(index).map(|planned| &planned.column);
        let column = |(index, column): (usize, &PgColumn)| match reading(column.type_info()) {
            Reading::Cast(..) => None,
            reading @ Reading::Direct(_) => {
                let mut new = PlannedColumn::new(column, column, reading);
                if self.casts.is_some() {
                    new.column = planned(index)?.clone();
                }
                Some(new)
            }
        };
        let is_as_wide = self.casts.is_none() || sent.len() == self.columns.len();
        is_as_wide.then(|| sent.iter().enumerate().map(column).collect())?
    }

    /// Whether these are the columns that were planned.
    pub(super) fn expects(&self, sent: &[PgColumn]) -> bool {
        let is_same = |(planned, sent): (&PlannedColumn, &PgColumn)| {
            let oid = sent.type_info().oid().map_or(0, |oid| oid.0);
            planned.oid == oid && (self.casts.is_some() || planned.column.name == sent.name())
        };
        self.columns.len() == sent.len() && self.columns.iter().zip(sent).all(is_same)
    }
}

impl PlannedColumn {
    fn new(own: &PgColumn, sent: &PgColumn, reading: Reading) -> Self {
        let (Reading::Direct(decoder) | Reading::Cast(_, decoder)) = reading;
        let column = Column { name: own.name().to_owned(), type_name: type_name(own.type_info()) };
        Self { column, oid: sent.type_info().oid().map_or(0, |oid| oid.0), decoder }
    }
}

impl Place {
    /// A type that isn't in the catalog any more: the next statement will say so.
    fn unknown(oid: u32) -> Self {
        let class = Class::Text;
        Self { oid, class, sql_name: "pg_catalog.text".to_owned(), name: "text".to_owned() }
    }
}

fn unreadable(column: &PgColumn) -> SqlError {
    let (name, type_name) = (column.name(), type_name(column.type_info()));
    let message =
        format!("the column {name:?} is of the type {type_name}, which can't be read here: cast it to text");
    SqlError::database(message, None)
}

/// The plans of queries.
#[derive(Debug, Default)]
pub(super) struct Plans {
    by_text: Mutex<HashMap<String, Vec<Arc<QueryPlans>>>>,
}

/// The plans of one query, made as its statements run.
#[derive(Debug)]
pub(super) struct QueryPlans {
    /// What its parameters' schemas say: the same query may stand in several operations.
    hints: Vec<Hint>,
    statements: Vec<Mutex<Option<Arc<Plan>>>>,
    /// Its text leaves nothing behind in its session.
    pub(super) is_harmless: bool,
    /// What the database says about what the text doesn't show.
    pub(super) assurance: Assurance,
}

impl Plans {
    /// The plans of a query, perhaps still to be made.
    pub(super) fn of(&self, job: &Job<'_>) -> Arc<QueryPlans> {
        let mut by_text = self.by_text.lock().unwrap_or_else(PoisonError::into_inner);
        let has_hints = |plans: &&Arc<QueryPlans>| {
            plans.hints.iter().eq(job.arguments.iter().map(|argument| &argument.hint))
        };
        let known = by_text.get(job.query.text()).and_then(|plans| plans.iter().find(has_hints));
        if let Some(known) = known {
            return Arc::clone(known);
        }
        if by_text.len() >= MAX_QUERIES {
            by_text.clear();
        }
        let new = Arc::new(QueryPlans::new(job.query, &job.arguments));
        by_text.entry(job.query.text().to_owned()).or_default().push(Arc::clone(&new));
        new
    }

    /// Makes them anew the next time: something about the database has changed.
    pub(super) fn forget(&self, query: &Query) {
        self.by_text.lock().unwrap_or_else(PoisonError::into_inner).remove(query.text());
    }
}

impl QueryPlans {
    fn new(query: &Query, arguments: &[Argument<'_>]) -> Self {
        Self {
            hints: arguments.iter().map(|argument| argument.hint).collect(),
            statements: query.statements().iter().map(|_| Mutex::default()).collect(),
            is_harmless: is_harmless(query.text()),
            assurance: Assurance::default(),
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<Arc<Plan>> {
        self.statements[index].lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, index: usize, plan: Plan) -> Arc<Plan> {
        let plan = Arc::new(plan);
        *self.statements[index].lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&plan));
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::backend::ArgumentValue;
    use crate::sql::placeholder::Dialect;
    use crate::sql::postgres::types::oid;

    fn job<'a>(query: &'a Query, hint: Hint) -> Job<'a> {
        let argument = Argument { name: "a", value: ArgumentValue::Null, hint };
        let deadline = std::time::Instant::now();
        Job { query, arguments: vec![argument], read_only: true, deadline }
    }

    #[test]
    fn plans_are_kept_by_text_and_hints_and_forgotten_together() {
        let query = Query::parse(Dialect::Postgres, "SELECT @a", &["a"]).0.unwrap();
        let plans = Plans::default();
        let integer = plans.of(&job(&query, Hint::Integer));
        assert!(Arc::ptr_eq(&integer, &plans.of(&job(&query, Hint::Integer))));
        assert!(!Arc::ptr_eq(&integer, &plans.of(&job(&query, Hint::Bool))));
        plans.forget(&query);
        assert!(!Arc::ptr_eq(&integer, &plans.of(&job(&query, Hint::Integer))));
    }

    #[test]
    fn values_are_cast_to_the_types_of_their_places() {
        let text = "SELECT @a, @b, @a";
        let query = Query::parse(Dialect::Postgres, text, &["a", "b"]).0.unwrap();
        let place = |oid, class| {
            let (sql_name, name) = ("pg_catalog.date".to_owned(), "date".to_owned());
            Arc::new(Place { oid, class, sql_name, name })
        };
        let slot = |parameter, oid, class| Slot { parameter, place: place(oid, class), is_hinted: false };
        let plan = Plan {
            numbers: vec![0, 1, 0],
            slots: vec![slot(0, oid::DATE, Class::Parsed), slot(1, oid::INT4, Class::Int4)],
            columns: Vec::new(),
            casts: None,
            shape: Shape::Query,
            last: Mutex::default(),
        };
        let argument = |name, value| Argument { name, value, hint: Hint::None };
        let bounds = plan
            .bind(&[argument("a", ArgumentValue::Text("today")), argument("b", ArgumentValue::Text("7"))])
            .unwrap();
        let expected = "SELECT CAST($1 AS pg_catalog.date), $2, CAST($1 AS pg_catalog.date)\n/*25,23*/";
        for _ in 0..2 {
            assert_eq!(&*plan.text(&query.statements()[0], &bounds), expected);
        }
        let bounds = plan
            .bind(&[argument("a", ArgumentValue::Null), argument("b", ArgumentValue::Text("0x7"))])
            .unwrap();
        let expected =
            "SELECT CAST($1 AS pg_catalog.date), CAST($2 AS pg_catalog.date), CAST($1 AS pg_catalog.date)";
        assert_eq!(&*plan.text(&query.statements()[0], &bounds), format!("{expected}\n/*25,25*/"));
    }
}
