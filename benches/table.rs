//! The table that a bench prints: each row a figure, with its bound and whether it holds.

use std::time::{Duration, Instant};

/// How long `work` takes.
pub(crate) fn timed(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

/// The timing in the middle.
pub(crate) fn median(timings: &[Duration]) -> Duration {
    let mut sorted = timings.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

/// Prints rows, and remembers whether each bound held.
#[derive(Default)]
pub(crate) struct Table {
    n_broken: usize,
}

impl Table {
    /// Timings, and their ratio to a base's median, with the most that it may be.
    pub(crate) fn row(&mut self, name: &str, timings: &mut [Duration], bound: Option<(Duration, f64)>) {
        timings.sort_unstable();
        let at = |share: usize| timings[(timings.len() * share / 100).min(timings.len() - 1)];
        let ratio = bound.map_or(String::new(), |(base, max)| {
            let ratio = at(50).as_secs_f64() / base.as_secs_f64();
            let held = ratio <= max;
            self.n_broken += usize::from(!held);
            format!("{ratio:.2} × (≤ {max}){}", if held { "" } else { "  BROKEN" })
        });
        println!("| {name:<40} | {:>9.1?} | {:>9.1?} | {:>9.1?} | {ratio} |", at(50), at(90), at(99));
    }

    /// A figure that is no timing, and whether it is as wanted.
    pub(crate) fn bound(&mut self, name: &str, value: String, held: bool, wanted: &str) {
        self.n_broken += usize::from(!held);
        println!("| {name:<40} | {value} | | | {wanted}{} |", if held { "" } else { "  BROKEN" });
    }

    /// Ends the bench; with 1 where a bound is broken.
    pub(crate) fn finish(self) {
        if self.n_broken > 0 {
            println!("{} bounds broken", self.n_broken);
            std::process::exit(1);
        }
    }
}
