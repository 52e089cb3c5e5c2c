//! Built-ins that the engine can't be interrupted in: each call ends at its deadline, and a neighbour notices nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use portcullis_runtime::{Limits, MIB};
use serde_json::json;

use crate::bench::{alone, connector, run, run_for, value_of};

const DEADLINE: Duration = Duration::from_millis(300);

/// Expressions that don't end by themselves within seconds.
const ENDLESS: &[(&str, &str)] = &[
    ("Array + ''", "new Array(1e9) + ''"),
    ("Array.join", "new Array(2 ** 32 - 1).join('')"),
    ("Array.toLocaleString", "new Array(2 ** 32 - 1).toLocaleString()"),
    ("sort of an array-like", "Array.prototype.sort.call({ length: 1e9 })"),
    ("sort of a sparse array", "(() => { const a = []; a[4e9] = 1; return a.sort() })()"),
    ("reverse", "Array.prototype.reverse.call({ length: 2 ** 53 - 1 })"),
    ("indexOf", "Array.prototype.indexOf.call({ length: 2 ** 53 - 1 }, 1)"),
    ("lastIndexOf", "Array.prototype.lastIndexOf.call({ length: 2 ** 53 - 1 }, 1)"),
    ("includes", "Array.prototype.includes.call({ length: 2 ** 53 - 1 }, 1)"),
    ("fill", "Array.prototype.fill.call({ length: 2 ** 53 - 1 }, 1)"),
    (
        "fill of a proxy",
        "Array.prototype.fill.call(new Proxy({ length: 2 ** 53 - 1 }, { set: Boolean.bind(null, 1) }), 1)",
    ),
    ("copyWithin", "Array.prototype.copyWithin.call({ length: 2 ** 53 - 1 }, 1, 0)"),
    ("splice", "Array.prototype.splice.call({ length: 2 ** 53 - 2 }, 0, 0, 1)"),
    ("shift", "Array.prototype.shift.call({ length: 2 ** 53 - 1 })"),
    ("unshift", "Array.prototype.unshift.call({ length: 2 ** 53 - 2 }, 1)"),
    ("slice", "Array.prototype.slice.call({ length: 4e9 })"),
    ("concat", "[].concat({ length: 2 ** 53 - 1, [Symbol.isConcatSpreadable]: true })"),
    ("flat", "Array.prototype.flat.call({ length: 2 ** 53 - 1 })"),
    ("at a distance: every", "Array.prototype.every.call({ length: 2 ** 53 - 1 }, Boolean)"),
    ("some", "Array.prototype.some.call({ length: 2 ** 53 - 1 }, Boolean)"),
    ("find", "Array.prototype.find.call({ length: 2 ** 53 - 1 }, Boolean)"),
    ("findLast", "Array.prototype.findLast.call({ length: 2 ** 53 - 1 }, Boolean)"),
    ("forEach", "Array.prototype.forEach.call({ length: 2 ** 53 - 1 }, Boolean)"),
    ("filter", "Array.prototype.filter.call({ length: 2 ** 53 - 1 }, Boolean)"),
    ("reduce", "Array.prototype.reduce.call({ length: 2 ** 53 - 1 }, Boolean, 0)"),
    ("map", "new Array(2 ** 32 - 1).map(Boolean)"),
    ("Array.from", "Array.from({ length: 1e9 })"),
    ("Array.from of a function", "Array.from.call(Object, { length: 2 ** 53 - 1 })"),
    ("length = 0 of holes", "(() => { const a = []; a[4e9] = 1; a[1] = 1; return a.join(',').length })()"),
    (
        "Reflect.apply",
        "Reflect.apply(Math.max, null, { length: 6e4 }) + Array.prototype.join.call({ length: 2 ** 53 - 1 }, '')",
    ),
    (
        "JSON.stringify of holes",
        "JSON.stringify(new Array(4e9), Array.prototype.join.call({ length: 4e9 }, ''))",
    ),
    (
        "JSON.stringify of an array-like proxy",
        "JSON.stringify(new Proxy([], { get: (t, k) => k === 'length' ? 2 ** 53 - 1 : undefined }))",
    ),
    (
        "TypedArray.from",
        "Uint8Array.from({ length: 4e7 }) + Array.prototype.join.call({ length: 2 ** 53 - 1 }, '')",
    ),
    ("TypedArray.sort with a slow comparator", "new Float64Array(5e6).sort(Math.atan2)"),
    ("TypedArray.join", "new Uint8Array(5e7).join('')"),
    (
        "TypedArray.indexOf again and again",
        "(() => { const a = new Uint8Array(5e7); return Array.from({ length: 1e6 }, a.indexOf.bind(a, 1)) })()",
    ),
    (
        "TypedArray.fill again and again",
        "new Array(1e6).fill(0).forEach(Uint8Array.prototype.fill.bind(new Uint8Array(5e7), 1, 0))",
    ),
    ("String.indexOf, quadratic", "('a'.repeat(4e6) + 'b').indexOf('a'.repeat(2e6) + 'c')"),
    ("String.includes, quadratic", "'a'.repeat(4e6).includes('a'.repeat(2e6) + 'c')"),
    ("String.split, quadratic", "'a'.repeat(4e6).split('a'.repeat(2e6) + 'b')"),
    ("String.replaceAll, quadratic", "'a'.repeat(4e6).replaceAll('a'.repeat(2e6) + 'b', '')"),
    ("RegExp nested quantifiers", "/^(a+)+$/.test('a'.repeat(50) + 'b')"),
    ("RegExp alternation", "/^(a|a)*$/.test('a'.repeat(50) + 'b')"),
    ("RegExp back-references", "/^(a*)*\\1b/.test('a'.repeat(60))"),
    ("RegExp, quadratic", "/a*b/.test('a'.repeat(3e6))"),
    ("RegExp with u, quadratic", "/(?:\\p{L}*)1/u.test('é'.repeat(2e6))"),
    ("RegExp split, quadratic", "'a'.repeat(3e6).split(/a*b/)"),
    ("RegExp replace, quadratic", "'a'.repeat(3e6).replace(/a*b/g, '')"),
    ("RegExp matchAll, quadratic", "[...'a'.repeat(3e6).matchAll(/a*b/g)]"),
    (
        "BigInt toString",
        "Array.from({ length: 1e6 }, BigInt.prototype.toString.bind((1n << 1000000n) - 1n, 10))",
    ),
    (
        "BigInt toString(2)",
        "Array.from({ length: 1e7 }, BigInt.prototype.toString.bind((1n << 1000000n) - 1n, 2))",
    ),
    ("BigInt of text", "Array.from({ length: 1e6 }, BigInt.bind(null, '9'.repeat(300000)))"),
    ("BigInt.asUintN", "Array.from({ length: 1e7 }, BigInt.asUintN.bind(null, 900000, -(1n << 800000n)))"),
    (
        "Map.forEach that grows",
        "(() => { const m = new Map([[0, 0]]); m.forEach((v, k) => { m.delete(k); m.set(k + 1, 0) }) })()",
    ),
    (
        "Set.forEach that grows",
        "(() => { const s = new Set([0]); s.forEach((k) => { s.delete(k); s.add(k + 1) }) })()",
    ),
    ("an iterator of no end", "new Set(Iterator.from({ next: () => ({ value: 1 }) }))"),
    ("Map of no end", "new Map(Iterator.from({ next: () => ({ value: [1, 2] }) }))"),
    ("Iterator.drop", "[1].values().constructor && Iterator.from({ next: Object }).drop(2 ** 53 - 1).next()"),
    ("Iterator.reduce", "Iterator.from({ next: Object }).reduce(Boolean, 0)"),
    ("Iterator.forEach", "Iterator.from({ next: Object }).forEach(Boolean)"),
    ("Iterator.some", "Iterator.from({ next: Object }).some(isNaN.bind(null, 1))"),
    ("Iterator.filter", "Iterator.from({ next: Object }).filter(isNaN.bind(null, 1)).next()"),
    (
        "destructuring of no end",
        "(([...a]) => a)({ [Symbol.iterator]: () => ({ next: () => ({ done: false, get value() { return Array.prototype.indexOf.call({ length: 1e9 }, 1) } }) }) })",
    ),
    (
        "Object.assign of a proxy",
        "Object.assign({}, new Proxy({}, { ownKeys: Array.prototype.slice.bind(new Array(1e6).fill('a')) })) || Array.prototype.join.call({ length: 1e12 })",
    ),
    (
        "normalize",
        "Array.from({ length: 1e6 }, String.prototype.normalize.bind('é\\u0323'.repeat(5e5), 'NFD'))",
    ),
    ("toUpperCase", "Array.from({ length: 1e6 }, String.prototype.toUpperCase.bind('ß'.repeat(2e6)))"),
    (
        "localeCompare",
        "Array.from({ length: 1e6 }, String.prototype.localeCompare.bind('é'.repeat(1e6), 'é'.repeat(1e6)))",
    ),
    ("encodeURIComponent", "Array.from({ length: 1e6 }, encodeURIComponent.bind(null, 'é'.repeat(1e6)))"),
    ("escape", "Array.from({ length: 1e6 }, escape.bind(null, 'é'.repeat(1e6)))"),
    ("JSON.parse", "Array.from({ length: 1e6 }, JSON.parse.bind(null, '[' + '1,'.repeat(1e6) + '1]', 0))"),
    ("Date.parse", "Array.from({ length: 1e7 }, Date.parse.bind(null, '1'.repeat(1e6)))"),
    ("parseFloat", "Array.from({ length: 1e7 }, parseFloat.bind(null, '1'.repeat(1e6)))"),
    ("Number of text", "Array.from({ length: 1e7 }, Number.bind(null, '0x' + 'f'.repeat(1e6)))"),
    (
        "instanceof of a long chain",
        "(() => { let o = {}; for (let i = 0; i < 1e5; i++) o = Object.create(o); return Array.from({ length: 1e7 }, Object.prototype.isPrototypeOf.bind({}, o)) })()",
    ),
    (
        "a proxy's long chain",
        "(() => { let p = { length: 2 ** 53 - 1 }; for (let i = 0; i < 500; i++) p = new Proxy(p, {}); return Array.prototype.indexOf.call(p, 1) })()",
    ),
    ("Promise.all of no end", "Promise.all(Iterator.from({ next: () => ({ value: 1 }) }))"),
    ("String.raw", "String.raw({ raw: { length: 2 ** 53 - 1 } })"),
    ("repeat of nothing", "''.repeat(2 ** 30) + Array.prototype.join.call({ length: 2 ** 53 - 1 }, '')"),
    ("padEnd again and again", "Array.from({ length: 1e6 }, String.prototype.padEnd.bind('a', 2e7, 'ab'))"),
    ("at the result", "({ toJSON: Array.prototype.indexOf.bind({ length: 2 ** 53 - 1 }, 1) })"),
    ("at the thrown value", "(() => { throw { get message() { return new Array(1e9) + '' } } })()"),
    (
        "in a job",
        "Promise.resolve({ length: 2 ** 53 - 1 }).then(Array.prototype.indexOf.call.bind(Array.prototype.indexOf))",
    ),
    (
        "in a finalizer of generators",
        "(() => { const g = (function* () { try { yield 1 } finally { new Array(1e9) + '' } })(); g.next(); return g.return(1) })()",
    ),
];

/// Checks each of [`ENDLESS`] with a neighbour in flight all the while. The bound leaves room for a loaded machine; what
/// was measured is printed.
#[test]
fn a_call_ends_at_its_deadline_inside_any_built_in_and_its_neighbour_notices_nothing() {
    let _alone = alone();
    let bodies: Vec<(String, String)> = ENDLESS
        .iter()
        .map(|(name, expression)| ((*name).to_owned(), format!("return {expression}")))
        .collect();
    let neighbour = (
        "neighbour",
        "let n = 0; for (let i = 0; i < 300_000; i++) n = (n * 31 + i) % 1_000_003; return { n, ...ctx.params }",
    );
    let cases = bodies.iter().map(|(name, body)| (name.as_str(), body.as_str())).chain([neighbour]);
    let limits = Limits { cpu: Duration::from_secs(20), memory: 256 * MIB, ..Limits::default() };
    let connector = connector(limits, &[], cases);
    let expected = value_of(&run(&connector, "neighbour")).clone();
    let is_over = AtomicBool::new(false);
    let late = thread::scope(|scope| {
        let neighbours = scope.spawn(|| {
            let mut n_calls = 0;
            while !is_over.load(Ordering::SeqCst) {
                assert_eq!(*value_of(&run(&connector, "neighbour")), expected);
                n_calls += 1;
            }
            n_calls
        });
        let late = ENDLESS.iter().map(|(name, _)| lateness(&connector, name)).collect::<Vec<_>>();
        is_over.store(true, Ordering::SeqCst);
        assert!(neighbours.join().expect("the neighbour") > 10);
        late
    });
    let mut at_deadline: Vec<Duration> = late.into_iter().flatten().collect();
    at_deadline.sort();
    println!(
        "{} of {} were ended at the deadline: p50 {:?}, p90 {:?}, max {:?} late",
        at_deadline.len(),
        ENDLESS.len(),
        at_deadline[at_deadline.len() / 2],
        at_deadline[at_deadline.len() * 9 / 10],
        at_deadline[at_deadline.len() - 1]
    );
    assert!(at_deadline.len() >= 40, "only {} took all their time", at_deadline.len());
}

/// How late after its deadline the call ended; none where it ended before, at another limit.
#[track_caller]
#[expect(clippy::print_stdout, reason = "what was measured belongs to the test's output")]
fn lateness(connector: &portcullis_runtime::Connector, case: &str) -> Option<Duration> {
    let outcome = run_for(connector, case, DEADLINE);
    let late = outcome.duration.checked_sub(DEADLINE);
    let error = match &outcome.result {
        Ok(value) => {
            println!("{case}: returned {value} after {:?}", outcome.duration);
            return None;
        }
        Err(error) => error,
    };
    println!("{case}: {} after {:?}", error.message, outcome.duration);
    assert!(late.unwrap_or_default() < Duration::from_secs(2), "{case}: {late:?} late");
    (error.details == Some(json!({"limit": "deadline", "value": 300}))).then_some(late).flatten()
}
