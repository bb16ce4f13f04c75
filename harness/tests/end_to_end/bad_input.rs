//! What is wrong with the input is said in one clear sentence, with file and line where there is
//! one, and exit code 2.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;

use results::exit_code::{USAGE, VALID, VIOLATION};

use crate::scene::Scene;

const WRITE: &str = r#"{"process":0,"type":"invoke","f":"write","value":1}
{"process":0,"type":"ok","f":"write","value":1}
"#;

/// Every line: arguments, and the beginning of the one error line.
const REFUSED: &[(&str, &str)] = &[
    ("run unknown-key.toml", "unknown-key.toml:3:1: unknown field `node`, expected one of"),
    ("run broken.toml", "broken.toml:1:9: "),
    ("run wrong-type.toml", "wrong-type.toml:1:9: "),
    ("run absent.toml", "absent.toml: cannot read: No such file or directory"),
    (
        "run --time-limit 5",
        "invalid value '5' for '--time-limit <TIME_LIMIT>': `5` is not a duration",
    ),
    ("run --mode udp", "invalid value 'udp' for '--mode <MODE>': `udp` is not a mode: tcp"),
    ("run --mode lockstep", "system raft does not offer mode lockstep: it offers tcp"),
    ("run --seed 9..3", "invalid value '9..3' for '--seed <SEED>'"),
    ("run --nodes 0", "`nodes = 0` is not from 1 to 63"),
    ("run --rate 0", "`rate = 0` is not "),
    ("run --start-limit 0s", "`start_limit = \"0s\"` is not longer than nothing"),
    ("run --system rafd", "no system called `rafd`: the built-in ones are raft"),
    ("run --system ./absent.toml", "cannot read the system file ./absent.toml: No such file"),
    ("run --system bad-system.toml", "bad-system.toml:3:1: unknown field `colour`"),
    ("run --system no-promise.toml", "no-promise.toml:3:1: missing field `durable`"),
    (
        "run --system no-program.toml --out out --nodes 1",
        "node n1 could not be started: no such file: /absent/node",
    ),
    ("run --system placeholder.toml --out out --nodes 1", "unknown placeholder `{confg}`"),
    (
        "run --system well.toml --nodes 1 --faults drop",
        "none of the faults asked for is fair to system ",
    ),
    ("run --faults kil", "no fault or group called `kil`: there are all, none, "),
    ("run --bug nope", "no bug called `nope`: system raft has "),
    ("run --workload bank", "no workload called `bank`: there are register"),
    ("run --system well.toml --nodes 1 --out unknown-key.toml", "cannot make a run directory: "),
    ("run --frobnicate", "unexpected argument '--frobnicate' found"),
    ("frobnicate", "unrecognized subcommand 'frobnicate'"),
    ("list everything", "invalid value 'everything' for '<WHAT>'"),
    ("list bugs --system rafd", "no system called `rafd`"),
    ("check", "the following required arguments were not provided"),
    ("check malformed.jsonl", "malformed.jsonl:3: "),
    ("check twice.jsonl", "twice.jsonl"),
    ("check --init {x good.jsonl", "--init is not JSON: "),
    ("check --model bank good.jsonl", "invalid value 'bank' for '--model <MODEL>': "),
    ("check --budget 5 good.jsonl", "invalid value '5' for '--budget <BUDGET>': "),
    ("check absent.jsonl", "absent.jsonl: cannot open: No such file or directory"),
    ("check empty", "nothing to judge in empty: neither a run directory (with run.json) nor"),
    ("check no-run", "nothing to judge in no-run: neither a run directory (with run.json) nor"),
    ("check cut-run", "cut-run/run.json:2: not a run file: "),
];

fn prepared() -> Scene {
    let scene = Scene::new("bad-input");
    scene.misbehaving("well");
    std::fs::rename(scene.path("misbehaving.toml"), scene.path("well.toml")).unwrap();
    let model = "[model]\nfamily = \"raft\"\n";
    for (name, content) in [
        ("unknown-key.toml", "nodes = 3\n\nnode = 4\n".to_owned()),
        ("broken.toml", "nodes = \n".to_owned()),
        ("wrong-type.toml", "nodes = \"three\"\n".to_owned()),
        ("bad-system.toml", format!("name = \"x\"\ncommand = [\"x\"]\ncolour = 1\n{model}")),
        ("no-promise.toml", format!("name = \"x\"\ncommand = [\"x\"]\n{model}")),
        ("good.jsonl", WRITE.to_owned()),
        ("malformed.jsonl", format!("{WRITE}{{\"process\":\n{WRITE}")),
        ("twice.jsonl", WRITE.lines().next().unwrap().to_owned() + "\n" + WRITE),
        ("no-run/notes.txt", "nothing\n".to_owned()),
        ("cut-run/run.json", "{\n".to_owned()),
    ] {
        scene.file(name, content);
    }
    scene.system("no-program", "/absent/node", &["{config}"]);
    scene.system("placeholder", "/bin/true", &["{confg}"]);
    std::fs::create_dir(scene.path("empty")).unwrap();
    scene
}

#[test]
fn each_mistake_is_named_in_a_sentence() {
    let scene = prepared();
    for (args, expected) in REFUSED {
        let mut done = scene.whitewater(args).expect(USAGE);
        // Some errors name files by their whole path.
        done.stderr = done.stderr.replace(&scene.path("").display().to_string(), "");
        let errors: Vec<&str> =
            done.stderr.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
        assert!(matches!(errors.as_slice(), [only] if only.contains(expected)), "{done}");
        assert_eq!(done.stdout, "", "{done}");
        assert!(!done.stderr.contains("panicked"), "{done}");
    }
    scene.wait_nothing_left();
}

#[test]
fn a_torn_last_line_did_not_happen_and_one_bad_file_does_not_hide_another() {
    let scene = prepared();
    scene.file("torn.jsonl", format!("{WRITE}{{\"process\":1,\"type\":\"inv"));
    let done = scene.whitewater("check --format json torn.jsonl").expect(VALID).json();
    assert_eq!(done["stats"]["torn_line"], 3, "{done}");
    assert_eq!(done["stats"]["operations"], 1, "{done}");

    let stale = format!(
        "{WRITE}{}",
        r#"{"process":1,"type":"invoke","f":"read","value":null}
{"process":1,"type":"ok","f":"read","value":null}
"#
    );
    scene.file("stale.jsonl", stale);
    let done = scene.whitewater("check malformed.jsonl stale.jsonl").expect(VIOLATION);
    assert!(done.stderr.contains("malformed.jsonl:3: "), "{done}");
    assert!(done.stdout.contains("stale.jsonl"), "{done}");
    scene.whitewater("check malformed.jsonl good.jsonl").expect(USAGE);
}

#[test]
fn a_directory_that_may_not_be_read_is_named() {
    let scene = prepared();
    let path = scene.path("locked");
    std::fs::create_dir(&path).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o000)).unwrap();
    if std::fs::read_dir(&path).is_ok() {
        // Not a print macro: those are swallowed when a test passes.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED unreadable directory: this user may read every directory"
        );
        return;
    }
    for args in ["check locked", "run --system well.toml --nodes 1 --out locked"] {
        let done = scene.whitewater(args).expect(USAGE);
        assert!(done.stderr.contains("locked"), "{done}");
        assert!(done.stderr.contains("Permission denied"), "{done}");
    }
}
