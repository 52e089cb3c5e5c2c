//! The command line: what there is to type, and one match that runs it.

mod call;
mod check;
mod completions;
mod connection;
mod findings;
mod keys;
mod mcp;
mod new;
mod output;
mod pack;
mod params;
mod projects;
mod run;
mod schema;
mod serve;
mod signals;
mod test;
mod types;
mod usage;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config;
use crate::error::{Failure, Status};
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
    Serve(Box<serve::Serve>),
    Keys(keys::Keys),
    Projects(projects::Projects),
    Run(run::Run),
    Test(test::Test),
    Check(check::Check),
    New(new::New),
    Pack(pack::Pack),
    Types(types::Types),
    Schema(schema::Schema),
    Mcp(Box<mcp::Mcp>),
    Completions(completions::Completions),
}

/// Does what the command line says; its first argument is the program's own name.
pub fn main(arguments: &[OsString]) -> ExitCode {
    let mut console = Console::new();
    let status = match parse(arguments) {
        Ok(cli) => dispatch(&mut console, cli.command),
        Err(Refused::CommandLine(error)) => usage::explain(&mut console, &error, arguments),
        Err(Refused::SettingsFile(failure)) => call::print_failure(&mut console, &failure, false),
    };
    ExitCode::from(console.finish(status).code())
}

/// Why no command runs.
enum Refused {
    CommandLine(clap::Error),
    SettingsFile(Failure),
}

/// The command line, over the environment, over the settings file if the first two name one.
fn parse(arguments: &[OsString]) -> Result<Cli, Refused> {
    let command = config::without_empty_variables(Cli::command());
    let mut matches = command.clone().try_get_matches_from(arguments).map_err(Refused::CommandLine)?;
    if let Some(path) = config::named_in(&matches) {
        let settings = config::read(&path).map_err(Refused::SettingsFile)?;
        let command = settings.applied_to(command);
        matches = command.try_get_matches_from(arguments).map_err(Refused::CommandLine)?;
    }
    Cli::from_arg_matches(&matches).map_err(Refused::CommandLine)
}

fn dispatch(console: &mut Console, command: Command) -> Status {
    match command {
        Command::Serve(serve) => serve.execute(console),
        Command::Keys(keys) => keys.execute(console),
        Command::Projects(projects) => projects.execute(console),
        Command::Run(run) => run.execute(console),
        Command::Test(test) => test.execute(console),
        Command::Check(check) => check.execute(console),
        Command::New(new) => new.execute(console),
        Command::Pack(pack) => pack.execute(console),
        Command::Types(types) => types.execute(console),
        Command::Schema(schema) => schema.execute(console),
        Command::Mcp(mcp) => mcp.execute(console),
        Command::Completions(completions) => completions.execute(console),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
