//! A chore's steps: each named, timed and shown; the first that fails ends the chore and is named.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// One step of a chore, all of whose steps share a `C`.
pub(crate) struct Step<C> {
    /// What it checks, in a word or two.
    pub(crate) name: &'static str,
    /// Does it.
    pub(crate) run: fn(&mut C) -> Result<()>,
}

/// Runs the steps in order. The error names the step that failed, and those that therefore didn't run.
pub(crate) fn run_all<C>(shared: &mut C, steps: &[Step<C>]) -> Result<()> {
    let mut times = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        println!("\n── {} of {}: {} ──", index + 1, steps.len(), step.name);
        let started = Instant::now();
        let result = (step.run)(shared);
        times.push((step.name, started.elapsed()));
        if let Err(error) = result {
            print_times(&times);
            return Err(failure(step.name, &error, &steps[index + 1..]));
        }
    }
    print_times(&times);
    println!("\nAll {} steps passed.", steps.len());
    Ok(())
}

fn failure<C>(failed: &str, error: &anyhow::Error, not_run: &[Step<C>]) -> anyhow::Error {
    let names: Vec<&str> = not_run.iter().map(|step| step.name).collect();
    let rest = if names.is_empty() { String::new() } else { format!("\nNot run: {}.", names.join(", ")) };
    anyhow!("the step \"{failed}\" FAILED: {error:#}{rest}")
}

fn print_times(times: &[(&str, Duration)]) {
    println!();
    for (name, time) in times {
        println!("{:>8.1} s  {name}", time.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failing_step_is_named_and_ends_the_chore() {
        let steps = [
            Step { name: "first", run: |_| Ok(()) },
            Step { name: "second", run: |_| Err(anyhow!("the cause").context("what it did")) },
            Step { name: "third", run: |_| panic!("must not run") },
        ];
        let error = run_all(&mut (), &steps).unwrap_err();
        assert_eq!(error.to_string(), "the step \"second\" FAILED: what it did: the cause\nNot run: third.");
    }

    #[test]
    fn a_step_finds_what_one_before_it_left() {
        let steps: [Step<Vec<u8>>; 2] = [
            Step {
                name: "leave",
                run: |shared| {
                    shared.push(7);
                    Ok(())
                },
            },
            Step {
                name: "find",
                run: |shared| {
                    assert_eq!(*shared, [7]);
                    Ok(())
                },
            },
        ];
        assert!(run_all(&mut Vec::new(), &steps).is_ok());
    }
}
