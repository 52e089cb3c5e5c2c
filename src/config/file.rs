//! The settings file: TOML whose keys are the flags of `serve`, so that the command line's own parsers read its values.

use std::any::TypeId;
use std::fs;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::{Arg, ArgAction, ArgMatches, Args, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ServeFlags;
use crate::error::Failure;

/// The id of the flag that names the file. Not `config`, which in other commands is a connection's.
pub(super) const FLAG: &str = "config_file";

/// Settings from a file, each checked by its flag's own parser.
pub(crate) struct SettingsFile {
    settings: Vec<Setting>,
}

struct Setting {
    /// The flag's id.
    id: String,
    /// As they would stand on the command line. Clap holds defaults for as long as the program runs.
    values: Vec<&'static str>,
}

/// The settings file that a command line names, itself or by the environment.
pub(crate) fn named_in(matches: &ArgMatches) -> Option<PathBuf> {
    let mut matches = matches;
    while let Some((_, inner)) = matches.subcommand() {
        matches = inner;
    }
    matches.try_get_one::<PathBuf>(FLAG).ok().flatten().cloned()
}

/// Reads a settings file.
///
/// # Errors
/// It can't be read, isn't TOML, or a key or value isn't one of `serve`'s: the message names the line.
pub(crate) fn read(path: &Path) -> Result<SettingsFile, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!("--config: can't read the settings file {}: {error}", path.display()))
    })?;
    parse(path, &text)
}

/// The command with no environment variable that is set to nothing: such a one counts as not set.
pub(crate) fn without_empty_variables(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let is_empty =
            arg.get_env().is_some_and(|name| std::env::var_os(name).is_some_and(|value| value.is_empty()));
        if is_empty { arg.env(Resettable::Reset) } else { arg }
    });
    command.mut_subcommands(without_empty_variables)
}

impl SettingsFile {
    /// The command with these settings as defaults, in each of its subcommands that reads the file.
    pub(crate) fn applied_to(&self, command: Command) -> Command {
        let reads_file = command.get_arguments().any(|arg| arg.get_id() == FLAG);
        let command = if reads_file {
            command.mut_args(|arg| {
                match self.settings.iter().find(|setting| arg.get_id() == setting.id.as_str()) {
                    Some(setting) => arg.default_values(setting.values.iter().copied()),
                    None => arg,
                }
            })
        } else {
            command
        };
        command.mut_subcommands(|command| self.applied_to(command))
    }
}

fn parse(path: &Path, text: &str) -> Result<SettingsFile, Failure> {
    let refuse = |offset: usize, problem: &str| {
        let line = 1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count();
        Failure::usage(format!("{}:{line}: {problem}", path.display()))
    };
    let table = DeTable::parse(text)
        .map_err(|error| refuse(error.span().map_or(0, |span| span.start), error.message()))?;
    let command = bare_command();
    let mut entries: Vec<(&Spanned<_>, &Spanned<DeValue<'_>>)> = table.get_ref().iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut settings: Vec<Setting> = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let at_key = |problem: String| refuse(key.span().start, &problem);
        let arg = flag_of(&command, key.get_ref()).map_err(at_key)?;
        let id = arg.get_id().to_string();
        if settings.iter().any(|setting| setting.id == id) {
            return Err(at_key(format!("{} is set twice, with - and with _", key.get_ref())));
        }
        let values = values(arg, value.get_ref()).map_err(at_key)?;
        try_out(&command, arg, &values).map_err(at_key)?;
        // Once for each start of the program.
        settings.push(Setting { id, values: values.into_iter().map(|value| &*value.leak()).collect() });
    }
    Ok(SettingsFile { settings })
}

/// `serve` with no look at the environment.
fn bare_command() -> Command {
    ServeFlags::augment_args(Command::new("serve")).mut_args(|arg| arg.env(Resettable::Reset))
}

/// The flag of a key, `max-calls` or `max_calls`.
fn flag_of<'c>(command: &'c Command, key: &str) -> Result<&'c Arg, String> {
    let name = key.replace('_', "-");
    let known = || command.get_arguments().filter(|arg| arg.get_id() != FLAG);
    if let Some(arg) = known().find(|arg| arg.get_long() == Some(name.as_str())) {
        return Ok(arg);
    }
    if name == "config" {
        return Err("a settings file can't name another".to_owned());
    }
    let names = known().filter_map(Arg::get_long);
    let nearest =
        names.map(|known| (strsim::jaro_winkler(known, &name), known)).max_by(|a, b| a.0.total_cmp(&b.0));
    let advice = match nearest {
        Some((likeness, known)) if likeness > 0.8 => format!("; did you mean {known}?"),
        _ => "; `portcullis serve --help` lists the flags, which are the keys".to_owned(),
    };
    Err(format!("there is no setting {key:?}{advice}"))
}

/// A TOML value as a flag's values; none for a switch that is off.
fn values(arg: &Arg, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let name = arg.get_long().unwrap_or_default();
    if is_switch(arg) {
        let is_on = value
            .as_bool()
            .ok_or_else(|| format!("{name} must be true or false, not {}", with_article(value)))?;
        return Ok(vec![is_on.to_string()]);
    }
    match value.as_array() {
        Some(list) if is_list(arg) => list.iter().map(|value| scalar(arg, value.get_ref())).collect(),
        Some(_) => Err(format!("{name} takes one value, not a list")),
        None => Ok(vec![scalar(arg, value)?]),
    }
}

fn scalar(arg: &Arg, value: &DeValue<'_>) -> Result<String, String> {
    let name = arg.get_long().unwrap_or_default();
    match value {
        DeValue::Integer(number) if is_number(arg) => i64::from_str_radix(number.as_str(), number.radix())
            .map(|number| number.to_string())
            .map_err(|_| format!("{name}: {number} is too large")),
        DeValue::String(text) if !is_number(arg) => Ok(text.to_string()),
        other if is_number(arg) => Err(format!("{name} must be a whole number, not {}", with_article(other))),
        other => Err(format!("{name} must be a string, not {}", with_article(other))),
    }
}

/// A value's type with its article.
fn with_article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

fn is_number(arg: &Arg) -> bool {
    let parsed = arg.get_value_parser().type_id();
    [TypeId::of::<u64>(), TypeId::of::<u32>()].iter().any(|number| parsed == *number)
}

/// Has the flag's parser look at the values, as if they stood on the command line.
fn try_out(command: &Command, arg: &Arg, values: &[String]) -> Result<(), String> {
    let name = arg.get_long().unwrap_or_default();
    let arguments = match is_switch(arg) {
        true => vec![],
        false => values.iter().map(|value| format!("--{name}={value}")).collect(),
    };
    let line = std::iter::once("serve".to_owned()).chain(arguments);
    let Err(error) = command.clone().try_get_matches_from(line) else { return Ok(()) };
    let text = error.render().to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    Err(paragraph.strip_prefix("error: ").unwrap_or(paragraph).trim_end().to_owned())
}
