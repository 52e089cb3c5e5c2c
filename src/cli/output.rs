//! The program's two output streams: text made safe for a terminal, colours where one is looking, JSON.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::error::Status;

/// Standard output and standard error. A reader that went away is no failure; anything else that fails is told at the end.
pub(crate) struct Console {
    /// The colours of standard output.
    pub(crate) out: Palette,
    /// The colours of standard error.
    pub(crate) err: Palette,
    failed: Option<io::Error>,
}

impl Console {
    /// The process's streams, in colour where they are terminals and nothing speaks against it.
    pub(crate) fn new() -> Self {
        let wanted = is_colour_wanted();
        Self {
            out: Palette { enabled: wanted && io::stdout().is_terminal() },
            err: Palette { enabled: wanted && io::stderr().is_terminal() },
            failed: None,
        }
    }

    /// Writes text, and a line break where it has none, to standard output.
    pub(crate) fn print(&mut self, text: &str) {
        if self.failed.is_some() {
            return;
        }
        let end = if text.ends_with('\n') { "" } else { "\n" };
        let mut stdout = io::stdout().lock();
        let written = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.write_all(end.as_bytes()))
            .and_then(|()| stdout.flush());
        self.failed = written.err();
    }

    /// Writes a value to standard output as indented JSON.
    pub(crate) fn print_json(&mut self, value: &impl Serialize) {
        self.print(&pretty(value));
    }

    /// Writes a line to standard error, for people. Whoever can't be told can't be told that either.
    #[expect(clippy::unused_self, reason = "all output goes through the console")]
    pub(crate) fn say(&mut self, line: &str) {
        let _ = writeln!(io::stderr().lock(), "{line}");
    }

    /// `error: …`, with the message's further lines indented.
    pub(crate) fn error(&mut self, message: &str) {
        let label = self.err.paint(Colour::Red, "error:");
        self.say(&format!("{label} {}", indented(&plain(message))));
    }

    /// `warning: …`.
    pub(crate) fn warning(&mut self, message: &str) {
        let label = self.err.paint(Colour::Yellow, "warning:");
        self.say(&format!("{label} {}", indented(&plain(message))));
    }

    /// An indented `label: text` below an error.
    pub(crate) fn note(&mut self, label: &str, text: &str) {
        let label = self.err.paint(Colour::Cyan, &format!("{label}:"));
        self.say(&format!("  {label} {}", indented(&plain(text))));
    }

    /// The status to exit with, once what couldn't be written is told.
    pub(crate) fn finish(mut self, status: Status) -> Status {
        match self.failed.take() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                self.error(&format!("can't write to standard output: {error}"));
                if status == Status::Done { Status::Failed } else { status }
            }
            _ => status,
        }
    }
}

/// Whether <https://no-color.org> and the terminal's type leave room for colours.
fn is_colour_wanted() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Palette {
    enabled: bool,
}

/// What a piece of text is shown in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Colour {
    /// Errors.
    Red,
    /// Warnings.
    Yellow,
    /// Success.
    Green,
    /// Advice.
    Cyan,
    /// What is beside the point.
    Dim,
}

impl Palette {
    /// The text in a colour, where there are colours.
    pub(crate) fn paint(self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Red => "1;31",
            Colour::Yellow => "1;33",
            Colour::Green => "1;32",
            Colour::Cyan => "36",
            Colour::Dim => "2",
        };
        if self.enabled { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Text that can't do anything to a terminal: control characters, and those that reorder text, are shown as escapes.
/// Line breaks and tabs stay.
pub(crate) fn plain(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    text.chars().fold(String::with_capacity(text.len()), |mut plain, c| {
        if c == '\n' || c == '\t' || !(c.is_control() || reorders(c)) {
            plain.push(c);
        } else {
            plain.extend(c.escape_unicode());
        }
        plain
    })
}

fn reorders(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text with its second and further lines indented, so that none of them passes for a line of ours.
pub(crate) fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n  ")
}

/// Indented JSON. The control characters that JSON lets stand, and a terminal may act upon, are escaped too.
fn pretty(value: &impl Serialize) -> String {
    // What is printed is made of strings, numbers, lists and objects with string keys: all of it is JSON.
    let json = serde_json::to_string_pretty(value).expect("output is made of JSON's own types");
    if !json.contains(is_raw_control) {
        return json;
    }
    json.chars().fold(String::with_capacity(json.len()), |mut escaped, c| {
        // They occur within strings alone, where an escape means the same.
        if is_raw_control(c) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            escaped.push(c);
        }
        escaped
    })
}

fn is_raw_control(c: char) -> bool {
    ('\u{7f}'..='\u{9f}').contains(&c) || reorders(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_for_a_terminal_has_no_control_characters() {
        assert_eq!(
            plain("a\u{1b}[31mb\u{9b}c\rd\r\ne\tf\u{202e}"),
            "a\\u{1b}[31mb\\u{9b}c\\u{d}d\ne\tf\\u{202e}"
        );
    }

    #[test]
    fn json_escapes_what_a_terminal_may_act_upon() {
        let json = pretty(&serde_json::json!({"a\u{9b}": "\u{1b}\u{7f}ü"}));
        assert_eq!(json, "{\n  \"a\\u009b\": \"\\u001b\\u007fü\"\n}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["a\u{9b}"], "\u{1b}\u{7f}ü");
    }

    #[test]
    fn colours_are_optional() {
        assert_eq!(Palette { enabled: false }.paint(Colour::Red, "x"), "x");
        assert_eq!(Palette { enabled: true }.paint(Colour::Red, "x"), "\u{1b}[1;31mx\u{1b}[0m");
    }
}
