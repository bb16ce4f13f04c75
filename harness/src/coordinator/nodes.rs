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
                stays_down: false,
            })
            .collect();
        Nodes { nodes }
    }

    /// All nodes, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    /// The node of this name.
    pub fn get(&self, id: &NodeId) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == *id)
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

    /// Starts every node that is not there and not held down. Returns which.
    pub fn start_missing(&mut self, out: &mut Vec<Action>) -> Vec<NodeId> {
        let mut started = Vec::new();
        for node in &mut self.nodes {
            let is_wanted = node.killed_by.is_empty() && !node.stays_down;
            if node.process == Process::None && is_wanted {
                node.process = Process::Starting;
                out.push(Action::Start { node: node.id.clone(), incarnation: node.incarnation });
                started.push(node.id.clone());
            }
        }
        started
    }

    /// This node is never started again.
    pub fn stay_down(&mut self, id: &NodeId) {
        if let Some(node) = self.get_mut(id) {
            node.stays_down = true;
        }
    }

    /// A process runs.
    pub fn started(&mut self, id: &NodeId, incarnation: u32) {
        if let Some(node) = self.present(id, incarnation) {
            node.process = Process::Running;
        }
    }

    /// A process was seen stopped, or running again.
    pub fn set_paused(&mut self, id: &NodeId, incarnation: u32, paused: bool) {
        if let Some(node) = self.present(id, incarnation) {
            node.paused = paused;
        }
    }

    /// A process is gone; the next start is the next incarnation. Returns whether it was the one
    /// thought to be running.
    pub fn exited(&mut self, id: &NodeId, incarnation: u32) -> bool {
        let Some(node) = self.present(id, incarnation) else { return false };
        node.process = Process::None;
        node.incarnation += 1;
        node.paused = false;
        node.paused_by.clear();
        node.report = Report::Silent;
        node.told_to_end = false;
        true
    }

    /// A node said what it thinks of itself.
    pub fn polled(&mut self, id: &NodeId, incarnation: u32, report: Report) {
        if let Some(node) = self.present(id, incarnation)
            && node.process == Process::Running
        {
            node.report = report;
        }
    }

    /// Kills a node and holds it down for a fault. Returns whether there was a process to kill.
    pub fn kill(&mut self, id: &NodeId, fault: FaultId, out: &mut Vec<Action>) -> bool {
        let Some(node) = self.get_mut(id) else { return false };
        node.killed_by.insert(fault);
        node.signal(NodeSignal::Kill, out)
    }

    /// Stops a node for a fault. Returns whether there was a process to stop.
    pub fn pause(&mut self, id: &NodeId, fault: FaultId, out: &mut Vec<Action>) -> bool {
        let Some(node) = self.get_mut(id) else { return false };
        if node.process != Process::Running {
            return false;
        }
        node.paused_by.insert(fault);
        node.signal(NodeSignal::Stop, out)
    }

    /// Ends a fault's hold on all nodes: those that nothing else stops go on, those that nothing
    /// else holds down are started. Returns which, in this order.
    pub fn release(&mut self, fault: FaultId, out: &mut Vec<Action>) -> (Vec<NodeId>, Vec<NodeId>) {
        let mut continued = Vec::new();
        for node in &mut self.nodes {
            if node.paused_by.remove(&fault)
                && node.paused_by.is_empty()
                && node.signal(NodeSignal::Continue, out)
            {
                continued.push(node.id.clone());
            }
        }
        let mut held = false;
        for node in &mut self.nodes {
            held |= node.killed_by.remove(&fault);
        }
        // Nodes whose process has not quite gone are started when it has.
        let started = if held { self.start_missing(out) } else { Vec::new() };
        (continued, started)
    }

    /// Asks every process to end.
    pub fn stop_all(&mut self, signal: NodeSignal, out: &mut Vec<Action>) {
        for node in &mut self.nodes {
            node.signal(signal, out);
        }
    }

    /// Whether no process is about to start or to end.
    pub fn are_settled(&self) -> bool {
        self.nodes.iter().all(|node| node.process != Process::Starting && !node.told_to_end)
    }

    /// Whether no node has a process.
    pub fn none_left(&self) -> bool {
        self.nodes.iter().all(|node| node.process == Process::None)
    }
}

impl Node {
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
