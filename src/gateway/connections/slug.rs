//! Slugs of connections that were given none: derived from the name, and counted up until one is free.

use portcullis_runtime::manifest::name::{MAX_SLUG_LEN, Slug};

/// The first free slug of the name: lower case, with `-` for every run of other characters, then `-2`, `-3` and so on. A
/// name of nothing else gives the integration's slug.
pub(super) fn derive(name: &str, integration: &Slug, is_taken: impl Fn(&Slug) -> bool) -> Slug {
    let words = plain_words(name);
    let base = if words.is_empty() { integration.as_str() } else { &words };
    (1_u64..)
        .filter_map(|n| numbered(base, n))
        .find(|slug| !is_taken(slug))
        // Unreachable: nothing has 2^64 slugs. The integration's own is valid, and the store refuses it where it is taken.
        .unwrap_or_else(|| integration.clone())
}

/// The name's letters and digits of ASCII, in lower case, with single `-` between them.
fn plain_words(name: &str) -> String {
    let lower = name.to_lowercase();
    let words = lower.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit()));
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
}

/// The base cut to fit, with its number after it from the second on.
fn numbered(base: &str, n: u64) -> Option<Slug> {
    let number = if n == 1 { String::new() } else { format!("-{n}") };
    let room = MAX_SLUG_LEN - number.len();
    // ASCII, so that every index is a boundary.
    let cut = base.get(..room.min(base.len()))?.trim_end_matches(['-', '_']);
    Slug::parse(&format!("{cut}{number}")).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn shop() -> Slug {
        Slug::parse("my_shop").expect("a slug")
    }

    #[test]
    fn a_slug_is_the_names_words() {
        for (name, expected) in [
            ("Support", "support"),
            ("  Support (EU), 2nd line ", "support-eu-2nd-line"),
            ("a_b--c", "a-b-c"),
            ("Café", "caf"),
            ("ÄÖÜ 日本", "my_shop"),
            ("", "my_shop"),
            (&"x".repeat(50), &"x".repeat(40)),
            (&format!("{} tail", "x".repeat(39)), &"x".repeat(39)),
        ] {
            assert_eq!(derive(name, &shop(), |_| false).as_str(), expected, "{name:?}");
        }
    }

    #[test]
    fn taken_ones_are_counted_past_and_still_fit() {
        let taken = ["support", "support-2", "support-4"];
        let slug = derive("Support", &shop(), |slug| taken.contains(&slug.as_str()));
        assert_eq!(slug.as_str(), "support-3");
        let long = format!("{} {}", "x".repeat(37), "y".repeat(10));
        let slug = derive(&long, &shop(), |slug| !slug.as_str().ends_with("-10"));
        assert_eq!(slug.as_str(), format!("{}-10", "x".repeat(37)));
    }

    proptest! {
        #[test]
        fn every_name_gives_slugs_that_are_valid_and_differ(name in "\\PC{0,60}|[a-z _-]{30,60}") {
            let mut taken = HashSet::new();
            for _ in 0..12 {
                let slug = derive(&name, &shop(), |slug| taken.contains(slug));
                prop_assert!(Slug::parse(slug.as_str()).is_ok());
                prop_assert!(taken.insert(slug));
            }
        }
    }
}
