//! `portcullis mcp`: JSON-RPC over the program's standard input and output.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::workspace::Workspace;

const PATIENCE: Duration = Duration::from_secs(30);

/// The program, with an MCP client at it.
struct Session {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
}

impl Session {
    /// Starts the program and begins.
    fn begin(here: &Workspace, arguments: &[&str], capabilities: Value) -> Self {
        let mut command = here.command(&[&["mcp"], arguments].concat());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, (sender, lines)) = (child.stdout.take().unwrap(), channel());
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Nothing but messages may stand on standard output.
                let message = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        let mut session = Self { child, stdin, lines };
        let client = json!({"name": "test", "version": "1"});
        let params =
            json!({"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": client});
        let begun = session.ask("initialize", params);
        assert_eq!(begun["result"]["serverInfo"]["name"], "portcullis", "{begun:#}");
        session.say(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        session
    }

    fn say(&mut self, message: Value) {
        writeln!(self.stdin.as_mut().unwrap(), "{message}").unwrap();
    }

    /// The next message that passes.
    #[track_caller]
    fn next(&self, what: &str, passes: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = self.lines.recv_timeout(left).unwrap_or_else(|error| panic!("{what}: {error}"));
            if passes(&message) {
                return message;
            }
        }
    }

    #[track_caller]
    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.say(json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}));
        self.next(method, |message| message["id"] == 1 && message["method"].is_null())
    }

    #[track_caller]
    fn names(&mut self) -> Vec<String> {
        let listed = self.ask("tools/list", json!({}));
        let tools = listed["result"]["tools"].as_array().unwrap_or_else(|| panic!("{listed:#}"));
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    #[track_caller]
    fn call(&mut self, name: &str, arguments: Value) -> Value {
        let answer = self.ask("tools/call", json!({"name": name, "arguments": arguments}));
        assert!(answer["result"].is_object(), "{answer:#}");
        answer["result"].clone()
    }

    /// Closes standard input, and waits for the program's end; what it said on standard error.
    fn end(mut self) -> String {
        drop(self.stdin.take());
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it doesn't end when its client goes");
            thread::sleep(Duration::from_millis(10));
        }
        assert!(self.child.wait().unwrap().success());
        let mut said = String::new();
        std::io::Read::read_to_string(&mut self.child.stderr.take().unwrap(), &mut said).unwrap();
        said
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_folder_of_connectors_is_served_with_each_its_own_secrets() {
    let here = Workspace::new();
    let own = json!({"authMethod": "api_key", "secretBindings": ["KEY"]});
    let tell = "console.log('called'); return { key: ctx.secrets.get('KEY') === 'k-one' ? 'one' : String(ctx.secrets.get('KEY')), p: ctx.params };";
    here.connector("all/one", own.clone(), tell);
    here.connector("all/two", own, tell);
    here.write("all/broken/config.json", "{");
    let secrets = ["all", "--secret", "one.KEY=k-one", "--secret", "STRAY=k-stray"];
    let mut session = Session::begin(&here, &secrets, json!({}));
    assert_eq!(session.names(), ["one__go", "two__go"]);
    let result = session.call("one__go", json!({"a": 1}));
    assert_eq!(result["structuredContent"], json!({"key": "one", "p": {"a": 1}}), "{result:#}");
    assert_eq!(result["_meta"], json!({"portcullis/untrusted": true, "portcullis/integration": "one"}));
    assert_eq!(session.call("two__go", json!({}))["structuredContent"]["key"], "undefined");
    let error = session.ask("tools/call", json!({"name": "three__go", "arguments": {}}));
    assert_eq!(error["error"]["code"], -32602, "{error:#}");
    here.connector("all/three", json!({}), "return 3;");
    session
        .next("a new connector is told", |message| message["method"] == "notifications/tools/list_changed");
    assert_eq!(session.names(), ["one__go", "three__go", "two__go"]);
    assert_eq!(session.call("three__go", json!({}))["content"][0]["text"], "3");
    let said = session.end();
    assert!(said.contains("[log] one.go: called") && said.contains("broken"), "{said}");
}

#[test]
fn writes_wait_for_a_person_unless_they_are_allowed() {
    let here = Workspace::new();
    let operations = json!([{"name": "go", "operationType": "write"}]);
    here.connector("pay", json!({"operations": operations}), "return { paid: true };");
    let mut session = Session::begin(&here, &["pay"], json!({}));
    let result = session.call("pay__go", json!({}));
    assert_eq!(result["structuredContent"]["status"], "approval_required", "{result:#}");
    session.end();
    let mut session = Session::begin(&here, &["pay", "--allow-writes"], json!({}));
    assert_eq!(session.call("pay__go", json!({}))["structuredContent"], json!({"paid": true}));
    session.end();
    let mut session = Session::begin(&here, &["pay"], json!({"elicitation": {}}));
    for (action, path, expected) in [
        ("accept", "/structuredContent/paid", json!(true)),
        ("decline", "/structuredContent/error/code", json!("APPROVAL_REJECTED")),
        ("cancel", "/structuredContent/status", json!("approval_required")),
    ] {
        let params = json!({"name": "pay__go", "arguments": {"to": "ada"}});
        session.say(json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}));
        let question = session.next("the question", |message| message["method"] == "elicitation/create");
        assert!(question["params"]["message"].as_str().unwrap().contains("ada"), "{question:#}");
        session.say(json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": action}}));
        let answer = session.next("the answer", |message| message["id"] == 1 && message["method"].is_null());
        assert_eq!(answer["result"].pointer(path), Some(&expected), "{action}: {answer:#}");
    }
    session.end();
}

#[test]
fn a_cancelled_call_is_killed_and_the_session_goes_on() {
    let here = Workspace::new();
    here.connector("spin", json!({}), "if (ctx.params.spin) for (;;) {}\nreturn 1;");
    let mut session = Session::begin(&here, &["spin", "--cpu-ms", "20000"], json!({}));
    let params = json!({"name": "spin__go", "arguments": {"spin": true}});
    session.say(json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": params}));
    thread::sleep(Duration::from_millis(300));
    session.say(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}}));
    assert_eq!(session.call("spin__go", json!({}))["content"][0]["text"], "1");
    let began = Instant::now();
    session.end();
    assert!(began.elapsed() < Duration::from_secs(10), "the cancelled call still ran at the end");
}

#[test]
fn a_folder_that_is_not_there_is_told_and_nothing_is_served() {
    let here = Workspace::new();
    here.run(&["mcp", "nowhere"]).exits(2).says("there is no folder nowhere");
}
