//! Logs, metrics and traces.

mod metrics;
mod otlp;

use std::io::IsTerminal;
use std::panic::PanicHookInfo;

use clap::ValueEnum;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};
use url::Url;

pub(crate) use metrics::Metrics;

use crate::error::{Failure, FailureKind};

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    // Clap would show documentation of these in a help text four times as long.
    #[allow(missing_docs, reason = "the flag's help says what they are")]
    Pretty,
    #[allow(missing_docs, reason = "the flag's help says what they are")]
    Json,
}

/// The operator's settings of logs and traces.
#[derive(Clone, Debug)]
pub(crate) struct TelemetryConfig {
    /// What is logged, as `EnvFilter` takes it.
    pub(crate) filter: String,
    /// How.
    pub(crate) format: LogFormat,
    /// The collector that traces go to, if any.
    pub(crate) otlp_endpoint: Option<Url>,
    /// Root certificates for an https collector, besides Mozilla's; perhaps empty.
    pub(crate) extra_roots_pem: String,
}

/// Where libraries repeat what databases or MCP's clients and tools say, which may be anybody's data: logged only if the
/// filter names them.
const OTHERS_WORDS: &[&str] = &["sqlx::postgres::notice", "tiberius", "rmcp"];

/// Logs and traces that were begun.
pub(crate) struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Begins to log to standard error, panics too, and to export traces where a collector is named.
    pub(crate) fn start(config: &TelemetryConfig) -> Result<Self, Failure> {
        let refuse = |error: String| Failure::new(FailureKind::Usage, error);
        let traces = config.otlp_endpoint.as_ref().map(|endpoint| {
            otlp::provider(endpoint, &config.extra_roots_pem)
                .map_err(|error| refuse(format!("--otlp-endpoint: {error}")))
        });
        let traces = traces.transpose()?;
        let is_coloured = std::io::stderr().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let logs = log_layer(config, is_coloured, std::io::stderr).map_err(refuse)?;
        tracing_subscriber::registry()
            .with(logs)
            .with(traces.as_ref().map(span_layer))
            .try_init()
            .map_err(|error| refuse(format!("can't begin to log: {error}")))?;
        std::panic::set_hook(Box::new(log_panic));
        Ok(Self { traces })
    }

    /// Sends the last traces, for a few seconds at most.
    pub(crate) fn shutdown(self) {
        if let Some(Err(error)) = self.traces.map(|provider| provider.shutdown()) {
            tracing::warn!(%error, "the last traces were not exported");
        }
    }
}

fn log_layer<S, W>(
    config: &TelemetryConfig,
    is_coloured: bool,
    writer: W,
) -> Result<Box<dyn Layer<S> + Send + Sync>, String>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let mut filter = EnvFilter::builder().parse(&config.filter).map_err(|error| format!("--log: {error}"))?;
    for target in OTHERS_WORDS.iter().filter(|target| !config.filter.contains(*target)) {
        let off = format!("{target}=off").parse().map_err(|error| format!("--log: {error}"))?;
        filter = filter.add_directive(off);
    }
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    Ok(match config.format {
        LogFormat::Pretty => layer.with_ansi(is_coloured).with_filter(filter).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_filter(filter).boxed(),
    })
}

/// Exports our own spans, and no log lines: what is said in a line may be longer than a trace should be.
fn span_layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let ours = Targets::new().with_target("portcullis", LevelFilter::INFO);
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("portcullis"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(tracing_subscriber::filter::filter_fn(move |metadata| {
            metadata.is_span() && ours.would_enable(metadata.target(), metadata.level())
        }))
}

/// A panic ends one task or thread; the log has it like any other error.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = panic.payload_as_str().unwrap_or("something that is no text");
    let thread = std::thread::current();
    tracing::error!(place, thread = thread.name(), "panicked: {message}");
}

#[cfg(test)]
mod tests;
