//! What a call that fails is told as: its code, its message, its stack trace.

use std::time::Duration;

use portcullis_runtime::ErrorCode::{
    LimitExceeded, ProviderError, ProviderRateLimited, ProviderUnavailable, SandboxCrashed,
};
use serde_json::{Value, json};

use crate::support::Case;
use crate::upstream::server::Reply;

// ── what is thrown ───────────────────────────────────────────────────────────────────────────────────────────────────

#[track_caller]
fn throws(thrown: &str, message: &str) -> crate::support::Ran {
    Case::execute(&format!("throw {thrown};")).fails(ProviderError, message)
}

#[test]
fn an_errors_message_is_the_calls() {
    let ran = throws("new Error('it is broken: 7')", "it is broken: 7");
    assert_eq!(ran.error().details, None);
    assert!(
        ran.stack().starts_with("Error: it is broken: 7\n    at execute (connector.ts:4:"),
        "{}",
        ran.stack()
    );
}

#[test]
fn errors_of_every_class() {
    throws("new TypeError('t')", "t");
    throws("new (class ApiError extends Error { name = 'ApiError' })('sub')", "sub");
    throws("new AggregateError([new Error('a')], 'several')", "several");
    throws("Object.assign(new Error('with more'), { status: 404, body: {} })", "with more");
    throws("Object.freeze(new Error('frozen'))", "frozen");
    throws("Error('no new')", "no new");
    throws("Reflect.construct(Error, ['reflected'], Object)", "reflected");
    throws("new Error()", "Error");
    throws("new RangeError('')", "RangeError");
    throws("new Error({ toString: () => 'made text' })", "made text");
    throws("new Error('ü😀\\ud800\\n\\0')", "ü😀\u{fffd}\n\0");
    throws("new Proxy(new Error('proxied'), {})", "proxied");
}

#[test]
fn an_errors_own_name_heads_its_stack() {
    let ran = throws(
        "new (class ApiError extends Error { constructor(m) { super(m); this.name = 'ApiError'; } })('named')",
        "named",
    );
    assert!(ran.stack().starts_with("ApiError: named\n    at "), "{}", ran.stack());
}

#[test]
fn what_is_no_error_can_be_thrown_too() {
    throws("'just text'", "just text");
    throws("''", "");
    throws("7", "7");
    throws("undefined", "undefined");
    throws("null", "null");
    throws("true", "true");
    throws("12n", "12");
    throws("Symbol('s')", "Symbol(s)");
    throws("{ message: 'from a plain object', code: 1 }", "from a plain object");
    throws("{ code: 'E', n: 1 }", "{\"code\":\"E\",\"n\":1}");
    throws("[1, 'a']", "[1,\"a\"]");
    assert_eq!(throws("{ message: 'm' }", "m").error().stack, None);
}

#[test]
fn what_refuses_to_be_described_is_an_error_all_the_same() {
    const INDESCRIBABLE: &str = "the connector threw a value that can't be described";
    for thrown in [
        "new Proxy({}, { get() { throw 1 }, getPrototypeOf() { throw 2 } })",
        "{ get message() { throw new Error('no') } }",
        "{ toJSON() { throw new Error('no') } }",
        "Object.defineProperty(new Error('x'), 'message', { get() { throw new Error('no') } })",
        "Object.assign(new Error(), { message: Object.create(null) })",
        "(() => { const o = {}; o.o = o; return o })()",
    ] {
        throws(thrown, INDESCRIBABLE);
    }
}

#[test]
fn a_message_that_is_no_text_is_made_text() {
    throws("Object.assign(new Error(), { message: 7 })", "7");
    throws("Object.assign(new Error(), { message: ['a', 'b'] })", "a,b");
    throws("Object.assign(new Error(), { message: undefined })", "undefined");
}

#[test]
fn a_huge_message_is_cut() {
    let ran = Case::execute("throw new Error('x'.repeat(5_000_000))").run();
    let error = ran.error();
    assert_eq!(error.code, ProviderError);
    assert_eq!(error.message.len(), 65536);
    assert!(error.stack.as_ref().unwrap().len() <= 65536);
    let ran = Case::execute("throw new Error('😀'.repeat(5_000_000 / 4))").run();
    assert_eq!((ran.error().code, ran.error().message.chars().count()), (ProviderError, 32768));
}

#[test]
fn causes_are_in_the_stack() {
    let ran = throws(
        "new Error('outer', { cause: new TypeError('middle', { cause: new Error('inner') }) })",
        "outer",
    );
    let stack = ran.stack();
    let heads: Vec<&str> = stack.lines().filter(|line| !line.starts_with("    at ")).collect();
    assert_eq!(heads, ["Error: outer", "Caused by: TypeError: middle", "Caused by: Error: inner"]);
}

#[test]
fn causes_that_go_round_or_are_no_errors_end() {
    let ran = Case::execute("const error = new Error('round'); error.cause = error; throw error").run();
    assert!(ran.stack().matches("Error: round").count() < 10);
    for cause in ["'text'", "{ a: 1 }", "null", "7"] {
        let ran = throws(&format!("new Error('m', {{ cause: {cause} }})"), "m");
        assert!(ran.stack().starts_with("Error: m\n"), "{}", ran.stack());
    }
}

#[test]
fn a_stack_of_the_codes_own_is_kept() {
    let ran = throws("Object.assign(new Error('m'), { stack: 'made up' })", "m");
    assert_eq!(ran.stack(), "made up");
    for stack in ["7", "undefined", "{}", "null"] {
        let ran =
            throws(&format!("Object.defineProperty(new Error('m'), 'stack', {{ value: {stack} }})"), "m");
        assert_eq!(ran.stack(), "Error: m");
    }
    let ran = throws("Object.defineProperty(new Error('m'), 'stack', { get() { throw 1 } })", "m");
    assert!(ran.error().stack.as_deref().unwrap_or("Error: m").starts_with("Error: m"));
}

#[test]
fn patched_classes_change_nothing_in_what_is_said() {
    throws(
        "(() => { const error = new Error('m'); Error = class {}; JSON.stringify = () => 'hijacked'; String.prototype.slice = () => 'hijacked'; String = () => 'hijacked'; return error })()",
        "m",
    );
}

// ── promises ─────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn promises_are_awaited() {
    for code in [
        "return Promise.resolve(7)",
        "return (async () => 7)()",
        "return (async () => { await null; await undefined; return await 7 })()",
        "return new Promise((resolve) => Promise.resolve().then(() => resolve(7)))",
        "return new Promise((resolve) => resolve(new Promise((resolve) => resolve(7))))",
        "return { then: (resolve) => resolve(7) }",
        "return { then: (resolve) => resolve({ then: (resolve) => resolve(7) }) }",
        "return Object.assign(() => {}, { then: (resolve) => resolve(7) })",
        "return new (class extends Promise {})((resolve) => resolve(7))",
        "return Promise.all([1, 2, 4]).then((all) => all.reduce((a, b) => a + b))",
        "let p = Promise.resolve(0); for (let i = 0; i < 7; i++) p = p.then((n) => n + 1); return p",
    ] {
        Case::execute(code).gives(json!(7));
    }
}

#[test]
fn a_then_that_is_no_function_is_a_member() {
    Case::execute("return { then: 7 }").gives(json!({"then": 7}));
    Case::execute("return Promise.resolve({ then: 'x' })").gives(json!({"then": "x"}));
}

#[test]
fn requests_can_be_made_after_an_await() {
    Case::execute("return (async () => { await null; const a = ctx.http.get('http://api.test/1').body; await null; return a + ctx.http.get('http://api.test/2').body })()")
        .serve(|request| Reply::ok(request.target()))
        .gives(json!("/1/2"));
}

#[test]
fn a_rejected_promise_is_a_thrown_error() {
    for code in [
        "return Promise.reject(new TypeError('rejected'))",
        "return (async () => { throw new TypeError('rejected') })()",
        "return (async () => { await null; throw new TypeError('rejected') })()",
        "return { then: (_, reject) => reject(new TypeError('rejected')) }",
        "return { then() { throw new TypeError('rejected') } }",
        "return Promise.resolve().then(() => { throw new TypeError('rejected') })",
        "return { get then() { throw new TypeError('rejected') } }",
    ] {
        let ran = Case::execute(code).fails(ProviderError, "rejected");
        assert!(ran.stack().starts_with("TypeError: rejected\n    at "), "{code}: {}", ran.stack());
    }
    Case::execute("return Promise.reject('text')").fails(ProviderError, "text");
    Case::execute("return Promise.reject()").fails(ProviderError, "undefined");
}

#[test]
fn a_rejection_that_nobody_awaits_is_no_error() {
    Case::execute("Promise.reject(new Error('lost')); return 1").gives(json!(1));
}

#[test]
fn a_promise_that_can_never_settle_is_told_at_once() {
    const NEVER: &str = "the promise that the connector returned can never settle: nothing is left to run that could settle it";
    for code in [
        "return new Promise(() => {})",
        "return (async () => { await new Promise(() => {}) })()",
        "return { then() {} }",
        "return Promise.race([])",
        "return Promise.all([1, new Promise(() => {})])",
    ] {
        let ran = Case::execute(code).fails(ProviderError, NEVER);
        assert!(ran.duration < Duration::from_secs(10));
    }
}

#[test]
fn jobs_without_end_reach_the_cpu_limit() {
    Case::execute(
        "const forever = () => { Promise.resolve().then(forever) }; forever(); return new Promise(() => {})",
    )
    .limits(|limits| limits.cpu = Duration::from_millis(400))
    .fails(LimitExceeded, "the call used more than its 400 ms of CPU time");
}

// ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────

#[track_caller]
fn exceeds(case: Case, message: &str, details: &Value) {
    assert_eq!(case.fails(LimitExceeded, message).error().details.as_ref(), Some(details));
}

#[test]
fn limits_are_named_with_their_values() {
    let cpu = Case::execute("for (;;) {}").limits(|limits| limits.cpu = Duration::from_millis(300));
    exceeds(cpu, "the call used more than its 300 ms of CPU time", &json!({"limit": "cpu", "value": 300}));
    for code in [
        "(function f() { return f() + 1 })()",
        "(function f() { ctx.base64Decode('YQ=='); return f() + 1 })()",
        "const a = []; a[0] = a; for (let i = 0, b = a; i < 1e5; i++) b = b[0] = [b]; (function f(x) { return [x].map(f) })(1)",
    ] {
        exceeds(
            Case::execute(code),
            "the call used more than its 512 KiB of stack",
            &json!({"limit": "stack", "value": 524_288}),
        );
    }
    for code in [
        "const all = []; for (;;) all.push(new Array(1000).fill(1))",
        "const all = []; for (;;) all.push({})",
        "return 'x'.repeat(100_000_000)",
        "return new Uint8Array(100_000_000).length",
        "const all = new Map(); for (let i = 0; ; i++) all.set(i, 'text ' + i)",
    ] {
        exceeds(
            Case::execute(code),
            "the call used more than its 64 MiB of memory",
            &json!({"limit": "memory", "value": 67_108_864}),
        );
    }
}

#[test]
fn the_cpu_limit_cant_be_caught() {
    Case::execute("for (;;) { try { for (;;) {} } catch {} finally { continue } }")
        .limits(|limits| limits.cpu = Duration::from_millis(300))
        .fails(LimitExceeded, "the call used more than its 300 ms of CPU time");
}

#[test]
fn a_stack_that_overflowed_and_was_caught_is_no_error() {
    Case::execute("try { (function f() { return f() + 1 })() } catch (error) { return [error instanceof RangeError, error.message] }")
        .gives(json!([true, "Maximum call stack size exceeded"]));
}

#[test]
fn deep_but_finite_recursion_works() {
    Case::execute("const depth = (n) => (n === 0 ? 0 : 1 + depth(n - 1)); return depth(500)")
        .gives(json!(500));
}

#[test]
fn an_error_that_the_code_words_like_a_limit_is_its_own() {
    for message in ["out of memory", "interrupted", "stack overflow"] {
        throws(&format!("new Error('{message}')"), message);
    }
}

#[test]
fn test_connection_has_a_deadline_of_its_own() {
    Case::test_connection("for (;;) {}")
        .limits(|limits| limits.test_deadline = Duration::from_millis(300))
        .fails(LimitExceeded, "the call passed its deadline of 300 ms");
}

#[test]
fn a_call_that_fails_leaves_the_next_one_alone() {
    let loaded = Case::execute(
        "if (ctx.params.do === 'loop') for (;;) {} if (ctx.params.do === 'throw') throw 1; return 'fine'",
    )
    .limits(|limits| limits.deadline = Duration::from_millis(400))
    .load();
    for what in ["loop", "throw", "loop"] {
        let call = portcullis_runtime::Call { arguments: json!({ "do": what }), ..loaded.call.clone() };
        assert!(loaded.connector.call(&call).result.is_err());
        assert_eq!(loaded.result_of(json!({})), json!("fine"));
    }
}

#[test]
fn nothing_that_code_does_crashes_its_process() {
    for code in [
        "return 'x'.repeat(2 ** 29)",
        "return new Uint8Array(2 ** 33)",
        "return new Array(2 ** 32 - 1).fill(0)",
        "return /(((((((((((((((((((((((((a*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*b/.test('a'.repeat(50))",
        "return JSON.parse('['.repeat(100000) + ']'.repeat(100000))",
        "let s = 'a'; for (;;) s += s",
        "return [].concat.apply([], new Array(100000).fill([1]))",
        "Error.stackTraceLimit = Infinity; return (function f(n) { if (!n) throw new Error('x'); f(n - 1) })(500)",
        "Object.defineProperty(Error, 'stackTraceLimit', { get() { throw 1 } }); return null.x",
        "const p = new Proxy({}, {}); Object.setPrototypeOf(Object.prototype, null); return Reflect.ownKeys(p)",
    ] {
        let ran = Case::execute(code).limits(|limits| limits.cpu = Duration::from_secs(1)).run();
        if let Err(error) = &ran.result {
            assert_ne!(error.code, SandboxCrashed, "{code}: {error:#?}");
        }
    }
}

// ── what the upstream's last answer says ─────────────────────────────────────────────────────────────────────────────

const THROWING: &str =
    "for (const path of ctx.params.paths) ctx.http.get('http://api.test/' + path); throw new Error('mine')";

/// Requests each path, whose number is the status of the answer, then throws.
fn after(paths: &[&str]) -> Case {
    Case::execute(THROWING).arguments(json!({ "paths": paths })).serve(|request| {
        let status = &request.target()[1..];
        Reply::status(&format!("{status} Some Phrase"), &[("Retry-After", "7")], "")
    })
}

#[test]
fn a_thrown_error_is_what_the_last_answer_says() {
    for (paths, code, details) in [
        (&["200"][..], ProviderError, json!(null)),
        (&["204"], ProviderError, json!(null)),
        (&["400"], ProviderError, json!({"status": 400})),
        (&["401"], ProviderError, json!({"status": 401})),
        (&["404"], ProviderError, json!({"status": 404})),
        (&["429"], ProviderRateLimited, json!({"status": 429, "retry_after": "7"})),
        (&["500"], ProviderUnavailable, json!({"status": 500, "retry_after": "7"})),
        (&["502"], ProviderUnavailable, json!({"status": 502, "retry_after": "7"})),
        (&["503"], ProviderUnavailable, json!({"status": 503, "retry_after": "7"})),
        (&["504"], ProviderUnavailable, json!({"status": 504, "retry_after": "7"})),
        (&["500", "200"], ProviderError, json!(null)),
        (&["200", "429"], ProviderRateLimited, json!({"status": 429, "retry_after": "7"})),
        (&["429", "404"], ProviderError, json!({"status": 404})),
        (&["429", "500"], ProviderUnavailable, json!({"status": 500, "retry_after": "7"})),
    ] {
        let ran = after(paths).fails(code, "mine");
        assert_eq!(ran.error().details.clone().unwrap_or(Value::Null), details, "{paths:?}");
        assert!(ran.stack().contains("connector.ts:4:"));
    }
}

#[test]
fn a_rate_limit_without_a_time_is_one_all_the_same() {
    let ran = Case::execute("ctx.http.get('http://api.test/'); throw new Error('mine')")
        .serve(|_| Reply::status("429 Too Many Requests", &[], ""))
        .fails(ProviderRateLimited, "mine");
    assert_eq!(ran.error().details, Some(json!({"status": 429, "retry_after": null})));
}

#[test]
fn what_is_returned_is_a_result_whatever_the_upstream_said() {
    Case::execute("return ctx.http.get('http://api.test/').status")
        .serve(|_| Reply::status("500 Oops", &[], ""))
        .gives(json!(500));
}

#[test]
fn a_connection_that_failed_is_unavailable_even_when_the_code_words_it() {
    Case::execute("try { ctx.http.get('http://api.test/') } catch { throw new Error('mine') }")
        .refused()
        .fails(ProviderUnavailable, "mine");
    Case::execute("try { ctx.http.get('http://api.test/') } catch {} return 'went on'")
        .refused()
        .gives(json!("went on"));
}

#[test]
fn errors_before_any_request_are_the_connectors() {
    Case::execute("return ctx.params.missing.deep")
        .fails(ProviderError, "cannot read property 'deep' of undefined");
}

// ── testing a connection ─────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_connection_test_passes_with_what_it_returns() {
    for returned in [
        json!(null),
        json!({"success": true, "message": "Hello Ada"}),
        json!(true),
        json!({"ok": 1}),
        json!("fine"),
    ] {
        Case::test_connection(&format!("return {returned}")).gives(returned);
    }
    Case::test_connection("return (async () => ({ success: true }))()").gives(json!({"success": true}));
}

#[test]
fn a_connection_test_that_says_no_has_failed() {
    for (returned, message) in [
        ("{ success: false, message: 'wrong key' }", "wrong key"),
        ("{ success: false, error: 'wrong key' }", "wrong key"),
        ("Promise.resolve({ success: false, message: 'wrong key', error: 'other' })", "wrong key"),
        ("{ success: false }", "the connector says that the connection doesn't work"),
        ("{ success: false, message: 7 }", "the connector says that the connection doesn't work"),
    ] {
        let ran = Case::test_connection(&format!("return {returned}")).fails(ProviderError, message);
        assert_eq!(ran.error().details.as_ref().unwrap()["success"], json!(false));
    }
}

#[test]
fn a_connection_test_that_throws_has_failed() {
    Case::test_connection("throw new Error('no such account')").fails(ProviderError, "no such account");
}

#[test]
fn an_operation_may_return_success_false() {
    Case::execute("return { success: false, message: 'x' }").gives(json!({"success": false, "message": "x"}));
}
