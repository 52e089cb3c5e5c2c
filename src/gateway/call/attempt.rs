//! A prepared call, carried out: its turn, its attempts, its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_runtime::manifest::Kind;
use portcullis_runtime::{CallError, ErrorCode, Exchange, LogLine, Outcome};
use serde_json::Value;

use super::super::approvals::approval_required;
use super::super::fairness::{Room, Stop};
use super::super::retry::{FailedAttempt, random, retry_after};
use super::prepare::{Next, PreparedCall, SecretCall};
use super::record::Ending;
use super::{Answer, ToolError, outcome};
use crate::time::Timestamp;

/// How long a call that was cancelled may take to say so. The thread that it runs on may be inside an HTTP request, which
/// isn't taken back.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What all attempts of a call left.
#[derive(Default)]
pub(super) struct Traces {
    pub(super) n_attempts: u32,
    pub(super) logs: Vec<LogLine>,
    pub(super) http: Vec<Exchange>,
}

impl Traces {
    fn extend(&mut self, logs: Vec<LogLine>, http: Vec<Exchange>) {
        self.logs.extend(logs);
        self.http.extend(http);
    }
}

impl PreparedCall {
    /// Carries the call out and leaves its record.
    pub(super) async fn carry_out(mut self) -> Answer {
        let mut traces = Traces::default();
        let ending = match &self.next {
            Next::Refuse(error) => Ending::Failed(error.clone()),
            Next::Approve(approval) => Ending::ApprovalRequired(approval.clone()),
            Next::Run(call) => {
                let call = Arc::clone(call);
                match self.run(call, &mut traces).await {
                    Ok(result) => Ending::Ok(result),
                    Err(error) => Ending::Failed(error),
                }
            }
        };
        self.leave_record(&ending, &traces).await;
        let (result, approval) = match ending {
            Ending::Ok(result) => (Ok(result), None),
            Ending::ApprovalRequired(approval) => (Ok(approval_required(&approval)), Some(approval)),
            Ending::Failed(error) => (Err(error), None),
        };
        Answer { id: self.id, result, execution: self.execution, approval, attempts: traces.n_attempts }
    }

    /// First the connection's rate limit, then room, then the connector, until it doesn't help any more.
    async fn run(&mut self, mut call: Arc<SecretCall>, traces: &mut Traces) -> Result<Value, ToolError> {
        let in_flight = metrics::gauge!("portcullis_calls_in_flight");
        let in_flight = InFlight::new(in_flight);
        let gateway = self.gateway.clone();
        let fairness = &gateway.inner.fairness;
        let waiting = Instant::now();
        if let Some((key, limit)) = &call.rate {
            let waited = fairness.rate(key.clone(), *limit, &self.stop).await;
            self.times.queued = waiting.elapsed();
            waited.map_err(|refusal| outcome::rate_limited(refusal, *limit))?;
        }
        let waiting = Instant::now();
        call = self.with_fresh_token(call).await?;
        self.times.queued += waiting.elapsed();
        // For the record, whose redactor knows what the call knew.
        self.next = Next::Run(Arc::clone(&call));
        let mut has_new_token = false;
        let mut last: Option<ToolError> = None;
        let result = loop {
            let waiting = Instant::now();
            let room = fairness.room(&self.ticket, &self.stop).await;
            self.times.queued += waiting.elapsed();
            let room = match room {
                Ok(room) => room,
                Err(refusal) => break Err(last.unwrap_or_else(|| outcome::no_room(refusal))),
            };
            let outcome = self.attempt(&call, room).await;
            self.times.sandbox += outcome.duration;
            traces.n_attempts += 1;
            let error = match outcome.result {
                Ok(result) => {
                    traces.extend(outcome.logs, outcome.http);
                    break Ok(result);
                }
                Err(error) => error,
            };
            let renewed = match has_new_token {
                false => self.after_refusal(&call, &error, &outcome.http).await,
                true => None,
            };
            traces.extend(outcome.logs, outcome.http);
            match renewed {
                Some(Ok(renewed)) => {
                    (call, has_new_token) = (renewed, true);
                    self.next = Next::Run(Arc::clone(&call));
                    continue;
                }
                Some(Err(expired)) => break Err(expired),
                None => {}
            }
            if has_new_token {
                self.note_refused_again(&error);
            }
            let (error, pause) = self.judge(error, traces);
            let Some(pause) = pause else { break Err(error) };
            metrics::counter!("portcullis_call_retries_total").increment(1);
            tokio::select! {
                biased;
                () = self.stop.token.cancelled() => break Err(error),
                () = tokio::time::sleep(pause) => last = Some(error),
            }
        };
        if let Some((key, _)) = &call.rate {
            let n_requests = u32::try_from(traces.http.len()).unwrap_or(u32::MAX);
            fairness.debit(key.clone(), n_requests.saturating_sub(1));
        }
        drop(in_flight);
        result
    }

    /// What a failed attempt means, and how long to wait before the next; none if there is none.
    fn judge(&self, error: CallError, traces: &Traces) -> (ToolError, Option<Duration>) {
        let now = Timestamp::now();
        let target = self.target.as_ref();
        let operation_type = target.map(|target| target.operation().operation_type).unwrap_or_default();
        // Of what an SQL connector sends there is no trace: it may have sent something.
        let is_traced =
            target.is_some_and(|target| matches!(target.served.connector.manifest().kind, Kind::Rest));
        let attempt = FailedAttempt {
            operation_type,
            code: error.code,
            has_sent: !is_traced || traces.http.iter().any(|exchange| exchange.sent),
            retry_after: retry_after(&error, now),
            n_retries: traces.n_attempts - 1,
            elapsed: self.times.started.elapsed(),
        };
        let pause =
            attempt.pause(random()).filter(|_| !self.is_once && !self.stop.cancellation.is_cancelled());
        let mode = self.connection().map(|connection| connection.mode);
        (outcome::tool_error(error, &attempt, mode, now), pause)
    }

    /// Calls the connector on a thread of its own, which keeps its room and its place in the project to its end.
    async fn attempt(&self, call: &Arc<SecretCall>, room: Room) -> Outcome {
        let Some(served) = self.target.as_ref().map(|target| Arc::clone(&target.served)) else {
            return crashed("there is no such tool");
        };
        let (call, held, started) = (Arc::clone(call), (Arc::clone(&self.ticket), room), Instant::now());
        let mut thread = tokio::task::spawn_blocking(move || {
            let outcome = served.connector.call(&call.call);
            drop((call, held));
            outcome
        });
        tokio::select! {
            biased;
            ended = &mut thread => match ended {
                Ok(outcome) => outcome,
                Err(error) => {
                    tracing::error!(execution = %self.execution, %error, "the thread of a call ended in a panic");
                    crashed("the call ended in a fault of the server, which its log describes")
                }
            },
            () = too_long_after(&self.stop) => {
                let error = CallError::new(ErrorCode::Cancelled, "the call was cancelled");
                Outcome { duration: started.elapsed(), ..failed(error) }
            }
        }
    }
}

async fn too_long_after(stop: &Stop) {
    stop.token.cancelled().await;
    tokio::time::sleep(LAST_WORDS).await;
}

fn crashed(message: &str) -> Outcome {
    failed(CallError::new(ErrorCode::SandboxCrashed, message))
}

/// An outcome of nothing but an error.
fn failed(error: CallError) -> Outcome {
    Outcome {
        result: Err(error),
        logs: Vec::new(),
        http: Vec::new(),
        file_references: Vec::new(),
        duration: Duration::ZERO,
    }
}

/// Counts a call that waits or runs.
struct InFlight(metrics::Gauge);

impl InFlight {
    fn new(gauge: metrics::Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
