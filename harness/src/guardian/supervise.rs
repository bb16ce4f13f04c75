//! The guardian's loop: commands in, signals out, evidence back, and the end of everything.
//!
//! One thread, two descriptors: the socket to the harness and a signalfd. Nothing blocks but
//! `poll`, starting a program, and a harness that does not read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus};
use protocol::NodeId;
use protocol::framing::{FrameDecoder, Framing};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};

use super::family::{Family, ProcessId};
use super::init::blocked_signals;
use super::message::{
    ExitStatus, Exited, GuardianCommand, GuardianEvent, Mode, NodeSignal, StartNode,
};
use super::process::{Process, descendants_of, process_table};
use super::spawn::spawn;

/// How long a killed descendant may take to go before its node's exit is reported without it.
const LINGER_MAX: Duration = Duration::from_secs(2);

/// How often waiting is interrupted to look again, while something is on its way out.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A node's main process and what is known of it.
struct Running {
    incarnation: u32,
    pid: i32,
    /// Value of [`NODE_VARIABLE`] in its environment and its descendants'.
    tag: String,
    /// Whether SIGKILL was sent.
    killed: bool,
    /// Whether SIGTERM was sent.
    terminated: bool,
    /// A stop was sent and not confirmed yet; the descendants that got it too.
    stopping: Option<BTreeSet<ProcessId>>,
    /// The kernel will report a continue that has been reported to the harness already.
    continue_known: bool,
    /// Descendants that were sent SIGKILL, by pid and start time.
    victims: BTreeSet<ProcessId>,
    /// Set once the main process has been reaped.
    ended: Option<Ended>,
}

struct Ended {
    status: ExitStatus,
    at: Instant,
}

/// The guardian's state.
pub(super) struct Supervisor {
    socket: UnixStream,
    signals: SignalFd,
    decoder: FrameDecoder,
    nodes: BTreeMap<NodeId, Running>,
    /// This run's part of every node's tag.
    run_tag: String,
    mode: Mode,
    /// `/proc` as the harness sees it, when that is not our own.
    host_proc: Option<File>,
    own_pid: i32,
    orphans_killed: BTreeSet<ProcessId>,
}

impl Supervisor {
    /// A guardian without nodes.
    pub(super) fn new(
        socket: UnixStream,
        mode: Mode,
        run_tag: String,
        host_proc: Option<File>,
    ) -> io::Result<Self> {
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Supervisor {
            socket,
            signals: SignalFd::with_flags(&blocked_signals(), flags)?,
            decoder: FrameDecoder::new(Framing::Lines),
            nodes: BTreeMap::new(),
            run_tag,
            mode,
            host_proc,
            own_pid: std::process::id().cast_signed(),
            orphans_killed: BTreeSet::new(),
        })
    }

    /// Serves until the harness asks for the end or has gone; then nothing is left below.
    pub(super) fn run(mut self) -> io::Result<()> {
        let host_pid = self.own_host_pid().unwrap_or(self.own_pid);
        self.emit(&GuardianEvent::Ready { mode: self.mode, host_pid, note: String::new() });
        loop {
            let (readable, signalled) = self.wait(self.waiting_limit())?;
            if signalled {
                self.drain_signals();
            }
            // Always first: what has happened must not be credited to the commands read next.
            self.reap();
            self.report_ended();
            if readable {
                match self.read_commands()? {
                    Turn::Continue => {}
                    Turn::End => break,
                }
            }
        }
        self.end_everything()?;
        self.emit(&GuardianEvent::Finished { orphans_killed: count(&self.orphans_killed) });
        Ok(())
    }

    fn waiting_limit(&self) -> PollTimeout {
        if self.nodes.values().any(|node| node.ended.is_some()) {
            PollTimeout::try_from(LOOK_AGAIN).unwrap_or(PollTimeout::ZERO)
        } else {
            PollTimeout::NONE
        }
    }

    /// Waits for the socket and for signals: (socket readable or closed, signals pending).
    fn wait(&self, limit: PollTimeout) -> io::Result<(bool, bool)> {
        let mut fds = [
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, limit) {
            Ok(_) => Ok((fds[0].any().unwrap_or(true), fds[1].any().unwrap_or(true))),
            Err(Errno::EINTR) => Ok((false, false)),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Empties the signalfd. SIGCHLD only says that it is time to look; the others are ignored.
    fn drain_signals(&self) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
    }

    fn emit(&mut self, event: &GuardianEvent) {
        // Events hold text and numbers only, so this cannot fail. A harness that cannot be
        // written to has gone, which the next read will say.
        if let Ok(mut line) = serde_json::to_vec(event) {
            line.push(b'\n');
            let _ = self.socket.write_all(&line);
        }
    }
}

/// What comes after a batch of commands.
enum Turn {
    Continue,
    /// Shutdown, or the harness has gone.
    End,
}

/// Commands.
impl Supervisor {
    fn read_commands(&mut self) -> io::Result<Turn> {
        let mut buffer = [0; 1 << 16];
        let read = match self.socket.read(&mut buffer) {
            Ok(0) => return Ok(Turn::End),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Turn::Continue),
            // A reset: the harness died with events unread.
            Err(_) => return Ok(Turn::End),
        };
        self.decoder.push(&buffer[..read]);
        loop {
            let command = match self.decoder.next_frame() {
                Ok(Some(line)) => serde_json::from_slice(line),
                Ok(None) => return Ok(Turn::Continue),
                Err(error) => return Err(io::Error::other(format!("a command of {error}"))),
            };
            match command {
                Ok(GuardianCommand::Start(start)) => self.start(start),
                Ok(GuardianCommand::Signal { node, incarnation, signal }) => {
                    self.reap();
                    if let Err(why) = self.signal(&node, incarnation, signal) {
                        self.emit(&GuardianEvent::SignalFailed { node, incarnation, signal, why });
                    }
                }
                Ok(GuardianCommand::Shutdown) => return Ok(Turn::End),
                Err(error) => self.emit(&GuardianEvent::BadCommand { why: error.to_string() }),
            }
        }
    }

    fn start(&mut self, start: StartNode) {
        let (node, incarnation) = (start.node.clone(), start.incarnation);
        let tag = format!("{}/{node}/{incarnation}", self.run_tag);
        let started = match self.nodes.get(&node) {
            Some(running) => Err(format!(
                "{node} still runs as incarnation {} (pid {})",
                running.incarnation, running.pid
            )),
            None => spawn(&start, &tag),
        };
        match started {
            Ok(pid) => {
                let host_pid = self.host_pid(pid);
                let running = Running {
                    incarnation,
                    pid,
                    tag,
                    killed: false,
                    terminated: false,
                    stopping: None,
                    continue_known: false,
                    victims: BTreeSet::new(),
                    ended: None,
                };
                self.nodes.insert(node.clone(), running);
                self.emit(&GuardianEvent::Started { node, incarnation, pid, host_pid });
            }
            Err(why) => self.emit(&GuardianEvent::StartFailed { node, incarnation, why }),
        }
    }

    /// Signals a node; the answer is sent here only if the kernel has nothing more to report.
    fn signal(
        &mut self,
        node: &NodeId,
        incarnation: u32,
        signal: NodeSignal,
    ) -> Result<(), String> {
        let Some(running) = self.nodes.get_mut(node) else {
            return Err(format!("{node} is not running"));
        };
        if running.incarnation != incarnation || running.ended.is_some() {
            return Err(format!("incarnation {incarnation} of {node} is not running"));
        }
        let was_stopped = is_stopped(running.pid);
        let failed = |error: io::Error| format!("cannot {signal} {node}: {error}");
        match signal {
            NodeSignal::Kill => {
                running.killed = true;
                signal_group(running.pid, Signal::KILL).map_err(failed)?;
                self.kill_descendants(node);
            }
            NodeSignal::Terminate => {
                running.terminated = true;
                signal_group(running.pid, Signal::TERM).map_err(failed)?;
            }
            NodeSignal::Stop => {
                signal_group(running.pid, Signal::STOP).map_err(failed)?;
                let signalled = self.signal_descendants(node, Signal::STOP);
                if let Some(running) = self.nodes.get_mut(node) {
                    running.stopping = Some(signalled);
                }
                // Stopped before: the kernel reports a stop only once.
                if was_stopped {
                    self.confirm_stop(node);
                }
            }
            NodeSignal::Continue => {
                running.stopping = None;
                signal_group(running.pid, Signal::CONT).map_err(failed)?;
                self.signal_descendants(node, Signal::CONT);
                self.confirm_continue(node)?;
            }
        }
        Ok(())
    }

    /// Signals all living descendants of a node; which.
    fn signal_descendants(&self, node: &NodeId, signal: Signal) -> BTreeSet<ProcessId> {
        let Some(running) = self.nodes.get(node) else { return BTreeSet::new() };
        let mains: BTreeSet<i32> = self
            .nodes
            .values()
            .filter(|running| running.ended.is_none())
            .map(|running| running.pid)
            .collect();
        let family = Family {
            main: running.pid,
            main_is_here: running.ended.is_none(),
            tag: &running.tag,
            guardian: self.own_pid,
            mains: &mains,
        };
        family.signal(signal)
    }

    fn kill_descendants(&mut self, node: &NodeId) {
        let killed = self.signal_descendants(node, Signal::KILL);
        if let Some(running) = self.nodes.get_mut(node) {
            running.victims.extend(killed);
        }
    }

    /// SIGCONT takes effect before `kill` returns, so the state can be read at once.
    fn confirm_continue(&mut self, node: &NodeId) -> Result<(), String> {
        let Some(running) = self.nodes.get_mut(node) else { return Ok(()) };
        // Even if it did not look stopped: the kernel also reports a stop cut short. If it reports
        // nothing, the next stop forgets this again.
        running.continue_known = true;
        let incarnation = running.incarnation;
        let Some(process) = Process::read(running.pid) else {
            return Err("cannot read its state in /proc".to_owned());
        };
        if matches!(process.state, 'T' | 't') {
            return Err(format!("its state is still {} after SIGCONT", process.state));
        }
        let state = process.state;
        let node = node.clone();
        self.emit(&GuardianEvent::Continued { node, incarnation, state, by_us: true });
        Ok(())
    }

    /// Reports a stop if `/proc` agrees.
    fn confirm_stop(&mut self, node: &NodeId) {
        let Some(running) = self.nodes.get(node) else { return };
        let Some(process) = Process::read(running.pid) else { return };
        if process.state != 'T' {
            return;
        }
        let incarnation = running.incarnation;
        let by_us = running.stopping.is_some();
        // A child may have been forked between the listing and the parent's own stop.
        let late =
            if by_us { self.signal_descendants(node, Signal::STOP) } else { BTreeSet::new() };
        let Some(running) = self.nodes.get_mut(node) else { return };
        let mut signalled = running.stopping.take().unwrap_or_default();
        signalled.extend(late);
        running.continue_known = false;
        self.emit(&GuardianEvent::Stopped {
            node: node.clone(),
            incarnation,
            state: process.state,
            by_us,
            descendants: count(&signalled),
        });
    }
}

/// Evidence.
impl Supervisor {
    /// Takes every change of state that the kernel has to report: nodes one by one, then orphans.
    fn reap(&mut self) {
        loop {
            let nodes: Vec<(NodeId, i32)> = self
                .nodes
                .iter()
                .filter(|(_, running)| running.ended.is_none())
                .map(|(node, running)| (node.clone(), running.pid))
                .collect();
            for (node, pid) in &nodes {
                self.reap_node(node, *pid);
            }
            match next_dead_child() {
                // A node that ended while we looked at another.
                Some(pid) if self.is_main(pid) => {}
                Some(pid) => take(pid, WaitIdOptions::EXITED),
                None => return,
            }
        }
    }

    fn is_main(&self, pid: i32) -> bool {
        self.nodes.values().any(|running| running.ended.is_none() && running.pid == pid)
    }

    fn reap_node(&mut self, node: &NodeId, pid: i32) {
        let Some(id) = Pid::from_raw(pid) else { return };
        let look =
            |options| waitid(WaitId::Pid(id), options | WaitIdOptions::NOHANG).unwrap_or_default();
        if look(WaitIdOptions::STOPPED).is_some() {
            self.confirm_stop(node);
        }
        if look(WaitIdOptions::CONTINUED).is_some() {
            self.note_continue(node);
        }
        // Looked at without reaping: while it is a zombie its pid, group and session are its own.
        let Some(status) = look(WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) else { return };
        let status = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => ExitStatus::Code { code },
            (None, Some(signal)) => ExitStatus::Signal { signal, core: status.dumped() },
            (None, None) => return,
        };
        let _ = signal_group(pid, Signal::KILL);
        self.kill_descendants(node);
        take(pid, WaitIdOptions::EXITED);
        if let Some(running) = self.nodes.get_mut(node) {
            running.ended = Some(Ended { status, at: Instant::now() });
        }
    }

    /// The kernel says that a node was continued.
    fn note_continue(&mut self, node: &NodeId) {
        let Some(running) = self.nodes.get_mut(node) else { return };
        if std::mem::take(&mut running.continue_known) {
            return;
        }
        let incarnation = running.incarnation;
        let Some(process) = Process::read(running.pid) else { return };
        if !matches!(process.state, 'T' | 't') {
            let (node, state) = (node.clone(), process.state);
            self.emit(&GuardianEvent::Continued { node, incarnation, state, by_us: false });
        }
    }

    /// Reports nodes that have ended, once their descendants have gone as well.
    fn report_ended(&mut self) {
        let ended: Vec<NodeId> = self
            .nodes
            .iter()
            .filter(|(_, running)| running.ended.is_some())
            .map(|(node, _)| node.clone())
            .collect();
        for node in ended {
            self.kill_descendants(&node);
            let Some(running) = self.nodes.get(&node) else { continue };
            let Some(ended) = &running.ended else { continue };
            let remaining = running.victims.iter().filter(|&&victim| still_alive(victim)).count();
            if remaining > 0 && ended.at.elapsed() < LINGER_MAX {
                continue;
            }
            let killed_by_us = running.killed
                && matches!(ended.status, ExitStatus::Signal { signal, .. }
                    if signal == Signal::KILL.as_raw());
            let event = Exited {
                node: node.clone(),
                incarnation: running.incarnation,
                pid: running.pid,
                status: ended.status,
                by_us: killed_by_us || running.terminated,
                descendants_killed: count(&running.victims),
                descendants_lingering: u32::try_from(remaining).unwrap_or(u32::MAX),
            };
            self.nodes.remove(&node);
            self.emit(&GuardianEvent::Exited(event));
        }
    }

    /// Kills everything below this process and waits until the kernel says that nothing is left.
    fn end_everything(&mut self) -> io::Result<()> {
        loop {
            let mut mains = BTreeSet::new();
            for running in self.nodes.values_mut().filter(|running| running.ended.is_none()) {
                running.killed = true;
                mains.insert(running.pid);
                let _ = signal_group(running.pid, Signal::KILL);
            }
            let nodes: Vec<NodeId> = self.nodes.keys().cloned().collect();
            for node in nodes {
                self.kill_descendants(&node);
            }
            for process in descendants_of(self.own_pid) {
                let victim = (process.pid, process.start_ticks);
                let is_known = mains.contains(&process.pid)
                    || self.nodes.values().any(|running| running.victims.contains(&victim));
                if process.is_alive() && process.signal(Signal::KILL).unwrap_or(false) && !is_known
                {
                    self.orphans_killed.insert(victim);
                }
            }
            self.reap();
            self.report_ended();
            if has_no_child() && self.nodes.is_empty() {
                return Ok(());
            }
            let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            let limit = PollTimeout::try_from(LOOK_AGAIN).unwrap_or(PollTimeout::ZERO);
            match poll(&mut fds, limit) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            self.drain_signals();
        }
    }
}

/// Pids as the harness sees them.
impl Supervisor {
    fn host_pid(&self, pid: i32) -> Option<i32> {
        let Some(host_proc) = &self.host_proc else { return Some(pid) };
        let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        // A pidfd's description shows the pid in the namespace of the `/proc` it is read through.
        let path =
            format!("/proc/self/fd/{}/self/fdinfo/{}", host_proc.as_raw_fd(), pidfd.as_raw_fd());
        let info = fs::read_to_string(path).ok()?;
        let line = info.lines().find_map(|line| line.strip_prefix("Pid:"))?;
        line.trim().parse().ok().filter(|&pid| pid > 0)
    }

    fn own_host_pid(&self) -> Option<i32> {
        let host_proc = self.host_proc.as_ref()?;
        let link = fs::read_link(format!("/proc/self/fd/{}/self", host_proc.as_raw_fd())).ok()?;
        link.to_str()?.parse().ok()
    }
}

/// Signals the process group of a child that has not been reaped, so that its pid is its own.
fn signal_group(pid: i32, signal: Signal) -> io::Result<()> {
    let Some(pid) = Pid::from_raw(pid) else { return Ok(()) };
    match kill_process_group(pid, signal) {
        // A group of zombies.
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn is_stopped(pid: i32) -> bool {
    Process::read(pid).is_some_and(|process| process.state == 'T')
}

fn still_alive((pid, start_ticks): ProcessId) -> bool {
    Process::read(pid)
        .is_some_and(|process| process.start_ticks == start_ticks && process.is_alive())
}

/// A child that has ended and was not reaped; it is left as it is.
fn next_dead_child() -> Option<i32> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match nix::sys::wait::waitid(Id::All, flags) {
        Ok(WaitStatus::StillAlive) => None,
        Ok(status) => status.pid().map(nix::unistd::Pid::as_raw),
        // A real-time signal ended it, for which that function has no name; look for it.
        Err(Errno::EINVAL) => {
            let own_pid = std::process::id().cast_signed();
            process_table()
                .into_iter()
                .find(|process| process.parent == own_pid && !process.is_alive())
                .map(|process| process.pid)
        }
        Err(_) => None,
    }
}

/// Whether the kernel says that this process has no child at all, living or dead.
fn has_no_child() -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    nix::sys::wait::waitid(Id::All, flags) == Err(Errno::ECHILD)
}

/// Takes a child's change of state from the kernel.
fn take(pid: i32, change: WaitIdOptions) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = waitid(WaitId::Pid(pid), change | WaitIdOptions::NOHANG);
    }
}

fn count<T>(set: &BTreeSet<T>) -> u32 {
    u32::try_from(set.len()).unwrap_or(u32::MAX)
}
