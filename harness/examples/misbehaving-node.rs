//! A node that misbehaves on purpose, for the harness's own tests.
//!
//! It speaks the client protocol with a register store in memory: `hello`, `status`, `read`,
//! `write`, `cas`. It has no peers and claims to lead; run it as a cluster of one. Nothing is
//! durable. Usage: `misbehaving-node MODE NODE_JSON`, where `NODE_JSON` is the file a node is
//! launched with (only `id`, `client_addr` and `data_dir` are used); modes that never listen need
//! none. `misbehaving-node describe` prints what a `describe` command prints.
//!
//! | mode | what it does |
//! |---|---|
//! | `well` | everything right |
//! | `exits-at-once` | prints a message to stderr and exits with 7 before it listens |
//! | `never-listens` | runs, but opens no port |
//! | `exits-later[:K]` | exits with 3 and a message, instead of answering its K-th read, write or cas (20) |
//! | `panics[:K]` | panics instead of answering its K-th read, write or cas (20); exits with 101 |
//! | `lies[:K]` | every K-th read (5) is answered with the value that was there before |
//! | `forgets[:K]` | every K-th write (5) is acknowledged and not done |
//! | `forks` | well, and starts a child that calls setsid, ignores signals and sleeps; its pid is in `data_dir/grandchild.pid` |
//! | `daemonizes` | like `forks`, but through a process between that ends: the sleeper's parent is gone |
//! | `hides` | like `daemonizes`, and the sleeper's environment is empty; `data_dir` is its last argument |
//! | `garbles` | answers every request with bytes that are no JSON |
//! | `hangs` | accepts connections, reads requests, and never answers |
//! | `refuses` | answers every read, write and cas with error 11 |
//! | `closes` | closes the connection instead of answering a read, write or cas, done all the same |
//! | `ignores-sigterm` | well, but SIGTERM does not end it |
//! | `sleeper`, `daemon` | what `forks` and `daemonizes` start |

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{SigHandler, Signal, signal};
use protocol::describe::Describe;
use protocol::launch::NodeConfig;
use protocol::message::{Body, Envelope, Reply, Request, Status};
use protocol::{NodeId, PROTOCOL_VERSION, error_code};
use serde_json::Value as Json;

/// What goes wrong; the module's table says what each means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Well,
    ExitsAtOnce,
    NeverListens,
    ExitsLater { requests: u64 },
    Panics { requests: u64 },
    Lies { every: u64 },
    Forgets { every: u64 },
    Forks,
    Garbles,
    Hangs,
    Refuses,
    Closes,
    IgnoresSigterm,
    Daemonizes,
    Hides,
    Daemon,
    Sleeper,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(word) = args.first() else { return usage("a mode is missing") };
    if word == "describe" {
        return describe();
    }
    let Some(mode) = parse_mode(word) else { return usage(&format!("unknown mode `{word}`")) };
    match mode {
        Mode::ExitsAtOnce => {
            eprintln!("misbehaving-node: exiting at once, as asked");
            return ExitCode::from(7);
        }
        Mode::NeverListens => sleep_for_ever(),
        Mode::Sleeper => {
            ignore(&[Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT]);
            sleep_for_ever()
        }
        Mode::IgnoresSigterm => ignore(&[Signal::SIGTERM]),
        Mode::Daemon => return finish(start_again("sleeper", args.get(1)).map(drop)),
        Mode::Panics { .. } => panics_end_the_process(),
        _ => {}
    }
    let Some(path) = args.get(1) else { return usage("the path of node.json is missing") };
    match read_config(Path::new(path)).and_then(|config| serve(mode, &config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("misbehaving-node: {path}: {error}");
            ExitCode::from(2)
        }
    }
}

fn finish(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => usage(&error.to_string()),
    }
}

/// A panic in one connection's thread alone would leave the node running.
fn panics_end_the_process() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        std::process::exit(101);
    }));
}

fn usage(what: &str) -> ExitCode {
    eprintln!("misbehaving-node: {what}; usage: misbehaving-node MODE NODE_JSON");
    ExitCode::from(2)
}

fn parse_mode(word: &str) -> Option<Mode> {
    let (name, count) = match word.split_once(':') {
        Some((name, count)) => (name, Some(count.parse::<u64>().ok().filter(|&n| n > 0)?)),
        None => (word, None),
    };
    let requests = count.unwrap_or(20);
    let every = count.unwrap_or(5);
    Some(match name {
        "well" => Mode::Well,
        "exits-at-once" => Mode::ExitsAtOnce,
        "never-listens" => Mode::NeverListens,
        "exits-later" => Mode::ExitsLater { requests },
        "panics" => Mode::Panics { requests },
        "lies" => Mode::Lies { every },
        "forgets" => Mode::Forgets { every },
        "forks" => Mode::Forks,
        "garbles" => Mode::Garbles,
        "hangs" => Mode::Hangs,
        "refuses" => Mode::Refuses,
        "closes" => Mode::Closes,
        "ignores-sigterm" => Mode::IgnoresSigterm,
        "daemonizes" => Mode::Daemonizes,
        "hides" => Mode::Hides,
        "daemon" => Mode::Daemon,
        "sleeper" => Mode::Sleeper,
        _ => return None,
    })
}

fn describe() -> ExitCode {
    let describe = Describe {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: PROTOCOL_VERSION,
        family: "raft".to_owned(),
        modes: vec!["tcp".to_owned()],
        features: vec!["hello".to_owned(), "status".to_owned()],
        bugs: Vec::new(),
    };
    match serde_json::to_string(&describe) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => usage(&error.to_string()),
    }
}

fn ignore(signals: &[Signal]) {
    for &each in signals {
        // SAFETY: no handler is installed.
        if let Err(errno) = unsafe { signal(each, SigHandler::SigIgn) } {
            eprintln!("misbehaving-node: cannot ignore {each}: {errno}");
        }
    }
}

fn sleep_for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn read_config(path: &Path) -> io::Result<NodeConfig> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// The registers, with what misbehaving needs to remember.
#[derive(Default)]
struct Store {
    now: HashMap<String, Json>,
    /// What each key held before its last change.
    before: HashMap<String, Json>,
    requests: u64,
    reads: u64,
    writes: u64,
}

fn serve(mode: Mode, config: &NodeConfig) -> io::Result<()> {
    match mode {
        Mode::Forks => {
            let child = start_again("sleeper", None)?;
            std::fs::write(config.data_dir.join("grandchild.pid"), child.id().to_string())?;
        }
        Mode::Daemonizes => drop(start_again("daemon", None)?.wait()?),
        Mode::Hides => {
            let name = config.data_dir.display().to_string();
            start_again("daemon", Some(&name))?.wait()?;
        }
        _ => {}
    }
    let listener = TcpListener::bind(&config.client_addr)?;
    println!("{} listens on {}", config.id, config.client_addr);
    let store = Arc::new(Mutex::new(Store::default()));
    for connection in listener.incoming() {
        let (connection, store, id) = (connection?, Arc::clone(&store), config.id.clone());
        std::thread::spawn(move || {
            // A client that goes away is no event for a node.
            let _ = converse(mode, &id, &connection, &store);
        });
    }
    Ok(())
}

/// Starts this program again in `mode`, in a session of its own; with a name to be found by it
/// gets no environment.
fn start_again(mode: &str, name: Option<&String>) -> io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.arg(mode).stdin(Stdio::null());
    if let Some(name) = name {
        command.arg(name).env_clear();
    }
    // SAFETY: setsid is a single system call, allowed between fork and exec.
    unsafe { command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(io::Error::from)) };
    command.spawn()
}

fn converse(
    mode: Mode,
    id: &NodeId,
    mut connection: &TcpStream,
    store: &Mutex<Store>,
) -> io::Result<()> {
    for line in BufReader::new(connection).lines() {
        let line = line?;
        match mode {
            Mode::Hangs => continue,
            Mode::Garbles => {
                connection.write_all(b"\x00\xff}{ not json at all\n")?;
                continue;
            }
            _ => {}
        }
        let Ok(request) = serde_json::from_str::<Envelope<Body<Request>>>(&line) else {
            eprintln!("{id}: cannot read {line}");
            continue;
        };
        let is_operation = matches!(
            request.body.payload,
            Request::Read { .. } | Request::Write { .. } | Request::Cas { .. }
        );
        let reply = answer(mode, id, request.body.payload, store);
        if is_operation && mode == Mode::Closes {
            return connection.shutdown(Shutdown::Both);
        }
        let reply = Envelope {
            src: id.clone(),
            dest: request.src,
            body: Body { msg_id: None, in_reply_to: request.body.msg_id, payload: reply },
        };
        let mut line = serde_json::to_string(&reply)?;
        line.push('\n');
        connection.write_all(line.as_bytes())?;
    }
    Ok(())
}

fn answer(mode: Mode, id: &NodeId, request: Request, store: &Mutex<Store>) -> Reply {
    let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
    match request {
        Request::Init { .. } => Reply::InitOk {},
        Request::Hello { .. } => Reply::HelloOk {
            version: PROTOCOL_VERSION,
            features: vec!["hello".to_owned(), "status".to_owned()],
        },
        Request::Status {} => Reply::StatusOk(Status {
            role: "leader".to_owned(),
            term: 1,
            leader: Some(id.clone()),
            commit: store.requests,
            applied: store.requests,
        }),
        operation => operate(mode, operation, &mut store),
    }
}

fn operate(mode: Mode, operation: Request, store: &mut MutexGuard<'_, Store>) -> Reply {
    store.requests += 1;
    match mode {
        Mode::ExitsLater { requests } if store.requests >= requests => {
            eprintln!("misbehaving-node: exiting after {requests} requests, as asked");
            std::process::exit(3);
        }
        Mode::Panics { requests } if store.requests >= requests => {
            panic!("misbehaving-node: panicking after {requests} requests, as asked");
        }
        Mode::Refuses => return refusal(error_code::TEMPORARILY_UNAVAILABLE, "not now, as asked"),
        _ => {}
    }
    match operation {
        Request::Read { key } => {
            store.reads += 1;
            let is_lie = matches!(mode, Mode::Lies { every } if store.reads.is_multiple_of(every));
            let from = if is_lie { &store.before } else { &store.now };
            match from.get(&key.to_string()).filter(|value| !value.is_null()) {
                Some(value) => Reply::ReadOk { value: value.clone() },
                None => refusal(error_code::KEY_DOES_NOT_EXIST, "never written"),
            }
        }
        Request::Write { key, value } => {
            store.writes += 1;
            if !matches!(mode, Mode::Forgets { every } if store.writes.is_multiple_of(every)) {
                put(store, key.to_string(), value);
            }
            Reply::WriteOk {}
        }
        Request::Cas { key, from, to } => match store.now.get(&key.to_string()) {
            None => refusal(error_code::KEY_DOES_NOT_EXIST, "never written"),
            Some(value) if *value != from => {
                refusal(error_code::PRECONDITION_FAILED, &format!("it holds {value}"))
            }
            Some(_) => {
                put(store, key.to_string(), to);
                Reply::CasOk {}
            }
        },
        _ => refusal(error_code::NOT_SUPPORTED, "not an operation"),
    }
}

fn put(store: &mut Store, key: String, value: Json) {
    let before = store.now.insert(key.clone(), value).unwrap_or(Json::Null);
    store.before.insert(key, before);
}

fn refusal(code: u32, text: &str) -> Reply {
    Reply::Error { code, text: text.to_owned(), leader: None }
}
