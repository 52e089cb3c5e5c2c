//! Log lines, metrics, and spans that a real HTTP server receives.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use super::*;

/// Where a test's log lines go.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn logged(format: LogFormat, filter: &str, what: impl FnOnce()) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let config = TelemetryConfig {
        filter: filter.to_owned(),
        format,
        otlp_endpoint: None,
        extra_roots_pem: String::new(),
    };
    let layer = log_layer(&config, false, move || writer.clone()).unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), what);
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_json_line_has_its_fields_and_those_of_its_span() {
    let line = logged(LogFormat::Json, "info", || {
        let span = tracing::info_span!("request", request_id = "r-1");
        span.in_scope(|| tracing::warn!(status = 503, "no\nroom"));
    });
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((line["level"].as_str(), line["status"].as_u64()), (Some("WARN"), Some(503)));
    assert_eq!(line["message"], "no\nroom");
    assert_eq!(line["span"]["request_id"], "r-1");
}

#[test]
fn a_pretty_line_is_one_line_and_the_filter_counts() {
    let text = logged(LogFormat::Pretty, "warn", || {
        tracing::info!("not this");
        tracing::warn!(status = 503, "this");
    });
    assert!(text.contains("WARN") && text.contains("this status=503"), "{text}");
    assert!(!text.contains("not this") && text.lines().count() == 1, "{text}");
}

#[test]
fn what_databases_say_is_logged_only_where_it_is_asked_for() {
    let say = || {
        tracing::info!(target: "sqlx::postgres::notice", "a row of somebody's");
        tracing::info!(target: "tiberius::tds", "another");
    };
    assert_eq!(logged(LogFormat::Pretty, "trace", say), "");
    let asked = logged(LogFormat::Pretty, "warn,sqlx::postgres::notice=info", say);
    assert!(asked.contains("a row of somebody's") && !asked.contains("another"), "{asked}");
}

#[test]
fn a_panic_is_logged_with_its_place() {
    // The hook is the process's: other tests' panics, if any, go through it for this moment too.
    let before = std::panic::take_hook();
    let text = logged(LogFormat::Pretty, "error", || {
        std::panic::set_hook(Box::new(log_panic));
        let _ = std::panic::catch_unwind(|| panic!("out of luck"));
    });
    std::panic::set_hook(before);
    assert!(text.contains("panicked: out of luck") && text.contains("telemetry/tests.rs"), "{text}");
}

#[test]
fn metrics_are_histograms_gauges_and_the_process() {
    let collected = Metrics::collect();
    metrics_macros();
    let text = Metrics::collect().render();
    assert!(text.contains("portcullis_test_seconds_bucket{le=\"0.00001\"} 1"), "{text}");
    assert!(text.contains("portcullis_test_seconds_bucket{le=\"60\"} 2"), "{text}");
    assert!(text.contains("portcullis_build_info{version=\""), "{text}");
    for name in ["process_start_time_seconds", "process_open_fds", "process_resident_memory_bytes"] {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name} is missing: {text}");
    }
    drop(collected);
}

fn metrics_macros() {
    ::metrics::histogram!("portcullis_test_seconds").record(0.000_005);
    ::metrics::histogram!("portcullis_test_seconds").record(30.0);
}

/// A collector: answers each request with this status, and returns the first one's head and body.
fn collector(status: &'static str) -> (Url, std::thread::JoinHandle<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let received = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
        });
        let mut body = vec![0; length.unwrap()];
        reader.read_exact(&mut body).unwrap();
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        (head, body)
    });
    (url, received)
}

fn contains(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn spans_reach_the_collector_and_log_lines_do_not() {
    let (url, received) = collector("200 OK");
    let provider = otlp::provider(&url, "").unwrap();
    let subscriber = tracing_subscriber::registry().with(span_layer(&provider));
    tracing::subscriber::with_default(subscriber, || {
        let span = tracing::info_span!(target: "portcullis::http", "request", request_id = "r-17");
        span.in_scope(|| tracing::warn!(target: "portcullis::http", "a line of the log"));
        tracing::info_span!(target: "sqlx", "foreign").in_scope(|| {});
        tracing::debug_span!(target: "portcullis::http", "detail").in_scope(|| {});
    });
    provider.shutdown().unwrap();
    let (head, body) = received.join().unwrap();
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("content-type: application/x-protobuf\r\n"), "{head}");
    for text in ["request", "request_id", "r-17", "service.name", "portcullis", env!("CARGO_PKG_VERSION")] {
        assert!(contains(&body, text), "{text} is missing");
    }
    for text in ["a line of the log", "foreign", "detail", "tests.rs"] {
        assert!(!contains(&body, text), "{text} was sent");
    }
}

#[test]
fn a_collector_that_fails_is_told_once_and_holds_nothing_up() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client =
        otlp::CollectorClient::new(&Url::parse(&format!("http://{gone}/v1/traces")).unwrap(), "").unwrap();
    let text = logged(LogFormat::Pretty, "info", || {
        for _ in 0..3 {
            let request = opentelemetry_http::Request::post(format!("http://{gone}/v1/traces"));
            client.send(request.body(opentelemetry_http::Bytes::new()).unwrap()).unwrap_err();
        }
    });
    assert_eq!(text.lines().filter(|line| line.contains("traces can't be exported")).count(), 1, "{text}");
}

#[test]
fn an_answer_that_is_no_success_is_told_with_its_status() {
    let (url, received) = collector("403 Forbidden");
    let url = url.join("/v1/traces").unwrap();
    let client = otlp::CollectorClient::new(&url, "").unwrap();
    let text = logged(LogFormat::Pretty, "info", || {
        let request = opentelemetry_http::Request::post(url.as_str());
        let answer =
            client.send(request.body(opentelemetry_http::Bytes::from_static(b"x")).unwrap()).unwrap();
        assert_eq!(answer.status().as_u16(), 403);
    });
    received.join().unwrap();
    assert!(text.contains("the collector answers 403"), "{text}");
}
