//! Which processor a call's process runs on: that of its supervisor, while the two take turns.
//!
//! One of them always waits for the other. On two processors each frame would have to wake the one that has gone idle, which
//! takes longer than many a call; on one, the kernel switches from one to the other.

use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// A process that has said nothing for so long is at work, and may be moved to wherever there is room.
pub(super) const PATIENCE: Duration = Duration::from_millis(1);

/// Puts a process on the processor that this thread runs on. Where the kernel refuses, it runs where it likes.
pub(super) fn draw_near(process: Pid) {
    let mut here = CpuSet::new();
    let cpu = sched_getcpu();
    if cpu < CpuSet::MAX_CPU && anywhere().is_some() {
        here.set(cpu);
        let _ = sched_setaffinity(Some(process), &here);
    }
}

/// Lets a process run wherever this one may.
pub(super) fn let_go(process: Pid) {
    if let Some(anywhere) = anywhere() {
        let _ = sched_setaffinity(Some(process), anywhere);
    }
}

/// The processors that this program may use, if there are several.
fn anywhere() -> Option<&'static CpuSet> {
    static ANYWHERE: OnceLock<Option<CpuSet>> = OnceLock::new();
    let anywhere = || sched_getaffinity(None).ok().filter(|processors| processors.count() > 1);
    ANYWHERE.get_or_init(anywhere).as_ref()
}
