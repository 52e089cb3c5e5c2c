//! `cargo xtask fuzz`: runs fuzz targets with cargo-fuzz on the stable toolchain.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::command::{cargo, has_cargo_subcommand};

/// How long a target runs where nobody says.
pub(crate) const DEFAULT_SECONDS: u64 = 60;

/// Runs one target of fuzz/fuzz_targets, or `all` of them, for `seconds` each; fails at the first crash.
pub(crate) fn run(root: &Path, target: &str, seconds: u64) -> Result<()> {
    let known = targets(root)?;
    if target != "all" {
        ensure!(
            known.iter().any(|name| name == target),
            "there is no fuzz target {target:?}: choose `all` or one of {}",
            known.join(", ")
        );
    }
    need_cargo_fuzz(root)?;
    for name in known.iter().filter(|name| target == "all" || *name == target) {
        fuzz(root, name, seconds)?;
    }
    Ok(())
}

/// libFuzzer's instrumentation is an unstable flag of rustc; RUSTC_BOOTSTRAP lets stable take it.
fn fuzz(root: &Path, target: &str, seconds: u64) -> Result<()> {
    cargo(root)
        .args(["fuzz", "run", target, "--", "-print_final_stats=1"])
        .args([format!("-max_total_time={seconds}")])
        .env("RUSTC_BOOTSTRAP", "1")
        .run()
        .with_context(|| {
            format!("the input that broke {target} is under fuzz/artifacts/{target}: make it a test")
        })
}

fn need_cargo_fuzz(root: &Path) -> Result<()> {
    if has_cargo_subcommand(root, "fuzz") {
        return Ok(());
    }
    println!("cargo-fuzz is missing: installing it");
    cargo(root).args(["install", "--locked", "cargo-fuzz"]).run()
}

/// The targets' names, sorted.
fn targets(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("can't list {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}
