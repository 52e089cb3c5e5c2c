//! The process tree: what each process of the sandbox has and lacks, what survives whose death, and that nothing is left.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use portcullis_runtime::{Connector, ErrorCode, Limits, Outcome};
use serde_json::json;

use crate::bench::{
    Process, alone, at_depth, code_of_cases, comes_true, connector, descendants, descendants_of, engine,
    error_of, executable, load, package, run, value_of, wait_until,
};
use crate::upstream::Upstream;

/// A connector that can hang on its upstream, and echo.
fn hanging(upstream: &Upstream) -> Connector {
    let hang = format!("return ctx.http.get({:?}).status", upstream.url("/hang"));
    let limits = Limits { deadline: Duration::from_secs(3), ..Limits::default() };
    connector(
        limits,
        &upstream.allowed(),
        [("hang", hang.as_str()), ("echo", "return ctx.params"), ("loop", "for (;;) {}")],
    )
}

/// Does something while a call is in flight, then kills that call's process.
fn while_a_call_hangs(connector: &Connector, upstream: &Upstream, observe: impl FnOnce(&Process)) {
    thread::scope(|scope| {
        let n_requests = upstream.n_requests();
        let call = scope.spawn(|| run(connector, "hang"));
        wait_until("the call is in flight", || upstream.n_requests() > n_requests && !at_depth(3).is_empty());
        let processes = at_depth(3);
        observe(&processes[0]);
        processes.iter().for_each(Process::kill);
        let outcome = call.join().expect("the call");
        check_ended(&outcome);
    });
}

/// A call whose process died while its request was under way ends when that does, at its deadline at the latest.
#[track_caller]
fn check_ended(outcome: &Outcome) {
    let code = error_of(outcome).code;
    assert!([ErrorCode::SandboxCrashed, ErrorCode::LimitExceeded].contains(&code), "{outcome:?}");
}

#[test]
fn a_call_process_has_nothing() {
    let _alone = alone();
    let upstream = Upstream::start();
    let connector = hanging(&upstream);
    while_a_call_hangs(&connector, &upstream, |call| {
        assert_eq!(call.status("NoNewPrivs"), "1");
        assert_eq!(call.status("Seccomp"), "2", "a filter is in force");
        assert_eq!(call.status("Threads"), "1");
        check_unprivileged(call);
        check_limit(call, "Max open files", "1");
        check_limit(call, "Max file size", "0");
        check_limit(call, "Max core file size", "0");
        check_limit(call, "Max cpu time", "5");
        let address_space = limit(call, "Max address space");
        assert!(address_space.parse::<u64>().is_ok_and(|bytes| bytes < 2 << 30), "{address_space}");
        if let Some(descriptors) = descriptors(call) {
            assert_eq!(descriptors.len(), 1, "its socket alone: {descriptors:?}");
            assert!(descriptors[0].starts_with("0 socket:"), "{descriptors:?}");
        }
        check_environment(call);
    });
}

#[test]
fn zygotes_have_next_to_nothing() {
    let _alone = alone();
    let upstream = Upstream::start();
    let connector = hanging(&upstream);
    while_a_call_hangs(&connector, &upstream, |call| {
        wait_until("the compile process is buried", || at_depth(2).len() == 1);
        let zygotes: Vec<Process> = at_depth(1).into_iter().chain(at_depth(2)).collect();
        assert_eq!(zygotes.len(), 2, "{zygotes:?}");
        assert_eq!(call.parent, zygotes[1].pid);
        for (zygote, n_sockets) in zygotes.iter().zip([1, 2]) {
            assert_eq!(zygote.status("NoNewPrivs"), "1");
            assert_eq!(zygote.status("Threads"), "1");
            check_unprivileged(zygote);
            check_limit(zygote, "Max file size", "0");
            check_limit(zygote, "Max core file size", "0");
            check_environment(zygote);
            // A zygote gives way to every other process: it may still be telling of the birth.
            wait_until("it holds its sockets and nothing else", || {
                descriptors(zygote).is_none_or(|held| has_only(&held, n_sockets))
            });
        }
    });
}

/// Whether these are as many sockets, and what tells a zygote of deaths.
fn has_only(descriptors: &[String], n_sockets: usize) -> bool {
    let sockets = descriptors.iter().filter(|one| one.contains("socket:")).count();
    let deaths = descriptors.iter().filter(|one| one.contains("signalfd")).count();
    (sockets, sockets + deaths) == (n_sockets, descriptors.len())
}

/// Checks that the process is nobody's: not root, without capabilities, and in no network.
#[track_caller]
fn check_unprivileged(process: &Process) {
    for uid in process.status("Uid").split_whitespace().chain(process.status("Gid").split_whitespace()) {
        assert_ne!(uid, "0", "{process:?} is root's");
    }
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(process.status(set), "0000000000000000", "{set} of {process:?}");
    }
    if can_unshare() {
        let routes = process.file("net/route").expect("routes");
        assert!(routes.lines().count() <= 1, "{process:?} has routes:\n{routes}");
        let devices = process.file("net/dev").expect("devices");
        assert!(devices.lines().skip(2).all(counts_nothing), "{process:?} has a network:\n{devices}");
    }
}

fn counts_nothing(device: &str) -> bool {
    device.split_whitespace().skip(1).all(|count| count == "0")
}

/// Whether this machine lets us leave a network namespace at all.
fn can_unshare() -> bool {
    let mut command = Command::new("unshare");
    let command =
        command.args(if nix::unistd::geteuid().is_root() { &["-n", "true"][..] } else { &["-rn", "true"] });
    command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// What each descriptor of the process is; none where we may not look.
fn descriptors(process: &Process) -> Option<Vec<String>> {
    let entries = fs::read_dir(format!("/proc/{}/fd", process.pid)).ok()?;
    let mut descriptors = Vec::new();
    for entry in entries.flatten() {
        let target = fs::read_link(entry.path()).ok()?;
        descriptors.push(format!("{} {}", entry.file_name().to_string_lossy(), target.display()));
    }
    descriptors.sort();
    Some(descriptors)
}

/// Checks that the process was given no environment.
#[track_caller]
fn check_environment(process: &Process) {
    if let Ok(environment) = process.file("environ") {
        assert_eq!(environment, "", "{process:?} has an environment");
    }
}

fn limit(process: &Process, name: &str) -> String {
    let limits = process.file("limits").expect("limits");
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect("the limit");
    line.split_whitespace().next().expect("a value").to_owned()
}

#[track_caller]
fn check_limit(process: &Process, name: &str, soft: &str) {
    assert_eq!(limit(process, name), soft, "{name}");
}

#[test]
fn the_environment_reaches_no_connector() {
    let _alone = alone();
    let connector = connector(
        Limits::default(),
        &[],
        [(
            "look",
            "return [typeof process, typeof std, typeof os, typeof scriptArgs, new Date(0).getTimezoneOffset()]",
        )],
    );
    let nothing = "undefined";
    assert_eq!(*value_of(&run(&connector, "look")), json!([nothing, nothing, nothing, nothing, 0]));
}

// Deaths.

#[test]
fn a_dead_connector_zygote_breaks_only_the_calls_in_flight() {
    let _alone = alone();
    check_recovery(2);
}

#[test]
fn a_dead_root_zygote_breaks_only_the_calls_in_flight() {
    let _alone = alone();
    check_recovery(1);
}

/// Kills the zygote at this depth under a busy connector, with a call in flight, and again, and checks what comes after.
#[track_caller]
fn check_recovery(depth: usize) {
    let upstream = Upstream::start();
    let connector = hanging(&upstream);
    for round in 0..3 {
        for _ in 0..4 {
            assert_eq!(*value_of(&run(&connector, "echo")), json!({"case": "echo"}), "round {round}");
        }
        wait_until("processes are ready ahead", || !at_depth(3).is_empty());
        thread::scope(|scope| {
            let n_requests = upstream.n_requests();
            let call = scope.spawn(|| run(&connector, "hang"));
            wait_until("the call is in flight", || upstream.n_requests() > n_requests);
            let before = descendants();
            at_depth(depth)[0].kill();
            wait_until("what it had forked is dead", || {
                before.iter().filter(|process| process.depth >= depth).all(|process| !process.is_alive())
            });
            let outcome = run(&connector, "echo");
            assert_eq!(*value_of(&outcome), json!({"case": "echo"}), "round {round}: the next call works");
            check_ended(&call.join().expect("the call"));
        });
    }
    assert_eq!((at_depth(1).len(), at_depth(2).len()), (1, 1), "{:?}", descendants());
    assert!(descendants().iter().all(|process| !process.is_zombie()), "{:?}", descendants());
}

#[test]
fn calls_go_on_while_zygotes_are_being_killed() {
    let _alone = alone();
    let connector = connector(Limits::default(), &[], [("echo", "return 1")]);
    let (is_over, n_ok, n_crashed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    match &run(&connector, "echo").result {
                        Ok(value) => assert_eq!(*value, json!(1)),
                        Err(error) => {
                            assert_eq!(error.code, ErrorCode::SandboxCrashed, "{error:?}");
                            n_crashed.fetch_add(1, Ordering::SeqCst);
                            continue;
                        }
                    }
                    n_ok.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for round in 0..20 {
            thread::sleep(Duration::from_millis(50));
            if let Some(zygote) = at_depth(1 + round % 2).first() {
                zygote.kill();
            }
        }
        is_over.store(true, Ordering::SeqCst);
    });
    let (n_ok, n_crashed) = (n_ok.into_inner(), n_crashed.into_inner());
    println!("{n_ok} calls returned, {n_crashed} were in flight of a dying zygote");
    assert!(n_ok > 10, "{n_ok} calls returned");
    // Each kill can end a call per thread, and one more that was started before the end was known.
    assert!(n_crashed <= 20 * 4 * 2, "{n_crashed} calls crashed");
    // The last kill may still reach the processes that were ready.
    assert!(comes_true(Duration::from_secs(5), || run(&connector, "echo").result.is_ok()));
    assert_eq!(*value_of(&run(&connector, "echo")), json!(1));
}

#[test]
fn dropping_a_connector_and_its_engine_ends_their_processes() {
    let _alone = alone();
    let engine = engine(Limits::default());
    let code = code_of_cases([("echo", "return 1")]);
    let connectors: Vec<Connector> = (0..3).map(|_| load(&engine, &package(&code, &[]))).collect();
    for connector in &connectors {
        (0..4).for_each(|_| assert_eq!(*value_of(&run(connector, "echo")), json!(1)));
    }
    assert_eq!((at_depth(1).len(), at_depth(2).len()), (1, 3));
    let mut connectors = connectors;
    connectors.pop();
    wait_until("a dropped connector's zygote is gone", || at_depth(2).len() == 2);
    drop((connectors, engine));
    wait_until("no process is left", || descendants().is_empty());
}

#[test]
fn a_call_that_is_over_has_no_process() {
    let _alone = alone();
    let upstream = Upstream::start();
    let connector = hanging(&upstream);
    let mut last = None;
    while_a_call_hangs(&connector, &upstream, |call| last = Some(call.clone()));
    let last = last.expect("a process");
    wait_until("it is gone, and buried", || !fs::exists(format!("/proc/{}", last.pid)).expect("/proc"));
}

#[test]
fn everything_ends_with_the_gateway() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let connector = folder.path().join("looping");
    fs::create_dir(&connector).expect("a folder");
    let manifest = json!({"title": "Loops", "authMethod": "none", "operations": [{"name": "run"}]});
    fs::write(connector.join("config.json"), manifest.to_string()).expect("a manifest");
    fs::write(connector.join("connector.ts"), code_of_cases([("loop", "new Array(1e9) + ''")]))
        .expect("code");
    let mut gateway = Command::new(executable())
        .args([
            "run".as_ref(),
            connector.as_os_str(),
            "run".as_ref(),
            "--params".as_ref(),
            r#"{"case":"loop"}"#.as_ref(),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the gateway starts");
    let pid = i32::try_from(gateway.id()).expect("a pid");
    wait_until("its call is in flight", || descendants_of(pid).iter().any(|process| process.depth == 3));
    let all = descendants_of(pid);
    assert!(all.len() >= 3, "{all:?}");
    gateway.kill().expect("it is killed");
    gateway.wait().expect("it ends");
    wait_until("no process of its is left", || all.iter().all(|process| !process.is_alive()));
}
