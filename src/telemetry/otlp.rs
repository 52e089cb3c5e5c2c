//! Traces to an OpenTelemetry collector: OTLP over HTTP, protobuf, in batches from a thread of the SDK's own.

use std::fmt;
use std::future::Future;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use opentelemetry::KeyValue;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use portcullis_runtime::egress::{self, Body, Budget, Method};
use portcullis_runtime::manifest::host::{AllowedHosts, HostPattern};
use portcullis_runtime::{Client, EgressConfig, MIB};
use url::Url;

/// Spans that wait to be sent at most; more are dropped.
const MAX_QUEUED: usize = 4096;

/// How long a batch may take to be sent.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How often, at most, the log says that exporting fails.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

/// What makes and exports spans, to this collector.
///
/// # Errors
/// The collector can't be spoken to, in words.
pub(super) fn provider(endpoint: &Url, extra_roots_pem: &str) -> Result<SdkTracerProvider, String> {
    let endpoint = traces_url(endpoint);
    let client = CollectorClient::new(&endpoint, extra_roots_pem)?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(endpoint.as_str())
        .with_timeout(TIMEOUT)
        .build()
        .map_err(|error| error.to_string())?;
    let batches = BatchConfigBuilder::default().with_max_queue_size(MAX_QUEUED).build();
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    let resource = Resource::builder()
        .with_service_name("portcullis")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(SdkTracerProvider::builder().with_resource(resource).with_span_processor(processor).build())
}

/// A collector's address with the path for traces, which OTLP says is appended to it.
fn traces_url(endpoint: &Url) -> Url {
    const PATH: &str = "/v1/traces";
    let mut url = endpoint.clone();
    let path = endpoint.path().trim_end_matches('/');
    if !path.ends_with(PATH) {
        url.set_path(&format!("{path}{PATH}"));
    }
    url
}

/// The exporter's HTTP client: egress, allowed to reach the collector alone, wherever the operator has it.
///
/// It blocks, on the SDK's thread, which has nothing else to do.
pub(super) struct CollectorClient {
    client: Client,
    allowed: AllowedHosts,
    warned_at: Mutex<Option<Instant>>,
}

impl CollectorClient {
    pub(super) fn new(endpoint: &Url, extra_roots_pem: &str) -> Result<Self, String> {
        let anywhere = [
            IpNet::from(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
            Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0).into(),
        ];
        let config = EgressConfig {
            allow_networks: anywhere.into(),
            extra_roots_pem: Some(extra_roots_pem.to_owned())
                .filter(|pem| !pem.is_empty())
                .into_iter()
                .collect(),
            ..EgressConfig::default()
        };
        let client = Client::new(&config).map_err(|error| crate::error::chain(&error))?;
        let host = endpoint.host_str().unwrap_or_default();
        let port = endpoint.port_or_known_default().unwrap_or_default();
        let scheme = if endpoint.scheme() == "http" { "http://" } else { "" };
        let entry =
            HostPattern::parse(&format!("{scheme}{host}:{port}")).map_err(|error| error.to_string())?;
        let allowed = AllowedHosts::resolve(&[entry], |_| None);
        Ok(Self { client, allowed, warned_at: Mutex::new(None) })
    }

    pub(super) fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let mut sent = egress::Request::new(Method::Post, parts.uri.to_string());
        for (name, value) in &parts.headers {
            sent = sent.header(name.as_str(), value.to_str()?);
        }
        sent.body = Body::Bytes(body.to_vec());
        let budget = Budget { deadline: Instant::now() + TIMEOUT, max_body_bytes: MIB };
        let answer = self.client.send(&sent, &self.allowed, budget, &mut |_| {});
        match &answer {
            Ok(answer) if (200..300).contains(&answer.status) => {}
            Ok(answer) => {
                self.warn(&format!("the collector answers {} {}", answer.status, answer.status_text));
            }
            Err(error) => self.warn(&crate::error::chain(error)),
        }
        let answer = answer?;
        let mut response = Response::builder().status(answer.status);
        if let Some(seconds) = answer.header("retry-after") {
            response = response.header("retry-after", seconds);
        }
        Ok(response.body(Bytes::from(answer.body))?)
    }

    /// Logs a failure unless one was logged a moment ago.
    fn warn(&self, problem: &str) {
        let mut warned_at = self.warned_at.lock().unwrap_or_else(PoisonError::into_inner);
        if warned_at.is_none_or(|at| at.elapsed() >= BETWEEN_WARNINGS) {
            *warned_at = Some(Instant::now());
            tracing::warn!("traces can't be exported (told once a minute at most): {problem}");
        }
    }
}

impl HttpClient for CollectorClient {
    // What `#[async_trait]` makes of the trait's `async fn`.
    fn send_bytes<'this, 'future>(
        &'this self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'future>>
    where
        'this: 'future,
        Self: 'future,
    {
        Box::pin(async move { self.send(request) })
    }
}

impl fmt::Debug for CollectorClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CollectorClient").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}
