//! schemathesis, which asks the API what its description promises: a Python environment of its own under target/.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::command::{install_debian_packages, program};

/// The environment variable that tells tests the environment's folder.
pub(crate) const VARIABLE: &str = "PORTCULLIS_TEST_SCHEMATHESIS";

/// What is installed from PyPI. The same as in tests/gateway/schemathesis.rs.
const PACKAGE: &str = "schemathesis==4.32.5";

/// The folder of an environment that has it, made where it is missing; Python itself comes from Debian's packages.
pub(crate) fn environment(root: &Path) -> Result<PathBuf> {
    let folder = root.join("target").join(PACKAGE.replace("==", "-"));
    if works(root, &folder) {
        return Ok(folder);
    }
    println!("{PACKAGE} is missing: installing it from PyPI into {}", folder.display());
    if !program("python3", root).args(["-c", "import ensurepip, venv"]).succeeds() {
        install_debian_packages(root, "python3 -m venv", &["python3", "python3-venv"])?;
    }
    program("python3", root).args(["-m", "venv", "--clear"]).args([&folder]).run()?;
    program(folder.join("bin/pip"), root).args(["install", "--quiet", PACKAGE]).run()?;
    Ok(folder)
}

/// Whether an earlier run made it, and to its end.
fn works(root: &Path, folder: &Path) -> bool {
    program(folder.join("bin/st"), root).args(["--version"]).succeeds()
}
