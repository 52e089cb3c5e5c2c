//! Command lines that are wrong: told without repeating what may be a secret.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::call::print_failure;
use super::output::Console;
use crate::error::{Failure, Status};

/// Prints what clap has to say: help and version on standard output, an error on standard error.
pub(super) fn explain(console: &mut Console, error: &clap::Error, arguments: &[OsString]) -> Status {
    if !error.use_stderr() {
        // Clap writes help itself, in colour where it can; whoever closed the pipe doesn't want it.
        let _ = error.print();
        return Status::Done;
    }
    if wants_json(arguments) {
        let failure = Failure::usage(message(error, arguments));
        print_failure(console, &failure, true);
        return Status::Invalid;
    }
    match stray(error, arguments) {
        Some(message) => {
            console.error(&message);
            console.say("\nFor more information, try '--help'.");
        }
        None => drop(error.print()),
    }
    Status::Invalid
}

/// Whether whoever typed this wants a `run` or `test` told as JSON.
fn wants_json(arguments: &[OsString]) -> bool {
    let runs = arguments.get(1).is_some_and(|command| command == "run" || command == "test");
    runs && arguments
        .iter()
        .skip(2)
        .take_while(|argument| *argument != "--")
        .any(|argument| argument == "--json")
}

/// The error in one paragraph.
fn message(error: &clap::Error, arguments: &[OsString]) -> String {
    stray(error, arguments).unwrap_or_else(|| {
        let text = error.render().to_string();
        let paragraph = text.split("\n\n").next().unwrap_or_default();
        paragraph.strip_prefix("error: ").unwrap_or(paragraph).trim_end().to_owned()
    })
}

/// What to say of an argument that nobody asked for. It is told by its place: of `--secret key= value`, it is the secret.
fn stray(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    let kind = match error.kind() {
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        ErrorKind::TooManyValues => ContextKind::InvalidValue,
        _ => return None,
    };
    let Some(ContextValue::String(found)) = error.get(kind) else { return None };
    if kind == ContextKind::InvalidArg && found.starts_with("--") {
        return None;
    }
    if let (ContextKind::InvalidValue, Some(flag)) = (kind, error.get(ContextKind::InvalidArg)) {
        return Some(format!("{flag} takes no value"));
    }
    let place = arguments.iter().position(|argument| argument.to_string_lossy() == *found);
    let place = place.map_or(String::new(), |place| format!(" (number {place})"));
    Some(format!(
        "there is an argument too many{place}; it isn't shown, as it may be a secret. Write --secret KEY=VALUE without \
         spaces around the =, and quote values that hold any"
    ))
}
