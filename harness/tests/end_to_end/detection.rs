//! The alarm works: a planted bug is found, and the node without it is not accused. Also that two
//! runs side by side do not disturb each other, and that files alone give the same verdict.

use results::exit_code::{VALID, VIOLATION};

use crate::scene::{Scene, judged, read_json};

/// Seeds tried until a planted bug is found; nearly always the first few do.
const SEEDS_MAX: u32 = 20;

#[test]
fn a_planted_bug_is_found() {
    let scene = Scene::new("canary");
    let found = (1..=SEEDS_MAX).any(|seed| {
        let args = format!(
            "run --bug read-without-quorum --faults partition-leader,pause-one --nodes 3 \
             --seed {seed} --time-limit 4s --fault-interval 500ms --fault-duration 1s --min-ok 1 \
             --start-limit 10m --out out --format json"
        );
        let done = scene.whitewater(&args);
        if done.code != Some(VIOLATION.into()) {
            return false;
        }
        let names = judged(&done.json());
        assert!(names.contains(&"linearizable violation".to_owned()), "{names:?}");
        true
    });
    assert!(found, "{SEEDS_MAX} seeds, and the planted bug was never found");
    scene.wait_nothing_left();
}

#[test]
fn two_runs_side_by_side_are_valid_and_are_judged_the_same_again() {
    let scene = Scene::new("two");
    let start = |seed: u32| {
        let args = format!(
            "run --nodes 3 --seed {seed} --time-limit 3s --faults kill,pause --min-ok 10 \
             --fault-interval 500ms --fault-duration 700ms --recovery-limit 10m \
             --start-limit 10m --budget 10m --out out"
        );
        scene.start_with(&args, &[])
    };
    let running = [start(1), start(2)];
    for run in running {
        run.finish().expect(VALID);
    }
    let runs = scene.runs("out");
    assert_eq!(runs.len(), 2);
    let subnets: Vec<_> =
        runs.iter().map(|run| read_json(&run.join("run.json"))["subnet"].to_string()).collect();
    assert_ne!(subnets[0], subnets[1]);
    for run in &runs {
        let again = scene.whitewater(&format!("check --format json {}", run.display()));
        let again = again.expect(VALID).json();
        let first = read_json(&run.join("verdict.json"));
        assert_eq!(judged(&again), judged(&first));
        assert_eq!(again["verdict"], first["verdict"]);
        assert_eq!(again["faults"], first["faults"]);
        for name in ["election-safety", "leader-completeness", "state-machine-safety"] {
            assert!(judged(&first).contains(&format!("{name} valid")), "{first}");
        }
    }
    scene.wait_nothing_left();
}
