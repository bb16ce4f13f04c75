//! `multi-register`: transactions of reads and writes on several registers at one instant.
//!
//! The steps of a transaction are done in their order: a read sees a write before it in the same
//! transaction. A register that was never written reads null.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::json::object_entries;
use super::shape::{Interner, unknown_operation, wrong_answer, wrong_input};
use crate::history::{Operation, Outcome};
use crate::model::{Call, Effect, Model, ModelError};
use crate::value::Value;

/// All registers together; registers and values are numbered.
#[derive(Clone, Debug)]
pub(crate) struct MultiRegister {
    values: Interner,
    registers: Interner,
    initial: Vec<(u32, u32)>,
    absent: u32,
}

/// One step of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Read { register: u32, value: u32 },
    Write { register: u32, value: u32 },
}

impl Step {
    fn register(self) -> u32 {
        match self {
            Step::Read { register, .. } | Step::Write { register, .. } => register,
        }
    }

    fn writes(self) -> bool {
        matches!(self, Step::Write { .. })
    }
}

const TXN_SHAPE: &str =
    "a txn is a list of [\"read\", register, value or null] and [\"write\", register, value]";
const INIT_SHAPE: &str = "it is an object of registers and their values";

impl MultiRegister {
    pub(crate) fn new(init: Option<&Value>) -> Result<MultiRegister, ModelError> {
        let (mut values, mut registers) = (Interner::default(), Interner::default());
        let absent = values.number(&Value::Null);
        let wrong = |found: &Value| ModelError::WrongInit {
            model: "multi-register",
            found: found.clone(),
            expected: INIT_SHAPE,
        };
        let pairs: Vec<(Value, Value)> = match init {
            None | Some(Value::Null) => Vec::new(),
            Some(given @ Value::Other(json)) => object_entries(json).ok_or_else(|| wrong(given))?,
            Some(given @ Value::List(items)) => {
                let pair = |item: &Value| match item.as_list() {
                    Some([register, value]) => Ok((register.clone(), value.clone())),
                    _ => Err(wrong(given)),
                };
                items.iter().map(pair).collect::<Result<_, _>>()?
            }
            Some(given) => return Err(wrong(given)),
        };
        let initial = pairs
            .iter()
            .map(|(register, value)| (registers.number(register), values.number(value)))
            .collect();
        Ok(MultiRegister { values, registers, initial, absent })
    }

    /// Kind, register and value of one step.
    fn step_parts(step: &Value) -> Option<(bool, &Value, &Value)> {
        let Some([Value::Text(kind), register, value]) = step.as_list() else { return None };
        match &**kind {
            "read" | "r" => Some((false, register, value)),
            "write" | "w" => Some((true, register, value)),
            _ => None,
        }
    }
}

impl Model for MultiRegister {
    type State = Arc<[u32]>;
    type Op = Arc<[Step]>;

    fn name(&self) -> &'static str {
        "multi-register"
    }

    fn splits_by_key(&self) -> bool {
        false
    }

    fn initial(&self) -> Arc<[u32]> {
        let mut state = vec![self.absent; self.registers.len()];
        for &(register, value) in &self.initial {
            state[register as usize] = value;
        }
        state.into()
    }

    fn encode(&mut self, operation: &Operation) -> Result<Option<Arc<[Step]>>, ModelError> {
        if &*operation.f != "txn" {
            return Err(unknown_operation(operation, self.name(), "txn"));
        }
        let given = operation.input.as_list().ok_or_else(|| wrong_input(operation, TXN_SHAPE))?;
        let answer = match &operation.outcome {
            Outcome::Failed(_) => return Ok(None),
            Outcome::Unknown => None,
            Outcome::Ok(value) => match value.as_list() {
                Some(steps) if steps.len() == given.len() => Some((value, steps)),
                _ => {
                    let expected = "a txn answers the steps it was invoked with, reads filled in";
                    return Err(wrong_answer(operation, value, expected));
                }
            },
        };
        let mut steps = Vec::with_capacity(given.len());
        for (place, step) in given.iter().enumerate() {
            let (writes, register, value) =
                Self::step_parts(step).ok_or_else(|| wrong_input(operation, TXN_SHAPE))?;
            let register_number = self.registers.number(register);
            if writes {
                let value = self.values.number(value);
                steps.push(Step::Write { register: register_number, value });
            }
            let Some((whole, answers)) = answer else { continue };
            match Self::step_parts(&answers[place]) {
                Some((answered_write, answered_register, value))
                    if answered_write == writes && answered_register == register =>
                {
                    if !writes {
                        let value = self.values.number(value);
                        steps.push(Step::Read { register: register_number, value });
                    }
                }
                _ => {
                    let expected = "a txn answers the steps it was invoked with, reads filled in";
                    return Err(wrong_answer(operation, whole, expected));
                }
            }
        }
        Ok((!steps.is_empty()).then(|| steps.into()))
    }

    fn step(&self, state: &Arc<[u32]>, op: &Arc<[Step]>) -> Option<Arc<[u32]>> {
        let mut changed: Option<Vec<u32>> = None;
        for step in op.iter() {
            match *step {
                Step::Read { register, value } => {
                    let now = changed.as_deref().unwrap_or(state);
                    if now[register as usize] != value {
                        return None;
                    }
                }
                Step::Write { register, value } => {
                    changed.get_or_insert_with(|| state.to_vec())[register as usize] = value;
                }
            }
        }
        Some(changed.map_or_else(|| state.clone(), Arc::from))
    }

    fn effect(&self, op: &Arc<[Step]>) -> Effect {
        let writes = op.iter().filter(|step| step.writes()).count();
        if writes == 0 {
            Effect::Observe
        } else if writes < op.len() {
            Effect::Conditional
        } else {
            let covers = |register| op.iter().any(|step| step.register() == register);
            if (0..self.registers.len() as u32).all(covers) {
                Effect::Overwrite
            } else {
                Effect::Blind
            }
        }
    }

    fn some_commute(&self) -> bool {
        true
    }

    fn commutes(&self, one: &Arc<[Step]>, other: &Arc<[Step]>) -> bool {
        one.iter().all(|step| {
            other
                .iter()
                .all(|peer| step.register() != peer.register() || !(step.writes() || peer.writes()))
        })
    }

    /// A transaction of unknown outcome has only writes left. It can be left out after the last
    /// read of any of them: until the next write of the same register nobody looks.
    fn refine(&mut self, calls: &mut Vec<Call<Arc<[Step]>>>) {
        if calls.iter().all(|call| call.required) {
            return;
        }
        let mut read_until: FxHashMap<(u32, u32), u32> = FxHashMap::default();
        for call in calls.iter().filter(|call| call.required) {
            for step in call.op.iter() {
                if let Step::Read { register, value } = *step {
                    let until = read_until.entry((register, value)).or_default();
                    *until = call.until.max(*until);
                }
            }
        }
        calls.retain_mut(|call| {
            if !call.required {
                let until = call.op.iter().filter_map(|step| match *step {
                    Step::Write { register, value } => read_until.get(&(register, value)).copied(),
                    Step::Read { .. } => None,
                });
                call.until = until.max().unwrap_or(0);
            }
            call.until > call.invoked
        });
    }

    fn describe(&self, state: &Arc<[u32]>) -> String {
        let parts: Vec<String> = state
            .iter()
            .enumerate()
            .filter_map(|(register, value)| {
                let register = self.registers.value(register as u32)?;
                Some(format!("{register}: {}", self.values.value(*value)?))
            })
            .collect();
        format!("{{{}}}", parts.join(", "))
    }
}
