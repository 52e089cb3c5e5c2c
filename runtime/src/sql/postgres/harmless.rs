//! Statements whose text leaves nothing behind in their session, so that it needs no reset after them. What the text
//! doesn't show, `unseen.rs` asks the database.

use super::lex::tokens;

/// The words that may stand before a parenthesis in a harmless statement: those of the language, and functions of the
/// server's own that change nothing. Sorted.
pub(super) const KNOWN: &[&str] = &[
    "abs",
    "age",
    "all",
    "and",
    "any",
    "array_agg",
    "array_length",
    "array_to_string",
    "as",
    "avg",
    "between",
    "bigint",
    "bool_and",
    "bool_or",
    "btrim",
    "by",
    "cardinality",
    "case",
    "cast",
    "ceil",
    "ceiling",
    "char",
    "char_length",
    "coalesce",
    "concat",
    "concat_ws",
    "count",
    "cross",
    "cube",
    "date_part",
    "date_trunc",
    "decimal",
    "dense_rank",
    "distinct",
    "else",
    "every",
    "except",
    "exists",
    "extract",
    "filter",
    "first_value",
    "floor",
    "format",
    "from",
    "generate_series",
    "greatest",
    "group",
    "having",
    "in",
    "initcap",
    "intersect",
    "interval",
    "is",
    "join",
    "json_agg",
    "json_build_array",
    "json_build_object",
    "json_object_agg",
    "jsonb_agg",
    "jsonb_array_elements",
    "jsonb_array_length",
    "jsonb_build_array",
    "jsonb_build_object",
    "jsonb_object_agg",
    "lag",
    "last_value",
    "lateral",
    "lead",
    "least",
    "left",
    "length",
    "like",
    "ilike",
    "limit",
    "lower",
    "lpad",
    "ltrim",
    "make_date",
    "make_interval",
    "materialized",
    "max",
    "md5",
    "min",
    "mod",
    "not",
    "now",
    "ntile",
    "nullif",
    "numeric",
    "offset",
    "on",
    "or",
    "over",
    "overlaps",
    "percent_rank",
    "position",
    "power",
    "random",
    "rank",
    "regexp_replace",
    "replace",
    "reverse",
    "right",
    "rollup",
    "round",
    "row",
    "row_number",
    "row_to_json",
    "rpad",
    "rtrim",
    "select",
    "sets",
    "sign",
    "some",
    "split_part",
    "sqrt",
    "starts_with",
    "string_agg",
    "string_to_array",
    "strpos",
    "substr",
    "substring",
    "sum",
    "then",
    "time",
    "timestamp",
    "timestamptz",
    "to_char",
    "to_date",
    "to_json",
    "to_jsonb",
    "to_number",
    "to_timestamp",
    "translate",
    "trim",
    "trunc",
    "union",
    "unnest",
    "upper",
    "using",
    "values",
    "varchar",
    "when",
    "where",
    "width_bucket",
    "within",
];

/// Whether the text of a statement that only reads leaves its session as it is: it names no function but the [`KNOWN`] ones. Any
/// doubt is a no.
pub(super) fn is_harmless(text: &str) -> bool {
    let mut before = "";
    let mut before_that = "";
    for token in tokens(text) {
        if token == "(" {
            let is_name =
                before.starts_with(|char: char| char.is_alphanumeric() || matches!(char, '_' | '"'));
            // A name with a schema is nobody's that is known here.
            if is_name && (before_that == "." || !is_known(before)) {
                return false;
            }
        }
        (before_that, before) = (before, token);
    }
    true
}

fn is_known(word: &str) -> bool {
    // The longest of them has twenty letters; the language's words know no case.
    word.len() <= 20 && KNOWN.contains(&word.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_functions_are_harmless() {
        for text in [
            "SELECT * FROM t WHERE id = $1",
            "SELECT Count(*), lower (name) FROM t WHERE id IN (1, 2) AND NOT EXISTS (SELECT 1)",
            "WITH a AS (SELECT 1) SELECT * FROM a JOIN b USING (id) -- set_config(",
            "SELECT 'set_config(''a'')', \"set_config\" FROM t LIMIT ($1)",
            "SELECT ((1))",
        ] {
            assert!(is_harmless(text), "{text}");
        }
        for text in [
            "SELECT set_config('a', 'b', false)",
            "SELECT pg_advisory_lock(1)",
            "SELECT mine.count(*)",
            "SELECT mine . count /* */ (*)",
            "SELECT \"count\"(1)",
            "SELECT count(f(1))",
            "SELECT é(1)",
            "SELECT SET_CONFIG\n--\n('a', 'b', false)",
            "SELECT U&\"count\"(1)",
        ] {
            assert!(!is_harmless(text), "{text}");
        }
    }
}
