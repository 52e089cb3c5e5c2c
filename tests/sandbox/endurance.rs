//! Ten thousand calls, good and bad: what they leave behind in the engine's process is nothing.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, thread};

use portcullis_runtime::{Connector, ErrorCode, Limits, MIB};
use serde_json::json;

use crate::bench::{
    alone, at_depth, call_of, comes_true, connector, descendants, error_of, run, run_for, value_of,
};

const N_CALLS: usize = 10_000;
const N_THREADS: usize = 4;

/// What a process holds.
#[derive(Debug)]
struct Holdings {
    n_descriptors: usize,
    n_threads: usize,
    resident: u64,
}

fn holdings() -> Holdings {
    let count = |folder: &str| fs::read_dir(folder).expect("a folder of /proc").count();
    let statm = fs::read_to_string("/proc/self/statm").expect("statm");
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("pages");
    Holdings {
        n_descriptors: count("/proc/self/fd"),
        n_threads: count("/proc/self/task"),
        resident: pages * 4096,
    }
}

/// Makes the calls from several threads, `each` told its number.
fn many(n_calls: usize, each: impl Fn(usize) + Sync) {
    thread::scope(|scope| {
        for n in 0..N_THREADS {
            let each = &each;
            scope.spawn(move || (n..n_calls).step_by(N_THREADS).for_each(each));
        }
    });
}

/// Checks that nothing has grown since `before`, and that no process is left but zygotes and those kept ready.
#[track_caller]
#[expect(clippy::print_stdout, reason = "what was measured belongs to the test's output")]
fn check_flat(before: &Holdings) {
    let is_settled = || {
        let all = descendants();
        let n_calls = all.iter().filter(|process| process.depth == 3).count();
        all.iter().all(|process| !process.is_zombie()) && n_calls <= 2 + N_THREADS
    };
    assert!(comes_true(Duration::from_secs(5), is_settled), "left behind: {:?}", descendants());
    assert_eq!((at_depth(1).len(), at_depth(2).len()), (1, 1), "the root and one connector's zygote");
    // A thread that was joined may still be on its way out of the kernel's list.
    comes_true(Duration::from_secs(5), || holdings().n_threads <= before.n_threads);
    let after = holdings();
    println!("before {before:?}\nafter  {after:?}");
    assert!(after.n_descriptors <= before.n_descriptors + N_THREADS, "descriptors: {before:?} {after:?}");
    assert!(after.n_threads <= before.n_threads, "threads: {before:?} {after:?}");
    assert!(after.resident < before.resident + 24 * MIB, "memory: {before:?} {after:?}");
    // A zygote holds a socket for each process that it hasn't buried; as another user we may not look.
    for zygote in at_depth(1).into_iter().chain(at_depth(2)) {
        if let Ok(descriptors) = fs::read_dir(format!("/proc/{}/fd", zygote.pid)) {
            let n_descriptors = descriptors.count();
            assert!(
                n_descriptors <= 4 + 2 + N_THREADS,
                "zygote {zygote:?} holds {n_descriptors} descriptors"
            );
        }
    }
}

fn limits() -> Limits {
    Limits { memory: 4 * MIB, ..Limits::default() }
}

#[test]
fn ten_thousand_echoes_leave_nothing_behind() {
    let _alone = alone();
    let connector = connector(limits(), &[], [("echo", "return ctx.params.n")]);
    let echo = |n: usize| {
        let mut call = call_of("echo");
        call.arguments["n"] = json!(n);
        assert_eq!(*value_of(&connector.call(&call)), json!(n));
    };
    many(500, echo);
    let before = holdings();
    many(N_CALLS, echo);
    check_flat(&before);
}

#[test]
fn ten_thousand_failing_calls_leave_nothing_behind() {
    let _alone = alone();
    let cases = [
        ("echo", "return 1"),
        ("loop", "for (;;) {}"),
        ("built-in", "return new Array(1e9) + ''"),
        ("memory", "const a = []; for (;;) a.push(new Uint8Array(100_000))"),
        ("stack", "const f = () => f() + 1; return f()"),
        ("throw", "throw new Error('no')"),
        ("logs", "for (;;) console.log('x'.repeat(10_000))"),
        ("victim", "const until = Date.now() + 40; while (Date.now() < until) {} return 1"),
    ];
    let connector = connector(limits(), &[], cases);
    let ends = Mutex::new(BTreeMap::new());
    many(500, |n| fail(&connector, n, &ends));
    let before = holdings();
    ends.lock().expect("the ends").clear();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| kill_some(&is_over));
        many(N_CALLS, |n| fail(&connector, n, &ends));
        is_over.store(true, Ordering::SeqCst);
    });
    let ends = ends.into_inner().expect("the ends");
    println!("{ends:?}");
    for end in ["deadline", "memory", "stack", "logs", "PROVIDER_ERROR", "SANDBOX_CRASHED"] {
        assert!(ends.get(end).is_some_and(|&n| n > 10), "{end}: {ends:?}");
    }
    check_flat(&before);
    assert_eq!(*value_of(&run(&connector, "echo")), json!(1));
}

/// One call that fails, in one way or another.
fn fail(connector: &Connector, n: usize, ends: &Mutex<BTreeMap<String, usize>>) {
    let deadline = Duration::from_millis(10);
    let outcome = match n % 8 {
        0 => run_for(connector, "loop", deadline),
        1 => run_for(connector, "built-in", deadline),
        2 | 3 => run(connector, "memory"),
        4 | 5 => run(connector, "stack"),
        6 => run(connector, if n % 16 == 6 { "throw" } else { "logs" }),
        _ => run(connector, if n % 80 == 7 { "victim" } else { "throw" }),
    };
    if outcome.result.is_ok() {
        return;
    }
    let error = error_of(&outcome);
    let end = match &error.details {
        Some(details) if error.code == ErrorCode::LimitExceeded => {
            details["limit"].as_str().unwrap_or_default()
        }
        _ => error.code.as_str(),
    };
    *ends.lock().expect("the ends").entry(end.to_owned()).or_default() += 1;
}

/// Kills a call's process now and then, as a machine without memory would.
fn kill_some(is_over: &AtomicBool) {
    while !is_over.load(Ordering::SeqCst) {
        if let Some(process) = at_depth(3).first() {
            process.kill();
        }
        thread::sleep(Duration::from_millis(10));
    }
}
