//! What harness and guardian say to each other: one JSON object a line, in order, each way.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use protocol::NodeId;
use serde::{Deserialize, Serialize};

/// How strongly the guardian holds what it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Init of a pid and mount namespace: the kernel kills everything inside when it ends.
    Namespace,
    /// A subreaper: orphans become its children, and it kills them.
    Subreaper,
}

/// Asks something of the guardian.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuardianCommand {
    /// Starts a node; answered with `Started` or `StartFailed`.
    Start(StartNode),
    /// Signals a node and all its descendants; answered with `Stopped`, `Continued` or `Exited`
    /// once the kernel confirms it, or with `SignalFailed`. A stop overtaken by a continue is
    /// answered only as the continue.
    Signal {
        /// The node.
        node: NodeId,
        /// The incarnation meant: a late signal never hits its successor.
        incarnation: u32,
        /// What to do.
        signal: NodeSignal,
    },
    /// Kills everything, reports it, and ends.
    Shutdown,
}

/// How to start a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartNode {
    /// The node.
    pub node: NodeId,
    /// 0 at its first start in a run, one more at each restart.
    pub incarnation: u32,
    /// The program. With a `/` in it a path (relative ones from the harness's working directory),
    /// else looked up in `PATH`.
    pub program: PathBuf,
    /// Its arguments, without the program itself.
    pub args: Vec<String>,
    /// Added to the harness's environment.
    pub env: BTreeMap<String, String>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// Both output streams are appended here; created if absent.
    pub log_path: PathBuf,
}

/// What can be done to a running node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeSignal {
    /// SIGKILL to the node and all its descendants.
    Kill,
    /// SIGSTOP to the node and all its descendants.
    Stop,
    /// SIGCONT to the node and all its descendants.
    Continue,
    /// SIGTERM to the node's process group; the node may take its time.
    Terminate,
}

/// How a process ended, as the kernel tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "how")]
pub enum ExitStatus {
    /// It called exit.
    Code {
        /// Its exit code, 0 to 255.
        code: i32,
    },
    /// A signal ended it.
    Signal {
        /// The signal's number.
        signal: i32,
        /// Whether it dumped core.
        core: bool,
    },
}

/// A node has ended, and with it all its descendants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exited {
    /// The node.
    pub node: NodeId,
    /// Its incarnation.
    pub incarnation: u32,
    /// Its pid as the guardian saw it.
    pub pid: i32,
    /// How it ended.
    pub status: ExitStatus,
    /// Whether it ended as we asked: by SIGKILL after `Kill` or `Shutdown`, or anyhow after
    /// `Terminate`. An exit with a code of its own stays its own even after a `Kill` was sent,
    /// because SIGKILL leaves no process the time to exit.
    pub by_us: bool,
    /// Descendants that were still alive and were killed, with the node or after it.
    pub descendants_killed: u32,
    /// Descendants that were killed and still had not gone after [`super::supervise`]'s limit
    /// (asleep in the kernel); 0 in all but broken machines.
    pub descendants_lingering: u32,
}

/// What the guardian reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuardianEvent {
    /// It serves; always the first event.
    Ready {
        /// How strongly it holds what it starts.
        mode: Mode,
        /// Its pid as the harness sees it.
        host_pid: i32,
        /// Why it is not the stronger mode, or empty.
        note: String,
    },
    /// It cannot serve in the mode asked for, and ends. Never reaches the user of
    /// [`super::Guardian`]: spawning falls back or fails.
    Refused {
        /// What the kernel refused.
        why: String,
    },
    /// A node runs its program.
    Started {
        /// The node.
        node: NodeId,
        /// Its incarnation.
        incarnation: u32,
        /// Its pid as guardian and node see it.
        pid: i32,
        /// Its pid as the harness and people see it, where that could be learned.
        host_pid: Option<i32>,
    },
    /// A node could not be started.
    StartFailed {
        /// The node.
        node: NodeId,
        /// Its incarnation.
        incarnation: u32,
        /// What was wrong, and where.
        why: String,
    },
    /// All threads of a node's process are stopped.
    Stopped {
        /// The node.
        node: NodeId,
        /// Its incarnation.
        incarnation: u32,
        /// Its state in `/proc/<pid>/stat`: `T`.
        state: char,
        /// Whether we had asked for it.
        by_us: bool,
        /// Descendants signalled along with it.
        descendants: u32,
    },
    /// A node's process runs again (or already ran).
    Continued {
        /// The node.
        node: NodeId,
        /// Its incarnation.
        incarnation: u32,
        /// Its state in `/proc/<pid>/stat`: anything but `T`.
        state: char,
        /// Whether we had asked for it.
        by_us: bool,
    },
    /// A node has ended.
    Exited(Exited),
    /// A signal could not be sent, or had no effect.
    SignalFailed {
        /// The node.
        node: NodeId,
        /// The incarnation meant.
        incarnation: u32,
        /// What was asked.
        signal: NodeSignal,
        /// What was wrong.
        why: String,
    },
    /// The guardian did not understand a command.
    BadCommand {
        /// What was wrong with it.
        why: String,
    },
    /// Answer to `Shutdown`: the kernel says that the guardian has no child left. The last event.
    Finished {
        /// Processes killed that belonged to no node that was running.
        orphans_killed: u32,
    },
    /// The guardian ended without being asked; what it left behind was swept. The last event.
    Died {
        /// How it ended.
        why: String,
        /// Processes it left behind, killed by the sweep.
        swept: u32,
        /// Processes that could not be made to go.
        lingering: u32,
    },
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Namespace => "namespace",
            Mode::Subreaper => "subreaper",
        })
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "namespace" => Ok(Mode::Namespace),
            "subreaper" => Ok(Mode::Subreaper),
            _ => Err(format!("`{text}` is not a guardian mode; use `namespace` or `subreaper`")),
        }
    }
}

impl fmt::Display for NodeSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NodeSignal::Kill => "kill",
            NodeSignal::Stop => "stop",
            NodeSignal::Continue => "continue",
            NodeSignal::Terminate => "terminate",
        })
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ExitStatus::Code { code } => write!(f, "exit code {code}"),
            ExitStatus::Signal { signal, core } => {
                match nix::sys::signal::Signal::try_from(signal) {
                    Ok(known) => write!(f, "{known}")?,
                    Err(_) => write!(f, "signal {signal}")?,
                }
                if core { f.write_str(" (core dumped)") } else { Ok(()) }
            }
        }
    }
}
