//! What deny.toml says of licences, bans and sources, checked without cargo-deny on what is really built here.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::source::repository_root;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[test]
fn dependencies_are_as_deny_toml_wants_them() {
    let rules = Rules::read();
    let packages = packages();
    assert!(packages.len() > 50, "cargo metadata listed {} packages only", packages.len());
    let violations: Vec<String> = packages.iter().filter_map(|package| rules.violation(package)).collect();
    assert!(violations.is_empty(), "against deny.toml:\n{}", violations.join("\n"));
}

#[test]
fn licence_expressions_are_read() {
    let allow = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert!(is_allowed("MIT OR GPL-3.0", &allow(&["MIT"])));
    assert!(is_allowed("GPL-3.0/MIT", &allow(&["MIT"])));
    assert!(!is_allowed("MIT AND GPL-3.0", &allow(&["MIT"])));
    assert!(is_allowed("(MIT OR GPL-3.0) AND Unicode-3.0", &allow(&["MIT", "Unicode-3.0"])));
    assert!(!is_allowed("(MIT OR GPL-3.0) AND Unicode-3.0", &allow(&["MIT"])));
    assert!(!is_allowed("Apache-2.0 WITH LLVM-exception", &allow(&["Apache-2.0"])));
    assert!(is_allowed("Apache-2.0 WITH LLVM-exception", &allow(&["Apache-2.0 WITH LLVM-exception"])));
    assert!(!is_allowed("", &allow(&["MIT"])));
}

/// The parts of deny.toml that are checked here.
struct Rules {
    licences: BTreeSet<String>,
    banned: BTreeSet<String>,
}

impl Rules {
    /// Reads them by their form, one to a line: a TOML parser would be one more dependency to check.
    fn read() -> Self {
        let text = fs::read_to_string(repository_root().join("deny.toml")).expect("deny.toml is there");
        let allowed =
            text.lines().skip_while(|line| *line != "allow = [").skip(1).take_while(|line| *line != "]");
        let licences: BTreeSet<String> = allowed.filter_map(quoted).collect();
        let bans = text.lines().filter_map(|line| line.trim().strip_prefix("{ crate = "));
        let banned: BTreeSet<String> = bans.filter_map(quoted).collect();
        assert!(
            licences.contains("MIT") && banned.contains("openssl"),
            "deny.toml isn't laid out as expected"
        );
        Self { licences, banned }
    }

    /// What is wrong with a package of `cargo metadata`, if anything.
    fn violation(&self, package: &Value) -> Option<String> {
        let field = |name: &str| package[name].as_str().unwrap_or_default();
        let (name, version, licence) = (field("name"), field("version"), field("license"));
        if self.banned.contains(name) {
            return Some(format!("Cargo.lock: {name} {version} is banned"));
        }
        // A package without a source is in this workspace.
        if package["source"].as_str().is_some_and(|source| source != CRATES_IO) {
            return Some(format!(
                "Cargo.lock: {name} {version} comes from {}, not from crates.io",
                field("source")
            ));
        }
        let allowed = is_allowed(licence, &self.licences);
        (!allowed)
            .then(|| format!("Cargo.lock: {name} {version} has the licence {licence:?}, which isn't allowed"))
    }
}

/// The packages that a build for this machine uses, as `cargo metadata` describes them.
fn packages() -> Vec<Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform", &host()]);
    let output = command.current_dir(repository_root()).output().expect("cargo starts");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let mut metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    match metadata["packages"].take() {
        Value::Array(packages) => packages,
        other => panic!("cargo metadata's packages are {other}"),
    }
}

/// The target triple of the machine that builds.
fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().expect("rustc starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("`rustc -vV` names its host").to_owned()
}

/// The first string in double quotes.
fn quoted(line: &str) -> Option<String> {
    line.split('"').nth(1).map(str::to_owned)
}

/// Whether the SPDX expression can be met with allowed licences alone. `/` is an old spelling of `OR`.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced =
        expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ").replace(" WITH ", "\u{1f}");
    let mut tokens = spaced.split_whitespace();
    any_of(&mut tokens, allowed)
}

/// Reads `all_of OR all_of …` up to the closing parenthesis or the end. `AND` binds more tightly than `OR`.
fn any_of<'a>(tokens: &mut impl Iterator<Item = &'a str>, allowed: &BTreeSet<String>) -> bool {
    let (mut any, mut all) = (false, true);
    let mut is_empty = true;
    while let Some(token) = tokens.next() {
        match token {
            "OR" => (any, all) = (any || all, true),
            "AND" => {}
            ")" => break,
            "(" => all &= any_of(&mut *tokens, allowed),
            licence => all &= allowed.contains(&licence.replace('\u{1f}', " WITH ")),
        }
        is_empty = false;
    }
    !is_empty && (any || all)
}
