//! Panics are failures of the harness: remembered wherever they happen, and told as such.

use std::sync::{Mutex, PoisonError};

static FIRST: Mutex<Option<String>> = Mutex::new(None);

/// From now on panics of any thread or task are remembered, beside being printed.
pub fn remember() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let mut first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| info.to_string().replace('\n', " "));
        drop(first);
        before(info);
    }));
}

/// The first panic so far.
pub fn first() -> Option<String> {
    FIRST.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
