//! `portcullis schema`: the manifest's schema for editors.

use clap::Args;

use super::output::Console;
use crate::error::Status;

/// Print the JSON Schema of config.json, for editors
#[derive(Args)]
pub(super) struct Schema {}

impl Schema {
    pub(super) fn execute(&self, console: &mut Console) -> Status {
        console.print_json(&portcullis_runtime::manifest_schema());
        Status::Done
    }
}
