//! The command line: what there is to type, and one match that runs it.

mod call;
mod check;
mod completions;
mod connection;
mod findings;
mod new;
mod output;
mod pack;
mod params;
mod run;
mod schema;
mod signals;
mod test;
mod types;
mod usage;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Status;
use output::Console;

const AFTER_HELP: &str = "\
Exit status:
  0  done
  1  the operation failed
  2  the command line, the package or the arguments are wrong; nothing ran
  3  a limit was exceeded";

/// Runs connectors in a sandbox: small TypeScript files through which AI agents reach other people's APIs.
#[derive(Parser)]
#[command(name = "portcullis", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Run),
    Test(test::Test),
    Check(check::Check),
    New(new::New),
    Pack(pack::Pack),
    Types(types::Types),
    Schema(schema::Schema),
    Completions(completions::Completions),
}

/// Does what the command line says; its first argument is the program's own name.
pub fn main(arguments: &[OsString]) -> ExitCode {
    let mut console = Console::new();
    let status = match Cli::try_parse_from(arguments) {
        Ok(cli) => dispatch(&mut console, cli.command),
        Err(error) => usage::explain(&mut console, &error, arguments),
    };
    ExitCode::from(console.finish(status).code())
}

fn dispatch(console: &mut Console, command: Command) -> Status {
    match command {
        Command::Run(run) => run.execute(console),
        Command::Test(test) => test.execute(console),
        Command::Check(check) => check.execute(console),
        Command::New(new) => new.execute(console),
        Command::Pack(pack) => pack.execute(console),
        Command::Types(types) => types.execute(console),
        Command::Schema(schema) => schema.execute(console),
        Command::Completions(completions) => completions.execute(console),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
