//! Probes that change a process for good, each tried in a child of its own.
//!
//! The child is this program with a hidden subcommand; it prints what it found and exits with 0,
//! or prints what was refused and exits with 1. It is killed when it takes too long.

use std::fs;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

/// First argument that makes the program a probe; hidden.
pub const PROBE_SUBCOMMAND: &str = "__probe";

/// How long a probe may take, on a machine under heavy load.
const PROBE_MAX: Duration = Duration::from_secs(30);

/// A probe: its name, whether the main job needs it, what it unlocks, how to try it.
pub(super) struct Probe {
    pub(super) name: &'static str,
    pub(super) required: bool,
    pub(super) unlocks: &'static str,
    attempt: fn() -> Result<String, String>,
}

/// All probes, in the order in which they are reported.
pub(super) const PROBES: [Probe; 8] = [
    Probe {
        name: "signals",
        required: true,
        unlocks: "kill and pause faults, with evidence from the kernel",
        attempt: signals,
    },
    Probe {
        name: "subreaper",
        required: true,
        unlocks: "cleanup of what nodes start; no node outlives the harness",
        attempt: subreaper,
    },
    Probe {
        name: "pid-namespace",
        required: false,
        unlocks: "cleanup by the kernel itself, even if harness and guardian are killed at once",
        attempt: pid_namespace,
    },
    Probe {
        name: "user-namespace",
        required: false,
        unlocks: "the other namespaces without being root",
        attempt: user_namespace,
    },
    Probe {
        name: "mount-namespace",
        required: false,
        unlocks: "mounts that only the nodes see and that vanish with them",
        attempt: mount_namespace,
    },
    Probe {
        name: "network-namespace",
        required: false,
        unlocks: "packet faults below TCP, for nodes whose connections cannot be proxied",
        attempt: network_namespace,
    },
    Probe {
        name: "time-namespace",
        required: false,
        unlocks: "nodes that start with their monotonic clocks apart",
        attempt: time_namespace,
    },
    Probe {
        name: "cgroup2-freeze",
        required: false,
        unlocks: "pausing a node with all its descendants at one instant, unseen by them",
        attempt: cgroup2_freeze,
    },
];

/// Runs a probe if the program's first argument asks for it. To be called before any thread is
/// started.
pub fn run_probe_if_asked() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != PROBE_SUBCOMMAND {
        return None;
    }
    let name = args.next().unwrap_or_default();
    let Some(probe) = PROBES.iter().find(|probe| name == probe.name) else {
        eprintln!("whitewater: probes are run by `whitewater doctor`, not by hand");
        return Some(ExitCode::from(2));
    };
    let (text, code) = match (probe.attempt)() {
        Ok(found) => (found, ExitCode::SUCCESS),
        Err(why) => (why, ExitCode::FAILURE),
    };
    print!("{text}");
    Some(code)
}

/// Tries a probe in a child.
pub(super) fn run(program: &Path, name: &str) -> Result<String, String> {
    let child = Command::new(program)
        .args([PROBE_SUBCOMMAND, name])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.map_err(|error| format!("cannot run {}: {error}", program.display()))?;
    let Some(mut output) = child.stdout.take() else {
        return Err("the probe has no output".to_owned());
    };
    // The pipe closes when the probe, and whatever it forked, has ended.
    let mut fds = [PollFd::new(output.as_fd(), PollFlags::POLLIN)];
    let limit = PollTimeout::try_from(PROBE_MAX).unwrap_or(PollTimeout::MAX);
    let is_late = poll(&mut fds, limit) == Ok(0);
    let mut text = String::new();
    let read = if is_late {
        // It may have ended by itself just now.
        let _ = child.kill();
        Ok(0)
    } else {
        output.read_to_string(&mut text)
    };
    let status = child.wait().map_err(|error| error.to_string())?;
    match (is_late, read, status.success()) {
        (true, ..) => Err(format!("no answer within {} s", PROBE_MAX.as_secs())),
        (_, Err(error), _) => Err(format!("cannot read the probe's answer: {error}")),
        (_, Ok(_), true) => Ok(text),
        (_, Ok(0), false) => Err(format!("the probe ended with {status}")),
        (_, Ok(_), false) => Err(text),
    }
}

fn said(what: &str) -> impl Fn(Errno) -> String {
    move |errno| format!("{what} was refused: {}", errno.desc())
}

/// Runs `inside` in a forked child and passes on what it found.
fn in_child(inside: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let (mut read, write) = io::pipe().map_err(|error| format!("no pipe: {error}"))?;
    // SAFETY: a probe has a single thread.
    match unsafe { fork() }.map_err(said("fork"))? {
        ForkResult::Child => {
            drop(read);
            let code = match inside() {
                Ok(()) => 0,
                Err(why) => {
                    // Without a reader there is nobody to tell.
                    let _ = io::Write::write_all(&mut &write, why.as_bytes());
                    1
                }
            };
            // SAFETY: ends the child at once; the parent's buffers must not be flushed twice.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => {
            drop(write);
            let mut why = String::new();
            read.read_to_string(&mut why).map_err(|error| error.to_string())?;
            match waitpid(child, None) {
                Ok(WaitStatus::Exited(_, 0)) => Ok(()),
                Ok(_) if !why.is_empty() => Err(why),
                Ok(status) => Err(format!("the attempt ended with {status:?}")),
                Err(errno) => Err(said("waitpid")(errno)),
            }
        }
    }
}

/// Stops, continues and kills a child, and checks that the kernel says so each time.
fn signals() -> Result<String, String> {
    // SAFETY: a probe has a single thread.
    let child = match unsafe { fork() }.map_err(said("fork"))? {
        ForkResult::Child => loop {
            nix::unistd::pause();
        },
        ForkResult::Parent { child } => child,
    };
    let seen = stop_continue_kill(child);
    if seen.is_err() {
        // It may have gone already; the probe's failure is the news.
        let _ = kill(child, Signal::SIGKILL);
    }
    seen.map(|()| "stopped, continued and killed a child, seen by waitpid".to_owned())
}

fn stop_continue_kill(child: Pid) -> Result<(), String> {
    let expect = |what: &str, seen: Result<WaitStatus, Errno>, expected: WaitStatus| match seen {
        Ok(status) if status == expected => Ok(()),
        Ok(status) => Err(format!("after {what}, waitpid said {status:?}")),
        Err(errno) => Err(format!("after {what}, waitpid failed: {}", errno.desc())),
    };
    kill(child, Signal::SIGSTOP).map_err(said("SIGSTOP"))?;
    let seen = waitpid(child, Some(WaitPidFlag::WUNTRACED));
    expect("SIGSTOP", seen, WaitStatus::Stopped(child, Signal::SIGSTOP))?;
    kill(child, Signal::SIGCONT).map_err(said("SIGCONT"))?;
    let seen = waitpid(child, Some(WaitPidFlag::WCONTINUED));
    expect("SIGCONT", seen, WaitStatus::Continued(child))?;
    kill(child, Signal::SIGKILL).map_err(said("SIGKILL"))?;
    expect("SIGKILL", waitpid(child, None), WaitStatus::Signaled(child, Signal::SIGKILL, false))
}

fn subreaper() -> Result<String, String> {
    prctl::set_child_subreaper(true).map_err(said("prctl(PR_SET_CHILD_SUBREAPER)"))?;
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(said("prctl(PR_SET_PDEATHSIG)"))?;
    // A grandchild whose parent ends at once must become ours.
    in_child(|| {
        // SAFETY: a probe has a single thread, and so has its child.
        match unsafe { fork() }.map_err(said("fork"))? {
            // SAFETY: as in `in_child`.
            ForkResult::Child => unsafe { libc::_exit(7) },
            ForkResult::Parent { .. } => Ok(()),
        }
    })?;
    match waitpid(None, None) {
        Ok(WaitStatus::Exited(_, 7)) => {
            Ok("an orphan fell to us; parent-death signal can be set".to_owned())
        }
        Ok(status) => Err(format!("expected an orphan, saw {status:?}")),
        Err(errno) => Err(format!("an orphan did not fall to us: {}", errno.desc())),
    }
}

/// Enters namespaces directly, or within a user namespace; says which.
fn enter(flags: CloneFlags) -> Result<&'static str, String> {
    match unshare(flags) {
        Ok(()) => Ok("directly"),
        Err(direct) => match unshare(flags | CloneFlags::CLONE_NEWUSER) {
            Ok(()) => Ok("within a user namespace"),
            Err(user) => Err(format!(
                "refused ({}), and within a user namespace as well ({}); root, or in a container \
                 `--cap-add SYS_ADMIN`, would be allowed",
                direct.desc(),
                user.desc()
            )),
        },
    }
}

fn private_mounts() -> Result<(), String> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(said("making mounts private"))
}

fn pid_namespace() -> Result<String, String> {
    let how = enter(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)?;
    in_child(|| {
        if std::process::id() != 1 {
            return Err(format!("expected to be process 1, was {}", std::process::id()));
        }
        private_mounts()?;
        let none: Option<&str> = None;
        mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none)
            .map_err(said("a fresh /proc"))
    })?;
    Ok(format!("with a fresh /proc, {how}"))
}

fn user_namespace() -> Result<String, String> {
    unshare(CloneFlags::CLONE_NEWUSER).map_err(said("unshare(CLONE_NEWUSER)"))?;
    Ok("one can be made".to_owned())
}

fn mount_namespace() -> Result<String, String> {
    let how = enter(CloneFlags::CLONE_NEWNS)?;
    private_mounts()?;
    let dir = tempfile::tempdir().map_err(|error| format!("no temporary directory: {error}"))?;
    let none: Option<&str> = None;
    mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), none)
        .map_err(said("mounting a tmpfs"))?;
    umount2(dir.path(), MntFlags::MNT_DETACH).map_err(said("unmounting it"))?;
    Ok(format!("with a tmpfs in it, {how}"))
}

fn network_namespace() -> Result<String, String> {
    Ok(format!("one can be made, {}", enter(CloneFlags::CLONE_NEWNET)?))
}

fn time_namespace() -> Result<String, String> {
    // Not among nix's flags.
    let new_time = CloneFlags::from_bits_retain(libc::CLONE_NEWTIME);
    let how = enter(new_time)?;
    in_child(|| Ok(()))?;
    Ok(format!("one can be made, {how}"))
}

/// Mounts the cgroup2 hierarchy where nobody else sees it and freezes a child in a fresh group.
fn cgroup2_freeze() -> Result<String, String> {
    let how = enter(CloneFlags::CLONE_NEWNS)?;
    private_mounts()?;
    let dir = tempfile::tempdir().map_err(|error| format!("no temporary directory: {error}"))?;
    let none: Option<&str> = None;
    mount(Some("cgroup2"), dir.path(), Some("cgroup2"), MsFlags::empty(), none)
        .map_err(said("mounting cgroup2"))?;
    let group = dir.path().join(format!("whitewater-probe-{}", std::process::id()));
    let frozen = freeze_in(&group);
    // The group exists outside of this namespace too and has to go in any case.
    let removed = match fs::remove_dir(&group) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("cannot remove the group again: {error}"))
        }
        _ => Ok(()),
    };
    let _ = umount2(dir.path(), MntFlags::MNT_DETACH);
    frozen.and(removed)?;
    Ok(format!("froze a child, {how}"))
}

fn freeze_in(group: &Path) -> Result<(), String> {
    let failed = |what: &str, error: io::Error| format!("cannot {what}: {error}");
    fs::create_dir(group).map_err(|error| failed("make a group", error))?;
    // SAFETY: a probe has a single thread.
    let child = match unsafe { fork() }.map_err(said("fork"))? {
        ForkResult::Child => loop {
            nix::unistd::pause();
        },
        ForkResult::Parent { child } => child,
    };
    let frozen = fs::write(group.join("cgroup.procs"), child.to_string())
        .map_err(|error| failed("move a child into a group", error))
        .and_then(|()| {
            fs::write(group.join("cgroup.freeze"), "1")
                .map_err(|error| failed("freeze a group", error))
        });
    // Killing works on frozen processes; a child that has gone leaves its group empty.
    let _ = kill(child, Signal::SIGKILL);
    let _ = waitpid(child, None);
    frozen
}
