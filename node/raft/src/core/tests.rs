//! Scripts: single decisions of the core, message by message. Whole schedules are in
//! `tests/simulation`.

use super::*;

fn noop(term: u64) -> Entry {
    Entry { term: Term(term), payload: Payload::Noop }
}

/// A node n1 of a cluster of this many, with this term and log; its disk is instant.
struct Script {
    raft: Raft,
    now: Duration,
}

impl Script {
    fn new(nodes: usize, term: u64, log: &[u64], bugs: Bugs) -> Script {
        let setup = Setup {
            id: "n1".into(),
            others: (2..=nodes).map(|nth| NodeId::new(format!("n{nth}"))).collect(),
            timing: Timing {
                election_timeout_min: Duration::from_millis(300),
                election_timeout_max: Duration::from_millis(600),
                heartbeat: Duration::from_millis(50),
            },
            bugs,
            seed: 1,
        };
        let entries = log.iter().map(|&term| noop(term)).collect();
        let restored = Restored { term: Term(term), vote: None, entries };
        let mut script =
            Script { raft: Raft::new(setup, restored, Duration::ZERO), now: Duration::ZERO };
        script.settle();
        script
    }

    /// Takes the effects; syncs at once; returns what leaves the node.
    fn settle(&mut self) -> Vec<Effect> {
        let mut leaving = Vec::new();
        loop {
            let mut ticket = None;
            for effect in self.raft.take_effects() {
                match effect {
                    Effect::Sync(latest) => ticket = Some(latest),
                    Effect::Send { .. } | Effect::Reply { .. } => leaving.push(effect),
                    Effect::Persist(_) | Effect::Trace { .. } => {}
                }
            }
            let Some(ticket) = ticket else { return leaving };
            self.raft.handle(self.now, Input::Synced(ticket));
        }
    }

    fn hear(&mut self, from: &str, term: u64, body: MessageBody) -> Vec<Effect> {
        let message = Message { term: Term(term), body };
        self.raft.handle(self.now, Input::Message { from: from.into(), message });
        self.settle()
    }

    fn wake(&mut self) -> Vec<Effect> {
        self.now = self.raft.wake_at();
        self.raft.handle(self.now, Input::Tick);
        self.settle()
    }

    fn matched(&mut self, from: &str, index: u64) -> Vec<Effect> {
        let term = self.raft.status().term.0;
        let result = AppendResult::Matched(Index(index));
        self.hear(from, term, MessageBody::AppendReply { round: 0, result })
    }

    fn append(
        &mut self,
        term: u64,
        (prev_index, prev_term): (u64, u64),
        entries: &[u64],
        commit: u64,
    ) -> Option<AppendResult> {
        let body = MessageBody::AppendEntries {
            prev_index: Index(prev_index),
            prev_term: Term(prev_term),
            entries: entries.iter().map(|&term| noop(term)).collect(),
            commit: Index(commit),
            round: 0,
        };
        self.hear("n2", term, body).into_iter().find_map(|effect| match effect {
            Effect::Send {
                message: Message { body: MessageBody::AppendReply { result, .. }, .. },
                ..
            } => Some(result),
            _ => None,
        })
    }

    /// Wins the next election with the votes of these nodes.
    fn lead(&mut self, voters: &[&str]) {
        self.wake();
        let term = self.raft.status().term.0;
        for voter in voters {
            self.hear(voter, term, MessageBody::Vote { granted: true });
        }
        assert_eq!(self.raft.status().role, "leader");
    }

    fn terms(&self) -> Vec<u64> {
        self.raft.log().traced(Index(1)).iter().map(|entry| entry.1).collect()
    }
}

fn granted(effects: &[Effect]) -> Option<bool> {
    effects.iter().find_map(|effect| match effect {
        Effect::Send { message: Message { body: MessageBody::Vote { granted }, .. }, .. } => {
            Some(*granted)
        }
        _ => None,
    })
}

/// Figure 8 (c) and (e): an entry of term 2 on a majority is not committed by that; together with
/// an entry of the leader's own term it is.
#[test]
fn an_older_terms_entry_is_not_committed_by_counting() {
    let mut script = Script::new(5, 3, &[1, 2], Bugs::NONE);
    script.lead(&["n2", "n3"]);
    assert_eq!(script.terms(), [1, 2, 4]);
    script.matched("n2", 2);
    script.matched("n3", 2);
    assert_eq!(script.raft.status().commit, Index(0));
    script.matched("n2", 3);
    script.matched("n3", 3);
    assert_eq!(script.raft.status().commit, Index(3));
}

/// The rows of figure 7: followers (a) to (f) of a leader of term 8 all end with its log.
#[test]
fn figure_7() {
    let leader = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    let followers: [&[u64]; 6] = [
        &[1, 1, 1, 4, 4, 5, 5, 6, 6],
        &[1, 1, 1, 4],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        &[1, 1, 1, 4, 4, 4, 4],
        &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ];
    for log in followers {
        let mut follower = Script::new(3, 7, log, Bugs::NONE);
        let mut next = leader.len() + 1;
        let mut probes = 0;
        loop {
            probes += 1;
            let prev = next - 1;
            let prev_term = if prev == 0 { 0 } else { leader[prev - 1] };
            let entries = [&leader[prev..], &[8]].concat();
            match follower.append(8, (prev as u64, prev_term), &entries, 0).unwrap() {
                AppendResult::Matched(index) => {
                    assert_eq!(index, Index(11));
                    break;
                }
                AppendResult::Conflict { hint_index, .. } => next = hint_index.0 as usize,
            }
        }
        assert_eq!(follower.terms(), [&leader[..], &[8]].concat());
        assert!(probes <= 4, "{probes} probes for {log:?}");
    }
}

/// Without bugs a heartbeat that is older than entries already stored removes nothing
/// (section 5.3 removes only what conflicts).
#[test]
fn an_old_request_removes_nothing() {
    let mut script = Script::new(3, 1, &[1, 1, 1], Bugs::NONE);
    assert_eq!(script.append(1, (1, 1), &[1], 0), Some(AppendResult::Matched(Index(2))));
    assert_eq!(script.terms(), [1, 1, 1]);
    // Nor may it commit what it did not verify.
    script.append(1, (1, 1), &[], 3);
    assert_eq!(script.raft.status().commit, Index(1));
}

/// A rejection that answers an older probe must not move the leader back again.
#[test]
fn a_stale_rejection_is_ignored() {
    let mut script = Script::new(3, 1, &[1, 1, 1, 1], Bugs::NONE);
    script.lead(&["n2"]);
    let reject = |prev_index: u64, hint_index: u64| MessageBody::AppendReply {
        round: 0,
        result: AppendResult::Conflict {
            prev_index: Index(prev_index),
            hint_index: Index(hint_index),
            hint_term: None,
        },
    };
    let first = script.hear("n2", 2, reject(4, 2));
    let probed = |effects: &[Effect]| {
        effects.iter().find_map(|effect| match effect {
            Effect::Send {
                message: Message { body: MessageBody::AppendEntries { prev_index, .. }, .. },
                ..
            } => Some(*prev_index),
            _ => None,
        })
    };
    assert_eq!(probed(&first), Some(Index(1)));
    assert_eq!(probed(&script.hear("n2", 2, reject(4, 2))), None);
    script.matched("n2", 5);
    assert_eq!(script.raft.status().commit, Index(5));
}

/// Section 5.4.1, both clauses; then the bug that ignores them.
#[test]
fn votes_compare_logs() {
    let ask = |bugs, last_index, last_term| {
        let mut script = Script::new(3, 3, &[1, 2, 2], bugs);
        let (last_index, last_term) = (Index(last_index), Term(last_term));
        granted(&script.hear("n2", 4, MessageBody::RequestVote { last_index, last_term })).unwrap()
    };
    assert!(ask(Bugs::NONE, 3, 2));
    assert!(ask(Bugs::NONE, 1, 3));
    assert!(!ask(Bugs::NONE, 2, 2));
    assert!(!ask(Bugs::NONE, 9, 1));
    assert!(ask(Bugs::only(crate::bugs::Bug::VoteWithoutLogCheck), 0, 0));
}

/// One vote a term, for the same candidate as often as it asks.
#[test]
fn a_vote_is_given_once_a_term() {
    let mut script = Script::new(3, 0, &[], Bugs::NONE);
    let ask = MessageBody::RequestVote { last_index: Index(0), last_term: Term(0) };
    assert_eq!(granted(&script.hear("n2", 1, ask.clone())), Some(true));
    assert_eq!(granted(&script.hear("n3", 1, ask.clone())), Some(false));
    assert_eq!(granted(&script.hear("n2", 1, ask.clone())), Some(true));
    assert_eq!(granted(&script.hear("n3", 2, ask)), Some(true));
}

/// What a broken or malicious peer may send is not a reason to panic.
#[test]
fn extreme_numbers_are_survived() {
    let max = u64::MAX;
    let mut script = Script::new(3, 1, &[1], Bugs::NONE);
    script.lead(&["n2"]);
    script.matched("n2", max);
    let result = AppendResult::Conflict {
        prev_index: Index(max),
        hint_index: Index(0),
        hint_term: Some(Term(max)),
    };
    script.hear("n3", 2, MessageBody::AppendReply { round: max, result });
    script.append(max, (max, max), &[max], max);
    script.append(max, (1, 1), &[max, 0, 3], max);
    let ask = MessageBody::RequestVote { last_index: Index(max), last_term: Term(max) };
    script.hear("n3", max, ask);
    script.hear("n9", 3, MessageBody::Vote { granted: true });
    for _ in 0..5 {
        script.wake();
    }
    assert_eq!(script.raft.status().term, Term(max));
}

/// A read waits for a quorum that answers its own round; earlier answers do not count.
#[test]
fn a_read_needs_answers_of_its_own_round() {
    let mut script = Script::new(3, 0, &[], Bugs::NONE);
    script.lead(&["n2"]);
    script.matched("n2", 1);
    let token = RequestToken(1);
    let request = ClientRequest::Read("k".into());
    script.raft.handle(script.now, Input::Request { token, request });
    script.settle();
    let answer =
        |round| MessageBody::AppendReply { round, result: AppendResult::Matched(Index(1)) };
    assert!(!script.hear("n2", 1, answer(0)).iter().any(is_reply), "round 0 was before the read");
    let effects = script.hear("n2", 1, answer(1));
    assert!(effects.contains(&Effect::Reply { token, answer: Answer::Read(None) }), "{effects:?}");
}

fn is_reply(effect: &Effect) -> bool {
    matches!(effect, Effect::Reply { .. })
}

/// An answer of an earlier term says what the follower's log held then, not what it holds now.
#[test]
fn an_answer_of_an_earlier_term_does_not_count() {
    let mut script = Script::new(3, 2, &[1, 2], Bugs::NONE);
    script.lead(&["n2"]);
    let result = AppendResult::Matched(Index(3));
    script.hear("n2", 2, MessageBody::AppendReply { round: 0, result });
    assert_eq!(script.raft.status().commit, Index(0));
}

/// A proposed command whose entry is replaced may still be committed by others: its client is
/// told that the outcome is unknown, not that it failed.
#[test]
fn a_replaced_proposal_has_an_unknown_outcome() {
    let mut script = Script::new(3, 0, &[], Bugs::NONE);
    script.lead(&["n2"]);
    let change = Change::Write { key: "k".into(), value: 1.into() };
    let token = RequestToken(7);
    let request = ClientRequest::Propose(Command::new("c1".into(), 1, change));
    script.raft.handle(script.now, Input::Request { token, request });
    assert!(!script.settle().iter().any(is_reply), "nobody else has the entry yet");
    let body = MessageBody::AppendEntries {
        prev_index: Index(1),
        prev_term: Term(1),
        entries: vec![noop(2)],
        commit: Index(2),
        round: 0,
    };
    let effects = script.hear("n2", 2, body);
    assert!(effects.contains(&Effect::Reply { token, answer: Answer::Lost }), "{effects:?}");
}
