//! Results: JSON by `JSON.stringify`'s rules, whatever the code returns, and bytes alone cross.

use portcullis_runtime::ErrorCode::{LimitExceeded, ProviderError};
use portcullis_runtime::{KIB, MIB};
use serde_json::{Value, json};

use crate::support::Case;

/// An `execute` that returns this expression.
#[track_caller]
fn gives(expression: &str, expected: Value) {
    Case::execute(&format!("return {expression};")).gives(expected);
}

#[track_caller]
fn is_no_json(expression: &str, word: &str) {
    let ran = Case::execute(&format!("{expression};")).run();
    let error = ran.error();
    assert_eq!(error.code, ProviderError, "{error:#?}");
    assert!(error.message.starts_with("the connector's result can't be said in JSON: "), "{error:#?}");
    assert!(error.message.contains(word), "{error:#?}");
}

#[test]
fn plain_values() {
    gives("{ a: [1, 'ü', true, null, { b: -1.5 }] }", json!({"a": [1, "ü", true, null, {"b": -1.5}]}));
    for (expression, expected) in [
        ("'text'", json!("text")),
        ("0", json!(0)),
        ("''", json!("")),
        ("false", json!(false)),
        ("[]", json!([])),
        ("null", json!(null)),
    ] {
        gives(expression, expected);
    }
}

#[test]
fn what_json_has_no_word_for_is_null() {
    for expression in
        ["", "undefined", "() => 1", "Symbol('s')", "NaN", "Infinity", "-Infinity", "{ toJSON() {} }"]
    {
        gives(expression, json!(null));
    }
    Case::execute("").gives(json!(null));
    Case::execute("return Promise.resolve()").gives(json!(null));
}

#[test]
fn members_that_json_has_no_word_for() {
    gives(
        "{ a: undefined, b: () => 1, c: Symbol('s'), d: NaN, e: [undefined, () => 1, Symbol('s'), , Infinity] }",
        json!({"d": null, "e": [null, null, null, null, null]}),
    );
}

#[test]
fn objects_of_the_language() {
    gives("new Date(86400000)", json!("1970-01-02T00:00:00.000Z"));
    gives("new Date(NaN)", json!(null));
    gives(
        "[new Map([[1, 2]]), new Set([1]), /x/g, new WeakMap(), new Error('hidden')]",
        json!([{}, {}, {}, {}, {}]),
    );
    gives(
        "[new String('s'), new Number(1), new Boolean(false), Object(Symbol())]",
        json!(["s", 1, false, {}]),
    );
    gives("new Uint8Array([1, 255])", json!({"0": 1, "1": 255}));
    gives("[new ArrayBuffer(2), new DataView(new ArrayBuffer(2))]", json!([{}, {}]));
    gives(
        "Object.create({ inherited: 1 }, { own: { value: 2, enumerable: true }, hidden: { value: 3 } })",
        json!({"own": 2}),
    );
    gives("new (class A { x = 1; #y = 2; get z() { return 3 } static s = 4 })()", json!({"x": 1}));
    gives("Object.assign(Object.create(null), { a: 1 })", json!({"a": 1}));
    gives("Object.assign([1, 2], { extra: 3 })", json!([1, 2]));
    gives("(function () { return arguments })(1, 2)", json!({"0": 1, "1": 2}));
}

#[test]
fn numbers_are_written_as_javascript_does() {
    gives(
        "[1e21, 1e-7, -0, 0.1 + 0.2, 9007199254740991, 5e-324, 1.7976931348623157e308, 1.0]",
        json!([
            1e21,
            1e-7,
            0,
            0.300_000_000_000_000_04,
            9_007_199_254_740_991_i64,
            5e-324,
            1.797_693_134_862_315_7e308,
            1
        ]),
    );
}

#[test]
fn keys_keep_the_order_of_javascript() {
    let ran = Case::execute("return { z: 1, a: 2, 10: 3, 9: 4, 'ü': 5, '': 6 }").run();
    assert_eq!(ran.value().to_string(), r#"{"9":4,"10":3,"z":1,"a":2,"ü":5,"":6}"#);
}

#[test]
fn getters_are_read_once() {
    gives("(() => { let n = 0; return { get a() { return ++n } } })()", json!({"a": 1}));
}

#[test]
fn a_getter_that_throws_is_the_calls_error() {
    let ran = Case::execute("return { get a() { throw new RangeError('from a getter') } }").run();
    assert_eq!((ran.error().code, ran.error().message.as_str()), (ProviderError, "from a getter"));
    assert!(
        ran.stack().starts_with("RangeError: from a getter\n    at get a (connector.ts:"),
        "{}",
        ran.stack()
    );
}

#[test]
fn to_json_is_called() {
    gives("{ toJSON: (key) => [key] }", json!([""]));
    gives("{ a: { toJSON: (key) => key } }", json!({"a": "a"}));
    gives("new (class { toJSON() { return { x: 1 } } })()", json!({"x": 1}));
    let ran = Case::execute("return { toJSON() { throw new Error('no') } }").run();
    assert_eq!(ran.error().message, "no");
}

#[test]
fn proxies_are_read_through() {
    gives(
        "new Proxy({ a: 1 }, { get: (target, key) => key === 'toJSON' ? undefined : target[key] + 1 })",
        json!({"a": 2}),
    );
    gives("new Proxy([1, 2], {})", json!([1, 2]));
    gives(
        "new Proxy({}, { ownKeys: () => ['x'], getOwnPropertyDescriptor: () => ({ value: 1, enumerable: true, configurable: true }), get: (_, key) => key === 'x' ? 'made up' : undefined })",
        json!({"x": "made up"}),
    );
    let ran = Case::execute("return new Proxy({}, { ownKeys() { throw new Error('trapped') } })").run();
    assert_eq!(ran.error().message, "trapped");
    let ran =
        Case::execute("const { proxy, revoke } = Proxy.revocable({}, {}); revoke(); return proxy").run();
    assert_eq!(ran.error().code, ProviderError);
}

#[test]
fn a_key_called_proto_is_a_key() {
    gives("JSON.parse('{\"__proto__\": {\"a\": 1}, \"b\": 2}')", json!({"__proto__": {"a": 1}, "b": 2}));
    gives(
        "{ ['__proto__']: 1, constructor: 2, hasOwnProperty: 3 }",
        json!({"__proto__": 1, "constructor": 2, "hasOwnProperty": 3}),
    );
    gives("{ __proto__: { a: 1 }, b: 2 }", json!({"b": 2}));
}

#[test]
fn text_of_every_kind() {
    gives(
        "'\\0\\u0001\\b\\n\\u007f\\u2028\\ufeff\\uffff 😀 \\\" \\\\ </script>'",
        json!("\0\u{1}\u{8}\n\u{7f}\u{2028}\u{feff}\u{ffff} 😀 \" \\ </script>"),
    );
    gives("'\\\\u0041 \\\\ud800'", json!("\\u0041 \\ud800"));
}

#[test]
fn lone_surrogates_become_replacement_characters() {
    gives(
        "['\\ud800', 'a\\udc00b', '\\ud83d\\ud83d\\ude00', '\\udc00\\ud800']",
        json!(["\u{fffd}", "a\u{fffd}b", "\u{fffd}😀", "\u{fffd}\u{fffd}"]),
    );
    gives("{ '\\ud800': 1 }", json!({"\u{fffd}": 1}));
}

#[test]
fn cycles_are_told() {
    is_no_json("const a = {}; a.self = a; return a", "circular");
    is_no_json("const a = []; a.push({ a }); return a", "circular");
    is_no_json("const a = {}; return { b: { toJSON: () => ((a.a = a), a) } }", "circular");
    is_no_json("return globalThis.x = { globalThis }", "circular");
}

#[test]
fn the_same_object_twice_is_no_cycle() {
    gives(
        "(() => { const a = { x: 1 }; return [a, a, { a }] })()",
        json!([{"x": 1}, {"x": 1}, {"a": {"x": 1}}]),
    );
}

#[test]
fn big_integers_are_told() {
    is_no_json("return 1n", "BigInt");
    is_no_json("return { a: [Object(1n)] }", "BigInt");
    gives(
        "(BigInt.prototype.toJSON = function () { return this.toString() }, { a: 12345678901234567890n })",
        json!({"a": "12345678901234567890"}),
    );
}

#[test]
fn an_error_of_the_codes_that_speaks_of_cycles_is_its_own() {
    let ran = Case::execute("throw new Error('circular reference in invoice')").run();
    assert_eq!(ran.error().message, "circular reference in invoice");
}

#[test]
fn nesting_up_to_a_hundred_levels_crosses() {
    let ran =
        Case::execute("let a = 1; for (let i = 0; i < 100; i++) a = i % 2 ? [a] : { a }; return a").run();
    assert_eq!(ran.value().to_string().len(), 100 / 2 * 2 + 100 / 2 * 6 + 1);
}

#[test]
fn nesting_beyond_is_told() {
    Case::execute("let a = 1; for (let i = 0; i < 1000; i++) a = [a]; return a").fails(
        ProviderError,
        "the connector's result can't be passed on: it is nested more than 128 levels deep",
    );
}

#[test]
fn nesting_past_all_bounds_ends_the_call_alone() {
    for make in ["a = [a]", "a = { a }", "a = { a: { toJSON: ((b) => () => b)(a) } }"] {
        let ran =
            Case::execute(&format!("let a = 1; for (let i = 0; i < 200000; i++) {make}; return a")).run();
        let error = ran.error();
        assert!([LimitExceeded, ProviderError].contains(&error.code), "{error:#?}");
    }
}

#[test]
fn a_patched_json_changes_no_result() {
    gives("(JSON.stringify = () => '\"hijacked\"', { a: 1 })", json!({"a": 1}));
    gives("(Object.prototype.toJSON = () => 'everywhere', { a: 1 })", json!("everywhere"));
}

#[test]
fn a_result_past_the_limit_is_told() {
    let with_length = |length: u64| {
        Case::execute(&format!("return 'x'.repeat({length})")).limits(|limits| limits.result = 4 * KIB)
    };
    with_length(4 * KIB - 2).gives(json!("x".repeat(4094)));
    let ran = with_length(4 * KIB - 1).fails(LimitExceeded, "the result is larger than the limit of 4 KiB");
    assert_eq!(ran.error().details, Some(json!({"limit": "result", "value": 4096})));
    with_length(100_000).fails(LimitExceeded, "the result is larger than the limit of 4 KiB");
    Case::execute(&format!("return 'x'.repeat({})", 2 * MIB))
        .fails(LimitExceeded, "the result is larger than the limit of 2 MiB");
}

#[test]
fn a_result_that_json_makes_larger_is_measured_as_json() {
    Case::execute("return '\\u0001'.repeat(1000)")
        .limits(|limits| limits.result = 4 * KIB)
        .fails(LimitExceeded, "the result is larger than the limit of 4 KiB");
}
