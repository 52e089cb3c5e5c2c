//! The query of a SQL operation, read by its dialect's rules; its problems stand at their very characters in config.json.

use std::collections::HashSet;

use serde_json::Value;

use super::Engine;
use super::diagnostics::{Finding, Sink};
use super::words::{join, quote};
use crate::sql::placeholder::{Dialect, Query};

/// Reads the query of the operation at `pointer`, whose `parametersSchema` is `schema`, and reports what is wrong with
/// it, and each parameter that it makes no use of. None only if an error was reported.
pub(crate) fn query(
    engine: Engine,
    text: &str,
    schema: &Value,
    pointer: &str,
    sink: &mut Sink<'_>,
) -> Option<Query> {
    let dialect = Dialect::from(engine);
    let properties = schema.get("properties").and_then(Value::as_object);
    let names: Vec<_> =
        properties.into_iter().flat_map(|members| members.keys().map(String::as_str)).collect();
    let (query, problems) = Query::parse(dialect, text, &names);
    let at_query = join(pointer, "query");
    for problem in problems {
        let finding = Finding {
            severity: problem.severity,
            pointer: at_query.clone(),
            message: problem.message,
            help: problem.help,
        };
        sink.push_inside(problem.offset, finding);
    }
    let query = query?;
    warn_unused(dialect, &query, &names, pointer, sink);
    Some(query)
}

fn warn_unused(dialect: Dialect, query: &Query, names: &[&str], pointer: &str, sink: &mut Sink<'_>) {
    let used: HashSet<_> = query.parameters().iter().map(String::as_str).collect();
    let at_properties = join(&join(pointer, "parametersSchema"), "properties");
    for name in names.iter().filter(|name| !used.contains(**name)) {
        let message = format!("the query makes no use of the parameter {}", quote(name));
        let help = if dialect.can_name(name) {
            format!("write @{name} where its value belongs, or take the parameter out")
        } else {
            "a placeholder can't have this name: use letters, digits and \"_\"".to_owned()
        };
        sink.push_at_key(Finding::warning(join(&at_properties, name), message).help(help));
    }
}
