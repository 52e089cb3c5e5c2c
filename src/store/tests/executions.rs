//! Executions.

use serde_json::json;

use super::*;
use crate::store::executions::{Execution, ExecutionFilter, ExecutionOutcome};

on_both! {
    a_record_comes_back_as_it_was,
    a_batch_may_come_twice,
    filters_restrict_a_list,
    a_list_is_paged_by_its_last_record,
    what_is_too_old_or_too_much_is_pruned,
    what_a_deleted_project_left_is_pruned,
    records_begin_no_epoch,
    a_damaged_record_is_told,
}

/// The shortest record.
pub(super) fn execution(project: ProjectId) -> Execution {
    Execution {
        id: Uuid::now_v7(),
        project,
        user: None,
        key_id: Uuid::from_u128(7),
        agent: None,
        approval_id: None,
        connection_id: None,
        connection_slug: None,
        integration: None,
        tool: "nothing".to_owned(),
        operation: None,
        connector_version: None,
        connector_digest: None,
        outcome: ExecutionOutcome::Denied,
        code: None,
        message: None,
        started_at: Timestamp::now(),
        duration_ms: 0,
        queue_ms: 0,
        attempts: 0,
        request_id: None,
        http: json!([]),
        logs: json!([]),
        arguments: json!(null),
    }
}

/// A record with everything.
fn full(project: ProjectId) -> Execution {
    Execution {
        user: Some(user("alice")),
        agent: Some("helper".to_owned()),
        approval_id: Some(Uuid::from_u128(9)),
        connection_id: Some(Uuid::from_u128(8)),
        connection_slug: Some("support".to_owned()),
        integration: Some("github".to_owned()),
        tool: "support__list".to_owned(),
        operation: Some("list".to_owned()),
        connector_version: Some(3),
        connector_digest: Some("abc".to_owned()),
        outcome: ExecutionOutcome::TimedOut,
        code: Some("LIMIT_EXCEEDED".to_owned()),
        message: Some("it's \"late\"\n".to_owned()),
        started_at: Timestamp(5_000),
        duration_ms: 15_000,
        queue_ms: 3,
        attempts: 4,
        request_id: Some("r".to_owned()),
        http: json!([{"method": "GET", "host": "a", "ms": 1.5}]),
        logs: json!([{"level": "info", "message": "a\u{0}b"}]),
        arguments: json!({"z": 1, "a": [null, true, "é"]}),
        ..execution(project)
    }
}

async fn list(store: &Store, project: ProjectId, filter: &ExecutionFilter) -> Vec<Uuid> {
    let filter = ExecutionFilter { limit: 1_000, ..filter.clone() };
    store.executions(project, &filter).await.unwrap().iter().map(|execution| execution.id).collect()
}

async fn a_record_comes_back_as_it_was(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let (short, full) = (execution(project), full(project));
    store.insert_executions(&[]).await.unwrap();
    store.insert_executions(&[short.clone(), full.clone()]).await.unwrap();
    for expected in [&short, &full] {
        assert_eq!(store.execution(project, expected.id).await.unwrap().as_ref(), Some(expected));
    }
    let filter = ExecutionFilter { limit: 10, ..ExecutionFilter::default() };
    assert_eq!(store.executions(project, &filter).await.unwrap(), [full.clone(), short]);
    let other = store.create_project("other").await.unwrap().id;
    assert_eq!(store.execution(other, full.id).await.unwrap(), None);
    assert!(list(&store, other, &filter).await.is_empty());
}

async fn a_batch_may_come_twice(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let (a, b) = (execution(project), execution(project));
    store.insert_executions(std::slice::from_ref(&a)).await.unwrap();
    store.insert_executions(&[a.clone(), b.clone()]).await.unwrap();
    assert_eq!(list(&store, project, &ExecutionFilter::default()).await, [b.id, a.id]);
}

async fn filters_restrict_a_list(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let (nobodys, alices) = (execution(project), full(project));
    let bobs = Execution { user: Some(user("bob")), ..execution(project) };
    store.insert_executions(&[nobodys.clone(), alices.clone(), bobs.clone()]).await.unwrap();
    let all = ExecutionFilter::default();
    assert_eq!(list(&store, project, &all).await, [bobs.id, alices.id, nobodys.id]);
    let filters = [
        ExecutionFilter { user: Some(Some(user("alice"))), ..all.clone() },
        ExecutionFilter { outcome: Some(ExecutionOutcome::TimedOut), ..all.clone() },
        ExecutionFilter { integration: Some("github".to_owned()), ..all.clone() },
        ExecutionFilter { connection_id: alices.connection_id, ..all.clone() },
        ExecutionFilter { tool: Some("support__list".to_owned()), ..all.clone() },
        ExecutionFilter { code: Some("LIMIT_EXCEEDED".to_owned()), ..all.clone() },
        ExecutionFilter { until: Some(Timestamp(5_000)), ..all.clone() },
        ExecutionFilter { since: Some(Timestamp(5_000)), until: Some(Timestamp(5_000)), ..all.clone() },
        ExecutionFilter { before: Some(bobs.id), user: Some(Some(user("alice"))), ..all.clone() },
    ];
    for filter in filters {
        assert_eq!(list(&store, project, &filter).await, [alices.id], "{filter:?}");
    }
    let nobody = ExecutionFilter { user: Some(None), ..all.clone() };
    assert_eq!(list(&store, project, &nobody).await, [nobodys.id]);
    let since = ExecutionFilter { since: Some(Timestamp(5_001)), ..all.clone() };
    assert_eq!(list(&store, project, &since).await, [bobs.id, nobodys.id]);
    let until = ExecutionFilter { until: Some(Timestamp(4_999)), ..all };
    assert!(list(&store, project, &until).await.is_empty());
}

async fn a_list_is_paged_by_its_last_record(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let mut records: Vec<Execution> = (0..457).map(|_| execution(project)).collect();
    store.insert_executions(&records).await.unwrap();
    records.reverse();

    let mut pages = Vec::new();
    let mut filter = ExecutionFilter { limit: 100, ..ExecutionFilter::default() };
    loop {
        let page = store.executions(project, &filter).await.unwrap();
        let Some(last) = page.last() else { break };
        filter.before = Some(last.id);
        // What comes meanwhile is on no later page.
        store.insert_executions(&[execution(project)]).await.unwrap();
        pages.push(page);
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 100, 100, 57]);
    assert_eq!(pages.concat(), records);
}

async fn what_is_too_old_or_too_much_is_pruned(database: TestDatabase) {
    const HOUR: Duration = Duration::from_secs(3600);
    let store = database.open().await;
    let (big, small) = (project(&store).await, store.create_project("other").await.unwrap().id);
    let old = Timestamp::now().minus(2 * HOUR);
    let mut records: Vec<Execution> =
        (0..1_203).map(|_| Execution { started_at: old, ..execution(big) }).collect();
    records.extend((0..1_010).map(|_| execution(big)));
    let few = [execution(small), Execution { started_at: old, ..execution(small) }, execution(small)];
    store.insert_executions(&records).await.unwrap();
    store.insert_executions(&few).await.unwrap();

    let all = ExecutionFilter::default();
    assert_eq!(store.prune_executions(3 * HOUR, 3_000).await.unwrap(), 0);
    assert_eq!(store.prune_executions(HOUR, 3_000).await.unwrap(), 1_204);
    assert_eq!(list(&store, small, &all).await, [few[2].id, few[0].id]);
    assert_eq!(store.prune_executions(HOUR, 2).await.unwrap(), 1_008);
    let newest: Vec<Uuid> = records.iter().rev().take(2).map(|execution| execution.id).collect();
    assert_eq!(list(&store, big, &all).await, newest);
    assert_eq!(list(&store, small, &all).await.len(), 2);
    assert_eq!(store.prune_executions(HOUR, 0).await.unwrap(), 4);
}

async fn what_a_deleted_project_left_is_pruned(database: TestDatabase) {
    let store = database.open().await;
    let living = project(&store).await;
    let late = execution(ProjectId(Uuid::now_v7()));
    // It doesn't keep others from being stored.
    store.insert_executions(&[late, execution(living)]).await.unwrap();
    assert_eq!(store.prune_executions(Duration::from_secs(3600), 10).await.unwrap(), 1);
    assert_eq!(list(&store, living, &ExecutionFilter::default()).await.len(), 1);
}

async fn records_begin_no_epoch(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let epoch = store.epoch();
    store.insert_executions(&[execution(project)]).await.unwrap();
    store.prune_executions(Duration::ZERO, 0).await.unwrap();
    store.ping().await.unwrap();
    assert_eq!(store.epoch(), epoch);
}

async fn a_damaged_record_is_told(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let record = execution(project);
    store.insert_executions(std::slice::from_ref(&record)).await.unwrap();
    database.execute("UPDATE executions SET duration_ms = -1").await;
    let error = store.execution(project, record.id).await.unwrap_err().to_string();
    assert_eq!(
        error,
        format!("the store holds a damaged execution \"{}\": its duration_ms can't be read", record.id)
    );
    database.execute("UPDATE executions SET duration_ms = 1, http = '[1'").await;
    let error = store.execution(project, record.id).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}
