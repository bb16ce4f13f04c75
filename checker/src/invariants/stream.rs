//! The streams of the nodes: which item may follow which, and what is missing between them.

use protocol::NodeId;
use protocol::trace::{Head, TRACE_FORMAT, TraceEvent, TraceKind};
use rustc_hash::FxHashMap;

use super::finding::Gaps;
use super::{NODES_MAX, TraceItem};

/// Stands for a node in sets of nodes: a number below [`NODES_MAX`].
pub(super) type NodeIndex = usize;

/// What became of an item.
#[derive(Default)]
pub(super) struct Accepted {
    /// The node it is about, unless there are too many.
    pub node: Option<NodeIndex>,
    /// What was known of this node's state up to here no longer holds.
    pub is_break: bool,
    /// The event, if it stands where it can be trusted.
    pub event: Option<TraceEvent>,
}

/// The state of all streams.
#[derive(Debug, Default)]
pub(super) struct Streams {
    names: Vec<NodeId>,
    indexes: FxHashMap<NodeId, NodeIndex>,
    nodes: Vec<NodeStream>,
}

#[derive(Debug, Default)]
struct NodeStream {
    /// The incarnation that the last item was about.
    incarnation: Option<u32>,
    next_seq: u64,
    /// Nothing came yet.
    is_empty: bool,
}

impl Streams {
    pub fn expecting(nodes: impl IntoIterator<Item = NodeId>) -> Streams {
        let mut streams = Streams::default();
        for node in nodes {
            streams.index(&node);
        }
        streams
    }

    /// The nodes by index.
    pub fn names(&self) -> &[NodeId] {
        &self.names
    }

    fn index(&mut self, node: &NodeId) -> Option<NodeIndex> {
        if let Some(&index) = self.indexes.get(node) {
            return Some(index);
        }
        if self.names.len() >= NODES_MAX {
            return None;
        }
        let index = self.names.len();
        self.names.push(node.clone());
        self.indexes.insert(node.clone(), index);
        self.nodes.push(NodeStream { is_empty: true, ..NodeStream::default() });
        Some(index)
    }

    pub fn accept(&mut self, item: TraceItem, gaps: &mut Gaps) -> Accepted {
        let node = match &item {
            TraceItem::Event(event) => &event.head.node,
            TraceItem::Gap { node, .. } | TraceItem::Silent { node, .. } => node,
        };
        let Some(index) = self.index(node) else {
            gaps.add(format!("{node}: more than {NODES_MAX} nodes trace, this one is not judged"));
            return Accepted::default();
        };
        let stream = &mut self.nodes[index];
        stream.is_empty = false;
        let mut accepted = Accepted { node: Some(index), ..Accepted::default() };
        match item {
            TraceItem::Gap { node, incarnation, what } => {
                if stream.incarnation.is_none_or(|current| incarnation > current) {
                    stream.enter(&node, incarnation, gaps);
                }
                gaps.add(format!("{node}, incarnation {incarnation}: {what}"));
                accepted.is_break = true;
            }
            TraceItem::Silent { node, incarnation } => {
                if stream.incarnation.is_none_or(|current| incarnation > current) {
                    stream.enter(&node, incarnation, gaps);
                } else {
                    gaps.add(format!(
                        "{node}, incarnation {incarnation}: said to be silent, but it traced"
                    ));
                }
            }
            TraceItem::Event(event) => {
                let found_before = gaps.found();
                let is_trusted = stream.follow(&event, gaps);
                accepted.is_break = gaps.found() > found_before;
                accepted.event = is_trusted.then_some(event);
            }
        }
        accepted
    }

    /// Names the nodes that said nothing.
    pub fn finish(&self, gaps: &mut Gaps) {
        for (name, stream) in self.names.iter().zip(&self.nodes) {
            if stream.is_empty {
                gaps.add(format!("{name}: no trace at all"));
            }
        }
        if self.names.is_empty() {
            gaps.add("no node traced anything".to_string());
        }
    }
}

impl NodeStream {
    /// Goes on to a later incarnation.
    fn enter(&mut self, node: &NodeId, incarnation: u32, gaps: &mut Gaps) {
        let expected = self.incarnation.map_or(0, |current| current.saturating_add(1));
        if incarnation > expected {
            gaps.add(format!(
                "{node}, incarnation {expected}: no trace, the next one is of incarnation \
                 {incarnation}"
            ));
        }
        self.incarnation = Some(incarnation);
        self.next_seq = 0;
    }

    /// Whether the event can be trusted to stand where it does; adds what is missing before it.
    fn follow(&mut self, event: &TraceEvent, gaps: &mut Gaps) -> bool {
        let Head { v, node, inc, seq, .. } = &event.head;
        let mut gap = |what: String| gaps.add(format!("{node}, incarnation {inc}: {what}"));
        if *v != TRACE_FORMAT {
            gap(format!("event {seq} has trace format {v}, but {TRACE_FORMAT} is the one known"));
            return false;
        }
        match self.incarnation {
            Some(current) if *inc < current => {
                gap(format!("event {seq} comes after events of incarnation {current}"));
                return false;
            }
            Some(current) if *inc == current => {}
            _ => {
                self.enter(node, *inc, gaps);
            }
        }
        let mut gap = |what: String| gaps.add(format!("{node}, incarnation {inc}: {what}"));
        if *seq < self.next_seq {
            gap(format!("event {seq} comes again, {} is the next", self.next_seq));
            return false;
        }
        let is_start = matches!(event.kind, TraceKind::Start(_));
        if *seq > self.next_seq {
            gap(format!("events {} to {} are missing", self.next_seq, seq - 1));
        } else if *seq == 0 && !is_start {
            gap("its first event is not `start`".to_string());
        }
        self.next_seq = seq.saturating_add(1);
        if is_start && *seq > 0 {
            gap(format!("event {seq} is a `start` in the middle"));
            return false;
        }
        true
    }
}
