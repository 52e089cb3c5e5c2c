//! A folder of a test's own, connectors in it, and the program run there in an environment with nothing else in it.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_portcullis");

/// A folder that is gone after the test.
pub(crate) struct Workspace {
    folder: TempDir,
}

impl Workspace {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, and the folders it stands in.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// A connector whose one operation, `go`, runs this as the body of `execute(ctx)`.
    pub(crate) fn connector(&self, slug: &str, manifest: Value, execute: &str) {
        let code = format!(
            "function testConnection(ctx) {{ return {{ success: true, message: 'fine' }}; }}\nfunction execute(ctx) {{\n{execute}\n}}\n"
        );
        self.connector_with_code(slug, manifest, &code);
    }

    /// A connector with this code; `manifest` is merged over one that is valid and has the operation `go`.
    pub(crate) fn connector_with_code(&self, slug: &str, manifest: Value, code: &str) {
        let mut whole = json!({"title": "Test", "authMethod": "none", "operations": [{"name": "go"}]});
        let Value::Object(changes) = manifest else { panic!("a manifest is an object") };
        whole.as_object_mut().unwrap().extend(changes);
        self.write(&format!("{slug}/config.json"), format!("{whole:#}"));
        self.write(&format!("{slug}/connector.ts"), code);
    }

    /// The program, about to be run here with these arguments, with nothing in its environment but a home.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(self.folder.path()).env_clear().stdin(Stdio::null());
        command.env("HOME", self.path("home"));
        command
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Ran {
        self.ran(arguments, self.command(arguments).output().unwrap())
    }

    pub(crate) fn run_with_env(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        self.ran(arguments, self.command(arguments).envs(variables.iter().copied()).output().unwrap())
    }

    pub(crate) fn run_with_stdin(&self, arguments: &[&str], input: &str) -> Ran {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        self.ran(arguments, child.wait_with_output().unwrap())
    }

    fn ran<S: AsRef<OsStr>>(&self, arguments: &[S], output: Output) -> Ran {
        let folder = self.folder.path().canonicalize().unwrap();
        let text =
            |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(folder.to_str().unwrap(), "[folder]");
        Ran {
            arguments: arguments
                .iter()
                .map(|argument| argument.as_ref().to_string_lossy().into_owned())
                .collect(),
            status: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

/// How a run of the program ended, and what it said. The workspace's own path reads `[folder]`.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) arguments: Vec<String>,
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Fails with all that was said unless the program exited with this status.
    #[track_caller]
    pub(crate) fn exits(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "{self:#?}");
        self
    }

    /// Standard output, which must be one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The object that `run --json` and `test --json` print; its members are those of the contract, and no others.
    #[track_caller]
    pub(crate) fn report(&self) -> Value {
        let report = self.json();
        let object = report.as_object().unwrap();
        let known = ["success", "result", "error", "logs", "http", "fileReferences", "durationMs"];
        assert!(object.keys().all(|key| known.contains(&key.as_str())), "{report:#}");
        let success = report["success"].as_bool().unwrap();
        assert_eq!(object.contains_key("result"), success, "{report:#}");
        assert_eq!(object.contains_key("error"), !success, "{report:#}");
        assert_eq!(self.status == Some(0), success, "{self:#?}");
        assert!(report["logs"].is_array() && report["http"].is_array(), "{report:#}");
        assert!(report["durationMs"].is_u64(), "{report:#}");
        if !success {
            assert!(
                report["error"]["code"].is_string() && report["error"]["message"].is_string(),
                "{report:#}"
            );
        }
        report
    }

    #[track_caller]
    pub(crate) fn says(self, on_stderr: &str) -> Self {
        assert!(self.stderr.contains(on_stderr), "no {on_stderr:?} in {self:#?}");
        self
    }

    /// Compares all that was said, and the exit status, with tests/cases/cli/<case>/expected.txt; BLESS=1 rewrites it.
    #[track_caller]
    pub(crate) fn is_golden(&self, case: &str) {
        let arguments: Vec<_> = self.arguments.iter().map(|argument| quoted(argument)).collect();
        let found = format!(
            "$ portcullis {}\nexit status: {}\n--- stdout\n{}--- stderr\n{}",
            arguments.join(" "),
            self.status.unwrap(),
            self.stdout,
            self.stderr
        );
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/cli").join(case);
        let golden = folder.join("expected.txt");
        if std::env::var_os("BLESS").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(golden, found).unwrap();
            return;
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert!(
            found == expected,
            "{case}: expected\n{expected}\nfound\n{found}\nBLESS=1 rewrites {golden:?}"
        );
    }
}

fn quoted(argument: &str) -> String {
    let is_plain =
        !argument.is_empty() && !argument.contains(|c: char| c.is_whitespace() || "\"'*$&|<>()".contains(c));
    if is_plain { argument.to_owned() } else { format!("'{argument}'") }
}

/// The path of an example that ships with the repository.
pub(crate) fn example(slug: &str) -> String {
    format!("{}/examples/{slug}", env!("CARGO_MANIFEST_DIR"))
}
