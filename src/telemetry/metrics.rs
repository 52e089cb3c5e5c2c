//! What `/metrics` answers.

use std::fs;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use metrics::{Unit, counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// The upper bounds of histograms, in seconds: from what a cached answer takes to what a slow upstream does.
const BUCKETS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// How often what was counted is folded together, so that it doesn't pile up while nobody asks.
const UPKEEP: Duration = Duration::from_secs(5);

/// Renders what `/metrics` answers; clones are the same.
#[derive(Clone)]
pub(crate) struct Metrics {
    handle: PrometheusHandle,
    started: SystemTime,
}

impl Metrics {
    /// Begins to collect what the `metrics` macros count. There is one collection for the whole process: a second call
    /// gives the same.
    pub(crate) fn collect() -> Self {
        static COLLECTED: OnceLock<Metrics> = OnceLock::new();
        COLLECTED.get_or_init(Self::begin).clone()
    }

    fn begin() -> Self {
        let builder = PrometheusBuilder::new();
        // Fails on an empty list only.
        let builder = builder.set_buckets(BUCKETS).unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("something else collects metrics in this process; /metrics stays empty");
        }
        describe();
        gauge!("portcullis_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        Self { handle, started: SystemTime::now() }
    }

    /// Folds together what was counted, for as long as the task lives.
    pub(crate) async fn keep_up(self) {
        let mut interval = tokio::time::interval(UPKEEP);
        loop {
            interval.tick().await;
            self.handle.run_upkeep();
        }
    }

    /// All metrics in Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        self.look_at_process();
        self.handle.render()
    }

    /// The metrics that Prometheus' client libraries have of every process.
    fn look_at_process(&self) {
        let since_1970 = self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        gauge!("process_start_time_seconds").set(since_1970.as_secs_f64());
        gauge!("process_uptime_seconds").set(self.started.elapsed().unwrap_or_default().as_secs_f64());
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            gauge!("process_open_fds").set(float(open.count()));
        }
        if let Some(pages) = resident_pages() {
            gauge!("process_resident_memory_bytes").set(float(pages) * float(rustix::param::page_size()));
        }
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        counter!("process_cpu_seconds_total").absolute(u64::try_from(used.tv_sec).unwrap_or_default());
    }
}

fn describe() {
    describe_gauge!("portcullis_build_info", "The version that runs; always 1");
    describe_gauge!("process_start_time_seconds", Unit::Seconds, "When the process began, since 1970");
    describe_gauge!("process_uptime_seconds", Unit::Seconds, "How long the process has been running");
    describe_gauge!("process_open_fds", "Open file descriptors");
    describe_gauge!(
        "process_resident_memory_bytes",
        Unit::Bytes,
        "Memory in use, sandboxed calls not counted"
    );
    metrics::describe_counter!(
        "process_cpu_seconds_total",
        Unit::Seconds,
        "Processor time, sandboxed calls not counted"
    );
}

/// The second number of `/proc/self/statm`, see proc(5).
fn resident_pages() -> Option<usize> {
    fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(1)?.parse().ok()
}

/// Exact up to 2^32, and capped there: more files or pages than that no process has.
fn float(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}
