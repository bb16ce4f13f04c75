//! The guardian process from its first instruction to its loop: descriptors, signals, namespaces.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, dup2_stdin, fork, getegid, geteuid, pipe2, setsid};

use super::message::{GuardianEvent, Mode};
use super::supervise::Supervisor;

/// First argument that makes the program a guardian. Hidden: only the harness itself uses it.
pub const SUBCOMMAND: &str = "__guardian";

/// Signals that the guardian reads from a descriptor instead of dying of them: a Ctrl-C, a closed
/// terminal or a `kill` meant for the harness is the harness's business.
const BLOCKED: [Signal; 5] =
    [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// Runs the guardian if the program's first argument asks for it. To be called before any thread
/// is started.
pub fn run_if_asked() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != SUBCOMMAND {
        return None;
    }
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    Some(main(&args))
}

/// The guardian: `args` are the arguments after [`SUBCOMMAND`], a mode and a tag. Descriptor 0 is
/// its end of the socket.
pub fn main(args: &[String]) -> ExitCode {
    let (mode, tag) = match args {
        [mode, tag] => match mode.parse::<Mode>() {
            Ok(mode) => (mode, tag.clone()),
            Err(why) => return complain(&why),
        },
        _ => return complain("the guardian is started by whitewater itself, not by hand"),
    };
    let socket = match take_socket() {
        Ok(socket) => socket,
        Err(error) => return complain(&format!("the guardian has no socket on stdin: {error}")),
    };
    if let Err(error) = detach() {
        return refuse(&socket, &format!("cannot set up its signals: {error}"));
    }
    match mode {
        Mode::Subreaper => match prctl::set_child_subreaper(true) {
            Ok(()) => supervise(socket, Mode::Subreaper, tag, None),
            Err(errno) => refuse(&socket, &format!("prctl(PR_SET_CHILD_SUBREAPER): {errno}")),
        },
        Mode::Namespace => enter_namespace(socket, tag),
    }
}

fn complain(why: &str) -> ExitCode {
    eprintln!("whitewater: {why}");
    ExitCode::from(2)
}

fn refuse(mut socket: &UnixStream, why: &str) -> ExitCode {
    let event = GuardianEvent::Refused { why: why.to_owned() };
    if let Ok(line) = serde_json::to_string(&event) {
        // Nobody reads it if the harness has gone; then nobody needs to know.
        let _ = writeln!(socket, "{line}");
    }
    ExitCode::from(4)
}

/// Moves the socket away from descriptor 0, and closes what the harness inherited from its own
/// parent: a pipe held open here would keep someone waiting for its end.
fn take_socket() -> io::Result<UnixStream> {
    let inherited: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&fd| fd > 2)
        .collect();
    for fd in inherited {
        // One of them was the directory's own and is closed already.
        let _ = nix::unistd::close(fd);
    }
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    dup2_stdin(File::open("/dev/null")?)?;
    let socket = UnixStream::from(socket);
    socket.peer_addr()?;
    Ok(socket)
}

/// A session of its own, signals blocked and, for the nodes' sake, with their default actions: a
/// harness started by `nohup`, or by a parent that ignores SIGCHLD, hands its ignoring down.
fn detach() -> nix::Result<()> {
    match setsid() {
        Ok(_) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(errno),
    }
    for blocked in BLOCKED {
        // SAFETY: no handler is installed, only the default action restored.
        unsafe { signal(blocked, SigHandler::SigDfl) }?;
    }
    blocked_signals().thread_set_mask()
}

/// The signals to read from a signalfd.
pub(super) fn blocked_signals() -> SigSet {
    BLOCKED.into_iter().collect()
}

/// Becomes two processes: this one waits outside, its child is init inside.
fn enter_namespace(socket: UnixStream, tag: String) -> ExitCode {
    if let Err(why) = unshare_pid_and_mounts() {
        return refuse(&socket, &why);
    }
    let (outer_alive, outer_end) = match pipe2(OFlag::O_CLOEXEC) {
        Ok(ends) => ends,
        Err(errno) => return refuse(&socket, &format!("cannot make a pipe: {errno}")),
    };
    // SAFETY: this process has a single thread, so the child finds no lock held by another.
    match unsafe { fork() } {
        Err(errno) => refuse(&socket, &format!("cannot fork into the new pid namespace: {errno}")),
        Ok(ForkResult::Parent { child }) => {
            drop(socket);
            drop(outer_alive);
            let status = loop {
                match waitpid(child, None) {
                    Err(Errno::EINTR) => {}
                    other => break other,
                }
            };
            drop(outer_end);
            match status {
                Ok(WaitStatus::Exited(_, code)) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
                _ => ExitCode::from(1),
            }
        }
        Ok(ForkResult::Child) => {
            drop(outer_end);
            match become_init(&outer_alive) {
                Ok(host_proc) => supervise(socket, Mode::Namespace, tag, Some(host_proc)),
                Err(why) => refuse(&socket, &why),
            }
        }
    }
}

/// New pid and mount namespaces for this process's children and itself; with a user namespace
/// around them where that alone is allowed.
fn unshare_pid_and_mounts() -> Result<(), String> {
    let wanted = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS;
    let errno = match unshare(wanted) {
        Ok(()) => return Ok(()),
        Err(errno) => errno,
    };
    // Ids are read before: inside an unmapped namespace everyone is nobody.
    let (uid, gid) = (geteuid(), getegid());
    unshare(wanted | CloneFlags::CLONE_NEWUSER).map_err(|user| {
        format!(
            "a pid namespace was refused ({}), and so was one within a user namespace ({})",
            errno.desc(),
            user.desc()
        )
    })?;
    let write = |file: &str, text: String| {
        std::fs::write(file, text).map_err(|error| format!("cannot write {file}: {error}"))
    };
    // The kernel demands that groups cannot be dropped before an unprivileged gid map is written.
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

/// In the first process of the namespace: ties its life to the process outside and mounts a
/// `/proc` that shows this namespace. Returns the harness's `/proc`, to translate pids with.
fn become_init(outer_alive: &OwnedFd) -> Result<File, String> {
    prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|errno| format!("prctl(PR_SET_PDEATHSIG): {errno}"))?;
    if has_hung_up(outer_alive.as_fd()) {
        return Err("the process outside of the namespace has died".to_owned());
    }
    let host_proc = File::options()
        .read(true)
        .custom_flags(nix::libc::O_DIRECTORY)
        .open("/proc")
        .map_err(|error| format!("cannot open /proc: {error}"))?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|errno| format!("cannot make mounts private: {}", errno.desc()))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, none)
        .map_err(|errno| format!("cannot mount a fresh /proc: {}", errno.desc()))?;
    Ok(host_proc)
}

/// Whether the other end of a pipe is closed.
fn has_hung_up(pipe: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(pipe, PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

fn supervise(socket: UnixStream, mode: Mode, tag: String, host_proc: Option<File>) -> ExitCode {
    match Supervisor::new(socket, mode, tag, host_proc).and_then(Supervisor::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // In namespace mode the kernel now kills the nodes, else their parent-death signal.
            eprintln!("whitewater: the guardian failed: {error}");
            ExitCode::from(4)
        }
    }
}
