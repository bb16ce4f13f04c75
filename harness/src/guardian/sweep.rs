//! The harness's own net below the guardian: finds and kills what a dead guardian left behind.
//!
//! A guardian that was killed cannot clean up. Its nodes die of their parent-death signal; what
//! they had started becomes the harness's child, because the harness is a subreaper as well.

use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

use super::NODE_VARIABLE;
use super::process::{Process, close_over_children, process_table};

/// How long a sweep tries before it reports what would not go.
const SWEEP_MAX: Duration = Duration::from_secs(10);

/// How often a sweep looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Guardians of this process that live: they and what is below them are not to be swept.
static LIVING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Processes that were found alive and killed.
    pub killed: u32,
    /// Processes that were still there at the end.
    pub lingering: u32,
}

/// Makes this process the one to which orphans below it fall, instead of the machine's init.
///
/// # Errors
/// What the kernel said; Linux has known this since 3.4.
pub fn become_subreaper() -> io::Result<()> {
    nix::sys::prctl::set_child_subreaper(true).map_err(io::Error::from)
}

/// Starts a guardian and notes that it lives, as one step for any sweep that runs meanwhile.
pub(super) fn register<E>(
    start: impl FnOnce() -> Result<std::process::Child, E>,
) -> Result<std::process::Child, E> {
    let mut living = LIVING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let child = start()?;
    living.insert(child.id().cast_signed());
    Ok(child)
}

/// Notes that a guardian has been reaped.
pub(super) fn forget(guardian_pid: i32) {
    LIVING.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&guardian_pid);
}

/// Kills what a dead guardian left behind and waits until it has gone. `run_tag` marks what it
/// had started; what hides the mark is known by having been started after the guardian
/// (`since_ticks`) in a session that is not ours, since nothing else below the harness has one.
pub(super) fn sweep(run_tag: &str, since_ticks: u64) -> SweepReport {
    let deadline = Instant::now() + SWEEP_MAX;
    let mut killed = BTreeSet::new();
    loop {
        let left = left_behind(run_tag, since_ticks);
        for process in &left {
            if process.is_alive() && process.signal(Signal::KILL).unwrap_or(false) {
                killed.insert((process.pid, process.start_ticks));
            }
            // Only our own children can be reaped; the others become ours when their parents go.
            if let Some(pid) = Pid::from_raw(process.pid) {
                let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
            }
        }
        if left.is_empty() || Instant::now() >= deadline {
            return SweepReport {
                killed: u32::try_from(killed.len()).unwrap_or(u32::MAX),
                lingering: u32::try_from(left.len()).unwrap_or(u32::MAX),
            };
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn left_behind(run_tag: &str, since_ticks: u64) -> Vec<Process> {
    let own_pid = std::process::id().cast_signed();
    let Some(own) = Process::read(own_pid) else { return Vec::new() };
    let living = LIVING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let table = process_table();
    let marked = format!("{run_tag}/");
    let mut found: Vec<usize> = (0..table.len())
        .filter(|&index| {
            let process = &table[index];
            process.parent == own_pid
                && !living.contains(&process.pid)
                && ((process.session != own.session && process.start_ticks >= since_ticks)
                    || process
                        .variable(NODE_VARIABLE)
                        .is_some_and(|value| value.starts_with(&marked)))
        })
        .collect();
    close_over_children(&table, &mut found);
    found.into_iter().map(|index| table[index].clone()).collect()
}
