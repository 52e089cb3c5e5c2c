//! The first start: what it makes, what it shows once, and where it listens.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::process::key_in;
use crate::support::{Place, StoreKind, on_each_store};

#[track_caller]
fn has_mode(path: &Path, mode: u32) {
    let metadata = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(metadata.permissions().mode() & 0o777, mode, "{}", path.display());
}

#[test]
fn what_it_makes_is_its_users_alone() {
    let place = Place::sqlite();
    let server = place.start();
    has_mode(&place.data(), 0o700);
    for file in Place::files_in(&place.data()) {
        has_mode(&file, 0o600);
    }
    let names: Vec<_> = Place::files_in(&place.data())
        .iter()
        .map(|file| file.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    for name in ["portcullis.db", "master.key"] {
        assert!(names.iter().any(|found| found == name), "{name} isn't among {names:?}");
    }
    drop(server);
}

on_each_store!(the_key_is_shown_once);

fn the_key_is_shown_once(place: &Place) {
    let server = place.start();
    let (printed, key) = (server.printed(), place.admin_key.get().unwrap().clone());
    assert!(printed.contains(&format!("http://{}", server.address)), "{printed}");
    server.admin().get("/api/integrations").is(200);
    assert!(server.terminate().success());
    let again = place.start();
    assert_eq!(key_in(&again.printed()), None, "{}", again.printed());
    again.admin().get("/api/integrations").is(200);
    assert!(!again.logged().contains(&key), "the key is in the log");
    for file in Place::files_in(&place.data()) {
        let bytes = fs::read(&file).unwrap();
        assert!(
            !bytes.windows(key.len()).any(|window| window == key.as_bytes()),
            "it is in {}",
            file.display()
        );
    }
}

#[test]
fn the_curl_line_works() {
    let place = Place::sqlite();
    let server = place.start();
    let printed = server.printed();
    let from = printed.find("curl ").unwrap_or_else(|| panic!("no curl line in:\n{printed}"));
    let text = &printed[from..];
    let mut end = text.find('\n').unwrap_or(text.len());
    // A line that ends with a backslash goes on in the next.
    while text[..end].trim_end().ends_with('\\') {
        end += 1 + text[end + 1..].find('\n').unwrap_or(text.len() - end - 1);
    }
    let line = &text[..end];
    let output =
        Command::new("sh").args(["-c", &format!("{line} --fail --silent --show-error")]).output().unwrap();
    assert!(output.status.success(), "{line}\n{output:?}");
    serde_json::from_slice::<serde_json::Value>(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
}

#[test]
fn it_listens_on_loopback_unless_that_is_meant() {
    let place = Place::sqlite();
    assert!(place.prints(&["serve", "--help"]).contains("127.0.0.1:7400"));
    for address in ["0.0.0.0:0", "[::]:0"] {
        let output = place.run(&["serve", "--listen", address]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("--"), "it doesn't say which flag means it: {said}");
    }
    assert!(!place.data().exists(), "a refused start makes nothing");
}

#[test]
fn flags_come_before_variables_and_these_before_the_file() {
    for (flag, variable, expected) in [
        (Some("by-flag"), Some("by-variable"), "by-flag"),
        (None, Some("by-variable"), "by-variable"),
        (None, None, "by-file"),
    ] {
        let place = Place::sqlite();
        let file = place.write("portcullis.toml", "listen = \"127.0.0.1:0\"\ndata = \"by-file\"\n");
        let mut command = place.command(&["serve", "--config", file.to_str().unwrap()]);
        command.args(flag.map(|folder| format!("--data={folder}")));
        command.envs(variable.map(|folder| ("PORTCULLIS_DATA", folder)));
        command.stderr(fs::File::create(place.log()).unwrap());
        let server = crate::support::Server::start(&place, command);
        let made: Vec<&str> = ["by-flag", "by-variable", "by-file"]
            .into_iter()
            .filter(|name| place.path(name).exists())
            .collect();
        assert_eq!(made, [expected]);
        drop(server);
    }
}

#[test]
fn an_unknown_key_in_the_file_is_named() {
    let place = Place::new(StoreKind::Sqlite);
    place.write("portcullis.toml", "listne = \"127.0.0.1:0\"\n");
    let output = place.run(&["serve", "--config", "portcullis.toml"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("listne"), "{output:?}");
}
