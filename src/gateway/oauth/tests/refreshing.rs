//! One connection's refreshes: what is kept, what is said, and what is recovered.

use portcullis_test_servers::oauth::{Encoding, Fault, Life, Refresh};

use super::*;
use crate::gateway::oauth::renew::Renewal;

fn gone(result: Result<Arc<Held>, RefreshError>) -> String {
    match result {
        Err(RefreshError::Gone(why)) => why,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("tokens"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_tokens_are_stored_with_their_end() {
    let bench = Bench::new().await;
    let connection = bench.connect(Some(-1)).await;
    let before = bench.held(&connection).await;
    let held = bench.renew(&connection, Need::Due).await.expect("tokens");
    assert!(bench.provider.takes(&bench.access_token(&held)));
    assert_ne!(bench.refresh_token(&held), bench.refresh_token(&before));
    let left = held.connection.expires_at.expect("an end").0 - Timestamp::now().0;
    assert!((3_500_000..=3_600_000).contains(&left), "{left}");
    assert_eq!(held.connection.status, ConnectionStatus::Active);
    assert_eq!(held.connection.last_error, None);
    // They are good: nobody refreshes them again.
    bench.renew(&connection, Need::Due).await.expect("tokens");
    assert!(bench.gateway().fresh_tokens(&held.connection).await.expect("good").is_none());
    assert_eq!(bench.provider.n_refreshes(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_refreshes_within_the_margin_and_not_before() {
    let bench = Bench::new().await;
    // The life is an hour and more, so that the margin is at least a minute.
    let connection = bench.connect(Some(55_000)).await;
    let held = bench.gateway().fresh_tokens(&connection).await.expect("tokens").expect("new ones");
    assert!(bench.provider.takes(&bench.access_token(&held)));
    let early = bench.connect(Some(100_000)).await;
    assert!(bench.gateway().fresh_tokens(&early).await.expect("good").is_none());
    assert_eq!(bench.provider.n_refreshes(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_answers_are_taken() {
    let bench = Bench::new().await;
    let connection = bench.connect(Some(-1)).await;
    let old = bench.refresh_token(&bench.held(&connection).await);
    bench.provider.behave(|behaviour| {
        (behaviour.life, behaviour.refresh) = (Life::Unsaid, Refresh::Lasting);
        behaviour.encoding = Encoding::UnmarkedForm;
    });
    let held = bench.renew(&connection, Need::Due).await.expect("tokens");
    assert_eq!(held.connection.expires_at, None, "used until it is refused");
    assert_eq!(bench.refresh_token(&held), old, "the old one stays");
    assert!(bench.gateway().fresh_tokens(&held.connection).await.expect("good").is_none());
    bench
        .provider
        .behave(|behaviour| (behaviour.life, behaviour.encoding) = (Life::Text(1800), Encoding::Form));
    let held = bench.renew(&connection, Need::Asked).await.expect("tokens");
    let left = held.connection.expires_at.expect("an end").0 - Timestamp::now().0;
    assert!((1_700_000..=1_800_000).contains(&left), "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_is_left_alone_and_the_old_token_used_while_it_lives() {
    let bench = Bench::new().await;
    let connection = bench.connect(Some(30_000)).await;
    bench.provider.behave(|behaviour| behaviour.always = Some(Fault::Status(503)));
    let old = bench.access_token(&bench.held(&connection).await);
    assert!(bench.gateway().fresh_tokens(&connection).await.expect("the old one").is_none());
    assert_eq!(bench.access_token(&bench.held(&connection).await), old);
    let asked = bench.provider.n_refreshes();
    assert_eq!(asked, 1);
    bench.expire_in(&connection, -1).await;
    // It is left alone, whoever comes.
    let refused = bench.renew(&connection, Need::Due).await.err();
    assert!(matches!(&refused, Some(RefreshError::Unavailable { retry_after: Some(_), .. })), "{refused:?}");
    assert_eq!(bench.provider.n_refreshes(), asked);
    assert_eq!(bench.held(&connection).await.connection.status, ConnectionStatus::Active);
    bench.provider.behave(|behaviour| behaviour.always = None);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let held = bench.renew(&connection, Need::Due).await.expect("tokens");
    assert_eq!((held.grant.failures, held.grant.retry_at), (0, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_that_was_withdrawn_expires_the_connection() {
    let bench = Bench::new().await;
    let connection = bench.connect(Some(-1)).await;
    bench.provider.void_everything();
    let why = gone(bench.renew(&connection, Need::Due).await);
    assert!(why.starts_with("the provider no longer accepts the refresh token (invalid_grant"), "{why}");
    let held = bench.held(&connection).await;
    assert_eq!(held.connection.status, ConnectionStatus::Expired);
    assert_eq!(held.connection.last_error.as_deref(), Some(why.as_str()));
    // Nobody asks again.
    assert_eq!(gone(bench.renew(&connection, Need::Due).await), why);
    assert_eq!(bench.provider.n_refreshes(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_new_tokens_never_loses_those_that_work() {
    let bench = Bench::new().await;
    let connection = bench.connect(Some(3_600_000)).await;
    let renewal = bench.gateway().renew_now(&connection, false).await.expect("an answer");
    assert!(matches!(renewal, Renewal::Good(_)));
    assert_eq!(bench.provider.n_refreshes(), 0, "they are good");
    bench.provider.next(Fault::Refusal(400, "invalid_grant".to_owned()));
    let renewal = bench.gateway().renew_now(&connection, true).await.expect("an answer");
    assert!(matches!(renewal, Renewal::NeedsConsent(why) if why.contains("invalid_grant")));
    let held = bench.held(&connection).await;
    assert_eq!(held.connection.status, ConnectionStatus::Active);
    assert!(bench.provider.takes(&bench.access_token(&held)));
    bench.provider.next(Fault::Status(502));
    assert!(bench.gateway().renew_now(&connection, true).await.is_err());
    let Ok(Renewal::Good(_)) = bench.gateway().renew_now(&connection, true).await else {
        panic!("no tokens")
    };
    let held = bench.held(&connection).await;
    assert!(bench.provider.takes(&bench.access_token(&held)));
    assert_eq!(held.grant.generation, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_on_the_way_is_said_to_be() {
    let bench = Bench::new().await;
    let connection = bench.connect(Some(-1)).await;
    bench.provider.next(Fault::CloseAfter);
    assert!(matches!(bench.renew(&connection, Need::Due).await, Err(RefreshError::Unavailable { .. })));
    assert!(bench.held(&connection).await.grant.refresh_sent_at.is_some());
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let why = gone(bench.renew(&connection, Need::Due).await);
    assert!(why.contains("answer to an earlier refresh was lost"), "{why}");
    assert_eq!(bench.held(&connection).await.connection.status, ConnectionStatus::Expired);
}

/// A lease as a process leaves it that is killed once its request has left.
async fn leave_in_doubt(bench: &Bench, connection: &Connection) {
    let (store, now) = (bench.store(), Timestamp::now());
    let until = now.plus(Duration::from_millis(300));
    let lease = store.take_refresh((bench.project, connection.id), 0, now, until).await.expect("asked");
    let lease = lease.expect("the lease");
    assert!(!lease.is_in_doubt);
    assert!(store.note_refresh_sent(&lease, now).await.expect("noted"));
    let other = store.take_refresh((bench.project, connection.id), 0, now, until).await.expect("asked");
    assert_eq!(other, None, "it is held");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_left_is_recovered_where_the_provider_lets_it() {
    let bench = Bench::new().await;
    bench.provider.behave(|behaviour| behaviour.refresh = Refresh::Lasting);
    let connection = bench.connect(Some(-1)).await;
    leave_in_doubt(&bench, &connection).await;
    let held = bench.renew(&connection, Need::Due).await.expect("tokens");
    assert!(bench.provider.takes(&bench.access_token(&held)));
    assert_eq!((held.grant.generation, held.grant.refresh_sent_at), (1, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_refresh_token_the_end_is_the_end() {
    let bench = Bench::new().await;
    bench.provider.behave(|behaviour| behaviour.refresh = Refresh::Never);
    let connection = bench.connect(None).await;
    let token = bench.access_token(&bench.held(&connection).await);
    // A 401 may have other reasons.
    gone(bench.renew(&connection, Need::Rejected(token)).await);
    assert_eq!(bench.held(&connection).await.connection.status, ConnectionStatus::Active);
    bench.expire_in(&connection, -1).await;
    let why = gone(bench.renew(&connection, Need::Due).await);
    assert!(why.contains("no refresh token"), "{why}");
    assert_eq!(bench.held(&connection).await.connection.status, ConnectionStatus::Expired);
    assert_eq!(bench.provider.n_refreshes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_refused_is_no_fault_of_the_consents() {
    let bench = Bench::new().await;
    let connection = bench.connect(Some(-1)).await;
    bench.provider.next(Fault::Refusal(401, "invalid_client".to_owned()));
    let refused = bench.renew(&connection, Need::Due).await.err();
    assert!(
        matches!(&refused, Some(RefreshError::Refused(why)) if why.contains("invalid_client")),
        "{refused:?}"
    );
    assert_eq!(bench.held(&connection).await.connection.status, ConnectionStatus::Active);
}
