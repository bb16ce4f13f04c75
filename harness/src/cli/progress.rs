//! What a run looks like while it goes on: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::coordinator::Snapshot;
use crate::driver::Watcher;

/// Plain lines come this often, and whenever the phase changes.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// A watcher for standard error as it is: a terminal or not. `quiet` shows nothing.
pub fn watcher(length: Duration, quiet: bool) -> Box<dyn Watcher> {
    if quiet {
        Box::new(Nothing)
    } else if std::io::stderr().is_terminal() {
        Box::new(Bar::new(length))
    } else {
        Box::new(Lines::default())
    }
}

struct Nothing;

impl Watcher for Nothing {
    fn show(&mut self, _: Duration, _: &Snapshot) {}
}

/// Operations a second since the last look.
#[derive(Default)]
struct Rate {
    at: Duration,
    count: u64,
    per_second: f64,
}

impl Rate {
    fn update(&mut self, now: Duration, count: u64) -> f64 {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        if passed > 0.2 {
            self.per_second = (count - self.count) as f64 / passed;
            (self.at, self.count) = (now, count);
        }
        self.per_second
    }
}

struct Bar {
    bar: ProgressBar,
    rate: Rate,
}

impl Bar {
    fn new(length: Duration) -> Self {
        let target = ProgressDrawTarget::stderr();
        let bar = ProgressBar::with_draw_target(Some(length.as_millis() as u64), target);
        let style = ProgressStyle::with_template("{bar:24} {msg}").expect("a constant template");
        bar.set_style(style);
        Bar { bar, rate: Rate::default() }
    }
}

impl Watcher for Bar {
    fn show(&mut self, elapsed: Duration, snapshot: &Snapshot) {
        let per_second = self.rate.update(elapsed, snapshot.totals.all());
        self.bar.set_position(elapsed.as_millis() as u64);
        self.bar.set_message(describe(elapsed, snapshot, per_second));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[derive(Default)]
struct Lines {
    rate: Rate,
    next: Duration,
    phase: &'static str,
}

impl Watcher for Lines {
    fn show(&mut self, elapsed: Duration, snapshot: &Snapshot) {
        if elapsed < self.next && snapshot.phase == self.phase {
            return;
        }
        self.next = elapsed + LINE_EVERY;
        self.phase = snapshot.phase;
        let per_second = self.rate.update(elapsed, snapshot.totals.all());
        anstream::eprintln!("{}", describe(elapsed, snapshot, per_second));
    }
}

fn describe(elapsed: Duration, snapshot: &Snapshot, per_second: f64) -> String {
    let leader = snapshot.leader.as_ref().map_or("no leader", |leader| leader.as_str());
    let faults = match snapshot.faults.is_empty() {
        true => "no faults".to_owned(),
        false => snapshot.faults.join(" + "),
    };
    let totals = snapshot.totals;
    format!(
        "{:5.1} s  {:11}  {per_second:6.0} ops/s  {} ok {} fail {} info  {leader}  {} up  {faults}",
        elapsed.as_secs_f64(),
        snapshot.phase,
        totals.ok,
        totals.fail,
        totals.info,
        snapshot.nodes_awake,
    )
}
