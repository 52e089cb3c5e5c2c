//! The engine of Portcullis: connector packages, their manifests, the sandbox that runs them and the network they reach.
//!
//! It can be embedded without the gateway. Its processes are the embedding binary itself, exec'd again, so [`init`] must
//! be the first thing in `main`:
//!
//! ```no_run
//! use portcullis_runtime::{Call, Client, EgressConfig, Engine, EngineConfig, Package};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     portcullis_runtime::init();
//!     let egress = Client::new(&EgressConfig::default())?;
//!     let engine = Engine::new(EngineConfig::new(egress));
//!     let connector = engine.load(&Package::read("examples/hello")?)?;
//!     let arguments = serde_json::json!({"name": "Ada"});
//!     let call = Call { operation: Some("greet".into()), arguments, ..Call::default() };
//!     println!("{:?}", connector.call(&call).result?);
//!     Ok(())
//! }
//! ```

mod cache;
mod cancellation;
pub mod compile;
mod connector;
pub mod egress;
mod encoding;
mod error;
mod files;
#[doc(hidden)]
pub mod isolate;
mod json_text;
mod limits;
pub mod manifest;
mod outcome;
pub mod package;
mod ready;
mod redact;
#[doc(hidden)]
pub mod sandbox;
pub mod sql;

pub use cache::{BytecodeCache, CacheError};
pub use cancellation::Cancellation;
pub use connector::{Call, Connector, Engine, EngineConfig, LoadError};
pub use egress::{Client, EgressConfig, EgressMapping, Exchange};
pub use error::{CallError, ErrorCode};
pub use files::{FileReference, FileStore};
pub use isolate::connector_types;
pub use limits::{Exceeded, KIB, Limits, MIB};
pub use manifest::{Diagnostic, Manifest, Severity, manifest_schema};
pub use outcome::{Outcome, OutcomeReport};
pub use package::{Package, PackageError};
pub use redact::{REDACTED, Redactor};
pub use sandbox::supervisor::LogLine;
pub use sandbox::wire::LogLevel;
pub use sandbox::{SandboxError, init};
