//! Entry point of `whitewater`; see the library for what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The guardian forks and must be single-threaded, so it branches off before anything else.
    if let Some(code) = whitewater::guardian::run_if_asked() {
        return code;
    }
    ExitCode::SUCCESS
}
