//! Code that is meant to break its compiler: an error for that package alone, with the reason, and in time.

use std::thread;
use std::time::{Duration, Instant};

use portcullis_runtime::{Diagnostic, Engine, Limits, LoadError};
use serde_json::json;

use crate::bench::{
    alone, chain, code_of_cases, descendants, engine, load, package, run, value_of, wait_until,
};

/// More than the compiler's own deadline of 10 s, for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(25);

const SHAPE: &str = "function execute() { return x } function testConnection() {} const x: any =";

fn nested(n: usize, open: &str, inner: &str, close: &str) -> String {
    format!("{SHAPE} {}{inner}{}", open.repeat(n), close.repeat(n))
}

fn statements(n: usize, open: &str, inner: &str, close: &str) -> String {
    format!("{SHAPE} 0;\n{}{inner}{}", open.repeat(n), close.repeat(n))
}

/// Checks that loading each source is refused, in time and with a reason, and that the engine loads the next package.
#[track_caller]
#[expect(clippy::print_stdout, reason = "what was measured belongs to the test's output")]
fn check_refused(sources: &[(&str, String)]) {
    let _alone = alone();
    let engine = engine(Limits::default());
    let innocent = package(&code_of_cases([("echo", "return 1")]), &[]);
    let mut wrong = Vec::new();
    for (name, source) in sources {
        let started = Instant::now();
        let refused = refusal(&engine, source);
        println!("{name}: {} bytes, {:?}: {refused:?}", source.len(), started.elapsed());
        if started.elapsed() > PATIENCE {
            wrong.push(format!("{name} took {:?}", started.elapsed()));
        }
        match refused {
            Ok(()) => wrong.push(format!("{name} was loaded")),
            Err(reason) if reason.trim().is_empty() => wrong.push(format!("{name}: no reason")),
            Err(_) => {}
        }
        let next = load(&engine, &innocent);
        assert_eq!(*value_of(&run(&next, "echo")), json!(1), "after {name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    wait_until("no compile is left", || {
        descendants().iter().filter(|process| process.depth >= 2).count() == 0
    });
}

/// Why the code isn't loaded.
#[track_caller]
fn refusal(engine: &Engine, source: &str) -> Result<(), String> {
    match engine.load(&package(source, &[])) {
        Ok(_) => Ok(()),
        Err(LoadError::Invalid(diagnostics)) => Err(reasons(&diagnostics)),
        Err(other) => panic!("not the package's fault: {}", chain(&other)),
    }
}

fn reasons(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .iter()
        .map(|one| format!("{}:{} {}", one.line, one.column, one.message))
        .collect::<Vec<_>>()
        .join("; ")
}

#[test]
fn deeply_nested_expressions_are_refused() {
    let n = 100_000;
    check_refused(&[
        ("parentheses", nested(n, "(", "1", ")")),
        ("20,000 parentheses", nested(20_000, "(", "1", ")")),
        ("arrays", nested(n, "[", "", "]")),
        ("open arrays", nested(n, "[", "", "")),
        ("objects", nested(60_000, "{a:", "1", "}")),
        ("nots", nested(n, "!", "1", "")),
        ("minuses", nested(n, "- ", "1", "")),
        ("typeofs", nested(50_000, "typeof ", "1", "")),
        ("awaits", format!("{SHAPE} 0; async function f() {{ {} 1 }}", "await ".repeat(60_000))),
        ("news", nested(n, "new ", "Date", "")),
        ("conditionals", nested(n, "1?", "1", ":1")),
        ("arrows", nested(n, "()=>", "1", "")),
        ("functions", nested(20_000, "function(){return ", "1", "}")),
        ("classes", nested(20_000, "class{a=", "1", "}")),
        ("calls", nested(n, "f(", "1", ")")),
        ("templates", nested(n, "`${", "1", "}`")),
        ("members", nested(n, "a[", "1", "]")),
        ("assignments", nested(n, "a=", "1", "")),
        ("exponents", nested(n, "1**", "1", "")),
    ]);
}

#[test]
fn long_chains_are_refused_or_run() {
    let _alone = alone();
    let engine = engine(Limits::default());
    // They nest to the left, where some parsers loop and others recurse: either answer will do, a crash won't.
    for (name, source) in [
        ("sum", nested(100_000, "1+", "1", "")),
        ("commas", nested(100_000, "1,", "1", "").replace("any = ", "any = (") + ")"),
        ("and", nested(100_000, "1&&", "1", "")),
        ("nullish", nested(100_000, "0??", "1", "")),
        ("members", format!("{SHAPE} ({{}} as any){}", ".a".repeat(100_000))),
        ("optional members", format!("{SHAPE} ({{}} as any){}", "?.a".repeat(100_000))),
        ("calls", format!("{SHAPE} 0; function f() {{ f{} }}", "()".repeat(100_000))),
        ("indices", format!("{SHAPE} 0; function f() {{ f{} }}", "[0]".repeat(100_000))),
        ("non-null", format!("{SHAPE} 0{}", "!".repeat(100_000))),
        ("as", format!("{SHAPE} 0{}", " as any".repeat(60_000))),
        ("elses", statements(45_000, "if(0);else ", ";", "")),
    ] {
        let started = Instant::now();
        println!("{name}: {:?} after {:?}", refusal(&engine, &source), started.elapsed());
        assert!(started.elapsed() < PATIENCE, "{name}: {:?}", started.elapsed());
    }
}

#[test]
fn deeply_nested_types_are_refused() {
    let n = 100_000;
    let types = |open: &str, inner: &str, close: &str, n: usize| {
        format!("{SHAPE} 0; type T = {}{inner}{};", open.repeat(n), close.repeat(n))
    };
    check_refused(&[
        ("generics", types("A<", "B", ">", n)),
        ("type literals", types("{a:", "B", "}", n)),
        ("tuples", types("[", "B", "]", n)),
        ("parenthesised types", types("(", "B", ")", n)),
        ("conditional types", types("A extends B?", "C", ":D", 30_000)),
        ("function types", types("()=>", "B", "", n)),
        ("keyofs", types("keyof ", "B", "", 70_000)),
        ("template types", types("`${", "B", "}`", n)),
        ("casts", nested(10_000, "<any>", "1", "")),
        ("100,000 casts", nested(100_000, "<any>", "1", "")),
        ("generic calls", nested(50_000, "f<A>(", "1", ")")),
        ("infers", types("A extends infer B extends ", "C", "?1:2", 10_000)),
    ]);
}

#[test]
fn deeply_nested_statements_are_refused() {
    check_refused(&[
        ("ifs", statements(100_000, "if(1)", ";", "")),
        ("whiles", statements(60_000, "while(0)", ";", "")),
        ("labels", {
            let labels: String = (0..40_000).map(|n| format!("l{n}:")).collect();
            format!("{SHAPE} 0; {labels};")
        }),
        ("100,000 blocks", statements(100_000, "{", "", "}")),
        ("functions", statements(20_000, "function f(){", "", "}")),
        ("namespaces", statements(20_000, "namespace N{", "export const a=1", "}")),
        ("tries", statements(20_000, "try{", "", "}finally{}")),
        ("switches", statements(10_000, "switch(1){case 1:", "", "}")),
        ("classes", statements(10_000, "class A{static{", "", "}}")),
        ("patterns", format!("{SHAPE} 0; const {}a{} = x;", "[".repeat(100_000), "]".repeat(100_000))),
    ]);
}

#[test]
fn five_thousand_blocks_print_no_hundred_megabytes() {
    let _alone = alone();
    let engine = engine(Limits::default());
    let started = Instant::now();
    println!("{:?}", refusal(&engine, &statements(5_000, "{", "x;", "}")));
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
}

#[test]
fn much_of_one_thing_is_loaded_or_refused_in_time() {
    let _alone = alone();
    let engine = engine(Limits::default());
    let strings: String = (0..40_000).map(|n| format!("'s{n}',")).collect();
    let statements: String = (0..40_000).map(|n| format!("var v{n};")).collect();
    let functions: String = (0..15_000).map(|n| format!("function f{n}() {{}}")).collect();
    let enums: String = (0..30_000).map(|n| format!("A{n},")).collect();
    let errors = "let a = ;\n".repeat(40_000);
    thread::scope(|scope| {
        for (name, source) in [
            ("strings", format!("{SHAPE} [{strings}];")),
            ("one string", format!("{SHAPE} '{}';", "a".repeat(500_000))),
            ("escapes", format!("{SHAPE} '{}';", "\\u{10ffff}".repeat(45_000))),
            ("a number", format!("{SHAPE} {}n;", "9".repeat(400_000))),
            ("an identifier", format!("{SHAPE} {};", "a".repeat(400_000))),
            ("a regex", format!("{SHAPE} /{}/;", "(a|b)*".repeat(60_000))),
            ("statements", format!("{SHAPE} 0; {statements}")),
            ("functions", format!("{SHAPE} 0; {functions}")),
            ("an enum", format!("{SHAPE} 0; enum E {{ {enums} }}")),
            ("a comment", format!("/*{}*/ {SHAPE} 0;", "*".repeat(500_000))),
            ("lines", format!("{}{SHAPE} 0;", "\n".repeat(500_000))),
            ("errors", errors),
            ("an open string", format!("{SHAPE} '{}", "a".repeat(500_000))),
            ("an open template", format!("{SHAPE} `{}", "${".repeat(200_000))),
        ] {
            let engine = &engine;
            scope.spawn(move || {
                let started = Instant::now();
                let refused = refusal(engine, &source);
                println!("{name}: {:.300?} after {:?}", refused, started.elapsed());
                assert!(started.elapsed() < PATIENCE * 2, "{name}: {:?}", started.elapsed());
            });
        }
    });
}

/// Checks that the top level's failure is told with this text.
#[track_caller]
fn check_top_level(top_level: &str, expected: &str) {
    let _alone = alone();
    let engine = engine(Limits::default());
    let source = format!("{SHAPE} 0;\n\n  {top_level}\n");
    let reason = refusal(&engine, &source).expect_err("it was loaded");
    assert!(reason.contains(expected), "{reason:?} doesn't say {expected:?}");
    load(&engine, &package(&code_of_cases([("echo", "return 1")]), &[]));
}

#[test]
fn a_top_level_that_loops_is_refused() {
    // On a busy machine the compile's 10 s can be over before the top level has had its 2 s of CPU time.
    check_top_level("for (;;) {}", " s");
    check_top_level("new Array(1e9) + '';", "10 s");
}

#[test]
fn a_top_level_that_throws_is_refused_where_it_throws() {
    check_top_level("throw new Error('at load');", "3:");
    check_top_level("throw new Error('at load');", "at load");
    check_top_level("(null as any).x;", "3:");
    check_top_level("throw 'a string';", "a string");
    check_top_level("throw 7;", "7");
    check_top_level("throw { get message() { throw 1 } };", "can't be described");
}

#[test]
fn a_top_level_that_eats_memory_or_stack_is_refused() {
    check_top_level("const a = []; for (;;) a.push(new Uint8Array(1_000_000));", "64 MiB");
    check_top_level("const f = () => f() + 1; f();", "stack");
}

#[test]
fn a_shape_that_only_running_shows_is_looked_at() {
    let _alone = alone();
    let engine = engine(Limits::default());
    for (source, lacking) in [
        ("const make = () => ({ testConnection() {} }); const connector = make();", "execute"),
        ("const make = () => ({ execute() {} }); export default make();", "testConnection"),
        ("const connector = Object.assign({}, { execute: 1, testConnection() {} });", "execute"),
        ("export const connector = [].find(() => true);", "execute"),
        ("const connector = new Proxy({}, {});", "testConnection and execute"),
    ] {
        let reason = refusal(&engine, source).expect_err(source);
        assert!(reason.contains(lacking), "{source}: {reason}");
    }
    let thrown = refusal(
        &engine,
        "const connector = { get execute() { throw new Error('gone') }, testConnection() {} };",
    );
    assert!(thrown.expect_err("a getter that throws").contains("gone"));
    assert!(
        refusal(
            &engine,
            "const make = () => ({ execute() {}, testConnection() {} }); const connector = make();"
        )
        .is_ok()
    );
}
