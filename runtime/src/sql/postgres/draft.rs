//! A statement whose parameters' types are being found: how its places are numbered, what is declared, and what to try next.

use std::collections::HashMap;

use sqlx::postgres::PgDatabaseError;

use super::types::oid;
use crate::sql::backend::{Argument, Hint};
use crate::sql::placeholder::Statement;

/// A place of a parameter, or all of its places in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) parameter: usize,
    /// Which of its places, if each has its own number.
    occurrence: usize,
}

/// How a statement's places are numbered, and which types are declared.
#[derive(Clone, Debug)]
pub(super) struct Draft<'a> {
    pub(super) statement: &'a Statement,
    hints: Vec<Hint>,
    /// How many places each parameter has.
    n_places: Vec<usize>,
    /// The parameters whose places each have a number.
    split: Vec<bool>,
    declared: HashMap<Key, u32>,
    /// Those of the declared ones that the server couldn't infer.
    undetermined: Vec<Key>,
    /// Those that are declared as their parameter's schema says.
    pub(super) hinted: Vec<Key>,
    /// Those that are declared as texts to see whether that helps.
    tried_as_text: Vec<Key>,
    /// How many of the remedies for a refusal that doesn't name a parameter were tried.
    n_tried: usize,
}

/// A change to a draft that the server may like or not.
#[derive(Clone, Copy, Debug)]
pub(super) enum Remedy {
    /// One number for all of the parameter's places, of this type.
    Unify { parameter: usize, oid: u32 },
    /// The type that the parameter's schema names.
    Hint { key: Key, oid: u32 },
}

impl<'a> Draft<'a> {
    pub(super) fn new(statement: &'a Statement, arguments: &[Argument<'_>]) -> Self {
        let mut n_places = vec![0; arguments.len()];
        for parameter in statement.placeholders() {
            n_places[parameter] += 1;
        }
        Self {
            statement,
            hints: arguments.iter().map(|argument| argument.hint).collect(),
            // Each place for itself: with one number for all, the first place's type would be that of the others.
            split: n_places.iter().map(|n| *n > 1).collect(),
            n_places,
            declared: HashMap::new(),
            undetermined: Vec::new(),
            hinted: Vec::new(),
            tried_as_text: Vec::new(),
            n_tried: 0,
        }
    }

    /// The slot of each place, and what each slot stands for.
    pub(super) fn numbering(&self) -> (Vec<usize>, Vec<Key>) {
        let mut keys: Vec<Key> = Vec::new();
        let mut n_seen = vec![0; self.n_places.len()];
        let numbers = self.statement.placeholders().map(|parameter| {
            let occurrence = if self.split[parameter] { n_seen[parameter] } else { 0 };
            n_seen[parameter] += 1;
            let key = Key { parameter, occurrence };
            keys.iter().position(|other| *other == key).unwrap_or_else(|| {
                keys.push(key);
                keys.len() - 1
            })
        });
        (numbers.collect(), keys)
    }

    pub(super) fn declared(&self, key: Key) -> u32 {
        self.declared.get(&key).copied().unwrap_or(oid::UNSPECIFIED)
    }

    /// Changes the draft in answer to a refusal; false if there is nothing left to change.
    pub(super) fn adapt(&mut self, refused: &PgDatabaseError) -> bool {
        let (_, keys) = self.numbering();
        let named = named_slot(refused.message()).and_then(|slot| keys.get(slot)).copied();
        match (refused.code(), named) {
            // The server can't tell a parameter's type.
            ("42P18", Some(key)) if !self.declared.contains_key(&key) => {
                self.undetermined.push(key);
                self.declare(key);
                true
            }
            // Two places want different types, or the first of them says nothing.
            ("42P08", Some(key)) if self.is_splittable(key.parameter) => {
                self.split(key.parameter);
                true
            }
            // No such function or operator, a wrong type, or several that might be meant.
            ("42P18" | "42P08" | "42883" | "42804" | "42725", _) => self.try_next(),
            _ => false,
        }
    }

    /// The remedies for a refusal that names no parameter, one after the other.
    fn try_next(&mut self) -> bool {
        loop {
            let n_tried = self.n_tried;
            self.n_tried += 1;
            let is_changed = match n_tried {
                0 => self.split_all(),
                1 => self.declare_hinted(),
                // One by one, a text: functions that take anything want to be told what it is.
                n => {
                    let tried = std::mem::take(&mut self.tried_as_text);
                    self.declared.retain(|key, _| !tried.contains(key));
                    if n - 2 >= self.split.len() {
                        return false;
                    }
                    self.declare_text(n - 2)
                }
            };
            if is_changed {
                return true;
            }
        }
    }

    fn split_all(&mut self) -> bool {
        let several = (0..self.split.len()).filter(|parameter| self.is_splittable(*parameter));
        let several: Vec<usize> = several.collect();
        several.iter().for_each(|parameter| self.split(*parameter));
        !several.is_empty()
    }

    fn declare_hinted(&mut self) -> bool {
        let (_, keys) = self.numbering();
        let open: Vec<Key> = keys.into_iter().filter(|key| self.is_open(*key)).collect();
        open.iter().for_each(|key| self.declare(*key));
        !open.is_empty()
    }

    fn declare_text(&mut self, parameter: usize) -> bool {
        let (_, keys) = self.numbering();
        let open = keys.into_iter().filter(|key| key.parameter == parameter);
        let open: Vec<Key> = open.filter(|key| !self.declared.contains_key(key)).collect();
        self.declared.extend(open.iter().map(|key| (*key, oid::TEXT)));
        self.tried_as_text = open;
        !self.tried_as_text.is_empty()
    }

    fn is_splittable(&self, parameter: usize) -> bool {
        self.n_places[parameter] > 1 && !self.split[parameter]
    }

    fn split(&mut self, parameter: usize) {
        self.split[parameter] = true;
        self.forget(parameter);
    }

    fn forget(&mut self, parameter: usize) {
        self.declared.retain(|key, _| key.parameter != parameter);
        self.undetermined.retain(|key| key.parameter != parameter);
        self.hinted.retain(|key| key.parameter != parameter);
    }

    /// Whether a hint could still say what this is.
    fn is_open(&self, key: Key) -> bool {
        hinted_type(self.hints[key.parameter]).is_some() && !self.declared.contains_key(&key)
    }

    /// Declares the type that the schema names, or a text.
    fn declare(&mut self, key: Key) {
        let hinted = hinted_type(self.hints[key.parameter]);
        if hinted.is_some() {
            self.hinted.push(key);
        }
        self.declared.insert(key, hinted.unwrap_or(oid::TEXT));
    }

    /// Parameters whose places were numbered apart, and turn out to want one type. `oids` are the types that were found
    /// for the slots.
    pub(super) fn unifications(&self, oids: &[u32]) -> Vec<Remedy> {
        let (_, keys) = self.numbering();
        let of = |parameter: usize| {
            let slots = keys.iter().zip(oids).filter(move |(key, _)| key.parameter == parameter);
            let mut known = slots.filter(|(key, _)| !self.undetermined.contains(key)).map(|(_, oid)| *oid);
            let oid = known.next()?;
            known.all(|other| other == oid).then_some(Remedy::Unify { parameter, oid })
        };
        (0..self.split.len()).filter(|parameter| self.split[*parameter]).filter_map(of).collect()
    }

    /// Places that came out as texts, for nothing better being known, although the schema names another type.
    pub(super) fn hints(&self, oids: &[u32]) -> Vec<Remedy> {
        let (_, keys) = self.numbering();
        let texts = keys.into_iter().zip(oids).filter(|(_, oid)| **oid == oid::TEXT);
        let hint =
            |(key, _): (Key, &u32)| Some(Remedy::Hint { key, oid: hinted_type(self.hints[key.parameter])? });
        texts.filter_map(hint).collect()
    }

    pub(super) fn apply(&mut self, remedy: &Remedy) {
        match *remedy {
            Remedy::Unify { parameter, oid } => {
                self.forget(parameter);
                self.split[parameter] = false;
                self.declared.insert(Key { parameter, occurrence: 0 }, oid);
            }
            Remedy::Hint { key, oid } => {
                // All of its places are one by now, if they were several before.
                let occurrence = if self.split[key.parameter] { key.occurrence } else { 0 };
                let key = Key { occurrence, ..key };
                self.declared.insert(key, oid);
                self.hinted.push(key);
            }
        }
    }
}

fn hinted_type(hint: Hint) -> Option<u32> {
    match hint {
        Hint::None | Hint::DateTime => None,
        Hint::Bool => Some(oid::BOOL),
        Hint::Integer => Some(oid::INT8),
        Hint::Number => Some(oid::FLOAT8),
        Hint::Bytes => Some(oid::BYTEA),
    }
}

/// The slot that a message names by its number, `$1`: in every language of the server's.
fn named_slot(message: &str) -> Option<usize> {
    let (_, after) = message.split_once('$')?;
    let end = after.find(|char: char| !char.is_ascii_digit()).unwrap_or(after.len());
    after[..end].parse::<usize>().ok()?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::backend::ArgumentValue;
    use crate::sql::placeholder::{Dialect, Query};

    fn query(text: &str, names: &[&str]) -> Query {
        Query::parse(Dialect::Postgres, text, names).0.unwrap()
    }

    fn arguments<'a>(query: &'a Query, hints: &[Hint]) -> Vec<Argument<'a>> {
        let argument =
            |(name, hint): (&'a String, &Hint)| Argument { name, value: ArgumentValue::Null, hint: *hint };
        query.parameters().iter().zip(hints).map(argument).collect()
    }

    #[test]
    fn places_are_numbered_apart_until_they_are_unified() {
        let query = query("SELECT @a, @b, @a", &["a", "b"]);
        let arguments = arguments(&query, &[Hint::None, Hint::None]);
        let mut draft = Draft::new(&query.statements()[0], &arguments);
        assert_eq!(draft.numbering().0, [0, 1, 2]);
        assert!(!draft.is_splittable(0) && !draft.is_splittable(1));
        draft.apply(&Remedy::Unify { parameter: 0, oid: oid::INT4 });
        assert_eq!(draft.numbering().0, [0, 1, 0]);
        assert_eq!(draft.declared(Key { parameter: 0, occurrence: 0 }), oid::INT4);
        assert!(draft.is_splittable(0) && !draft.is_splittable(1));
        draft.split(0);
        assert_eq!(draft.numbering().0, [0, 1, 2]);
    }

    #[test]
    fn remedies_come_to_an_end() {
        let query = query("SELECT @a, @b, @a", &["a", "b"]);
        let arguments = arguments(&query, &[Hint::None, Hint::Integer]);
        let mut draft = Draft::new(&query.statements()[0], &arguments);
        let mut tried = Vec::new();
        while draft.try_next() {
            let (_, keys) = draft.numbering();
            tried.push(keys.into_iter().map(|key| draft.declared(key)).collect::<Vec<_>>());
        }
        assert_eq!(tried, [vec![0, oid::INT8, 0], vec![oid::TEXT, oid::INT8, oid::TEXT]]);
    }

    #[test]
    fn a_message_names_its_parameter() {
        assert_eq!(named_slot("could not determine data type of parameter $12"), Some(11));
        assert_eq!(named_slot("konnte Datentyp von Parameter $1 nicht ermitteln"), Some(0));
        assert_eq!(named_slot("operator is not unique"), None);
        assert_eq!(named_slot("costs $ 5"), None);
    }
}
