//! What a sandboxed call costs: each figure beside what it is compared with, measured in turns in one run.
//!
//! `cargo bench --bench calls` prints the first table of BENCHMARKS.md and fails where a ratio passes its bound;
//! `cargo bench --bench calls -- http` measures one part of it (`calls`, `http`, `in_flight` or `throughput`).
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench is read by the person who runs it"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_runtime::isolate::{Image, Plain};
use portcullis_runtime::package::Package;
use portcullis_runtime::{Call, Client, Connector, EgressConfig, Engine, EngineConfig};

#[path = "table.rs"]
mod table;
use table::{Table, median, timed};

/// A part of the bench, and what measures it.
type Part = (&'static str, fn(&mut Table));
const PARTS: [Part; 4] =
    [("calls", calls), ("http", http), ("in_flight", in_flight), ("throughput", throughput)];

fn main() {
    portcullis_runtime::init();
    let mut table = Table::default();
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for (name, measure) in PARTS {
        if asked.is_empty() || asked.iter().any(|one| one == name) {
            measure(&mut table);
        }
    }
    table.finish();
}

/// Forked on demand and forked ahead, against an engine made in this process with the same bytecode.
fn calls(table: &mut Table) {
    const ROUNDS: usize = 2000;
    let source = thousand_lines();
    let on_demand = connector(&engine(0, EgressConfig::default()), &source);
    let ahead = connector(&engine(2, EgressConfig::default()), &source);
    let image = Image::clone(on_demand.image().unwrap());
    let (mut plain, mut demand, mut ready) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS + 50 {
        let timings = [
            load_time(&image),
            timed(|| echo(&on_demand)),
            // The process for the next call is forked once this one has answered; a busy gateway has other things to do
            // meanwhile, so does this bench.
            timed(|| echo(&ahead)),
        ];
        if round >= 50 {
            plain.push(timings[0]);
            demand.push(timings[1]);
            ready.push(timings[2]);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    table.row("runtime in this process, same bytecode", &mut plain, None);
    let base = median(&plain);
    table.row("call, forked on demand", &mut demand, Some((base, 1.3)));
    table.row("call, process ready", &mut ready, Some((base, 0.3)));
}

/// Making an engine and loading the image; its end, which a call leaves to the kernel, isn't counted.
fn load_time(image: &Image) -> Duration {
    let started = Instant::now();
    let plain = Plain::load(image).unwrap();
    let took = started.elapsed();
    drop(plain);
    took
}

/// A call with one loopback request, against the same request made by ureq.
fn http(table: &mut Table) {
    const ROUNDS: usize = 1000;
    let upstream = upstream(Duration::ZERO);
    let connector = connector(&engine(2, loopback()), &fetching(upstream));
    let agent = direct_agent();
    let url = format!("http://{upstream}/");
    let (mut direct, mut called) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS + 50 {
        let timings = [timed(|| fetch(&agent, &url)), timed(|| echo(&connector))];
        if round >= 50 {
            direct.push(timings[0]);
            called.push(timings[1]);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    table.row("ureq, one loopback request", &mut direct, None);
    table.row("call with the same request", &mut called, None);
    let above = median(&called).saturating_sub(median(&direct));
    table.bound("  … above ureq", format!("{above:?}"), above <= Duration::from_micros(150), "≤ 150 µs");
}

/// 500 calls at once, each waiting a second for its upstream; and what each holds.
fn in_flight(table: &mut Table) {
    const CALLS: usize = 500;
    let upstream = upstream(Duration::from_secs(1));
    let connector = Arc::new(connector(&engine(0, loopback()), &fetching(upstream)));
    echo(&connector);
    let started = Instant::now();
    let calls: Vec<_> = (0..CALLS)
        .map(|_| {
            let connector = Arc::clone(&connector);
            std::thread::Builder::new().stack_size(1024 * 1024).spawn(move || echo(&connector)).unwrap()
        })
        .collect();
    std::thread::sleep(Duration::from_millis(900));
    let private = private_kib_of_call_processes();
    for call in calls {
        call.join().unwrap();
    }
    let took = started.elapsed();
    let n_live = private.len();
    let per_call = private.iter().sum::<u64>() / n_live.max(1) as u64;
    table.bound(
        "500 calls waiting 1 s each",
        format!("{took:.2?}"),
        took < Duration::from_millis(1500),
        "< 1.5 s",
    );
    table.bound(
        "private memory per live call",
        format!("{per_call} KiB ({n_live} seen)"),
        n_live > 0 && per_call <= 400,
        "≤ 400 KiB",
    );
}

/// Echo calls a second, from as many threads as keep both cores busy.
fn throughput(table: &mut Table) {
    const SECONDS: u64 = 3;
    // A process forked ahead saves a caller time, not the machine work.
    let connector = connector(&engine(0, EgressConfig::default()), ECHO);
    let deadline = Instant::now() + Duration::from_secs(SECONDS);
    let n_calls: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut n_calls = 0;
                    while Instant::now() < deadline {
                        echo(&connector);
                        n_calls += 1;
                    }
                    n_calls
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let a_second = n_calls as u64 / SECONDS;
    table.bound("echo calls a second", a_second.to_string(), a_second >= 4000, "≥ 4000");
}

const ECHO: &str = "const connector = {
  testConnection: () => ({ success: true }),
  execute: (ctx) => ({ echo: ctx.params }),
};";

/// A connector of about a thousand lines, of the kind that people write: 36 operations of some 28 lines each, and a table.
fn thousand_lines() -> String {
    const OPERATIONS: usize = 36;
    let handlers: String =
        (0..OPERATIONS).map(|i| include_str!("operation.ts").replace("NUMBER", &i.to_string())).collect();
    let table: String = (0..OPERATIONS).map(|i| format!("  op{i}: operation{i},\n")).collect();
    let source = format!(
        "{handlers}const handlers = {{\n{table}}};
const connector = {{
  testConnection: () => ({{ success: true }}),
  execute: (ctx) => handlers.op7(ctx),
}};"
    );
    assert!((950..1150).contains(&source.lines().count()), "{} lines", source.lines().count());
    source
}

fn fetching(upstream: SocketAddr) -> String {
    format!(
        "const connector = {{ testConnection: () => true, execute: (ctx) => ctx.http.get('http://{upstream}/').status }};"
    )
}

fn engine(n_ready: usize, egress: EgressConfig) -> Engine {
    Engine::new(EngineConfig { n_ready, ..EngineConfig::new(Client::new(&egress).unwrap()) })
}

fn loopback() -> EgressConfig {
    EgressConfig { allow_networks: vec!["127.0.0.0/8".parse().unwrap()], ..EgressConfig::default() }
}

fn connector(engine: &Engine, code: &str) -> Connector {
    let manifest = r#"{"title": "Bench", "authMethod": "none", "allowedHosts": ["http://127.0.0.1:PORT"],
        "operations": [{"name": "run"}]}"#;
    let port = code.split("127.0.0.1:").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or("80");
    let manifest = manifest.replace("PORT", port);
    let files = [("config.json", manifest.as_str()), ("connector.ts", code)];
    engine.load(&Package::from_files("bench".parse().unwrap(), files).unwrap()).unwrap()
}

fn echo(connector: &Connector) {
    let arguments = serde_json::json!({"name": "Ada", "page": 3});
    let call = Call { operation: Some("run".into()), arguments, ..Call::default() };
    connector.call(&call).result.unwrap();
}

/// A ureq agent as anybody would make one; the program itself has one client, with rules.
#[expect(clippy::disallowed_methods, reason = "it is what the program's own client is compared with")]
fn direct_agent() -> ureq::Agent {
    ureq::Agent::new_with_config(ureq::Agent::config_builder().build())
}

fn fetch(agent: &ureq::Agent, url: &str) {
    agent.get(url).call().unwrap().body_mut().read_to_vec().unwrap();
}

/// A server that answers every request with a little JSON, after a delay.
fn upstream(delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = move || answer(stream, delay);
            std::thread::Builder::new().stack_size(64 * 1024).spawn(serve).unwrap();
        }
    });
    address
}

fn answer(mut stream: TcpStream, delay: Duration) {
    let _ = stream.set_nodelay(true);
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).is_ok_and(|n_read| n_read > 0) {
        std::thread::sleep(delay);
        let answer =
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"ok\":true}";
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Private memory of each call process that lives now: the great-grandchildren of this process.
fn private_kib_of_call_processes() -> Vec<u64> {
    let children = |pid: u32| -> Vec<u32> {
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
            .unwrap_or_default()
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect()
    };
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks
        .flat_map(|task| std::fs::read_to_string(task.path().join("children")))
        .flat_map(|pids| pids.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        .flat_map(children)
        .flat_map(children)
        .filter_map(|pid| {
            let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            let line = rollup.lines().find(|line| line.starts_with("Private_Dirty:"))?;
            line.split_whitespace().nth(1)?.parse().ok()
        })
        .collect()
}
