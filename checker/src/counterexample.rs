//! From the place where a check failed to a small part of the history that shows it.

use std::collections::BTreeMap;

use crate::history::{Operation, Point};
use crate::model::Call;
use crate::models::{Register, RegisterOp};
use crate::search::Stuck;
use crate::unique::{Evidence, Fault};
use crate::verdict::{Method, Stats, Violation};

/// The calls on which a search was stuck; `kept` are all up to the cut, or enough of them.
pub(crate) fn of_stuck<Op>(
    operations: &[Operation],
    calls: &[Call<Op>],
    kept: &[u32],
    stuck: &Stuck,
) -> Violation {
    let operation = |call: u32| &operations[calls[call as usize].source as usize];
    let culprit = operation(stuck.call);
    let cut = culprit.completed.unwrap_or(culprit.invoked);
    let line = cut.line;
    let early = calls.iter().filter(|call| call.invoked <= stuck.position).count();
    let shown = if kept.len() == early {
        format!("these are all operations of the key that were invoked before line {line}")
    } else {
        format!(
            "these are operations of the key that were invoked before line {line}; of the others, \
             some change nothing, and the rest may be taken to put some value there that none of \
             these is about, whenever that helps"
        )
    };
    Violation {
        key: None,
        operations: kept.iter().map(|&call| operation(call).clone()).collect(),
        cut,
        why: format!(
            "{culprit}: no order of what took effect before lets it complete so; just before, the \
             state could be {}",
            stuck.states.join(" or ")
        ),
        implies: format!(
            "{shown}; and what took effect before line {line} in a linearization of the whole \
             would be all that had completed by then, and of what had not, with its later answer, \
             any part"
        ),
        method: Method::Search,
        stats: Stats { operations: 0, keys: 0, methods: BTreeMap::new() },
    }
}

/// The whole of one key's history, when the budget is too small to look for a part of it.
pub(crate) fn of_all<Op>(operations: &[Operation], calls: &[Call<Op>]) -> Violation {
    let all: Vec<Operation> =
        calls.iter().map(|call| operations[call.source as usize].clone()).collect();
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

/// Nothing, as a value, is easily overlooked.
fn describe(value: String) -> String {
    if value == "null" { "null (absent)".to_owned() } else { value }
}

/// Calls of a register with unique writes that contradict one another.
pub(crate) fn of_evidence(
    operations: &[Operation],
    calls: &[Call<RegisterOp>],
    evidence: &Evidence,
    register: &Register,
) -> Violation {
    let chosen: Vec<Operation> = evidence
        .calls
        .iter()
        .map(|&call| operations[calls[call as usize].source as usize].clone())
        .collect();
    let values: Vec<String> =
        evidence.values.iter().map(|&value| describe(register.value_text(value))).collect();
    let value = values.join(" and ");
    let why = match evidence.fault {
        Fault::NeverWritten => {
            format!("the value {value} was seen, but nothing wrote it and nothing began with it")
        }
        Fault::Fork => format!(
            "two operations each replaced the value {value}, which came only once and which \
             neither of them can have left there for the other"
        ),
        Fault::Circle => {
            format!("each of the values {value} can only have come out of another one of them")
        }
        Fault::OutOfOrder => format!(
            "an operation that depends on the value {} completed before one that must come \
             before it was invoked",
            values[0]
        ),
        Fault::Interleaved => format!(
            "the register can have held {value} for one stretch of time each, as each came only \
             once; but an operation on either completed before one on the other began, so each \
             stretch would have to end before the other"
        ),
        Fault::FailedInVain => format!(
            "a cas failed because the value was not {value}, but it was there from before its \
             invocation until after its completion"
        ),
    };
    let last = chosen.iter().filter_map(|operation| operation.completed).max();
    Violation {
        key: None,
        cut: last.unwrap_or(Point { position: 0, line: 0 }),
        operations: chosen,
        why,
        implies: "every value is written at most once, and these are all operations that can \
                  bring the values they are about; leaving the other values, reads and failed \
                  cas out of a linearization of the whole would leave one of these"
            .to_owned(),
        method: Method::UniqueValues,
        stats: Stats { operations: 0, keys: 0, methods: BTreeMap::new() },
    }
}
