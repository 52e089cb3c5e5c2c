//! Approvals: calls that wait for a person, run once, and never as anything but what was shown.

mod crash;
mod decisions;
mod stale;
mod wait;
mod webhook;

use serde_json::{Value, json};

use crate::support::connectors::with_test;
use crate::support::{Client, Place, Reply, TestServer};

/// A service that sends letters: a write that reads its account's key, and posts what it is given.
fn mailer(base: &str) -> (Value, String) {
    let manifest = json!({
        "title": "Mailer", "authMethod": "api_key", "secretBindings": ["KEY"], "allowedHosts": [base],
        "operations": [
            {"name": "send", "operationType": "write", "parametersSchema": {"type": "object", "properties": {
                "to": {"type": "string"}, "text": {"type": "string"}, "password": {"type": "string"},
            }, "required": ["to"]}},
            {"name": "peek", "requiresApproval": true},
        ],
    });
    let execute = format!(
        "const r = ctx.http.post('{base}/' + (ctx.params.to ?? 'peek'), {{
    headers: {{ 'X-Key': ctx.secrets.get('KEY') }}, body: JSON.stringify(ctx.params) }});
if (r.status >= 400) throw new Error(`the mailer said ${{r.status}}`);
return {{ sent: ctx.params.to ?? null, said: r.body }};"
    );
    with_test(manifest, "return { success: true, message: 'fine' };", &execute)
}

/// An upstream that says yes.
fn yes() -> TestServer {
    TestServer::start(|_| Reply::ok("yes"))
}

/// The body of a new connection to [`mailer`].
fn mail_connection(name: &str) -> Value {
    json!({"integration": "mailer", "mode": "api_key", "name": name, "credentials": {"KEY": "s3cret-key-of-mail"}})
}

/// Makes a call that must wait; its approval's id.
#[track_caller]
fn ask(client: &Client, tool: &str, arguments: Value) -> String {
    let called = client.call(tool, arguments);
    let content = called.content();
    assert_eq!(content["status"], "approval_required", "{:#}", called.answer);
    content["approval_id"].as_str().unwrap().to_owned()
}

#[track_caller]
fn approve(client: &Client, id: &str) -> crate::support::Response {
    client.post(&format!("/api/approvals/{id}/approve"), json!({}))
}

#[track_caller]
fn reject(client: &Client, id: &str, reason: &str) -> crate::support::Response {
    client.post(&format!("/api/approvals/{id}/reject"), json!({"reason": reason}))
}

#[track_caller]
fn get(client: &Client, id: &str) -> Value {
    client.get(&format!("/api/approvals/{id}")).is(200).json()
}

/// How many requests came to a path.
fn n_requests(upstream: &TestServer, path: &str) -> usize {
    upstream.requests().iter().filter(|request| request.target() == path).count()
}

/// A place with a mailer, whose letters go to `upstream`.
fn with_mailer<'p>(place: &'p Place, upstream: &TestServer) -> crate::support::Server<'p> {
    place.install("mailer", &mailer(&upstream.url("")));
    place.start()
}
