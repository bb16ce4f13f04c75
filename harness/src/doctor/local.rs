//! Probes that leave this process as it was. Each says what it found, or what was refused.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;

use crate::guardian::{Process, process_table};

/// Descriptors that a run with default settings may need: nodes times links times two ends.
const OPEN_FILES_MIN: u64 = 1024;

/// Room below which a run may well fail, in bytes.
const SPACE_MIN_BYTES: u64 = 1 << 30;

/// How many times a write is synced to learn what it costs.
const FSYNCS: usize = 20;

/// A median above this makes default election timeouts (300 ms) too short for comfort.
const FSYNC_SLOW: Duration = Duration::from_millis(50);

/// Highest port that the kernel must not hand out to outgoing connections.
const NODE_PORTS_END: u32 = 10_000;

pub(super) fn proc_files() -> Result<String, String> {
    let own_pid = std::process::id().cast_signed();
    if Process::read(own_pid).is_none() {
        return Err("cannot read /proc/self/stat; mount proc on /proc".to_owned());
    }
    let table = process_table();
    if !table.iter().any(|process| process.pid == own_pid) {
        return Err("/proc does not list this process; is it another namespace's?".to_owned());
    }
    Ok(format!("{} processes visible", table.len()))
}

pub(super) fn loopback() -> Result<String, String> {
    // Runs draw their networks at random; two far apart show that the whole range is local.
    for ip in [Ipv4Addr::new(127, 11, 7, 1), Ipv4Addr::new(127, 250, 250, 254)] {
        TcpListener::bind((ip, 0)).map_err(|error| {
            format!("cannot listen on {ip}: {error}; 127.0.0.0/8 should be on lo")
        })?;
    }
    Ok("listens on 127.11.7.1 and 127.250.250.254".to_owned())
}

pub(super) fn ports() -> Result<String, String> {
    let path = "/proc/sys/net/ipv4/ip_local_port_range";
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    match text.split_ascii_whitespace().next().and_then(|first| first.parse::<u32>().ok()) {
        Some(first) if first >= NODE_PORTS_END => Ok(format!("ephemeral ports begin at {first}")),
        Some(first) => Err(format!(
            "ephemeral ports begin at {first}; a range from {NODE_PORTS_END} up in {path} would \
             leave more room"
        )),
        None => Err(format!("{path} holds no number: {}", text.trim())),
    }
}

pub(super) fn open_files() -> Result<String, String> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)
        .map_err(|errno| format!("cannot read the limit: {}", errno.desc()))?;
    let found = format!("{soft} (may be raised to {hard})");
    if hard >= OPEN_FILES_MIN {
        Ok(found)
    } else {
        Err(format!("{found}; `ulimit -n {OPEN_FILES_MIN}` or more would do"))
    }
}

pub(super) fn space(dir: &Path) -> Result<String, String> {
    let stat = statvfs(dir).map_err(|errno| format!("{}: {}", dir.display(), errno.desc()))?;
    let free = stat.blocks_available() * stat.fragment_size();
    let found = format!("{} MiB free in {}", free >> 20, dir.display());
    if free >= SPACE_MIN_BYTES { Ok(found) } else { Err(format!("{found}; 1 GiB is advisable")) }
}

pub(super) fn fsync(dir: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("cannot write in {}: {error}", dir.display());
    let mut file = tempfile::tempfile_in(dir).map_err(failed)?;
    let mut took = Vec::with_capacity(FSYNCS);
    for _ in 0..FSYNCS {
        let start = Instant::now();
        file.write_all(&[0; 4096]).and_then(|()| file.sync_data()).map_err(failed)?;
        took.push(start.elapsed());
    }
    took.sort_unstable();
    let (median, max) = (took[FSYNCS / 2], took[FSYNCS - 1]);
    let found = format!(
        "4 KiB written and synced in {:.2} ms (median), {:.2} ms (longest of {FSYNCS})",
        median.as_secs_f64() * 1e3,
        max.as_secs_f64() * 1e3
    );
    if median <= FSYNC_SLOW { Ok(found) } else { Err(format!("{found}: slow")) }
}

pub(super) fn fuse() -> Result<String, String> {
    let path = "/dev/fuse";
    match File::options().read(true).write(true).open(path) {
        Ok(_) => Ok(format!("{path} can be opened")),
        Err(error) => Err(format!(
            "cannot open {path}: {error}; in a container, `--device /dev/fuse` would allow it"
        )),
    }
}

pub(super) fn cpus() -> Result<String, String> {
    match std::thread::available_parallelism() {
        Ok(count) if count.get() > 1 => Ok(format!("{count} may be used")),
        Ok(_) => Err("only one: everything takes turns".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
