//! Tests of the recorder with a real store.

use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::identity::ProjectId;
use crate::store::DatabaseUrl;
use crate::store::executions::{ExecutionFilter, ExecutionOutcome};
use crate::time::Timestamp;

async fn store() -> (TempDir, Store, ProjectId) {
    let folder = tempfile::tempdir().expect("a folder");
    let url = DatabaseUrl::Sqlite(folder.path().join("portcullis.db"));
    let store = Store::open(&url).await.expect("a store");
    let project = store.create_project("tests").await.expect("a project").id;
    (folder, store, project)
}

fn execution(project: ProjectId) -> Execution {
    Execution {
        id: Uuid::now_v7(),
        project,
        user: None,
        key_id: Uuid::nil(),
        agent: None,
        approval_id: None,
        connection_id: None,
        connection_slug: None,
        integration: None,
        tool: "mail__send".to_owned(),
        operation: None,
        connector_version: None,
        connector_digest: None,
        outcome: ExecutionOutcome::Ok,
        code: None,
        message: None,
        started_at: Timestamp::now(),
        duration_ms: 1,
        queue_ms: 0,
        attempts: 1,
        request_id: None,
        http: json!([]),
        logs: json!([]),
        arguments: json!({}),
    }
}

async fn n_stored(store: &Store, project: ProjectId) -> usize {
    let filter = ExecutionFilter { limit: 1000, ..ExecutionFilter::default() };
    store.executions(project, &filter).await.expect("executions").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_left_before_a_flush_is_there_after_it() {
    let (_folder, store, project) = store().await;
    let recorder = Recorder::start(store.clone(), &GatewayConfig::default());
    recorder.flush().await;
    for n_left in [1, 2, 600] {
        let n_before = n_stored(&store, project).await;
        for _ in n_before..n_left {
            recorder.record(execution(project));
        }
        recorder.flush().await;
        assert_eq!(n_stored(&store, project).await, n_left);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_record_that_cannot_be_written_keeps_back_no_other() {
    let (_folder, store, project) = store().await;
    let recorder = Recorder::start(store.clone(), &GatewayConfig::default());
    let twice = execution(project);
    recorder.record(twice.clone());
    recorder.flush().await;
    recorder.record(execution(project));
    // Its id is taken.
    recorder.record(twice);
    recorder.record(execution(project));
    recorder.flush().await;
    assert_eq!(n_stored(&store, project).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_that_is_gone_has_written_everything() {
    let (_folder, store, project) = store().await;
    let recorder = Recorder::start(store.clone(), &GatewayConfig::default());
    for _ in 0..300 {
        recorder.record(execution(project));
    }
    let mut done = recorder.n_done.clone();
    drop(recorder);
    // The writer's end closes the channel.
    while done.changed().await.is_ok() {}
    assert_eq!(n_stored(&store, project).await, 300);
}

#[tokio::test]
async fn a_full_queue_drops_and_never_waits() {
    let (_folder, store, project) = store().await;
    // On this one thread the writer has no turn until something is awaited.
    let recorder = Recorder::start(store.clone(), &GatewayConfig::default());
    for _ in 0..CAPACITY + 5 {
        recorder.record(execution(project));
    }
    assert_eq!(recorder.n_taken.load(Ordering::SeqCst), CAPACITY as u64);
}
