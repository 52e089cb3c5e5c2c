//! Code that is evaluated before its call is there: which code may be, and that no call can tell.

use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_runtime::{Call, Connector, Limits, Outcome};
use serde_json::json;

use crate::bench::{alone, at_depth, engine, load, package, run, value_of, wait_until};

/// A connector with this at its top level, whose every call answers `answer`.
#[track_caller]
fn connector(top_level: &str, answer: &str) -> Connector {
    let code = format!(
        "{top_level}\nfunction execute(ctx) {{ return {answer}; }}\nfunction testConnection() {{}}\n"
    );
    load(&engine(Limits::default()), &package(&code, &[]))
}

#[track_caller]
fn check_early(top_level: &str, expected: bool) {
    let connector = connector(top_level, "1");
    assert_eq!(connector.image().expect("it has code").early, expected, "{top_level}");
}

#[test]
fn code_that_looks_at_no_clock_may_be_evaluated_early() {
    let _alone = alone();
    for top_level in [
        "",
        "const table = new Map([['a', 1]]); console.log('loaded');",
        "const today = () => new Date().toISOString();",
        "class Clock { now() { return Date.now(); } }",
        "const picked = Math.random();",
        "enum Level { Low, High }",
    ] {
        check_early(top_level, true);
    }
}

#[test]
fn code_that_looks_at_the_clock_or_takes_long_is_evaluated_for_its_call() {
    let _alone = alone();
    for top_level in [
        "const loaded = Date.now();",
        "const loaded = new Date();",
        "const loaded = `at ${Date()}`;",
        "const Later = Date;",
        "const { Date: Later } = globalThis;",
        "const loaded = globalThis['Da' + 'te'].now();",
        "class Moment extends Date {}",
        "let n = 0; for (let i = 0; i < 2e7; i++) n += i;",
    ] {
        check_early(top_level, false);
    }
}

/// Calls until processes are forked ahead, then until they have been used.
#[track_caller]
fn check_each_call(connector: &Connector, mut check: impl FnMut(&Outcome)) {
    for _ in 0..3 {
        check(&run(connector, "any"));
    }
    for _ in 0..5 {
        wait_until("a process is ready ahead", || !at_depth(3).is_empty());
        // The process has entered its jail and the code's top level is behind it, or soon will be: both orders are right.
        check(&run(connector, "any"));
    }
}

#[test]
fn calls_share_no_top_level_and_keep_its_log() {
    let _alone = alone();
    let connector = connector("let n_calls = 0; console.log('loading');", "++n_calls");
    assert!(connector.image().expect("it has code").early);
    check_each_call(&connector, |outcome| {
        assert_eq!(*value_of(outcome), json!(1));
        let logged: Vec<&str> = outcome.logs.iter().map(|line| line.message.as_str()).collect();
        assert_eq!(logged, ["loading"]);
    });
}

#[test]
fn random_numbers_of_the_top_level_are_each_calls_own() {
    let _alone = alone();
    let connector = connector("const picked = Math.random();", "picked");
    let mut seen = Vec::new();
    check_each_call(&connector, |outcome| {
        let picked = value_of(outcome).clone();
        assert!(!seen.contains(&picked), "{picked} twice");
        seen.push(picked);
    });
}

#[test]
fn a_clock_read_at_the_top_level_is_that_of_the_call() {
    let _alone = alone();
    let connector = connector("const loaded = Date.now();", "loaded >= ctx.params.sent");
    for round in 0..8 {
        if round > 2 {
            wait_until("a process is ready ahead", || !at_depth(3).is_empty());
        }
        let sent = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
        let arguments = json!({"sent": u64::try_from(sent).expect("a number")});
        let call = Call { operation: Some("run".to_owned()), arguments, ..Call::default() };
        assert_eq!(*value_of(&connector.call(&call)), json!(true), "round {round}");
    }
}

#[test]
fn a_top_level_that_sometimes_throws_fails_its_own_call() {
    let _alone = alone();
    // When it is tried at the end of its compile, the sequence begins with 0.05.
    let connector =
        connector("const isBad = Math.random() > 0.5; if (isBad) throw new Error('unlucky');", "1");
    let (mut n_ok, mut n_failed) = (0, 0);
    for _ in 0..40 {
        let outcome = run(&connector, "any");
        match &outcome.result {
            Ok(value) => {
                assert_eq!(*value, json!(1));
                n_ok += 1;
            }
            Err(error) => {
                assert_eq!(error.message, "unlucky");
                let stack = error.stack.as_deref().unwrap_or_default();
                assert!(stack.contains("connector.ts:1:"), "{stack}");
                n_failed += 1;
            }
        }
    }
    assert!(n_ok > 0 && n_failed > 0, "{n_ok} returned, {n_failed} failed");
}
