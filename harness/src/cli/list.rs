//! `whitewater list`.

use checker::invariants::Invariant;
use checker::model::ModelKind;
use clap::{Args, ValueEnum};
use results::exit_code;
use serde_json::{Value as Json, json};

use super::{Format, output, usage_error};
use crate::nemesis;
use crate::system::{self, Places, System};

/// Flags of `list`.
#[derive(Args)]
pub struct Arguments {
    /// What to list.
    #[arg(value_enum)]
    what: What,
    /// The system whose bugs are listed: a built-in name or the path of a system file.
    #[arg(long, default_value = "raft")]
    system: String,
    /// How the list is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Systems that are built in.
    Systems,
    /// What clients can do.
    Workloads,
    /// Faults, and the groups they belong to.
    Faults,
    /// Raft's own properties, judged on traces.
    Invariants,
    /// What histories can be judged by.
    Models,
    /// Seeded bugs of a system.
    Bugs,
}

/// Prints the list; gives the exit code.
pub fn main(arguments: &Arguments) -> u8 {
    let rows = match arguments.what {
        What::Systems => systems(),
        What::Workloads => workloads::ALL
            .iter()
            .map(|w| json!({ "name": w.name, "model": w.model, "summary": w.summary }))
            .collect(),
        What::Faults => nemesis::all()
            .iter()
            .map(|fault| {
                json!({
                    "name": fault.name,
                    "group": fault.group,
                    "needs": fault.breaks.map(nemesis::Assumption::name),
                    "summary": fault.summary,
                })
            })
            .collect(),
        What::Invariants => Invariant::ALL
            .iter()
            .map(|invariant| json!({ "name": invariant.name(), "summary": invariant.statement() }))
            .collect(),
        What::Models => ModelKind::ALL
            .iter()
            .map(|model| json!({ "name": model.name(), "summary": model.summary() }))
            .collect(),
        What::Bugs => match bugs(&arguments.system) {
            Ok(rows) => rows,
            Err(error) => return usage_error(&error),
        },
    };
    match arguments.format {
        Format::Json => output::print_json(&rows),
        Format::Text => output::print_rows(&rows.iter().map(cells).collect::<Vec<_>>()),
    }
    exit_code::VALID
}

fn systems() -> Vec<Json> {
    system::built_in_names()
        .into_iter()
        .filter_map(|name| System::load(name).ok())
        .map(|system| {
            json!({
                "name": system.name,
                "family": system.model.family,
                "modes": system.modes,
            })
        })
        .collect()
}

fn bugs(system: &str) -> Result<Vec<Json>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let system = System::load(system).map_err(|e| text(&e))?;
    let places = Places::of_this_binary().map_err(|e| text(&e))?;
    system::build(&system, &places).map_err(|e| text(&e))?;
    let describe = system.describe(&places).map_err(|e| text(&e))?;
    Ok(describe.map(|d| d.bugs).unwrap_or_default().iter().map(|bug| json!(bug)).collect())
}

/// The cells of a row: the values of an object, lists joined.
fn cells(row: &Json) -> Vec<String> {
    let text = |value: &Json| match value {
        Json::String(text) => text.clone(),
        Json::Array(items) => items.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(","),
        Json::Null => "-".to_owned(),
        other => other.to_string(),
    };
    // The name first, the sentence last, whatever order the object keeps.
    let Json::Object(fields) = row else { return vec![text(row)] };
    let mut names: Vec<&String> = fields.keys().collect();
    names.sort_by_key(|name| match name.as_str() {
        "name" => 0,
        "summary" => 2,
        _ => 1,
    });
    names.into_iter().map(|name| text(&fields[name])).collect()
}
