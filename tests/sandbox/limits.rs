//! Every limit of a call: past it the call ends with an error that names the limit and its value, whatever the code catches.

use std::thread;
use std::time::{Duration, Instant};

use portcullis_runtime::{Call, FileStore, KIB, Limits, MIB};
use serde_json::json;

use crate::bench::{
    alone, call_of, check_exceeded, code_of_cases, config, connector, engine, error_of, load, package_with,
    run, run_for, value_of,
};
use crate::upstream::Upstream;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn limits() -> Limits {
    Limits { memory: 16 * MIB, cpu: MS(2000), ..Limits::default() }
}

// The deadline.

#[test]
fn an_execute_ends_at_its_deadline() {
    let _alone = alone();
    let connector = connector(Limits { deadline: MS(300), ..limits() }, &[], [("loop", "for (;;) {}")]);
    let started = Instant::now();
    check_exceeded(&run(&connector, "loop"), "deadline", 300, "300 ms");
    assert!((300..3000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
}

#[test]
fn a_connection_test_has_a_deadline_of_its_own() {
    let _alone = alone();
    let limits = Limits { test_deadline: MS(250), ..limits() };
    let connector = connector(limits, &[], [("testConnection", "for (;;) {}"), ("quick", "return 1")]);
    check_exceeded(&connector.call(&Call::default()), "deadline", 250, "250 ms");
    assert_eq!(*value_of(&run(&connector, "quick")), json!(1));
}

#[test]
fn a_manifests_timeout_moves_the_deadline_up_to_the_operators_maximum() {
    let _alone = alone();
    let upstream = Upstream::start();
    let limits = Limits { deadline: MS(200), max_deadline: MS(1500), ..limits() };
    let engine = engine(limits);
    let get = |path: &str| format!("return ctx.http.get({:?}).status", upstream.url(path));
    let (slow, hang) = (get("/slow/500"), get("/hang"));
    let code = code_of_cases([("loop", "for (;;) {}"), ("slow", slow.as_str()), ("hang", hang.as_str())]);
    let with_timeout = |timeout: u64| {
        load(
            &engine,
            &package_with(
                &code,
                &json!({
                    "allowedHosts": upstream.allowed(),
                    "connectionConfig": {"timeout": timeout},
                }),
            ),
        )
    };
    check_exceeded(&run(&with_timeout(100), "loop"), "deadline", 100, "100 ms");
    assert_eq!(
        *value_of(&run(&with_timeout(1400), "slow")),
        json!(200),
        "raised above the default of 200 ms"
    );
    check_exceeded(&run(&with_timeout(3_600_000), "hang"), "deadline", 1500, "1500 ms");
    // The connection's own setting stands over the manifest's.
    check_exceeded(&run_for(&with_timeout(1400), "loop", MS(150)), "deadline", 150, "150 ms");
}

#[test]
fn an_upstream_that_hangs_ends_the_call_at_its_deadline() {
    let _alone = alone();
    let upstream = Upstream::start();
    let hang = format!("for (;;) try {{ ctx.http.get({:?}) }} catch {{}}", upstream.url("/hang"));
    let limits = Limits { deadline: MS(300), ..limits() };
    let connector = connector(limits, &upstream.allowed(), [("hang", hang.as_str())]);
    let started = Instant::now();
    check_exceeded(&run(&connector, "hang"), "deadline", 300, "300 ms");
    assert!(started.elapsed() < MS(2300), "{:?}", started.elapsed());
}

/// The kernel's timer for socket time-outs is late by up to an eighth: this shows where one slips in.
#[test]
fn a_long_deadline_is_kept_as_exactly_as_a_short_one() {
    let _alone = alone();
    let upstream = Upstream::start();
    let hang = format!("return ctx.http.get({:?}).status", upstream.url("/hang"));
    let limits = Limits { cpu: MS(20_000), ..limits() };
    let connector =
        connector(limits, &upstream.allowed(), [("hang", hang.as_str()), ("loop", "for (;;) {}")]);
    for (case, n_calls) in [("hang", 9), ("loop", 3)] {
        let connector = &connector;
        let late = move |n: u64| {
            let deadline = MS(3000 + 97 * n);
            let outcome = run_for(connector, case, deadline);
            check_exceeded(&outcome, "deadline", 3000 + 97 * n, "its deadline of");
            outcome.duration.saturating_sub(deadline)
        };
        let mut late: Vec<Duration> = thread::scope(|scope| {
            let calls: Vec<_> = (0..n_calls).map(|n| scope.spawn(move || late(n))).collect();
            calls.into_iter().map(|call| call.join().expect("a call")).collect()
        });
        late.sort();
        println!("{case}: {late:?} late");
        assert!(late[late.len() / 2] < MS(100), "{case}: {late:?} late");
    }
}

// Processor time.

#[test]
fn processor_time_is_limited_where_code_can_be_interrupted() {
    let _alone = alone();
    let cases = [
        ("loop", "for (;;) {}"),
        ("caught", "for (;;) try { for (;;) {} } catch { return 'caught' } finally { for (;;) {} }"),
        ("recursion", "const f = () => { try { f() } finally { f() } }; f()"),
        ("promises", "return (async () => { for (;;) await 0 })()"),
        ("jobs", "return new Promise(() => { const f = () => { Promise.resolve().then(f) }; f() })"),
        ("rejections", "return (async () => { for (;;) try { await Promise.reject(1) } catch {} })()"),
        ("catching promise", "return (async () => { for (;;) {} })().then(() => 1, () => 'caught')"),
        ("generator", "for (const _ of (function* () { for (;;) yield 1 })()) {}"),
        (
            "asyncgenerator",
            "return (async () => { for await (const _ of (async function* () { for (;;) yield 1 })()) {} })()",
        ),
        ("regex", "return /^(a+)+$/.test('a'.repeat(40) + 'b')"),
        ("getter", "return { get a() { for (;;) {} } }"),
        ("toJSON", "return { toJSON() { for (;;) {} } }"),
        ("proxy", "return new Proxy({}, { ownKeys() { for (;;) {} } })"),
        ("then", "return { then(resolve) { for (;;) {} } }"),
        ("thrown", "throw { get message() { for (;;) {} } }"),
        ("stack", "throw Object.defineProperty(new Error('a'), 'stack', { get() { for (;;) {} } })"),
        ("comparator", "[1, 2].sort(() => { for (;;) {} })"),
        ("replacer", "JSON.stringify([1], () => { for (;;) {} })"),
        ("symbols", "for (let i = 0;; i++) Symbol.for('s' + i)"),
        ("logged", "console.log({ toJSON() { for (;;) {} } })"),
    ];
    let connector = connector(Limits { cpu: MS(100), ..limits() }, &[], cases);
    for (case, _) in cases {
        println!("{case}");
        check_exceeded(&run(&connector, case), "cpu", 100, "100 ms");
    }
}

#[test]
fn processor_time_is_limited_where_code_can_not_be_interrupted() {
    let _alone = alone();
    let cases = [
        ("indexOf", "try { return Array.prototype.indexOf.call({ length: 2 ** 40 }, 1) } catch { return 1 }"),
        ("sort", "Array.prototype.sort.call({ length: 1e9 })"),
    ];
    let connector = connector(Limits { cpu: MS(1000), ..limits() }, &[], cases);
    for (case, _) in cases {
        check_exceeded(&run(&connector, case), "cpu", 1000, "1 s");
    }
}

// Memory.

const MEMORY_HOGS: &[(&str, &str)] = &[
    ("strings", "const a = []; for (let i = 0;; i++) a.push('x'.repeat(1000) + i)"),
    ("doubling", "let s = 'ab'; for (;;) s = s + s.slice(1) + 'c'"),
    ("repeat", "return 'x'.repeat(500_000_000)"),
    ("padStart", "return 'x'.padStart(500_000_000)"),
    ("ropes", "let s = ''; for (let i = 0;; i++) s += i"),
    ("template", "let s = 'x'; for (;;) s = `${s}${s}`.slice(1) + 'yz'"),
    ("arrays", "const a = []; for (;;) a.push([a.length])"),
    ("push", "const a = []; for (;;) a.push(1)"),
    ("fill", "return new Array(100_000_000).fill(7)"),
    ("from", "return Array.from({ length: 100_000_000 }, (_, i) => i)"),
    ("spread", "let a = [1, 2]; for (;;) a = [...a, ...a]"),
    ("concat", "let a = [1, 2]; for (;;) a = a.concat(a)"),
    ("flat", "let a = [1, 2]; for (;;) a = [a, a].flat()"),
    ("split", "return 'x'.repeat(8_000_000).split('')"),
    ("ArrayBuffer", "return new ArrayBuffer(1_000_000_000).byteLength"),
    ("ArrayBuffers", "const a = []; for (;;) a.push(new ArrayBuffer(1_000_000))"),
    (
        "resize",
        "const b = new ArrayBuffer(1, { maxByteLength: 2 ** 30 }); b.resize(2 ** 29); return b.byteLength",
    ),
    ("Float64Array", "return new Float64Array(100_000_000).length"),
    ("typed arrays", "const a = []; for (;;) a.push(new Uint8Array(100_000))"),
    ("slices", "const a = [], b = new Uint8Array(1_000_000); for (;;) a.push(b.slice())"),
    ("Map", "const m = new Map(); for (let i = 0;; i++) m.set(i, { i })"),
    ("Set", "const s = new Set(); for (let i = 0;; i++) s.add('k' + i)"),
    ("WeakMap", "const w = new WeakMap(), a = []; for (;;) { const k = {}; a.push(k); w.set(k, [k]) }"),
    ("objects", "let o = {}; for (;;) o = { o }"),
    ("properties", "const o: any = {}; for (let i = 0;; i++) o['key' + i] = i"),
    ("symbols", "const a = []; for (;;) a.push(Symbol('s'.repeat(100)))"),
    ("closures", "const a = []; for (;;) { const b = [a.length]; a.push(() => b) }"),
    ("classes", "const a = []; for (;;) a.push(class { x = 1; m() {} })"),
    ("generators", "const a = []; for (;;) { const g = (function* () { yield 1 })(); g.next(); a.push(g) }"),
    ("promises", "const f = async (n) => { await 0; return [f(n), await f(n + 1)] }; return f(0)"),
    ("pending", "const a = []; for (;;) a.push(new Promise(() => {}))"),
    ("reactions", "const p = new Promise(() => {}); for (;;) p.then(() => 1)"),
    ("awaits", "const f = async () => { await 0; return Promise.all([f(), f()]) }; return f()"),
    ("thenables", "const t = { then(r) { Promise.resolve(t); Promise.resolve(t); r(t) } }; return t"),
    ("proxies", "let p = {}; for (;;) p = new Proxy(p, {})"),
    ("bound", "let f: any = () => 1; for (;;) f = f.bind(null, [1])"),
    ("BigInt", "const a = []; for (let b = 1n;; b = b * 3n + 1n) a.push(b)"),
    ("regex", "return /(?:(a)|b)*?c/.test('ab'.repeat(7_000_000))"),
    ("matches", "return [...'ab'.repeat(4_000_000).matchAll(/a/g)].length"),
    ("match", "return 'ab'.repeat(6_000_000).match(/a/g).length"),
    ("replaceAll", "return 'a'.repeat(200_000).replaceAll('a', 'b'.repeat(1000)).length"),
    ("replace", "return 'a'.repeat(200_000).replace(/a/g, () => 'b'.repeat(1000)).length"),
    (
        "JSON.stringify",
        "const a = ['x'.repeat(1_000_000)]; for (let i = 0; i < 6; i++) a.push(...a); return JSON.stringify(a).length",
    ),
    ("JSON.parse", "return JSON.parse('[' + '[],'.repeat(2_000_000) + '1]').length"),
    (
        "indent",
        "let a: any = []; for (let i = 0; i < 3000; i++) a = [a]; return JSON.stringify(a, null, 10).length",
    ),
    ("errors", "const a = []; for (;;) a.push(new Error('e'))"),
    ("causes", "let e: any; for (;;) e = new Error('e', { cause: e })"),
    ("dates", "const a = []; for (;;) a.push(new Date(a.length))"),
    ("iterators", "let i: any = [1].values(); for (;;) i = i.map((x) => x)"),
    ("entries", "const a = new Array(1000).fill(1), b = []; for (;;) b.push(Object.entries(a))"),
    ("groupBy", "return Object.groupBy(Array.from({ length: 1_000_000 }, (_, i) => i), (i) => 'k' + i)"),
    ("many arguments", "const a = new Array(1000).fill(1), b = []; for (;;) b.push(...a)"),
    ("arguments", "const f = function () { return arguments }, a = []; for (;;) a.push(f(1, 2, 3))"),
    (
        "finalizers",
        "const r = new FinalizationRegistry(() => {}), a = []; for (;;) { const o = {}; a.push(o); r.register(o, a) }",
    ),
    ("encoded", "return ctx.base64Encode('x'.repeat(9_000_000)) + ctx.base64Encode('y'.repeat(9_000_000))"),
    ("decoded", "const a = []; for (;;) a.push(ctx.base64Decode('QUFB'.repeat(10_000)))"),
    ("global", "for (let i = 0;; i++) (globalThis as any)['g' + i] = 'x'.repeat(100) + i"),
    ("prototype", "for (let i = 0;; i++) (Array.prototype as any)['p' + i] = [i]"),
];

#[test]
fn memory_is_limited_by_every_route() {
    let _alone = alone();
    let limits = Limits { cpu: MS(20_000), ..limits() };
    let connector = connector(limits, &[], MEMORY_HOGS.iter().copied());
    let mut wrong = Vec::new();
    for (case, _) in MEMORY_HOGS {
        let outcome = run(&connector, case);
        let named = outcome.result.as_ref().err().and_then(|error| error.details.clone());
        println!(
            "{case}: {:?} after {:?}",
            outcome.result.as_ref().map_err(|e| &e.message),
            outcome.duration
        );
        if named != Some(json!({"limit": "memory", "value": 16 * MIB})) {
            wrong.push(format!("{case}: {:?}", outcome.result));
        }
    }
    assert!(wrong.is_empty(), "these did not end at 16 MiB:\n{}", wrong.join("\n"));
}

#[test]
fn a_call_uses_most_of_its_memory_and_no_more() {
    let _alone = alone();
    let cases = [
        ("fits", "return new Uint8Array(12 * 1024 * 1024).length"),
        ("doesn't", "return new Uint8Array(17 * 1024 * 1024).length"),
    ];
    let connector = connector(limits(), &[], cases);
    assert_eq!(*value_of(&run(&connector, "fits")), json!(12 * MIB));
    check_exceeded(&run(&connector, "doesn't"), "memory", 16 * MIB, "16 MiB");
}

#[test]
fn memory_that_ran_out_ends_the_call_though_the_code_catches_it() {
    let _alone = alone();
    let cases = [
        ("once", "try { new Uint8Array(100_000_000) } catch { return 'caught' }"),
        (
            "filled",
            "const a = []; try { for (;;) a.push('x'.repeat(1000) + a.length) } catch { a.length = 0; return 'caught' }",
        ),
        ("async", "return (async () => { const a = []; for (;;) a.push([a]) })().catch(() => 'caught')"),
        ("finally", "const a = []; try { for (;;) a.push([a]) } finally { a.length = 0; return 'caught' }"),
    ];
    let connector = connector(limits(), &[], cases);
    for (case, _) in cases {
        println!("{case}");
        check_exceeded(&run(&connector, case), "memory", 16 * MIB, "16 MiB");
    }
}

// The stack.

#[test]
fn the_stack_is_limited_by_every_route() {
    let _alone = alone();
    let deep = "let a: any = []; for (let i = 0; i < 100_000; i++) a = [a];";
    let nested = |rest: &str| format!("{deep} {rest}");
    let stringify = nested("return JSON.stringify(a)");
    let result = nested("return a");
    let flat = nested("return a.flat(Infinity).length");
    let to_string = nested("return a + ''");
    let cases = [
        ("recursion", "const f = () => 1 + f(); return f()"),
        ("promises", "const f = async (n) => [await f(n + 1), n]; return f(0)"),
        ("mutual", "const f = () => g() + 1, g = () => f() + 1; return f()"),
        ("getter", "const o = { get a() { return this.a } }; return o.a"),
        ("proxy", "const p = new Proxy({}, { get: (_, k) => p[k] }); return p.a"),
        ("toString", "const o = { toString() { return '' + o } }; return '' + o"),
        ("valueOf", "const o: any = { valueOf() { return +o } }; return +o"),
        ("comparator", "const f = () => [1, 2].sort(f); return f()"),
        ("callback", "const f = () => [1].map(f); return f()"),
        ("replacer", "const f = () => 'a'.replace(/a/, f); return f()"),
        ("apply", "const f = () => Reflect.apply(f, null, []); return f()"),
        ("construct", "const C = class { constructor() { new C() } }; new C()"),
        ("generator", "const f = function* () { yield* f() }; return [...f()]"),
        ("template", "const f = (s) => f`${s}`; return f('a')"),
        ("toJSON", "const o = { toJSON() { return JSON.stringify(o) } }; return o"),
        ("reviver", "const f = () => JSON.parse('1', f); return f()"),
        (
            "hasInstance",
            "const o: any = { [Symbol.hasInstance]: () => 1 instanceof o }; return 1 instanceof o",
        ),
        ("iterator", "const o: any = { [Symbol.iterator]: () => [...o] }; return [...o]"),
        ("JSON.parse", "return JSON.parse('['.repeat(100_000) + ']'.repeat(100_000))"),
        ("JSON.stringify", stringify.as_str()),
        ("result", result.as_str()),
        ("flat", flat.as_str()),
        ("join", to_string.as_str()),
        ("proxies", "let p: any = {}; for (let i = 0; i < 30_000; i++) p = new Proxy(p, {}); return p.a"),
    ];
    let connector = connector(Limits { memory: 64 * MIB, ..limits() }, &[], cases);
    let mut wrong = Vec::new();
    for (case, _) in cases {
        let outcome = run(&connector, case);
        let named = outcome.result.as_ref().err().and_then(|error| error.details.clone());
        println!("{case}: {:?}", outcome.result.as_ref().map_err(|error| &error.message));
        if named != Some(json!({"limit": "stack", "value": 512 * KIB})) {
            wrong.push(format!("{case}: {:?}", outcome.result));
        }
    }
    assert!(wrong.is_empty(), "these did not end at the stack's limit:\n{}", wrong.join("\n"));
}

#[test]
fn what_nests_without_the_stack_may_be_as_deep_as_it_likes() {
    let _alone = alone();
    let cases = [
        (
            "promises",
            "return (async () => { let p: any = 1; for (let i = 0; i < 5000; i++) p = Promise.resolve(p).then((x) => x); return p })()",
        ),
        (
            "caught",
            "let n = 0; const f = () => { n++; f() }; try { f() } catch (e) { return e instanceof RangeError && n > 100 }",
        ),
    ];
    let connector = connector(limits(), &[], cases);
    assert_eq!(*value_of(&run(&connector, "promises")), json!(1));
    assert_eq!(
        *value_of(&run(&connector, "caught")),
        json!(true),
        "as in every engine, code may try how deep it can go"
    );
}

// What a call may ask for, and what it may say.

#[test]
fn http_requests_are_counted() {
    let _alone = alone();
    let upstream = Upstream::start();
    let (url, nowhere) = (upstream.url("/ok"), "http://nowhere.invalid/");
    let get = |n: u32| {
        format!("let n = 0; for (let i = 0; i < {n}; i++) n += ctx.http.get({url:?}).status; return n")
    };
    let (three, four) = (get(3), get(4));
    let caught = format!("for (;;) try {{ ctx.http.get({url:?}) }} catch {{}}");
    let blocked = format!("for (;;) try {{ ctx.http.get({nowhere:?}) }} catch {{}}");
    let limits = Limits { http_requests: 3, ..limits() };
    let connector = connector(
        limits,
        &upstream.allowed(),
        [
            ("three", three.as_str()),
            ("four", four.as_str()),
            ("caught", caught.as_str()),
            ("blocked", blocked.as_str()),
        ],
    );
    assert_eq!(*value_of(&run(&connector, "three")), json!(600));
    for case in ["four", "caught"] {
        let before = upstream.n_requests();
        let outcome = run(&connector, case);
        check_exceeded(&outcome, "http_requests", 3, "3 HTTP requests");
        assert_eq!(
            (outcome.http.len(), upstream.n_requests() - before),
            (3, 3),
            "{case}: none was sent past the limit"
        );
    }
    check_exceeded(&run(&connector, "blocked"), "http_requests", 3, "3 HTTP requests");
}

#[test]
fn a_response_body_is_limited() {
    let _alone = alone();
    let upstream = Upstream::start();
    let get = |n: u64| {
        format!(
            "try {{ return ctx.http.get({:?}).body.length }} catch {{ return 'caught' }}",
            upstream.url(&format!("/bytes/{n}"))
        )
    };
    let (fits, large) = (get(MIB), get(MIB + 1));
    let limits = Limits { response_body: MIB, ..limits() };
    let connector =
        connector(limits, &upstream.allowed(), [("fits", fits.as_str()), ("large", large.as_str())]);
    assert_eq!(*value_of(&run(&connector, "fits")), json!(MIB));
    check_exceeded(&run(&connector, "large"), "response_body", MIB, "1 MiB");
}

#[test]
fn a_file_is_limited() {
    let _alone = alone();
    let upstream = Upstream::start();
    let download = |n: u64| {
        let url = upstream.url(&format!("/bytes/{n}"));
        format!(
            "try {{ return ctx.files.download({url:?}, {{ fileName: 'a' }}).size }} catch {{ return 'caught' }}"
        )
    };
    let store = |n: u64, encoding: &str, data: &str| {
        format!(
            "try {{ return ctx.files.store({data:?}.repeat({n}), {{ encoding: {encoding:?}, contentType: 'a/b', fileName: 'a' }}).size }}
             catch {{ return 'caught' }}"
        )
    };
    let (fits, large) = (download(100 * KIB), download(100 * KIB + 1));
    let (stored, too_much) = (store(100 * KIB, "utf-8", "x"), store(100 * KIB + 1, "utf-8", "x"));
    let (base64, too_much_base64) = (store(25 * KIB, "base64", "QUFB"), store(40 * KIB, "base64", "QUFB"));
    let cases = [
        ("fits", fits.as_str()),
        ("large", large.as_str()),
        ("stored", stored.as_str()),
        ("too much", too_much.as_str()),
        ("base64", base64.as_str()),
        ("too much base64", too_much_base64.as_str()),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let files = FileStore::in_folder(folder.path()).expect("a store");
    let limits = Limits { file: 100 * KIB, ..limits() };
    let engine = portcullis_runtime::Engine::new(portcullis_runtime::EngineConfig {
        files: Some(files),
        ..config(limits)
    });
    let connector = load(&engine, &crate::bench::package(&code_of_cases(cases), &upstream.allowed()));
    assert_eq!(*value_of(&run(&connector, "fits")), json!(100 * KIB));
    assert_eq!(*value_of(&run(&connector, "stored")), json!(100 * KIB));
    assert_eq!(*value_of(&run(&connector, "base64")), json!(75 * KIB));
    for case in ["large", "too much", "too much base64"] {
        check_exceeded(&run(&connector, case), "file", 100 * KIB, "100 KiB");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("the folder").flatten().collect();
    assert_eq!(left.len(), 3, "what was too large is not left behind: {left:?}");
}

#[test]
fn a_result_is_limited() {
    let _alone = alone();
    let cases = [
        ("fits", "return 'x'.repeat(998)"),
        ("large", "return 'x'.repeat(999)"),
        ("huge", "return 'x'.repeat(4_000_000)"),
    ];
    let connector = connector(Limits { result: 1000, ..limits() }, &[], cases);
    assert_eq!(
        value_of(&run(&connector, "fits")).as_str().map(str::len),
        Some(998),
        "1000 bytes with its quotes"
    );
    for case in ["large", "huge"] {
        check_exceeded(&run(&connector, case), "result", 1000, "1000 bytes");
    }
}

#[test]
fn logs_are_limited() {
    let _alone = alone();
    let cases = [
        ("fits", "console.log('x'.repeat(5000)); console.warn('y'.repeat(5000)); return 1"),
        ("large", "console.log('x'.repeat(5000)); try { console.log('y'.repeat(5001)) } catch {} return 1"),
        ("huge", "try { console.log('x'.repeat(3_000_000)) } catch {} return 1"),
        ("endless", "for (;;) try { console.error('a') } catch {}"),
        ("empty", "for (;;) console.log('')"),
        ("nothing", "for (;;) console.log()"),
    ];
    let connector = connector(Limits { logs: 10_000, ..limits() }, &[], cases);
    let outcome = run(&connector, "fits");
    assert_eq!(*value_of(&outcome), json!(1));
    assert_eq!(outcome.logs.iter().map(|line| line.message.len()).sum::<usize>(), 10_000);
    for case in ["large", "huge", "endless", "empty", "nothing"] {
        let outcome = run(&connector, case);
        check_exceeded(&outcome, "logs", 10_000, "10000 bytes");
        assert!(outcome.logs.iter().map(|line| line.message.len()).sum::<usize>() <= 10_000, "{case}");
        assert!(outcome.logs.len() <= 10_000, "{case}: {} lines", outcome.logs.len());
    }
}

#[test]
fn limits_that_end_a_call_leave_the_next_one_whole() {
    let _alone = alone();
    let cases = [("hog", "const a = []; for (;;) a.push([a])"), ("echo", "return ctx.params")];
    let connector = connector(limits(), &[], cases);
    for _ in 0..5 {
        assert!(error_of(&run(&connector, "hog")).details.is_some());
        let mut call = call_of("echo");
        call.arguments["n"] = json!(1);
        assert_eq!(*value_of(&connector.call(&call)), json!({"case": "echo", "n": 1}));
    }
}
