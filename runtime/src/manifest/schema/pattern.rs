//! Checks the regular expressions of a schema: each runs on an engine that takes linear time, and is small.

use jsonschema::{Draft, PatternOptions};
use serde_json::{Value, json};

use super::keywords::visit;
use crate::manifest::diagnostics::Finding;
use crate::manifest::words::{join, quote};

/// The longest pattern, in bytes.
const LONGEST: usize = 8_000;

/// The largest that a compiled pattern may be, in bytes: `^\p{L}{1,50}$` takes 3 MB.
pub(super) const LARGEST: usize = 4 << 20;

/// Sizes that a compiled pattern is tried to fit, smallest first.
const SIZES: [usize; 3] = [16 << 10, 256 << 10, LARGEST];

/// How much memory the compiled patterns of one manifest may take together, in bytes.
pub(crate) struct PatternBudget {
    left: usize,
}

impl Default for PatternBudget {
    fn default() -> Self {
        Self { left: 64 << 20 }
    }
}

/// Reports each pattern that the engine doesn't take, or that is too large for what is left of the budget.
pub(super) fn check_all(schema: &Value, budget: &mut PatternBudget, findings: &mut Vec<Finding>) {
    visit(schema, &mut String::new(), &mut |schema, pointer| {
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
            && let Err(problem) = check(pattern, budget)
        {
            findings.push(problem.at(join(pointer, "pattern")));
        }
        let by_pattern = schema.get("patternProperties").and_then(Value::as_object);
        for pattern in by_pattern.into_iter().flat_map(|map| map.keys()) {
            if let Err(problem) = check(pattern, budget) {
                findings.push(problem.at(join(&join(pointer, "patternProperties"), pattern)));
            }
        }
    });
}

struct Problem {
    message: String,
    help: Option<&'static str>,
}

impl Problem {
    fn at(self, pointer: String) -> Finding {
        Finding::error(pointer, self.message).maybe_help(self.help.map(str::to_owned))
    }
}

fn check(pattern: &str, budget: &mut PatternBudget) -> Result<(), Problem> {
    let shown = quote(pattern);
    if pattern.len() > LONGEST {
        let message = format!("the pattern {shown} is longer than {LONGEST} bytes");
        return Err(Problem { message, help: None });
    }
    match SIZES.into_iter().find(|size| compiles(pattern, *size)) {
        Some(size) if size <= budget.left => {
            budget.left -= size;
            Ok(())
        }
        Some(_) => {
            let message =
                format!("the pattern {shown} is one too many: those of this manifest take too much memory");
            Err(Problem { message, help: Some("\"maxLength\" bounds a length with less") })
        }
        None => Err(explain(pattern, &shown)),
    }
}

fn compiles(pattern: &str, size: usize) -> bool {
    let options = PatternOptions::regex().size_limit(size);
    let schema = json!({ "pattern": pattern });
    jsonschema::options().with_draft(Draft::Draft202012).with_pattern_options(options).build(&schema).is_ok()
}

fn explain(pattern: &str, shown: &str) -> Problem {
    if let Some(what) = backtracking(pattern) {
        let message = format!("the pattern {shown} has {what}, which can't be matched in linear time");
        return Problem { message, help: Some("write it without, or check that part in the code") };
    }
    let by_backtracking = PatternOptions::fancy_regex().size_limit(LARGEST);
    let schema = json!({ "pattern": pattern });
    let well_formed = jsonschema::options().with_pattern_options(by_backtracking).build(&schema).is_ok();
    if well_formed {
        let message = format!("the pattern {shown} uses something that the linear-time engine doesn't have");
        return Problem { message, help: None };
    }
    if pattern.contains('{') && compiles_unbounded(pattern) {
        let message = format!("the pattern {shown} is too large: its repetitions multiply");
        return Problem { message, help: Some("\"maxLength\" bounds a length with less") };
    }
    Problem { message: format!("the pattern {shown} is not a regular expression"), help: None }
}

/// Whether only the pattern's size is wrong. `regex` parses before it measures, so its error tells.
fn compiles_unbounded(pattern: &str) -> bool {
    let error = regex::RegexBuilder::new(pattern).size_limit(LARGEST).build();
    matches!(error, Ok(_) | Err(regex::Error::CompiledTooBig(_)))
}

/// The part of a pattern that needs a backtracking engine, if it has one.
fn backtracking(pattern: &str) -> Option<&'static str> {
    let bytes = pattern.as_bytes();
    let (mut index, mut in_class) = (0, false);
    while index < bytes.len() {
        let rest = &bytes[index..];
        match rest {
            [b'\\', b'1'..=b'9', ..] | [b'\\', b'k', b'<', ..] if !in_class => {
                return Some("a back-reference");
            }
            [b'\\', ..] => index += 1,
            [b'(', b'?', b'=' | b'!', ..] | [b'(', b'?', b'<', b'=' | b'!', ..] if !in_class => {
                return Some("a look-around");
            }
            [b'[', ..] => in_class = true,
            [b']', ..] => in_class = false,
            _ => {}
        }
        index += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(pattern: &str) -> String {
        check(pattern, &mut PatternBudget::default())
            .err()
            .map_or_else(|| "ok".to_owned(), |problem| problem.message)
    }

    #[test]
    fn everyday_patterns_pass() {
        for pattern in [
            "",
            "^[a-z]+$",
            r"^\d{4}-\d{2}$",
            r"^\S+@\S+\.\S+$",
            r"^(?:a|b)*$",
            r"^(?<year>\d+)$",
            r"[\w-]{1,64}",
            r"^\p{L}+$",
            r"^\p{L}{1,50}$",
            r"^(a+)+$",
            r"[(?=]",
            r"\(\?=",
            r"^https://[^\s/]+/",
            "é",
        ] {
            assert_eq!(message(pattern), "ok", "{pattern:?}");
        }
    }

    #[test]
    fn what_backtracks_is_named() {
        for pattern in ["^(?=a)", "(?!b)", "(?<=a)b", "(?<!a)b"] {
            assert!(message(pattern).contains("a look-around"), "{pattern:?}: {}", message(pattern));
        }
        for pattern in [r"(a)\1", r"(?<n>a)\k<n>"] {
            assert!(message(pattern).contains("a back-reference"), "{pattern:?}: {}", message(pattern));
        }
    }

    #[test]
    fn what_is_no_pattern_says_so() {
        for pattern in ["(", "[a", "*", r"\", "a{2,1}"] {
            assert!(
                message(pattern).contains("is not a regular expression"),
                "{pattern:?}: {}",
                message(pattern)
            );
        }
    }

    #[test]
    fn large_patterns_are_refused() {
        assert!(message("(a{1000}){1000}").contains("too large"), "{}", message("(a{1000}){1000}"));
        assert!(message(&"a".repeat(LONGEST + 1)).contains("longer than"));
        for nested in ["(", "(?:", "[", "(a|"] {
            assert_ne!(message(&nested.repeat(LONGEST / nested.len())), "ok");
        }
    }

    #[test]
    fn patterns_of_one_manifest_share_a_budget() {
        let mut budget = PatternBudget { left: LARGEST + 100 };
        assert!(check(r"^\p{L}{1,50}$", &mut budget).is_ok());
        let refused = check(r"^\p{Lu}{1,50}$", &mut budget).err().map(|problem| problem.message);
        assert!(refused.is_some_and(|message| message.contains("one too many")));
    }
}
