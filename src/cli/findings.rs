//! How what is wrong with a package reads: `path/config.json:12:7: error: …`.

use std::path::Path;

use portcullis_runtime::Severity;

use super::output::{Colour, Palette, indented, plain};
use crate::error::Finding;

/// The findings about the package at `path`, one or more lines each.
pub(super) fn render(path: &Path, findings: &[Finding], palette: Palette) -> String {
    findings.iter().map(|finding| one(path, finding, palette) + "\n").collect()
}

fn one(path: &Path, finding: &Finding, palette: Palette) -> String {
    let severity = severity(finding.severity(), palette);
    match finding {
        Finding::Whole { message, .. } => {
            format!("{}: {severity} {}", plain(&path.to_string_lossy()), indented(&plain(message)))
        }
        Finding::Placed(found) => {
            let place = format!("{}:{}:{}", path.join(&found.file).display(), found.line, found.column);
            let pointer = match found.pointer.as_str() {
                "" => String::new(),
                pointer => format!("{}: ", pointer.escape_debug()),
            };
            let help = found.help.as_ref().map_or(String::new(), |help| {
                format!("\n  {} {}", palette.paint(Colour::Cyan, "help:"), indented(&plain(help)))
            });
            format!("{}: {severity} {pointer}{}{help}", plain(&place), indented(&plain(&found.message)))
        }
    }
}

fn severity(severity: Severity, palette: Palette) -> String {
    match severity {
        Severity::Error => palette.paint(Colour::Red, "error:"),
        Severity::Warning => palette.paint(Colour::Yellow, "warning:"),
    }
}
