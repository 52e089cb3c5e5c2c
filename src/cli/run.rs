//! `portcullis run`: one operation, called with what the command line gives.

use std::path::PathBuf;

use clap::Args;

use super::call::{CallFlags, Target};
use super::output::Console;
use crate::error::Status;

const EXAMPLES: &str = "\
Examples:
  portcullis run examples/hello greet --params '{\"name\": \"Ada\"}'
  portcullis run tickets.zip list_tickets --secrets-file secrets.env --params @params.json
  echo '{\"limit\": 10}' | portcullis run tickets list_tickets --params @- --json";

/// Call an operation: its result is printed as JSON, its logs on standard error
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Run {
    /// The connector: its folder, or a zip of it
    #[arg(value_name = "DIR|ZIP")]
    package: PathBuf,
    /// The operation's name
    operation: String,
    /// The operation's arguments: JSON, @FILE, or @- for standard input
    #[arg(long, value_name = "JSON|@FILE", allow_hyphen_values = true)]
    params: Option<String>,
    #[command(flatten)]
    call: CallFlags,
}

impl Run {
    pub(super) fn execute(&self, console: &mut Console) -> Status {
        let operation = Some((self.operation.as_str(), self.params.as_deref()));
        self.call.perform(console, &Target { package: &self.package, operation })
    }
}
