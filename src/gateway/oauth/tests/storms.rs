//! Many calls in many processes that want new tokens at once.

use portcullis_test_servers::oauth::Fault;

use super::*;

/// How many calls each gateway has.
const N_CALLS: usize = 50;

/// The tokens that calls end with that all want new ones at once.
async fn storm(bench: &Bench, connection: &Connection, need: impl Fn() -> Need) -> Vec<Zeroizing<String>> {
    let mut calls = Vec::new();
    for gateway in &bench.gateways {
        for _ in 0..N_CALLS {
            let (gateway, connection, need) = (gateway.clone(), connection.clone(), need());
            calls.push(tokio::spawn(async move {
                let held = gateway.renew(connection.project, connection.id, need).await.expect("new tokens");
                let token = gateway.open_token(&held.connection, &held.fields, ACCESS_TOKEN_FIELD);
                token.expect("opened").expect("an access token")
            }));
        }
    }
    let mut tokens = Vec::new();
    for call in calls {
        tokens.push(call.await.expect("a token"));
    }
    tokens
}

async fn exactly_one_refresh_comes_of_a_storm(bench: Bench) {
    let connection = bench.connect(Some(-1)).await;
    for round in 1..=3 {
        bench.provider.next(Fault::Delay(Duration::from_millis(200)));
        let tokens = storm(&bench, &connection, || Need::Due).await;
        assert_eq!((bench.provider.n_refreshes(), bench.provider.n_reuses()), (round, 0));
        assert!(tokens.iter().all(|token| *token == tokens[0]) && bench.provider.takes(&tokens[0]));
        let held = bench.held(&connection).await;
        assert_eq!((held.grant.generation, held.grant.refresh_sent_at), (round as u64, None));
        bench.expire_in(&connection, -1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refresh_for_three_gateways_on_sqlite() {
    exactly_one_refresh_comes_of_a_storm(Bench::on(3, None).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refresh_for_three_gateways_on_postgres() {
    let database = portcullis_test_servers::postgres().create_database();
    exactly_one_refresh_comes_of_a_storm(Bench::on(3, Some(database)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refresh_for_all_calls_whose_token_was_refused() {
    let bench = Bench::on(2, None).await;
    let connection = bench.connect(None).await;
    let refused = bench.access_token(&bench.held(&connection).await);
    bench.provider.void_access_tokens();
    let tokens = storm(&bench, &connection, || Need::Rejected(refused.clone())).await;
    assert_eq!((bench.provider.n_refreshes(), bench.provider.n_reuses()), (1, 0));
    assert!(tokens.iter().all(|token| *token == tokens[0]) && bench.provider.takes(&tokens[0]));
    // Who comes late with the old token gets the new one.
    bench.renew(&connection, Need::Rejected(refused)).await.expect("tokens");
    assert_eq!(bench.provider.n_refreshes(), 1);
}
