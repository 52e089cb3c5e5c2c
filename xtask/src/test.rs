//! `cargo xtask test`: every check that a change must pass.

use std::path::Path;

use anyhow::Result;

use crate::command::{cargo, has_cargo_subcommand, need_rust_component};
use crate::step::{Step, run_all};
use crate::typescript;

/// Quick ones first: a slip is told before the long builds.
const STEPS: &[Step] = &[
    Step { name: "format", run: format },
    Step { name: "lint", run: lint },
    Step { name: "tests", run: tests },
    Step { name: "doc tests", run: doc_tests },
    Step { name: "documentation", run: documentation },
    Step { name: "TypeScript", run: typescript::check },
    Step { name: "dependencies", run: dependencies },
];

/// Runs all steps; fails at the first that does.
pub(crate) fn run(root: &Path) -> Result<()> {
    run_all(root, STEPS)
}

fn format(root: &Path) -> Result<()> {
    need_rust_component(root, "rustfmt", "fmt")?;
    cargo(root).args(["fmt", "--all", "--", "--check"]).run()
}

fn lint(root: &Path) -> Result<()> {
    need_rust_component(root, "clippy", "clippy")?;
    cargo(root)
        .args(["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"])
        .run()
}

fn tests(root: &Path) -> Result<()> {
    if has_cargo_subcommand(root, "nextest") {
        return cargo(root).args(["nextest", "run", "--workspace", "--locked"]).run();
    }
    println!("cargo-nextest isn't installed: `cargo test` runs the same tests, but can't end one that hangs");
    cargo(root).args(["test", "--workspace", "--lib", "--bins", "--tests", "--locked"]).run()
}

/// nextest doesn't run the examples in documentation, so they are a step of their own.
fn doc_tests(root: &Path) -> Result<()> {
    cargo(root).args(["test", "--workspace", "--doc", "--locked"]).run()
}

fn documentation(root: &Path) -> Result<()> {
    cargo(root)
        .args(["doc", "--workspace", "--no-deps", "--locked", "--quiet"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()
}

/// Licences, bans and sources are checked by tests/tidy.rs in any case; cargo-deny adds the published advisories.
fn dependencies(root: &Path) -> Result<()> {
    if has_cargo_subcommand(root, "deny") {
        return cargo(root).args(["deny", "--all-features", "check"]).run();
    }
    println!("cargo-deny isn't installed: published advisories are NOT checked.");
    println!(
        "Licences, bans and sources were, by tests/tidy.rs. To check all: cargo install --locked cargo-deny"
    );
    Ok(())
}
