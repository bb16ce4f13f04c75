//! `register`: reads, writes and CAS on a few live keys, unique written values.
//!
//! Every value is written at most once in a run, which makes histories easy to judge and easy to
//! read. A key retires after a number of operations, or of operations of unknown outcome, and a
//! fresh one takes its place: pending operations never pile up on one key.

use std::collections::HashMap;

use checker::model::{ModelKind, ModelSpec};
use protocol::error_code;
use protocol::message::{Reply, Request};
use serde_json::{Value as Json, json};

use crate::random::Stream;
use crate::{Meaning, Operation, Outcome, Settings, Workload};

/// Share of reads among operations.
const READ_SHARE: f64 = 0.5;
/// Share of writes; the rest are CAS.
const WRITE_SHARE: f64 = 0.25;
/// Share of CAS that expect a value nobody wrote, so that their failure is observed.
const HOPELESS_CAS_SHARE: f64 = 0.1;

/// The workload's state: the live keys, and what is known of each.
pub struct Register {
    settings: Settings,
    /// One stream a client; the counter is the client's operation number.
    streams: Vec<Stream>,
    issued: Vec<u64>,
    /// The key that lives in each slot.
    live: Vec<u64>,
    known: HashMap<u64, Known>,
    next_key: u64,
}

/// What is known of a live key.
#[derive(Default)]
struct Known {
    operations: u64,
    unknowns: u64,
    /// The value last seen or written with success: what a CAS expects.
    value: Option<u64>,
}

impl Register {
    /// A workload at its beginning.
    pub fn new(settings: Settings) -> Self {
        let streams = (0..settings.clients)
            .map(|client| Stream::new(settings.seed, &format!("client-{client}")))
            .collect();
        let mut register = Register {
            issued: vec![0; settings.clients],
            streams,
            live: Vec::new(),
            known: HashMap::new(),
            next_key: 0,
            settings,
        };
        for _ in 0..register.settings.keys {
            let key = register.fresh_key();
            register.live.push(key);
        }
        register
    }

    fn fresh_key(&mut self) -> u64 {
        let key = self.next_key;
        self.next_key += 1;
        self.known.insert(key, Known::default());
        key
    }

    fn retire_if_due(&mut self, key: u64) {
        let Some(known) = self.known.get(&key) else { return };
        if known.operations < self.settings.ops_per_key
            && known.unknowns < self.settings.unknowns_per_key
        {
            return;
        }
        self.known.remove(&key);
        let fresh = self.fresh_key();
        for slot in &mut self.live {
            if *slot == key {
                *slot = fresh;
            }
        }
    }
}

impl Workload for Register {
    fn model(&self) -> ModelSpec {
        ModelSpec { kind: ModelKind::CasRegister, init: None }
    }

    fn next(&mut self, client: usize) -> Operation {
        let count = self.issued[client];
        self.issued[client] += 1;
        let mut draw = self.streams[client].at(count);
        let kind = draw.unit();
        let slot = draw.below(self.live.len() as u64) as usize;
        let hopeless = draw.chance(HOPELESS_CAS_SHARE);
        let key = self.live[slot];
        // Unique over all clients and keys, and independent of what other clients did.
        let fresh_value = count * self.settings.clients as u64 + client as u64 + 1;
        let known = self.known.get_mut(&key).expect("a live key is known");
        known.operations += 1;
        let expected = known.value;
        self.retire_if_due(key);
        let (f, value) = if kind < READ_SHARE {
            ("read", Json::Null)
        } else if kind < READ_SHARE + WRITE_SHARE {
            ("write", json!(fresh_value))
        } else {
            // Nobody writes 0: unless the key is absent, such a CAS meets another value.
            let expected = if hopeless { 0 } else { expected.unwrap_or(0) };
            ("cas", json!([expected, fresh_value]))
        };
        Operation { f, key: Some(key_name(key)), value }
    }

    fn request(&self, operation: &Operation) -> Request {
        let key = operation.key.clone().unwrap_or(Json::Null);
        match operation.f {
            "read" => Request::Read { key },
            "write" => Request::Write { key, value: operation.value.clone() },
            _ => Request::Cas {
                key,
                from: operation.value[0].clone(),
                to: operation.value[1].clone(),
            },
        }
    }

    fn interpret(&self, operation: &Operation, reply: &Reply) -> Meaning {
        match (operation.f, reply) {
            ("read", Reply::ReadOk { value }) => Meaning::Done(Outcome::Ok(value.clone())),
            ("write", Reply::WriteOk {}) | ("cas", Reply::CasOk {}) => {
                Meaning::Done(Outcome::Ok(operation.value.clone()))
            }
            // Absence is an observation like any other value.
            ("read", Reply::Error { code: error_code::KEY_DOES_NOT_EXIST, .. }) => {
                Meaning::Done(Outcome::Ok(Json::Null))
            }
            (_, Reply::Error { code: error_code::TEMPORARILY_UNAVAILABLE, text, .. }) => {
                Meaning::Retry(describe(error_code::TEMPORARILY_UNAVAILABLE, text))
            }
            (f, Reply::Error { code, text, .. }) => {
                let observed = matches!(
                    *code,
                    error_code::KEY_DOES_NOT_EXIST | error_code::PRECONDITION_FAILED
                );
                if observed && f != "cas" {
                    return Meaning::Breach(format!("error {code} in answer to a {f}: {text}"));
                }
                if error_code::is_definite(*code) {
                    let name = error_code::name(*code).expect("definite codes are named");
                    Meaning::Done(Outcome::Fail(name.to_owned()))
                } else {
                    Meaning::Done(Outcome::Info(describe(*code, text)))
                }
            }
            (f, other) => Meaning::Breach(format!("{other:?} in answer to a {f}")),
        }
    }

    fn completed(&mut self, operation: &Operation, outcome: &Outcome) {
        let Some(key) = operation.key.as_ref().and_then(key_number) else { return };
        let Some(known) = self.known.get_mut(&key) else { return };
        match (operation.f, outcome) {
            ("read", Outcome::Ok(value)) => known.value = value.as_u64(),
            ("write", Outcome::Ok(value)) => known.value = value.as_u64(),
            ("cas", Outcome::Ok(value)) => known.value = value[1].as_u64(),
            (_, Outcome::Info(_)) if operation.f != "read" => known.unknowns += 1,
            _ => {}
        }
        self.retire_if_due(key);
    }

    fn final_operations(&self) -> Vec<Operation> {
        self.live
            .iter()
            .map(|&key| Operation { f: "read", key: Some(key_name(key)), value: Json::Null })
            .collect()
    }
}

fn key_name(key: u64) -> Json {
    Json::String(format!("k{key}"))
}

fn key_number(name: &Json) -> Option<u64> {
    name.as_str()?.strip_prefix('k')?.parse().ok()
}

fn describe(code: u32, text: &str) -> String {
    match error_code::name(code) {
        Some(name) if text.is_empty() => name.to_owned(),
        Some(name) => format!("{name}: {text}"),
        None => format!("error {code}: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn settings() -> Settings {
        Settings { seed: 7, clients: 3, keys: 2, ops_per_key: 10, unknowns_per_key: 2 }
    }

    fn error(code: u32) -> Reply {
        Reply::Error { code, text: String::new(), leader: None }
    }

    #[test]
    fn written_values_are_unique_and_never_zero() {
        let mut register = Register::new(settings());
        let mut seen = HashSet::new();
        for turn in 0..3_000 {
            let operation = register.next(turn % 3);
            let written = match operation.f {
                "write" => operation.value.as_u64(),
                "cas" => operation.value[1].as_u64(),
                _ => continue,
            };
            assert!(written.is_some_and(|value| value > 0 && seen.insert(value)), "{operation:?}");
        }
        assert!(seen.len() > 1_000);
    }

    #[test]
    fn taking_operations_of_one_client_away_leaves_the_others_arguments() {
        let mut both = Register::new(settings());
        let mut one = Register::new(settings());
        for _ in 0..5 {
            both.next(0);
            let with = both.next(1);
            let without = one.next(1);
            assert_eq!(with.f, without.f);
        }
    }

    #[test]
    fn a_key_retires_after_its_operations_and_after_its_unknowns() {
        let mut register = Register::new(settings());
        let keys: HashSet<String> =
            (0..60).map(|_| register.next(0).key.unwrap().to_string()).collect();
        assert!(keys.len() >= 5, "{keys:?}");

        let mut register = Register::new(Settings { ops_per_key: u64::MAX, ..settings() });
        let write = Operation { f: "write", key: Some(key_name(0)), value: json!(1) };
        register.completed(&write, &Outcome::Info("timeout".into()));
        assert_eq!(register.live, [0, 1]);
        register.completed(&write, &Outcome::Info("timeout".into()));
        assert_eq!(register.live, [2, 1]);
    }

    #[test]
    fn cas_expects_what_was_seen_last() {
        let mut register = Register::new(Settings { keys: 1, ..settings() });
        let write = Operation { f: "write", key: Some(key_name(0)), value: json!(99) };
        register.completed(&write, &Outcome::Ok(json!(99)));
        let expected: HashSet<u64> = (0..8)
            .map(|_| register.next(0))
            .filter(|operation| operation.f == "cas")
            .filter_map(|operation| operation.value[0].as_u64())
            .collect();
        assert!(expected.contains(&99), "{expected:?}");
    }

    #[test]
    fn only_proof_makes_a_fail() {
        let register = Register::new(settings());
        let cas = Operation { f: "cas", key: Some(json!("k0")), value: json!([1, 2]) };
        let read = Operation { f: "read", key: Some(json!("k0")), value: Json::Null };
        let done = Meaning::Done;
        let cases = [
            (&cas, error(22), done(Outcome::Fail("precondition-failed".into()))),
            (&cas, error(20), done(Outcome::Fail("key-does-not-exist".into()))),
            (&read, error(20), done(Outcome::Ok(Json::Null))),
            (&cas, error(0), done(Outcome::Info("timeout".into()))),
            (&cas, error(13), done(Outcome::Info("crash".into()))),
            (&cas, error(1234), done(Outcome::Info("error 1234: ".into()))),
            (&cas, error(14), done(Outcome::Fail("abort".into()))),
            (&cas, error(11), Meaning::Retry("temporarily-unavailable".into())),
            (&cas, Reply::CasOk {}, done(Outcome::Ok(json!([1, 2])))),
        ];
        for (operation, reply, meaning) in cases {
            assert_eq!(register.interpret(operation, &reply), meaning, "{reply:?}");
        }
        for reply in [Reply::WriteOk {}, error(22)] {
            assert!(matches!(register.interpret(&read, &reply), Meaning::Breach(_)), "{reply:?}");
        }
    }
}
