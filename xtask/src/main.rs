//! The project's chores: `cargo xtask test`, `cargo xtask servers`, `cargo xtask bench` and `cargo xtask fuzz`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks on its streams")]

mod command;
mod fuzz;
mod python;
mod servers;
mod step;
mod test;
mod typescript;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::command::cargo;

const USAGE: &str = "\
usage: cargo xtask test                      every check of the project, in order; what CI runs
       cargo xtask servers                   database servers for tests that you run yourself, until you end it
       cargo xtask bench [ARGS…]             the benchmarks; ARGS go to `cargo bench`
       cargo xtask fuzz <TARGET> [SECONDS]   one fuzz target, or `all` of them, for SECONDS each (60)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<()> {
    let root = repository_root();
    match arguments {
        ["test"] => test::run(&root),
        ["servers"] => servers::run(&root),
        ["bench", rest @ ..] => cargo(&root).args(["bench", "--workspace", "--locked"]).args(rest).run(),
        ["fuzz", target] => fuzz::run(&root, target, fuzz::DEFAULT_SECONDS),
        ["fuzz", target, seconds] => match seconds.parse() {
            Ok(seconds) => fuzz::run(&root, target, seconds),
            Err(_) => bail!("SECONDS must be a whole number, not {seconds:?}\n{USAGE}"),
        },
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        [] => bail!("name a chore\n{USAGE}"),
        _ => bail!("{:?} is no chore\n{USAGE}", arguments.join(" ")),
    }
}

/// The folder of the workspace's Cargo.toml: the parent of this crate's own.
fn repository_root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}
