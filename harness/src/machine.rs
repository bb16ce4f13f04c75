//! What a run's manifest says of the machine, and the few things taken from it.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use rand::TryRng;
use rand::rngs::SysRng;
use results::manifest::Machine;

/// Environment variables that change what a run does.
const RELEVANT: [&str; 3] =
    [crate::guardian::MODE_VARIABLE, crate::logging::FILTER_VARIABLE, "PATH"];

/// This machine.
pub fn describe() -> Machine {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(0, |n| n.get() as u32);
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory_kib: u64 = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0);
    Machine { kernel: kernel.trim().to_owned(), cpus, memory_bytes: memory_kib * 1024 }
}

/// The environment variables that a run depends on.
pub fn environment() -> BTreeMap<String, String> {
    RELEVANT
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
        .collect()
}

/// Nanoseconds since the Unix epoch.
pub fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// Random bits of the operating system: for seeds and names that nobody fixed.
pub fn entropy() -> u64 {
    SysRng.try_next_u64().unwrap_or_else(|_| unix_ns() ^ u64::from(std::process::id()))
}
