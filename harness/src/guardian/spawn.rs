//! Starts a node's process: session, parent-death signal, output, environment; explains failures.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, getpid, getppid, setsid};

use super::message::StartNode;
use super::{MODE_VARIABLE, NODE_VARIABLE};

/// Starts a node and returns its pid. The node leads a session and a process group of its own;
/// `tag` marks it and its descendants in their environment.
///
/// # Errors
/// What was wrong, where, for people.
pub(super) fn spawn(start: &StartNode, tag: &str) -> Result<i32, String> {
    let log = OpenOptions::new().append(true).create(true).open(&start.log_path);
    let log = log.map_err(|error| {
        format!("cannot open the node's log {}: {error}", start.log_path.display())
    })?;
    let err = log.try_clone().map_err(|error| format!("cannot duplicate a descriptor: {error}"))?;
    let null =
        File::open("/dev/null").map_err(|error| format!("cannot open /dev/null: {error}"))?;

    let mut command = Command::new(&start.program);
    command
        .args(&start.args)
        .env_remove(MODE_VARIABLE)
        .envs(&start.env)
        .env(NODE_VARIABLE, tag)
        .current_dir(&start.cwd)
        .stdin(Stdio::from(null))
        .stdout(Stdio::from(log))
        .stderr(Stdio::from(err));
    let guardian = getpid();
    // SAFETY: the closure runs in the forked child of a single-threaded process, so nothing can
    // be locked, and it only makes system calls.
    unsafe { command.pre_exec(move || prepare(guardian)) };
    match command.spawn() {
        // Dropping a std child neither waits for it nor kills it; the supervisor does both.
        Ok(child) => Ok(child.id().cast_signed()),
        Err(error) => Err(explain(start, &error)),
    }
}

/// Runs in the child, between fork and exec.
fn prepare(guardian: Pid) -> io::Result<()> {
    setsid()?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // The guardian may have died before the line above; then nobody would ever send the signal.
    if getppid() != guardian {
        return Err(io::Error::from(nix::errno::Errno::ESRCH));
    }
    // The guardian blocks what it reads from its signalfd, and a mask survives exec.
    SigSet::empty().thread_set_mask()?;
    Ok(())
}

/// Says in words why exec failed. The kernel answers `ENOENT` alike for a missing program, a
/// missing working directory and a missing interpreter, which are repaired in different places.
fn explain(start: &StartNode, error: &io::Error) -> String {
    let program = start.program.display();
    if !start.cwd.is_dir() {
        return format!("its working directory {} does not exist", start.cwd.display());
    }
    let is_path = start.program.components().count() > 1;
    let metadata = std::fs::metadata(&start.program);
    match (error.kind(), &metadata) {
        (io::ErrorKind::NotFound, _) if !is_path => format!("no program `{program}` in PATH"),
        (io::ErrorKind::NotFound, Err(_)) => format!("no such file: {program}"),
        (io::ErrorKind::NotFound, Ok(_)) => format!(
            "{program} exists but its interpreter does not (the one named after `#!`, or the \
             dynamic loader of another system)"
        ),
        (io::ErrorKind::PermissionDenied, Ok(found)) if found.is_dir() => {
            format!("{program} is a directory, not a program")
        }
        (io::ErrorKind::PermissionDenied, Ok(found)) if found.permissions().mode() & 0o111 == 0 => {
            format!("{program} is not executable (chmod +x would make it so)")
        }
        (io::ErrorKind::PermissionDenied, _) => format!(
            "may not execute {program}: permission denied (a directory on the way, or a file \
             system mounted noexec)"
        ),
        (io::ErrorKind::ExecutableFileBusy, _) => {
            format!("{program} is open for writing (still being built or copied)")
        }
        _ if error.raw_os_error() == Some(nix::libc::ENOEXEC) => format!(
            "{program} is not a program for this machine (built for another architecture, or a \
             script without a `#!` line)"
        ),
        _ => format!("cannot start {program}: {error}"),
    }
}

/// Makes a program that is named by a path absolute, so that the node's working directory does
/// not change its meaning. A bare name is left to `PATH`.
pub(super) fn absolute(program: &Path) -> io::Result<std::path::PathBuf> {
    if program.components().count() > 1 || program.is_absolute() {
        std::path::absolute(program)
    } else {
        Ok(program.to_path_buf())
    }
}
