//! Servers that are held for someone else: a developer's shell, or a test of this crate.

use std::io::{self, Write};

use anyhow::{Context, Result};

use crate::engine::Engine;
use crate::server::Server;

/// Starts servers, prints for each the `export` line that lets tests join it, and stops them when the standard input
/// ends. They also stop when the process does.
///
/// # Errors
///
/// A server that doesn't start, as [`Server::start`] says.
pub fn hold(engines: &[Engine]) -> Result<()> {
    let servers = engines.iter().map(|engine| Server::start(*engine)).collect::<Result<Vec<Server>>>()?;
    let mut output = io::stdout().lock();
    for server in &servers {
        writeln!(output, "export {}={}", server.engine().variable(), server.folder().display())
            .context("can't print where the test servers are")?;
    }
    output.flush().context("can't print where the test servers are")?;
    io::copy(&mut io::stdin().lock(), &mut io::sink()).context("can't read the standard input")?;
    Ok(())
}
