//! Whose account it is: on the connection, on approvals, and when a reconnect brings another one.

use serde_json::{Value, json};

use super::connect::is_a_guarded_page;
use super::stage::{Person, Stage, path, shown, tool};
use crate::support::client::run_body;
use crate::support::{Client, Place, Response, Server, on_each_store};

on_each_store!(another_account_replaces_none_unless_somebody_says_so);

/// The scopes without an id token.
fn plain() -> Value {
    json!({"scopes": ["mail.read"]})
}

#[test]
fn the_account_is_that_of_the_id_token_or_of_the_connectors_test() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let ada = server.user("ada");
    for (claims, more, expected) in [
        (json!({}), json!({}), "ada@example.com"),
        (json!({"email": null, "preferred_username": "ada.l"}), json!({}), "ada.l"),
        (json!({"email": null, "name": "Ada Lovelace"}), json!({}), "Ada Lovelace"),
        (json!({"email": null}), json!({}), "id-of-ada"),
        (json!({}), plain(), "ada"),
    ] {
        stage.provider.behave(|behaviour| behaviour.claims = claims.as_object().unwrap().clone());
        let connection = stage.connect_with(&server, &ada, more);
        assert_eq!(connection["identity"], expected, "{claims}");
    }
}

#[test]
fn an_id_token_that_isnt_for_us_fails_the_consent() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    place.install("mail", &stage.mail(json!({"issuer": stage.provider.url("")})));
    let server = stage.start();
    let ada = server.user("ada");
    for claims in [
        json!({"aud": "somebody else"}),
        json!({"aud": ["somebody else", "yet another"]}),
        json!({"nonce": "another"}),
        json!({"nonce": null}),
        json!({"exp": 1_000_000_000}),
        json!({"iss": "https://evil.example"}),
        json!({"iss": null}),
        json!({"sub": null}),
    ] {
        stage.provider.behave(|behaviour| behaviour.claims = claims.as_object().unwrap().clone());
        let (pending, redirect_url) = stage.begin(&ada, json!({}));
        Person::at(&server).consents(&stage.provider, &redirect_url);
        let failed = shown(&ada, &pending);
        assert_eq!(failed["status"], "FAILED", "{claims}");
        assert!(failed["last_error"].as_str().unwrap().contains("id token"), "{claims}: {failed:#}");
    }
}

#[test]
fn an_approval_says_as_whom_it_would_be_done() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let ada = server.user("ada");
    let connection = stage.connect_with(&server, &ada, json!({"name": "Support inbox"}));
    let body = run_body(&[("c1", &tool(&connection, "careful"), "{}")]);
    let answer = ada.post("/api/tools/run", body).is(200).json();
    let message: Value =
        serde_json::from_str(answer["tool_messages"][0]["content"].as_str().unwrap()).unwrap();
    assert_eq!(message["status"], "approval_required", "{answer:#}");
    assert_eq!(message["account"], "ada@example.com", "{message:#}");
    assert!(stage.provider.requests_for("/api/careful").is_empty(), "nothing was sent");
}

/// Reconnects with a consent of this account; what the gateway asks or says, to this person.
fn reconnect(
    stage: &Stage<'_>,
    server: &Server<'_>,
    ada: &Client,
    connection: &Value,
    account: &str,
) -> (Person, Response) {
    stage.provider.void_everything();
    stage.provider.behave(|behaviour| behaviour.account = account.to_owned());
    let answer = ada.post(&format!("{}/refresh", path(connection)), json!({"force": true})).is(200).json();
    let redirect_url = answer["redirect_url"].as_str().unwrap_or_else(|| panic!("{answer:#}")).to_owned();
    let person = Person::at(server);
    let page = person.consents(&stage.provider, &redirect_url).is(200);
    (person, page)
}

/// The value of the hidden field of a question.
#[track_caller]
fn token_of(page: &Response) -> String {
    let text = page.text();
    let (_, rest) =
        text.split_once("name=\"token\" value=\"").unwrap_or_else(|| panic!("no question: {text}"));
    rest.split_once('"').unwrap().0.to_owned()
}

fn another_account_replaces_none_unless_somebody_says_so(place: &Place) {
    let stage = Stage::on(place);
    let server = stage.start();
    let ada = server.user("ada");
    let connection = stage.connect_with(&server, &ada, json!({"name": "Support inbox"}));
    // The same account comes back without a question.
    let (_, page) = reconnect(&stage, &server, &ada, &connection, "ada");
    assert!(!page.text().contains("name=\"token\""), "{}", page.text());
    assert_eq!(ada.result(&tool(&connection, "me"), json!({}))["account"], "ada");

    let (person, page) = reconnect(&stage, &server, &ada, &connection, "mallory");
    is_a_guarded_page(&page);
    for account in ["ada@example.com", "mallory@example.com"] {
        assert!(page.text().contains(account), "{account}: {}", page.text());
    }
    assert_eq!(shown(&ada, &connection)["identity"], "ada@example.com", "nothing is replaced yet");
    let token = token_of(&page);
    let form = [("token", token.as_str()), ("decision", "replace")];
    // Neither another browser nor another token.
    Person::at(&server).sends("/oauth/confirm", &form).is(403);
    person.sends("/oauth/confirm", &[("token", &"A".repeat(43)), ("decision", "replace")]).is(404);
    person.sends("/oauth/confirm", &[("token", &token), ("decision", "keep")]).is(200);
    assert_eq!(shown(&ada, &connection)["identity"], "ada@example.com");
    // What was answered can't be answered again.
    person.sends("/oauth/confirm", &form).is(404);

    let (person, page) = reconnect(&stage, &server, &ada, &connection, "mallory");
    let form = [("token", token_of(&page)), ("decision", "replace".to_owned())];
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    person.sends("/oauth/confirm", &form).is(200);
    let replaced = shown(&ada, &connection);
    assert_eq!(
        (&replaced["identity"], &replaced["status"]),
        (&json!("mallory@example.com"), &json!("ACTIVE"))
    );
    assert_eq!(ada.result(&tool(&connection, "me"), json!({}))["account"], "mallory");
    person.sends("/oauth/confirm", &form).is(404);
}

#[test]
fn while_a_question_waits_the_old_account_is_used() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let ada = server.user("ada");
    let connection = stage.connect(&server, &ada);
    stage.provider.behave(|behaviour| behaviour.account = "mallory".to_owned());
    // There are scopes to ask for that aren't granted yet.
    let answer = ada.post(&format!("{}/refresh", path(&connection)), json!({})).is(200).json();
    let Some(redirect_url) = answer["redirect_url"].as_str() else { panic!("{answer:#}") };
    let page = Person::at(&server).consents(&stage.provider, redirect_url).is(200);
    token_of(&page);
    assert_eq!(ada.result(&tool(&connection, "me"), json!({}))["account"], "ada");
}
