//! A rotation of the master key, with apps, tokens, consents, questions and revocations in the store.

use portcullis_test_servers::oauth::{Fault, Provider};
use serde_json::json;

use super::stage::{APPS, Person, Stage, path, shown, tool};
use super::store;
use crate::support::{Place, eventually, on_each_store};

on_each_store!(all_that_is_sealed_opens_under_the_new_key);

fn all_that_is_sealed_opens_under_the_new_key(place: &Place) {
    let stage = Stage::on(place);
    let server = stage.start();
    let ada = server.admin().acting_for("ada");
    let connection = stage.connect(&server, &ada);
    // A consent under way, one whose question waits, and tokens whose revocation does.
    let (pending, redirect_url) = stage.begin(&ada, json!({"name": "Pending"}));
    let person = Person::at(&server);
    let back = stage.provider.consent(&person.starts(&redirect_url));
    let asking = stage.connect_with(&server, &ada, json!({"name": "Asking"}));
    stage.provider.behave(|behaviour| behaviour.account = "mallory".to_owned());
    let answer = ada.post(&format!("{}/refresh", path(&asking)), json!({})).is(200).json();
    let questioned = Person::at(&server);
    let question =
        questioned.consents(&stage.provider, answer["redirect_url"].as_str().unwrap()).is(200).text();
    let token = question.split_once("name=\"token\" value=\"").unwrap().1.split_once('"').unwrap().0;
    stage.provider.behave(|behaviour| behaviour.account = "ada".to_owned());
    let gone = stage.connect_with(&server, &ada, json!({"name": "Gone"}));
    let gone_token = stage.provider.last_access_token();
    stage.provider.next_revocation(Fault::Status(503));
    ada.delete(&path(&gone)).is(202);

    let master_key = place.data().join("master.key");
    let before = std::fs::read_to_string(&master_key).unwrap();
    place.prints(&["keys", "rotate-master"]);
    let after = std::fs::read_to_string(&master_key).unwrap();
    let old: serde_json::Value = serde_json::from_str(&before).unwrap();
    assert!(!after.contains(old["keys"][0]["id"].as_str().unwrap()), "the old key is still in the ring");

    let connected = person.opens(&back);
    assert!(connected.is(200).text().contains("ada@example.com"));
    assert_eq!(shown(&ada, &pending)["status"], "ACTIVE");
    questioned.sends("/oauth/confirm", &[("token", token), ("decision", "replace")]).is(200);
    assert_eq!(ada.result(&tool(&asking, "me"), json!({}))["account"], "mallory");
    stage.provider.void_access_tokens();
    assert_eq!(ada.result(&tool(&connection, "me"), json!({}))["account"], "ada");
    store::execute(place, "UPDATE oauth_revocations SET next_at = 1");
    eventually("what waited is revoked", || stage.provider.revoked().contains(&gone_token));
    // The app's secret too, once more with nothing but the new key in memory.
    drop(server);
    let server = stage.start();
    let ada = server.admin().acting_for("ada");
    let app = server.admin().get(&format!("{APPS}/default")).is(200).json();
    assert_eq!(app["client_id"], Provider::CLIENT_ID);
    let again = stage.connect_with(&server, &ada, json!({"name": "Again"}));
    ada.result(&tool(&again, "me"), json!({}));
}
