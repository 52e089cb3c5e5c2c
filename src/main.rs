//! The binary `portcullis`: the sandbox's processes are this same program, so it looks first whether it is one of them.

use std::process::ExitCode;

fn main() -> ExitCode {
    portcullis_runtime::init();
    portcullis::cli::main(&std::env::args_os().collect::<Vec<_>>())
}
