//! From the place where a check failed to a small part of the history that shows it.

use std::collections::BTreeMap;

use crate::history::{Operation, Point};
use crate::model::Call;
use crate::search::Stuck;
use crate::verdict::{Method, Stats, Violation};

/// The prefix of one key's history up to the completion at which the search was stuck.
pub(crate) fn of_stuck<Op>(
    operations: &[Operation],
    indexes: &[u32],
    calls: &[Call<Op>],
    stuck: &Stuck,
) -> Violation {
    let culprit = &operations[calls[stuck.call as usize].source as usize];
    let prefix: Vec<Operation> = indexes
        .iter()
        .map(|&index| &operations[index as usize])
        .filter(|operation| operation.invoked.position <= stuck.position)
        .cloned()
        .collect();
    let cut = culprit.completed.unwrap_or(culprit.invoked);
    let line = cut.line;
    Violation {
        key: None,
        operations: prefix,
        cut,
        why: format!(
            "{culprit}: no order of the operations before line {line} lets it complete so; just \
             before, the state could be {}",
            stuck.states.join(" or ")
        ),
        implies: format!(
            "they are all operations of this key that were invoked before line {line}; in any \
             linearization of the whole, what took effect before line {line} is one of them: what \
             had completed by then, and of the rest, with its later answer, any part"
        ),
        method: Method::Search,
        stats: Stats { operations: 0, keys: 0, methods: BTreeMap::new() },
    }
}

/// The whole of one key's history, when the budget is too small to look for a part of it.
pub(crate) fn of_all(operations: &[Operation], indexes: &[u32]) -> Violation {
    let all: Vec<Operation> =
        indexes.iter().map(|&index| operations[index as usize].clone()).collect();
    let last = all.iter().filter_map(|operation| operation.completed).max();
    Violation {
        key: None,
        cut: last.unwrap_or(Point { position: 0, line: 0 }),
        operations: all,
        why: "no order of the operations explains all answers".to_owned(),
        implies: "they are all operations of this key; the budget ended before a part of them \
                  was found that shows it"
            .to_owned(),
        method: Method::Search,
        stats: Stats { operations: 0, keys: 0, methods: BTreeMap::new() },
    }
}
