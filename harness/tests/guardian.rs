//! The guardian with real processes: evidence for every signal, and nothing that outlives anything.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::launch::{LAUNCH_FORMAT, NodeConfig, Timing};
use tokio::sync::mpsc::Receiver;
use whitewater::guardian::{
    ExitStatus, Exited, Guardian, GuardianCommand, GuardianError, GuardianEvent, Mode, NodeSignal,
    Options, StartNode, process_table,
};

use support::{MARK, PATIENCE, example, marked, wait_until, whitewater};

const MODES: [Mode; 2] = [Mode::Subreaper, Mode::Namespace];

/// A guardian, a directory for its nodes, and the mark of their processes.
struct Scene {
    guardian: Guardian,
    events: Receiver<GuardianEvent>,
    place: Place,
}

/// Where a test's nodes live, and how to find them.
struct Place {
    dir: tempfile::TempDir,
    mark: String,
    client_addr: String,
}

impl Place {
    fn new(name: &str, mode: Mode) -> Self {
        // The port is free again at once; a test starts one node that listens.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Place {
            dir: tempfile::tempdir().unwrap(),
            mark: format!("{name}-{mode}-{}", std::process::id()),
            client_addr: listener.local_addr().unwrap().to_string(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn start(&self, node: &str, incarnation: u32, program: &Path, args: &[&str]) -> StartNode {
        StartNode {
            node: node.into(),
            incarnation,
            program: program.into(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: BTreeMap::from([(MARK.to_owned(), self.mark.clone())]),
            cwd: self.dir.path().into(),
            log_path: self.path("log"),
        }
    }

    /// The misbehaving node in one of its modes.
    fn misbehaving(&self, incarnation: u32, behaviour: &str) -> StartNode {
        self.misbehaving_at(incarnation, behaviour, &self.client_addr)
    }

    fn misbehaving_at(&self, incarnation: u32, behaviour: &str, client_addr: &str) -> StartNode {
        let config = NodeConfig {
            format: LAUNCH_FORMAT,
            id: "n1".into(),
            incarnation,
            data_dir: self.dir.path().into(),
            client_addr: client_addr.to_owned(),
            peer_addr: client_addr.to_owned(),
            peers: BTreeMap::new(),
            trace: None,
            timing: Timing::default(),
            seed: 0,
            epoch_ns: 0,
            bugs: Vec::new(),
        };
        std::fs::write(self.path("node.json"), serde_json::to_vec(&config).unwrap()).unwrap();
        self.start("n1", incarnation, &example("misbehaving-node"), &[behaviour, "node.json"])
    }

    /// Waits until the log says so often that the node listens.
    fn wait_listening(&self, times: usize) {
        wait_until("the node listens", || self.log().matches("listens on").count() >= times);
    }

    /// Whether the sleeper that `hides` starts runs; it carries no mark.
    fn hidden_runs(&self) -> bool {
        let name = self.dir.path().display().to_string();
        process_table().iter().filter(|process| process.is_alive()).any(|process| {
            let path = format!("/proc/{}/cmdline", process.pid);
            std::fs::read_to_string(path).is_ok_and(|args| {
                args.split('\0').any(|arg| arg == "sleeper") && args.contains(&name)
            })
        })
    }

    fn wait_nothing_left(&self) {
        wait_until("nothing is left", || marked(&self.mark).is_empty() && !self.hidden_runs());
    }
}

impl Scene {
    /// `None`: this machine does not allow the mode, which is said aloud.
    async fn new(name: &str, mode: Mode) -> Option<Scene> {
        let options = Options { mode: Some(mode), program: Some(whitewater().into()) };
        match Guardian::spawn(options).await {
            Ok((guardian, mut events)) => {
                let ready = next(&mut events).await;
                assert!(matches!(ready, GuardianEvent::Ready { mode: is, .. } if is == mode));
                Some(Scene { guardian, events, place: Place::new(name, mode) })
            }
            Err(GuardianError::Refused { mode: Mode::Namespace, why }) => {
                // Not a print macro: those are swallowed when a test passes.
                let _ = writeln!(
                    std::io::stderr(),
                    "SKIPPED {name} in namespace mode, which this machine does not allow: {why}"
                );
                None
            }
            Err(error) => panic!("{mode}: {error}"),
        }
    }

    async fn next(&mut self) -> GuardianEvent {
        next(&mut self.events).await
    }

    /// Starts a node; its pid as we see it.
    async fn start(&mut self, start: StartNode) -> i32 {
        self.guardian.send(GuardianCommand::Start(start)).unwrap();
        match self.next().await {
            GuardianEvent::Started { host_pid: Some(host_pid), .. } => host_pid,
            other => panic!("{other:?}"),
        }
    }

    fn signal(&self, incarnation: u32, signal: NodeSignal) {
        let node = "n1".into();
        self.guardian.send(GuardianCommand::Signal { node, incarnation, signal }).unwrap();
    }

    async fn exited(&mut self) -> Exited {
        match self.next().await {
            GuardianEvent::Exited(exited) => exited,
            other => panic!("{other:?}"),
        }
    }

    fn states(&self) -> Vec<char> {
        marked(&self.place.mark).iter().map(|process| process.state).collect()
    }

    /// Shuts down, and looks that nothing is left.
    async fn finish(mut self) -> Vec<GuardianEvent> {
        self.guardian.send(GuardianCommand::Shutdown).unwrap();
        let mut last = Vec::new();
        while let Some(event) = until_closed(&mut self.events).await {
            last.push(event);
        }
        assert!(matches!(last.last(), Some(GuardianEvent::Finished { .. })), "{last:?}");
        assert!(marked(&self.place.mark).is_empty(), "the guardian left something behind");
        last
    }
}

async fn next(events: &mut Receiver<GuardianEvent>) -> GuardianEvent {
    until_closed(events).await.expect("the guardian lives")
}

async fn until_closed(events: &mut Receiver<GuardianEvent>) -> Option<GuardianEvent> {
    tokio::time::timeout(PATIENCE, events.recv()).await.expect("the guardian answers")
}

const KILLED: ExitStatus = ExitStatus::Signal { signal: 9, core: false };

#[tokio::test]
async fn every_signal_has_its_evidence() {
    for mode in MODES {
        let Some(mut scene) = Scene::new("evidence", mode).await else { continue };
        scene.start(scene.place.misbehaving(0, "forks")).await;
        scene.place.wait_listening(1);
        wait_until("node and grandchild run", || scene.states().len() == 2);

        // Twice: overlapping pauses must both get their evidence.
        for _ in 0..2 {
            scene.signal(0, NodeSignal::Stop);
            let event = scene.next().await;
            let expected = GuardianEvent::Stopped {
                node: "n1".into(),
                incarnation: 0,
                state: 'T',
                by_us: true,
                descendants: 1,
            };
            assert_eq!(event, expected, "{mode}");
        }
        wait_until("both are stopped", || scene.states() == ['T', 'T']);

        for _ in 0..2 {
            scene.signal(0, NodeSignal::Continue);
            let event = scene.next().await;
            assert!(
                matches!(event, GuardianEvent::Continued { state, by_us: true, .. } if state != 'T'),
                "{mode}: {event:?}"
            );
        }
        wait_until("both run", || scene.states().iter().all(|&state| state != 'T'));

        scene.signal(0, NodeSignal::Stop);
        assert!(matches!(scene.next().await, GuardianEvent::Stopped { by_us: true, .. }));
        scene.signal(0, NodeSignal::Kill);
        let exited = scene.exited().await;
        assert_eq!((exited.status, exited.by_us), (KILLED, true), "{mode}");
        assert_eq!((exited.descendants_killed, exited.descendants_lingering), (1, 0), "{mode}");
        assert!(marked(&scene.place.mark).is_empty(), "{mode}: an exit means that all are gone");

        scene.start(scene.place.misbehaving(1, "well")).await;
        scene.place.wait_listening(2);
        scene.signal(1, NodeSignal::Terminate);
        let exited = scene.exited().await;
        assert_eq!(exited.status, ExitStatus::Signal { signal: 15, core: false }, "{mode}");
        assert_eq!((exited.by_us, exited.incarnation), (true, 1), "{mode}");
        assert_eq!(scene.finish().await.len(), 1, "{mode}");
    }
}

#[tokio::test]
async fn an_exit_that_nobody_asked_for_is_not_ours() {
    for mode in MODES {
        let Some(mut scene) = Scene::new("unprompted", mode).await else { continue };
        scene.start(scene.place.misbehaving(0, "exits-at-once")).await;
        let exited = scene.exited().await;
        assert_eq!((exited.status, exited.by_us), (ExitStatus::Code { code: 7 }, false));
        assert!(scene.place.log().contains("exiting at once"), "{}", scene.place.log());

        let pid = scene.start(scene.place.misbehaving(1, "forks")).await;
        scene.place.wait_listening(1);
        // As the kernel's out-of-memory killer would.
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        let exited = scene.exited().await;
        assert_eq!((exited.status, exited.by_us), (KILLED, false), "{mode}");
        assert_eq!(exited.descendants_killed, 1, "{mode}: its grandchild is left over");

        let pid = scene.start(scene.place.misbehaving(2, "well")).await;
        kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
        assert!(matches!(scene.next().await, GuardianEvent::Stopped { by_us: false, .. }));
        kill(Pid::from_raw(pid), Signal::SIGCONT).unwrap();
        assert!(matches!(scene.next().await, GuardianEvent::Continued { by_us: false, .. }));

        // A signal that has no name ends it.
        assert_eq!(unsafe { nix::libc::kill(pid, nix::libc::SIGRTMIN()) }, 0);
        let exited = scene.exited().await;
        let expected = ExitStatus::Signal { signal: nix::libc::SIGRTMIN(), core: false };
        assert_eq!((exited.status, exited.by_us), (expected, false), "{mode}");
        scene.finish().await;
    }
}

#[tokio::test]
async fn a_daemon_of_a_node_dies_with_it() {
    for mode in MODES {
        let Some(mut scene) = Scene::new("daemon", mode).await else { continue };
        scene.start(scene.place.misbehaving(0, "daemonizes")).await;
        scene.place.wait_listening(1);
        wait_until("node and daemon run", || scene.states().len() == 2);
        scene.signal(0, NodeSignal::Kill);
        assert_eq!(scene.exited().await.descendants_killed, 1, "{mode}");
        assert!(marked(&scene.place.mark).is_empty(), "{mode}");
        scene.finish().await;
    }
}

#[tokio::test]
async fn a_process_that_hides_its_origin_is_killed_at_the_end() {
    for mode in MODES {
        let Some(mut scene) = Scene::new("hides", mode).await else { continue };
        scene.start(scene.place.misbehaving(0, "hides")).await;
        scene.place.wait_listening(1);
        wait_until("the hidden process runs", || scene.place.hidden_runs());
        scene.signal(0, NodeSignal::Kill);
        assert!(scene.exited().await.by_us);
        let Scene { guardian, mut events, place } = scene;
        guardian.send(GuardianCommand::Shutdown).unwrap();
        let event = next(&mut events).await;
        assert_eq!(event, GuardianEvent::Finished { orphans_killed: 1 }, "{mode}");
        assert!(!place.hidden_runs(), "{mode}");
    }
}

#[tokio::test]
async fn a_start_that_fails_says_why() {
    for mode in MODES {
        let Some(mut scene) = Scene::new("failures", mode).await else { continue };
        let place = |name: &str| scene.place.path(name);
        let write = |name: &str, content: &str, bits: u32| {
            std::fs::write(place(name), content).unwrap();
            std::fs::set_permissions(place(name), PermissionsExt::from_mode(bits)).unwrap();
            place(name)
        };
        let start = |program: &Path| scene.place.start("n1", 0, program, &[]);
        let mut cases = vec![
            (start(&place("absent")), "no such file"),
            (start(Path::new("no-such-program-in-path")), "in PATH"),
            (start(&write("plain", "#!/bin/sh\n", 0o644)), "not executable"),
            (start(scene.place.dir.path()), "is a directory"),
            (start(&write("script", "#!/absent/sh\n", 0o755)), "interpreter"),
        ];
        let mut start = start(Path::new("/bin/true"));
        start.cwd = place("absent");
        cases.push((start.clone(), "working directory"));
        start.cwd = scene.place.dir.path().into();
        start.log_path = place("absent/log");
        cases.push((start, "log"));
        for (start, expected) in cases {
            scene.guardian.send(GuardianCommand::Start(start)).unwrap();
            match scene.next().await {
                GuardianEvent::StartFailed { why, .. } => {
                    assert!(why.contains(expected), "{why} should speak of: {expected}");
                }
                other => panic!("{expected}: {other:?}"),
            }
        }

        scene.signal(0, NodeSignal::Kill);
        assert!(matches!(scene.next().await, GuardianEvent::SignalFailed { .. }));
        scene.start(scene.place.misbehaving(3, "never-listens")).await;
        scene.signal(2, NodeSignal::Kill);
        assert!(matches!(scene.next().await, GuardianEvent::SignalFailed { incarnation: 2, .. }));
        scene.guardian.send(GuardianCommand::Start(scene.place.misbehaving(4, "well"))).unwrap();
        match scene.next().await {
            GuardianEvent::StartFailed { why, .. } => assert!(why.contains("still runs"), "{why}"),
            other => panic!("{other:?}"),
        }
        let last = scene.finish().await;
        assert!(
            matches!(&last[0], GuardianEvent::Exited(exited) if exited.by_us && exited.incarnation == 3),
            "{last:?}"
        );
    }
}

/// SIGHUP, SIGINT, SIGQUIT, SIGTERM and SIGCHLD, as `/proc/<pid>/status` shows sets of signals.
const BLOCKED_BITS: u64 = 0b1 | 0b10 | 0b100 | 1 << 14 | 1 << 16;
const SIGPIPE_BIT: u64 = 1 << 12;

#[tokio::test]
async fn a_node_inherits_no_descriptor_and_no_blocked_signal() {
    // Without close-on-exec, as a careless parent of the harness would leave it.
    let leaked = nix::unistd::dup(std::io::stderr()).unwrap();
    for mode in MODES {
        let Some(mut scene) = Scene::new("inherits", mode).await else { continue };
        let script = "grep -E 'Sig(Blk|Ign)' /proc/self/status; echo /proc/self/fd/*; cat";
        scene.start(scene.place.start("n1", 0, Path::new("sh"), &["-c", script])).await;
        assert_eq!(scene.exited().await.status, ExitStatus::Code { code: 0 });
        let log = scene.place.log();
        for (set, signals) in [("SigBlk", BLOCKED_BITS), ("SigIgn", BLOCKED_BITS | SIGPIPE_BIT)] {
            let line = log.lines().find_map(|line| line.strip_prefix(set)).unwrap();
            let bits = u64::from_str_radix(line.trim_start_matches([':', '\t']), 16).unwrap();
            assert_eq!(bits & signals, 0, "{mode}: {log}");
        }
        // The shell itself opens 3 to list the folder.
        let fds = "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3\n";
        assert!(log.contains(fds), "{log}");
        scene.finish().await;
    }
    drop(leaked);
}

#[tokio::test]
async fn guardians_do_not_touch_each_others_nodes() {
    for mode in MODES {
        let Some(mut one) = Scene::new("one", mode).await else { continue };
        let Some(mut two) = Scene::new("two", mode).await else { continue };
        one.start(one.place.misbehaving(0, "daemonizes")).await;
        two.start(two.place.misbehaving(0, "daemonizes")).await;
        one.place.wait_listening(1);
        two.place.wait_listening(1);
        wait_until("all run", || one.states().len() == 2 && two.states().len() == 2);
        one.finish().await;
        assert_eq!(two.states().len(), 2, "{mode}");
        two.finish().await;
    }
}

#[tokio::test]
async fn dropping_the_handle_ends_everything() {
    for mode in MODES {
        let Some(mut scene) = Scene::new("drop", mode).await else { continue };
        scene.start(scene.place.misbehaving(0, "forks")).await;
        scene.place.wait_listening(1);
        let Scene { guardian, mut events, place } = scene;
        drop(guardian);
        while until_closed(&mut events).await.is_some() {}
        assert!(marked(&place.mark).is_empty(), "{mode}");
    }
}

#[tokio::test]
async fn a_guardian_that_is_no_whitewater_is_refused() {
    for program in ["/bin/true", "/bin/echo", "/absent/whitewater"] {
        let options = Options { mode: None, program: Some(program.into()) };
        let error = Guardian::spawn(options).await.unwrap_err().to_string();
        assert!(error.contains(program), "{error}");
    }
}

/// A process of its own that holds a guardian, to be killed.
struct Host {
    child: Child,
    commands: UnixStream,
    events: BufReader<std::process::ChildStdout>,
}

impl Host {
    fn new(mode: Mode) -> Option<(Host, i32)> {
        let (commands, theirs) = UnixStream::pair().unwrap();
        let mut child = Command::new(example("guardian-host"))
            .arg(whitewater())
            .arg(mode.to_string())
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let events = BufReader::new(child.stdout.take().unwrap());
        let mut host = Host { child, commands, events };
        let first = host.line();
        match serde_json::from_str(&first) {
            Ok(GuardianEvent::Ready { host_pid, .. }) => Some((host, host_pid)),
            _ if mode == Mode::Namespace => {
                let _ = writeln!(std::io::stderr(), "SKIPPED in namespace mode: {first}");
                host.child.wait().unwrap();
                None
            }
            _ => panic!("{first}"),
        }
    }

    fn line(&mut self) -> String {
        if self.events.buffer().is_empty() {
            let mut fds = [PollFd::new(self.events.get_ref().as_fd(), PollFlags::POLLIN)];
            let limit = PollTimeout::try_from(PATIENCE).unwrap();
            assert_eq!(poll(&mut fds, limit), Ok(1), "the host answers");
        }
        let mut line = String::new();
        self.events.read_line(&mut line).unwrap();
        line
    }

    fn send(&mut self, command: &GuardianCommand) {
        let mut line = serde_json::to_string(command).unwrap();
        line.push('\n');
        self.commands.write_all(line.as_bytes()).unwrap();
    }

    fn event(&mut self) -> GuardianEvent {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// A running node with a grandchild that called setsid and ignores signals, and a daemon;
    /// then all of it stopped.
    fn start_stopped(&mut self, place: &Place) {
        self.send(&GuardianCommand::Start(place.misbehaving(0, "forks")));
        assert!(matches!(self.event(), GuardianEvent::Started { .. }));
        place.wait_listening(1);
        wait_until("node and grandchild run", || marked(&place.mark).len() == 2);
        let (node, signal) = ("n1".into(), NodeSignal::Stop);
        self.send(&GuardianCommand::Signal { node, incarnation: 0, signal });
        assert!(matches!(self.event(), GuardianEvent::Stopped { .. }));
        std::fs::write(place.path("log"), "").unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut other = place.misbehaving_at(0, "hides", &free.to_string());
        other.node = "n2".into();
        self.send(&GuardianCommand::Start(other));
        assert!(matches!(self.event(), GuardianEvent::Started { .. }));
        place.wait_listening(1);
        wait_until("three run", || marked(&place.mark).len() == 3);
        wait_until("the hidden process runs", || place.hidden_runs());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Also on panic; a host that has ended already is no error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn nothing_outlives_a_killed_harness() {
    for mode in MODES {
        let Some((mut host, guardian_pid)) = Host::new(mode) else { continue };
        let place = Place::new("harness-killed", mode);
        host.start_stopped(&place);
        host.child.kill().unwrap();
        host.child.wait().unwrap();
        place.wait_nothing_left();
        wait_until("the guardian has gone", || {
            !process_table().iter().any(|process| process.pid == guardian_pid && process.is_alive())
        });
    }
}

/// Kills the guardian's process, or in namespace mode the one that waits outside for it.
fn kill_the_guardian(name: &str, mode: Mode, outer: bool) {
    let Some((mut host, guardian_pid)) = Host::new(mode) else { return };
    let place = Place::new(name, mode);
    host.start_stopped(&place);
    let victim = if outer {
        let table = process_table();
        table.iter().find(|process| process.pid == guardian_pid).unwrap().parent
    } else {
        guardian_pid
    };
    kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap();
    match host.event() {
        GuardianEvent::Died { lingering: 0, .. } => {}
        other => panic!("{other:?}"),
    }
    let is_clean = marked(&place.mark).is_empty() && !place.hidden_runs();
    assert!(is_clean, "{mode}: it was swept before it was reported");
    assert!(host.child.wait().unwrap().success());
}

#[test]
fn nothing_outlives_a_killed_guardian() {
    for mode in MODES {
        kill_the_guardian("guardian-killed", mode, false);
    }
    kill_the_guardian("outer-killed", Mode::Namespace, true);
}

#[test]
fn a_guardian_does_not_die_of_what_is_meant_for_the_harness() {
    for mode in MODES {
        let Some((mut host, guardian_pid)) = Host::new(mode) else { continue };
        let place = Place::new("terminal", mode);
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
            kill(Pid::from_raw(guardian_pid), signal).unwrap();
        }
        host.send(&GuardianCommand::Start(place.misbehaving(0, "well")));
        assert!(matches!(host.event(), GuardianEvent::Started { .. }));
        host.send(&GuardianCommand::Shutdown);
        assert!(matches!(host.event(), GuardianEvent::Exited(exited) if exited.by_us));
        assert!(matches!(host.event(), GuardianEvent::Finished { .. }));
        place.wait_nothing_left();
    }
}
