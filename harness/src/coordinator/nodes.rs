//! The nodes: which incarnation runs, what holds it down or stopped, and how it sees itself.

use std::collections::BTreeSet;

use protocol::NodeId;
use protocol::message::Status;

use super::event::{Action, Nanos, Report};
use crate::guardian::NodeSignal;
use crate::nemesis::NodeView;
use crate::net::FaultId;

/// All nodes, in order.
pub struct Nodes {
    nodes: Vec<Node>,
}

/// One node.
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// The incarnation that runs, or ran last.
    pub incarnation: u32,
    /// What its process does.
    pub process: Process,
    /// Stopped by a signal, as the kernel confirmed.
    pub paused: bool,
    /// Faults that hold it down.
    pub killed_by: BTreeSet<FaultId>,
    /// Faults that hold its present incarnation stopped.
    pub paused_by: BTreeSet<FaultId>,
    /// What it last said of itself, in this incarnation.
    pub report: Report,
    /// Whether the process that runs now has been told to end.
    told_to_end: bool,
    /// Faults that killed the process that runs now: its end is their evidence, even if they are
    /// healed before the kernel is done with it.
    struck_by: BTreeSet<FaultId>,
    /// Faults that asked for a stop that nobody has confirmed yet.
    stops_asked: BTreeSet<FaultId>,
    /// It was told to go on, which nobody has confirmed yet.
    continuing: bool,
    /// Whether it is never started again.
    stays_down: bool,
}

/// What a node's process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// There is none.
    None,
    /// Asked for.
    Starting,
    /// It runs (or is stopped).
    Running,
}

impl Nodes {
    /// Nodes that have never been started.
    pub fn new(ids: &[NodeId]) -> Self {
        let nodes = ids
            .iter()
            .map(|id| Node {
                id: id.clone(),
                incarnation: 0,
                process: Process::None,
                paused: false,
                killed_by: BTreeSet::new(),
                paused_by: BTreeSet::new(),
                report: Report::Silent,
                told_to_end: false,
                struck_by: BTreeSet::new(),
                stops_asked: BTreeSet::new(),
                continuing: false,
                stays_down: false,
            })
            .collect();
        Nodes { nodes }
    }

    /// All nodes, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    fn get_mut(&mut self, id: &NodeId) -> Option<&mut Node> {
        self.nodes.iter_mut().find(|node| node.id == *id)
    }

    /// The node, if this is the incarnation it is in.
    fn present(&mut self, id: &NodeId, incarnation: u32) -> Option<&mut Node> {
        self.get_mut(id).filter(|node| node.incarnation == incarnation)
    }

    /// What faults may see.
    pub fn view(&self) -> Vec<NodeView> {
        self.nodes
            .iter()
            .map(|node| NodeView {
                id: node.id.clone(),
                up: node.process == Process::Running && !node.told_to_end,
                paused: node.paused || !node.paused_by.is_empty(),
            })
            .collect()
    }

    /// The node that says it leads, of the highest term if several do.
    pub fn leader(&self) -> Option<usize> {
        (0..self.nodes.len())
            .filter(|&at| self.nodes[at].process == Process::Running)
            .filter_map(|at| match &self.nodes[at].report {
                Report::Status(status) if status.role == "leader" => Some((status.term, at)),
                _ => None,
            })
            .max()
            .map(|(_, at)| at)
    }

    /// What each node says of itself.
    pub fn statuses(&self) -> impl Iterator<Item = (&Node, &Status)> {
        self.nodes.iter().filter_map(|node| match &node.report {
            Report::Status(status) => Some((node, status)),
            _ => None,
        })
    }

    /// Starts every node that is not there and not held down, also one that ended by itself.
    pub fn start_missing(&mut self, out: &mut Vec<Action>) {
        for node in &mut self.nodes {
            node.start_if_free(out);
        }
    }

    /// Starts this node if it is not there and not held down.
    pub fn start_if_free(&mut self, id: &NodeId, out: &mut Vec<Action>) {
        if let Some(node) = self.get_mut(id) {
            node.start_if_free(out);
        }
    }

    /// This node is never started again.
    pub fn stay_down(&mut self, id: &NodeId) {
        if let Some(node) = self.get_mut(id) {
            node.stays_down = true;
        }
    }

    /// A process runs.
    pub fn started(&mut self, id: &NodeId, incarnation: u32) {
        if let Some(node) = self.present(id, incarnation)
            && node.process == Process::Starting
        {
            node.process = Process::Running;
        }
    }

    /// A process was seen stopped. Returns the faults that had asked for it and had no answer.
    pub fn stopped(&mut self, id: &NodeId, incarnation: u32) -> BTreeSet<FaultId> {
        let Some(node) = self.present(id, incarnation) else { return BTreeSet::new() };
        node.paused = true;
        std::mem::take(&mut node.stops_asked)
    }

    /// A process was seen running again. A stop overtaken by this never shows.
    pub fn continued(&mut self, id: &NodeId, incarnation: u32) {
        if let Some(node) = self.present(id, incarnation) {
            node.paused = false;
            node.continuing = false;
            node.stops_asked.clear();
        }
    }

    /// A process is gone; the next start is the next incarnation. Returns the faults that killed
    /// it, or nothing if it was not the one thought to be there.
    pub fn exited(&mut self, id: &NodeId, incarnation: u32) -> Option<BTreeSet<FaultId>> {
        let node = self.present(id, incarnation)?;
        if node.process == Process::None {
            return None;
        }
        node.process = Process::None;
        node.incarnation += 1;
        node.paused = false;
        node.paused_by.clear();
        node.report = Report::Silent;
        node.told_to_end = false;
        node.stops_asked.clear();
        node.continuing = false;
        Some(std::mem::take(&mut node.struck_by))
    }

    /// A node said what it thinks of itself. Returns whether it was the process that runs.
    pub fn polled(&mut self, id: &NodeId, incarnation: u32, report: &Report) -> bool {
        let node = self.present(id, incarnation).filter(|node| node.process == Process::Running);
        let is_present = node.is_some();
        if let Some(node) = node {
            node.report = report.clone();
        }
        is_present
    }

    /// Kills a node and holds it down for a fault.
    pub fn kill(&mut self, id: &NodeId, fault: FaultId, out: &mut Vec<Action>) {
        let Some(node) = self.get_mut(id) else { return };
        node.killed_by.insert(fault);
        if node.signal(NodeSignal::Kill, out) {
            node.struck_by.insert(fault);
        }
    }

    /// Stops a node for a fault, if it runs.
    pub fn pause(&mut self, id: &NodeId, fault: FaultId, out: &mut Vec<Action>) {
        let Some(node) = self.get_mut(id) else { return };
        if node.process == Process::Running && node.signal(NodeSignal::Stop, out) {
            node.paused_by.insert(fault);
            node.stops_asked.insert(fault);
        }
    }

    /// Ends a fault's hold on all nodes: those that nothing else stops go on, those that nothing
    /// else holds down are started. Returns which, in this order.
    pub fn release(&mut self, fault: FaultId, out: &mut Vec<Action>) -> (Vec<NodeId>, Vec<NodeId>) {
        let mut continued = Vec::new();
        let mut started = Vec::new();
        for node in &mut self.nodes {
            if node.paused_by.remove(&fault) && node.paused_by.is_empty() && node.go_on(out) {
                continued.push(node.id.clone());
            }
            // One whose process has not quite gone is started when it has.
            if node.killed_by.remove(&fault) && node.start_if_free(out) {
                started.push(node.id.clone());
            }
        }
        (continued, started)
    }

    /// Lets every stopped node go on, whoever stopped it.
    pub fn continue_all(&mut self, out: &mut Vec<Action>) {
        for node in self.nodes.iter_mut().filter(|node| node.paused && !node.continuing) {
            node.go_on(out);
        }
    }

    /// Asks every process to end.
    pub fn stop_all(&mut self, signal: NodeSignal, out: &mut Vec<Action>) {
        for node in &mut self.nodes {
            node.signal(signal, out);
        }
    }

    /// What each process is still about to do, in words: to start, to end, to go on. Empty once
    /// all is as it was asked for.
    pub fn unsettled(&self) -> Vec<String> {
        let word = |node: &Node| match node.process {
            Process::None => None,
            _ if node.told_to_end => Some(format!("{} has not ended", node.id)),
            Process::Starting => Some(format!("{} has not started", node.id)),
            Process::Running if node.paused || node.continuing => {
                Some(format!("{} does not go on after SIGCONT", node.id))
            }
            Process::Running => None,
        };
        self.nodes.iter().filter_map(word).collect()
    }

    /// Whether no node has a process.
    pub fn none_left(&self) -> bool {
        self.nodes.iter().all(|node| node.process == Process::None)
    }
}

impl Node {
    /// Starts it if it is not there and not held down; returns whether.
    fn start_if_free(&mut self, out: &mut Vec<Action>) -> bool {
        let is_free =
            self.process == Process::None && self.killed_by.is_empty() && !self.stays_down;
        if is_free {
            self.process = Process::Starting;
            out.push(Action::Start { node: self.id.clone(), incarnation: self.incarnation });
        }
        is_free
    }

    /// Lets it go on, unless it is about to end anyway; returns whether.
    fn go_on(&mut self, out: &mut Vec<Action>) -> bool {
        let goes_on = !self.told_to_end && self.signal(NodeSignal::Continue, out);
        self.continuing |= goes_on;
        goes_on
    }

    /// Signals its process; returns whether there is one.
    fn signal(&mut self, signal: NodeSignal, out: &mut Vec<Action>) -> bool {
        if self.process == Process::None {
            return false;
        }
        if matches!(signal, NodeSignal::Kill | NodeSignal::Terminate) {
            self.told_to_end = true;
        }
        out.push(Action::Signal { node: self.id.clone(), incarnation: self.incarnation, signal });
        true
    }
}

/// The highest commit index that any node is known to have reached.
pub fn highest_commit(nodes: &Nodes) -> u64 {
    nodes.statuses().map(|(_, status)| status.commit).max().unwrap_or(0)
}

/// Milliseconds as nanoseconds.
pub fn ms(milliseconds: u64) -> Nanos {
    milliseconds * 1_000_000
}
