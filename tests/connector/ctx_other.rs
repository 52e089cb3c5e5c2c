//! `ctx` but for HTTP and files: the operation and its parameters, secrets, base64; and `console`.

use portcullis_runtime::ErrorCode::{HostBlocked, InvalidArguments, LimitExceeded, ToolNotFound};
use portcullis_runtime::KIB;
use serde_json::{Value, json};

use crate::support::Case;
use crate::upstream::server::Reply;

// ── what ctx is ──────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn execute_gets_these_members() {
    Case::execute("return Object.keys(ctx).sort()").gives(json!([
        "base64Decode",
        "base64Encode",
        "http",
        "operation",
        "params",
        "secrets"
    ]));
    Case::execute("return Object.keys(ctx).sort()").storing_files().gives(json!([
        "base64Decode",
        "base64Encode",
        "files",
        "http",
        "operation",
        "params",
        "secrets"
    ]));
}

#[test]
fn test_connection_gets_no_operation_and_no_params() {
    Case::test_connection("return Object.keys(ctx).sort()").gives(json!([
        "base64Decode",
        "base64Encode",
        "http",
        "secrets"
    ]));
    Case::test_connection("return [ctx.operation, ctx.params, ctx.files, typeof ctx.files]").gives(json!([
        null,
        null,
        null,
        "undefined"
    ]));
}

#[test]
fn members_have_these_functions() {
    Case::execute("return [ctx.http, ctx.secrets, ctx.files].map((member) => Object.keys(member).sort())")
        .storing_files()
        .gives(json!([["delete", "get", "patch", "post", "put"], ["get"], ["download", "store"]]));
}

#[test]
fn ctx_can_be_taken_apart_and_changed() {
    Case::execute(
        "const { base64Encode, secrets: { get } } = ctx; ctx.mine = 1; ctx.http.get = () => 'stub';\n\
         return [base64Encode('a'), get('apiKey'), ctx.mine, ctx.http.get()]",
    )
    .secret("apiKey", "k-12345678")
    .gives(json!(["YQ==", "[redacted]", 1, "stub"]));
}

// ── operation and params ─────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn the_operation_is_its_name() {
    Case::execute("return ctx.operation").gives(json!("run"));
    Case::execute("return ctx.operation")
        .manifest(json!({"operations": [{"name": "run"}, {"name": "List_all-2"}]}))
        .operation("List_all-2")
        .gives(json!("List_all-2"));
}

#[test]
fn params_arrive_as_they_are() {
    let arguments = json!({
        "text": "Grüße \u{2028} \u{0} \" \\ 😀",
        "numbers": [0, -1.5, 1e300, 9_007_199_254_740_991_i64, 5e-324],
        "nested": {"a": [[], {}, [null]], "": "empty key", "b": [true, false]},
        "__proto__": {"polluted": true},
        "constructor": "c",
        "10": "ten", "9": "nine",
    });
    Case::execute("return ctx.params").arguments(arguments.clone()).gives(arguments);
}

#[test]
fn a_parameter_called_proto_changes_no_prototype() {
    Case::execute("return [ctx.params.polluted, ({}).polluted, Object.getPrototypeOf(ctx.params) === Object.prototype, Object.keys(ctx.params)]")
        .arguments(json!({"__proto__": {"polluted": true}}))
        .gives(json!([null, null, true, ["__proto__"]]));
}

#[test]
fn no_arguments_are_an_empty_object() {
    for arguments in [json!(null), json!({})] {
        Case::execute("return ctx.params").arguments(arguments).gives(json!({}));
    }
}

#[test]
fn defaults_are_filled() {
    let schema = json!({
        "type": "object",
        "properties": {
            "limit": {"type": "integer", "default": 25},
            "tags": {"type": "array", "items": {"type": "string"}, "default": ["a"]},
            "deep": {"type": "object", "properties": {"flag": {"type": "boolean", "default": true}}},
            "given": {"type": "string", "default": "default"},
        },
    });
    Case::execute("return ctx.params")
        .schema(schema)
        .arguments(json!({"given": "mine", "deep": {}}))
        .gives(json!({"limit": 25, "tags": ["a"], "deep": {"flag": true}, "given": "mine"}));
}

#[test]
fn arguments_that_do_not_fit_are_all_told_and_nothing_runs() {
    let schema = json!({
        "type": "object",
        "properties": {
            "id": {"type": "string", "required": true},
            "n": {"type": "integer", "minimum": 1},
            "when": {"type": "string", "format": "date-time"},
        },
        "additionalProperties": false,
    });
    let ran = Case::execute("console.log('ran'); return ctx.http.get('http://api.test/').status")
        .schema(schema)
        .arguments(json!({"n": 0, "when": "yesterday", "other": 1}))
        .serve(|_| Reply::ok(""))
        .run();
    let error = ran.error();
    assert_eq!(error.code, InvalidArguments);
    let violations = error.details.as_ref().unwrap()["violations"].as_array().unwrap();
    let mut paths: Vec<&str> =
        violations.iter().map(|violation| violation["path"].as_str().unwrap()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/id", "/n", "/other", "/when"], "{error:#?}");
    for violation in violations {
        let message = violation["message"].as_str().unwrap();
        assert!(!message.is_empty() && error.message.contains(message), "{error:#?}");
    }
    assert_eq!((ran.logged(), ran.requests().len(), ran.http.len()), (json!([]), 0, 0));
}

#[test]
fn arguments_that_are_no_object_are_invalid() {
    for arguments in [json!([]), json!("{}"), json!(1), json!(true)] {
        let ran = Case::execute("return 1").arguments(arguments.clone()).run();
        assert_eq!(ran.error().code, InvalidArguments, "{arguments}");
    }
}

#[test]
fn an_unknown_operation_is_told_with_the_nearest_one() {
    let operations = json!({"operations": [{"name": "list_items"}, {"name": "get_item"}]});
    Case::execute("return 1").manifest(operations.clone()).operation("list_item").fails(
        ToolNotFound,
        "test has no operation \"list_item\". Did you mean \"list_items\"? It has: list_items, get_item.",
    );
    Case::execute("return 1")
        .manifest(operations)
        .operation("zzzzzzzz")
        .fails(ToolNotFound, "test has no operation \"zzzzzzzz\". It has: list_items, get_item.");
}

// ── secrets and configuration ────────────────────────────────────────────────────────────────────────────────────────

/// A code body that tells values without showing them: reversed, they are no secrets.
const REVERSED: &str = "return KEYS.map((key) => ctx.secrets.get(key)?.split('').reverse().join('') ?? null)";

#[track_caller]
fn secrets(case: impl FnOnce(Case) -> Case, keys: &[&str], expected: Value) {
    case(Case::execute(&REVERSED.replace("KEYS", &json!(keys).to_string()))).gives(expected);
}

#[test]
fn secrets_are_read_by_key() {
    secrets(
        |case| case.secret("apiKey", "key-12345").secret("other", "ü-1234567"),
        &["apiKey", "other", "none", "", "__proto__", "toString"],
        json!(["54321-yek", "7654321-ü", null, null, null, null]),
    );
    Case::execute("return [typeof ctx.secrets.get('none'), 'x' in { x: ctx.secrets.get('none') }]")
        .gives(json!(["undefined", true]));
}

#[test]
fn the_first_binding_and_access_token_stand_for_each_other() {
    for auth_method in ["api_key", "bearer_token", "oauth2"] {
        let manifest = json!({
            "authMethod": auth_method,
            "secretBindings": ["mine", "second"],
            "oauth2Config": {"authorizationUrl": "https://api.test/a", "tokenUrl": "https://api.test/t"},
        });
        let keys = ["mine", "accessToken", "second"];
        secrets(
            |case| case.manifest(manifest.clone()).secret("accessToken", "token-1234"),
            &keys,
            json!(["4321-nekot", "4321-nekot", null]),
        );
        secrets(
            |case| case.manifest(manifest.clone()).secret("mine", "mine-12345"),
            &keys,
            json!(["54321-enim", "54321-enim", null]),
        );
        secrets(
            |case| {
                case.manifest(manifest.clone())
                    .secret("mine", "mine-12345")
                    .secret("accessToken", "token-1234")
            },
            &keys,
            json!(["54321-enim", "4321-nekot", null]),
        );
    }
}

#[test]
fn a_token_method_that_is_merely_supported_has_the_aliases_too() {
    let manifest = json!({
        "authMethod": "basic_auth",
        "supportedAuthMethods": ["basic_auth", "bearer_token"],
        "secretBindings": ["apiToken"],
    });
    secrets(
        |case| case.manifest(manifest).secret("accessToken", "token-1234"),
        &["apiToken", "accessToken"],
        json!(["4321-nekot", "4321-nekot"]),
    );
}

#[test]
fn basic_auth_is_a_username_and_a_password() {
    secrets(
        |case| {
            case.manifest(json!({"authMethod": "basic_auth", "secretBindings": ["username", "password"]}))
                .secret("username", "ada-lovelace")
                .secret("password", "pass:wörd 1")
        },
        &["username", "password", "accessToken"],
        json!(["ecalevol-ada", "1 dröw:ssap", null]),
    );
}

#[test]
fn strings_of_the_configuration_are_readable_and_the_connections_own_win() {
    secrets(
        |case| {
            case.manifest(json!({"connectionConfig": {
                "domain": "manifest.test", "apiVersion": "v1", "timeout": 9000, "flag": true, "list": ["x"], "region": "eu",
            }}))
            .config(json!({"domain": "own.test", "extra": "more", "n": 7, "apiKey": "config"}))
            .secret("apiKey", "secret-key")
        },
        &["domain", "apiVersion", "region", "extra", "apiKey", "timeout", "flag", "list", "n"],
        json!(["tset.nwo", "1v", "ue", "erom", "yek-terces", null, null, null, null]),
    );
}

#[test]
fn configuration_fills_allowed_hosts() {
    let case = || {
        Case::execute("return ctx.http.get(`https://${ctx.params.host}/`).body")
            .manifest(json!({"allowedHosts": ["{{domain}}", "{{region}}.cloud.test"], "connectionConfig": {"domain": "default.test", "region": "eu"}}))
            .serve_tls_as(&["default.test", "own.test", "x.own.test", "eu.cloud.test", "us.cloud.test"], |request| {
                Reply::ok(request.header("host").unwrap())
            })
    };
    let host = |host: &str| json!({ "host": host });
    case().arguments(host("default.test")).gives(json!("default.test"));
    case().arguments(host("eu.cloud.test")).gives(json!("eu.cloud.test"));
    let own = || case().config(json!({"domain": "own.test", "region": "us"}));
    for allowed in ["own.test", "x.own.test", "us.cloud.test"] {
        own().arguments(host(allowed)).gives(json!(allowed));
    }
    for blocked in ["default.test", "eu.cloud.test", "evilown.test", "cloud.test"] {
        own().arguments(host(blocked)).fails(
            HostBlocked,
            &format!(
                "HTTP request to \"{blocked}\" blocked: host not in allowedHosts [own.test, us.cloud.test]"
            ),
        );
    }
}

#[test]
fn a_host_without_its_configuration_is_reachable_by_nobody() {
    let ran = Case::execute("return ctx.http.get('https://domain/').body")
        .manifest(json!({"allowedHosts": ["{{domain}}"]}))
        .serve_tls(|_| Reply::ok(""))
        .run();
    assert_eq!(ran.error().code, HostBlocked);
    assert_eq!(ran.requests().len(), 0);
}

#[test]
fn a_configuration_value_cant_widen_what_is_allowed() {
    for domain in ["a.test, api.test", "*", "api.test/", "x@api.test", "http://api.test", "", "."] {
        let ran = Case::execute("return ctx.http.get('http://api.test/').status")
            .manifest(json!({"allowedHosts": ["{{domain}}"]}))
            .config(json!({ "domain": domain }))
            .serve(|_| Reply::ok(""))
            .run();
        // An operator's own "http://…" is the one that may ask for plain http.
        if domain != "http://api.test" {
            assert_eq!(ran.error().code, HostBlocked, "{domain:?}");
            assert_eq!(ran.requests().len(), 0, "{domain:?}");
        }
    }
}

// ── base64 ───────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn base64_encodes_utf8() {
    Case::execute("return ['', 'a', 'ab', 'abc', 'ü€😀', '\\ud800', '\\0', 7, null].map(ctx.base64Encode)")
        .gives(json!(["", "YQ==", "YWI=", "YWJj", "w7zigqzwn5iA", "77+9", "AA==", "Nw==", "bnVsbA=="]));
}

#[test]
fn base64_decodes_both_alphabets_without_padding_and_with_white_space() {
    Case::execute(
        "return ['', 'YQ==', 'YQ', 'YQ=', ' Y\\nQ\\t=\\r= ', 'w7zigqzwn5iA', 'Pz8/Pj4+', 'Pz8_Pj4-', 'AA==', '77u/YQ=='].map(ctx.base64Decode)",
    )
    .gives(json!(["", "a", "a", "a", "a", "ü€😀", "???>>>", "???>>>", "\u{0}", "\u{feff}a"]));
}

#[test]
fn bytes_that_are_no_utf8_become_replacement_characters() {
    Case::execute("return ['/w==', 'Yf9i', '7aCA'].map(ctx.base64Decode)").gives(json!([
        "\u{fffd}",
        "a\u{fffd}b",
        "\u{fffd}\u{fffd}\u{fffd}"
    ]));
}

#[test]
fn every_byte_of_ascii_comes_back() {
    Case::execute(
        "let text = ''; for (let i = 0; i < 0x2000; i++) text += String.fromCharCode(i);\n\
         return ctx.base64Decode(ctx.base64Encode(text)) === text",
    )
    .gives(json!(true));
}

#[test]
fn what_is_no_base64_throws() {
    Case::execute("return ['a', 'a*b=', 'ü'].map((text) => { try { return ctx.base64Decode(text) } catch (error) { return error.message } })")
        .gives(json!([
            "base64Decode: the text is not base64: its length is not that of any bytes",
            "base64Decode: the text is not base64: it has a character that is in neither alphabet",
            "base64Decode: the text is not base64: it has a character that is in neither alphabet",
        ]));
}

// ── console ──────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn each_method_of_console_is_a_level() {
    let ran = Case::execute("for (const level of ['debug', 'log', 'info', 'warn', 'error']) console[level](level + '!'); return 1").run();
    assert_eq!(
        ran.logged(),
        json!([
            ["debug", "debug!"],
            ["log", "log!"],
            ["info", "info!"],
            ["warn", "warn!"],
            ["error", "error!"]
        ])
    );
}

#[test]
fn logs_show_values_as_people_read_them() {
    let ran = Case::execute(
        r"
        const cycle = {}; cycle.self = cycle;
        console.log('text', 1, -0.5, true, null, undefined, 12n, Symbol('s'));
        console.log({ a: [1, 'x', null] }, [1, [2]], new Date(0));
        console.log(new Map([['a', 1]]), new Set([1, 2]));
        console.log(cycle);
        console.log(function named() {}, class C {});
        console.log();
        console.log('two\nlines', '', 'ü😀\ud800');
        console.log({ big: 1n });
        console.log({ toJSON() { throw new Error('no'); } }, { get a() { throw new Error('no'); } });
        console.log(Object.create(null), new Proxy({}, {}));
        return 1;",
    )
    .run();
    let messages: Vec<&str> = ran.logs.iter().map(|line| line.message.as_str()).collect();
    assert_eq!(messages[0], "text 1 -0.5 true null undefined 12n Symbol(s)");
    assert_eq!(messages[1], r#"{"a":[1,"x",null]} [1,[2]] "1970-01-01T00:00:00.000Z""#);
    assert!(messages[2].contains("Map") || messages[2].contains("{}"), "{}", messages[2]);
    assert!(!messages[3].is_empty(), "a cycle is shown somehow");
    assert!(messages[4].contains("named"), "{}", messages[4]);
    assert_eq!(messages[5], "");
    assert_eq!(messages[6], "two\nlines  ü😀\u{fffd}");
    assert_eq!(messages.len(), 10);
}

#[test]
fn an_error_in_a_log_has_its_stack_and_causes() {
    let ran = Case::code(
        "function execute(ctx) {\n  console.error('failed:', new TypeError('outer', { cause: new Error('inner') }));\n}\nfunction testConnection() {}\n",
    )
    .run();
    assert_eq!(
        ran.logs[0].message,
        "failed: TypeError: outer\n    at execute (connector.ts:2:64)\nCaused by: Error: inner\n    at execute (connector.ts:2:64)"
    );
}

#[test]
fn logs_are_kept_when_the_call_fails() {
    let ran = Case::execute("console.log('before'); throw new Error('x')").run();
    assert_eq!(ran.logged(), json!([["log", "before"]]));
    let ran = Case::execute("console.log('before'); for (;;) {}")
        .limits(|limits| limits.deadline = std::time::Duration::from_millis(300))
        .run();
    assert_eq!(ran.logged(), json!([["log", "before"]]));
}

#[test]
fn top_level_logs_are_kept_too() {
    let ran = Case::code(
        "console.info('loading');\nconst connector = { testConnection() {}, execute() { return 1 } };",
    )
    .run();
    assert_eq!(ran.logged(), json!([["info", "loading"]]));
}

#[test]
fn logs_past_the_limit_end_the_call_and_what_came_before_is_kept() {
    let ran = Case::execute("for (let i = 0; ; i++) console.log('x'.repeat(100))")
        .limits(|limits| limits.logs = KIB)
        .fails(LimitExceeded, "the call logged more than its 1 KiB");
    assert_eq!(ran.logs.len(), 10);
    let ran =
        Case::execute("console.log('x'.repeat(1024)); return 1").limits(|limits| limits.logs = KIB).run();
    assert_eq!(ran.value(), &json!(1));
}

#[test]
fn many_empty_logs_are_a_limit_too() {
    let ran = Case::execute("for (;;) console.log()").limits(|limits| limits.logs = 16 * KIB).run();
    let error = ran.error();
    assert_eq!((error.code, error.message.as_str()), (LimitExceeded, "the call logged more than its 16 KiB"));
}

#[test]
fn a_log_goes_out_before_what_comes_next() {
    let ran = Case::execute("console.log('a'); ctx.http.get('http://api.test/'); console.log('b'); return Promise.resolve().then(() => { console.log('c') })")
        .serve(|_| Reply::ok(""))
        .run();
    assert_eq!(ran.logged(), json!([["log", "a"], ["log", "b"], ["log", "c"]]));
}
