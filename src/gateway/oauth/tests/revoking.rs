//! Tokens that are taken out of use.

use portcullis_test_servers::oauth::Fault;

use super::*;
use crate::gateway::oauth::revoke::Revoked;

#[tokio::test(flavor = "multi_thread")]
async fn disconnecting_revokes_the_refresh_token_first() {
    let bench = Bench::new().await;
    let connection = bench.connect(None).await;
    let held = bench.held(&connection).await;
    let expected = [bench.refresh_token(&held).expect("a refresh token"), bench.access_token(&held)];
    let revoked = bench.gateway().delete_connection(&bench.admin(), connection.id).await.expect("deleted");
    assert_eq!(revoked, Revoked::Done);
    assert_eq!(bench.provider.revoked(), expected.map(|token| token.to_string()));
    let left =
        bench.store().take_revocations(Timestamp(i64::MAX / 2), Duration::ZERO, 10).await.expect("read");
    assert_eq!(left, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_revoked_is_tried_again() {
    let bench = Bench::new().await;
    let connection = bench.connect(None).await;
    bench.provider.next_revocation(Fault::Status(503));
    let revoked = bench.gateway().delete_connection(&bench.admin(), connection.id).await.expect("deleted");
    assert!(matches!(&revoked, Revoked::Retrying(why) if why.contains("503")), "{revoked:?}");
    let gone = bench.gateway().connection(&bench.admin(), connection.id).await;
    assert!(gone.is_err(), "it is gone all the same");
    let later = Timestamp::now().plus(Duration::from_secs(3600));
    let due = bench.store().take_revocations(later, Duration::ZERO, 10).await.expect("read");
    assert_eq!((due.len(), due[0].attempts), (1, 1));
    bench.store().postpone_revocation(&due[0], Timestamp(0), "the test's own").await.expect("noted");
    bench.gateway().revoke_due().await.expect("revoked");
    assert_eq!(bench.provider.revoked().len(), 2);
    let left = bench.store().take_revocations(later, Duration::ZERO, 10).await.expect("read");
    assert_eq!(left, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_connections_of_an_integration_lose_their_tokens_at_once() {
    let bench = Bench::new().await;
    let connections = [bench.connect(None).await, bench.connect(Some(3_600_000)).await];
    bench.provider.next_revocation(Fault::Status(500));
    let revoked = bench.gateway().revoke_all(&bench.admin(), "shop").await.expect("revoked");
    assert_eq!(revoked.len(), 2);
    assert_eq!(revoked.iter().filter(|one| one.revoked == Revoked::Done).count(), 1);
    assert_eq!(revoked.iter().filter(|one| matches!(one.revoked, Revoked::Retrying(_))).count(), 1);
    for connection in connections {
        let held = bench.held(&connection).await;
        assert_eq!(held.connection.status, ConnectionStatus::Expired);
        assert!(held.fields.is_empty());
    }
    let user = Identity { role: Role::User, ..bench.admin() };
    assert!(bench.gateway().revoke_all(&user, "shop").await.is_err());
    assert!(bench.gateway().revoke_all(&bench.admin(), "nothing").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_come_after_the_connection_has_gone_are_revoked() {
    let bench = Bench::new().await;
    let connection = bench.connect(Some(-1)).await;
    bench.provider.next(Fault::Hold);
    let refreshing = {
        let (gateway, connection) = (bench.gateway().clone(), connection.clone());
        tokio::spawn(async move { gateway.renew(connection.project, connection.id, Need::Due).await.err() })
    };
    while bench.provider.n_held() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bench.gateway().delete_connection(&bench.admin(), connection.id).await.expect("deleted");
    bench.provider.release();
    let error = refreshing.await.expect("ended");
    assert!(matches!(error, Some(RefreshError::Gone(_))), "{error:?}");
    assert!(!bench.provider.takes(&bench.provider.last_access_token()));
}
