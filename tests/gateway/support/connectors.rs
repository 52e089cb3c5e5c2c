//! Connectors that the tests install, each a manifest and its code.

use serde_json::{Value, json};

/// A connector with this code as the body of `execute(ctx)`; `manifest` is merged over one that is valid, needs no
/// connection and has the one operation `go`, a read.
pub(crate) fn connector(manifest: Value, execute: &str) -> (Value, String) {
    with_test(manifest, "return { success: true, message: 'fine' };", execute)
}

/// The same with this code as the body of `testConnection(ctx)`.
pub(crate) fn with_test(manifest: Value, test: &str, execute: &str) -> (Value, String) {
    let mut whole =
        json!({"title": "Test", "version": 1, "authMethod": "none", "operations": [{"name": "go"}]});
    let Value::Object(changes) = manifest else { panic!("a manifest is an object") };
    whole.as_object_mut().unwrap().extend(changes);
    let code =
        format!("function testConnection(ctx) {{\n{test}\n}}\nfunction execute(ctx) {{\n{execute}\n}}\n");
    (whole, code)
}

/// Gives back its arguments.
pub(crate) fn echo() -> (Value, String) {
    connector(json!({}), "return ctx.params;")
}

/// Gives back a number, to tell one version from another.
pub(crate) fn numbered(number: u64) -> (Value, String) {
    connector(json!({}), &format!("return {number};"))
}

/// Reads and writes at an upstream: `read` GETs and `write` POSTs to the path `path`; a status from 400 on is thrown.
pub(crate) fn relay(base: &str) -> (Value, String) {
    let schema = json!({"type": "object", "properties": {"path": {"type": "string"}}});
    let manifest = json!({
        "allowedHosts": [base],
        "operations": [
            {"name": "read", "parametersSchema": schema},
            {"name": "write", "operationType": "write", "requiresApproval": false, "parametersSchema": schema},
            {"name": "careful", "operationType": "write", "parametersSchema": schema},
        ],
    });
    let execute = format!(
        "const url = '{base}' + (ctx.params.path ?? '/');
const r = ctx.operation === 'read' ? ctx.http.get(url) : ctx.http.post(url, {{ body: '{{}}' }});
if (r.status >= 400) throw new Error(`the upstream said ${{r.status}}`);
return {{ status: r.status, body: r.body }};"
    );
    connector(manifest, &execute)
}

/// A service with accounts: its key is `KEY`; the test refuses a key that begins with `bad`, in its own words.
pub(crate) fn desk() -> (Value, String) {
    with_test(
        json!({
            "title": "Desk", "authMethod": "api_key", "secretBindings": ["KEY"],
            "operations": [{"name": "whoami", "title": "Who am I", "description": "Says which key it has."}],
        }),
        "return ctx.secrets.get('KEY').startsWith('bad')
    ? { success: false, message: 'the desk refuses this key' } : { success: true, message: 'welcome' };",
        "return ctx.secrets.get('KEY').split('').reverse().join('');",
    )
}

/// An account that is connected by consent, at a provider that nobody reaches.
pub(crate) fn mailbox() -> (Value, String) {
    let url = |path: &str| format!("https://id.example.com/{path}");
    let config = json!({"authorizationUrl": url("authorize"), "tokenUrl": url("token"), "scopes": ["mail"]});
    connector(
        json!({"authMethod": "oauth2", "oauth2Config": config}),
        "return ctx.secrets.get('accessToken').length;",
    )
}

/// The body of a new connection to [`desk`].
pub(crate) fn desk_connection(name: &str, key: &str) -> Value {
    json!({"integration": "desk", "mode": "api_key", "name": name, "credentials": {"KEY": key}})
}
