//! `portcullis completions`: what a shell completes this program's command line with.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::output::Console;
use crate::error::Status;

const EXAMPLES: &str = "\
Examples:
  portcullis completions bash > ~/.local/share/bash-completion/completions/portcullis
  portcullis completions zsh > \"${fpath[1]}/_portcullis\"
  portcullis completions fish > ~/.config/fish/completions/portcullis.fish";

/// Print a completion script for a shell
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn execute(&self, console: &mut Console) -> Status {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "portcullis", &mut script);
        console.print(&String::from_utf8_lossy(&script));
        Status::Done
    }
}
