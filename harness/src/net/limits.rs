//! Every bound of this room, in one place.

use std::time::Duration;

/// Bytes read from a connection at once.
pub(super) const READ_BYTES: usize = 32 << 10;
/// A flow whose waiting messages amount to more than this reads no further.
pub(super) const PENDING_BYTES_MAX: usize = 4 << 20;
/// A flow with more waiting messages than this reads no further.
pub(super) const PENDING_MESSAGES_MAX: usize = 8 << 10;
/// Bytes a client's line may wait in before its link's task takes them up.
pub(super) const CLIENT_PIPE_BYTES: usize = 64 << 10;
/// Connections one peer proxy carries at once; further ones wait in the kernel's backlog.
pub(super) const CONNECTIONS_PER_PROXY_MAX: usize = 128;
/// How long a dial over loopback may take before it counts as refused.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed `accept`, which mostly means that descriptors ran out.
pub(super) const ACCEPT_RETRY: Duration = Duration::from_millis(20);
/// Most nodes one /24 has room for.
pub(super) const NODES_MAX: usize = 120;
/// Subnets tried before giving up.
pub(super) const SUBNET_DRAWS_MAX: u64 = 256;
/// Ports tried for one node before giving up.
pub(super) const PORT_DRAWS_MAX: u64 = 512;
/// Lowest port handed out.
pub(super) const PORT_MIN: u16 = 10_000;
/// Bytes of a message searched for its `type`.
pub(super) const KIND_SCAN_BYTES_MAX: usize = 64 << 10;
/// Longest `type` that is taken for one.
pub(super) const KIND_BYTES_MAX: usize = 64;
/// Different kinds one flow remembers, so that their names are shared.
pub(super) const KINDS_REMEMBERED_MAX: usize = 32;
/// Breaches of the declared framing that are kept with their text.
pub(super) const BREACHES_MAX: usize = 16;
