//! Leader Completeness: an entry that was committed is in the log of every later leader.
//!
//! Source: "In Search of an Understandable Raft Consensus Algorithm" (extended version, 2014), Figure 3
//! and section 5.4. An entry of term T is committed here once a majority of the voters has it
//! durable in `synced` events whose own term is T; those before it in the log go with it. No
//! node's commit index is believed. That an old term's entry lies on a majority does not commit
//! it (Figure 8 of the paper), which is why the event's term must be the entry's.
//!
//! The order of events of different nodes is not needed: a node that had the entry durable in term
//! T had it before it voted in any later term, so every majority that elects a later leader has a
//! member that refuses candidates without it.
//!
//! False alarms: a leader is said to lack an entry only if its own `leader` event says so (its log
//! ends too early, or in too early a term), or if its whole trace up to there has no gap and the
//! reconstructed log agrees with what the event says. Where the part of a log that was compacted
//! away matters and no other trace shows it, the outcome is unknown.

use std::collections::{BTreeMap, BTreeSet};

use protocol::NodeId;
use protocol::trace::{Leader, TraceEvent, TraceKind};

use super::entry_table::{Ancestry, EntryId, EntryTable, Held, Parent};
use super::finding::{Gaps, Outcome, Witness, list};
use super::node_log::{LogView, NodeLog};
use super::stream::NodeIndex;
use super::{NODES_MAX, REMEMBERED_MAX};

/// Most configurations that are remembered.
const CONFIGURATIONS_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct LeaderCompleteness {
    table: EntryTable,
    nodes: BTreeMap<NodeIndex, NodeState>,
    leaders: Vec<Elected>,
    configurations: BTreeSet<BTreeSet<NodeId>>,
    gaps: Gaps,
    has_synced: bool,
}

#[derive(Debug, Default)]
struct NodeState {
    /// `None` while it cannot be told.
    log: Option<NodeLog>,
    /// What its events said of durable entries, in order.
    durable: Vec<DurableRange>,
    /// Durable entries that a restart did not find again.
    lost: Vec<Lost>,
}

/// Entries of one term that became durable with one event.
#[derive(Clone, Copy, Debug)]
struct DurableRange {
    term: u64,
    from_idx: u64,
    to_idx: u64,
    incarnation: u32,
    seq: u64,
}

#[derive(Clone, Copy, Debug)]
struct Lost {
    incarnation: u32,
    from_idx: u64,
    to_idx: u64,
}

/// A leader at its election.
#[derive(Debug)]
struct Elected {
    node: NodeIndex,
    incarnation: u32,
    seq: u64,
    term: u64,
    last: u64,
    last_term: u64,
    granted_by: Vec<NodeId>,
    log: KnownLog,
}

#[derive(Debug)]
enum KnownLog {
    /// The trace tells it, and the event agrees.
    Is(LogView),
    /// A gap hides it; only what the event itself says is known.
    Hidden,
    /// Trace and event contradict each other.
    Contradicted,
}

/// Whether a leader holds an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Yes,
    No,
    Unknown,
}

impl LeaderCompleteness {
    /// The log of `node` is not known any more.
    pub fn break_off(&mut self, node: NodeIndex) {
        if let Some(state) = self.nodes.get_mut(&node) {
            state.log = None;
        }
    }

    pub fn push(&mut self, node: NodeIndex, event: &TraceEvent) {
        let state = self.nodes.entry(node).or_default();
        let table = &mut self.table;
        let mut configuration = None;
        let followed = match (&event.kind, &mut state.log) {
            (TraceKind::Start(start), before) => {
                configuration = Some(&start.cfg);
                let before = before.take();
                NodeLog::from_start(start, before.as_ref(), table).map(|log| {
                    if let Some(before) = before {
                        state.lost.extend(lost(&before, &log, event.head.inc));
                    }
                    state.log = Some(log);
                })
            }
            (TraceKind::Append(append), Some(log)) => log.append(append, table),
            (TraceKind::Trunc(trunc), Some(log)) => log.truncate(trunc.from_idx),
            (TraceKind::Snap(snap), Some(log)) if snap.op == "install" => {
                log.install(snap, table);
                Ok(())
            }
            (TraceKind::Synced(synced), log) => {
                self.has_synced = true;
                match log {
                    Some(log) => log.synced(synced.idx).map(|()| {
                        let range = mark_durable(log, synced.idx, node, event, table);
                        state.durable.extend(range);
                    }),
                    None => Ok(()),
                }
            }
            (TraceKind::Cfg(cfg), _) => {
                configuration = Some(&cfg.voters);
                add_configuration(&mut self.configurations, &cfg.voters_old, &mut self.gaps);
                Ok(())
            }
            (TraceKind::Leader(leader), log) => {
                let elected = elected(node, leader, event, log.as_ref(), table);
                if self.leaders.len() < REMEMBERED_MAX {
                    self.leaders.push(elected);
                } else {
                    self.gaps.add("there are too many elections to remember".to_string());
                }
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(contradiction) = followed {
            let head = &event.head;
            let (name, inc, seq) = (&head.node, head.inc, head.seq);
            self.gaps.add(format!("{name}, incarnation {inc}, event {seq}: {contradiction}"));
            state.log = None;
        }
        if let Some(voters) = configuration {
            add_configuration(&mut self.configurations, voters, &mut self.gaps);
        }
    }

    pub fn finish(mut self, names: &[NodeId], gaps: &Gaps) -> Outcome {
        let quorums = self.quorums(names);
        let ancestry = self.table.ancestry();
        let committed = Committed::new(&self.table, &ancestry, &quorums);
        self.leaders.sort_by(|a, b| {
            let key = |leader: &Elected| (leader.term, leader.incarnation, leader.seq);
            (key(a), &names[a.node]).cmp(&(key(b), &names[b.node]))
        });
        let mut unknown = Gaps::default();
        for leader in &self.leaders {
            for id in committed.heads_before(leader.term) {
                let idx = self.table.get(id).idx;
                match self.holds(&ancestry, leader, id) {
                    Holds::Yes => {
                        if committed.reaches_all_before(id) {
                            break;
                        }
                    }
                    Holds::No => return self.violation(leader, id, names),
                    Holds::Unknown => unknown.add(format!(
                        "{}, incarnation {}, event {}: cannot tell whether this leader of term {} \
                         holds the committed entry {idx}",
                        names[leader.node], leader.incarnation, leader.seq, leader.term
                    )),
                }
            }
        }
        let mut gaps = gaps.clone();
        gaps.extend(&self.gaps);
        gaps.extend(&unknown);
        if !self.has_synced {
            gaps.add("no `synced` event was traced: nothing is known to be durable".to_string());
        }
        if self.configurations.is_empty() {
            gaps.add("no event names the voters".to_string());
        }
        for voter in self.configurations.iter().flatten() {
            if !names.contains(voter) {
                gaps.add(format!("{voter}: a voter without a trace"));
            }
        }
        gaps.into_outcome()
    }

    /// For each configuration its voters as bits, and how many of them are a majority.
    fn quorums(&self, names: &[NodeId]) -> Vec<(u64, usize)> {
        let bit = |voter: &NodeId| names.iter().position(|name| name == voter).map(|at| 1 << at);
        self.configurations
            .iter()
            .map(|voters| {
                let set = voters.iter().filter_map(bit).fold(0, |set, bit: u64| set | bit);
                (set, voters.len() / 2 + 1)
            })
            .collect()
    }

    fn holds(&self, ancestry: &Ancestry<'_>, leader: &Elected, id: EntryId) -> Holds {
        let entry = self.table.get(id);
        let view = match &leader.log {
            KnownLog::Is(view) => view,
            KnownLog::Contradicted => return Holds::Unknown,
            // Terms never decrease along a log, so its last one bounds those before.
            KnownLog::Hidden => {
                let ends_before = leader.last < entry.idx || leader.last_term < entry.term;
                let is_other = leader.last == entry.idx && leader.last_term != entry.term;
                return if ends_before || is_other { Holds::No } else { Holds::Unknown };
            }
        };
        if view.last < entry.idx {
            return Holds::No;
        }
        let from = match (view.tip, view.first) {
            (Some(tip), _) if entry.idx > view.base.idx => Parent::Entry(tip),
            (_, Some(first)) if view.base.entry == Parent::Unknown => self.table.get(first).parent,
            _ => view.base.entry,
        };
        if let Parent::Entry(from) = from
            && let Held::Entry(held) = ancestry.at(from, entry.idx)
        {
            return if held == id { Holds::Yes } else { Holds::No };
        }
        if entry.idx > view.base.idx {
            return Holds::Unknown;
        }
        // The entry lies where the leader's log was compacted away.
        match view.base.term {
            Some(term) if term < entry.term => Holds::No,
            Some(term) if entry.idx == view.base.idx && term == entry.term => Holds::Yes,
            Some(_) if entry.idx == view.base.idx => Holds::No,
            _ => Holds::Unknown,
        }
    }

    fn violation(&self, leader: &Elected, id: EntryId, names: &[NodeId]) -> Outcome {
        let entry = self.table.get(id);
        let (idx, term) = (entry.idx, entry.term);
        let name = &names[leader.node];
        let mut events = vec![Witness {
            node: name.clone(),
            incarnation: leader.incarnation,
            seq: leader.seq,
            term: leader.term,
            what: format!(
                "leads term {}, granted by {}; its log ends at index {} (term {}) and lacks \
                 index {idx} of term {term}",
                leader.term,
                list(&leader.granted_by),
                leader.last,
                leader.last_term
            ),
        }];
        let mut holders = Vec::new();
        for (&node, state) in &self.nodes {
            let covers = |range: &&DurableRange| {
                range.term == term && (range.from_idx..=range.to_idx).contains(&idx)
            };
            if entry.durable & (1 << node) == 0 {
                continue;
            }
            holders.push(&names[node]);
            let Some(range) = state.durable.iter().find(covers) else { continue };
            let lost = state.lost.iter().find(|lost| {
                lost.incarnation > range.incarnation && (lost.from_idx..=lost.to_idx).contains(&idx)
            });
            let lost = lost.map_or(String::new(), |lost| {
                format!("; its incarnation {} did not find it again", lost.incarnation)
            });
            events.push(Witness {
                node: names[node].clone(),
                incarnation: range.incarnation,
                seq: range.seq,
                term,
                what: format!(
                    "has index {idx} of term {term} (chain hash {}) durable in that term{lost}",
                    entry.ch
                ),
            });
        }
        events[1..].sort();
        holders.sort();
        let why = format!(
            "the entry at index {idx} was committed in term {term} (durable on {}), but {name}, \
             leader of term {}, does not hold it",
            list(holders),
            leader.term
        );
        Outcome::Violation { why, events }
    }
}

fn add_configuration(
    configurations: &mut BTreeSet<BTreeSet<NodeId>>,
    voters: &[NodeId],
    gaps: &mut Gaps,
) {
    let voters: BTreeSet<NodeId> = voters.iter().cloned().collect();
    // Nobody is the voter of nothing: an empty list says that the voters are not known.
    if voters.is_empty() || configurations.contains(&voters) {
        return;
    }
    if configurations.len() >= CONFIGURATIONS_MAX || voters.len() > NODES_MAX {
        gaps.add("there are too many configurations or voters to remember".to_string());
        return;
    }
    configurations.insert(voters);
}

/// Marks the entries of the event's own term up to `idx`; what is new of them.
fn mark_durable(
    log: &NodeLog,
    idx: u64,
    node: NodeIndex,
    event: &TraceEvent,
    table: &mut EntryTable,
) -> Option<DurableRange> {
    let term = event.head.term;
    let mut fresh: Option<(u64, u64)> = None;
    let mut at = idx;
    // Terms do not decrease along a log, so those of the current term lie together at its end;
    // and below one that is marked all are marked.
    while let Some(id) = log.at(at)
        && table.get(id).term == term
        && table.mark_durable(id, node)
    {
        fresh = Some((at, fresh.map_or(at, |(_, to)| to)));
        at -= 1;
    }
    let (from_idx, to_idx) = fresh?;
    let (incarnation, seq) = (event.head.inc, event.head.seq);
    Some(DurableRange { term, from_idx, to_idx, incarnation, seq })
}

/// Durable entries of the last incarnation that are gone or others in this one.
fn lost(before: &NodeLog, now: &NodeLog, incarnation: u32) -> Option<Lost> {
    let to_idx = before.durable_to();
    let mut from_idx = before.base_idx().max(now.base_idx()).checked_add(1)?;
    while from_idx <= to_idx {
        let (was, is) = (before.at(from_idx), now.at(from_idx));
        if was.is_some() && was != is {
            return Some(Lost { incarnation, from_idx, to_idx });
        }
        from_idx = from_idx.checked_add(1)?;
    }
    None
}

fn elected(
    node: NodeIndex,
    leader: &Leader,
    event: &TraceEvent,
    log: Option<&NodeLog>,
    table: &EntryTable,
) -> Elected {
    let term = event.head.term;
    let log = log.map_or(KnownLog::Hidden, |log| {
        // The event is about the log before entries of the new term; they may be there already.
        let view = log.view(|id| table.get(id).term != term);
        let last_term = match view.tip {
            Some(tip) => Some(table.get(tip).term),
            None if view.base.idx == 0 => Some(0),
            None => view.base.term,
        };
        let agrees =
            leader.last == view.last && last_term.is_none_or(|known| leader.last_term == known);
        let agrees_with_own =
            log.last() > view.last && leader.last == log.last() && leader.last_term == term;
        if agrees || agrees_with_own { KnownLog::Is(view) } else { KnownLog::Contradicted }
    });
    Elected {
        node,
        incarnation: event.head.inc,
        seq: event.head.seq,
        term,
        last: leader.last,
        last_term: leader.last_term,
        granted_by: leader.granted_by.iter().take(NODES_MAX).cloned().collect(),
        log,
    }
}

/// The committed entries.
struct Committed {
    /// By term, those that no other committed entry of the term comes after; one, unless the
    /// term had two leaders.
    heads: BTreeMap<u64, Vec<EntryId>>,
    /// Heads whose log holds all committed entries of earlier terms.
    complete: BTreeSet<EntryId>,
}

impl Committed {
    fn new(table: &EntryTable, ancestry: &Ancestry<'_>, quorums: &[(u64, usize)]) -> Committed {
        let is_quorum = |durable: u64| {
            !quorums.is_empty()
                && quorums
                    .iter()
                    .all(|&(voters, majority)| (durable & voters).count_ones() as usize >= majority)
        };
        let mut by_term: BTreeMap<u64, Vec<EntryId>> = BTreeMap::new();
        for (id, entry) in table.entries() {
            if is_quorum(entry.durable) {
                by_term.entry(entry.term).or_default().push(id);
            }
        }
        let mut heads = BTreeMap::new();
        for (term, mut ids) in by_term {
            ids.sort_by_key(|&id| (std::cmp::Reverse(table.get(id).idx), table.get(id).ch));
            let mut covered: BTreeSet<EntryId> = BTreeSet::new();
            let mut tops = Vec::new();
            for id in ids {
                if covered.contains(&id) {
                    continue;
                }
                tops.push(id);
                let mut below = id;
                while covered.insert(below)
                    && let Parent::Entry(parent) = table.get(below).parent
                    && table.get(parent).term == term
                {
                    below = parent;
                }
            }
            heads.insert(term, tops);
        }
        let mut complete = BTreeSet::new();
        let mut before: Option<&Vec<EntryId>> = None;
        for tops in heads.values() {
            if let [head] = tops.as_slice() {
                let reaches = |last: &EntryId| {
                    complete.contains(last)
                        && table.get(*last).idx <= table.get(*head).idx
                        && ancestry.at(*head, table.get(*last).idx) == Held::Entry(*last)
                };
                if before.is_none_or(|before| matches!(before.as_slice(), [last] if reaches(last)))
                {
                    complete.insert(*head);
                }
            }
            before = Some(tops);
        }
        Committed { heads, complete }
    }

    /// The heads of all terms before this one, latest first.
    fn heads_before(&self, term: u64) -> impl Iterator<Item = EntryId> {
        self.heads.range(..term).rev().flat_map(|(_, heads)| heads.iter().copied())
    }

    /// Whether who holds this entry holds everything committed before it.
    fn reaches_all_before(&self, id: EntryId) -> bool {
        self.complete.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Nodes, outcome};
    use super::super::{Invariant::LeaderCompleteness, Outcome};

    fn judge(nodes: &Nodes) -> Outcome {
        outcome(nodes, LeaderCompleteness)
    }

    fn why(nodes: &Nodes) -> String {
        match judge(nodes) {
            Outcome::Violation { why, .. } => why,
            other => panic!("{other:?}"),
        }
    }

    /// In term 1, n1 leads and has two entries durable on itself and on n2.
    fn committed() -> Nodes {
        let mut nodes = Nodes::new(3);
        nodes.start_all();
        nodes.leader(1, 1).append(1, 1, &[1, 1]).synced(1, 1);
        nodes.append(2, 1, &[1, 1]).synced(2, 1);
        nodes
    }

    #[test]
    fn a_leader_that_holds_what_was_committed_is_valid() {
        let mut nodes = committed();
        nodes.append(3, 1, &[1, 1]).leader(3, 2).append(3, 2, &[2]).synced(3, 2);
        assert_eq!(judge(&nodes), Outcome::Valid);
    }

    #[test]
    fn a_leader_without_a_committed_entry_is_a_violation() {
        let mut nodes = committed();
        nodes.append(3, 1, &[1]).leader(3, 2);
        assert_eq!(
            why(&nodes),
            "the entry at index 2 was committed in term 1 (durable on n1 and n2), but n3, leader \
             of term 2, does not hold it"
        );
        let Outcome::Violation { events, .. } = judge(&nodes) else { panic!() };
        assert_eq!(events.len(), 3, "the leader and two holders: {events:?}");
    }

    #[test]
    fn a_leader_with_another_entry_at_the_index_is_a_violation() {
        let mut nodes = committed();
        nodes.append(3, 2, &[2, 2]).leader(3, 3);
        assert!(why(&nodes).contains("n3, leader of term 3"));
        // Also when its entry has the same term and only the hash tells them apart.
        let mut nodes = committed();
        nodes.payload(9).append(3, 1, &[1, 1]).leader(3, 2);
        assert!(why(&nodes).contains("n3, leader of term 2"));
    }

    #[test]
    fn an_entry_on_a_minority_or_not_durable_is_not_committed() {
        let mut nodes = Nodes::new(3);
        nodes.start_all();
        nodes.leader(1, 1).append(1, 1, &[1]).synced(1, 1).append(2, 1, &[1]).leader(3, 2);
        assert_eq!(judge(&nodes), Outcome::Valid);
    }

    #[test]
    fn an_old_entry_on_a_majority_is_not_committed_until_a_new_one_is() {
        // Figure 8: n1 gets its entry of term 1 onto a majority only in term 3.
        let figure_8 = || {
            let mut nodes = Nodes::new(3);
            nodes.start_all();
            nodes.leader(1, 1).append(1, 1, &[1]).synced(1, 1);
            nodes.leader(3, 2).append(3, 2, &[2]).synced(3, 2);
            nodes.leader(1, 3).append(2, 3, &[1]).synced(2, 3).synced(1, 3);
            nodes
        };
        let mut nodes = figure_8();
        nodes.leader(3, 4);
        assert_eq!(judge(&nodes), Outcome::Valid);
        // With an entry of term 3 after it, it is committed.
        let mut nodes = figure_8();
        nodes.append(1, 3, &[3]).synced(1, 3).append(2, 3, &[3]).synced(2, 3).leader(3, 4);
        assert!(why(&nodes).contains("index 2 was committed in term 3"));
    }

    #[test]
    fn a_truncation_loses_entries_and_so_does_overwriting() {
        let mut nodes = committed();
        nodes.trunc(2, 2, 2).leader(2, 2);
        assert!(why(&nodes).contains("n2, leader of term 2"));
        let mut nodes = committed();
        nodes.overwrite(2, 1, 1, &[1]).leader(2, 2);
        assert!(why(&nodes).contains("n2, leader of term 2"));
    }

    #[test]
    fn a_restart_that_loses_durable_entries_says_so() {
        let mut nodes = committed();
        nodes.lose(2, 2).restart(2).leader(2, 2);
        let Outcome::Violation { events, .. } = judge(&nodes) else { panic!() };
        assert!(
            events.iter().any(|event| event.what.contains("incarnation 1 did not find it again")),
            "{events:?}"
        );
        let mut nodes = committed();
        nodes.restart(2).leader(2, 2);
        assert_eq!(judge(&nodes), Outcome::Valid);
    }

    #[test]
    fn a_gap_hides_a_log_but_not_what_the_leader_itself_says() {
        let mut nodes = committed();
        nodes.append(3, 1, &[1, 1]);
        nodes.skip_seq(3);
        nodes.leader(3, 2);
        assert!(matches!(judge(&nodes), Outcome::Unknown { .. }));
        let mut nodes = committed();
        nodes.skip_seq(3);
        nodes.leader(3, 2);
        assert!(matches!(judge(&nodes), Outcome::Violation { .. }));
        // What the log was before the gap accuses nobody after it.
        let mut nodes = committed();
        nodes.payload(9).append(3, 1, &[1, 1]).payload(0).overwrite(3, 1, 1, &[1, 1]);
        nodes.nodes[2].items.pop();
        nodes.leader(3, 2);
        assert!(matches!(judge(&nodes), Outcome::Unknown { .. }));
        // A restart shows the whole log again, but what happened in the gap stays unknown.
        let mut nodes = committed();
        nodes.skip_seq(2);
        nodes.synced(2, 1).restart(2).leader(2, 2);
        assert!(matches!(judge(&nodes), Outcome::Unknown { .. }));
    }

    #[test]
    fn a_trace_that_contradicts_itself_accuses_nobody() {
        let mut nodes = committed();
        nodes.append(3, 1, &[1, 1]).forget(3, 1).leader(3, 2);
        assert!(matches!(judge(&nodes), Outcome::Unknown { .. }));
    }

    #[test]
    fn compacted_entries_are_found_in_other_traces() {
        let mut nodes = committed();
        nodes.append(3, 1, &[1, 1, 1]).compact(3, 2).restart(3).leader(3, 2);
        assert_eq!(judge(&nodes), Outcome::Valid);
        // A snapshot of an earlier term cannot cover a later entry.
        let mut nodes = committed();
        nodes.payload(5).append(3, 1, &[0, 0]).compact(3, 2).restart(3).leader(3, 2);
        assert!(why(&nodes).contains("n3, leader of term 2"));
    }

    #[test]
    fn without_voters_or_durability_nothing_is_known() {
        let mut nodes = Nodes::new(3);
        nodes.without_voters().start_all();
        nodes.leader(1, 1).append(1, 1, &[1]).synced(1, 1);
        assert!(matches!(judge(&nodes), Outcome::Unknown { .. }));
        let mut nodes = Nodes::new(3);
        nodes.start_all().leader(1, 1);
        assert!(matches!(judge(&nodes), Outcome::Unknown { .. }));
    }
}
