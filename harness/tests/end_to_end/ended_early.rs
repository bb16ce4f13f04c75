//! Runs that do not reach their end: whatever stops the harness, nothing outlives it, and what was
//! recorded can be judged.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use results::exit_code::{HARNESS_FAILURE, UNKNOWN};

use crate::scene::{GUARDIAN_MODES, Outcome, Running, Scene, check, judged, read_json};
use crate::support::wait_until;

/// Pauses come at once and are never healed.
const PAUSED: &str = "run --nodes 3 --seed 3 --faults pause --fault-interval 200ms \
                      --fault-duration 1h --time-limit 1h --start-limit 10m --out out";

/// Waits until a fault log says that this happened.
fn wait_for_fault(scene: &Scene, running: &mut Running, op: &str) -> Option<PathBuf> {
    let wanted = format!("\"op\":\"{op}\"");
    let mut found = None;
    wait_until(&format!("a fault log says {op}"), || {
        found = scene.runs("out").into_iter().find(|run| {
            let log = std::fs::read_to_string(run.join("faults.jsonl"));
            log.is_ok_and(|log| log.contains(&wanted))
        });
        found.is_some() || running.has_ended()
    });
    found
}

/// True, and said aloud, where the machine does not allow this kind of guardian.
fn is_refused(done: &Outcome, mode: &str, what: &str) -> bool {
    let refused = mode == "namespace"
        && done.code == Some(HARNESS_FAILURE.into())
        && done.stdout.contains("in namespace mode");
    if refused {
        // Not a print macro: those are swallowed when a test passes.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {what} in namespace mode, which this machine does not allow"
        );
    }
    refused
}

fn judge_cut_short(scene: &Scene, run: &Path) {
    let done = scene.whitewater(&format!("check --format json {}", run.display())).expect(UNKNOWN);
    let verdict = done.json();
    let completed = check(&verdict, "completed");
    assert_eq!(completed["verdict"], "unknown");
    assert!(completed["reason"].as_str().unwrap().contains("the harness was killed"), "{done}");
    let names = judged(&verdict);
    for name in ["linearizable valid", "unexpected-exit valid", "node-contract valid"] {
        assert!(names.contains(&name.to_owned()), "{done}");
    }
}

#[test]
fn nothing_outlives_a_harness_killed_while_nodes_are_stopped() {
    for mode in GUARDIAN_MODES {
        let scene = Scene::new(&format!("killed-{mode}"));
        let mut running = scene.start_with(PAUSED, &[("WHITEWATER_GUARDIAN", mode)]);
        let Some(run) = wait_for_fault(&scene, &mut running, "evidence") else {
            let done = running.finish();
            assert!(is_refused(&done, mode, "kill -9 under faults"), "{done}");
            continue;
        };
        let living = scene.living();
        assert!(living.iter().any(|process| process.state == 'T'), "{living:?}");
        kill(running.pid(), Signal::SIGKILL).unwrap();
        assert_eq!(running.finish().code, None, "a signal ended it");
        scene.wait_nothing_left();
        judge_cut_short(&scene, &run);
    }
}

#[test]
fn nothing_outlives_a_killed_harness_whatever_its_nodes_started() {
    for mode in GUARDIAN_MODES {
        for behaviour in ["forks", "hides"] {
            let scene = Scene::new(&format!("killed-{behaviour}-{mode}"));
            let system = scene.misbehaving(behaviour);
            let args = format!(
                "run --system {system} --nodes 1 --seed 1 --faults pause --fault-interval 100ms \
                 --fault-duration 1h --time-limit 1h --start-limit 10m --out out"
            );
            let mut running = scene.start_with(&args, &[("WHITEWATER_GUARDIAN", mode)]);
            let Some(run) = wait_for_fault(&scene, &mut running, "evidence") else {
                let done = running.finish();
                assert!(is_refused(&done, mode, "kill -9 of a node's family"), "{done}");
                continue;
            };
            let is_sleeper = |pid: i32| {
                let args = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                args.split(|&byte| byte == 0).any(|word| word == b"sleeper")
            };
            let living = scene.living();
            assert!(living.iter().any(|process| is_sleeper(process.pid)), "{living:?}");
            kill(running.pid(), Signal::SIGKILL).unwrap();
            assert_eq!(running.finish().code, None, "a signal ended it");
            scene.wait_nothing_left();
            judge_cut_short(&scene, &run);
        }
    }
}

#[test]
fn an_interrupted_run_is_stopped_in_order_and_judged() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let scene = Scene::new(&format!("interrupted-{signal}"));
        let mut running = scene.start_with(PAUSED, &[]);
        let run = wait_for_fault(&scene, &mut running, "evidence").expect("the run goes on");
        kill(running.pid(), signal).unwrap();
        let done = running.finish().expect(UNKNOWN);
        scene.wait_nothing_left();
        let verdict = read_json(&run.join("verdict.json"));
        let completed = check(&verdict, "completed");
        assert!(completed["reason"].as_str().unwrap().contains("interrupted"), "{done}");
        assert_eq!(check(&verdict, "linearizable")["verdict"], "valid", "{done}");
        assert_eq!(check(&verdict, "unexpected-exit")["verdict"], "valid", "{done}");
        let again = scene.whitewater(&format!("check --format json {}", run.display()));
        assert_eq!(judged(&again.expect(UNKNOWN).json()), judged(&verdict));
    }
}
