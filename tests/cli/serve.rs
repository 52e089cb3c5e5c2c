//! `portcullis serve`: what it refuses, what the first start makes and tells, and how it ends.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::workspace::Workspace;

/// A server that is running, and killed if the test fails before it ends.
struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: Option<JoinHandle<String>>,
    /// What it told until it was ready.
    welcome: String,
    /// `127.0.0.1:PORT`.
    address: String,
}

impl Server {
    fn start(here: &Workspace, arguments: &[&str]) -> Self {
        let arguments = [&["serve", "--listen", "127.0.0.1:0"], arguments].concat();
        let mut command = here.command(&arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        let mut server = Self {
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child,
            stderr: Some(stderr),
            welcome: String::new(),
            address: String::new(),
        };
        while !server.welcome.contains("The console:") {
            if server.stdout.read_line(&mut server.welcome).unwrap() == 0 {
                let (status, stderr) = server.end();
                panic!("exit status {status:?}: {stderr}");
            }
        }
        let (_, rest) = server.welcome.split_once("listening on http://").unwrap();
        server.address = rest.lines().next().unwrap().to_owned();
        server
    }

    /// Sends a GET and returns the answer, head and all.
    fn get(&self, path: &str, key: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let address = &self.address;
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits for its end: the exit status, and what was logged.
    fn end(&mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        self.stdout.read_to_string(&mut self.welcome).unwrap();
        (status.code(), self.stderr.take().unwrap().join().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn mode(here: &Workspace, name: &str) -> u32 {
    fs::metadata(here.path(name)).unwrap().permissions().mode() & 0o777
}

fn keys_in(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("pc_"))
        .collect()
}

#[test]
fn an_address_that_others_reach_is_refused() {
    let here = Workspace::new();
    here.run(&["serve", "--listen", "0.0.0.0:0"]).exits(2).says("--behind-proxy").says("--insecure-listen");
    assert!(!here.path("portcullis-data").exists());
}

#[test]
fn a_port_in_use_is_told_before_anything_is_made() {
    let here = Workspace::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = here.run(&["serve", "--listen", &address]).exits(1).says(&format!("can't listen on {address}"));
    assert!(ran.stderr.contains("another program") && ran.stdout.is_empty(), "{ran:#?}");
    assert!(!here.path("portcullis-data").exists());
}

#[test]
fn a_settings_file_is_read_by_serve_keys_and_projects() {
    let here = Workspace::new();
    here.write("portcullis.toml", "data = \"elsewhere\"\n\nmax-cals = 5\n");
    for command in [&["serve"][..], &["keys", "list"], &["projects", "list"]] {
        let ran = here.run_with_env(command, &[("PORTCULLIS_CONFIG", "portcullis.toml")]).exits(2);
        ran.says("portcullis.toml:3: there is no setting \"max-cals\"; did you mean max-calls?");
    }
    here.write("portcullis.toml", "data = \"elsewhere\"\nmax-calls = 5\n");
    here.run(&["keys", "list", "--config", "portcullis.toml"]).exits(0);
    assert!(here.path("elsewhere/portcullis.db").exists() && !here.path("portcullis-data").exists());
}

#[test]
fn a_data_folder_that_others_can_write_to_is_refused() {
    let here = Workspace::new();
    fs::create_dir(here.path("shared")).unwrap();
    fs::set_permissions(here.path("shared"), fs::Permissions::from_mode(0o777)).unwrap();
    here.run(&["serve", "--listen", "127.0.0.1:0", "--data", "shared"]).exits(1).says("chmod go-w shared");
    assert_eq!(fs::read_dir(here.path("shared")).unwrap().count(), 0);
}

#[test]
fn a_lost_master_key_is_told_and_not_replaced() {
    let here = Workspace::new();
    here.run(&["keys", "list"]).exits(0);
    let key = here.path("portcullis-data/master.key");
    fs::rename(&key, here.path("backup")).unwrap();
    here.run(&["keys", "list"]).exits(1).says("master.key is missing").says("restore it from a backup");
    assert!(!key.exists());
    fs::rename(here.path("backup"), &key).unwrap();
    here.run(&["keys", "list"]).exits(0);
}

#[test]
fn the_first_start_makes_a_key_and_the_next_one_keeps_it() {
    let here = Workspace::new();
    let mut server = Server::start(&here, &[]);
    assert_eq!(mode(&here, "portcullis-data"), 0o700);
    assert_eq!(mode(&here, "portcullis-data/portcullis.db"), 0o600);
    assert_eq!(mode(&here, "portcullis-data/master.key"), 0o600);
    assert!(here.path("integrations").is_dir());
    let welcome = server.welcome.clone();
    let key = keys_in(&welcome)[0];
    assert_eq!(key.len(), 46, "{welcome}");
    let curl = format!("curl -H \"Authorization: Bearer {key}\" http://{}/api/tools/catalog", server.address);
    assert!(welcome.contains(&curl), "{welcome}");
    assert!(server.get("/readyz", "").starts_with("HTTP/1.1 200"));
    assert!(server.get("/api/tools/catalog", key).starts_with("HTTP/1.1 200"));
    server.signal(Signal::SIGTERM);
    let (status, stderr) = server.end();
    assert_eq!(status, Some(0), "{stderr}");
    assert!(keys_in(&stderr).is_empty() && stderr.contains("shut down"), "{stderr}");

    let mut server = Server::start(&here, &["--log-format", "json"]);
    assert!(keys_in(&server.welcome).is_empty(), "{}", server.welcome);
    assert!(server.get("/api/tools/catalog", key).starts_with("HTTP/1.1 200"));
    server.signal(Signal::SIGHUP);
    server.signal(Signal::SIGINT);
    let (status, stderr) = server.end();
    assert_eq!(status, Some(0), "{stderr}");
    let is_json = |line: &str| serde_json::from_str::<serde_json::Value>(line).is_ok();
    assert!(stderr.lines().all(is_json) && stderr.contains("SIGHUP is ignored"), "{stderr}");
}

#[test]
fn a_second_signal_ends_it_though_a_call_is_under_way() {
    let here = Workspace::new();
    here.connector("integrations/slow", serde_json::json!({}), "for (;;) {}");
    let mut server = Server::start(&here, &["--cpu-ms", "60000", "--deadline-ms", "60000"]);
    let welcome = server.welcome.clone();
    let body = r#"{"tool_calls": [{"id": "1", "type": "function", "function": {"name": "slow__go", "arguments": "{}"}}]}"#;
    let mut stream = TcpStream::connect(&server.address).unwrap();
    write!(
        stream,
        "POST /api/tools/run HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        server.address,
        keys_in(&welcome)[0],
        body.len()
    )
    .unwrap();
    while !server.get("/metrics", "").contains("\nportcullis_calls_in_flight 1\n") {
        std::thread::sleep(Duration::from_millis(10));
    }
    server.signal(Signal::SIGTERM);
    while TcpStream::connect(&server.address).is_ok() {
        std::thread::sleep(Duration::from_millis(10));
    }
    server.signal(Signal::SIGTERM);
    let status = server.child.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::SIGTERM as i32), "{status:?}");
    assert!(server.end().1.contains("ending at once"));
}

#[test]
fn two_servers_never_share_a_folder() {
    let here = Workspace::new();
    let server = Server::start(&here, &[]);
    here.run(&["serve", "--listen", "127.0.0.1:0"]).exits(1).says("another `portcullis serve` is using it");
    here.run(&["keys", "list"]).exits(0);
    server.signal(Signal::SIGKILL);
    drop(server);
    drop(Server::start(&here, &[]));
}
