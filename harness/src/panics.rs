//! Panics are failures of the harness: remembered wherever they happen, and told as such.

use std::sync::{Mutex, PoisonError};

/// Panics that are remembered; more add nothing.
const REMEMBERED: usize = 16;

static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From now on panics of any thread or task are remembered, beside being printed.
pub fn remember() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let mut panics = lock();
        if panics.len() < REMEMBERED {
            panics.push(info.to_string().replace('\n', " "));
        }
        drop(panics);
        before(info);
    }));
}

/// How many panics are remembered so far.
pub fn count() -> usize {
    lock().len()
}

/// The first panic after `count` others.
pub fn first_since(count: usize) -> Option<String> {
    lock().get(count).cloned()
}

fn lock() -> std::sync::MutexGuard<'static, Vec<String>> {
    PANICS.lock().unwrap_or_else(PoisonError::into_inner)
}
