//! The servers that tests use, databases' and oidc-provider: their packages, clients' too, and `cargo xtask servers`.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use portcullis_test_servers::{Engine, Server, find_program, hold};

use crate::command::{install_debian_packages, npm_ci};

/// FreeTDS's client, which checks the tests' own SQL Server.
const FREETDS: (&[&str], &[&str]) = (&["tsql"], &["freetds-bin"]);
/// What the first start's own example is tried with.
const CURL: (&[&str], &[&str]) = (&["curl"], &["curl"]);
/// The browser that goes through login and consent, and what drives it.
const CHROMIUM: (&[&str], &[&str]) = (&["chromium", "chromedriver"], &["chromium", "chromium-driver"]);

/// Starts one server of each engine, installing what is missing. They stop when they are dropped.
pub(crate) fn start(root: &Path) -> Result<Vec<Server>> {
    need_packages(root)?;
    Engine::ALL.into_iter().map(start_one).collect()
}

/// Starts them, prints how to use them from another shell, and stops them when the standard input ends.
pub(crate) fn run(root: &Path) -> Result<()> {
    need_packages(root)?;
    eprintln!("Run these lines where you run tests. The servers stop at Ctrl-D or Ctrl-C here:");
    hold(&Engine::ALL)
}

fn start_one(engine: Engine) -> Result<Server> {
    let started = Instant::now();
    let server = Server::start(engine)?;
    let (name, port, seconds) = (engine.name(), server.port(), started.elapsed().as_secs_f64());
    println!(
        "{name} answers on 127.0.0.1:{port} after {seconds:.1} s; its log is {}",
        server.log().display()
    );
    Ok(server)
}

fn need_packages(root: &Path) -> Result<()> {
    let engines = Engine::ALL.map(|engine| (engine.programs(), engine.debian_packages()));
    for (programs, packages) in engines.into_iter().chain([FREETDS, CURL, CHROMIUM]) {
        if let Some(missing) = programs.iter().find(|name| find_program(name).is_none()) {
            install_debian_packages(root, missing, packages)?;
        }
    }
    npm_ci(root, &root.join("tests/servers/oidc"))
}
