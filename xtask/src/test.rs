//! `cargo xtask test`: every check that a change must pass.

use std::path::{Path, PathBuf};

use anyhow::Result;
use portcullis_test_servers::Server;

use crate::command::{Program, cargo, has_cargo_subcommand, need_rust_component};
use crate::python::PACKAGES;
use crate::servers;
use crate::step::{Step, run_all};
use crate::typescript;

/// What the steps share.
struct Checks {
    root: PathBuf,
    /// Running from the step of that name on. They stop with this, and with this process, however either ends.
    servers: Vec<Server>,
    /// Environments of Python packages by the variables that name them, from the step of that name on.
    python: Vec<(&'static str, PathBuf)>,
}

/// Quick ones first: a slip is told before the long builds.
const STEPS: &[Step<Checks>] = &[
    Step { name: "format", run: format },
    Step { name: "lint", run: lint },
    Step { name: "servers", run: servers },
    Step { name: "Python packages", run: python },
    Step { name: "tests", run: tests },
    Step { name: "doc tests", run: doc_tests },
    Step { name: "documentation", run: documentation },
    Step { name: "TypeScript", run: |checks| typescript::check(&checks.root) },
    Step { name: "dependencies", run: dependencies },
];

/// Runs all steps; fails at the first that does.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut checks = Checks { root: root.to_path_buf(), servers: Vec::new(), python: Vec::new() };
    run_all(&mut checks, STEPS)
}

fn format(checks: &mut Checks) -> Result<()> {
    let root = &checks.root;
    need_rust_component(root, "rustfmt", "fmt")?;
    cargo(root).args(["fmt", "--all", "--", "--check"]).run()
}

fn lint(checks: &mut Checks) -> Result<()> {
    let root = &checks.root;
    need_rust_component(root, "clippy", "clippy")?;
    cargo(root)
        .args(["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"])
        .run()
}

fn servers(checks: &mut Checks) -> Result<()> {
    checks.servers = servers::start(&checks.root)?;
    Ok(())
}

fn python(checks: &mut Checks) -> Result<()> {
    for package in &PACKAGES {
        checks.python.push((package.variable, package.environment(&checks.root)?));
    }
    Ok(())
}

fn tests(checks: &mut Checks) -> Result<()> {
    let root = &checks.root;
    let on_servers = |program: Program| {
        let program = checks
            .python
            .iter()
            .fold(program, |program, (variable, folder)| program.env(variable, &folder.to_string_lossy()));
        checks.servers.iter().fold(program, |program, server| {
            program.env(server.engine().variable(), &server.folder().to_string_lossy())
        })
    };
    if has_cargo_subcommand(root, "nextest") {
        return on_servers(cargo(root).args(["nextest", "run", "--workspace", "--locked"])).run();
    }
    println!("cargo-nextest isn't installed: `cargo test` runs the same tests, but can't end one that hangs");
    on_servers(cargo(root).args(["test", "--workspace", "--lib", "--bins", "--tests", "--locked"])).run()
}

/// nextest doesn't run the examples in documentation, so they are a step of their own.
fn doc_tests(checks: &mut Checks) -> Result<()> {
    let root = &checks.root;
    cargo(root).args(["test", "--workspace", "--doc", "--locked"]).run()
}

fn documentation(checks: &mut Checks) -> Result<()> {
    let root = &checks.root;
    cargo(root)
        .args(["doc", "--workspace", "--no-deps", "--locked", "--quiet"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()
}

/// Licences, bans and sources are checked by tests/tidy.rs in any case; cargo-deny adds the published advisories.
fn dependencies(checks: &mut Checks) -> Result<()> {
    let root = &checks.root;
    if has_cargo_subcommand(root, "deny") {
        return cargo(root).args(["deny", "--all-features", "check"]).run();
    }
    println!("cargo-deny isn't installed: published advisories are NOT checked.");
    println!(
        "Licences, bans and sources were, by tests/tidy.rs. To check all: cargo install --locked cargo-deny"
    );
    Ok(())
}
