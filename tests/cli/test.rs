//! `portcullis test`: connections that work, that don't, and connectors that say so in their own ways.

use serde_json::json;

use crate::workspace::Workspace;

fn tester(body: &str) -> Workspace {
    let here = Workspace::new();
    let code = format!("function execute() {{}}\nfunction testConnection(ctx) {{\n{body}\n}}\n");
    here.connector_with_code("tester", json!({}), &code);
    here
}

#[test]
fn a_connection_that_works() {
    let here = tester("console.log('trying'); return { success: true, message: 'Connected as Ada' };");
    here.run(&["test", "tester"]).exits(0).is_golden("test-ok");
    let report = here.run(&["test", "tester", "--json"]).exits(0).report();
    assert_eq!(report["result"], json!({"success": true, "message": "Connected as Ada"}));
}

#[test]
fn a_test_without_a_message_is_ok_too() {
    for body in ["return true;", "return { success: true };", "return { success: true, message: ' ' };"] {
        tester(body).run(&["test", "tester"]).exits(0).says("ok: the connection works");
    }
}

#[test]
fn a_connection_that_does_not_work() {
    let here = tester("return { success: false, message: 'the key was revoked' };");
    here.run(&["test", "tester"]).exits(1).is_golden("test-unsuccessful");
    let report = here.run(&["test", "tester", "--json"]).exits(1).report();
    assert_eq!(report["error"]["message"], "the key was revoked");
    let thrown = tester("throw new Error('no route');").run(&["test", "tester"]).exits(1);
    assert_eq!(thrown.says("error: no route").stdout, "");
}
