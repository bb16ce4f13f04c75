//! Histories with known verdicts: our own small ones, and public ones where they are present.

use std::path::Path;

use crate::support::jsonl;
use checker::budget::Budget;
use checker::model::{ModelKind, ModelSpec};
use checker::value::Value;
use checker::verdict::Verdict;

/// Judges every history that an index names; returns how many there were.
fn judge_index(folder: &Path) -> usize {
    let index = std::fs::read_to_string(folder.join("INDEX.tsv")).unwrap();
    let mut wrong = Vec::new();
    let mut judged = 0;
    for row in index.lines().skip(1) {
        let columns: Vec<&str> = row.split('\t').collect();
        let (file, model, init, expected) = (columns[0], columns[1], columns[2], columns[4]);
        let kind: ModelKind = model.parse().unwrap();
        let init = match (kind, init) {
            (_, "nil" | "empty" | "free") => None,
            (ModelKind::MultiRegister, pairs) => Some(Value::list(pairs.split(',').map(|pair| {
                let (register, value) = pair.split_once('=').unwrap();
                Value::list([register.into(), value.parse::<i64>().unwrap().into()])
            }))),
            (_, json) => Some(jsonl::value(&serde_json::from_str(json).unwrap())),
        };
        let history = jsonl::read(&folder.join(file));
        let verdict =
            checker::check(&history, &ModelSpec { kind, init }, &Budget::unlimited()).unwrap();
        let found = match verdict {
            Verdict::Valid(_) => "valid",
            Verdict::Violation(_) => "invalid",
            Verdict::Unknown(_) => "unknown",
        };
        if found != expected {
            wrong.push(format!("{file}: {found}, should be {expected}"));
        }
        judged += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    judged
}

#[test]
fn our_own_histories() {
    assert!(judge_index(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")) > 0);
}

#[test]
fn public_histories() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/histories");
    if !folder.exists() {
        eprintln!("SKIPPED: there is no {}, so no public history was judged", folder.display());
        return;
    }
    assert!(judge_index(&folder) > 0);
}
