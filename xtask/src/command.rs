//! Programs that a chore runs: how they are started, how their failure reads, and how missing ones are installed.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A program that is about to run, with its output going where ours goes.
pub(crate) struct Program {
    command: Command,
    /// The command line as a person would type it, for messages.
    line: String,
}

/// `cargo`, run in `folder`.
pub(crate) fn cargo(folder: &Path) -> Program {
    program("cargo", folder)
}

/// Any program, by its name on the PATH or its absolute path, run in `folder`.
pub(crate) fn program(name: impl AsRef<OsStr>, folder: &Path) -> Program {
    let name = name.as_ref();
    let mut command = Command::new(name);
    command.current_dir(folder).stdin(Stdio::null());
    Program { command, line: name.to_string_lossy().into_owned() }
}

impl Program {
    /// Adds arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        for argument in arguments {
            self.line.push(' ');
            self.line.push_str(&argument.as_ref().to_string_lossy());
            self.command.arg(argument);
        }
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.line = format!("{name}={value:?} {}", self.line);
        self.command.env(name, value);
        self
    }

    /// Shows this instead of the command line.
    pub(crate) fn shown_as(mut self, line: &str) -> Self {
        line.clone_into(&mut self.line);
        self
    }

    /// Shows the command line, runs it, and fails unless it exits with 0.
    pub(crate) fn run(mut self) -> Result<()> {
        println!("$ {}", self.line);
        let status = self.command.status().with_context(|| format!("can't start `{}`", self.line))?;
        if !status.success() {
            bail!("`{}` ended with {status}", self.line);
        }
        Ok(())
    }

    /// Runs it with its standard output going to `file`, and fails unless it exits with 0.
    pub(crate) fn run_into(mut self, file: &Path) -> Result<()> {
        let output = fs::File::create(file).with_context(|| format!("can't write {}", file.display()))?;
        self.command.stdout(output);
        self.line = format!("{} > {}", self.line, file.display());
        self.run()
    }

    /// Whether it starts and exits with 0; shows nothing.
    pub(crate) fn succeeds(mut self) -> bool {
        self.command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }
}

/// Whether `cargo <subcommand>` is installed.
pub(crate) fn has_cargo_subcommand(root: &Path, subcommand: &str) -> bool {
    cargo(root).args([subcommand, "--version"]).succeeds()
}

/// Makes sure that `cargo <component>` works, adding the rustup component where rustup's minimal profile left it out.
pub(crate) fn need_rust_component(root: &Path, component: &str, subcommand: &str) -> Result<()> {
    if has_cargo_subcommand(root, subcommand) {
        return Ok(());
    }
    println!("`cargo {subcommand}` is missing: adding the component {component} with rustup");
    program("rustup", root)
        .args(["component", "add", component])
        .run()
        .with_context(|| format!("install {component} for the Rust toolchain in use"))
}

/// The first of `programs` that isn't on the PATH, or doesn't work.
pub(crate) fn missing_program<'name>(root: &Path, programs: &[&'name str]) -> Option<&'name str> {
    programs.iter().copied().find(|name| !program(name, root).args(["--version"]).succeeds())
}

/// Installs Debian packages (the arguments). A package with a service starts it, which nobody here asked for: unless the
/// machine has a policy on that already, there's one while this runs that forbids it.
const INSTALL: &str = r#"
set -eu
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet
apt-get install --yes --quiet --no-install-recommends "$@"
"#;

/// Installs `packages` with apt-get, because the program `missing` isn't there: as root, or through sudo where that asks
/// for no password. Services that come with them aren't started.
pub(crate) fn install_debian_packages(root: &Path, missing: &str, packages: &[&str]) -> Result<()> {
    println!("`{missing}` is missing: installing the Debian packages {}", packages.join(", "));
    if missing_program(root, &["apt-get"]).is_some() {
        bail!("there is no apt-get here to install `{missing}` with: install it by hand");
    }
    let sh = if runs_as_root() {
        program("sh", root)
    } else {
        program("sudo", root).args(["--non-interactive", "sh"])
    };
    sh.args(["-c", INSTALL, "apt-get install"])
        .args(packages)
        .shown_as(&format!("apt-get install {}", packages.join(" ")))
        .run()
        .with_context(|| format!("install {} yourself, then run this again", packages.join(" and ")))
}

/// Installs the npm packages that the lock file in `folder` lists, beside it; Node.js and npm come from Debian's packages
/// where they are missing.
pub(crate) fn npm_ci(root: &Path, folder: &Path) -> Result<()> {
    if let Some(missing) = missing_program(root, &["node", "npm"]) {
        install_debian_packages(root, missing, &["nodejs", "npm"])?;
    }
    program("npm", folder).args(["ci", "--prefer-offline", "--no-audit", "--no-fund"]).run()
}

/// Whether this process is root's, by the owner of its own folder in /proc.
fn runs_as_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}
