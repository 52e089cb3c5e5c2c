//! The types of the places that parameters stand in, as the server inferred them.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::{AssertSqlSafe, Executor as _, PgConnection, Row as _};

/// The server's numbers for its own types; these never change.
pub(super) mod oid {
    /// Lets the server infer the type.
    pub(in super::super) const UNSPECIFIED: u32 = 0;
    pub(in super::super) const BOOL: u32 = 16;
    pub(in super::super) const BYTEA: u32 = 17;
    pub(in super::super) const CHAR: u32 = 18;
    pub(in super::super) const NAME: u32 = 19;
    pub(in super::super) const INT8: u32 = 20;
    pub(in super::super) const INT2: u32 = 21;
    pub(in super::super) const INT4: u32 = 23;
    pub(in super::super) const TEXT: u32 = 25;
    pub(in super::super) const OID: u32 = 26;
    pub(in super::super) const TID: u32 = 27;
    pub(in super::super) const XID: u32 = 28;
    pub(in super::super) const CID: u32 = 29;
    pub(in super::super) const JSON: u32 = 114;
    pub(in super::super) const XML: u32 = 142;
    pub(in super::super) const CIDR: u32 = 650;
    pub(in super::super) const FLOAT4: u32 = 700;
    pub(in super::super) const FLOAT8: u32 = 701;
    pub(in super::super) const UNKNOWN: u32 = 705;
    pub(in super::super) const MACADDR8: u32 = 774;
    pub(in super::super) const MONEY: u32 = 790;
    pub(in super::super) const MACADDR: u32 = 829;
    pub(in super::super) const INET: u32 = 869;
    pub(in super::super) const CHAR_ARRAY: u32 = 1002;
    pub(in super::super) const BPCHAR_ARRAY: u32 = 1014;
    pub(in super::super) const BPCHAR: u32 = 1042;
    pub(in super::super) const VARCHAR: u32 = 1043;
    pub(in super::super) const DATE: u32 = 1082;
    pub(in super::super) const TIME: u32 = 1083;
    pub(in super::super) const TIMESTAMP: u32 = 1114;
    pub(in super::super) const TIMESTAMPTZ: u32 = 1184;
    pub(in super::super) const INTERVAL: u32 = 1186;
    pub(in super::super) const TIMETZ: u32 = 1266;
    pub(in super::super) const BIT: u32 = 1560;
    pub(in super::super) const VARBIT: u32 = 1562;
    pub(in super::super) const NUMERIC: u32 = 1700;
    pub(in super::super) const REFCURSOR: u32 = 1790;
    pub(in super::super) const VOID: u32 = 2278;
    pub(in super::super) const UUID: u32 = 2950;
    pub(in super::super) const PG_LSN: u32 = 3220;
    pub(in super::super) const JSONB: u32 = 3802;
    pub(in super::super) const XID8: u32 = 5069;
    /// The first number that isn't one of the server's own types.
    pub(in super::super) const FIRST_OF_USERS: u32 = 16_384;
}

/// The type of a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) oid: u32,
    pub(super) class: Class,
    /// Its name as SQL, with its schema.
    pub(super) sql_name: String,
    /// Its name for people.
    pub(super) name: String,
}

/// How values are written for a type. A domain's is that of the type that it is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    /// Its binary form is the text itself: texts, enums.
    Text,
    Bytea,
    Json,
    Jsonb,
    Array {
        /// Whether it's one of JSON documents.
        of_json: bool,
    },
    /// The server is given a text, and parses it.
    Parsed,
}

/// A type as the catalog has it.
#[derive(Debug)]
struct Entry {
    /// Its number, or that of the type that a domain is made from.
    base: u32,
    /// `pg_type.typtype`: `e` is an enum.
    kind: String,
    /// `pg_type.typcategory`: `A` is an array, `S` a text.
    category: String,
    name: String,
    /// The type of an array's elements, or 0.
    element: u32,
}

impl Entry {
    fn class(&self) -> Class {
        match self.base {
            oid::BOOL => Class::Bool,
            oid::INT2 => Class::Int2,
            oid::INT4 => Class::Int4,
            oid::INT8 => Class::Int8,
            oid::OID => Class::Oid,
            oid::FLOAT4 => Class::Float4,
            oid::FLOAT8 => Class::Float8,
            oid::TEXT | oid::VARCHAR | oid::BPCHAR => Class::Text,
            oid::BYTEA => Class::Bytea,
            oid::JSON => Class::Json,
            oid::JSONB => Class::Jsonb,
            _ if self.kind == "e" => Class::Text,
            _ if self.category == "S" && self.name == "citext" => Class::Text,
            _ if self.category == "A" && self.element != 0 => {
                Class::Array { of_json: matches!(self.element, oid::JSON | oid::JSONB) }
            }
            _ => Class::Parsed,
        }
    }
}

/// The catalog's columns for types and for what domains are made from. The numbers go between the two halves.
const LOOKUP: (&str, &str) = (
    "WITH RECURSIVE made_from(asked, at) AS (
         SELECT t.oid, t.oid FROM pg_catalog.pg_type t WHERE t.oid IN (",
    ")
         UNION ALL
         SELECT m.asked, t.typbasetype FROM made_from m JOIN pg_catalog.pg_type t ON t.oid = m.at
         WHERE t.typtype = 'd')
     SELECT m.asked::text, t.oid::text, t.typtype::text, t.typcategory::text, t.typname::text, t.typelem::text,
            pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(a.typname),
            pg_catalog.format_type(a.oid, NULL)
     FROM made_from m JOIN pg_catalog.pg_type t ON t.oid = m.at AND t.typtype <> 'd'
          JOIN pg_catalog.pg_type a ON a.oid = m.asked
          JOIN pg_catalog.pg_namespace n ON n.oid = a.typnamespace",
);

/// Looks types up, in one round trip.
pub(super) async fn places(
    pg: &mut PgConnection,
    oids: impl IntoIterator<Item = u32>,
) -> Result<HashMap<u32, Arc<Place>>, sqlx::Error> {
    let mut numbers: Vec<String> = oids.into_iter().map(|oid| oid.to_string()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    if numbers.is_empty() {
        return Ok(HashMap::new());
    }
    let text = format!("{}{}{}", LOOKUP.0, numbers.join(","), LOOKUP.1);
    let rows = pg.fetch_all(sqlx::raw_sql(AssertSqlSafe(text))).await?;
    rows.iter().map(place).collect()
}

fn place(row: &sqlx::postgres::PgRow) -> Result<(u32, Arc<Place>), sqlx::Error> {
    let number = |index: usize| -> Result<u32, sqlx::Error> {
        let text: &str = row.try_get(index)?;
        text.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
    };
    let entry = Entry {
        base: number(1)?,
        kind: row.try_get(2)?,
        category: row.try_get(3)?,
        name: row.try_get(4)?,
        element: number(5)?,
    };
    let oid = number(0)?;
    let place = Place { oid, class: entry.class(), sql_name: row.try_get(6)?, name: row.try_get(7)? };
    Ok((oid, Arc::new(place)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_the_types() {
        let class = |base, kind: &str, category: &str, name: &str, element| {
            let (kind, category, name) = (kind.to_owned(), category.to_owned(), name.to_owned());
            Entry { base, kind, category, name, element }.class()
        };
        assert_eq!(class(oid::INT4, "b", "N", "int4", 0), Class::Int4);
        assert_eq!(class(20_000, "e", "E", "mood", 0), Class::Text);
        assert_eq!(class(20_001, "b", "S", "citext", 0), Class::Text);
        // A text by its category, whose binary form is another.
        assert_eq!(class(20_002, "b", "S", "mytext", 0), Class::Parsed);
        assert_eq!(class(1007, "b", "A", "_int4", oid::INT4), Class::Array { of_json: false });
        assert_eq!(class(199, "b", "A", "_json", oid::JSON), Class::Array { of_json: true });
        assert_eq!(class(oid::DATE, "b", "D", "date", 0), Class::Parsed);
    }
}
