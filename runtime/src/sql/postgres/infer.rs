//! Finds the types of a statement's parameters: by having the server infer them, and by helping it where it can't.
//!
//! A parameter that stands in several places is one `$n` at first, so that `GROUP BY` knows that two expressions are one
//! and the same. Where the places want different types, or the server meets the one that says nothing first (as in
//! `@x IS NULL OR c = @x`), each place gets a number of its own; where those then agree on a type, it is one again.

use sqlx::postgres::PgColumn;
use sqlx::{Either, Statement as _};

use super::draft::Draft;
use super::error::refusal;
use super::prepare::{Preparer, Refused, number, render, signed};
use super::types::oid;
use crate::sql::backend::Argument;
use crate::sql::placeholder::Statement;

/// A statement's parameters with their types, and its columns.
#[derive(Debug)]
pub(super) struct Inferred {
    /// For each place in the text, the slot that it is.
    pub(super) numbers: Vec<usize>,
    /// For each `$n`, what it is.
    pub(super) slots: Vec<InferredSlot>,
    pub(super) columns: Vec<PgColumn>,
}

/// What a `$n` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InferredSlot {
    pub(super) parameter: usize,
    pub(super) oid: u32,
    /// The type is the one that the parameter's schema names.
    pub(super) is_hinted: bool,
}

/// Finds the types of a statement's parameters.
pub(super) async fn infer(
    preparer: &mut Preparer<'_>,
    statement: &Statement,
    arguments: &[Argument<'_>],
) -> Result<Inferred, Refused> {
    let mut draft = Draft::new(statement, arguments);
    let mut found = accepted(preparer, &mut draft).await?;
    let oids: Vec<u32> = found.slots.iter().map(|slot| slot.oid).collect();
    for remedy in draft.unifications(&oids).into_iter().chain(draft.hints(&oids)) {
        let mut other = draft.clone();
        other.apply(&remedy);
        match attempt(preparer, &other).await {
            Ok(better) => (draft, found) = (other, better),
            Err(refused) if refusal(&refused.error).is_some() => {}
            Err(broken) => return Err(broken),
        }
    }
    Ok(found)
}

/// Adapts the draft until the server takes it.
async fn accepted(preparer: &mut Preparer<'_>, draft: &mut Draft<'_>) -> Result<Inferred, Refused> {
    let mut first: Option<Refused> = None;
    loop {
        let refused = match attempt(preparer, draft).await {
            Ok(inferred) => return Ok(inferred),
            Err(refused) => refused,
        };
        match refusal(&refused.error) {
            None => return Err(refused),
            Some(reason) if draft.adapt(reason) => first = first.or(Some(refused)),
            // What is wrong with the query as it was written is what its author can do something about.
            Some(_) => return Err(first.unwrap_or(refused)),
        }
    }
}

async fn attempt(preparer: &mut Preparer<'_>, draft: &Draft<'_>) -> Result<Inferred, Refused> {
    let (numbers, keys) = draft.numbering();
    let declared: Vec<u32> = keys.iter().map(|key| draft.declared(*key)).collect();
    let sql = signed(render(draft.statement, &numbers, number), &declared);
    let prepared = match preparer.prepare(&sql, &declared).await {
        Ok(prepared) => prepared,
        Err(error) => {
            let parameters = keys.iter().map(|key| key.parameter).collect();
            return Err(Refused { error, sql, parameters });
        }
    };
    let types = match prepared.parameters() {
        Some(Either::Left(types)) => types,
        _ => &[],
    };
    let slots = keys.iter().zip(types).map(|(key, info)| InferredSlot {
        parameter: key.parameter,
        oid: info.oid().map_or(oid::TEXT, |oid| oid.0),
        is_hinted: draft.hinted.contains(key),
    });
    Ok(Inferred { slots: slots.collect(), numbers, columns: prepared.columns().to_vec() })
}
