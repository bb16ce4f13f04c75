//! Rules that the source tree keeps: who may use whom, and a few things that must not be written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;

/// Rooms and the rooms that they may use; docs/ARCHITECTURE.md says why.
const ARROWS: &[(&str, &[&str])] = &[
    ("whitewater-protocol", &[]),
    ("whitewater-raft", &["whitewater-protocol"]),
    ("whitewater-checker", &["whitewater-protocol"]),
    ("whitewater-workloads", &["whitewater-protocol", "whitewater-checker"]),
    ("whitewater-results", &["whitewater-protocol", "whitewater-checker"]),
    (
        "whitewater",
        &[
            "whitewater-protocol",
            "whitewater-checker",
            "whitewater-workloads",
            "whitewater-results",
        ],
    ),
];

/// Longest source file, in lines.
const LINES_MAX: usize = 700;

/// Files that may wait by the clock outside of the product: the homes of `wait_until` and its
/// like, which look again after a moment, and a node whose job is to sleep.
const MAY_SLEEP: &[&str] = &[
    "harness/examples/misbehaving-node.rs",
    "harness/tests/network.rs",
    "harness/tests/support/mod.rs",
    "node/raft/tests/processes/cluster.rs",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn packages() -> Vec<Json> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Json = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().expect("packages").clone()
}

#[test]
fn rooms_use_each_other_only_along_the_arrows() {
    let packages = packages();
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let names: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let known: BTreeSet<&str> = allowed.keys().copied().collect();
    assert_eq!(names, known, "a room that the table of arrows does not know, or one too many");
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let used = dependency["name"].as_str().unwrap();
            if names.contains(used) {
                assert!(allowed[name].contains(&used), "{name} may not use {used}");
            }
        }
        assert_eq!(package["license"], "MIT OR Apache-2.0", "{name}");
        assert_eq!(package["edition"], "2024", "{name}");
    }
}

/// All Rust sources of the rooms, as paths from the root.
fn sources() -> Vec<String> {
    let root = root();
    let mut folders: Vec<PathBuf> = packages()
        .iter()
        .map(|package| {
            let manifest = Path::new(package["manifest_path"].as_str().unwrap());
            manifest.parent().unwrap().to_owned()
        })
        .collect();
    let mut found = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                // Whatever was built or downloaded is not ours.
                if name != "target" && name != "peers" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                found.insert(path.strip_prefix(&root).unwrap().display().to_string());
            }
        }
    }
    assert!(found.len() > 50, "the sources were not found: {found:?}");
    found.into_iter().collect()
}

/// What breaks a rule in a file: line and rule.
fn broken_rules(path: &str, text: &str) -> Vec<(usize, &'static str)> {
    // Put together here, so that this file does not break its own rules.
    let never = [
        (concat!("to", "do!("), "leaves something undone"),
        (concat!("unimple", "mented!("), "leaves something undone"),
        (concat!("FIX", "ME"), "leaves something undone"),
        (concat!("TO", "DO"), "leaves something undone"),
        (concat!("#[ig", "nore"), "a test that does not run: pin today's result instead"),
        (concat!("#[all", "ow("), "use `expect` with a reason"),
    ];
    let is_test = ["/tests/", "/examples/", "/benches/"].iter().any(|part| path.contains(part));
    let mut broken = Vec::new();
    for (at, line) in text.lines().enumerate() {
        broken.extend(
            never.iter().filter(|(word, _)| line.contains(word)).map(|(_, rule)| (at + 1, *rule)),
        );
        let sleeps = ["thread::sl", "time::sl"].iter().any(|s| line.contains(&format!("{s}eep(")));
        if is_test && sleeps && !MAY_SLEEP.contains(&path) {
            broken.push((at + 1, "wait for a condition, not for a time"));
        }
    }
    if text.lines().count() > LINES_MAX {
        broken.push((LINES_MAX + 1, "a file this long does two jobs"));
    }
    broken
}

#[test]
fn the_sources_are_tidy() {
    let root = root();
    let sources = sources();
    for path in &sources {
        let text = std::fs::read_to_string(root.join(path)).unwrap();
        let broken = broken_rules(path, &text);
        assert!(broken.is_empty(), "{path}: {broken:?}");
    }
    for path in MAY_SLEEP {
        assert!(sources.iter().any(|source| source == path), "the exemption of {path} is dead");
        let text = std::fs::read_to_string(root.join(path)).unwrap();
        assert!(text.contains("sleep("), "the exemption of {path} is not needed");
    }
}

#[test]
fn untidy_sources_are_seen() {
    let path = "harness/tests/x.rs";
    for text in [
        concat!("    to", "do!()"),
        concat!("// FIX", "ME later"),
        concat!("#[ig", "nore]"),
        concat!("#[all", "ow(dead_code)]"),
        concat!("std::thread::sl", "eep(second)"),
        &"\n".repeat(LINES_MAX + 1),
    ] {
        assert_eq!(broken_rules(path, text).len(), 1, "{text:?}");
    }
    assert!(broken_rules("harness/src/x.rs", concat!("std::thread::sl", "eep(x)")).is_empty());
}
