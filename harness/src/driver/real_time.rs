//! The real-time driver: tokio, processes, sockets, the machine's clock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use protocol::NodeId;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

use super::client_task::{self, Command, client_name};
use super::node_files::{Launcher, PrepareError, disk_excuse, log_tail};
use super::{Recorder, limits, poller, probe};
use crate::coordinator::event::{Action, Ending, Event, Nanos, Note};
use crate::coordinator::{Coordinator, Plan, Snapshot};
use crate::guardian::{Exited, Guardian, GuardianCommand, GuardianEvent};
use crate::net::{Network, NetworkConfig, Subnet};
use crate::panics;

/// What a run needs.
pub struct Setup {
    /// What fixes the run.
    pub plan: Plan,
    /// How nodes are started.
    pub launcher: Launcher,
    /// Where things are written down.
    pub recorder: Recorder,
    /// The run's own part of loopback.
    pub subnet: Subnet,
    /// The run's time zero.
    pub began: Instant,
}

/// Is shown the run while it goes on.
pub trait Watcher {
    /// Called a few times a second.
    fn show(&mut self, elapsed: Duration, snapshot: &Snapshot);
}

/// The harness could not do its part. What was recorded stays.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// No guardian.
    #[error(transparent)]
    Guardian(#[from] crate::guardian::GuardianError),
    /// No network.
    #[error(transparent)]
    Network(#[from] crate::net::NetError),
    /// A record could not be written.
    #[error("cannot record the run: {0}")]
    Record(#[from] results::Error),
}

/// A run in real time.
pub struct RealTime {
    coordinator: Coordinator,
    launcher: Launcher,
    recorder: Recorder,
    guardian: Guardian,
    network: Arc<Network>,
    clients: Vec<(mpsc::Sender<Command>, JoinHandle<()>)>,
    events: mpsc::Sender<Event>,
    /// The incarnation that runs, for pollers.
    incarnations: BTreeMap<NodeId, Arc<AtomicU32>>,
    /// Which nodes were started and have not been seen to end, and their incarnation.
    running: BTreeMap<NodeId, u32>,
    began: Instant,
    ending: Option<Ending>,
    /// The first failure of recording; nothing is recorded after it.
    record_failed: Option<String>,
    /// Whether the coordinator knows of it.
    record_failure_told: bool,
    /// Events that carrying out actions led to; they wait until all of those are carried out.
    follow_ups: VecDeque<Event>,
    /// Panics of this process before the run.
    panics_before: usize,
}

impl RealTime {
    /// Runs to the end and gives back how it ended, and the records, still open for the outcome.
    ///
    /// # Errors
    /// [`DriveError`] if the run could not begin.
    pub async fn run(
        setup: Setup,
        mut interrupts: mpsc::Receiver<()>,
        watcher: &mut dyn Watcher,
    ) -> Result<(Ending, Recorder), DriveError> {
        let (events, mut inbox) = mpsc::channel(limits::EVENTS_MAX);
        let (mut this, mut guardian_events) = RealTime::begin(setup, events).await?;
        let now = this.now();
        let first = this.coordinator.begin(now);
        this.carry_out(now, first).await;
        this.follow_up().await;
        let mut flush = ticks(limits::FLUSH);
        let mut show = ticks(limits::SHOW);
        while this.ending.is_none() {
            let wakeup = this.coordinator.next_wakeup(this.now());
            let until = wakeup.map(|at| Duration::from_nanos(at.saturating_sub(this.now())));
            let event = tokio::select! {
                // What is rarely ready comes first, so that a flood of the rest delays none of it.
                // Whatever the event, the coordinator also does what its time has come for.
                biased;
                _ = flush.tick() => {
                    this.record(Recorder::flush);
                    panics::first_since(this.panics_before).map(|p| Event::HarnessFailed(panicked(&p)))
                }
                _ = show.tick() => {
                    watcher.show(this.began.elapsed(), &this.coordinator.snapshot());
                    None
                }
                Some(()) = interrupts.recv() => Some(Event::Interrupted),
                event = guardian_events.recv() => this.take_guardian_event(event),
                Some(event) = inbox.recv() => Some(event),
                () = sleep(until.unwrap_or_default()), if until.is_some() => Some(Event::Wakeup),
            };
            if let Some(event) = event {
                this.hand_over(event).await;
            }
            if let Some(why) = this.record_failed.clone().filter(|_| !this.record_failure_told) {
                this.record_failure_told = true;
                let why = format!("cannot record the run: {why}");
                this.hand_over(Event::HarnessFailed(why)).await;
            }
        }
        this.end(guardian_events, inbox).await
    }

    async fn begin(
        setup: Setup,
        events: mpsc::Sender<Event>,
    ) -> Result<(Self, mpsc::Receiver<GuardianEvent>), DriveError> {
        let panics_before = panics::count();
        let Setup { plan, launcher, mut recorder, subnet, began } = setup;
        let (guardian, guardian_events) = Guardian::spawn(Default::default()).await?;
        let failed = events.clone();
        let messages = recorder.start_messages(move |why| {
            let event = Event::HarnessFailed(format!("cannot record messages: {why}"));
            // Nobody listens any more only when the run is over.
            let _ = failed.blocking_send(event);
        })?;
        let config = NetworkConfig {
            nodes: plan.nodes.clone(),
            clients: (0..plan.clients).map(client_name).collect(),
            framing: launcher.system.peer_framing,
            lossy: launcher.system.is_lossy(),
            seed: plan.seed,
            subnet,
        };
        let clock = move || began.elapsed().as_nanos() as u64;
        let network = Arc::new(Network::start(config, clock, Some(messages))?);
        let clients = (0..plan.clients)
            .map(|client| client_task::spawn(client, Arc::clone(&network), events.clone()))
            .collect();
        let incarnations: BTreeMap<NodeId, Arc<AtomicU32>> =
            plan.nodes.iter().map(|node| (node.clone(), Arc::default())).collect();
        for (node, incarnation) in &incarnations {
            let address = network.addresses().node(node).expect("every node has addresses").client;
            poller::spawn(node.clone(), address, Arc::clone(incarnation), events.clone());
        }
        let this = RealTime {
            coordinator: Coordinator::new(plan),
            launcher,
            recorder,
            guardian,
            network,
            clients,
            events,
            incarnations,
            running: BTreeMap::new(),
            began,
            ending: None,
            record_failed: None,
            record_failure_told: false,
            follow_ups: VecDeque::new(),
            panics_before,
        };
        Ok((this, guardian_events))
    }

    fn now(&self) -> Nanos {
        self.began.elapsed().as_nanos() as Nanos
    }

    /// Hands an event to the coordinator and carries out what it asks for.
    async fn hand_over(&mut self, event: Event) {
        self.follow_ups.push_back(event);
        self.follow_up().await;
    }

    /// Hands over what carrying out actions led to, until it leads to nothing more.
    async fn follow_up(&mut self) {
        while let Some(event) = self.follow_ups.pop_front() {
            let now = self.now();
            let actions = self.coordinator.handle(now, event);
            self.carry_out(now, actions).await;
        }
    }

    fn take_guardian_event(&mut self, event: Option<GuardianEvent>) -> Option<Event> {
        let Some(event) = event else {
            self.ending.get_or_insert_with(|| {
                Ending::HarnessFailed("the guardian ended without a word".to_owned())
            });
            return None;
        };
        match event {
            GuardianEvent::Started { node, incarnation, pid, host_pid } => {
                let pid = host_pid.or(Some(pid));
                tracing::info!(%node, incarnation, pid, "node started");
                Some(Event::Started { node, incarnation, pid })
            }
            GuardianEvent::StartFailed { node, incarnation, why } => {
                Some(Event::StartFailed { node, incarnation, why })
            }
            GuardianEvent::Stopped { node, incarnation, state, .. } => {
                Some(Event::Stopped { node, incarnation, state })
            }
            GuardianEvent::Continued { node, incarnation, .. } => {
                Some(Event::Continued { node, incarnation })
            }
            GuardianEvent::Exited(exited) => Some(self.exited(exited)),
            GuardianEvent::SignalFailed { node, signal, why, .. } => {
                // A node that has just exited cannot be signalled; its exit is reported as well.
                tracing::warn!(%node, %signal, why, "signal had no effect");
                None
            }
            GuardianEvent::BadCommand { why } => {
                Some(Event::HarnessFailed(format!("the guardian refused a command: {why}")))
            }
            GuardianEvent::Refused { why } | GuardianEvent::Died { why, .. } => {
                // Its nodes are gone with it: no exit will be reported.
                self.close_incarnations();
                self.ending = Some(Ending::HarnessFailed(format!("the guardian ended: {why}")));
                None
            }
            GuardianEvent::Ready { .. } | GuardianEvent::Finished { .. } => None,
        }
    }

    fn exited(&mut self, exited: Exited) -> Event {
        let Exited { node, incarnation, status, by_us, .. } = exited;
        tracing::info!(%node, incarnation, %status, by_us, "node ended");
        self.running.remove(&node);
        let sent = self.network.has_sent(&node, incarnation);
        self.recorder.incarnation(&node, incarnation, sent, by_us);
        let log_tail = log_tail(&self.launcher.run_dir.node_log(&node));
        let excuse =
            self.record_failed.clone().or_else(|| disk_excuse(self.launcher.run_dir.path()));
        Event::Exited { node, incarnation, status, by_us, excuse, log_tail }
    }

    /// Carries out what was decided `now`; records bear that time, so that theirs never decrease.
    async fn carry_out(&mut self, now: Nanos, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start { node, incarnation } => self.start(node, incarnation),
                Action::Signal { node, incarnation, signal } => {
                    self.command(GuardianCommand::Signal { node, incarnation, signal });
                }
                Action::Try { client, node, msg_id, request } => {
                    self.tell(client, Command::Try { node, msg_id, request }).await;
                }
                Action::Abandon { client, msg_id } => {
                    self.tell(client, Command::Abandon { msg_id }).await;
                }
                Action::PublishLinks(table) => {
                    if let Err(error) = self.network.publish(&table) {
                        self.fail(format!("cannot put link rules in force: {error}"));
                    }
                }
                Action::Count(fault) => {
                    let counters = self.network.counters(fault);
                    self.follow_ups.push_back(Event::Counted { fault, counters });
                }
                Action::Invoke(invoke) => self.record(|r| r.invoke(now, &invoke)),
                Action::Complete(complete) => self.record(|r| r.complete(now, &complete)),
                Action::Fault(event) => self.record(|r| r.fault(&event)),
                Action::Flush => self.record(Recorder::flush),
                Action::Note(note) => {
                    if note == Note::Healed {
                        self.start_probing();
                    }
                    self.record(|r| r.note(now, note));
                }
                Action::Finish(ending) => self.ending = Some(ending),
            }
        }
    }

    fn start(&mut self, node: NodeId, incarnation: u32) {
        if let Some(current) = self.incarnations.get(&node) {
            current.store(incarnation, Ordering::Relaxed);
        }
        self.network.set_incarnation(&node, incarnation);
        match self.launcher.prepare(&node, incarnation, self.network.addresses()) {
            Ok(start) => {
                self.running.insert(node, incarnation);
                self.command(GuardianCommand::Start(start));
            }
            Err(error) => {
                if matches!(error, PrepareError::Results(_)) {
                    self.fail(format!("cannot prepare node {node}: {error}"));
                }
                // Nothing else will ever be heard of this start.
                let why = error.to_string();
                self.follow_ups.push_back(Event::StartFailed { node, incarnation, why });
            }
        }
    }

    /// Nodes that were never seen to end were ended by the guardian's end, which is ours.
    fn close_incarnations(&mut self) {
        for (node, incarnation) in std::mem::take(&mut self.running) {
            let sent = self.network.has_sent(&node, incarnation);
            self.recorder.incarnation(&node, incarnation, sent, true);
        }
    }

    fn command(&mut self, command: GuardianCommand) {
        if let Err(error) = self.guardian.send(command) {
            self.fail(error.to_string());
        }
    }

    async fn tell(&mut self, client: usize, command: Command) {
        if self.clients[client].0.send(command).await.is_err() {
            self.fail(format!("client {client} has ended"));
        }
    }

    fn record(&mut self, write: impl FnOnce(&mut Recorder) -> Result<(), results::Error>) {
        // After the first failure nothing more is written: a record with a hole is worse than one
        // that ends.
        if self.record_failed.is_none() {
            let result = write(&mut self.recorder);
            self.recorded(result);
        }
    }

    fn recorded(&mut self, result: Result<(), results::Error>) {
        if let (Err(error), None) = (result, &self.record_failed) {
            self.record_failed = Some(error.to_string());
        }
    }

    fn fail(&mut self, why: String) {
        tracing::error!(why, "the harness failed");
        self.follow_ups.push_back(Event::HarnessFailed(why));
    }

    fn start_probing(&mut self) {
        match tempfile::tempfile_in(self.launcher.run_dir.path()) {
            Ok(scratch) => probe::spawn(scratch, self.events.clone()),
            // Without probes a missing recovery is `unknown`, which is what we then know.
            Err(error) => tracing::warn!(%error, "cannot probe the disk"),
        }
    }

    /// The guardian does not end though it was told to: it is stopped or stuck. What it leaves
    /// behind is swept up when its death is noticed.
    fn kill_guardian(&mut self) {
        let why = "the guardian did not end when it was told to".to_owned();
        tracing::error!(why, "the harness failed");
        self.ending = Some(Ending::HarnessFailed(why));
        self.guardian.kill();
    }

    /// Ends everything that was started, and waits until it has ended.
    async fn end(
        mut self,
        mut guardian_events: mpsc::Receiver<GuardianEvent>,
        inbox: mpsc::Receiver<Event>,
    ) -> Result<(Ending, Recorder), DriveError> {
        drop(inbox);
        // Nodes that still run (after a failure) end with the guardian. The channel closes when
        // the guardian's process has been reaped.
        let _ = self.guardian.send(GuardianCommand::Shutdown);
        loop {
            match timeout(limits::GUARDIAN_END, guardian_events.recv()).await {
                Ok(Some(GuardianEvent::Exited(exited))) => drop(self.exited(exited)),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => self.kill_guardian(),
            }
        }
        self.close_incarnations();
        for (commands, task) in std::mem::take(&mut self.clients) {
            drop(commands);
            // A client's panic is a failure of the harness like any other.
            if let Err(error) = task.await {
                let why = format!("a client's task failed: {error}");
                self.ending = Some(Ending::HarnessFailed(why));
            }
        }
        // Bytes may have arrived after their sender had ended.
        self.recorder.add_senders(|node, incarnation| self.network.has_sent(node, incarnation));
        let now = self.now();
        let mut ending = self.ending.take().expect("the loop ends with an ending");
        for breach in self.network.breaches() {
            let what = format!("{} on the link {}", breach.problem, breach.link);
            // A cluster that cannot talk because its framing is not what its system file says
            // never serves, and nothing else tells why.
            if let Ending::NeverServed(why) = &mut ending {
                why.push_str(&format!("; its `peer_framing` does not fit: {what}"));
            }
            self.recorder.breach(now, breach.link.from, what);
        }
        let RealTime { network, mut recorder, record_failed, panics_before, .. } = self;
        if let Some(network) = Arc::into_inner(network) {
            network.shutdown().await;
        }
        let finished = tokio::task::block_in_place(|| recorder.finish());
        let ending = match (panics::first_since(panics_before), ending) {
            (Some(panic), Ending::Completed | Ending::Interrupted) => {
                Ending::HarnessFailed(panicked(&panic))
            }
            (_, ending) => ending,
        };
        let ending = match (record_failed, finished) {
            (Some(why), _) => Ending::HarnessFailed(format!("cannot record the run: {why}")),
            (None, Err(error)) => Ending::HarnessFailed(format!("cannot record the run: {error}")),
            (None, Ok(())) => ending,
        };
        Ok((ending, recorder))
    }
}

fn panicked(panic: &str) -> String {
    format!("the harness panicked: {panic}")
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
