//! `portcullis pack`: a connector's folder as a zip.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_runtime::{Connector, Package};
use serde_json::json;

use super::call::print_failure;
use super::output::{Console, plain};
use super::{check, findings};
use crate::error::{Failure, FailureKind, Finding, Status};

/// Make a zip of a connector, once it is found valid
#[derive(Args)]
pub(super) struct Pack {
    /// The connector's folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The zip to write, or a folder to write it into [default: <slug>.zip]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print a JSON object: {path, slug, bytes, digest, diagnostics}
    #[arg(long)]
    json: bool,
}

impl Pack {
    pub(super) fn execute(&self, console: &mut Console) -> Status {
        match self.pack() {
            Ok(packed) => {
                self.tell(console, &packed);
                Status::Done
            }
            Err(failure) => print_failure(console, &failure, self.json),
        }
    }

    fn pack(&self) -> Result<Packed, Failure> {
        let (package, connector) = check::load_folder(&check::engine()?, &self.folder)?;
        let zip = package.to_zip();
        // A folder within the caps can give a zip beyond them: by what zip adds to files that don't shrink.
        let again =
            Package::from_zip(&zip, None).map_err(|error| Failure::load(&self.folder, error.into()))?;
        if again != package {
            let differs = "the zip would hold other files than the folder";
            return Err(Failure::new(FailureKind::Output, format!("{}: {differs}", self.folder.display())));
        }
        let path = self.path(&package);
        write(&path, &zip).map_err(|error| {
            Failure::new(FailureKind::Output, format!("can't write {}: {error}", path.display()))
        })?;
        Ok(Packed { path, n_bytes: zip.len(), connector })
    }

    fn path(&self, package: &Package) -> PathBuf {
        let name = format!("{}.zip", package.slug());
        match &self.output {
            Some(folder) if folder.is_dir() => folder.join(name),
            Some(file) => file.clone(),
            None => PathBuf::from(name),
        }
    }

    fn tell(&self, console: &mut Console, packed: &Packed) {
        let Packed { path, n_bytes, connector } = packed;
        let warnings: Vec<_> = connector.warnings().iter().cloned().map(Finding::Placed).collect();
        if self.json {
            console.print_json(&json!({
                "path": path.to_string_lossy(),
                "slug": connector.slug(),
                "bytes": n_bytes,
                "digest": connector.digest(),
                "diagnostics": warnings,
            }));
            return;
        }
        let warnings = findings::render(&self.folder, &warnings, console.err);
        if !warnings.is_empty() {
            console.say(warnings.trim_end());
        }
        let path = plain(&path.to_string_lossy());
        console.print(&format!("{path}  {n_bytes} bytes  sha256:{}", connector.digest()));
    }
}

/// A zip that was written.
struct Packed {
    path: PathBuf,
    n_bytes: usize,
    connector: Connector,
}

/// Writes a file that is replaced whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_string_lossy();
    let part = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let mut file = File::options().write(true).create_new(true).open(&part)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&part, path));
    if written.is_err() {
        // The error that counts is the first one.
        let _ = fs::remove_file(&part);
    }
    written
}
