//! What an isolate has, what it lacks, and that no two calls share anything.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::support::{Case, check_golden};

/// Each own property of the object as `name: type flags`, one a line.
const DESCRIBE: &str = r"
    const flags = ({ writable, enumerable, configurable, get, set }) =>
        [writable && 'writable', enumerable && 'enumerable', configurable && 'configurable', get && 'get', set && 'set']
            .filter(Boolean).join(' ');
    const text = (key) => (typeof key === 'symbol' ? key.toString() : key);
    const keys = (object) => Reflect.ownKeys(object).map((key) => [text(key), key]).sort(([a], [b]) => (a < b ? -1 : 1));
    const describe = (object) => keys(object).map(([name, key]) => {
        const descriptor = Reflect.getOwnPropertyDescriptor(object, key);
        const { value } = descriptor;
        const type = 'value' in descriptor ? typeof value : 'accessor';
        const detail = typeof value === 'function' ? ` ${JSON.stringify(value.name)}/${value.length}` : '';
        return `${name}: ${type}${detail} (${flags(descriptor)})`;
    });
";

#[track_caller]
fn lines(value: &Value) -> String {
    let lines: Vec<&str> = value.as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    format!("{}\n", lines.join("\n"))
}

#[test]
fn the_global_object_is_this() {
    let ran = Case::execute(&format!("{DESCRIBE} return describe(globalThis);")).run();
    check_golden("globals.txt", &lines(ran.value()));
}

#[test]
fn what_the_globals_have_is_this() {
    let code = r"
        const found = [];
        for (const [name, key] of keys(globalThis)) {
            const value = globalThis[key];
            if (value === globalThis || (typeof value !== 'function' && typeof value !== 'object') || value === null) continue;
            found.push(...describe(value).map((line) => `${name}.${line}`));
            if (typeof value === 'function' && value.prototype) {
                found.push(...describe(value.prototype).map((line) => `${name}.prototype.${line}`));
            }
        }
        return found;";
    let ran = Case::execute(&format!("{DESCRIBE} {code}")).run();
    check_golden("intrinsics.txt", &lines(ran.value()));
}

#[test]
fn ctx_is_this() {
    let code = r"
        const response = ctx.http.get('http://api.test/');
        const found = [];
        const objects = { ctx, 'ctx.http': ctx.http, 'ctx.secrets': ctx.secrets, 'ctx.files': ctx.files, console, response };
        for (const [name, object] of Object.entries(objects)) {
            found.push(...describe(object).map((line) => `${name}.${line}`));
        }
        return found;";
    let ran = Case::execute(&format!("{DESCRIBE} {code}"))
        .storing_files()
        .serve(|_| crate::upstream::server::Reply::ok("{}"))
        .run();
    check_golden("ctx.txt", &lines(ran.value()));
}

#[test]
fn hosts_and_engines_extras_do_not_exist() {
    let absent = [
        "eval",
        "require",
        "module",
        "exports",
        "process",
        "global",
        "Buffer",
        "fetch",
        "XMLHttpRequest",
        "WebSocket",
        "setTimeout",
        "setInterval",
        "setImmediate",
        "clearTimeout",
        "queueMicrotask",
        "structuredClone",
        "btoa",
        "atob",
        "URL",
        "URLSearchParams",
        "TextEncoder",
        "TextDecoder",
        "crypto",
        "performance",
        "navigator",
        "gc",
        "print",
        "scriptArgs",
        "std",
        "os",
        "bjson",
        "Worker",
        "WebAssembly",
        "Deno",
        "Bun",
        "window",
        "self",
        "document",
        "DOMException",
        "InternalError",
        "__loadScript",
        "native",
        "__dirname",
        "__filename",
        "postMessage",
    ];
    let code = format!("return {}.filter((name) => name in globalThis)", json!(absent.to_vec()));
    Case::execute(&code).gives(json!([]));
}

#[test]
fn all_of_ecmascript_exists() {
    let standard = [
        "AggregateError",
        "Array",
        "ArrayBuffer",
        "BigInt",
        "BigInt64Array",
        "BigUint64Array",
        "Boolean",
        "DataView",
        "Date",
        "Error",
        "EvalError",
        "FinalizationRegistry",
        "Float32Array",
        "Float64Array",
        "Function",
        "Infinity",
        "Int16Array",
        "Int32Array",
        "Int8Array",
        "JSON",
        "Map",
        "Math",
        "NaN",
        "Number",
        "Object",
        "Promise",
        "Proxy",
        "RangeError",
        "ReferenceError",
        "Reflect",
        "RegExp",
        "Set",
        "String",
        "Symbol",
        "SyntaxError",
        "TypeError",
        "URIError",
        "Uint16Array",
        "Uint32Array",
        "Uint8Array",
        "Uint8ClampedArray",
        "WeakMap",
        "WeakRef",
        "WeakSet",
        "decodeURI",
        "decodeURIComponent",
        "encodeURI",
        "encodeURIComponent",
        "globalThis",
        "isFinite",
        "isNaN",
        "parseFloat",
        "parseInt",
        "undefined",
        "escape",
        "unescape",
        "SharedArrayBuffer",
        "Atomics",
        "Iterator",
    ];
    let code = format!("return {}.filter((name) => !(name in globalThis))", json!(standard.to_vec()));
    Case::execute(&code).gives(json!([]));
}

#[test]
fn ecmascript_2023_works() {
    Case::execute(
        r"
        class Counter { #n = 0; static #made = 0; static { this.#made = 1; } get n() { return this.#n; } add() { this.#n ??= 1; return ++this.#n; } static made() { return this.#made; } has(o) { return #n in o; } }
        const counter = new Counter(); counter.add();
        async function* numbers() { yield 1; yield 2; }
        return (async () => {
            const seen = []; for await (const n of numbers()) seen.push(n);
            return {
                seen, n: counter.n, made: Counter.made(), has: counter.has(counter),
                sorted: [3, 1, 2].toSorted(), last: [1, 2].findLast((n) => n), at: [1, 2].at(-1), with: [1, 2].with(0, 9),
                group: /(?<year>\d{4})(?<=2\d{3})/u.exec('2024').groups.year, sticky: /\p{Lu}/v.test('Ü'), all: [...'a1b2'.matchAll(/\d/g)].map(String),
                optional: undefined?.x?.[0]?.(), big: String(2n ** 64n), flat: [[1, [2]]].flat(Infinity), spread: { ...{ a: 1 }, b: 2 },
                entries: Object.fromEntries(new Map([['k', 'v']])), settled: (await Promise.allSettled([1, Promise.reject(2)])).map((s) => s.status),
                any: await Promise.any([Promise.reject(1), 2]), replaced: 'aa'.replaceAll('a', 'b'), padded: 'x'.padStart(3, '-'), sep: 1_000,
                hasOwn: Object.hasOwn({ a: 1 }, 'a'), cause: new Error('e', { cause: 7 }).cause, weak: new WeakRef(counter).deref() === counter,
                json: JSON.stringify({ a: [1] }, null, 1), locale: (1234.5).toLocaleString().length > 0, date: new Date('2024-02-29T12:00:00+02:00').toISOString(),
                label: (() => { outer: for (;;) { for (;;) break outer; } return 1; })(), tagged: String.raw`a\n${1}`, exp: 2 ** 10, nullish: null ?? 'd',
            };
        })();",
    )
    .gives(json!({
        "seen": [1, 2], "n": 1, "made": 1, "has": true, "sorted": [1, 2, 3], "last": 2, "at": 2, "with": [9, 2],
        "group": "2024", "sticky": true, "all": ["1", "2"], "big": "18446744073709551616", "flat": [1, 2],
        "spread": {"a": 1, "b": 2}, "entries": {"k": "v"}, "settled": ["fulfilled", "rejected"], "any": 2, "replaced": "bb",
        "padded": "--x", "sep": 1000, "hasOwn": true, "cause": 7, "weak": true, "json": "{\n \"a\": [\n  1\n ]\n}",
        "locale": true, "date": "2024-02-29T10:00:00.000Z", "label": 1, "tagged": "a\\n1", "exp": 1024, "nullish": "d",
    }));
}

#[test]
fn no_code_is_made_from_text() {
    let routes = [
        "eval('1')",
        "(0, eval)('1')",
        "globalThis.eval('1')",
        "globalThis['ev' + 'al']('1')",
        "Reflect.get(globalThis, 'eval')('1')",
        "Function('return 1')()",
        "new Function('return 1')()",
        "new Function()()",
        "Function.call(null, 'return 1')()",
        "Function.apply(null, ['return 1'])()",
        "Function.prototype.constructor('return 1')()",
        "(() => {}).constructor('return 1')()",
        "(function () {}).constructor('return 1')()",
        "(function* () {}).constructor('yield 1')().next()",
        "(async () => {}).constructor('return 1')()",
        "(async function () {}).constructor('return 1')()",
        "(async function* () {}).constructor('yield 1')().next()",
        "Object.getPrototypeOf(function* () {}).constructor('yield 1')()",
        "Object.getPrototypeOf(async function () {}).constructor('return 1')()",
        "Object.getPrototypeOf(async function* () {}).constructor('yield 1')()",
        "(class {}).constructor('return 1')()",
        "({ m() {} }).m.constructor('return 1')()",
        "''.constructor.constructor('return 1')()",
        "[].at.constructor('return 1')()",
        "ctx.http.get.constructor('return 1')()",
        "ctx.base64Encode.constructor('return 1')()",
        "console.log.constructor('return 1')()",
        "Math.random.constructor('return 1')()",
        "Reflect.construct(Function, ['return 1'])()",
        "Reflect.construct(Function, ['return 1'], Object)()",
        "Reflect.construct(Object, [], Function)('return 1')",
        "Reflect.apply(Function, null, ['return 1'])()",
        "Function.bind(null, 'return 1')()()",
        "new (Function.bind(null, 'return 1'))()()",
        "new Proxy(Function, {})('return 1')()",
        "new (new Proxy(Function, {}))('return 1')()",
        "new (class extends Function { constructor() { super('return 1'); } })()()",
        "new (class extends (function* () {}).constructor { constructor() { super('yield 1'); } })()().next()",
        "['return 1'].map(Function)[0]()",
        "Array.from.call(Function, ['return 1'])",
        "Array.of.call(Function, 'return 1')",
        "(() => { const a = [1]; a.constructor = { [Symbol.species]: Function }; return a.map(() => 1); })()",
        "Promise.resolve.call(Function, 1)",
        "Promise.all.call(Function, [])",
        "Function('a = super()', 'return 1')",
        "Function('/*', '*/){')",
        "JSON.parse('\"return 1\"', Function)",
        "'return 1'.replace(/.+/, Function)()",
        "setTimeout('1')",
        "globalThis.Function = Function; new globalThis.Function('return 1')()",
    ];
    for route in routes {
        let code = format!(
            "try {{ const made = (() => {{ {route}; return ({route}); }})(); return ['made', typeof made]; }} catch (error) {{ return error.name }}"
        );
        let code = match route.contains(';') && !route.starts_with('(') {
            true => format!("try {{ {route}; return 'made'; }} catch (error) {{ return error.name }}"),
            false => code,
        };
        let value = Case::execute(&code).run().value().clone();
        let name = value.as_str().unwrap_or_else(|| panic!("{route}: {value}"));
        assert!(
            ["TypeError", "ReferenceError", "EvalError", "SyntaxError", "Error"].contains(&name),
            "{route}: {name}"
        );
    }
}

#[test]
fn a_function_shows_no_source_text() {
    Case::execute("const secretConstant = 'in the source'; return String(() => 'in the source').includes('in the source')")
        .gives(json!(false));
}

#[test]
fn the_stack_hooks_give_no_generated_positions() {
    Case::execute(
        r"
        const seen = [];
        Error.prepareStackTrace = (error, sites) => { seen.push('hook'); return sites; };
        const stack = new Error('x').stack;
        const holder = {}; Error.captureStackTrace?.(holder);
        return [typeof stack, seen.length, typeof holder.stack, [stack, holder.stack ?? ''].every((s) => s.split('\n').every((line) => !line.includes('at ') || line.includes('connector.ts')))];",
    )
    .gives(json!(["string", 0, "string", true]));
}

/// Reads everything that an earlier call could have left, then leaves it.
const LEAVE: &str = r"
    let counter = 0;
    var scriptVariable;
    const connector = {
        testConnection() {},
        execute(ctx) {
            counter++;
            const seen = [
                counter, typeof scriptVariable, typeof globalThis.leak, typeof ({}).leak, [1, 2].map((n) => n * 2), JSON.stringify({ a: 1 }),
                String(new Date(0).getTime()), /a/.test('a'), Symbol.for('registered').leak ?? null, this.leak ?? null, ctx.leak ?? null,
                typeof ctx.http.get, Object.keys(connector).length, new Error('x').name, typeof Promise.prototype.then, Math.max(1, 2), typeof console.log,
                RegExp.$1 ?? null,
            ];
            scriptVariable = 1; globalThis.leak = 1; Object.prototype.leak = 1; this.leak = 1; ctx.leak = 1; connector.leak = 1;
            Array.prototype.map = () => 'patched'; JSON.stringify = () => 'patched'; Date.prototype.getTime = () => 'patched';
            RegExp.prototype.exec = () => null; Error.prototype.name = 'Patched'; Math.max = () => 'patched'; ctx.http.get = 1;
            delete globalThis.console; delete Promise.prototype.then; Object.freeze(Object.prototype);
            return seen;
        },
    };";

#[test]
fn two_calls_share_nothing() {
    let loaded = Case::code(LEAVE).load();
    let first = loaded.result_of(json!({}));
    assert_eq!(first[0], json!(1));
    for n in 2..8 {
        assert_eq!(loaded.result_of(json!({})), first, "call {n}");
    }
}

#[test]
fn calls_side_by_side_share_nothing() {
    let loaded = Case::code(LEAVE).load();
    let first = loaded.result_of(json!({}));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(loaded.result_of(json!({})), first));
        }
    });
}

#[test]
fn random_numbers_differ_between_calls_and_are_fair() {
    let loaded = Case::execute("return Array.from({ length: 1000 }, () => Math.random())").load();
    let mut seen = HashSet::new();
    for _ in 0..6 {
        let numbers = loaded.result_of(json!({}));
        let numbers: Vec<f64> = numbers.as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect();
        assert!(numbers.iter().all(|n| (0.0..1.0).contains(n)));
        let mean = numbers.iter().sum::<f64>() / 1000.0;
        assert!((0.4..0.6).contains(&mean), "{mean}");
        assert!(numbers.iter().all(|n| seen.insert(n.to_bits())), "a number came twice");
    }
}

#[test]
fn random_numbers_of_the_top_level_differ_too() {
    let loaded = Case::code(
        "const first = Math.random();\nconst connector = { testConnection() {}, execute: () => first };",
    )
    .load();
    let seen: HashSet<u64> =
        (0..6).map(|_| loaded.result_of(json!({})).as_f64().unwrap().to_bits()).collect();
    assert_eq!(seen.len(), 6);
}

#[test]
fn one_calls_secrets_are_not_anothers() {
    let loaded = Case::execute(
        "return [ctx.secrets.get('a'), ctx.secrets.get('b')].map((secret) => secret?.length ?? null)",
    )
    .load();
    for (key, expected) in [("a", json!([9, null])), ("b", json!([null, 9])), ("c", json!([null, null]))] {
        let secrets = crate::support::strings(&[(key, "value-123")]);
        let call = portcullis_runtime::Call { secrets, ..loaded.call.clone() };
        assert_eq!(loaded.connector.call(&call).result.unwrap(), expected);
    }
}

#[test]
fn a_cancelled_call_ends_at_once_and_the_next_one_runs() {
    let loaded = Case::execute("if (ctx.params.spin) while (true) {} return 'done'").load();
    let call = portcullis_runtime::Call { arguments: json!({"spin": true}), ..loaded.call.clone() };
    let cancellation = call.cancellation.clone();
    let outcome = std::thread::scope(|scope| {
        let spinning = scope.spawn(|| loaded.connector.call(&call));
        std::thread::sleep(std::time::Duration::from_millis(100));
        cancellation.cancel();
        spinning.join().unwrap()
    });
    assert_eq!(outcome.result.unwrap_err().code, portcullis_runtime::ErrorCode::Cancelled);
    let next = portcullis_runtime::Call {
        cancellation: portcullis_runtime::Cancellation::default(),
        ..loaded.call.clone()
    };
    assert_eq!(loaded.connector.call(&next).result.unwrap(), json!("done"));
}
