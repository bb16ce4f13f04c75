//! The harness's side of the guardian: starts it, sends commands, receives events, notices its
//! death.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::message::{GuardianCommand, GuardianEvent, Mode};
use super::process::Process;
use super::spawn::absolute;
use super::sweep::{SweepReport, become_subreaper, forget, register, sweep};
use super::{MODE_VARIABLE, SUBCOMMAND};

/// Commands that may wait to be written. The guardian reads as fast as it can act.
const COMMANDS_MAX: usize = 1024;

/// Events that may wait to be received; beyond them the guardian is made to wait.
const EVENTS_MAX: usize = 1024;

/// How long a guardian may take to come up, on a machine under heavy load.
const READY_MAX: Duration = Duration::from_secs(60);

/// How to start a guardian.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Forces a mode. `None`: as [`MODE_VARIABLE`] says, else a namespace where that is allowed.
    pub mode: Option<Mode>,
    /// A `whitewater` binary to execute. `None`: the one that is running. Tests and other
    /// programs that only link this library must name one.
    pub program: Option<PathBuf>,
}

/// Why there is no guardian.
#[derive(Debug, thiserror::Error)]
pub enum GuardianError {
    /// The environment asks for a mode that does not exist.
    #[error("read the environment variable {MODE_VARIABLE}: {0}")]
    Mode(String),
    /// The kernel does not let this process be a subreaper, or make a socket.
    #[error("prepare for a guardian: {0}")]
    Prepare(#[source] io::Error),
    /// Its program could not be executed.
    #[error("start the guardian {program}: {source}")]
    Spawn {
        /// What was executed.
        program: PathBuf,
        /// Why it could not be.
        source: io::Error,
    },
    /// It ended, or stayed silent, before it was ready.
    #[error("start the guardian {program}: {why}")]
    NotReady {
        /// What was executed.
        program: PathBuf,
        /// What happened instead.
        why: String,
    },
    /// The mode asked for is not possible here.
    #[error("start the guardian in {mode} mode: {why}")]
    Refused {
        /// The mode.
        mode: Mode,
        /// What the kernel refused.
        why: String,
    },
    /// It has ended; the events say how.
    #[error("reach the guardian: it has ended")]
    Gone,
    /// More commands wait than it could ever lag behind: it is not being scheduled.
    #[error("reach the guardian: {COMMANDS_MAX} commands are waiting for it")]
    Overrun,
    /// A command holds a path that is not UTF-8.
    #[error("tell the guardian: {0}")]
    Encode(String),
}

/// A living guardian. Dropping it ends the guardian and all that runs under it.
#[derive(Debug)]
pub struct Guardian {
    commands: mpsc::Sender<Vec<u8>>,
    mode: Mode,
    /// The child that was spawned; in a namespace it is the parent of the guardian proper.
    child_pid: i32,
    host_pid: i32,
    note: String,
    run_tag: String,
    since_ticks: u64,
}

impl Guardian {
    /// Starts a guardian and waits until it serves. Needs a tokio runtime with I/O and time.
    ///
    /// Events arrive in the order in which things happened, `Ready` first; the last one is
    /// `Finished` or `Died`. The channel closes when the guardian's process has been reaped.
    ///
    /// # Errors
    /// When no guardian could be started in any allowed mode.
    pub async fn spawn(
        options: Options,
    ) -> Result<(Guardian, mpsc::Receiver<GuardianEvent>), GuardianError> {
        become_subreaper().map_err(GuardianError::Prepare)?;
        let forced = match options.mode {
            Some(mode) => Some(mode),
            None => forced_by_environment()?,
        };
        let program = options.program.unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
        if let Some(mode) = forced {
            return launch(&program, mode, String::new()).await;
        }
        match launch(&program, Mode::Namespace, String::new()).await {
            Err(GuardianError::Refused { why, .. }) => launch(&program, Mode::Subreaper, why).await,
            other => other,
        }
    }

    /// Sends a command. Commands are carried out in the order in which they are sent.
    ///
    /// # Errors
    /// [`GuardianError::Gone`], [`GuardianError::Overrun`], [`GuardianError::Encode`].
    pub fn send(&self, mut command: GuardianCommand) -> Result<(), GuardianError> {
        if let GuardianCommand::Start(start) = &mut command {
            start.program = absolute(&start.program)
                .map_err(|error| GuardianError::Encode(error.to_string()))?;
        }
        let mut line = serde_json::to_vec(&command)
            .map_err(|error| GuardianError::Encode(error.to_string()))?;
        line.push(b'\n');
        self.commands.try_send(line).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => GuardianError::Overrun,
            mpsc::error::TrySendError::Closed(_) => GuardianError::Gone,
        })
    }

    /// How strongly it holds what it starts.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Its pid, as this process sees it.
    pub fn host_pid(&self) -> i32 {
        self.host_pid
    }

    /// Why it is not in the stronger mode, or empty.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// Kills the guardian itself, for when it does not end as told: stopped or stuck. Only to be
    /// called while its events are still open, because then its process has not been reaped.
    pub fn kill(&self) {
        // In a namespace the guardian proper dies with its parent.
        let pid = nix::unistd::Pid::from_raw(self.child_pid);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }

    /// Kills what the guardian left behind and waits, without yielding, until it has gone. Done
    /// already before `Died` is reported; harmless to do again, and while the guardian lives.
    pub fn sweep(&self) -> SweepReport {
        sweep(&self.run_tag, self.since_ticks)
    }
}

fn forced_by_environment() -> Result<Option<Mode>, GuardianError> {
    match std::env::var_os(MODE_VARIABLE) {
        None => Ok(None),
        Some(value) => value.to_string_lossy().parse().map(Some).map_err(GuardianError::Mode),
    }
}

/// Marks what one guardian starts: unlike that of any other guardian on this machine, dead or
/// alive, because pid and start time name this process and the counter the guardian.
fn new_run_tag() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let pid = std::process::id();
    let start_ticks = Process::read(pid.cast_signed()).map_or(0, |own| own.start_ticks);
    format!("{pid}.{start_ticks}.{}", COUNTER.fetch_add(1, Ordering::Relaxed))
}

async fn launch(
    program: &PathBuf,
    mode: Mode,
    note: String,
) -> Result<(Guardian, mpsc::Receiver<GuardianEvent>), GuardianError> {
    let run_tag = new_run_tag();
    let (ours, theirs) = StdUnixStream::pair().map_err(GuardianError::Prepare)?;
    ours.set_nonblocking(true).map_err(GuardianError::Prepare)?;
    let child = register(|| {
        Command::new(program)
            .arg0("whitewater")
            .args([SUBCOMMAND, &mode.to_string(), &run_tag])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
    });
    let child =
        child.map_err(|source| GuardianError::Spawn { program: program.clone(), source })?;
    let child_pid = child.id().cast_signed();
    let reaper = Reaper::new(child, run_tag.clone());
    let since_ticks = reaper.since_ticks;
    let (read, write) = UnixStream::from_std(ours).map_err(GuardianError::Prepare)?.into_split();
    let mut lines = BufReader::new(read);

    let first = tokio::time::timeout(READY_MAX, next_event(&mut lines)).await;
    let not_ready = |why: String| GuardianError::NotReady { program: program.clone(), why };
    let host_pid = match first {
        Ok(Ok(Some(GuardianEvent::Ready { host_pid, .. }))) => host_pid,
        Ok(Ok(Some(GuardianEvent::Refused { why }))) => {
            reaper.wait().await;
            return Err(GuardianError::Refused { mode, why });
        }
        Ok(Ok(Some(other))) => return Err(not_ready(format!("it began with {other:?}"))),
        Ok(Ok(None)) => {
            let how = reaper.wait().await;
            return Err(not_ready(format!("it ended before it was ready ({how})")));
        }
        Ok(Err(error)) => {
            return Err(not_ready(format!("it does not speak our language: {error}")));
        }
        Err(_) => {
            return Err(not_ready(format!("it was not ready within {} s", READY_MAX.as_secs())));
        }
    };

    let (commands, commands_rx) = mpsc::channel(COMMANDS_MAX);
    let (events_tx, events) = mpsc::channel(EVENTS_MAX);
    let ready = GuardianEvent::Ready { mode, host_pid, note: note.clone() };
    // The channel is new, so there is room.
    let _ = events_tx.try_send(ready);
    tokio::spawn(write_commands(write, commands_rx));
    tokio::spawn(read_events(lines, events_tx, reaper));
    Ok((Guardian { commands, mode, child_pid, host_pid, note, run_tag, since_ticks }, events))
}

/// Writes commands until the handle is dropped or the guardian has gone; closing the socket's
/// sending half is then what tells the guardian to end everything.
async fn write_commands(mut socket: OwnedWriteHalf, mut commands: mpsc::Receiver<Vec<u8>>) {
    while let Some(line) = commands.recv().await {
        if socket.write_all(&line).await.is_err() {
            return;
        }
    }
}

/// Passes events on until the guardian ends; reaps it, and sweeps if it had not finished.
async fn read_events(
    mut lines: BufReader<OwnedReadHalf>,
    events: mpsc::Sender<GuardianEvent>,
    reaper: Reaper,
) {
    let mut finished = None;
    let mut complaint = None;
    // A receiver that was dropped does not matter: the guardian must be reaped all the same.
    loop {
        match next_event(&mut lines).await {
            Ok(Some(event @ GuardianEvent::Finished { .. })) => finished = Some(event),
            Ok(Some(event)) => drop(events.send(event).await),
            Ok(None) => break,
            Err(error) => {
                complaint = Some(error.to_string());
                break;
            }
        }
    }
    // Unread bytes would keep a guardian that writes alive; without the socket it ends.
    drop(lines);
    let (run_tag, since_ticks) = (reaper.run_tag.clone(), reaper.since_ticks);
    let how = reaper.wait().await;
    let last = match finished {
        Some(finished) => finished,
        None => {
            let swept = tokio::task::spawn_blocking(move || sweep(&run_tag, since_ticks)).await;
            let swept = swept.unwrap_or_default();
            let why = match complaint {
                Some(complaint) => format!("{complaint}; {how}"),
                None => how,
            };
            GuardianEvent::Died { why, swept: swept.killed, lingering: swept.lingering }
        }
    };
    drop(events.send(last).await);
}

/// The next event; `None` at the end. A reset means that the guardian died with commands unread.
async fn next_event(lines: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<GuardianEvent>> {
    let mut line = Vec::new();
    match lines.read_until(b'\n', &mut line).await {
        Ok(_) if line.ends_with(b"\n") => Ok(Some(serde_json::from_slice(&line)?)),
        // Nothing, or a line cut short by its death.
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
        Err(error) => Err(error),
    }
}

/// The guardian's process, from the outside.
struct Reaper {
    child: Child,
    run_tag: String,
    /// When the guardian was started, in clock ticks since boot.
    since_ticks: u64,
}

impl Reaper {
    fn new(child: Child, run_tag: String) -> Self {
        let since_ticks =
            Process::read(child.id().cast_signed()).map_or(u64::MAX, |process| process.start_ticks);
        Reaper { child, run_tag, since_ticks }
    }

    /// Waits for its end, and says how it ended.
    async fn wait(mut self) -> String {
        let pid = self.child.id().cast_signed();
        let waited = tokio::task::spawn_blocking(move || {
            let status = self.child.wait();
            forget(pid);
            status
        });
        match waited.await {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => format!("cannot learn how it ended: {error}"),
            Err(_) => "cannot learn how it ended".to_owned(),
        }
    }
}
