//! What tests need from PyPI: a Python environment of its own for each package, under target/.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::command::{install_debian_packages, program};

/// A package that tests use.
pub(crate) struct Package {
    /// The environment variable that tells tests the environment's folder.
    pub(crate) variable: &'static str,
    /// What is installed. The same as in the test.
    requirement: &'static str,
    /// What tells that an earlier run installed it to its end: a program, and its arguments.
    probe: (&'static str, &'static [&'static str]),
}

/// schemathesis asks the API what its description promises; the MCP SDK is a client of `/mcp`.
pub(crate) const PACKAGES: [Package; 2] = [
    Package {
        variable: "PORTCULLIS_TEST_SCHEMATHESIS",
        requirement: "schemathesis==4.32.5",
        probe: ("bin/st", &["--version"]),
    },
    Package {
        variable: "PORTCULLIS_TEST_MCP",
        requirement: "mcp==2.3.0",
        probe: ("bin/python", &["-c", "import mcp"]),
    },
];

impl Package {
    /// The folder of an environment that has it, made where it is missing; Python itself comes from Debian's packages.
    pub(crate) fn environment(&self, root: &Path) -> Result<PathBuf> {
        let folder = root.join("target").join(self.requirement.replace("==", "-"));
        if self.works(root, &folder) {
            return Ok(folder);
        }
        println!("{} is missing: installing it from PyPI into {}", self.requirement, folder.display());
        if !program("python3", root).args(["-c", "import ensurepip, venv"]).succeeds() {
            install_debian_packages(root, "python3 -m venv", &["python3", "python3-venv"])?;
        }
        program("python3", root).args(["-m", "venv", "--clear"]).args([&folder]).run()?;
        program(folder.join("bin/pip"), root).args(["install", "--quiet", self.requirement]).run()?;
        Ok(folder)
    }

    fn works(&self, root: &Path, folder: &Path) -> bool {
        let (file, arguments) = self.probe;
        program(folder.join(file), root).args(arguments).succeeds()
    }
}
