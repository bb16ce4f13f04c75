//! Error codes of `error` replies, and which of them prove that nothing happened.
//!
//! The codes and their definiteness are Maelstrom's (its `doc/protocol.md`, "Errors"). A *definite*
//! error proves that the request took no effect and never will; everything else leaves the outcome
//! unknown. Codes that this table does not name are indefinite: no proof, no `fail`.

/// Code 0: the request timed out inside the system. Indefinite.
pub const TIMEOUT: u32 = 0;
/// Code 1: the addressed node does not exist. Definite.
pub const NODE_NOT_FOUND: u32 = 1;
/// Code 10: this node does not know this kind of request. Definite.
pub const NOT_SUPPORTED: u32 = 10;
/// Code 11: the node cannot serve now (not the leader, shutting down); it has not proposed the
/// request. Definite. May carry a `leader` hint.
pub const TEMPORARILY_UNAVAILABLE: u32 = 11;
/// Code 12: the request makes no sense to the node. Definite.
pub const MALFORMED_REQUEST: u32 = 12;
/// Code 13: the server crashed or lost track of the request. Indefinite.
pub const CRASH: u32 = 13;
/// Code 14: aborted before taking effect. Definite.
pub const ABORT: u32 = 14;
/// Code 20: the key does not exist. Definite, and an observation of the state.
pub const KEY_DOES_NOT_EXIST: u32 = 20;
/// Code 21: the key already exists. Definite.
pub const KEY_ALREADY_EXISTS: u32 = 21;
/// Code 22: a compare-and-set found another value. Definite, and an observation of the state.
pub const PRECONDITION_FAILED: u32 = 22;
/// Code 30: a transaction met a conflict and was rolled back. Definite.
pub const TXN_CONFLICT: u32 = 30;

/// Every code that the contract names: code, kebab-case name, definite.
pub const ALL: [(u32, &str, bool); 11] = [
    (TIMEOUT, "timeout", false),
    (NODE_NOT_FOUND, "node-not-found", true),
    (NOT_SUPPORTED, "not-supported", true),
    (TEMPORARILY_UNAVAILABLE, "temporarily-unavailable", true),
    (MALFORMED_REQUEST, "malformed-request", true),
    (CRASH, "crash", false),
    (ABORT, "abort", true),
    (KEY_DOES_NOT_EXIST, "key-does-not-exist", true),
    (KEY_ALREADY_EXISTS, "key-already-exists", true),
    (PRECONDITION_FAILED, "precondition-failed", true),
    (TXN_CONFLICT, "txn-conflict", true),
];

/// Whether an error with this code proves that the request did not and will not happen.
pub fn is_definite(code: u32) -> bool {
    ALL.iter().any(|&(known, _, definite)| known == code && definite)
}

/// The kebab-case name that histories use for a code, if the contract names it.
pub fn name(code: u32) -> Option<&'static str> {
    ALL.iter().find(|&&(known, _, _)| known == code).map(|&(_, name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unnamed_codes_prove_nothing() {
        assert!(!is_definite(2));
        assert!(!is_definite(1000));
        assert!(!is_definite(TIMEOUT));
        assert!(!is_definite(CRASH));
        assert!(is_definite(TEMPORARILY_UNAVAILABLE));
        assert_eq!(name(22), Some("precondition-failed"));
        assert_eq!(name(999), None);
    }
}
