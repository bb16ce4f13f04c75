//! One table: what the misbehaving node does, and what a user must be told.

use nix::sys::signal::{Signal, kill};
use results::exit_code::{HARNESS_FAILURE, UNKNOWN, USAGE, VALID, VIOLATION};
use serde_json::Value as Json;
use whitewater::guardian::SUBCOMMAND;

use crate::scene::{Running, Scene, check, read_json};
use crate::support::wait_until;

/// Short, and decided by what happens instead of by how fast it happens. One key and two clients
/// make a lie about that key sure to be seen.
const SHORT: [(&str, &str); 9] = [
    ("--nodes", "1"),
    ("--seed", "7"),
    ("--time-limit", "1s"),
    ("--min-ok", "5"),
    ("--keys", "1"),
    ("--clients", "2"),
    ("--recovery-limit", "3s"),
    ("--start-limit", "10m"),
    ("--out", "out"),
];

/// Arguments of a run with these flags, and [`SHORT`] where they say nothing.
fn short_run(system: &str, flags: &str) -> String {
    let mut args = format!("run --system {system} {flags}");
    for (flag, value) in SHORT {
        if !flags.split_whitespace().any(|given| given == flag) {
            args.push_str(&format!(" {flag} {value}"));
        }
    }
    args
}

struct Row {
    behaviour: &'static str,
    /// Flags over [`SHORT`].
    flags: &'static str,
    /// Exit codes that are right; a second one where it depends on the machine's fitness.
    codes: &'static [u8],
    /// What must stand in the verdict, `name verdict`; for a run that never began nothing.
    checks: &'static [(&'static str, &'static str)],
    /// What must be said somewhere on the terminal.
    says: &'static [&'static str],
}

const fn row(
    behaviour: &'static str,
    flags: &'static str,
    codes: &'static [u8],
    checks: &'static [(&'static str, &'static str)],
    says: &'static [&'static str],
) -> Row {
    Row { behaviour, flags, codes, checks, says }
}

const PATIENT: &str = "--recovery-limit 10m";

#[rustfmt::skip]
const TABLE: &[Row] = &[
    row("well", PATIENT, &[VALID],
        &[("linearizable", "valid"), ("liveness", "valid"), ("node-contract", "valid"),
          ("unexpected-exit", "valid"), ("completed", "valid"), ("vacuity", "valid"),
          ("election-safety", "skipped")],
        &["verdict: valid"]),
    // Faults that need other nodes are passed over, which is no fault of the node's.
    row("well", "--recovery-limit 10m --faults partition --fault-interval 100ms", &[VALID],
        &[("vacuity", "valid")], &["faults due that could do nothing then: partition-bridge"]),
    row("forks", PATIENT, &[VALID], &[("unexpected-exit", "valid")], &[]),
    row("daemonizes", PATIENT, &[VALID], &[("unexpected-exit", "valid")], &[]),
    row("hides", PATIENT, &[VALID], &[("unexpected-exit", "valid")], &[]),
    // Not to end when asked breaks no promise.
    row("ignores-sigterm", PATIENT, &[VALID], &[("unexpected-exit", "valid")], &[]),
    row("exits-at-once", "", &[USAGE], &[],
        &["node n1 ended (exit code 7) before it ever served", "exiting at once, as asked"]),
    row("never-listens", "--start-limit 1s", &[USAGE], &[],
        &["did not serve within 1s", "no answer at the client address of n1"]),
    row("hangs", "--start-limit 1s", &[USAGE], &[],
        &["did not serve within 1s", "no answer at the client address of n1"]),
    // It forgets everything when it ends, as its system file says: it must not be started again
    // and accused of that.
    row("exits-later:6", "", &[VIOLATION],
        &[("unexpected-exit", "violation"), ("linearizable", "valid")],
        &["node n1 (incarnation 0) ended unprompted", "exit code 3",
          "exiting after 6 requests, as asked"]),
    row("panics:6", "", &[VIOLATION],
        &[("unexpected-exit", "violation"), ("linearizable", "valid")],
        &["exit code 101", "panicking after 6 requests, as asked"]),
    row("lies:2", "--recovery-limit 10m --time-limit 2s", &[VIOLATION],
        &[("linearizable", "violation"), ("unexpected-exit", "valid")], &["linearizable: "]),
    row("forgets:2", "--recovery-limit 10m --time-limit 2s", &[VIOLATION],
        &[("linearizable", "violation"), ("unexpected-exit", "valid")], &["linearizable: "]),
    // Nobody knows what it did: that it served nothing cannot be said, either.
    row("garbles", "", &[UNKNOWN],
        &[("node-contract", "unknown"), ("linearizable", "valid"), ("liveness", "unknown"),
          ("vacuity", "unknown")],
        &["not json at all"]),
    row("refuses", "", &[VIOLATION, UNKNOWN],
        &[("linearizable", "valid"), ("vacuity", "unknown"), ("node-contract", "valid")],
        &["no progress within"]),
    row("closes", "", &[VIOLATION, UNKNOWN],
        &[("linearizable", "valid"), ("vacuity", "unknown"), ("node-contract", "valid")],
        &["no progress within"]),
];

#[test]
fn each_misbehaviour_is_told_for_what_it_is() {
    for (number, row) in TABLE.iter().enumerate() {
        let scene = Scene::new(&format!("table{number}"));
        let system = scene.misbehaving(row.behaviour);
        let done = scene.whitewater(&short_run(&system, row.flags));
        let code = done.code.expect("it ends by itself");
        assert!(
            row.codes.iter().any(|&right| i32::from(right) == code),
            "{}: {done}",
            row.behaviour
        );
        for words in row.says {
            let said = done.stdout.contains(words) || done.stderr.contains(words);
            assert!(said, "{}: nobody says `{words}`: {done}", row.behaviour);
        }
        let run = scene.only_run("out");
        for (name, expected) in row.checks {
            let verdict = read_json(&run.join("verdict.json"));
            let found = check(&verdict, name);
            assert_eq!(found["verdict"], *expected, "{}: {found}: {done}", row.behaviour);
        }
        if row.checks.is_empty() {
            assert!(!run.join("verdict.json").exists(), "{}: judged", row.behaviour);
        }
        scene.wait_nothing_left();
    }
}

/// Waits until the run is under way and kills the process among whose arguments this one is.
fn kill_in_the_middle(scene: &Scene, running: &mut Running, arg: &str) {
    wait_until("operations are recorded", || {
        assert!(!running.has_ended(), "the run ended before anything was recorded");
        scene.runs("out").first().is_some_and(|run| {
            let size = std::fs::metadata(run.join("history.jsonl")).map(|file| file.len());
            size.is_ok_and(|bytes| bytes > 10_000)
        })
    });
    let living = scene.living();
    let victim = living.iter().find(|process| {
        let args = std::fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
        args.split(|&byte| byte == 0).any(|word| word == arg.as_bytes())
    });
    let victim = victim.unwrap_or_else(|| panic!("no process with `{arg}` among {living:?}"));
    assert!(victim.signal(rustix::process::Signal::KILL).unwrap());
}

#[test]
fn a_sigkill_from_elsewhere_accuses_nobody() {
    let scene = Scene::new("foreign-kill");
    let system = scene.misbehaving("well");
    let args = short_run(&system, "--rate 500 --faults none --time-limit 10m");
    let mut running = scene.start_with(&args, &[]);
    kill_in_the_middle(&scene, &mut running, "well");
    wait_until("the exit is noted", || {
        let manifest = read_json(&scene.only_run("out").join("run.json"));
        manifest["exits"].as_array().is_some_and(|exits| !exits.is_empty())
    });
    kill(running.pid(), Signal::SIGINT).unwrap();
    let done = running.finish().expect(HARNESS_FAILURE);
    assert!(done.stdout.contains("SIGKILL that the harness did not send"), "{done}");
    let verdict = read_json(&scene.only_run("out").join("verdict.json"));
    let violations = verdict["checks"].as_array().unwrap().iter();
    let violations: Vec<&Json> = violations.filter(|c| c["verdict"] == "violation").collect();
    assert!(violations.is_empty(), "{violations:?}");
    scene.wait_nothing_left();
}

#[test]
fn a_killed_guardian_is_a_failure_of_the_harness() {
    let scene = Scene::new("guardian-kill");
    let system = scene.misbehaving("well");
    let args = short_run(&system, "--rate 500 --faults none --time-limit 10m");
    let mut running = scene.start_with(&args, &[]);
    kill_in_the_middle(&scene, &mut running, SUBCOMMAND);
    let done = running.finish().expect(HARNESS_FAILURE);
    assert!(done.stdout.contains("the guardian ended"), "{done}");
    scene.wait_nothing_left();
}
