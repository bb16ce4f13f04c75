//! Brings a system's program up to date before a run.

use std::process::{Command, Stdio};

use super::{Places, System, SystemError};

/// Runs the system's `build` command, if it has one that applies here: a command that needs the
/// harness's source tree is passed over where there is none (the program must then lie ready).
///
/// # Errors
/// The command cannot be run or fails; what it printed on standard error is quoted.
pub fn build(system: &System, places: &Places) -> Result<(), SystemError> {
    let needs_source = system.build.iter().any(|part| part.contains("{source_dir}"));
    if system.build.is_empty() || (needs_source && !places.has_source()) {
        return Ok(());
    }
    let argv = places.fill_all(&system.build)?;
    let failed = |why: String| SystemError::Command {
        role: "build",
        system: system.name.clone(),
        command: argv.join(" "),
        why,
    };
    let output = Command::new(&argv[0])
        .args(&argv[1..])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(failed(format!("{}\n{}", output.status, stderr.trim_end())));
    }
    Ok(())
}
