//! `portcullis check`: everything that is wrong with packages, with its place.

use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_runtime::{
    Client, Connector, EgressConfig, Engine, EngineConfig, LoadError, Package, PackageError, Severity,
};
use serde::Serialize;

use super::call::print_failure;
use super::findings;
use super::output::{Colour, Console, Palette, plain};
use crate::error::{Failure, FailureKind, Finding, Status, chain, count};

/// Validate connectors: every error and warning, with its place
#[derive(Args)]
pub(super) struct Check {
    /// The connectors: folders, or zips of them
    #[arg(value_name = "DIR|ZIP", required = true)]
    packages: Vec<PathBuf>,
    /// Count warnings as errors
    #[arg(long)]
    strict: bool,
    /// Print a JSON array with an object for each connector: {path, slug, valid, diagnostics}
    #[arg(long)]
    json: bool,
}

/// What was found about one package.
#[derive(Serialize)]
struct Checked {
    path: String,
    /// Where the package could be read.
    slug: Option<String>,
    valid: bool,
    diagnostics: Vec<Finding>,
    #[serde(skip)]
    n_operations: usize,
    /// The sandbox failed: nothing is known of the package.
    #[serde(skip)]
    is_undecided: bool,
}

impl Check {
    pub(super) fn execute(&self, console: &mut Console) -> Status {
        let engine = match engine() {
            Ok(engine) => engine,
            Err(failure) => return print_failure(console, &failure, false),
        };
        let mut checked = Vec::new();
        for path in &self.packages {
            let found = self.check(&engine, path);
            if !self.json {
                console.print(
                    &(findings::render(path, &found.diagnostics, console.out) + &found.summary(console.out)),
                );
            }
            checked.push(found);
        }
        if self.json {
            console.print_json(&checked);
        }
        match checked.iter().all(|found| found.valid) {
            true => Status::Done,
            false if checked.iter().any(|found| found.is_undecided) => Status::Failed,
            false => Status::Invalid,
        }
    }

    fn check(&self, engine: &Engine, path: &Path) -> Checked {
        let mut found = Checked {
            path: path.to_string_lossy().into_owned(),
            slug: None,
            valid: false,
            diagnostics: Vec::new(),
            n_operations: 0,
            is_undecided: false,
        };
        let loaded = Package::read(path).map_err(LoadError::from).and_then(|package| {
            found.slug = Some(package.slug().to_string());
            engine.load(&package)
        });
        match loaded {
            Ok(connector) => {
                found.n_operations = connector.declared_operations().len();
                found.diagnostics = connector.warnings().iter().cloned().map(Finding::Placed).collect();
            }
            Err(error) => {
                found.is_undecided = matches!(error, LoadError::Sandbox(_));
                found.diagnostics = Finding::all(path, error);
            }
        }
        if self.strict {
            found.diagnostics = found.diagnostics.into_iter().map(Finding::into_error).collect();
        }
        found.valid = found.diagnostics.iter().all(|finding| finding.severity() != Severity::Error);
        found
    }
}

impl Checked {
    fn summary(&self, palette: Palette) -> String {
        let path = plain(&self.path);
        if !self.valid {
            let verdict = if self.is_undecided { "not checked" } else { "not valid" };
            return format!("{path}: {}: {}", palette.paint(Colour::Red, verdict), count(&self.diagnostics));
        }
        let slug = self.slug.as_deref().unwrap_or_default();
        let operations = if self.n_operations == 1 { "operation" } else { "operations" };
        let warnings = match self.diagnostics.len() {
            0 => String::new(),
            _ => format!(", {}", count(&self.diagnostics)),
        };
        let verdict = palette.paint(Colour::Green, "ok");
        format!("{path}: {verdict}: {slug}, {} {operations}{warnings}", self.n_operations)
    }
}

/// An engine that loads connectors and calls none.
pub(super) fn engine() -> Result<Engine, Failure> {
    let client = Client::new(&EgressConfig::default())
        .map_err(|error| Failure::new(FailureKind::Sandbox, chain(&error)))?;
    Ok(Engine::new(EngineConfig { n_ready: 0, ..EngineConfig::new(client) }))
}

/// Reads and validates the connector in a folder.
pub(super) fn load_folder(engine: &Engine, path: &Path) -> Result<(Package, Connector), Failure> {
    let refuse = |error: PackageError| Failure::load(path, error.into());
    let package = Package::from_folder(path).map_err(refuse)?;
    let connector = engine.load(&package).map_err(|error| Failure::load(path, error))?;
    Ok((package, connector))
}
