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

/// Makes sure that each of `programs` is on the PATH, installing `packages` with apt-get where one isn't.
pub(crate) fn need_debian_packages(root: &Path, programs: &[&str], packages: &[&str]) -> Result<()> {
    let Some(missing) = programs.iter().find(|name| !program(**name, root).args(["--version"]).succeeds())
    else {
        return Ok(());
    };
    println!("`{missing}` is missing: installing the Debian packages {}", packages.join(", "));
    apt_get(root)?.args(["update", "--quiet"]).run()?;
    apt_get(root)?
        .args(["install", "--yes", "--quiet", "--no-install-recommends"])
        .args(packages)
        .run()
        .with_context(|| format!("install {} yourself, then run this again", packages.join(" and ")))
}

/// apt-get as root: directly, or through sudo where it asks for no password.
fn apt_get(root: &Path) -> Result<Program> {
    if !program("apt-get", root).args(["--version"]).succeeds() {
        bail!("there is no apt-get here to install it with: install it by hand");
    }
    // Through env, as sudo passes no variable on.
    let line: &[&str] = &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"];
    if runs_as_root() {
        return Ok(program(line[0], root).args(&line[1..]));
    }
    Ok(program("sudo", root).args(["--non-interactive"]).args(line))
}

/// Whether this process is root's, by the owner of its own folder in /proc.
fn runs_as_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}
