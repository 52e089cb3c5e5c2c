//! The names of tools: slugs, bound slugs, and function names that every model's API takes.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// The provider of our own connectors.
pub(crate) const PROVIDER: &str = "connector";

/// What every slug of a tool begins with.
const SLUG_PREFIX: &str = "tools.gateway.";
/// The longest function name that every model's API takes, in characters.
const MAX_FUNCTION_NAME: usize = 64;
/// Hexadecimal digits of a hash in a function name.
const HASH_LEN: usize = 10;
/// What of a name stands before `_` and its hash, in characters. A prefix and its `__` (42 characters at most) fit in.
const STEM_LEN: usize = MAX_FUNCTION_NAME - HASH_LEN - 1;

/// A tool's name, taken apart but not looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ToolName<'n> {
    /// `tools.gateway.{provider}.{integration}.{operation}`, and `.{connection_slug}` if bound.
    Slug { provider: &'n str, integration: &'n str, operation: &'n str, connection: Option<&'n str> },
    /// `{prefix}__{operation}`, where the operation may stand shortened.
    Function { prefix: &'n str, operation: &'n str },
    /// Neither.
    Other,
}

impl<'n> ToolName<'n> {
    /// Takes a name apart. A slug as prefix holds no `__`, so the first one ends it.
    pub(crate) fn parse(name: &'n str) -> Self {
        if let Some(rest) = name.strip_prefix(SLUG_PREFIX) {
            let parts: Vec<&str> = rest.split('.').collect();
            return match *parts.as_slice() {
                [provider, integration, operation] => {
                    Self::Slug { provider, integration, operation, connection: None }
                }
                [provider, integration, operation, connection] => {
                    Self::Slug { provider, integration, operation, connection: Some(connection) }
                }
                _ => Self::Other,
            };
        }
        match name.split_once("__") {
            Some((prefix, operation)) if !prefix.is_empty() && !operation.is_empty() => {
                Self::Function { prefix, operation }
            }
            _ => Self::Other,
        }
    }
}

/// `tools.gateway.connector.{integration}.{operation}`.
pub(crate) fn tool_slug(integration: &str, operation: &str) -> String {
    format!("{SLUG_PREFIX}{PROVIDER}.{integration}.{operation}")
}

/// `tools.gateway.connector.{integration}.{operation}.{connection_slug}`.
pub(crate) fn bound_slug(integration: &str, operation: &str, connection: &str) -> String {
    format!("{SLUG_PREFIX}{PROVIDER}.{integration}.{operation}.{connection}")
}

/// `{prefix}__{operation}`, shortened past 64 characters: a hash of the full name stands in place of the tail.
pub(crate) fn function_name(prefix: &str, operation: &str) -> String {
    let full = format!("{prefix}__{operation}");
    if full.len() <= MAX_FUNCTION_NAME { full } else { hashed(&full, &full) }
}

/// The function name of an integration's operation where a connection of another integration has its slug, and with it
/// the plain name: the hash is that of the tool's slug.
pub(crate) fn disambiguated_function_name(integration: &str, operation: &str) -> String {
    hashed(&format!("{integration}__{operation}"), &tool_slug(integration, operation))
}

/// The function name of an operation of someone else's connection that has its integration's slug, where the plain name stands
/// for the integration: the hash is that of the bound slug.
pub(crate) fn disambiguated_bound_name(integration: &str, operation: &str, connection: &str) -> String {
    hashed(&format!("{connection}__{operation}"), &bound_slug(integration, operation, connection))
}

/// The name's beginning, `_`, and the first digits of a hash. Names are ASCII.
fn hashed(full: &str, hash_of: &str) -> String {
    let stem = full.get(..STEM_LEN).unwrap_or(full);
    let mut name = String::with_capacity(MAX_FUNCTION_NAME);
    name.push_str(stem);
    name.push('_');
    for byte in &Sha256::digest(hash_of.as_bytes())[..HASH_LEN / 2] {
        // Writing to a string doesn't fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn slug() -> impl Strategy<Value = String> {
        "[a-z0-9]{1,4}([_-][a-z0-9]{1,5}){0,6}".prop_filter("at most 40", |slug| slug.len() <= 40)
    }

    fn operation() -> impl Strategy<Value = String> {
        "[A-Za-z][A-Za-z0-9_-]{0,63}"
    }

    fn is_taken_by_every_api(name: &str) -> bool {
        (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    }

    proptest! {
        #[test]
        fn function_names_are_valid_and_stable(prefix in slug(), operation in operation()) {
            let name = function_name(&prefix, &operation);
            prop_assert!(is_taken_by_every_api(&name), "{}", name);
            prop_assert_eq!(&name, &function_name(&prefix, &operation));
            let other = disambiguated_function_name(&prefix, &operation);
            prop_assert!(is_taken_by_every_api(&other), "{}", other);
            prop_assert_ne!(name, other);
        }

        #[test]
        fn distinct_tools_have_distinct_names(
            tools in proptest::collection::hash_set((slug(), operation()), 1..40),
            // Tools that differ in their tails only.
            tails in proptest::collection::hash_set("[a-z]{1,3}", 1..40),
        ) {
            let long = "a-slug-that-is-exactly-forty-letters-lon";
            let tails = tails.into_iter().map(|tail| (long.to_owned(), format!("anOperationWithALongName_{tail}")));
            let mut seen = HashMap::new();
            for tool in tools.into_iter().chain(tails) {
                let name = function_name(&tool.0, &tool.1);
                prop_assert_eq!(seen.insert(name.clone(), tool), None, "{}", name);
            }
        }

        #[test]
        fn a_prefix_is_found_again(prefix in slug(), operation in operation()) {
            let name = function_name(&prefix, &operation);
            let ToolName::Function { prefix: found, .. } = ToolName::parse(&name) else {
                return Err(TestCaseError::fail(name));
            };
            prop_assert_eq!(found, prefix);
        }

        #[test]
        fn slugs_are_taken_apart(integration in slug(), operation in operation(), connection in slug()) {
            let slug = tool_slug(&integration, &operation);
            let (provider, operation) = (PROVIDER, operation.as_str());
            let integration = integration.as_str();
            prop_assert_eq!(
                ToolName::parse(&slug),
                ToolName::Slug { provider, integration, operation, connection: None }
            );
            let slug = bound_slug(integration, operation, &connection);
            prop_assert_eq!(
                ToolName::parse(&slug),
                ToolName::Slug { provider, integration, operation, connection: Some(connection.as_str()) }
            );
        }

        #[test]
        fn any_text_is_taken(name in "\\PC{0,80}") {
            ToolName::parse(&name);
        }
    }

    #[test]
    fn a_name_stays_what_it_is() {
        // Models and their logs hold on to these: they must never change.
        assert_eq!(function_name("github", "list_issues"), "github__list_issues");
        let (prefix, operation) =
            ("a-connection-with-a-long-slug", "an_operation_with_a_very_long_name_indeed");
        assert_eq!(
            function_name(prefix, operation),
            "a-connection-with-a-long-slug__an_operation_with_a_ve_50367f53f8"
        );
        assert_eq!(disambiguated_function_name("github", "list"), "github__list_ca984849bd");
    }

    #[test]
    fn what_is_no_name_is_none() {
        for name in ["", "github", "__list", "github__", "tools.gateway.connector", "tools.gateway.a.b.c.d.e"]
        {
            assert_eq!(ToolName::parse(name), ToolName::Other, "{name}");
        }
    }
}
