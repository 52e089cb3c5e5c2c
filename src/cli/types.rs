//! `portcullis types`: the script API for editors.

use clap::Args;

use super::output::Console;
use crate::error::Status;

/// Print connector.d.ts, the types of the script API, for editors
#[derive(Args)]
pub(super) struct Types {}

impl Types {
    pub(super) fn execute(&self, console: &mut Console) -> Status {
        console.print(&portcullis_runtime::connector_types());
        Status::Done
    }
}
