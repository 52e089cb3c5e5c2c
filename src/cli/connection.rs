//! The connection's side of a command line: secrets and configuration. No message here repeats a value.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value};

use crate::error::Failure;

/// What a connection would hold.
#[derive(Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct ConnectionFlags {
    /// A credential; repeatable. Other users of this machine can see it: prefer --secrets-file
    #[arg(long, value_name = "KEY=VALUE", allow_hyphen_values = true)]
    secret: Vec<String>,
    /// Credentials, one KEY=VALUE a line; blank lines and lines that begin with # are skipped
    #[arg(long, value_name = "FILE", env = "PORTCULLIS_SECRETS_FILE", hide_env_values = true)]
    secrets_file: Option<PathBuf>,
    /// A setting of the connection, over the manifest's connectionConfig; repeatable
    #[arg(long, value_name = "KEY=VALUE", allow_hyphen_values = true)]
    config: Vec<String>,
}

impl ConnectionFlags {
    /// All secrets; those of the command line win over the file's.
    pub(super) fn secrets(&self) -> Result<BTreeMap<String, String>, Failure> {
        let mut secrets = match self.secrets_file.as_ref().filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => read_secrets(path)?,
            None => BTreeMap::new(),
        };
        for pair in pairs(&self.secret, "--secret") {
            let (key, value) = pair?;
            secrets.insert(key.to_owned(), value.to_owned());
        }
        Ok(secrets)
    }

    /// The connection's configuration: every value is a string.
    pub(super) fn config(&self) -> Result<Map<String, Value>, Failure> {
        pairs(&self.config, "--config")
            .map(|pair| pair.map(|(key, value)| (key.to_owned(), Value::from(value))))
            .collect()
    }
}

fn pairs<'a>(
    arguments: &'a [String],
    flag: &'static str,
) -> impl Iterator<Item = Result<(&'a str, &'a str), Failure>> {
    let n = arguments.len();
    arguments.iter().enumerate().map(move |(index, argument)| {
        let which = if n == 1 { String::new() } else { format!(" number {}", index + 1) };
        split(argument).ok_or_else(|| {
            Failure::usage(format!("{flag}{which} is not written KEY=VALUE (what it holds isn't shown)"))
        })
    })
}

/// Key and value: all that follows the first `=`, as it is.
fn split(pair: &str) -> Option<(&str, &str)> {
    let (key, value) = pair.split_once('=')?;
    let is_key = !key.is_empty() && !key.contains(|c: char| c.is_whitespace() || c.is_control());
    is_key.then_some((key, value))
}

fn read_secrets(path: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let bytes = fs::read(path).map_err(|error| Failure::usage(unreadable(path, &error)))?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        Failure::usage(format!("{}:{line}: the secrets file is not UTF-8 text", path.display()))
    })?;
    parse_secrets(text).map_err(|line| {
        Failure::usage(format!(
            "{}:{line}: not written KEY=VALUE, without spaces around the key (what it holds isn't shown)",
            path.display()
        ))
    })
}

/// What to say of a secrets file that can't be read. A `KEY=VALUE` in the file's place is a secret, and not repeated.
fn unreadable(path: &Path, error: &std::io::Error) -> String {
    let name = path.to_string_lossy();
    if name.contains('=') {
        return format!("--secrets-file names a file; for KEY=VALUE there is --secret ({error})");
    }
    format!("--secrets-file: can't read {name}: {error}")
}

/// The secrets of a file, or the number of the first line that holds none. Of two with one key, the later counts.
fn parse_secrets(text: &str) -> Result<BTreeMap<String, String>, usize> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut secrets = BTreeMap::new();
    for (index, line) in text.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let (key, value) = split(line).ok_or(index + 1)?;
        secrets.insert(key.to_owned(), value.to_owned());
    }
    Ok(secrets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secrets_file_is_read_as_written() {
        let text = "\u{feff}# comment\r\n\r\n  # another\na=1=2==\r\nb= two words \nc=\n   \nd=#x\na=again=";
        let secrets = parse_secrets(text).unwrap();
        let expected = [("a", "again="), ("b", " two words "), ("c", ""), ("d", "#x")];
        let secrets: Vec<_> = secrets.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(secrets, expected);
    }

    #[test]
    fn a_line_that_is_no_pair_is_told_by_its_number() {
        for (text, line) in [("a=1\nhunter2", 2), ("=hunter2", 1), ("# x\n\na = hunter2", 3), (" a=b", 1)] {
            assert_eq!(parse_secrets(text), Err(line), "{text:?}");
        }
    }
}
