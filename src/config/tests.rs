//! The settings as a whole: every flag is a variable, a key of the file and a line of the README's table.

use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use clap::builder::Resettable;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::*;
use crate::error::Failure;

fn command() -> Command {
    ServeFlags::augment_args(Command::new("serve"))
}

/// `serve` with this settings file, and nothing of the test's own environment.
fn matches_of(file: &str, arguments: &[&str]) -> Result<ArgMatches, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portcullis.toml");
    fs::write(&path, file).unwrap();
    let folder = format!("{}/", folder.path().display());
    let settings = read(&path).map_err(|failure: Failure| failure.message.replace(&folder, ""))?;
    let command = settings.applied_to(command().mut_args(|arg| arg.env(Resettable::Reset)));
    command.try_get_matches_from([&["serve"], arguments].concat()).map_err(|error| error.to_string())
}

fn flags_of(file: &str, arguments: &[&str]) -> ServeFlags {
    ServeFlags::from_arg_matches(&matches_of(file, arguments).unwrap()).unwrap()
}

#[track_caller]
fn check_refused(file: &str, expected: &str) {
    assert_eq!(matches_of(file, &[]).unwrap_err(), expected);
}

fn raw(matches: &ArgMatches, id: &str) -> Vec<OsString> {
    matches.get_raw(id).into_iter().flatten().map(OsString::from).collect()
}

/// A value that the flag takes, as TOML and as on the command line, other than its default.
fn example(arg: &Arg) -> (String, String) {
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return ("true".to_owned(), "true".to_owned());
    }
    let text = match arg.get_long().unwrap() {
        "listen" => "127.0.0.1:9",
        "public-url" | "otlp-endpoint" => "https://example.com/a",
        "callback-origin" => "https://example.com",
        "log" => "debug",
        "log-format" => "json",
        name if arg.get_value_parser().type_id() != std::any::TypeId::of::<String>()
            && arg.get_value_parser().type_id() != std::any::TypeId::of::<std::path::PathBuf>() =>
        {
            // A result of so few characters would be of no use.
            let number = if name == "mcp-result-chars" { "7700" } else { "77" };
            return (number.to_owned(), number.to_owned());
        }
        _ => "something",
    };
    let toml = match arg.get_action() {
        ArgAction::Append => format!("[\"{text}\"]"),
        _ => format!("\"{text}\""),
    };
    (toml, text.to_owned())
}

#[test]
fn every_flag_is_a_variable_and_a_key_of_the_file() {
    let command = command();
    let flags: Vec<&Arg> = command.get_arguments().collect();
    assert!(flags.len() > 35, "{}", flags.len());
    for arg in flags {
        let name = arg.get_long().unwrap();
        let variable = format!("PORTCULLIS_{}", name.replace('-', "_").to_uppercase());
        assert_eq!(arg.get_env(), Some(variable.as_ref()), "--{name}");
        assert!(arg.is_hide_env_values_set(), "--{name}: its help would show the variable's value");
        if name == "config" {
            continue;
        }
        let (toml, expected) = example(arg);
        for key in [name.to_owned(), name.replace('-', "_")] {
            let matches = matches_of(&format!("{key} = {toml}"), &[]).unwrap();
            let id = arg.get_id().as_str();
            assert_eq!(raw(&matches, id), [OsString::from(&expected)], "{key} = {toml}");
        }
    }
}

#[test]
fn a_flag_goes_before_the_file_and_the_file_before_the_default() {
    let file =
        "max-calls = 7\ndrain_ms = 5\nallow-network = [\"10.0.0.0/8\", \"fd00::/8\"]\nbehind-proxy = true";
    let matches = matches_of(file, &["--max-calls", "9"]).unwrap();
    assert_eq!(raw(&matches, "max_calls"), ["9"]);
    assert_eq!(raw(&matches, "drain_ms"), ["5"]);
    assert_eq!(raw(&matches, "allow_network"), ["10.0.0.0/8", "fd00::/8"]);
    assert_eq!(raw(&matches, "max_queue_ms"), ["10000"]);
    assert!(matches.get_flag("behind_proxy"));
    let matches = matches_of(file, &["--allow-network", "192.168.0.0/16"]).unwrap();
    assert_eq!(raw(&matches, "allow_network"), ["192.168.0.0/16"]);
    assert!(!matches_of("behind-proxy = false", &[]).unwrap().get_flag("behind_proxy"));
}

#[test]
fn a_key_that_is_none_is_told_with_its_line_and_the_nearest() {
    check_refused(
        "listen = \"127.0.0.1:1\"\n\nmax-cals = 5",
        "portcullis.toml:3: there is no setting \"max-cals\"; did you mean max-calls?",
    );
    check_refused(
        "[server]\nlisten = \"127.0.0.1:1\"",
        "portcullis.toml:1: there is no setting \"server\"; `portcullis serve --help` lists the flags, which are the keys",
    );
    check_refused("config = \"other.toml\"", "portcullis.toml:1: a settings file can't name another");
    check_refused(
        "max-calls = 5\nmax_calls = 6",
        "portcullis.toml:2: max_calls is set twice, with - and with _",
    );
}

#[test]
fn a_value_of_the_wrong_type_is_told_with_key_and_line() {
    for (file, expected) in [
        ("max-calls = \"many\"", "max-calls must be a whole number, not a string"),
        ("max-calls = 1.5", "max-calls must be a whole number, not a float"),
        ("max-calls = [1]", "max-calls takes one value, not a list"),
        ("max-calls = 99999999999999999999", "max-calls: 99999999999999999999 is too large"),
        ("behind-proxy = \"yes\"", "behind-proxy must be true or false, not a string"),
        ("data = true", "data must be a string, not a boolean"),
        ("allow-network = [5]", "allow-network must be a string, not an integer"),
        ("[listen]", "listen must be a string, not a table"),
    ] {
        check_refused(&format!("\n{file}"), &format!("portcullis.toml:2: {expected}"));
    }
}

#[test]
fn a_value_that_its_flag_refuses_is_told_in_the_flags_own_words() {
    check_refused(
        "max-calls = 0",
        "portcullis.toml:1: invalid value '0' for '--max-calls <N>': 0 is not in 1..=20000",
    );
    check_refused(
        "listen = \"7400\"",
        "portcullis.toml:1: invalid value '7400' for '--listen <ADDR:PORT>': write an IP address and a port: \
         127.0.0.1:7400, 0.0.0.0:8080, [::1]:7400",
    );
    let refused = matches_of("log-format = \"xml\"", &[]).unwrap_err();
    assert!(refused.contains("[possible values: pretty, json]") || refused.contains("'xml'"), "{refused}");
}

#[test]
fn a_file_that_is_no_toml_is_told_with_its_line_and_not_shown() {
    let refused = matches_of("drain-ms = 5\ndatabase = \"postgres://a:hunter2@b/c\n", &[]).unwrap_err();
    assert!(refused.starts_with("portcullis.toml:2: ") && !refused.contains("hunter2"), "{refused}");
    let Err(missing) = read(Path::new("/nonexistent/portcullis.toml")) else { panic!("read nothing") };
    assert!(
        missing.message.contains("can't read the settings file /nonexistent/portcullis.toml"),
        "{missing:?}"
    );
}

#[test]
fn an_address_that_others_reach_must_be_meant() {
    let listen = |arguments: &[&str]| flags_of("", arguments).listen().map_err(|failure| failure.message);
    for address in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:7400", "localhost:7400"] {
        assert!(listen(&["--listen", address]).is_ok(), "{address}");
    }
    for address in ["0.0.0.0:7400", "[::]:7400", "192.0.2.1:7400", "[::ffff:192.0.2.1]:7400"] {
        let refused = listen(&["--listen", address]).unwrap_err();
        assert!(refused.contains("unencrypted") && refused.contains("--behind-proxy"), "{refused}");
        assert!(refused.contains("--insecure-listen"), "{refused}");
        assert!(listen(&["--listen", address, "--behind-proxy"]).is_ok(), "{address}");
        assert!(listen(&["--listen", address, "--insecure-listen"]).is_ok(), "{address}");
    }
}

#[test]
fn people_are_told_an_address_that_they_can_type() {
    let told = |arguments: &[&str], bound: &str| flags_of("", arguments).address(bound.parse().unwrap());
    assert_eq!(told(&[], "127.0.0.1:7400"), "http://127.0.0.1:7400");
    assert_eq!(told(&[], "0.0.0.0:7400"), "http://127.0.0.1:7400");
    assert_eq!(told(&[], "[::]:7400"), "http://[::1]:7400");
    assert_eq!(told(&["--public-url", "https://p.example/"], "127.0.0.1:7400"), "https://p.example");
}

#[test]
fn one_project_leaves_room_for_others() {
    let of = |arguments: &[&str]| {
        flags_of("", arguments).gateway("127.0.0.1:7400".parse().unwrap()).map_err(|failure| failure.message)
    };
    let default = crate::gateway::GatewayConfig::default();
    let config = of(&[]).unwrap();
    assert_eq!(format!("{config:?}"), format!("{default:?}"), "the flags' defaults are the gateway's own");
    assert_eq!(of(&["--max-calls", "16"]).unwrap().max_calls_per_project, 10);
    assert_eq!(of(&["--max-calls", "1"]).unwrap().max_calls_per_project, 1);
    assert!(
        of(&["--max-calls", "5", "--max-calls-per-project", "6"])
            .unwrap_err()
            .contains("more than --max-calls 5")
    );
}

#[test]
fn a_variable_that_is_set_to_nothing_is_not_set() {
    // Cargo sets this one to nothing for packages without a homepage.
    assert_eq!(std::env::var("CARGO_PKG_HOMEPAGE").as_deref(), Ok(""));
    let command = || {
        let number = clap::value_parser!(u32);
        Command::new("t").subcommand(
            Command::new("s").arg(Arg::new("n").long("n").env("CARGO_PKG_HOMEPAGE").value_parser(number)),
        )
    };
    assert!(command().try_get_matches_from(["t", "s"]).is_err(), "clap takes it for a value");
    assert!(without_empty_variables(command()).try_get_matches_from(["t", "s"]).is_ok());
}

#[test]
fn a_password_of_the_database_is_in_no_message() {
    for url in ["mysql://ada:hunter2@h/d", "postgres//ada:hunter2@h/d", "postgres://ada:hunter2@h:port/d"] {
        let flags = flags_of("", &["--database", url]);
        if let Err(failure) = flags.store.database() {
            assert!(!failure.message.contains("hunter2"), "{}", failure.message);
        }
    }
}

/// The README's table, from the flags themselves.
fn settings_table() -> String {
    let command = command();
    let mut table = "| flag | variable | default | |\n| --- | --- | --- | --- |\n".to_owned();
    for arg in command.get_arguments() {
        let name = arg.get_long().unwrap();
        let value = match (arg.get_action(), arg.get_value_names()) {
            (ArgAction::SetTrue, _) => String::new(),
            (_, Some([value])) => format!(" {value}"),
            (_, names) => panic!("--{name}: {names:?}"),
        };
        let help = arg.get_help().unwrap().to_string().replace('|', "\\|");
        let (help, own_default) = match help.split_once(" [default: ") {
            Some((help, default)) => (help.to_owned(), Some(default.trim_end_matches(']').to_owned())),
            None => (help, None),
        };
        let defaults: Vec<_> = match arg.get_action() {
            ArgAction::SetTrue => vec![],
            _ => arg
                .get_default_values()
                .iter()
                .map(|value| format!("`{}`", value.to_string_lossy()))
                .collect(),
        };
        let default = own_default.unwrap_or_else(|| defaults.join(", "));
        let variable = arg.get_env().unwrap().to_string_lossy();
        writeln!(table, "| `--{name}{value}` | `{variable}` | {default} | {help} |").unwrap();
    }
    table
}

#[test]
fn the_readme_lists_the_settings() {
    const BEGIN: &str =
        "<!-- The settings, written by a test: BLESS=1 cargo test the_readme_lists_the_settings -->\n";
    const END: &str = "<!-- The settings end here. -->\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("the README marks where the settings begin");
    let (_, after) = rest.split_once(END).expect("the README marks where the settings end");
    let expected = format!("{before}{BEGIN}{}{END}{after}", settings_table());
    if std::env::var_os("BLESS").is_some() {
        fs::write(path, expected).unwrap();
    } else {
        assert!(
            readme == expected,
            "BLESS=1 rewrites the README's table of settings; expected\n{}",
            settings_table()
        );
    }
}
