//! The faults: brings due ones into force, collects the evidence of what they did, heals them.

use std::collections::{BTreeMap, BTreeSet};

use protocol::NodeId;
use results::fault_log::{FaultEvent, FaultOp};
use serde_json::{Value as Json, json};
use workloads::random::Stream;

use super::event::{Action, Nanos, nanos};
use super::limits;
use super::nodes::Nodes;
use crate::nemesis::schedule::{Due, Pace, schedule};
use crate::nemesis::{Deed, FaultKind, View};
use crate::net::{Effect, FaultCounters, FaultId, Link, LinkTable};

/// The faults of a run.
pub struct Faults {
    kinds: Vec<&'static FaultKind>,
    choices: Stream,
    /// Not yet due, the next one last.
    due: Vec<Due>,
    /// When the workload began: schedules count from there.
    began: Nanos,
    in_force: BTreeMap<FaultId, InForce>,
    /// Healed, but evidence may still come.
    healed: BTreeMap<FaultId, &'static FaultKind>,
}

struct InForce {
    kind: &'static FaultKind,
    until: Nanos,
    targets: Vec<NodeId>,
    links: Vec<(NodeId, NodeId, Effect)>,
}

impl Faults {
    /// The faults that the seed fixes for a run of this pace.
    pub fn new(seed: u64, kinds: Vec<&'static FaultKind>, pace: Pace) -> Self {
        let mut due = schedule(seed, kinds.len(), pace);
        due.reverse();
        Faults {
            kinds,
            choices: Stream::new(seed, "nemesis"),
            due,
            began: 0,
            in_force: BTreeMap::new(),
            healed: BTreeMap::new(),
        }
    }

    /// The workload begins now.
    pub fn begin(&mut self, now: Nanos) {
        self.began = now;
    }

    /// Names and targets of the faults in force, for people.
    pub fn in_force(&self) -> Vec<String> {
        let describe = |fault: &InForce| match fault.targets.is_empty() {
            true => fault.kind.name.to_owned(),
            false => {
                let targets: Vec<&str> = fault.targets.iter().map(NodeId::as_str).collect();
                format!("{} {}", fault.kind.name, targets.join(","))
            }
        };
        self.in_force.values().map(describe).collect()
    }

    /// When something is due next.
    pub fn next_wakeup(&self) -> Option<Nanos> {
        let heal = self.in_force.values().map(|fault| fault.until).min();
        let inject = self.due.last().map(|due| self.began.saturating_add(nanos(due.at)));
        [heal, inject].into_iter().flatten().min()
    }

    /// Heals what has lasted long enough and injects what is due.
    pub fn advance(&mut self, now: Nanos, nodes: &mut Nodes, out: &mut Vec<Action>) {
        let over: Vec<FaultId> =
            self.in_force.iter().filter(|(_, f)| now >= f.until).map(|(id, _)| *id).collect();
        for id in over {
            self.heal(id, now, nodes, out);
        }
        while let Some(due) = self.due.pop_if(|due| now >= self.began.saturating_add(nanos(due.at)))
        {
            self.inject(due, now, nodes, out);
        }
    }

    /// Heals everything and lets nothing more come.
    pub fn heal_all(&mut self, now: Nanos, nodes: &mut Nodes, out: &mut Vec<Action>) {
        self.due.clear();
        while let Some(id) = self.in_force.keys().next().copied() {
            self.heal(id, now, nodes, out);
        }
    }

    /// The run is over: nothing more is injected, what is in force ends with the nodes, and what
    /// it did until now is recorded.
    pub fn end_all(&mut self, now: Nanos, out: &mut Vec<Action>) {
        self.due.clear();
        let in_force = std::mem::take(&mut self.in_force);
        if in_force.values().any(|fault| !fault.links.is_empty()) {
            out.push(Action::PublishLinks(self.table()));
        }
        for (id, fault) in in_force {
            if !fault.links.is_empty() {
                out.push(Action::Count(id));
            }
            let evidence = json!({ "ended": "with the run" });
            let targets = fault.targets;
            out.push(record(id, now, FaultOp::Heal, fault.kind, targets, Json::Null, evidence));
            self.keep_healed(id, fault.kind);
        }
    }

    /// Evidence of a healed fault comes soon after, or never.
    fn keep_healed(&mut self, id: FaultId, kind: &'static FaultKind) {
        self.healed.insert(id, kind);
        if self.healed.len() > limits::HEALED_KEPT {
            self.healed.pop_first();
        }
    }

    fn inject(&mut self, due: Due, now: Nanos, nodes: &mut Nodes, out: &mut Vec<Action>) {
        let kind = self.kinds[due.kind];
        let id = FaultId(due.id as u32);
        let view = nodes.view();
        let plan = (kind.plan)(
            &View { nodes: &view, leader: nodes.leader() },
            &mut self.choices.at(due.id),
        );
        let plan = match plan {
            Ok(plan) => plan,
            Err(skip) => {
                let evidence = json!({ "effective": false, "reason": skip.0 });
                out.push(record(id, now, FaultOp::Skip, kind, vec![], Json::Null, evidence));
                return;
            }
        };
        // What led here must be on disk before the fault is: a crash of the machine under it
        // must not take the record along.
        out.push(record(
            id,
            now,
            FaultOp::Inject,
            kind,
            plan.targets.clone(),
            plan.params,
            Json::Null,
        ));
        out.push(Action::Flush);
        let mut links = Vec::new();
        match plan.deed {
            Deed::Kill(targets) => {
                for node in &targets {
                    nodes.kill(node, id, out);
                }
            }
            Deed::Pause(targets) => {
                for node in &targets {
                    nodes.pause(node, id, out);
                }
            }
            Deed::Links(changes) => links = changes,
        }
        let has_links = !links.is_empty();
        let until = now.saturating_add(nanos(due.lasts));
        self.in_force.insert(id, InForce { kind, until, targets: plan.targets, links });
        if has_links {
            out.push(Action::PublishLinks(self.table()));
        }
    }

    fn heal(&mut self, id: FaultId, now: Nanos, nodes: &mut Nodes, out: &mut Vec<Action>) {
        let Some(fault) = self.in_force.remove(&id) else { return };
        if !fault.links.is_empty() {
            out.push(Action::PublishLinks(self.table()));
            out.push(Action::Count(id));
        }
        let (continued, restarted) = nodes.release(id, out);
        let mut evidence = json!({});
        if !continued.is_empty() {
            evidence["continued"] = json!(continued);
        }
        if !restarted.is_empty() {
            evidence["restarted"] = json!(restarted);
        }
        out.push(record(id, now, FaultOp::Heal, fault.kind, fault.targets, Json::Null, evidence));
        self.keep_healed(id, fault.kind);
    }

    /// The rules of all faults in force.
    fn table(&self) -> LinkTable {
        let mut table = LinkTable::default();
        for (id, fault) in &self.in_force {
            for (from, to, effect) in &fault.links {
                table.add(Link::new(from.clone(), to.clone()), *id, *effect);
            }
        }
        table
    }

    /// A process that these faults killed is gone: that is what they did.
    pub fn killed(
        &mut self,
        node: &NodeId,
        by: &BTreeSet<FaultId>,
        status: &str,
        now: Nanos,
        out: &mut Vec<Action>,
    ) {
        for id in by {
            self.evidence(
                *id,
                now,
                json!({ "effective": true, "node": node, "exit": status }),
                out,
            );
        }
    }

    /// A process that these faults asked to stop was seen stopped.
    pub fn stopped(
        &mut self,
        node: &NodeId,
        by: &BTreeSet<FaultId>,
        state: char,
        now: Nanos,
        out: &mut Vec<Action>,
    ) {
        for id in by {
            let evidence = json!({ "effective": true, "node": node, "state": state.to_string() });
            self.evidence(*id, now, evidence, out);
        }
    }

    /// What a fault did to messages and connections.
    pub fn counted(
        &mut self,
        id: FaultId,
        counters: &FaultCounters,
        now: Nanos,
        out: &mut Vec<Action>,
    ) {
        let evidence = json!({
            "effective": counters.took_effect(),
            "messages_dropped": counters.messages_dropped,
            "messages_delayed": counters.messages_delayed,
            "messages_duplicated": counters.messages_duplicated,
            "messages_held": counters.messages_held,
            "bytes_held": counters.bytes_held,
            "stall_ns": counters.stall_ns,
            "connections_cut": counters.connections_cut,
            "connections_refused": counters.connections_refused,
            "dials_held": counters.dials_held,
        });
        self.evidence(id, now, evidence, out);
    }

    fn evidence(&mut self, id: FaultId, now: Nanos, evidence: Json, out: &mut Vec<Action>) {
        let kind = self.in_force.get(&id).map(|fault| fault.kind).or(self.healed.get(&id).copied());
        if let Some(kind) = kind {
            out.push(record(id, now, FaultOp::Evidence, kind, vec![], Json::Null, evidence));
        }
    }
}

fn record(
    id: FaultId,
    time: Nanos,
    op: FaultOp,
    kind: &FaultKind,
    targets: Vec<NodeId>,
    params: Json,
    evidence: Json,
) -> Action {
    Action::Fault(FaultEvent {
        id: u64::from(id.0),
        time,
        op,
        fault: kind.name.to_owned(),
        targets,
        params: match params {
            Json::Object(params) => params,
            _ => Default::default(),
        },
        trigger: json!("schedule"),
        evidence,
    })
}
