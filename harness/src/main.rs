//! Entry point of `whitewater`; see the library for what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Guardian and probes fork and unshare, which only a process without threads may do.
    if let Some(code) = whitewater::guardian::run_if_asked() {
        return code;
    }
    if let Some(code) = whitewater::doctor::run_probe_if_asked() {
        return code;
    }
    whitewater::cli::main()
}
