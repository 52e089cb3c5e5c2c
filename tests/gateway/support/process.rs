//! A running server: its address and first key read from what it prints, its end by a signal to its own id.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::client::Client;
use super::place::Place;

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(60);

/// A server; dropping it kills it.
pub(crate) struct Server<'p> {
    pub(crate) place: &'p Place,
    child: Child,
    printed: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    pub(crate) address: SocketAddr,
}

impl<'p> Server<'p> {
    /// Starts it, and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(place: &'p Place, mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let printed = Arc::new(Mutex::new(String::new()));
        let (stdout, sink) = (child.stdout.take().unwrap(), Arc::clone(&printed));
        let reader = thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                *sink.lock().unwrap() += &format!("{line}\n");
            }
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self { place, child, printed, reader: Some(reader), address: nowhere };
        server.await_start();
        server
    }

    #[track_caller]
    fn await_start(&mut self) {
        let deadline = Instant::now() + START;
        loop {
            let printed = self.printed();
            if let Some(key) = key_in(&printed) {
                self.place.admin_key.get_or_init(|| key);
            }
            if let Some(address) = address_in(&printed).filter(|_| self.place.admin_key.get().is_some()) {
                self.address = address;
                if self
                    .anyone()
                    .try_send("GET", "/readyz", super::client::Body::None)
                    .is_ok_and(|ready| ready.status == 200)
                {
                    return;
                }
            }
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "the server doesn't start ({ended:?}). It printed:\n{printed}\nand logged:\n{}",
                self.logged()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it printed on its standard output until now.
    pub(crate) fn printed(&self) -> String {
        self.printed.lock().unwrap().clone()
    }

    /// What it logged until now, and servers here before it.
    pub(crate) fn logged(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.place.log()).unwrap_or_default()).into_owned()
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// A client without a key.
    pub(crate) fn anyone(&self) -> Client {
        Client::new(self.address)
    }

    /// A client with the first key.
    pub(crate) fn admin(&self) -> Client {
        self.anyone().with_key(self.place.admin_key.get().unwrap())
    }

    /// A client with a new key of a person.
    #[track_caller]
    pub(crate) fn user(&self, name: &str) -> Client {
        let made = self
            .admin()
            .post("/api/keys", json!({"role": "user", "user": name, "name": name}))
            .is(201)
            .json();
        self.anyone().with_key(made["key"].as_str().unwrap())
    }

    /// A client with a new key of an agent backend.
    #[track_caller]
    pub(crate) fn service(&self) -> Client {
        let made =
            self.admin().post("/api/keys", json!({"role": "service", "name": "agents"})).is(201).json();
        self.anyone().with_key(made["key"].as_str().unwrap())
    }

    /// Kills it.
    pub(crate) fn kill(mut self) {
        self.end(Signal::SIGKILL);
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        self.end(Signal::SIGTERM)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        self.join_reader();
        status
    }

    fn end(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        let status = self.child.wait().unwrap();
        self.join_reader();
        status
    }

    fn join_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        if thread::panicking() {
            show(&self.logged());
        }
    }
}

#[allow(clippy::print_stderr, reason = "the end of the log belongs to a failing test's output")]
fn show(log: &str) {
    let lines: Vec<&str> = log.lines().collect();
    eprintln!("the server's log ends:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
}

/// The first API key in a text.
pub(crate) fn key_in(text: &str) -> Option<String> {
    text.match_indices("pc_").find_map(|(at, _)| {
        let key: String = text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        (key.len() == 46).then_some(key)
    })
}

fn address_in(text: &str) -> Option<SocketAddr> {
    text.match_indices("http://").find_map(|(at, scheme)| {
        let address: String = text[at + scheme.len()..]
            .chars()
            .take_while(|c| c.is_ascii_digit() || ".:[]".contains(*c))
            .collect();
        address.trim_end_matches(['.', ':']).parse().ok()
    })
}
