//! What the gateway costs around a call: wrk against the real server, beside the same call made without one.
//!
//! `cargo bench --bench gateway` prints the gateway's table of BENCHMARKS.md. It needs wrk (`apt-get install wrk`).
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench is read by the person who runs it"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use portcullis_runtime::{Call, Client, EgressConfig, Engine, EngineConfig, Package};
use serde_json::{Value, json};

#[path = "table.rs"]
mod table;
use table::{Table, median, timed};

/// How long wrk runs at each number of connections.
const WRK_SECONDS: &str = "8s";

fn main() {
    portcullis_runtime::init();
    let folder = tempfile::tempdir().unwrap();
    let slow_upstream = slow_upstream(Duration::from_secs(4));
    integrations(folder.path(), slow_upstream);
    let server = Server::start(folder.path());
    let mut table = Table::default();
    own_share(&mut table, &server, folder.path());
    throughput(&server, folder.path());
    beside_slow_calls(&mut table, &server);
    drop(server);
    table.finish();
}

/// A request at a time through the gateway, in turns with the same call of the same connector made in this process. What
/// lies between their medians is the gateway's: HTTP, identity, resolution, record.
fn own_share(table: &mut Table, server: &Server, folder: &Path) {
    const ROUNDS: usize = 2000;
    let engine = Engine::new(EngineConfig {
        executable: Some(env!("CARGO_BIN_EXE_portcullis").into()),
        ..EngineConfig::new(Client::new(&EgressConfig::default()).unwrap())
    });
    let package = Package::read(folder.join("integrations/echo")).unwrap();
    let connector = engine.load(&package).unwrap();
    let call = Call { operation: Some("echo".into()), arguments: json!({"n": 1}), ..Call::default() };
    let mut client = server.client();
    let (mut direct, mut gateway) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS + 100 {
        let timings = [
            timed(|| {
                connector.call(&call).result.unwrap();
            }),
            timed(|| client.run(&["echo"])),
        ];
        if round >= 100 {
            direct.push(timings[0]);
            gateway.push(timings[1]);
        }
        // Both keep processes ready, which are forked after the answer.
        std::thread::sleep(Duration::from_millis(2));
    }
    table.row("call, in this process", &mut direct, None);
    table.row("POST /api/tools/run", &mut gateway, None);
    let share = median(&gateway).saturating_sub(median(&direct));
    table.bound(
        "  … the gateway's share",
        format!("{share:?}"),
        share <= Duration::from_micros(150),
        "≤ 150 µs",
    );
}

/// Requests a second and their latencies, as wrk measures them.
fn throughput(server: &Server, folder: &Path) {
    let script = folder.join("run.lua");
    let body = body(&["echo"]).replace('\\', "\\\\").replace('\'', "\\'");
    let lua = format!(
        "wrk.method = 'POST'\nwrk.body = '{body}'\nwrk.headers['Content-Type'] = 'application/json'\n\
         wrk.headers['Authorization'] = 'Bearer {}'\n\
         response = function(status, headers, body)\n  if status ~= 200 or not body:find('echoed') then n_bad = (n_bad or 0) + 1 end\nend\n\
         done = function(summary, latency, requests)\n  io.write(string.format('%d %d %d %d\\n', \
         summary.requests * 1000000 / summary.duration, latency:percentile(50), latency:percentile(99), \
         summary.errors.status + summary.errors.timeout + summary.errors.read))\nend\n",
        server.key
    );
    fs::write(&script, lua).unwrap();
    for n_connections in ["1", "16", "64"] {
        let output = Command::new("wrk")
            .args(["-t1", "-c", n_connections, "-d", WRK_SECONDS, "-s"])
            .arg(&script)
            .arg(format!("http://{}/api/tools/run", server.address))
            .output()
            .expect("wrk must be installed: apt-get install wrk");
        let text = String::from_utf8(output.stdout).unwrap();
        let figures: Vec<u64> =
            text.lines().last().unwrap().split(' ').map(|figure| figure.parse().unwrap()).collect();
        let [a_second, p50, p99, n_errors] = figures[..] else { panic!("{text}") };
        let name = format!("wrk, {n_connections} connections");
        println!("| {name:<40} | {a_second} a second | p50 {p50} µs | p99 {p99} µs | {n_errors} errors |");
    }
}

/// Quick calls alone, and beside 500 that wait for an upstream.
fn beside_slow_calls(table: &mut Table, server: &Server) {
    const N_QUICK: usize = 600;
    let mut client = server.client();
    let mut quick = |n: usize| -> Vec<Duration> {
        (0..n)
            .map(|_| {
                std::thread::sleep(Duration::from_millis(1));
                timed(|| client.run(&["echo"]))
            })
            .collect()
    };
    let mut alone = quick(N_QUICK);
    let (started, all_sent) = mpsc::channel();
    let slow: Vec<_> = (0..10)
        .map(|_| {
            let (mut client, started) = (server.client(), started.clone());
            std::thread::spawn(move || {
                started.send(()).unwrap();
                client.run(&["slow"; 50]);
            })
        })
        .collect();
    (0..10).for_each(|_| all_sent.recv().unwrap());
    // Until all are forked and wait for the upstream; they stay there for four seconds.
    std::thread::sleep(Duration::from_millis(1800));
    let deadline = Instant::now() + Duration::from_millis(1900);
    let mut beside = Vec::new();
    while Instant::now() < deadline {
        beside.extend(quick(20));
    }
    slow.into_iter().for_each(|thread| thread.join().unwrap());
    table.row("quick call, alone", &mut alone, None);
    table.row("quick call, beside 500 slow ones", &mut beside, None);
    let p99 = |sorted: &[Duration]| sorted[sorted.len() * 99 / 100];
    let ratio = p99(&beside).as_secs_f64() / p99(&alone).as_secs_f64();
    table.bound("  … p99 against alone", format!("{ratio:.2} ×"), ratio <= 2.0, "≤ 2 ×");
}

/// `echo` answers at once; `slow` asks an upstream that takes its time.
fn integrations(folder: &Path, upstream: SocketAddr) {
    let code = |execute: &str| {
        format!("function testConnection() {{ return {{}} }}\nfunction execute(ctx) {{ {execute} }}\n")
    };
    let write = |slug: &str, operation: &str, host: &str, execute: &str| {
        let own = folder.join("integrations").join(slug);
        fs::create_dir_all(&own).unwrap();
        let manifest = json!({"title": slug, "authMethod": "none", "allowedHosts": [host],
            "operations": [{"name": operation}]});
        fs::write(own.join("config.json"), manifest.to_string()).unwrap();
        fs::write(own.join("connector.ts"), code(execute)).unwrap();
    };
    write("echo", "echo", "localhost", "return { echoed: ctx.params }");
    let url = format!("http://{upstream}/");
    write(
        "slow",
        "slow",
        url.trim_end_matches('/'),
        &format!("return {{ echoed: ctx.http.get('{url}').status }}"),
    );
}

/// Answers each request after so long.
fn slow_upstream(delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::Builder::new()
                .stack_size(64 * 1024)
                .spawn(move || {
                    let _ = stream.read(&mut [0; 4096]);
                    std::thread::sleep(delay);
                    let _ = stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
                })
                .unwrap();
        }
    });
    address
}

/// The server under test; ended when dropped.
struct Server {
    process: Child,
    address: SocketAddr,
    key: String,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["serve", "--listen", "127.0.0.1:0", "--allow-network", "127.0.0.0/8", "--log", "warn"])
            .current_dir(folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut address, mut key) = (None, None);
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        while address.is_none() || key.is_none() {
            let line = lines.next().expect("the server says where it listens").unwrap();
            let word = |prefix: &str| {
                let from = &line[line.find(prefix)?..];
                let end = from.find(|c: char| !(c.is_ascii_alphanumeric() || "_:/.".contains(c)));
                Some(from[..end.unwrap_or(from.len())].to_owned())
            };
            key = key.or_else(|| word("pc_"));
            address = address
                .or_else(|| word("http://")?.trim_start_matches("http://").split('/').next()?.parse().ok());
        }
        // Whatever else it prints is read, so that it never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        let server = Self { process, address: address.unwrap(), key: key.unwrap() };
        server.client().run(&["echo"]);
        server
    }

    fn client(&self) -> HttpClient {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        HttpClient { stream, key: self.key.clone() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The tool calls of a request, as JSON.
fn body(tools: &[&str]) -> String {
    let calls: Vec<Value> = tools
        .iter()
        .map(|tool| {
            let function = json!({"name": format!("{tool}__{tool}"), "arguments": "{\"n\": 1}"});
            json!({"id": "1", "type": "function", "function": function})
        })
        .collect();
    json!({ "tool_calls": calls }).to_string()
}

/// One kept connection.
struct HttpClient {
    stream: TcpStream,
    key: String,
}

impl HttpClient {
    /// Runs the tools in one request, all of which must succeed.
    fn run(&mut self, tools: &[&str]) {
        let body = body(tools);
        let head = format!(
            "POST /api/tools/run HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            self.key,
            body.len()
        );
        self.stream.write_all((head + &body).as_bytes()).unwrap();
        let answer = self.answer();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"errors\":[]"), "{answer}");
    }

    /// The next response, by its Content-Length.
    fn answer(&mut self) -> String {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 16 * 1024]);
        loop {
            let n = self.stream.read(&mut buffer).unwrap();
            assert!(n > 0, "the server closed the connection");
            bytes.extend_from_slice(&buffer[..n]);
            let text = String::from_utf8_lossy(&bytes);
            let Some((head, rest)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            if rest.len() >= length.expect("the answer has a Content-Length") {
                return text.into_owned();
            }
        }
    }
}
