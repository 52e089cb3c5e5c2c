//! `portcullis test`: whether a connection would work.

use std::path::PathBuf;

use clap::Args;

use super::call::{CallFlags, Target};
use super::output::Console;
use crate::error::Status;

/// Test a connection: runs the connector's testConnection
#[derive(Args)]
pub(super) struct Test {
    /// The connector: its folder, or a zip of it
    #[arg(value_name = "DIR|ZIP")]
    package: PathBuf,
    #[command(flatten)]
    call: CallFlags,
}

impl Test {
    pub(super) fn execute(&self, console: &mut Console) -> Status {
        self.call.perform(console, &Target { package: &self.package, operation: None })
    }
}
