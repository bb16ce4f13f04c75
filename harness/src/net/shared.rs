//! What all tasks of the network share: links, the table in force, open connections, counters.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::NodeId;
use protocol::framing::Framing;
use tokio::sync::{mpsc, oneshot, watch};

use super::counters::CounterBook;
use super::limits;
use super::record::MessageRecord;
use super::rule::{CompiledRules, Delivery, FaultId, Link};
use super::speakers::Speakers;

/// A link and what its flows have in common.
#[derive(Debug)]
pub(super) struct LinkState {
    /// Its place in the published table.
    pub(super) index: usize,
    pub(super) link: Link,
    pub(super) framing: Framing,
    pub(super) delivery: Delivery,
    /// Messages seen so far, over all connections.
    pub(super) messages: AtomicU64,
}

/// The table in force, compiled: one entry for each link, by [`LinkState::index`].
#[derive(Debug)]
pub(super) struct Published {
    pub(super) links: Vec<CompiledRules>,
}

impl Published {
    pub(super) fn rules(&self, link: usize) -> &CompiledRules {
        &self.links[link]
    }
}

/// A peer stream that could not be cut into messages as its system declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FramingBreach {
    /// The link; its sender breached.
    pub link: Link,
    /// What was wrong.
    pub problem: String,
}

/// What all tasks of the network share.
pub(super) struct Shared {
    pub(super) clock: Box<dyn Fn() -> u64 + Send + Sync>,
    pub(super) sink: Option<mpsc::Sender<MessageRecord>>,
    pub(super) table: watch::Sender<Arc<Published>>,
    pub(super) links: BTreeMap<Link, Arc<LinkState>>,
    pub(super) open: OpenConnections,
    pub(super) counters: CounterBook,
    pub(super) breaches: Mutex<Vec<FramingBreach>>,
    pub(super) speakers: Speakers,
}

impl Shared {
    /// The two links between these endpoints, forth and back.
    pub(super) fn pair(
        &self,
        from: &NodeId,
        to: &NodeId,
    ) -> Option<(Arc<LinkState>, Arc<LinkState>)> {
        let forth = Link { from: from.clone(), to: to.clone() };
        let back = forth.reversed();
        Some((Arc::clone(self.links.get(&forth)?), Arc::clone(self.links.get(&back)?)))
    }

    /// The first fault that cuts one of the two links.
    pub(super) fn cut_by(&self, forth: &LinkState, back: &LinkState) -> Option<FaultId> {
        let table = self.table.borrow();
        table.rules(forth.index).cut_by().or_else(|| table.rules(back.index).cut_by())
    }

    /// Waits until none of `links` is blocked; calls `on_block` the first time one is.
    pub(super) async fn unblocked(&self, links: &[&LinkState], mut on_block: impl FnMut(FaultId)) {
        let mut table = self.table.subscribe();
        let mut seen = false;
        loop {
            let blocked_by = {
                let now = table.borrow_and_update();
                links.iter().find_map(|link| now.rules(link.index).blocked_by())
            };
            let Some(fault) = blocked_by else { return };
            if !seen {
                on_block(fault);
                seen = true;
            }
            if table.changed().await.is_err() {
                return;
            }
        }
    }

    /// Notes that a sender breached its declared framing.
    pub(super) fn breach(&self, link: &Link, problem: String) {
        tracing::warn!(%link, problem, "peer stream breaches its declared framing");
        let mut breaches = self.breaches.lock().unwrap_or_else(PoisonError::into_inner);
        if breaches.len() < limits::BREACHES_MAX {
            breaches.push(FramingBreach { link: link.clone(), problem });
        }
    }
}

/// Why a connection was ended by the harness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CutReason {
    /// A fault cut it.
    Fault,
    /// The network shuts down.
    Shutdown,
}

/// The connections that are open, so that they can be cut.
#[derive(Debug, Default)]
pub(super) struct OpenConnections {
    state: Mutex<OpenState>,
}

#[derive(Debug, Default)]
struct OpenState {
    next: u64,
    closed: bool,
    by_id: BTreeMap<u64, OpenConnection>,
}

#[derive(Debug)]
struct OpenConnection {
    forth: Arc<LinkState>,
    back: Arc<LinkState>,
    cut: oneshot::Sender<CutReason>,
}

/// An entry among the open connections, for as long as it lives.
pub(super) struct Registration {
    shared: Arc<Shared>,
    id: u64,
    /// Resolves when the connection is to be cut.
    pub(super) cut: oneshot::Receiver<CutReason>,
}

impl Registration {
    /// Enters a connection; `None` when the network is shutting down.
    pub(super) fn new(
        shared: &Arc<Shared>,
        forth: &Arc<LinkState>,
        back: &Arc<LinkState>,
    ) -> Option<Self> {
        let (sender, cut) = oneshot::channel();
        let mut state = shared.open.lock();
        if state.closed {
            return None;
        }
        let id = state.next;
        state.next += 1;
        let entry =
            OpenConnection { forth: Arc::clone(forth), back: Arc::clone(back), cut: sender };
        state.by_id.insert(id, entry);
        drop(state);
        Some(Registration { shared: Arc::clone(shared), id, cut })
    }

    /// Takes the entry out; false if someone cut it before.
    pub(super) fn withdraw(&self) -> bool {
        self.shared.open.lock().by_id.remove(&self.id).is_some()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.withdraw();
    }
}

impl OpenConnections {
    fn lock(&self) -> std::sync::MutexGuard<'_, OpenState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts the connections whose two links `chosen` picks; returns how many were cut.
    pub(super) fn cut(&self, chosen: impl Fn(&LinkState, &LinkState) -> bool) -> usize {
        let mut state = self.lock();
        let ids: Vec<u64> = state
            .by_id
            .iter()
            .filter(|(_, open)| chosen(&open.forth, &open.back))
            .map(|(&id, _)| id)
            .collect();
        let taken = ids.iter().filter_map(|id| state.by_id.remove(id));
        taken.filter_map(|open| open.cut.send(CutReason::Fault).ok()).count()
    }

    /// Ends all connections and lets no new ones in.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        for (_, open) in std::mem::take(&mut state.by_id) {
            // The connection may be ending by itself.
            let _ = open.cut.send(CutReason::Shutdown);
        }
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.lock().by_id.len()
    }
}
