//! Histories of real systems, with known verdicts, where they lie beside the repository.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use crate::scene::Scene;

/// The initial state as `--init` takes it; `None`: the model's natural one.
fn init_flag(init: &str) -> Option<&'static str> {
    match init {
        "nil" | "empty" | "free" => None,
        "x=0,y=0" => Some(r#"{"x":0,"y":0}"#),
        other => panic!("an initial state that this test does not know: {other}"),
    }
}

#[test]
fn known_histories_are_judged_as_known() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/histories");
    let Ok(index) = std::fs::read_to_string(dir.join("INDEX.tsv")) else {
        // Not a print macro: those are swallowed when a test passes.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED known histories: there are none at ../shared/histories"
        );
        return;
    };
    let scene = Scene::new("histories");
    let mut groups: BTreeMap<(&str, &str), BTreeMap<String, &str>> = BTreeMap::new();
    for line in index.lines().skip(1) {
        let [file, model, init, _, verdict, ..] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("not a row of the index: {line}");
        };
        let expected = if verdict == "invalid" { "violation" } else { verdict };
        let path = dir.join(file).display().to_string();
        groups.entry((model, init)).or_default().insert(path, expected);
    }
    assert!(!groups.is_empty(), "the index is empty");
    for ((model, init), files) in &groups {
        let paths: Vec<&str> = files.keys().map(String::as_str).collect();
        let init = init_flag(init).map(|json| format!("--init {json}")).unwrap_or_default();
        let args =
            format!("check --format json --budget 10m --model {model} {init} {}", paths.join(" "));
        let done = scene.whitewater(&args);
        let verdicts = match done.json() {
            serde_json::Value::Array(verdicts) => verdicts,
            one => vec![one],
        };
        assert_eq!(verdicts.len(), files.len(), "{done}");
        for verdict in &verdicts {
            let subject = verdict["subject"].as_str().expect("a verdict names its subject");
            assert_eq!(verdict["verdict"], files[subject], "{subject}: {verdict}");
        }
        let has_violation = files.values().any(|&expected| expected == "violation");
        assert_eq!(done.code, Some(i32::from(has_violation)), "{model}");
    }
}
