//! The TypeScript check: `tsc --strict` passes on each example, with the types that `portcullis types` prints.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::command::{cargo, npm_ci, program};

/// The compiler's settings: what a connector may rely on, and nothing of a browser's or Node's.
const OPTIONS: &[&str] = &[
    "--strict",
    "--noEmit",
    "--noImplicitReturns",
    "--target",
    "es2023",
    "--lib",
    "es2023",
    "--pretty",
    "false",
];

/// Checks every example by itself: two scripts may both declare a top-level `connector`.
pub(crate) fn check(root: &Path) -> Result<()> {
    let home = root.join("tests/typescript");
    npm_ci(root, &home)?;
    let types = write_types(root)?;
    let examples = examples(root)?;
    ensure!(!examples.is_empty(), "no connector.ts under {}", root.join("examples").display());
    let tsc = home.join("node_modules/.bin/tsc");
    for example in examples {
        program(&tsc, root).args(OPTIONS).args([&types, &example]).run()?;
    }
    Ok(())
}

/// Writes what `portcullis types` prints to a file under target/, and returns its path.
fn write_types(root: &Path) -> Result<PathBuf> {
    let folder = root.join("target/typescript");
    fs::create_dir_all(&folder).with_context(|| format!("can't create {}", folder.display()))?;
    let file = folder.join("connector.d.ts");
    cargo(root).args(["run", "--quiet", "--locked", "--bin", "portcullis", "--", "types"]).run_into(&file)?;
    Ok(file)
}

/// Each example's connector.ts, relative to the root, in the order of their names.
fn examples(root: &Path) -> Result<Vec<PathBuf>> {
    let folder = root.join("examples");
    let entries = fs::read_dir(&folder).with_context(|| format!("can't list {}", folder.display()))?;
    let mut examples = Vec::new();
    for entry in entries {
        let code = Path::new("examples").join(entry?.file_name()).join("connector.ts");
        if root.join(&code).is_file() {
            examples.push(code);
        }
    }
    examples.sort();
    Ok(examples)
}
