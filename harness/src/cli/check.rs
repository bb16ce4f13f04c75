//! `whitewater check`.

use std::path::{Path, PathBuf};

use checker::model::ModelKind;
use clap::Args;
use results::history::json_to_value;
use results::{BudgetLimits, Overall, RunDir, RunVerdict, exit_code};

use super::{Format, output, usage_error};
use crate::judge::{self, HistoryRules};

/// Endings of the files that count as histories in a directory.
const ENDINGS: [&str; 3] = [".jsonl", ".jsonl.zst", ".edn"];

/// Flags of `check`.
#[derive(Args)]
pub struct Arguments {
    /// Run directories, history files, or directories of them.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// What bare histories are judged by [default: told by their operations].
    #[arg(long)]
    model: Option<ModelKind>,
    /// The initial state, as JSON [default: the model's natural one].
    #[arg(long, value_name = "JSON")]
    init: Option<String>,
    /// What the checks of each path may use [default: the run's own, or 60s,4GiB].
    #[arg(long)]
    budget: Option<BudgetLimits>,
    /// Have the checker's answers checked by the independent verifier.
    #[arg(long)]
    verify: bool,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Something that can be judged.
enum Subject {
    Run(RunDir),
    History(PathBuf),
}

/// Judges, prints; gives the exit code.
pub fn main(arguments: &Arguments) -> u8 {
    let init = match arguments.init.as_deref().map(serde_json::from_str).transpose() {
        Ok(init) => init.as_ref().map(json_to_value),
        Err(error) => return usage_error(&format!("--init is not JSON: {error}")),
    };
    let rules = HistoryRules { model: arguments.model, init };
    let options = judge::Options { limits: arguments.budget, verify: arguments.verify };
    let mut subjects = Vec::new();
    for path in &arguments.paths {
        if let Err(error) = collect(path, true, &mut subjects) {
            return usage_error(&error);
        }
    }
    let mut verdicts: Vec<RunVerdict> = Vec::new();
    let mut refused = false;
    for subject in &subjects {
        let judged = match subject {
            Subject::Run(run) => judge::run_dir(run, options),
            Subject::History(path) => judge::history_file(path, &rules, options),
        };
        match judged {
            Ok(verdict) => verdicts.push(verdict),
            Err(error) => {
                // One file that cannot be judged does not keep the others from being judged.
                output::print_error(&error);
                refused = true;
            }
        }
    }
    let several = subjects.len() > 1;
    match (arguments.format, several) {
        (Format::Json, false) => verdicts.iter().for_each(output::print_json),
        (Format::Json, true) => output::print_json(&verdicts),
        (Format::Text, false) => verdicts.iter().for_each(output::print_verdict),
        (Format::Text, true) => print_table(&verdicts, subjects.len() - verdicts.len()),
    }
    let worst = Overall::worst(verdicts.iter().map(|verdict| verdict.verdict));
    match (worst, refused) {
        (Some(Overall::Violation), _) => exit_code::VIOLATION,
        (_, true) | (None, _) => exit_code::USAGE,
        (Some(worst), false) => worst.exit_code(),
    }
}

fn print_table(verdicts: &[RunVerdict], refused: usize) {
    let width = verdicts.iter().map(|verdict| verdict.subject.len()).max().unwrap_or(0);
    for verdict in verdicts {
        output::print_verdict_line(verdict, width);
    }
    let count = |wanted| verdicts.iter().filter(|verdict| verdict.verdict == wanted).count();
    anstream::println!(
        "{} judged: {} valid, {} violation, {} unknown, {} harness-failure; {refused} refused",
        verdicts.len(),
        count(Overall::Valid),
        count(Overall::Violation),
        count(Overall::Unknown),
        count(Overall::HarnessFailure),
    );
}

/// Finds what there is to judge at a path. In a directory that is no run, runs and history files
/// at any depth count; a path that the user named must hold something.
fn collect(path: &Path, is_named: bool, subjects: &mut Vec<Subject>) -> Result<(), String> {
    if !path.is_dir() {
        if is_named || ENDINGS.iter().any(|end| path.to_string_lossy().ends_with(end)) {
            subjects.push(Subject::History(path.to_owned()));
        }
        return Ok(());
    }
    if path.join("run.json").exists() {
        let run = RunDir::open(path).map_err(|error| error.to_string())?;
        subjects.push(Subject::Run(run));
        return Ok(());
    }
    let unreadable =
        |error: std::io::Error| format!("cannot read the directory {}: {error}", path.display());
    let mut entries = std::fs::read_dir(path)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .map_err(unreadable)?;
    entries.sort_by_key(std::fs::DirEntry::path);
    let before = subjects.len();
    for entry in entries {
        // `latest` and its like point at what is found anyway.
        if entry.file_type().map_err(unreadable)?.is_symlink() {
            continue;
        }
        collect(&entry.path(), false, subjects)?;
    }
    if is_named && subjects.len() == before {
        return Err(format!(
            "nothing to judge in {}: neither a run directory (with run.json) nor histories \
             ({})",
            path.display(),
            ENDINGS.join(", ")
        ));
    }
    Ok(())
}
