//! Output that scripts rely on.

use results::exit_code::VALID;
use serde_json::Value as Json;

use crate::scene::{Scene, read_json};

#[test]
fn every_list_is_an_array_of_named_objects() {
    let scene = Scene::new("lists");
    for what in ["systems", "workloads", "faults", "invariants", "models", "bugs"] {
        let args = format!("list {what} --format json");
        let list = scene.whitewater(&args).expect(VALID).json();
        let rows = list.as_array().expect("an array");
        assert!(!rows.is_empty(), "{what}");
        let names: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
        assert_eq!(names.len(), rows.len(), "{what}: {list}");
        let text = scene.whitewater(&format!("list {what}")).expect(VALID).stdout;
        for (name, line) in names.iter().zip(text.lines()) {
            assert!(line.starts_with(name), "{what}: `{line}` is no row of {name}");
        }
    }
}

#[test]
fn the_doctor_speaks_json() {
    let scene = Scene::new("doctor");
    let found = scene.whitewater("doctor --format json").expect(VALID).json();
    for capability in found.as_array().expect("an array") {
        assert!(capability["name"].is_string(), "{capability}");
        assert!(capability["available"].is_boolean(), "{capability}");
    }
}

#[test]
fn one_run_prints_a_verdict_and_several_an_array() {
    let scene = Scene::new("json");
    let system = scene.misbehaving("well");
    let run = |seed: &str, out: &str| -> Json {
        let args = format!(
            "run --system {system} --nodes 1 --seed {seed} --time-limit 300ms --faults none \
             --min-ok 1 --recovery-limit 10m --start-limit 10m --out {out} --format json"
        );
        scene.whitewater(&args).expect(VALID).json()
    };
    let one = run("5", "one");
    assert_eq!(one, read_json(&scene.only_run("one").join("verdict.json")));
    assert_eq!(one["verdict"], "valid");
    let latest = scene.path("one/latest");
    assert_eq!(latest.canonicalize().unwrap(), scene.only_run("one").canonicalize().unwrap());

    let several = run("5..7", "several");
    let verdicts = several.as_array().expect("an array");
    assert_eq!(verdicts.len(), 2);
    let kept: Vec<Json> =
        scene.runs("several").iter().map(|run| read_json(&run.join("verdict.json"))).collect();
    assert_eq!(verdicts, &kept);
    let seeds: Vec<Json> = scene
        .runs("several")
        .iter()
        .map(|run| read_json(&run.join("run.json"))["seed"].clone())
        .collect();
    assert_eq!(seeds, [Json::from(5), Json::from(6)]);

    let again = scene.whitewater("check several --format json").expect(VALID).json();
    assert_eq!(again.as_array().map(Vec::len), Some(2), "{again}");
    scene.wait_nothing_left();
}
