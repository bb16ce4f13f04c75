//! Reads the process table, and signals processes that are not our direct children.
//!
//! Such a process may end at any moment and its pid be given to a stranger; therefore a pidfd is
//! opened first, then the start time is compared with the one seen in the table, then the signal
//! goes through the pidfd, which cannot move to another process.

use std::fs;
use std::io;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A row of the process table. Pids are those of the `/proc` that this process sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The process.
    pub pid: i32,
    /// Its parent; 0 if that is outside of the namespace.
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    /// Its session.
    pub session: i32,
    /// One letter, as in `/proc/<pid>/stat`: `R`, `S`, `D`, `T`, `Z`, …
    pub state: char,
    /// Its start, in clock ticks since boot; with the pid it identifies a process.
    pub start_ticks: u64,
    /// Threads, the dead main one of a process with living threads included.
    threads: u32,
}

impl Process {
    /// Reads one process; `None` when there is none (or no `/proc`).
    pub fn read(pid: i32) -> Option<Process> {
        parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Whether it can still do anything. A process whose main thread alone has ended is shown as a
    /// zombie while its other threads run on.
    pub fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x') || self.threads > 1
    }

    /// The value of a variable in the environment that its program was started with; `None` also
    /// when that may not be read.
    pub fn variable(&self, name: &str) -> Option<String> {
        let environ = fs::read(format!("/proc/{}/environ", self.pid)).ok()?;
        environ.split(|&byte| byte == 0).find_map(|entry| {
            let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            Some(String::from_utf8_lossy(value).into_owned())
        })
    }

    /// Sends `signal` if this very process still exists. True: it was sent.
    ///
    /// # Errors
    /// What the kernel refused; a process that has gone is not an error.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(false) };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        match Process::read(self.pid) {
            Some(now) if now.start_ticks == self.start_ticks => {}
            _ => return Ok(false),
        }
        match pidfd_send_signal(pidfd, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// All processes that this process can see, in no particular order. Not a snapshot: processes
/// that come and go while it is read may be missing; callers repeat until nothing new appears.
pub fn process_table() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Process::read)
        .collect()
}

/// Adds to `found` (indexes into `table`) every process whose parent is in it, and theirs.
pub(super) fn close_over_children(table: &[Process], found: &mut Vec<usize>) {
    let mut next = 0;
    while next < found.len() {
        let parent = table[found[next]].pid;
        for (index, process) in table.iter().enumerate() {
            if process.parent == parent && !found.contains(&index) {
                found.push(index);
            }
        }
        next += 1;
    }
}

/// The processes below `ancestor`, itself not included.
pub(super) fn descendants_of(ancestor: i32) -> Vec<Process> {
    let table = process_table();
    let mut found: Vec<usize> =
        (0..table.len()).filter(|&index| table[index].parent == ancestor).collect();
    close_over_children(&table, &mut found);
    found.into_iter().map(|index| table[index].clone()).collect()
}

/// Reads a line of `/proc/<pid>/stat` (proc_pid_stat(5)). The second field is the program's name
/// in parentheses and may itself hold spaces, parentheses and bytes that are no UTF-8.
fn parse_stat(line: &[u8]) -> Option<Process> {
    let open = line.iter().position(|&byte| byte == b'(')?;
    let close = line.iter().rposition(|&byte| byte == b')')?;
    let pid = std::str::from_utf8(line.get(..open)?).ok()?.trim().parse().ok()?;
    let rest = std::str::from_utf8(line.get(close + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // `fields` begins with the line's third field, the state.
    let number = |field: usize| -> Option<i32> { fields.get(field - 3)?.parse().ok() };
    Some(Process {
        pid,
        state: fields.first()?.chars().next()?,
        parent: number(4)?,
        group: number(5)?,
        session: number(6)?,
        threads: fields.get(20 - 3)?.parse().ok()?,
        start_ticks: fields.get(22 - 3)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "7 (a) b (c) T 3 7 6 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 9 0 555 0 0";

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let process = parse_stat(STAT.as_bytes()).unwrap();
        assert_eq!((process.pid, process.parent, process.group, process.session), (7, 3, 7, 6));
        assert_eq!((process.state, process.start_ticks, process.threads), ('T', 555, 9));
    }

    #[test]
    fn a_name_that_is_no_utf8_is_read() {
        let mut line = STAT.as_bytes().to_vec();
        line[3] = 0xff;
        assert_eq!(parse_stat(&line).unwrap().start_ticks, 555);
    }

    #[test]
    fn a_cut_line_is_no_process() {
        for len in 0..STAT.find("555").unwrap() {
            assert_eq!(parse_stat(&STAT.as_bytes()[..len]), None, "{}", &STAT[..len]);
        }
    }

    #[test]
    fn a_process_is_not_signalled_under_another_start_time() {
        let mut me = Process::read(std::process::id().cast_signed()).unwrap();
        me.start_ticks += 1;
        // SIGKILL to ourselves would be noticed.
        assert!(!me.signal(Signal::KILL).unwrap());
    }
}
