//! Random histories: what a correct object would have given, and then perhaps changed.
//!
//! An object is simulated: each operation takes effect at a random moment between its invocation
//! and its completion, so the history is linearizable by construction. Operations are left open,
//! fail, fail with an observation, or end unknown (having happened or not, at once or later).

use checker::history::{Event, EventKind, Failure};
use checker::model::ModelKind;
use checker::value::Value;

use super::random::Random;

/// How a history is to look.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub kind: ModelKind,
    pub operations: usize,
    pub processes: usize,
    /// Values are drawn from this many; 0 means that every written value is new.
    pub values: usize,
    pub keys: usize,
    /// Operations of unknown outcome, in percent.
    pub unknown: usize,
    /// Operations that fail for no reason that says anything, in percent.
    pub failed: usize,
}

/// What the simulated object holds.
type State = Vec<Value>;

struct Running {
    process: i64,
    f: &'static str,
    key: Option<Value>,
    input: Value,
    /// The answer, once it has taken effect.
    answer: Option<Result<Value, Failure>>,
}

pub struct Simulation<'r> {
    shape: Shape,
    random: &'r mut Random,
    states: Vec<State>,
    running: Vec<Running>,
    /// Operations of unknown outcome that may still take effect.
    lingering: Vec<Running>,
    events: Vec<Event>,
    next_value: i64,
    next_process: i64,
}

/// The events of a linearizable history, and the initial state.
pub fn linearizable(shape: Shape, random: &mut Random) -> Vec<Event> {
    let initial: State = match shape.kind {
        ModelKind::CasRegister => vec![Value::Null],
        ModelKind::KvAppend => vec!["".into()],
        ModelKind::Mutex => vec![false.into()],
        ModelKind::Counter => vec![0.into()],
        ModelKind::MultiRegister => vec![Value::Null; 3],
        ModelKind::Set | ModelKind::Queue | ModelKind::Log => Vec::new(),
    };
    let keys = if shape.kind == ModelKind::MultiRegister { 1 } else { shape.keys.max(1) };
    let mut simulation = Simulation {
        shape,
        random,
        states: vec![initial; keys],
        running: Vec::new(),
        lingering: Vec::new(),
        events: Vec::new(),
        next_value: 1,
        next_process: 100,
    };
    simulation.run();
    simulation.events
}

impl Simulation<'_> {
    fn run(&mut self) {
        let mut idle: Vec<i64> = (0..self.shape.processes as i64).collect();
        let mut left = self.shape.operations;
        loop {
            let invoke = left > 0 && !idle.is_empty();
            if !invoke && self.running.is_empty() {
                return;
            }
            if invoke && (self.running.is_empty() || self.random.chance(40)) {
                let process = idle.swap_remove(self.random.below(idle.len()));
                left -= 1;
                self.invoke(process);
                continue;
            }
            if !self.lingering.is_empty() && self.random.chance(30) {
                let place = self.random.below(self.lingering.len());
                let mut late = self.lingering.swap_remove(place);
                self.take_effect(&mut late);
            }
            let place = self.random.below(self.running.len());
            if self.running[place].answer.is_none() && self.random.chance(60) {
                let mut running = self.running.swap_remove(place);
                self.take_effect(&mut running);
                self.running.push(running);
            } else {
                let running = self.running.swap_remove(place);
                idle.push(self.complete(running, left));
            }
        }
    }

    fn event(
        &mut self,
        running: &Running,
        kind: EventKind,
        value: Value,
        failure: Option<Failure>,
    ) {
        self.events.push(Event {
            line: self.events.len() as u64 + 1,
            process: running.process,
            kind,
            f: running.f.into(),
            key: running.key.clone(),
            value,
            failure,
        });
    }

    fn invoke(&mut self, process: i64) {
        let key = if self.shape.keys > 0 && self.shape.kind != ModelKind::MultiRegister {
            Some(Value::Int(self.random.below(self.shape.keys) as i64))
        } else {
            None
        };
        let (f, input) = self.choose(self.key_index(&key));
        let running = Running { process, f, key, input, answer: None };
        self.event(&running, EventKind::Invoke, running.input.clone(), None);
        self.running.push(running);
    }

    /// Ends an operation; returns the process that goes on.
    fn complete(&mut self, mut running: Running, left: usize) -> i64 {
        let process = running.process;
        if self.random.chance(self.shape.unknown) {
            // Nothing at all is as good as `info` if the process does nothing more.
            if left > 0 || self.random.chance(70) {
                self.event(&running, EventKind::Info, "timed out".into(), None);
            }
            if running.answer.is_none() {
                self.lingering.push(running);
            }
            self.next_process += 1;
            return self.next_process;
        }
        if running.answer.is_none() && self.random.chance(self.shape.failed) {
            let input = running.input.clone();
            self.event(&running, EventKind::Fail, input, None);
            return process;
        }
        if running.answer.is_none() {
            self.take_effect(&mut running);
        }
        match running.answer.clone().unwrap() {
            Ok(value) => self.event(&running, EventKind::Ok, value, None),
            Err(failure) => {
                // Some clients do not say why a cas failed.
                let failure = (!self.random.chance(20)).then_some(failure);
                let input = running.input.clone();
                self.event(&running, EventKind::Fail, input, failure);
            }
        }
        process
    }

    fn key_index(&self, key: &Option<Value>) -> usize {
        key.as_ref().map_or(0, |key| key.as_int().unwrap() as usize)
    }

    fn value(&mut self) -> Value {
        if self.shape.values == 0 {
            self.next_value += 1;
            return Value::Int(self.next_value);
        }
        Value::Int(self.random.below(self.shape.values) as i64)
    }

    fn choose(&mut self, key: usize) -> (&'static str, Value) {
        let dice = self.random.below(100);
        let text = |value: Value| Value::text(&format!("{value},"));
        match self.shape.kind {
            ModelKind::CasRegister => match dice {
                0..40 => ("read", Value::Null),
                40..70 => ("write", self.value()),
                _ => {
                    // Mostly from a value that may be there.
                    let expected = if self.random.chance(70) {
                        self.states[key][0].clone()
                    } else if self.shape.values == 0 {
                        Value::Int(1 + self.random.below(self.next_value as usize) as i64)
                    } else {
                        self.value()
                    };
                    ("cas", Value::list([expected, self.value()]))
                }
            },
            ModelKind::MultiRegister => {
                let steps: Vec<Value> = (0..1 + self.random.below(3))
                    .map(|_| {
                        let register = Value::text(["x", "y", "z"][self.random.below(3)]);
                        if self.random.chance(50) {
                            Value::list(["read".into(), register, Value::Null])
                        } else {
                            Value::list(["write".into(), register, self.value()])
                        }
                    })
                    .collect();
                ("txn", Value::list(steps))
            }
            ModelKind::KvAppend => match dice {
                0..40 => ("get", Value::Null),
                40..55 => ("put", text(self.value())),
                _ => ("append", text(self.value())),
            },
            ModelKind::Mutex => match dice {
                0..50 => ("acquire", Value::Null),
                _ => ("release", Value::Null),
            },
            ModelKind::Set => match dice {
                0..40 => ("add", self.value()),
                40..60 => ("remove", self.known_value()),
                60..80 => ("contains", self.known_value()),
                _ => ("read", Value::Null),
            },
            ModelKind::Counter => match dice {
                0..60 => {
                    let value = self.value().as_int().unwrap();
                    ("add", Value::Int(value - self.random.below(2) as i64))
                }
                _ => ("read", Value::Null),
            },
            ModelKind::Queue => match dice {
                0..50 => ("enqueue", self.value()),
                _ => ("dequeue", Value::Null),
            },
            ModelKind::Log => match dice {
                0..60 => ("append", self.value()),
                _ => ("read", Value::Null),
            },
        }
    }

    fn known_value(&mut self) -> Value {
        if self.shape.values == 0 {
            Value::Int(1 + self.random.below(self.next_value as usize) as i64)
        } else {
            self.value()
        }
    }

    fn take_effect(&mut self, running: &mut Running) {
        let index = self.key_index(&running.key);
        let input = &running.input;
        let state = &mut self.states[index];
        let position = state.iter().position(|item| item == input);
        running.answer = Some(match running.f {
            "read" if matches!(self.shape.kind, ModelKind::Set | ModelKind::Log) => {
                Ok(Value::list(state.clone()))
            }
            "read" | "get" => Ok(state[0].clone()),
            "write" | "put" => {
                state[0] = input.clone();
                Ok(input.clone())
            }
            "cas" => {
                let pair = input.as_list().unwrap();
                if pair[0] == state[0] {
                    state[0] = pair[1].clone();
                    Ok(input.clone())
                } else if state[0] == Value::Null && self.random.chance(50) {
                    Err(Failure::KeyDoesNotExist)
                } else {
                    Err(Failure::PreconditionFailed)
                }
            }
            "append" if self.shape.kind == ModelKind::KvAppend => {
                let whole = format!("{}{}", state[0].as_text().unwrap(), input.as_text().unwrap());
                state[0] = Value::text(&whole);
                Ok(input.clone())
            }
            // A lock that is not in the right state refuses.
            "acquire" | "release" => {
                let held = state[0] == true.into();
                if held == (running.f == "acquire") {
                    running.answer = Some(Err(Failure::PreconditionFailed));
                    return;
                }
                state[0] = (!held).into();
                Ok(Value::Null)
            }
            "add" if self.shape.kind == ModelKind::Set => {
                if position.is_none() {
                    state.push(input.clone());
                }
                Ok(input.clone())
            }
            "remove" => {
                if let Some(place) = position {
                    state.remove(place);
                }
                Ok(position.is_some().into())
            }
            "contains" => Ok(position.is_some().into()),
            "add" => {
                state[0] = (state[0].as_int().unwrap() + input.as_int().unwrap()).into();
                Ok(input.clone())
            }
            "enqueue" => {
                state.push(input.clone());
                Ok(input.clone())
            }
            "dequeue" if state.is_empty() => Ok(Value::Null),
            "dequeue" => Ok(state.remove(0)),
            "append" => {
                state.push(input.clone());
                let told = self.random.chance(70);
                Ok(if told { Value::Int(state.len() as i64 - 1) } else { Value::Null })
            }
            "txn" => {
                let steps = input.as_list().unwrap().iter().map(|step| {
                    let step = step.as_list().unwrap();
                    let place = ["x", "y", "z"]
                        .iter()
                        .position(|name| step[1] == Value::text(name))
                        .unwrap();
                    if step[0] == "read".into() {
                        Value::list(["read".into(), step[1].clone(), state[place].clone()])
                    } else {
                        state[place] = step[2].clone();
                        Value::list(step.to_vec())
                    }
                });
                Ok(Value::list(steps.collect::<Vec<_>>()))
            }
            f => panic!("the simulation knows no {f}"),
        });
    }
}

/// Changes one thing, so that the history may not be linearizable any more. It stays well-formed.
pub fn mutate(events: &mut Vec<Event>, random: &mut Random) {
    if events.is_empty() {
        return;
    }
    match random.below(4) {
        // An answer from elsewhere.
        0 | 1 => {
            let answers: Vec<(usize, Value)> = events
                .iter()
                .enumerate()
                .filter(|(_, event)| event.kind == EventKind::Ok)
                .map(|(place, event)| (place, event.value.clone()))
                .collect();
            if answers.is_empty() {
                return;
            }
            let (place, _) = answers[random.below(answers.len())];
            let same_kind: Vec<&Value> = answers
                .iter()
                .filter(|(other, value)| {
                    events[*other].f == events[place].f
                        && shape_of(value) == shape_of(&events[place].value)
                })
                .map(|(_, value)| value)
                .collect();
            events[place].value = same_kind[random.below(same_kind.len())].clone();
        }
        // A completion earlier or later, over the events of other processes.
        2 => {
            let place = random.below(events.len());
            let to = random.below(events.len());
            let process = events[place].process;
            let between = place.min(to)..=place.max(to);
            let others = between.clone().all(|at| at == place || events[at].process != process);
            if others {
                let event = events.remove(place);
                events.insert(to, event);
            }
        }
        // Another outcome.
        _ => {
            let ends: Vec<usize> = (0..events.len())
                .filter(|&place| events[place].kind != EventKind::Invoke)
                .collect();
            if ends.is_empty() {
                return;
            }
            let end = &mut events[ends[random.below(ends.len())]];
            if end.kind == EventKind::Fail && &*end.f == "cas" {
                end.failure = match random.below(3) {
                    0 => None,
                    1 => Some(Failure::PreconditionFailed),
                    _ => Some(Failure::KeyDoesNotExist),
                };
            } else if end.kind == EventKind::Ok {
                end.kind = EventKind::Fail;
            }
        }
    }
    for (place, event) in events.iter_mut().enumerate() {
        event.line = place as u64 + 1;
    }
}

/// Transactions answer the steps they were given; answers of another shape would be malformed.
fn shape_of(value: &Value) -> Vec<String> {
    let Some(steps) = value.as_list() else { return Vec::new() };
    steps
        .iter()
        .filter_map(|step| step.as_list())
        .map(|step| {
            let write = step[0] == "write".into();
            format!(
                "{} {} {}",
                step[0],
                step[1],
                if write { step[2].to_string() } else { String::new() }
            )
        })
        .collect()
}
