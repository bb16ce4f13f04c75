//! What holds of all invariants: no order between nodes matters, lies accuse nobody by accident,
//! and small clusters are judged as a plain reading of the definitions judges them.

use std::collections::BTreeMap;
use std::mem::discriminant;

use proptest::prelude::*;
use protocol::trace::{Append, Cfg, ChainHash, Entry, Leader, Start, Synced, TraceKind, Trunc};

use super::testing::{Nodes, in_turn, judge, name};
use super::{Invariants, Outcome, TraceItem};

/// A step of a random cluster: which node, what, and two numbers for it.
type Step = (usize, u8, u64, u64);

const COUNT: usize = 3;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((1..=COUNT, 0..12u8, 0..4u64, 0..3u64), 0..60)
}

/// A cluster that obeys no rule but traces honestly. Terms of a node do not decrease.
fn cluster(steps: &[Step]) -> Nodes {
    let mut nodes = Nodes::new(COUNT);
    nodes.start_all();
    let mut applied = [0; COUNT];
    for &(node, what, a, b) in steps {
        let state = &nodes.nodes[node - 1];
        let (term, last, log_term) =
            (state.term, state.last(), state.log.last().map_or(0, |entry| entry.0));
        match what {
            0..=3 => {
                let term = term.max(log_term).max(1);
                nodes.append(node, term, &vec![term; usize::try_from(a).unwrap()]);
            }
            4 | 5 => {
                nodes.synced(node, term);
            }
            6 if last > 0 => {
                nodes.trunc(node, term, last);
            }
            7 | 8 => {
                nodes.leader(node, term + b);
            }
            9 => {
                nodes.vote(node, term + b, usize::try_from(a).unwrap().clamp(1, COUNT), true);
            }
            10 if applied[node - 1] < last => {
                let at = applied[node - 1];
                let ch = nodes.nodes[node - 1].log[usize::try_from(at).unwrap()].1;
                applied[node - 1] += 1;
                nodes.apply(node, at + 1, ch.0);
            }
            11 => {
                applied[node - 1] = 0;
                nodes.restart(node);
            }
            _ => {}
        }
    }
    nodes
}

/// Leader Completeness by the letter: every log as a list, every leader's log kept.
fn lacks_a_committed_entry(nodes: &Nodes) -> bool {
    type Log = Vec<(u64, ChainHash)>;
    let mut durable: BTreeMap<(u64, u64, ChainHash), u32> = BTreeMap::new();
    let mut leaders: Vec<(u64, Log)> = Vec::new();
    for (node, state) in nodes.nodes.iter().enumerate() {
        let mut log: Log = Vec::new();
        let at = |idx: u64| usize::try_from(idx).unwrap();
        for item in &state.items {
            let TraceItem::Event(event) = item else { panic!() };
            let term = event.head.term;
            match &event.kind {
                TraceKind::Start(Start { tail, .. }) => {
                    log = tail.iter().map(|entry| (entry.1, entry.3)).collect();
                }
                TraceKind::Append(Append { ents, .. }) => {
                    for Entry(idx, term, _, ch) in ents {
                        log.truncate(at(*idx) - 1);
                        log.push((*term, *ch));
                    }
                }
                TraceKind::Trunc(Trunc { from_idx, .. }) => log.truncate(at(*from_idx) - 1),
                TraceKind::Synced(Synced { idx }) => {
                    for (idx, entry) in (1..=*idx).zip(&log) {
                        if entry.0 == term {
                            *durable.entry((idx, entry.0, entry.1)).or_default() |= 1 << node;
                        }
                    }
                }
                TraceKind::Leader(_) => leaders.push((term, log.clone())),
                _ => {}
            }
        }
    }
    durable.iter().filter(|(_, nodes)| nodes.count_ones() >= 2).any(|(&(idx, term, ch), _)| {
        leaders.iter().any(|(later, log)| {
            *later > term && log.get(usize::try_from(idx).unwrap() - 1) != Some(&(term, ch))
        })
    })
}

/// State Machine Safety by the letter; order is always kept here.
fn applies_two_entries(nodes: &Nodes) -> bool {
    let mut applied = BTreeMap::new();
    nodes.nodes.iter().flat_map(|node| &node.items).any(|item| {
        let TraceItem::Event(event) = item else { panic!() };
        match &event.kind {
            TraceKind::Apply(apply) => *applied.entry(apply.idx).or_insert(apply.ch) != apply.ch,
            _ => false,
        }
    })
}

/// Items of all nodes, the order between nodes as `picks` says.
fn interleaved(nodes: &Nodes, picks: &[prop::sample::Index]) -> Vec<TraceItem> {
    let mut queues: Vec<_> = nodes.nodes.iter().map(|node| node.items.iter()).collect();
    let mut items = Vec::new();
    for pick in picks.iter().cycle() {
        queues.retain(|queue| queue.len() > 0);
        if queues.is_empty() {
            break;
        }
        let at = pick.index(queues.len());
        items.extend(queues[at].next().cloned());
    }
    items
}

fn is_violation(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Violation { .. })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn small_clusters_are_judged_by_the_letter(steps in steps()) {
        let nodes = cluster(&steps);
        let outcomes = judge(in_turn(&nodes), COUNT);
        prop_assert_eq!(is_violation(&outcomes[1]), lacks_a_committed_entry(&nodes));
        prop_assert_eq!(is_violation(&outcomes[2]), applies_two_entries(&nodes));
    }

    #[test]
    fn the_order_between_nodes_does_not_matter(
        steps in steps(),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..50),
        gap in prop::option::of((1..=COUNT, any::<prop::sample::Index>())),
    ) {
        let mut nodes = cluster(&steps);
        if let Some((node, at)) = gap {
            let items = &mut nodes.nodes[node - 1].items;
            items.remove(at.index(items.len()));
        }
        let kinds = |items| {
            judge(items, COUNT).iter().map(discriminant).collect::<Vec<_>>()
        };
        prop_assert_eq!(kinds(in_turn(&nodes)), kinds(interleaved(&nodes, &picks)));
    }

    #[test]
    fn a_missing_event_never_makes_a_violation_nor_a_valid(
        steps in steps(),
        node in 1..=COUNT,
        at in any::<prop::sample::Index>(),
    ) {
        let mut nodes = cluster(&steps);
        let whole = judge(in_turn(&nodes), COUNT);
        let items = &mut nodes.nodes[node - 1].items;
        let at = at.index(items.len());
        let incarnation = |item: Option<&TraceItem>| match item {
            Some(TraceItem::Event(event)) => Some(event.head.inc),
            _ => None,
        };
        // Without the last event of an incarnation its trace is whole: that event did not happen.
        prop_assume!(incarnation(items.get(at)) == incarnation(items.get(at + 1)));
        items.remove(at);
        let cut = judge(in_turn(&nodes), COUNT);
        for (whole, cut) in whole.iter().zip(&cut) {
            prop_assert!(*cut != Outcome::Valid);
            prop_assert!(!is_violation(cut) || is_violation(whole), "{:?} {:?}", whole, cut);
        }
    }

    #[test]
    fn absurd_numbers_neither_panic_nor_fill_the_memory(
        events in prop::collection::vec(
            (1..=2usize, 0..9u8, prop::array::uniform4(number())), 0..40),
    ) {
        let mut nodes = Nodes::new(2);
        nodes.start_all();
        for (node, what, [a, b, c, d]) in events {
            let ents = vec![Entry(a, b, "cmd".into(), ChainHash(c)),
                Entry(a.wrapping_add(1), d, "cmd".into(), ChainHash(d))];
            let kind: TraceKind = match what {
                0 => Start { vote: None, first: a, last: b, last_term: c, commit: d, applied: d,
                    snap_idx: c, snap_term: b, tail: if d % 2 == 0 { ents } else { Vec::new() },
                    cfg: vec![name(1)] }.into(),
                1 => Append { src: name(1), ents }.into(),
                2 => Trunc { from_idx: a, reason: String::new() }.into(),
                3 => Synced { idx: a }.into(),
                4 => Leader { last: a, last_term: b, granted_by: Vec::new() }.into(),
                5 => Cfg { idx: a, voters: Vec::new(), voters_old: vec![name(9)],
                    learners: Vec::new() }.into(),
                6 => { nodes.apply(node, a, b); continue }
                7 => { nodes.install(node, a); continue }
                _ => { nodes.nodes[node - 1].items.push(TraceItem::Gap {
                    node: name(node), incarnation: u32::try_from(a).unwrap_or(u32::MAX),
                    what: String::new() }); continue }
            };
            nodes.event(node, c, kind);
            if d % 3 == 0 {
                nodes.restart(node);
            }
        }
        judge(in_turn(&nodes), 2);
    }
}

/// Small numbers, and those at the ends of their range.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..4u64, Just(u64::MAX), Just(u64::MAX - 1), any::<u64>()]
}

#[test]
fn streams_that_repeat_or_go_back_are_gaps() {
    let gapless = || {
        let mut nodes = Nodes::new(1);
        nodes.start_all().append(1, 1, &[1]).synced(1, 1).leader(1, 1).apply(1, 1, 4).restart(1);
        in_turn(&nodes)
    };
    assert_eq!(judge(gapless(), 1), vec![Outcome::Valid; 3]);
    let damages: [fn(&mut Vec<TraceItem>); 6] = [
        |items| items.insert(2, items[1].clone()),
        |items| items.swap(1, 2),
        |items| drop(items.remove(0)),
        |items| items.push(items[1].clone()),
        |items| items.push(items[0].clone()),
        |items| {
            let TraceItem::Event(event) = &mut items[2] else { panic!() };
            event.head.v = 99;
        },
    ];
    for (at, damage) in damages.into_iter().enumerate() {
        let mut items = gapless();
        damage(&mut items);
        for outcome in judge(items, 1) {
            assert!(matches!(outcome, Outcome::Unknown { .. }), "damage {at}: {outcome:?}");
        }
    }
}

#[test]
fn a_silent_incarnation_is_no_gap_and_a_missing_one_is() {
    let mut nodes = Nodes::new(1);
    nodes.start_all().append(1, 1, &[1]).synced(1, 1).leader(1, 1).apply(1, 1, 4).restart(1);
    let mut items = in_turn(&nodes);
    let TraceItem::Event(last) = items.last_mut().unwrap() else { panic!() };
    last.head.inc = 2;
    assert!(judge(items.clone(), 1).iter().all(|o| matches!(o, Outcome::Unknown { .. })));
    items.insert(items.len() - 1, TraceItem::Silent { node: name(1), incarnation: 1 });
    assert_eq!(judge(items, 1), vec![Outcome::Valid; 3]);
}

#[test]
fn nothing_traced_proves_nothing() {
    for outcome in judge([], 0).into_iter().chain(judge([], 3)) {
        assert!(matches!(outcome, Outcome::Unknown { .. }), "{outcome:?}");
    }
    for finding in Invariants::skipped("the system does not trace") {
        assert!(matches!(finding.outcome, Outcome::Skipped { .. }));
    }
}
