//! One side of the comparison with other checkers: makes histories, and times this checker.
//!
//! `peers generate SHAPE OPERATIONS CLIENTS FILE [SEED]` writes a history as JSON Lines. Shapes:
//! `unique` (reads and writes, every value new), `stale` (the same with one stale read), `cas`
//! (also cas, 1 % of unknown outcome), `lost` (also cas, many of unknown outcome), `five` (values
//! drawn from five). `peers judge FILE` prints operations, verdict, seconds of the check alone and
//! the most memory the process held, in KiB, separated by tabs.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::time::Instant;

use checker::budget::Budget;
use checker::history::{Event, EventKind, Failure, History, HistoryBuilder};
use checker::model::{ModelKind, ModelSpec};
use checker::value::Value;
use checker::verdict::Verdict;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["generate", shape, operations, clients, file] => {
            generate(shape, operations.parse()?, clients.parse()?, file, 1)
        }
        ["generate", shape, operations, clients, file, seed] => {
            generate(shape, operations.parse()?, clients.parse()?, file, seed.parse()?)
        }
        ["judge", file] => judge(file),
        _ => Err("usage: peers generate SHAPE OPERATIONS CLIENTS FILE [SEED] | judge FILE".into()),
    }
}

fn judge(file: &str) -> Result<(), Box<dyn std::error::Error>> {
    let history = read(file)?;
    let before_kib = memory_kib("VmRSS:")?;
    let spec = ModelSpec::natural(ModelKind::CasRegister);
    let begun = Instant::now();
    let verdict = checker::check(&history, &spec, &Budget::unlimited())?;
    let seconds = begun.elapsed().as_secs_f64();
    let (word, more) = match &verdict {
        Verdict::Valid(stats) => ("valid", format!("{:?}", stats.methods)),
        Verdict::Violation(violation) => {
            ("invalid", format!("{} operations, {}", violation.operations.len(), violation.why))
        }
        Verdict::Unknown(unknown) => ("unknown", format!("{:?}", unknown.exhausted)),
    };
    println!(
        "{}\t{word}\t{seconds:.6}\t{}\t{before_kib}\t{more}",
        history.operations().len(),
        memory_kib("VmHWM:")?
    );
    Ok(())
}

fn memory_kib(field: &str) -> Result<u64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(field)).ok_or("no such field")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}

fn read(file: &str) -> Result<History, Box<dyn std::error::Error>> {
    let mut builder = HistoryBuilder::new();
    let names: [std::sync::Arc<str>; 3] = ["read".into(), "write".into(), "cas".into()];
    for (line, text) in BufReader::new(File::open(file)?).lines().enumerate() {
        let json: serde_json::Value = serde_json::from_str(&text?)?;
        let kind = match json["type"].as_str() {
            Some("invoke") => EventKind::Invoke,
            Some("ok") => EventKind::Ok,
            Some("fail") => EventKind::Fail,
            _ => EventKind::Info,
        };
        let name = json["f"].as_str().ok_or("f is no string")?;
        let Some(process) = json["process"].as_i64() else { continue };
        let failure = match json["error"].as_str() {
            Some("precondition-failed") => Some(Failure::PreconditionFailed),
            Some("key-does-not-exist") => Some(Failure::KeyDoesNotExist),
            _ => None,
        };
        builder.push(Event {
            line: line as u64 + 1,
            process,
            kind,
            f: names.iter().find(|known| &***known == name).ok_or("f is unknown")?.clone(),
            key: None,
            value: value(&json["value"]),
            failure,
        })?;
    }
    Ok(builder.finish())
}

fn value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Number(number) => Value::Int(number.as_i64().unwrap_or(0)),
        serde_json::Value::Array(items) => Value::list(items.iter().map(value)),
        _ => Value::Null,
    }
}

/// SplitMix64, by S. Vigna.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }
}

#[derive(Clone, Copy)]
enum Op {
    Read,
    Write(u64),
    Cas(Option<u64>, u64),
}

struct Running {
    process: u64,
    client: usize,
    op: Op,
    /// The answer once it took effect: what was read, or whether the cas applied.
    answer: Option<(Option<u64>, bool)>,
}

fn json(value: Option<u64>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| value.to_string())
}

/// Simulates a register and its clients: an operation takes effect at a random event between its
/// invocation and its completion.
fn generate(
    shape: &str,
    operations: u64,
    clients: usize,
    file: &str,
    seed: u64,
) -> Result<(), Box<dyn std::error::Error>> {
    let (cas, unknown_per_10k, values) = match shape {
        "unique" | "stale" => (false, 0, 0),
        "cas" => (true, 100, 0),
        "lost" => (true, 1_340, 0),
        "five" => (false, 0, 5),
        _ => return Err("the shapes are unique, stale, cas, lost and five".into()),
    };
    let mut out = BufWriter::new(File::create(file)?);
    let mut random = Random(seed);
    let mut known: Vec<Option<u64>> = vec![None; clients];
    let mut idle: Vec<(usize, u64)> = (0..clients).map(|client| (client, client as u64)).collect();
    let mut running: Vec<Running> = Vec::new();
    let mut lingering: Vec<Running> = Vec::new();
    let (mut state, mut left, mut index) = (None, operations, 0_u64);
    let (mut next_value, mut next_process) = (1, clients as u64);
    let mut past = Vec::new();
    let mut stale_due = shape == "stale";
    while left > 0 || !running.is_empty() {
        if left > 0 && !idle.is_empty() && (running.is_empty() || random.below(3) == 0) {
            left -= 1;
            let (client, process) = idle.swap_remove(random.below(idle.len() as u64) as usize);
            let mut new = || {
                next_value += 1;
                if values == 0 { next_value } else { random.below(values) }
            };
            let fresh = new();
            let op = match random.below(10) {
                0..5 => Op::Read,
                5..8 if cas => Op::Cas(known[client], fresh),
                _ => Op::Write(fresh),
            };
            let (name, value) = match op {
                Op::Read => ("read", "null".to_owned()),
                Op::Write(value) => ("write", value.to_string()),
                Op::Cas(old, new) => ("cas", format!("[{},{new}]", json(old))),
            };
            writeln!(
                out,
                "{{\"index\":{index},\"time\":{index},\"process\":{process},\"type\":\"invoke\",\"f\":\"{name}\",\"value\":{value}}}"
            )?;
            index += 1;
            running.push(Running { process, client, op, answer: None });
            continue;
        }
        if !lingering.is_empty() && random.below(4) == 0 {
            let place = random.below(lingering.len() as u64) as usize;
            take_effect(&mut lingering.swap_remove(place), &mut state);
        }
        let place = random.below(running.len() as u64) as usize;
        // Half of the operations of unknown outcome end before they took effect.
        let mutates = !matches!(running[place].op, Op::Read);
        let early = running[place].answer.is_none();
        let lost = mutates && random.below(20_000) < unknown_per_10k;
        if early && !lost {
            take_effect(&mut running[place], &mut state);
            continue;
        }
        let done = running.swap_remove(place);
        let process = done.process;
        if lost {
            let name = if matches!(done.op, Op::Cas(..)) { "cas" } else { "write" };
            writeln!(
                out,
                "{{\"index\":{index},\"time\":{index},\"process\":{process},\"type\":\"info\",\"f\":\"{name}\",\"value\":null,\"error\":\"timeout\"}}"
            )?;
            index += 1;
            idle.push((done.client, next_process));
            next_process += 1;
            if early && random.below(2) == 0 {
                lingering.push(done);
            }
            continue;
        }
        let (mut value, applied) = done.answer.ok_or("it took effect")?;
        if matches!(done.op, Op::Read) {
            if stale_due && index > operations && past.len() > 1_000 {
                value = Some(past[past.len() - 500]);
                stale_due = false;
            }
            past.extend(value);
        }
        known[done.client] = value;
        let (name, text) = match done.op {
            Op::Read => ("read", json(value)),
            Op::Write(value) => ("write", value.to_string()),
            Op::Cas(old, new) => ("cas", format!("[{},{new}]", json(old))),
        };
        let (kind, error) = match (applied, done.op) {
            (true, _) => ("ok", ""),
            (false, _) => ("fail", ",\"error\":\"precondition-failed\""),
        };
        writeln!(
            out,
            "{{\"index\":{index},\"time\":{index},\"process\":{process},\"type\":\"{kind}\",\"f\":\"{name}\",\"value\":{text}{error}}}"
        )?;
        index += 1;
        idle.push((done.client, process));
    }
    out.flush()?;
    Ok(())
}

fn take_effect(running: &mut Running, state: &mut Option<u64>) {
    let applied = match running.op {
        Op::Read => true,
        Op::Write(value) => {
            *state = Some(value);
            true
        }
        Op::Cas(old, new) if old == *state => {
            *state = Some(new);
            true
        }
        Op::Cas(..) => false,
    };
    running.answer = Some((*state, applied));
}
