//! `portcullis mcp`: an MCP server on standard input and output over a folder of connectors.

use std::path::PathBuf;

use clap::{Args, value_parser};
use portcullis_runtime::{Engine, Redactor};
use tokio::runtime::Runtime;
use tokio_util::task::AbortOnDropHandle;

use super::call::{FileFlags, SETTLING, engine_config, print_failure};
use super::connection::ConnectionFlags;
use super::findings;
use super::output::Console;
use crate::config::{CacheFlags, LimitFlags, NetworkFlags};
use crate::error::{Failure, FailureKind, Status};
use crate::mcp::folder::{FolderConfig, FolderTools, NotLoaded};
use crate::mcp::{McpSettings, stdio};

const EXAMPLES: &str = "\
Each operation is a tool, {connector}__{operation}. A key given as SLUG.KEY=VALUE is that connector's alone.
The folder is watched: clients are told when its tools change.

Examples:
  portcullis mcp examples --secrets-file secrets.env
  portcullis mcp tickets --secret tickets.API_KEY=… --allow-writes";

/// Serve connectors to an MCP client that starts this program: tools on standard input and output
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Mcp {
    /// A folder of connectors, or one connector
    #[arg(value_name = "DIR", default_value = "integrations")]
    folder: PathBuf,
    /// Let operations that change something run without a person's word; clients that can ask a person are asked otherwise
    #[arg(long)]
    allow_writes: bool,
    /// Characters of text in one result; the rest can be read on with the tool read_more
    #[arg(long, value_name = "N", env = "PORTCULLIS_MCP_RESULT_CHARS", hide_env_values = true,
        default_value_t = 100_000, value_parser = value_parser!(u32).range(1_000..=10_000_000))]
    mcp_result_chars: u32,
    #[command(flatten)]
    files: FileFlags,
    #[command(flatten)]
    connection: ConnectionFlags,
    #[command(flatten)]
    network: NetworkFlags,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    cache: CacheFlags,
}

impl Mcp {
    pub(super) fn execute(&self, console: &mut Console) -> Status {
        let proxy = self.network.proxy_credentials();
        let secrets = self.connection.secrets();
        let values = secrets.iter().flatten().map(|(_, value)| value.as_str());
        let redactor = Redactor::new(values.chain(proxy));
        match self.serve(console, &redactor) {
            Ok(()) => Status::Done,
            Err(failure) => print_failure(console, &failure.redacted(&redactor), false),
        }
    }

    fn serve(&self, console: &mut Console, redactor: &Redactor) -> Result<(), Failure> {
        if !self.folder.is_dir() {
            return Err(Failure::usage(format!("there is no folder {}", self.folder.display())));
        }
        let engine = self.engine(console)?;
        let config = FolderConfig {
            folder: self.folder.clone(),
            secrets: self.connection.secrets()?,
            config: self.connection.config()?,
            allows_writes: self.allow_writes,
        };
        let (tools, problems) = FolderTools::load(engine.clone(), config);
        for problem in problems {
            tell(console, redactor, problem);
        }
        console.say(&format!("portcullis mcp: {} tools from {}", tools.n_tools(), self.folder.display()));
        let runtime = Runtime::new()
            .map_err(|error| Failure::new(FailureKind::Sandbox, format!("can't start threads: {error}")))?;
        let served = runtime.block_on(self.run(tools, redactor.clone()));
        engine.settle(SETTLING);
        // A thread may still wait for standard input, which nobody can wake it from.
        runtime.shutdown_background();
        served
    }

    async fn run(&self, tools: FolderTools, redactor: Redactor) -> Result<(), Failure> {
        let following = tools.clone().follow(move |problem| tell(&mut Console::new(), &redactor, problem));
        let following = AbortOnDropHandle::new(tokio::spawn(following));
        let max_chars = usize::try_from(self.mcp_result_chars).unwrap_or(usize::MAX);
        let served = stdio::serve(tools, McpSettings { max_chars }).await;
        drop(following);
        served.map_err(|error| Failure::new(FailureKind::Listen, format!("the MCP session failed: {error}")))
    }

    fn engine(&self, console: &mut Console) -> Result<Engine, Failure> {
        let mut config = engine_config(console, &self.files, &self.network, &self.limits, &self.cache)?;
        config.sqlite_folder = self.files.sqlite_folder(&self.folder);
        Ok(Engine::new(config))
    }
}

/// Tells of a connector that can't be served.
fn tell(console: &mut Console, redactor: &Redactor, problem: NotLoaded) {
    let failure = Failure::load(&problem.path, problem.error).redacted(redactor);
    let findings = findings::render(&failure.package, &failure.findings, console.err);
    console.say(findings.trim_end());
    console.warning(&failure.message);
}
