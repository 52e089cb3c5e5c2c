//! Scopes: stored as they were granted, needed by operations, and asked for together when a person reconnects.

use portcullis_test_servers::oauth::ScopeList;
use serde_json::{Value, json};

use super::stage::{Person, Stage, path, query, shown, tool};
use crate::support::{Place, on_each_store};

on_each_store!(an_operation_whose_scopes_arent_granted_is_refused_before_it_runs);

fn an_operation_whose_scopes_arent_granted_is_refused_before_it_runs(place: &Place) {
    let stage = Stage::on(place);
    let server = stage.start();
    let ada = server.user("ada");
    let connection = stage.connect(&server, &ada);
    let error = ada.error("INSUFFICIENT_SCOPE", &tool(&connection, "wide"), json!({}));
    assert_eq!(error["retryable"], false, "{error:#}");
    assert_eq!(error["details"]["missing"], json!(["mail.send"]), "{error:#}");
    assert_eq!(error["details"]["granted"], json!(["openid", "mail.read"]), "{error:#}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("mail.send") && message.to_lowercase().contains("reconnect"), "{message}");
    assert!(stage.provider.requests_for("/api/wide").is_empty(), "it has run");
    // What was granted works on.
    ada.result(&tool(&connection, "me"), json!({}));

    // A reconnect asks for all that was granted, asked for, or is needed.
    let answer = ada.post(&format!("{}/refresh", path(&connection)), json!({})).is(200).json();
    let redirect_url = answer["redirect_url"].as_str().unwrap_or_else(|| panic!("{answer:#}"));
    let mut asked: Vec<String> = query(redirect_url)["scope"].split(' ').map(str::to_owned).collect();
    asked.sort();
    assert_eq!(asked, ["mail.read", "mail.send", "openid"]);
    assert_eq!(shown(&ada, &connection)["status"], "ACTIVE", "it works on in the meantime");
    ada.result(&tool(&connection, "me"), json!({}));
    Person::at(&server).consents(&stage.provider, redirect_url).is(200);
    assert_eq!(ada.result(&tool(&connection, "wide"), json!({}))["account"], "ada");
    let answer = ada.post(&format!("{}/refresh", path(&connection)), json!({})).is(200).json();
    assert_eq!(answer["redirect_url"], Value::Null, "there is nothing left to ask for");
}

#[test]
fn granted_scopes_are_read_however_they_are_listed() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let ada = server.user("ada");
    for list in [ScopeList::Spaces, ScopeList::Commas, ScopeList::Array, ScopeList::Unsaid] {
        stage.provider.behave(|behaviour| behaviour.scope_list = list);
        let more = json!({"scopes": ["mail.read", "mail.send", "https://mail.example/auth/labels"]});
        let connection = stage.connect_with(&server, &ada, more.clone());
        // Where nothing is said, what was asked for is granted (RFC 6749, 5.1).
        assert_eq!(connection["scopes"], more["scopes"], "{list:?}");
        ada.result(&tool(&connection, "wide"), json!({}));
    }
}

#[test]
fn what_a_refresh_grants_is_what_is_granted() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let ada = server.user("ada");
    let connection = stage.connect_with(&server, &ada, json!({"scopes": ["mail.read", "mail.send"]}));
    ada.result(&tool(&connection, "wide"), json!({}));
    // The provider says nothing of scopes at the refresh: they are those of before (RFC 6749, 6).
    stage.provider.behave(|behaviour| behaviour.scope_list = ScopeList::Unsaid);
    ada.post(&format!("{}/refresh", path(&connection)), json!({"force": true})).is(200);
    assert_eq!(stage.provider.n_refreshes(), 1);
    assert_eq!(shown(&ada, &connection)["scopes"], json!(["mail.read", "mail.send"]));
    ada.result(&tool(&connection, "wide"), json!({}));
}
