//! `whitewater doctor`.

use std::path::PathBuf;

use clap::Args;
use results::{DEFAULT_OUT, exit_code};

use super::{Format, output};
use crate::doctor::{Options, examine};

/// Flags of `doctor`.
#[derive(Args)]
pub struct Arguments {
    /// Where run directories would be made.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_OUT)]
    out: PathBuf,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Examines, prints; gives the exit code: a missing necessity is a configuration error.
pub fn main(arguments: &Arguments) -> u8 {
    let found = examine(&Options { program: None, dir: arguments.out.clone() });
    match arguments.format {
        Format::Json => output::print_json(&found),
        Format::Text => {
            let rows: Vec<Vec<String>> = found
                .iter()
                .map(|capability| {
                    let word = match (capability.available, capability.required) {
                        (true, _) => "yes",
                        (false, true) => "NO",
                        (false, false) => "no",
                    };
                    let unlocks = match capability.available {
                        true => capability.unlocks.to_owned(),
                        false => format!("would unlock: {}", capability.unlocks),
                    };
                    vec![
                        capability.name.to_owned(),
                        word.to_owned(),
                        capability.detail.clone(),
                        unlocks,
                    ]
                })
                .collect();
            output::print_rows(&rows);
        }
    }
    match found.iter().any(|capability| capability.required && !capability.available) {
        true => exit_code::USAGE,
        false => exit_code::VALID,
    }
}
