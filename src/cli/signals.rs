//! Signals to a command that has something to put in order before it ends.

use std::thread;
use std::time::Duration;

use portcullis_runtime::Cancellation;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::error::Failure;

/// How long the command may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// Cancels the call at Ctrl-C, SIGTERM or SIGHUP, so that its query is cancelled on the server. The second signal ends the
/// command, as does the first if the call doesn't end soon after it.
pub(super) fn cancel_on_signal(cancellation: &Cancellation) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|error| Failure::usage(format!("can't listen for signals: {error}")))?;
    let cancellation = cancellation.clone();
    thread::spawn(move || {
        let mut signals = signals.forever();
        let Some(signal) = signals.next() else { return };
        cancellation.cancel();
        thread::spawn(move || {
            thread::sleep(PATIENCE);
            end_by(signal);
        });
        if let Some(signal) = signals.next() {
            end_by(signal);
        }
    });
    Ok(())
}

/// Ends the process as the signal would have; where that fails, with the shell's status for it.
pub(super) fn end_by(signal: i32) {
    if emulate_default_handler(signal).is_err() {
        std::process::exit(128 + signal);
    }
}
