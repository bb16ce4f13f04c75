//! What each fault really did: the evidence that it took effect.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::rule::FaultId;

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        /// What one fault did so far. Every figure only grows.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct FaultCounters {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        /// The same figures, as the data tasks count them.
        #[derive(Debug, Default)]
        pub(super) struct LiveCounters {
            $(pub(super) $name: AtomicU64,)+
        }

        impl LiveCounters {
            fn snapshot(&self) -> FaultCounters {
                FaultCounters { $($name: self.$name.load(Relaxed),)+ }
            }
        }
    };
}

counters! {
    /// Messages that never arrived.
    messages_dropped,
    /// Messages that arrived late by a drawn delay.
    messages_delayed,
    /// Messages that arrived twice.
    messages_duplicated,
    /// Messages (of an opaque stream: pieces) that met a block and waited.
    messages_held,
    /// Bytes of those.
    bytes_held,
    /// Time that flows with something to deliver stood still, in nanoseconds, counted when a stall
    /// ends and added up over flows.
    stall_ns,
    /// Connections that were reset.
    connections_cut,
    /// Connections that were refused at once.
    connections_refused,
    /// Dials that had to wait.
    dials_held,
}

impl FaultCounters {
    /// Whether the fault was felt by anything at all.
    pub fn took_effect(&self) -> bool {
        *self != FaultCounters::default()
    }
}

impl LiveCounters {
    /// Adds `n` to a figure.
    pub(super) fn add(figure: &AtomicU64, n: u64) {
        figure.fetch_add(n, Relaxed);
    }
}

/// The counters of all faults of a run.
#[derive(Debug, Default)]
pub(super) struct CounterBook {
    by_fault: Mutex<BTreeMap<FaultId, Arc<LiveCounters>>>,
}

impl CounterBook {
    /// The counters of `fault`, fresh ones if it is new.
    pub(super) fn of(&self, fault: FaultId) -> Arc<LiveCounters> {
        let mut book = self.by_fault.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(book.entry(fault).or_default())
    }

    /// What `fault` did so far.
    pub(super) fn snapshot(&self, fault: FaultId) -> FaultCounters {
        let book = self.by_fault.lock().unwrap_or_else(PoisonError::into_inner);
        book.get(&fault).map(|live| live.snapshot()).unwrap_or_default()
    }
}
