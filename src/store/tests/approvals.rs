//! Approvals: asked once, taken once, ended by whoever took them, and told.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::identity::Role;
use crate::store::approvals::{
    Approval, ApprovalField, ApprovalFilter, ApprovalStatus, Asked, AskedConnection, Asker, Decision, End,
};
use crate::store::webhooks::Webhook;

on_both! {
    what_is_asked_comes_back,
    the_same_call_waits_once,
    only_so_many_wait,
    one_of_a_thousand_takes_it,
    what_is_given_back_waits_again,
    who_holds_it_ends_it,
    nothing_comes_of_what_was_rejected,
    what_lapses_is_told_at_once_and_swept_later,
    approvals_are_sealed_under_the_key_in_force,
    a_webhook_hears_of_its_project_alone,
    old_approvals_are_pruned,
}

const DAY: Duration = Duration::from_secs(24 * 3600);

fn approval(project: ProjectId) -> Approval {
    let now = Timestamp::now();
    Approval {
        project,
        id: Uuid::now_v7(),
        status: ApprovalStatus::Pending,
        asker: Asker {
            user: Some(user("alice")),
            key: Uuid::from_u128(7),
            role: Role::Service,
            agent: Some("helper".to_owned()),
        },
        integration: "github".to_owned(),
        operation: "close".to_owned(),
        operation_type: "write".to_owned(),
        connection: Some(AskedConnection {
            id: Uuid::from_u128(8),
            slug: "support".to_owned(),
            account: Some("alice@example.com".to_owned()),
        }),
        connector_version: 3,
        connector_digest: "abc".to_owned(),
        hash: "def".to_owned(),
        arguments: json!({"z": "a\u{0}b", "a": [1.5, null]}),
        created_at: now,
        expires_at: now.plus(DAY),
        decision: None,
        ended_at: None,
        execution: None,
        code: None,
    }
}

/// An approval without what is optional.
fn bare(project: ProjectId) -> Approval {
    let asker = Asker { user: None, agent: None, ..approval(project).asker };
    Approval { asker, connection: None, ..approval(project) }
}

async fn ask(store: &Store, approval: &Approval) -> Asked {
    store.ask(approval, &approval.hash, &sealed("k", b"arguments"), 10).await.unwrap()
}

async fn ask_new(store: &Store, approval: &Approval) {
    let asked = ask(store, approval).await;
    assert!(matches!(asked, Asked::New), "{asked:?}");
}

fn decision() -> Decision {
    let reason = Some("a\u{0}b".to_owned());
    Decision { at: Timestamp::now(), user: Some(user("bob")), key: Uuid::from_u128(9), reason }
}

async fn take(store: &Store, approval: &Approval, holder: Uuid) -> Option<Approval> {
    let until = Timestamp::now().plus(DAY);
    store.take_approval((approval.project, approval.id), holder, &decision(), until).await.unwrap()
}

fn end(status: ApprovalStatus) -> End {
    let (execution, code) = (Some(Uuid::from_u128(10)), Some("PROVIDER_ERROR".to_owned()));
    End { status, execution, code, result: Some(sealed("k", b"result")) }
}

async fn now_of(store: &Store, approval: &Approval) -> Approval {
    store.approval(approval.project, approval.id, Timestamp::now()).await.unwrap().unwrap()
}

async fn value(store: &Store, approval: &Approval, field: ApprovalField) -> Option<Vec<u8>> {
    let sealed = store.approval_value(approval.project, approval.id, field).await.unwrap();
    sealed.map(|sealed| sealed.ciphertext)
}

async fn what_is_asked_comes_back(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let other = store.create_project("other").await.unwrap().id;
    let (full, bare) = (approval(project), Approval { hash: "other".to_owned(), ..bare(project) });
    ask_new(&store, &full).await;
    ask_new(&store, &bare).await;
    assert_eq!(now_of(&store, &full).await, full);
    assert_eq!(now_of(&store, &bare).await, bare);
    assert_eq!(store.approval(other, full.id, Timestamp::now()).await.unwrap(), None);
    assert_eq!(value(&store, &full, ApprovalField::Arguments).await.as_deref(), Some(&b"arguments"[..]));
    assert_eq!(value(&store, &full, ApprovalField::Result).await, None);
    let listed = async |filter: ApprovalFilter| {
        let filter = ApprovalFilter { limit: 50, ..filter };
        let found = store.approvals(project, &filter, Timestamp::now()).await.unwrap();
        found.iter().map(|approval| approval.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(ApprovalFilter::default()).await, [bare.id, full.id]);
    let alice = ApprovalFilter { user: Some(Some(user("alice"))), ..ApprovalFilter::default() };
    assert_eq!(listed(alice).await, [full.id]);
    let nobody = ApprovalFilter { user: Some(None), ..ApprovalFilter::default() };
    assert_eq!(listed(nobody).await, [bare.id]);
    let agent = ApprovalFilter { agent: Some("helper".to_owned()), ..ApprovalFilter::default() };
    assert_eq!(listed(agent).await, [full.id]);
    let key = ApprovalFilter { key: Some(Uuid::nil()), ..ApprovalFilter::default() };
    assert!(listed(key).await.is_empty());
    let older = ApprovalFilter { before: Some(bare.id), ..ApprovalFilter::default() };
    assert_eq!(listed(older).await, [full.id]);
    // All of it goes with the project.
    assert!(store.delete_project(project).await.unwrap());
    assert_eq!(store.approval(project, full.id, Timestamp::now()).await.unwrap(), None);
    assert_eq!(value(&store, &full, ApprovalField::Arguments).await, None);
}

async fn the_same_call_waits_once(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let first = approval(project);
    ask_new(&store, &first).await;
    for _ in 0..2 {
        match ask(&store, &approval(project)).await {
            Asked::Waiting(waiting) => assert_eq!(*waiting, first),
            other => panic!("{other:?}"),
        }
    }
    let elsewhere = store.create_project("other").await.unwrap().id;
    ask_new(&store, &approval(elsewhere)).await;
    // Asked by many at once, it waits once all the same.
    let store = Arc::new(store);
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let (store, call) =
                (Arc::clone(&store), Approval { hash: "new".to_owned(), ..approval(project) });
            tokio::spawn(async move { matches!(ask(&store, &call).await, Asked::New) })
        })
        .collect();
    let mut n_new = 0;
    for task in tasks {
        n_new += usize::from(task.await.unwrap());
    }
    assert_eq!(n_new, 1);
    // One that has expired is none.
    database.execute("UPDATE approvals SET expires_at = 5").await;
    ask_new(&store, &approval(project)).await;
    let expired = now_of(&store, &first).await;
    assert_eq!((expired.status, expired.ended_at), (ApprovalStatus::Expired, Some(Timestamp(5))));
    assert_eq!(value(&store, &first, ApprovalField::Arguments).await, None);
}

async fn only_so_many_wait(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let call = |n: usize| Approval { hash: n.to_string(), ..approval(project) };
    for n in 0..10 {
        ask_new(&store, &call(n)).await;
    }
    assert!(matches!(ask(&store, &call(10)).await, Asked::TooMany));
    assert!(matches!(ask(&store, &call(3)).await, Asked::Waiting(_)));
}

async fn one_of_a_thousand_takes_it(database: TestDatabase) {
    let store = Arc::new(database.open().await);
    let project = project(&store).await;
    let call = Arc::new(approval(project));
    ask_new(&store, &call).await;
    let tasks: Vec<_> = (0..1000)
        .map(|_| {
            let (store, call) = (Arc::clone(&store), Arc::clone(&call));
            tokio::spawn(async move { take(&store, &call, Uuid::now_v7()).await })
        })
        .collect();
    let mut taken = Vec::new();
    for task in tasks {
        taken.extend(task.await.unwrap());
    }
    let [taken] = taken.as_slice() else { panic!("{} took it", taken.len()) };
    assert_eq!(taken.status, ApprovalStatus::Running);
    let decided = taken.decision.as_ref().unwrap();
    assert_eq!((decided.user.as_ref(), decided.key), (Some(&user("bob")), Uuid::from_u128(9)));
    assert_eq!(decided.reason.as_deref(), Some("a\u{fffd}b"));
    assert_eq!(now_of(&store, &call).await, *taken);
    assert_eq!(store.reject_approval(project, call.id, &decision()).await.unwrap(), None);
}

async fn what_is_given_back_waits_again(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let (call, holder) = (approval(project), Uuid::now_v7());
    ask_new(&store, &call).await;
    take(&store, &call, holder).await.unwrap();
    assert!(!store.give_back_approval(project, call.id, Uuid::now_v7()).await.unwrap());
    assert!(store.give_back_approval(project, call.id, holder).await.unwrap());
    assert_eq!(now_of(&store, &call).await, call);
    // Not while the same call waits anew.
    take(&store, &call, holder).await.unwrap();
    ask_new(&store, &approval(project)).await;
    assert!(!store.give_back_approval(project, call.id, holder).await.unwrap());
    assert_eq!(now_of(&store, &call).await.status, ApprovalStatus::Running);
}

async fn who_holds_it_ends_it(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let (call, holder) = (approval(project), Uuid::now_v7());
    ask_new(&store, &call).await;
    let done = end(ApprovalStatus::Done);
    assert_eq!(store.end_approval(project, call.id, holder, &done).await.unwrap(), None);
    take(&store, &call, holder).await.unwrap();
    assert_eq!(store.end_approval(project, call.id, Uuid::now_v7(), &done).await.unwrap(), None);
    let ended = store.end_approval(project, call.id, holder, &done).await.unwrap().unwrap();
    assert_eq!((ended.status, ended.execution), (ApprovalStatus::Done, Some(Uuid::from_u128(10))));
    assert_eq!(ended.code.as_deref(), Some("PROVIDER_ERROR"));
    assert_eq!(now_of(&store, &call).await, ended);
    assert_eq!(value(&store, &call, ApprovalField::Arguments).await, None);
    assert_eq!(value(&store, &call, ApprovalField::Result).await.as_deref(), Some(&b"result"[..]));
    assert_eq!(store.end_approval(project, call.id, holder, &done).await.unwrap(), None, "only once");
    assert!(take(&store, &call, holder).await.is_none());
}

async fn nothing_comes_of_what_was_rejected(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let call = approval(project);
    ask_new(&store, &call).await;
    let rejected = store.reject_approval(project, call.id, &decision()).await.unwrap().unwrap();
    assert_eq!(rejected.status, ApprovalStatus::Rejected);
    assert_eq!(now_of(&store, &call).await, rejected);
    assert_eq!(value(&store, &call, ApprovalField::Arguments).await, None);
    assert!(take(&store, &call, Uuid::now_v7()).await.is_none());
    assert_eq!(store.reject_approval(project, call.id, &decision()).await.unwrap(), None);
}

async fn what_lapses_is_told_at_once_and_swept_later(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let call = |hash: &str| Approval { hash: hash.to_owned(), ..approval(project) };
    let (late, cut_off, running, waiting) = (call("late"), call("cut off"), call("running"), call("waiting"));
    let holder = Uuid::now_v7();
    for one in [&late, &cut_off, &running, &waiting] {
        ask_new(&store, one).await;
    }
    take(&store, &cut_off, holder).await.unwrap();
    take(&store, &running, holder).await.unwrap();
    database.execute(&format!("UPDATE approvals SET expires_at = 5 WHERE id = '{}'", late.id)).await;
    database.execute(&format!("UPDATE approvals SET running_until = 5 WHERE id = '{}'", cut_off.id)).await;
    let statuses = async || {
        let mut statuses = Vec::new();
        for one in [&late, &cut_off, &running, &waiting] {
            statuses.push(now_of(&store, one).await.status);
        }
        statuses
    };
    use ApprovalStatus::{Done, Expired, Pending, Running, Unknown};
    let expected = [Expired, Unknown, Running, Pending];
    for n_swept in [1, 0] {
        assert_eq!(statuses().await, expected);
        for (status, one) in expected.into_iter().zip([&late, &cut_off, &running, &waiting]) {
            let filter = ApprovalFilter { status: Some(status), limit: 50, ..ApprovalFilter::default() };
            let found = store.approvals(project, &filter, Timestamp::now()).await.unwrap();
            assert_eq!(found.iter().map(|found| found.id).collect::<Vec<_>>(), [one.id]);
        }
        assert!(take(&store, &late, holder).await.is_none());
        let lapsed = store.sweep_approvals(Timestamp::now(), false).await.unwrap();
        assert_eq!((lapsed.n_expired, lapsed.n_unknown), (n_swept, n_swept));
    }
    assert_eq!(value(&store, &late, ApprovalField::Arguments).await, None);
    // Whoever ran it all the same knows better.
    store.renew_approval(project, cut_off.id, holder, Timestamp(5)).await.unwrap();
    assert_eq!(now_of(&store, &cut_off).await.status, Unknown);
    let known = store.end_approval(project, cut_off.id, holder, &end(Done)).await.unwrap().unwrap();
    assert_eq!(known.status, Done);
    // A process that is the only one knows that nothing runs.
    let lapsed = store.sweep_approvals(Timestamp::now(), true).await.unwrap();
    assert_eq!((lapsed.n_expired, lapsed.n_unknown), (0, 1));
    assert_eq!(statuses().await, [Expired, Done, Unknown, Pending]);
}

async fn approvals_are_sealed_under_the_key_in_force(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    store.set_active_master_key("k").await.unwrap();
    let (call, holder) = (approval(project), Uuid::now_v7());
    ask_new(&store, &call).await;
    let webhook =
        Webhook { url: "https://a.com/".to_owned(), secret: sealed("k", b"s"), created_at: Timestamp(1) };
    store.set_webhook(project, Some(&webhook)).await.unwrap();
    take(&store, &call, holder).await.unwrap();
    store.set_active_master_key("k2").await.unwrap();
    let other = Approval { hash: "other".to_owned(), ..approval(project) };
    let refused = [
        store.ask(&other, "other", &sealed("k", b"x"), 10).await.map(drop),
        store.end_approval(project, call.id, holder, &end(ApprovalStatus::Done)).await.map(drop),
        store.set_webhook(project, Some(&webhook)).await,
    ];
    for refused in refused {
        assert!(matches!(refused, Err(StoreError::KeyRotated)), "{refused:?}");
    }
    assert_eq!(now_of(&store, &call).await.status, ApprovalStatus::Running);
    let rows = store.sealed_under_other_keys("k2", 10).await.unwrap();
    let mut kinds: Vec<&str> = rows.iter().map(|row| row.kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["approval", "webhook"]);
    for row in &rows {
        assert!(store.reseal(row, &sealed("k2", b"anew")).await.unwrap());
        assert!(!store.reseal(row, &sealed("k2", b"anew")).await.unwrap());
    }
    assert!(store.sealed_under_other_keys("k2", 10).await.unwrap().is_empty());
    assert_eq!(value(&store, &call, ApprovalField::Arguments).await.as_deref(), Some(&b"anew"[..]));
    assert_eq!(store.webhook(project).await.unwrap().unwrap().secret, sealed("k2", b"anew"));
}

async fn a_webhook_hears_of_its_project_alone(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let other = store.create_project("other").await.unwrap().id;
    let webhook =
        Webhook { url: "https://a.com/".to_owned(), secret: sealed("k", b"s"), created_at: Timestamp(1) };
    store.set_webhook(project, Some(&webhook)).await.unwrap();
    assert_eq!(store.webhook(project).await.unwrap(), Some(webhook));
    assert_eq!(store.webhook(other).await.unwrap(), None);
    let (heard, unheard) = (approval(project), approval(other));
    for call in [&heard, &unheard] {
        ask_new(&store, call).await;
        store.reject_approval(call.project, call.id, &decision()).await.unwrap().unwrap();
    }
    let now = Timestamp::now();
    let taken = store.take_deliveries(now, DAY, 10).await.unwrap();
    let told: Vec<Value> = taken.iter().map(|one| serde_json::from_str(&one.payload).unwrap()).collect();
    let said: Vec<_> = told.iter().map(|one| (one["type"].clone(), one["data"]["status"].clone())).collect();
    let expected = [("approval.created", "PENDING"), ("approval.decided", "REJECTED")];
    assert_eq!(said, expected.map(|(kind, status)| (json!(kind), json!(status))));
    assert!(told.iter().all(|one| one["data"]["id"] == json!(heard.id)));
    assert!(store.take_deliveries(now, DAY, 10).await.unwrap().is_empty(), "they are one process's");
    store.delete_delivery(&taken[0]).await.unwrap();
    store.postpone_delivery(&taken[1], now, "no\u{0}").await.unwrap();
    let again = store.take_deliveries(now, DAY, 10).await.unwrap();
    assert_eq!((again.len(), again[0].id, again[0].attempts), (1, taken[1].id, 1));
    store.postpone_delivery(&taken[1], now, "no").await.unwrap();
    store.set_webhook(project, None).await.unwrap();
    assert!(store.take_deliveries(now, DAY, 10).await.unwrap().is_empty());
}

async fn old_approvals_are_pruned(database: TestDatabase) {
    let store = database.open().await;
    let project = project(&store).await;
    let (old, waiting) = (approval(project), Approval { hash: "waiting".to_owned(), ..approval(project) });
    ask_new(&store, &old).await;
    ask_new(&store, &waiting).await;
    store.reject_approval(project, old.id, &decision()).await.unwrap().unwrap();
    assert_eq!(store.prune_approvals(Timestamp(5)).await.unwrap(), 0);
    assert_eq!(store.prune_approvals(Timestamp::now().plus(DAY)).await.unwrap(), 1);
    assert_eq!(store.approval(project, old.id, Timestamp::now()).await.unwrap(), None);
    assert_eq!(now_of(&store, &waiting).await, waiting);
}
