//! Results for people: tables and colours. Standard output holds results, standard error the rest.

use std::io::Write;

use anstream::{eprintln, println};
use clap::builder::styling::{AnsiColor, Effects, Style};
use results::{Check, CheckVerdict, Overall, RunVerdict};
use serde::Serialize;
use serde_json::Value as Json;

const BOLD: Style = Style::new().effects(Effects::BOLD);
const DIM: Style = Style::new().effects(Effects::DIMMED);
const RED: Style = AnsiColor::Red.on_default().effects(Effects::BOLD);
const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();

/// Longest reason in a table; the whole of it stands in `verdict.json` and below the table.
const REASON_CHARS: usize = 100;

/// Most items of a list that are printed with a finding.
const EVIDENCE_LINES: usize = 20;

/// Prints an error the way all of them are printed.
pub fn print_error(error: &dyn std::fmt::Display) {
    eprintln!("{RED}error{RED:#}: {error}");
}

/// Tells what takes a while, on standard error.
pub fn print_step(step: &str) {
    eprintln!("{DIM}{step} …{DIM:#}");
}

/// Tells what the user should know, on standard error.
pub fn print_note(note: &str) {
    eprintln!("{YELLOW}note{YELLOW:#}: {note}");
}

/// Prints JSON.
pub fn print_json(value: &impl Serialize) {
    let text = serde_json::to_string_pretty(value).expect("results are JSON");
    println!("{text}");
}

/// Prints a verdict with all its checks.
pub fn print_verdict(verdict: &RunVerdict) {
    let width = verdict.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for check in &verdict.checks {
        let style = style_of(check.verdict);
        let word = check.verdict.as_str();
        // A finding stands below in full; what could not be told has no other place.
        let reason = match check.verdict {
            CheckVerdict::Unknown => check.reason.clone(),
            _ => shortened(&check.reason),
        };
        println!("  {:width$}  {style}{word:9}{style:#}  {reason}", check.name);
    }
    print_faults(verdict);
    for failure in &verdict.harness_failures {
        println!("  {RED}harness failure{RED:#} while {}: {}", failure.during, failure.reason);
    }
    for check in verdict.checks.iter().filter(|check| check.verdict == CheckVerdict::Violation) {
        print_finding(check);
    }
    let style = style_of_overall(verdict.verdict);
    println!("{BOLD}verdict{BOLD:#}: {style}{}{style:#}", verdict.verdict.as_str());
}

/// One line for a verdict, for tables of several.
pub fn print_verdict_line(verdict: &RunVerdict, width: usize) {
    let style = style_of_overall(verdict.verdict);
    let word = verdict.verdict.as_str();
    let worst = verdict
        .checks
        .iter()
        .filter(|check| check.verdict == CheckVerdict::Violation)
        .chain(verdict.checks.iter().filter(|check| check.verdict == CheckVerdict::Unknown))
        .chain(&verdict.checks)
        .next();
    let reason = match (verdict.harness_failures.first(), worst) {
        (Some(failure), _) if verdict.verdict == Overall::HarnessFailure => {
            format!("{}: {}", failure.during, failure.reason)
        }
        (_, Some(check)) => format!("{}: {}", check.name, check.reason),
        _ => String::new(),
    };
    println!("{:width$}  {style}{word:15}{style:#}  {}", verdict.subject, shortened(&reason));
}

fn print_faults(verdict: &RunVerdict) {
    if verdict.faults.is_empty() {
        return;
    }
    let injected = verdict.faults.iter().filter(|count| count.injected > 0);
    let counts: Vec<String> = injected
        .map(|count| format!("{} {}/{}", count.fault, count.effective, count.injected))
        .collect();
    if !counts.is_empty() {
        println!("  {DIM}faults (effective/injected): {}{DIM:#}", counts.join(", "));
    }
    let skipped = verdict.faults.iter().filter(|count| count.skipped > 0);
    let counts: Vec<String> =
        skipped.map(|count| format!("{} {}", count.fault, count.skipped)).collect();
    if !counts.is_empty() {
        println!("  {DIM}faults due that could do nothing then: {}{DIM:#}", counts.join(", "));
    }
}

fn print_finding(check: &Check) {
    println!("\n{RED}{}{RED:#}: {}", check.name, check.reason);
    let mut evidence = check.evidence.clone();
    if let Json::Object(fields) = &mut evidence {
        // The reason has just said it.
        fields.retain(|_, value| !value.as_str().is_some_and(|text| check.reason.ends_with(text)));
    }
    print_evidence(&evidence, 1);
    println!();
}

/// Evidence is the check's own: shown as an indented outline.
fn print_evidence(evidence: &Json, depth: usize) {
    let indent = "  ".repeat(depth);
    match evidence {
        Json::Null => {}
        Json::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Json::Null => {}
                    Json::Object(_) | Json::Array(_) => {
                        println!("{indent}{DIM}{name}:{DIM:#}");
                        print_evidence(value, depth + 1);
                    }
                    plain => println!("{indent}{DIM}{name}:{DIM:#} {}", text_of(plain)),
                }
            }
        }
        Json::Array(items) => {
            // What contradicts the rest stands last.
            let left_out = items.len().saturating_sub(EVIDENCE_LINES);
            if left_out > 0 {
                println!("{indent}{DIM}({left_out} more before these: see verdict.json){DIM:#}");
            }
            for item in &items[left_out..] {
                match item {
                    Json::Object(_) | Json::Array(_) => print_evidence(item, depth),
                    plain => println!("{indent}{}", text_of(plain)),
                }
            }
        }
        plain => println!("{indent}{}", text_of(plain)),
    }
}

fn text_of(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or("");
    match line.char_indices().nth(REASON_CHARS) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line.to_owned(),
    }
}

fn style_of(verdict: CheckVerdict) -> Style {
    match verdict {
        CheckVerdict::Valid => GREEN,
        CheckVerdict::Violation => RED,
        CheckVerdict::Unknown => YELLOW,
        CheckVerdict::Skipped => DIM,
    }
}

fn style_of_overall(verdict: Overall) -> Style {
    match verdict {
        Overall::Valid => GREEN.effects(Effects::BOLD),
        Overall::Violation | Overall::HarnessFailure => RED,
        Overall::Unknown => YELLOW.effects(Effects::BOLD),
    }
}

/// Prints rows as columns, the first `columns` of them padded.
pub fn print_rows(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|at| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max())
        .map(Option::unwrap_or_default)
        .collect();
    let mut out = anstream::stdout().lock();
    for row in rows {
        let line: Vec<String> =
            row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        // A reader who closed the pipe has seen enough.
        if writeln!(out, "{}", line.join("  ").trim_end()).is_err() {
            return;
        }
    }
}
