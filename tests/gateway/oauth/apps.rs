//! OAuth2 apps: set by admins, shown with masks, several of one integration, and the ways in which a client proves itself.

use portcullis_test_servers::oauth::{Provider, TokenAuth};
use serde_json::{Value, json};

use super::stage::{APPS, Person, Stage, app, new_connection, query, shown};
use crate::support::{Place, on_each_store};

on_each_store!(apps_are_set_shown_with_a_mask_and_deleted);

fn apps_are_set_shown_with_a_mask_and_deleted(place: &Place) {
    let stage = Stage::on(place);
    let server = stage.start();
    let admin = server.admin();
    admin.put(&format!("{APPS}/default"), app()).is(200);
    let second = json!({
        "client_id": "second", "client_secret": "a secret of the second-9876", "token_endpoint_auth": "post",
        "authorize_params": {"access_type": "offline"},
    });
    admin.put(&format!("{APPS}/second"), second).is(201);
    let list = admin.get(APPS).is(200);
    assert!(!list.text().contains("a secret of") && !list.text().contains("s3cret"), "{}", list.text());
    let list = list.json();
    let apps = list.as_object().unwrap().values().find_map(Value::as_array).unwrap();
    assert_eq!((&list["count"], apps.len()), (&json!(2), 2), "{list:#}");
    let shown = admin.get(&format!("{APPS}/second")).is(200).json();
    assert_eq!(shown["client_id"], "second");
    assert_eq!(shown["token_endpoint_auth"], "post");
    assert_eq!(shown["authorize_params"], json!({"access_type": "offline"}));
    assert!(shown.to_string().contains("9876") && !shown.to_string().contains("of the second"), "{shown:#}");
    for caller in [server.user("ada"), server.service().acting_for("ada")] {
        caller.get(APPS).refuses(403, "FORBIDDEN");
        caller.put(&format!("{APPS}/mine"), app()).refuses(403, "FORBIDDEN");
        caller.delete(&format!("{APPS}/second")).refuses(403, "FORBIDDEN");
    }
    admin.delete(&format!("{APPS}/second")).is(204);
    admin.delete(&format!("{APPS}/second")).refuses(404, "NOT_FOUND");
    // One that tokens came of is needed for their next refresh.
    let ada = server.user("ada");
    stage.connect(&server, &ada);
    admin.delete(&format!("{APPS}/default")).is(409);
}

#[test]
fn a_client_proves_itself_in_the_way_that_is_set() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let ada = server.user("ada");
    for (way, set) in [("basic", TokenAuth::Basic), ("post", TokenAuth::Post), ("none", TokenAuth::None)] {
        let mut app = app();
        app["token_endpoint_auth"] = json!(way);
        if way == "none" {
            app.as_object_mut().unwrap().remove("client_secret");
        }
        server.admin().put(&format!("{APPS}/{way}"), app).is(201);
        stage.provider.behave(|behaviour| behaviour.token_auth = set);
        let connection = stage.connect_with(
            &server,
            &ada,
            json!({"oauth_app": way, "scopes": ["mail.read", "mail.send"]}),
        );
        assert_eq!(connection["status"], "ACTIVE", "{way}");
        // At a refresh and at the revocation, too.
        let refreshed =
            ada.post(&format!("{}/refresh", super::stage::path(&connection)), json!({"force": true}));
        assert_eq!(refreshed.is(200).json()["redirect_url"], Value::Null, "{way}");
        ada.delete(&super::stage::path(&connection)).is(204);
        assert!(!stage.provider.takes(&stage.provider.last_access_token()), "{way}");
    }
}

#[test]
fn a_client_that_proves_itself_in_another_way_is_refused() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let ada = server.user("ada");
    stage.provider.behave(|behaviour| behaviour.token_auth = TokenAuth::Post);
    let (pending, redirect_url) = stage.begin(&ada, json!({}));
    let page = Person::at(&server).consents(&stage.provider, &redirect_url);
    let failed = shown(&ada, &pending);
    assert_eq!(failed["status"], "FAILED");
    assert!(failed["last_error"].as_str().unwrap().contains("invalid_client"), "{failed:#}");
    assert!(page.text().contains("Ask whoever runs this server"), "{}", page.text());
}

#[test]
fn extra_parameters_are_asked_with_and_replace_none_of_ours() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let mut extended = app();
    extended["authorize_params"] =
        json!({"access_type": "offline", "prompt": "consent", "audience": "https://a b/&c"});
    server.admin().put(&format!("{APPS}/default"), extended.clone()).is(200);
    let (_, redirect_url) = stage.begin(&server.user("ada"), json!({}));
    let asked = query(&redirect_url);
    for (name, value) in extended["authorize_params"].as_object().unwrap() {
        assert_eq!(asked[name], value.as_str().unwrap());
    }
    for ours in [
        "state",
        "redirect_uri",
        "code_challenge",
        "code_challenge_method",
        "client_id",
        "response_type",
        "scope",
        "nonce",
    ] {
        let mut app = app();
        app["authorize_params"] = json!({ours: "mine"});
        let error = server.admin().put(&format!("{APPS}/default"), app).refuses(422, "VALIDATION_FAILED");
        assert!(error.to_string().contains(ours), "{error}");
    }
}

#[test]
fn of_several_apps_one_is_named_or_called_default() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let (admin, ada) = (server.admin(), server.user("ada"));
    let second = json!({"client_id": "second", "client_secret": "x"});
    admin.put(&format!("{APPS}/second"), second).is(201);
    let client_of = |more: Value| query(&stage.begin(&ada, more).1)["client_id"].clone();
    assert_eq!(client_of(json!({})), Provider::CLIENT_ID);
    assert_eq!(client_of(json!({"oauth_app": "second"})), "second");
    admin.put(&format!("{APPS}/third"), json!({"client_id": "third"})).is(201);
    admin.delete(&format!("{APPS}/default"));
    let connections = ada.get("/api/tools/connections").is(200).json();
    for connection in connections["connections"].as_array().unwrap() {
        ada.delete(&super::stage::path(connection));
    }
    admin.delete(&format!("{APPS}/default")).is(204);
    let error =
        ada.post("/api/tools/connections", new_connection(json!({}))).refuses(422, "VALIDATION_FAILED");
    assert!(error["message"].as_str().unwrap().contains("second, third"), "{error}");
    ada.post("/api/tools/connections", new_connection(json!({"oauth_app": "fourth"})))
        .refuses(422, "VALIDATION_FAILED");
}

#[test]
fn without_an_app_it_is_said_how_to_set_one() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    server.admin().delete(&format!("{APPS}/default")).is(204);
    let answer = server.user("ada").post("/api/tools/connections", new_connection(json!({})));
    let error = answer.refuses(422, "OAUTH_NOT_CONFIGURED");
    assert!(error["message"].as_str().unwrap().contains("oauth-apps/default"), "{error:#}");
}

#[test]
fn an_app_can_have_the_secret_of_the_workspace() {
    let place = Place::sqlite();
    let stage = Stage::on(&place);
    let server = stage.start();
    let admin = server.admin();
    admin.put("/api/secrets/mail-client", json!({"value": Provider::CLIENT_SECRET})).is(201);
    admin.put("/api/secrets/mail-id", json!({"value": Provider::CLIENT_ID})).is(201);
    let app = json!({"client_id": {"secret": "mail-id"}, "client_secret": {"secret": "mail-client"}});
    admin.put(&format!("{APPS}/default"), app).is(200);
    stage.connect(&server, &server.user("ada"));
    let missing = json!({"client_id": "x", "client_secret": {"secret": "there-is-none"}});
    admin.put(&format!("{APPS}/default"), missing).refuses(422, "VALIDATION_FAILED");
}
