//! `portcullis run`: results, logs and errors, in words and as JSON; where parameters come from; where output goes.

use std::fs::{self, File};
use std::io::Read;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::workspace::{Workspace, example};

const LOGGER: &str = "
  console.debug('d'); console.log('l', { a: 1 }); console.info('i'); console.warn('w'); console.error('two\\nlines');
  return { z: 1, a: [true, null, 'x'], n: 1.5 };";

#[test]
fn the_result_is_on_stdout_and_logs_are_on_stderr() {
    let here = Workspace::new();
    here.connector("logs", json!({}), LOGGER);
    here.run(&["run", "logs", "go"]).exits(0).is_golden("run-logs");
}

#[test]
fn json_is_one_object_about_all_that_happened() {
    let here = Workspace::new();
    here.connector("logs", json!({}), LOGGER);
    let ran = here.run(&["run", "logs", "go", "--json"]).exits(0);
    let report = ran.report();
    assert_eq!(report["result"], json!({"z": 1, "a": [true, null, "x"], "n": 1.5}));
    let levels: Vec<&str> =
        report["logs"].as_array().unwrap().iter().map(|line| line["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["debug", "log", "info", "warn", "error"]);
    assert_eq!(report["logs"][4]["message"], "two\nlines");
    assert_eq!(report["http"], json!([]));
    assert_eq!(ran.stderr, "");
}

#[test]
fn a_thrown_error_is_told_with_its_place() {
    let here = Workspace::new();
    let code = "interface Params { a: number }\n\nfunction deep(n: number): never {\n  throw new TypeError(`no ${n}`);\n}\n\n\
                const connector: Connector = {\n  testConnection() {},\n  execute(ctx) {\n    console.log('before');\n    \
                return deep(ctx.params.a ?? 7);\n  },\n};\n";
    here.connector_with_code("thrower", json!({}), code);
    let ran = here.run(&["run", "thrower", "go"]).exits(1).says("error: no 7").says("code: PROVIDER_ERROR");
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("connector.ts:4:") && ran.stderr.contains("connector.ts:11:"), "{ran:#?}");
    let report = here.run(&["run", "thrower", "go", "--json"]).exits(1).report();
    assert_eq!(report["error"]["message"], "no 7");
    assert!(report["error"]["stack"].as_str().unwrap().contains("connector.ts:4:"), "{report:#}");
    assert_eq!(report["logs"][0]["message"], "before");
}

#[test]
fn an_unknown_operation_is_told_which_there_are() {
    let here = Workspace::new();
    here.run(&["run", &example("hello"), "gret"])
        .exits(2)
        .says("Did you mean \"greet\"?")
        .says("greet, count_words");
    let report = here.run(&["run", &example("hello"), "gret", "--json"]).exits(2).report();
    assert_eq!(report["error"]["code"], "TOOL_NOT_FOUND");
}

#[test]
fn arguments_against_the_schema_are_all_told_and_nothing_runs() {
    let here = Workspace::new();
    let wrong = ["--params", "{\"name\": 7, \"langage\": \"en\"}"];
    let ran = here.run(&[&["run", &example("hello"), "greet"] as &[&str], &wrong].concat()).exits(2);
    assert_eq!(ran.stdout, "");
    let stderr = &ran.stderr;
    assert!(
        stderr.starts_with("error: the arguments don't fit the operation's parameters\n  /name: "),
        "{stderr}"
    );
    assert!(stderr.contains("\n  /langage: ") && stderr.contains("  code: INVALID_ARGUMENTS"), "{stderr}");
    let report = here
        .run(&[&["run", &example("hello"), "greet", "--json"] as &[&str], &wrong].concat())
        .exits(2)
        .report();
    assert_eq!(report["error"]["details"]["violations"].as_array().unwrap().len(), 2);
    let list = here.run(&["run", &example("hello"), "greet", "--params", "[1]", "--json"]).exits(2).report();
    assert_eq!(list["error"]["code"], "INVALID_ARGUMENTS");
}

#[test]
fn params_come_from_the_command_line_a_file_or_stdin() {
    let here = Workspace::new();
    here.connector("echo", json!({}), "return ctx.params;");
    let expected = json!({"a": [1, "ü"]});
    here.write("params.json", "\u{feff}{\"a\": [1, \"ü\"]}\r\n");
    let ran = here.run(&["run", "echo", "go", "--params", "{\"a\": [1, \"ü\"]}"]).exits(0);
    assert_eq!(ran.json(), expected);
    assert_eq!(here.run(&["run", "echo", "go", "--params", "@params.json"]).exits(0).json(), expected);
    let ran = here.run_with_stdin(&["run", "echo", "go", "--params", "@-"], "{\"a\": [1, \"ü\"]}").exits(0);
    assert_eq!(ran.json(), expected);
    assert_eq!(here.run(&["run", "echo", "go"]).exits(0).json(), json!({}));
}

#[test]
fn params_that_are_no_json_show_where() {
    let here = Workspace::new();
    here.connector("echo", json!({}), "return ctx.params;");
    here.write("params.json", "{\n  \"limit\": 10,\n}\n");
    let shown = [
        ("params-bad-json", "{\"limit\": ten}"),
        ("params-bad-file", "@params.json"),
        ("params-missing-file", "@missing.json"),
        ("params-a-file-without-at", "params.json"),
        ("params-empty", ""),
    ];
    for (case, params) in shown {
        here.run(&["run", "echo", "go", "--params", params]).exits(2).is_golden(case);
        let report = here.run(&["run", "echo", "go", "--json", "--params", params]).exits(2).report();
        let code = if case == "params-missing-file" { "INVALID_USAGE" } else { "INVALID_ARGUMENTS" };
        assert_eq!(report["error"]["code"], code, "{case}");
    }
    let ran = here.run_with_stdin(&["run", "echo", "go", "--params", "@-"], "nope").exits(2);
    ran.says("standard input (--params @-) is not JSON: ");
}

#[test]
fn an_invalid_package_is_told_in_full() {
    let here = Workspace::new();
    here.write("broken/config.json", "{\n  \"title\": 1,\n  \"authMethd\": \"none\"\n}\n");
    here.write("broken/connector.ts", "const connector = {\n  execute( {}\n};\n");
    here.run(&["run", "broken", "go"]).exits(2).is_golden("run-invalid-package");
    let report = here.run(&["run", "broken", "go", "--json"]).exits(2).report();
    assert_eq!(report["error"]["code"], "INVALID_PACKAGE");
    let diagnostics = report["error"]["details"]["diagnostics"].as_array().unwrap();
    assert!(
        diagnostics.iter().any(|found| found["file"] == "connector.ts" && found["line"] == 3),
        "{report:#}"
    );
    assert!(diagnostics.iter().any(|found| found["pointer"] == "/title" && found["line"] == 2), "{report:#}");
}

#[test]
fn a_folder_and_its_zip_run_alike() {
    let here = Workspace::new();
    here.connector("echo", json!({}), "return ctx.operation;");
    here.run(&["pack", "echo"]).exits(0);
    assert_eq!(here.run(&["run", "echo.zip", "go"]).exits(0).json(), json!("go"));
    assert_eq!(here.run(&["run", "./echo/", "go"]).exits(0).json(), json!("go"));
}

#[test]
fn files_are_stored_where_the_flag_says() {
    let here = Workspace::new();
    let store = "return ctx.files ? ctx.files.store('hi', { encoding: 'utf-8', contentType: 'text/plain', fileName: 'a.txt' }) : null;";
    here.connector("files", json!({}), store);
    assert_eq!(here.run(&["run", "files", "go"]).exits(0).json(), Value::Null);
    let ran = here.run(&["run", "files", "go", "--files", "stored/here", "--json"]).exits(0);
    let report = ran.report();
    assert_eq!(report["fileReferences"][0]["fileName"], "a.txt");
    assert_eq!(report["fileReferences"][0], report["result"]);
    let id = report["result"]["fileId"].as_str().unwrap();
    assert_eq!(fs::read_to_string(here.path(&format!("stored/here/{id}/a.txt"))).unwrap(), "hi");
    let by_env = here.run_with_env(&["run", "files", "go"], &[("PORTCULLIS_FILES", "elsewhere")]).exits(0);
    by_env.says("stored a.txt (2 bytes): file://[folder]/elsewhere/");
}

#[test]
fn what_a_connector_says_does_nothing_to_the_terminal() {
    let here = Workspace::new();
    let hostile = "console.log('\\x1b]0;title\\x07 \\x9b2J \\u202e\\nerror: fake'); \
                   if (ctx.params.fail) throw new Error('\\x1b[2J\\nerror: fake'); return '\\x1b[31m\\x9b2J';";
    here.connector("hostile", json!({}), hostile);
    for arguments in
        [&["run", "hostile", "go"] as &[&str], &["run", "hostile", "go", "--params", "{\"fail\": true}"]]
    {
        let ran = here.run(arguments);
        for text in [&ran.stdout, &ran.stderr] {
            assert!(text.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{ran:#?}");
            assert!(!text.contains("\nerror: fake"), "{ran:#?}");
        }
    }
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let here = Workspace::new();
    here.connector("big", json!({}), "return 'x'.repeat(1000000);");
    for arguments in
        [&["run", "big", "go"] as &[&str], &["types"], &["schema"], &["completions", "zsh"], &["--help"]]
    {
        let mut child =
            here.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn output_that_can_not_be_written_is_a_failure() {
    let here = Workspace::new();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = here.command(&["types"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .contains("error: can't write to standard output: No space left")
    );
}

#[test]
fn compiled_code_is_kept_in_a_private_cache() {
    let here = Workspace::new();
    here.connector("echo", json!({}), "return 1;");
    let entries = |folder: &str| fs::read_dir(here.path(folder)).map_or(0, Iterator::count);
    here.run(&["run", "echo", "go", "--no-cache"]).exits(0);
    assert_eq!(entries("home"), 0);
    here.run(&["run", "echo", "go"]).exits(0);
    assert_eq!(entries("home/.cache/portcullis/bytecode"), 2, "a key and one entry");
    here.run_with_env(&["run", "echo", "go"], &[("XDG_CACHE_HOME", here.path("xdg").to_str().unwrap())])
        .exits(0);
    assert_eq!(entries("xdg/portcullis/bytecode"), 2);
    here.run(&["run", "echo", "go", "--cache-dir", "mine"]).exits(0);
    assert_eq!(entries("mine/bytecode"), 2);
    here.run_with_env(&["run", "echo", "go"], &[("PORTCULLIS_CACHE_DIR", "by-env")]).exits(0);
    assert_eq!(entries("by-env/bytecode"), 2);
}

#[test]
fn a_cache_that_can_not_be_used_is_a_warning() {
    let here = Workspace::new();
    here.connector("echo", json!({}), "return 1;");
    here.write("file", "");
    let ran = here.run(&["run", "echo", "go", "--cache-dir", "file", "--json"]).exits(0);
    assert_eq!(ran.report()["result"], 1);
    ran.says("warning: the bytecode cache ").says("--no-cache");
}

#[test]
fn an_sql_connector_without_its_database_says_where_that_should_be() {
    let here = Workspace::new();
    here.run(&["new", "db", "--type", "sql"]).exits(0);
    here.run(&["run", "db", "list_customers"]).exits(1).says("db.db");
    here.run(&["test", "db", "--json"]).exits(1).report();
}
