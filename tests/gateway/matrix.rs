//! Who may do what: every route, for every role, with one's own, another's and another project's things.

use serde_json::{Value, json};

use crate::support::client::Body;
use crate::support::connectors::{connector, desk, desk_connection, echo, mailbox, numbered};
use crate::support::process::key_in;
use crate::support::upload::{Form, zip};
use crate::support::{Client, Place, Response, on_each_store, random};

/// Who asks, in the order of the table's columns.
const CALLERS: [&str; 8] =
    ["no key", "wrong key", "admin", "ada", "bob", "service", "service for ada", "service for bob"];

/// A method, a path whose placeholders are things made anew for each cell, a body, and each caller's status. `private` and
/// `shared` are ada's connections, `other…` another project's things.
type Row = (&'static str, &'static str, Sent, [u16; 8]);

/// A request's body.
#[derive(Clone, Copy)]
enum Sent {
    Nothing,
    Json(&'static str),
    /// A zip of an integration.
    Zip,
}

use Sent::{Json, Nothing, Zip};

/// For a route that every key may use.
const ANYONE: [u16; 8] = [401, 401, 200, 200, 200, 200, 200, 200];
/// For a route that nobody's thing is found by.
const NOWHERE: [u16; 8] = [401, 401, 404, 404, 404, 404, 404, 404];
/// For a route of admins, found or not.
const fn admins(status: u16) -> [u16; 8] {
    [401, 401, status, 403, 403, 403, 403, 403]
}
/// For a connection that is ada's alone.
const fn adas(status: u16) -> [u16; 8] {
    [401, 401, status, status, 404, 404, status, 404]
}
/// For changing a connection that ada shares.
const fn adas_shared(status: u16) -> [u16; 8] {
    [401, 401, status, status, 403, 403, status, 403]
}

/// For writing declarations.
const fn authors(status: u16) -> [u16; 8] {
    [401, 401, status, 403, 403, status, status, status]
}

const PATCH: Sent = Json("{\"description\": \"changed\"}");
const CONNECTION: Sent = Json(
    "{\"integration\": \"desk\", \"mode\": \"api_key\", \"name\": \"New\", \"credentials\": {\"KEY\": \"k\"}}",
);
const DECLARATION: Sent = Json("{\"connections\": [{\"type\": \"desk\"}]}");
const GRANTS: Sent = Json("{\"connections\": []}");
const RUN: Sent = Json(
    "{\"tool_calls\": [{\"id\": \"a\", \"type\": \"function\", \"function\": {\"name\": \"echo__go\", \"arguments\": \"{}\"}}]}",
);

const CONSENT: Sent = Json("{\"integration\": \"mailbox\", \"mode\": \"oauth\", \"name\": \"Mail\"}");
const OAUTH_APP: Sent = Json("{\"client_id\": \"id\", \"client_secret\": \"a secret\"}");

#[rustfmt::skip]
const ROUTES: &[Row] = &[
    ("GET",    "/healthz",                                        Nothing,        [200; 8]),
    ("GET",    "/readyz",                                         Nothing,        [200; 8]),
    ("GET",    "/metrics",                                        Nothing,        [200; 8]),
    ("GET",    "/openapi.json",                                   Nothing,        [200; 8]),
    ("GET",    "/docs",                                           Nothing,        [200; 8]),
    ("GET",    "/api/integrations",                               Nothing,        ANYONE),
    ("POST",   "/api/integrations",                               Zip,            admins(201)),
    ("POST",   "/api/integrations/check",                         Zip,            ANYONE),
    ("GET",    "/api/integrations/desk",                          Nothing,        ANYONE),
    ("GET",    "/api/integrations/desk/package",                  Nothing,        ANYONE),
    ("GET",    "/api/integrations/{upload}",                      Nothing,        ANYONE),
    ("GET",    "/api/integrations/{upload}/icon",                 Nothing,        NOWHERE),
    ("GET",    "/api/integrations/{other_upload}",                Nothing,        NOWHERE),
    ("GET",    "/api/integrations/{other_upload}/package",        Nothing,        NOWHERE),
    ("DELETE", "/api/integrations/{upload}",                      Nothing,        admins(204)),
    ("DELETE", "/api/integrations/{other_upload}",                Nothing,        admins(404)),
    ("DELETE", "/api/integrations/desk",                          Nothing,        admins(409)),
    ("GET",    "/api/integrations/mailbox/oauth-apps",            Nothing,        admins(200)),
    ("GET",    "/api/integrations/mailbox/oauth-apps/{app}",      Nothing,        admins(200)),
    ("PUT",    "/api/integrations/mailbox/oauth-apps/{app}",      OAUTH_APP,      admins(200)),
    ("DELETE", "/api/integrations/mailbox/oauth-apps/{app}",      Nothing,        admins(204)),
    ("GET",    "/api/integrations/mailbox/oauth-apps/{other_app}", Nothing,       admins(404)),
    ("DELETE", "/api/integrations/mailbox/oauth-apps/{other_app}", Nothing,       admins(404)),
    ("POST",   "/api/integrations/mailbox/revoke-all",            Nothing,        admins(200)),
    ("GET",    "/oauth/start?state=none",                         Nothing,        [404; 8]),
    ("GET",    "/oauth/callback?state=none&code=x",               Nothing,        [404; 8]),
    ("POST",   "/oauth/confirm",                                  Nothing,        [404; 8]),
    ("GET",    "/api/tools/connections",                          Nothing,        ANYONE),
    ("POST",   "/api/tools/connections",                          CONNECTION,     [401, 401, 201, 201, 201, 400, 201, 201]),
    ("POST",   "/api/tools/connections",                          CONSENT,        [401, 401, 201, 201, 201, 400, 201, 201]),
    ("POST",   "/api/tools/connections/{consent}/refresh",        Json("{}"),     adas(200)),
    ("POST",   "/api/tools/connections/{consent}/test",           Nothing,        adas(200)),
    ("DELETE", "/api/tools/connections/{consent}",                Nothing,        adas(204)),
    ("POST",   "/api/tools/connections/{other_consent}/refresh",  Json("{}"),     NOWHERE),
    ("GET",    "/api/tools/connections/{private}",                Nothing,        adas(200)),
    ("GET",    "/api/tools/connections/{shared}",                 Nothing,        ANYONE),
    ("GET",    "/api/tools/connections/{other}",                  Nothing,        NOWHERE),
    ("GET",    "/api/tools/connections/{other_shared}",           Nothing,        NOWHERE),
    ("GET",    "/api/tools/connections/{missing}",                Nothing,        NOWHERE),
    ("PATCH",  "/api/tools/connections/{private}",                PATCH,          adas(200)),
    ("PATCH",  "/api/tools/connections/{shared}",                 PATCH,          adas_shared(200)),
    ("PATCH",  "/api/tools/connections/{other}",                  PATCH,          NOWHERE),
    ("PATCH",  "/api/tools/connections/{other_shared}",           PATCH,          NOWHERE),
    ("POST",   "/api/tools/connections/{private}/test",           Nothing,        adas(200)),
    ("POST",   "/api/tools/connections/{shared}/test",            Nothing,        adas_shared(200)),
    ("POST",   "/api/tools/connections/{other}/test",             Nothing,        NOWHERE),
    ("POST",   "/api/tools/connections/{private}/refresh",        Json("{}"),     adas(409)),
    ("POST",   "/api/tools/connections/{shared}/refresh",         Json("{}"),     adas_shared(409)),
    ("POST",   "/api/tools/connections/{other}/refresh",          Json("{}"),     NOWHERE),
    ("DELETE", "/api/tools/connections/{private}",                Nothing,        adas(204)),
    ("DELETE", "/api/tools/connections/{shared}",                 Nothing,        adas_shared(204)),
    ("DELETE", "/api/tools/connections/{other}",                  Nothing,        NOWHERE),
    ("DELETE", "/api/tools/connections/{other_shared}",           Nothing,        NOWHERE),
    ("GET",    "/api/tools/catalog",                              Nothing,        ANYONE),
    ("POST",   "/api/tools/run",                                  RUN,            ANYONE),
    ("GET",    "/api/agents",                                     Nothing,        ANYONE),
    ("GET",    "/api/agents/{agent}",                             Nothing,        ANYONE),
    ("GET",    "/api/agents/{other_agent}",                       Nothing,        NOWHERE),
    ("PUT",    "/api/agents/{agent}",                             DECLARATION,    authors(200)),
    ("DELETE", "/api/agents/{agent}",                             Nothing,        authors(204)),
    ("DELETE", "/api/agents/{other_agent}",                       Nothing,        authors(404)),
    ("GET",    "/api/agents/{agent}/requirements",                Nothing,        ANYONE),
    ("GET",    "/api/agents/{other_agent}/requirements",          Nothing,        NOWHERE),
    ("GET",    "/api/agents/{agent}/connection-tools/catalog",    Nothing,        ANYONE),
    ("GET",    "/api/agents/{other_agent}/connection-tools/catalog", Nothing,     NOWHERE),
    ("PUT",    "/api/agents/{agent}/connection-tools",            GRANTS,         ANYONE),
    ("PUT",    "/api/agents/{other_agent}/connection-tools",      GRANTS,         NOWHERE),
    ("GET",    "/api/agents/{agent}/tools",                       Nothing,        ANYONE),
    ("GET",    "/api/agents/{other_agent}/tools",                 Nothing,        NOWHERE),
    ("POST",   "/api/agents/{agent}/run",                         RUN,            ANYONE),
    ("POST",   "/api/agents/{other_agent}/run",                   RUN,            NOWHERE),
    ("GET",    "/api/executions",                                 Nothing,        ANYONE),
    ("GET",    "/api/executions/{execution}",                     Nothing,        adas(200)),
    ("GET",    "/api/executions/{other_execution}",               Nothing,        NOWHERE),
    ("GET",    "/api/executions/{missing}",                       Nothing,        NOWHERE),
    ("GET",    "/api/approvals",                                  Nothing,        ANYONE),
    ("GET",    "/api/approvals/{approval}",                       Nothing,        [401, 401, 200, 200, 404, 404, 404, 404]),
    ("GET",    "/api/approvals/{service_approval}",               Nothing,        [401, 401, 200, 200, 404, 404, 200, 404]),
    ("GET",    "/api/approvals/{other_approval}",                 Nothing,        NOWHERE),
    ("GET",    "/api/approvals/{missing}",                        Nothing,        NOWHERE),
    ("POST",   "/api/approvals/{approval}/approve",               Json("{}"),     [401, 401, 200, 200, 404, 404, 404, 404]),
    ("POST",   "/api/approvals/{service_approval}/approve",       Json("{}"),     [401, 401, 200, 200, 404, 404, 403, 404]),
    ("POST",   "/api/approvals/{other_approval}/approve",         Json("{}"),     NOWHERE),
    ("POST",   "/api/approvals/{approval}/reject",                Json("{}"),     [401, 401, 200, 200, 404, 404, 404, 404]),
    ("POST",   "/api/approvals/{service_approval}/reject",        Json("{}"),     [401, 401, 200, 200, 404, 404, 403, 404]),
    ("POST",   "/api/approvals/{other_approval}/reject",          Json("{}"),     NOWHERE),
    ("GET",    "/api/project",                                    Nothing,        admins(200)),
    ("PATCH",  "/api/project",                                    Json("{\"approve_own_calls\": true}"), admins(200)),
    ("GET",    "/api/secrets",                                    Nothing,        admins(200)),
    ("PUT",    "/api/secrets/{secret}",                           Json("{\"value\": \"new\"}"), admins(200)),
    ("DELETE", "/api/secrets/{secret}",                           Nothing,        admins(204)),
    ("DELETE", "/api/secrets/{other_secret}",                     Nothing,        admins(404)),
    ("GET",    "/api/keys",                                       Nothing,        admins(200)),
    ("POST",   "/api/keys",                                       Json("{\"role\": \"user\", \"user\": \"eve\", \"name\": \"x\"}"), admins(201)),
    ("DELETE", "/api/keys/{key}",                                 Nothing,        admins(204)),
    ("DELETE", "/api/keys/{other_key}",                           Nothing,        admins(404)),
];

/// Changes something, as far as anybody knows, so that a person must approve each call.
fn writer() -> (Value, String) {
    connector(json!({"operations": [{"name": "go", "operationType": "write"}]}), "return ctx.params;")
}

/// Two projects with the same people in them.
struct Stage {
    admin: Client,
    ada: Client,
    other: Client,
    other_ada: Client,
    callers: Vec<Client>,
}

impl Stage {
    #[track_caller]
    fn of(server: &crate::support::Server<'_>) -> Self {
        let place = server.place;
        place.prints(&["projects", "create", "other"]);
        let key = key_in(&place.prints(&[
            "keys",
            "create",
            "--project",
            "other",
            "--role",
            "admin",
            "--name",
            "its first",
        ]));
        let other = server.anyone().with_key(&key.unwrap());
        let other_ada =
            other.post("/api/keys", json!({"role": "user", "user": "ada", "name": "x"})).is(201).json();
        let other_ada = server.anyone().with_key(other_ada["key"].as_str().unwrap());
        let (admin, ada, bob, service) =
            (server.admin(), server.user("ada"), server.user("bob"), server.service());
        let wrong = server.anyone().with_key(&format!("pc_{}", "x".repeat(43)));
        for client in [&admin, &other] {
            client.put("/api/integrations/mailbox/oauth-apps/default", json!({"client_id": "id"})).is(201);
        }
        let callers = vec![
            server.anyone(),
            wrong,
            admin.clone(),
            ada.clone(),
            bob,
            service.clone(),
            service.acting_for("ada"),
            service.acting_for("bob"),
        ];
        Self { admin, ada, other, other_ada, callers }
    }

    /// Makes what a placeholder stands for; its id, slug or name.
    #[track_caller]
    fn make(&self, thing: &str) -> String {
        let connection = |client: &Client, visibility: &str| {
            let mut body = desk_connection("A connection", "k");
            body["visibility"] = json!(visibility);
            client.connect(body)["id"].as_str().unwrap().to_owned()
        };
        let upload = |client: &Client, slug: &str| {
            assert!(client.upload(Form::of_zip(&zip(slug, &numbered(1)))).status < 300);
            slug.to_owned()
        };
        let secret = |client: &Client, name: &str| {
            assert!(client.put(&format!("/api/secrets/{name}"), json!({"value": "v"})).status < 300);
            name.to_owned()
        };
        let agent = |client: &Client, name: &str| {
            assert!(client.put(&format!("/api/agents/{name}"), json!({"connections": []})).status < 300);
            name.to_owned()
        };
        let key = |client: &Client| {
            let made =
                client.post("/api/keys", json!({"role": "user", "user": "zoe", "name": "x"})).is(201).json();
            made["id"].as_str().unwrap_or_else(|| panic!("{made:#}")).to_owned()
        };
        let app = |client: &Client, name: &str| {
            let body = json!({"client_id": "id", "client_secret": "a secret"});
            let made = client.put(&format!("/api/integrations/mailbox/oauth-apps/{name}"), body);
            assert!(made.status < 300, "{}", made.text());
            name.to_owned()
        };
        let consent = |client: &Client| {
            let made = client.connect(json!({"integration": "mailbox", "mode": "oauth", "name": "Mail"}));
            made["id"].as_str().unwrap().to_owned()
        };
        let execution = |client: &Client| {
            client.result("echo__go", json!({}));
            let list = client.get("/api/executions?limit=1").is(200).json();
            list["executions"][0]["id"].as_str().unwrap().to_owned()
        };
        let approval = |client: &Client| {
            // Another one each time.
            let called = client.call("writer__go", json!({"n": random(u64::MAX)}));
            called.content()["approval_id"]
                .as_str()
                .unwrap_or_else(|| panic!("{:#}", called.answer))
                .to_owned()
        };
        match thing {
            "private" => connection(&self.ada, "user"),
            "shared" => connection(&self.ada, "project"),
            "other" => connection(&self.other_ada, "user"),
            "other_shared" => connection(&self.other_ada, "project"),
            "upload" => upload(&self.admin, "uploaded"),
            "other_upload" => upload(&self.other, "uploaded-elsewhere"),
            "secret" => secret(&self.admin, "ours"),
            "other_secret" => secret(&self.other, "theirs"),
            "agent" => agent(&self.admin, "ours"),
            "other_agent" => agent(&self.other, "theirs"),
            "key" => key(&self.admin),
            "other_key" => key(&self.other),
            "consent" => consent(&self.ada),
            "other_consent" => consent(&self.other_ada),
            "app" => app(&self.admin, "ours"),
            "other_app" => app(&self.other, "theirs"),
            "execution" => execution(&self.ada),
            "other_execution" => execution(&self.other_ada),
            "approval" => approval(&self.ada),
            "service_approval" => approval(&self.callers[6]),
            "other_approval" => approval(&self.other_ada),
            "missing" => "01936f6e-0000-7000-8000-000000000000".to_owned(),
            _ => panic!("{thing}"),
        }
    }

    /// Sends a row's request as one of the callers, about things just made.
    #[track_caller]
    fn send(&self, (method, path, body, _): &Row, caller: &Client) -> (Response, String) {
        let (target, thing) = match (path.find('{'), path.find('}')) {
            (Some(from), Some(to)) => {
                let thing = self.make(&path[from + 1..to]);
                (format!("{}{thing}{}", &path[..from], &path[to + 1..]), thing)
            }
            _ => ((*path).to_owned(), String::new()),
        };
        let body = match body {
            Nothing => Body::None,
            Json(text) => Body::Json(serde_json::from_str(text).unwrap()),
            Zip => Form::of_zip(&zip("fresh", &numbered(1))).body(),
        };
        let answer = caller.send(method, &target, body);
        if *path == "/api/integrations" && answer.status == 201 {
            self.admin.delete("/api/integrations/fresh").is(204);
        }
        (answer, thing)
    }
}

on_each_store!(each_route_gives_each_role_its_status);

fn each_route_gives_each_role_its_status(place: &Place) {
    place.install("desk", &desk());
    place.install("echo", &echo());
    place.install("writer", &writer());
    place.install("mailbox", &mailbox());
    let server = place.start();
    let stage = Stage::of(&server);
    let mut wrong = Vec::new();
    for row in ROUTES {
        for ((name, caller), expected) in CALLERS.iter().zip(&stage.callers).zip(row.3) {
            let (answer, _) = stage.send(row, caller);
            // Whoever tries wrong keys again and again is told to wait, and learns no more than before.
            let is_slowed_down = *name == "wrong key" && expected == 401 && answer.status == 429;
            if answer.status != expected && !is_slowed_down {
                wrong.push(format!(
                    "{} {} as {name}: {} instead of {expected}: {}",
                    row.0,
                    row.1,
                    answer.status,
                    answer.text()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} cells:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn anothers_thing_is_answered_as_none_at_all() {
    let place = Place::sqlite();
    place.install("desk", &desk());
    place.install("echo", &echo());
    place.install("writer", &writer());
    place.install("mailbox", &mailbox());
    let server = place.start();
    let stage = Stage::of(&server);
    for row in ROUTES.iter().filter(|row| row.1.contains('{') && !row.1.contains("missing")) {
        for (name, caller) in CALLERS.iter().zip(&stage.callers).skip(2) {
            let (answer, thing) = stage.send(row, caller);
            if answer.status != 404 {
                continue;
            }
            let none = if thing.contains('-') && thing.len() == 36 {
                stage.make("missing")
            } else {
                "nothing-here".to_owned()
            };
            let body = match row.2 {
                Json(text) => Body::Json(serde_json::from_str(text).unwrap()),
                Nothing | Zip => Body::None,
            };
            let (from, to) = (row.1.find('{').unwrap(), row.1.find('}').unwrap());
            let target = format!("{}{none}{}", &row.1[..from], &row.1[to + 1..]);
            let nothing = caller.send(row.0, &target, body);
            if row.1.ends_with("/icon") {
                // It is the integration that isn't there, in one case, and its icon in the other.
                continue;
            }
            assert_eq!(nothing.status, 404, "{} {target} as {name}", row.0);
            assert_eq!(
                answer.text().replace(&thing, "IT"),
                nothing.text().replace(&none, "IT"),
                "{} {} as {name}",
                row.0,
                row.1
            );
            let named = |response: &Response| {
                let mut names: Vec<String> = response.headers.iter().map(|(name, _)| name.clone()).collect();
                names.sort();
                names
            };
            assert_eq!(named(&answer), named(&nothing));
        }
    }
}

#[test]
fn a_persons_key_acts_for_nobody_else() {
    let place = Place::sqlite();
    let server = place.start();
    let ada = server.user("ada");
    ada.acting_for("ada").get("/api/integrations").is(200);
    ada.acting_for("bob").get("/api/integrations").refuses(403, "FORBIDDEN");
    server.admin().acting_for("bob").get("/api/keys").is(200);
    server.service().acting_for(" bad name ").get("/api/integrations");
    server.service().acting_for("bad\tname").get("/api/integrations").is(400);
}

#[test]
fn both_schemes_are_taken_and_no_other() {
    let place = Place::sqlite();
    let server = place.start();
    let key = place.admin_key.get().unwrap();
    let with = |value: String| server.anyone().with_header("Authorization", &value).get("/api/integrations");
    for scheme in ["Bearer", "ApiKey", "bearer", "apikey"] {
        with(format!("{scheme} {key}")).is(200);
    }
    for value in [
        format!("Basic {key}"),
        key.clone(),
        String::new(),
        format!("Bearer {key}x"),
        format!("Bearer  {}", &key[3..]),
    ] {
        let answer = with(value);
        assert_eq!(answer.header("www-authenticate").map(|value| value.starts_with("Bearer")), Some(true));
        let error = answer.refuses(401, "UNAUTHORIZED");
        assert!(!error.to_string().contains(&key[3..]), "{error}");
    }
}

#[test]
fn keys_are_shown_once_and_revoked_for_good() {
    let place = Place::sqlite();
    let server = place.start();
    let admin = server.admin();
    let made =
        admin.post("/api/keys", json!({"role": "user", "user": "ada", "name": "laptop"})).is(201).json();
    let key = made["key"].as_str().unwrap();
    let ada = server.anyone().with_key(key);
    ada.get("/api/integrations").is(200);
    let list = admin.get("/api/keys").is(200);
    assert!(!list.text().contains(&key[3..]), "{}", list.text());
    let list = list.json();
    assert_eq!(list["count"], 2);
    let shown: &Value = &list["keys"][0];
    assert_eq!(
        (&shown["role"], &shown["user"], &shown["name"]),
        (&json!("user"), &json!("ada"), &json!("laptop"))
    );
    admin.delete(&format!("/api/keys/{}", shown["id"].as_str().unwrap())).is(204);
    ada.get("/api/integrations").refuses(401, "UNAUTHORIZED");
    for (body, what) in [
        (json!({"role": "user", "name": "x"}), "a user's key without a user"),
        (json!({"role": "service", "user": "ada", "name": "x"}), "a service's key with a user"),
        (json!({"role": "king", "name": "x"}), "no such role"),
    ] {
        let status = admin.post("/api/keys", body).status;
        assert!(status == 400 || status == 422, "{what}: {status}");
    }
}
