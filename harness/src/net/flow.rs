//! One direction of one connection: reads, asks the rules for each message's fate, writes.
//!
//! Guarantees: a message is forwarded whole or not at all; what is forwarded keeps its order; a
//! new table counts for every message decided after it was published and wakes what waits. What
//! was already written when a block begins is in flight and arrives.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use protocol::framing::{FrameDecoder, Framing};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

use super::counters::LiveCounters;
use super::limits;
use super::record::{MessageFate, MessageRecord, message_kind};
use super::rule::{Delivery, Fate, FaultId};
use super::shared::{LinkState, Published, Shared};

/// How a flow ended.
#[derive(Debug)]
pub(super) enum FlowEnd {
    /// The source ended its stream in order, and the destination was told.
    Finished,
    /// The source's side of the connection is broken.
    SourceBroke(io::Error),
    /// The destination's side of the connection is broken.
    DestinationBroke(io::Error),
    /// The source breaches the framing that its system declared.
    Breach(String),
}

/// One direction of one connection.
pub(super) struct Flow {
    shared: Arc<Shared>,
    link: Arc<LinkState>,
    table: watch::Receiver<Arc<Published>>,
    pending: Pending,
    kinds: Vec<Arc<str>>,
    /// Bytes that may leave now.
    out: Vec<u8>,
    /// Records of what `out` holds and of what was dropped.
    records: Vec<MessageRecord>,
    stalled_since: Option<(u64, FaultId)>,
    /// The sender's incarnation when the connection was made, until it has sent something.
    silent: Option<u32>,
}

/// A message, or a piece of an opaque stream, that waits.
struct Item {
    bytes: Vec<u8>,
    record: MessageRecord,
    due_ns: u64,
    delayed_by: Option<FaultId>,
    held_by: Option<FaultId>,
    duplicated_by: Option<FaultId>,
}

/// What waits. If the connection ends first, it is logged as lost.
struct Pending {
    items: VecDeque<Item>,
    bytes: usize,
    sink: Option<mpsc::Sender<MessageRecord>>,
}

impl Drop for Pending {
    fn drop(&mut self) {
        let Some(sink) = &self.sink else { return };
        for item in self.items.drain(..) {
            let fault = item.held_by.or(item.delayed_by);
            let record = MessageRecord { fate: MessageFate::Lost, fault, ..item.record };
            // A destructor cannot wait; the log's owner sees a full channel as lost lines.
            let _ = sink.try_send(record);
        }
    }
}

/// What the front of the queue waits for.
enum Wait {
    /// Nothing waits.
    Empty,
    /// A time of the run.
    Until(u64),
    /// A block to be lifted.
    Block,
}

impl Flow {
    /// A flow on `link`, at the beginning of its stream.
    pub(super) fn new(shared: &Arc<Shared>, link: &Arc<LinkState>) -> Self {
        let sink = shared.sink.clone().filter(|_| link.framing != Framing::Opaque);
        Flow {
            shared: Arc::clone(shared),
            link: Arc::clone(link),
            table: shared.table.subscribe(),
            pending: Pending { items: VecDeque::new(), bytes: 0, sink },
            kinds: Vec::new(),
            out: Vec::new(),
            records: Vec::new(),
            stalled_since: None,
            silent: Some(shared.speakers.present(&link.link.from)),
        }
    }

    /// Forwards from `source` to `destination` until one of them ends.
    pub(super) async fn run<R, W>(mut self, mut source: R, mut destination: W) -> FlowEnd
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut decoder = FrameDecoder::new(self.link.framing);
        let mut buffer = vec![0; limits::READ_BYTES];
        let mut ended = false;
        loop {
            let wait = self.release();
            if let Err(error) = self.flush(&mut destination).await {
                return FlowEnd::DestinationBroke(error);
            }
            let blocked = self.blocked_by().is_some();
            if ended && self.pending.items.is_empty() && !blocked {
                return match destination.shutdown().await {
                    Ok(()) => FlowEnd::Finished,
                    Err(error) => FlowEnd::DestinationBroke(error),
                };
            }
            let sleep = match wait {
                Wait::Until(due_ns) => {
                    Some(Duration::from_nanos(due_ns.saturating_sub((self.shared.clock)())))
                }
                Wait::Empty | Wait::Block => None,
            };
            let wake_on_change = ended || !self.pending.items.is_empty();
            let read = !ended && self.may_read();
            tokio::select! {
                changed = self.table.changed(), if wake_on_change => {
                    if changed.is_err() {
                        return FlowEnd::SourceBroke(io::ErrorKind::ConnectionAborted.into());
                    }
                }
                () = tokio::time::sleep(sleep.unwrap_or_default()), if sleep.is_some() => {}
                got = source.read(&mut buffer), if read => match got {
                    Ok(0) => {
                        ended = true;
                        self.take_torn_tail(&decoder);
                    }
                    Ok(len) => {
                        if let Some(incarnation) = self.silent.take() {
                            self.shared.speakers.spoke(&self.link.link.from, incarnation);
                        }
                        decoder.push(&buffer[..len]);
                        if let Err(breach) = self.take_frames(&mut decoder) {
                            return FlowEnd::Breach(breach);
                        }
                    }
                    Err(error) => return FlowEnd::SourceBroke(error),
                },
            }
        }
    }

    /// Whether more should be read now. A stalled stream reads one piece, as evidence that the
    /// stall was felt, and then leaves the rest to back-pressure.
    fn may_read(&self) -> bool {
        let pending = &self.pending;
        pending.items.is_empty()
            || (self.stalled_since.is_none()
                && pending.bytes < limits::PENDING_BYTES_MAX
                && pending.items.len() < limits::PENDING_MESSAGES_MAX)
    }

    fn blocked_by(&self) -> Option<FaultId> {
        self.table.borrow().rules(self.link.index).blocked_by()
    }

    /// Decides the fate of every whole message that has arrived.
    fn take_frames(&mut self, decoder: &mut FrameDecoder) -> Result<(), String> {
        let now_ns = (self.shared.clock)();
        let table = Arc::clone(&self.table.borrow());
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => self.take(frame, now_ns, &table),
                Ok(None) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn take(&mut self, frame: &[u8], now_ns: u64, table: &Published) {
        let number = self.link.messages.fetch_add(1, Relaxed);
        let fate = table.rules(self.link.index).decide(number, now_ns);
        let mut record = self.record(frame, number, now_ns);
        let (due, duplicated_by, held_by) = match fate {
            Fate::Drop { fault } => {
                self.dropped(record, fault);
                return;
            }
            Fate::Hold { fault } => (None, None, Some(fault)),
            Fate::Deliver { delay, duplicate } => (delay, duplicate, None),
        };
        let nothing_ahead = self.pending.items.is_empty();
        if nothing_ahead && due.is_none() && duplicated_by.is_none() && held_by.is_none() {
            self.out.extend_from_slice(frame);
            record.delivered_ns = Some(now_ns);
            self.log(record);
            return;
        }
        if let Some((_, fault)) = due {
            LiveCounters::add(&self.shared.counters.of(fault).messages_delayed, 1);
        }
        // Only the front of the queue is ever released, so order is kept whatever was drawn.
        let (due_ns, delayed_by) =
            due.map_or((now_ns, None), |(due_ns, fault)| (due_ns, Some(fault)));
        self.push(Item {
            bytes: frame.to_vec(),
            record,
            due_ns,
            delayed_by,
            held_by: None,
            duplicated_by,
        });
        if let Some(fault) = held_by {
            self.hold_last(fault, now_ns);
        }
    }

    /// The stream ended within a message: pass on the torn piece, as the kernel would have.
    fn take_torn_tail(&mut self, decoder: &FrameDecoder) {
        let rest = decoder.rest();
        if rest.is_empty() {
            return;
        }
        let now_ns = (self.shared.clock)();
        let number = self.link.messages.fetch_add(1, Relaxed);
        let mut record = self.record(rest, number, now_ns);
        record.kind = None;
        let bytes = rest.to_vec();
        let item = Item {
            bytes,
            record,
            due_ns: now_ns,
            delayed_by: None,
            held_by: None,
            duplicated_by: None,
        };
        self.push(item);
    }

    fn push(&mut self, item: Item) {
        self.pending.bytes += item.bytes.len();
        self.pending.items.push_back(item);
    }

    /// Notes that the message last taken waits for a block to end.
    fn hold_last(&mut self, fault: FaultId, now_ns: u64) {
        if let Some(item) = self.pending.items.back_mut() {
            hold(item, fault, &self.shared);
        }
        self.stalled_since.get_or_insert((now_ns, fault));
    }

    /// Moves to `out` what may leave now; says what the rest waits for.
    fn release(&mut self) -> Wait {
        let table = Arc::clone(&self.table.borrow_and_update());
        let rules = table.rules(self.link.index);
        let blocked_by = rules.blocked_by();
        let now_ns = (self.shared.clock)();
        if blocked_by.is_none()
            && let Some((since_ns, fault)) = self.stalled_since.take()
        {
            let stall_ns = now_ns.saturating_sub(since_ns);
            LiveCounters::add(&self.shared.counters.of(fault).stall_ns, stall_ns);
        }
        loop {
            let Some(front) = self.pending.items.front_mut() else { return Wait::Empty };
            match (blocked_by, self.link.delivery) {
                (Some(fault), Delivery::Stream) => {
                    if front.held_by.is_none() {
                        hold(front, fault, &self.shared);
                    }
                    self.stalled_since.get_or_insert((now_ns, fault));
                    return Wait::Block;
                }
                (Some(_), Delivery::Lossy) => {}
                (None, _) => {
                    let delayed = front.delayed_by.is_some_and(|fault| rules.delays(fault));
                    if delayed && front.due_ns > now_ns {
                        return Wait::Until(front.due_ns);
                    }
                }
            }
            let Some(item) = self.pending.items.pop_front() else { return Wait::Empty };
            self.pending.bytes -= item.bytes.len();
            match blocked_by {
                Some(fault) => self.dropped(item.record, fault),
                None => self.deliver(item, now_ns),
            }
        }
    }

    fn deliver(&mut self, item: Item, now_ns: u64) {
        self.out.extend_from_slice(&item.bytes);
        let mut record = item.record;
        record.delivered_ns = Some(now_ns);
        if let Some(fault) = item.duplicated_by {
            self.out.extend_from_slice(&item.bytes);
            LiveCounters::add(&self.shared.counters.of(fault).messages_duplicated, 1);
        }
        (record.fate, record.fault) = match (item.duplicated_by, item.held_by, item.delayed_by) {
            (Some(fault), _, _) => (MessageFate::Duplicated, Some(fault)),
            (None, Some(fault), _) => (MessageFate::Held, Some(fault)),
            (None, None, Some(fault)) => (MessageFate::Delayed, Some(fault)),
            (None, None, None) => (MessageFate::Passed, None),
        };
        self.log(record);
    }

    fn dropped(&mut self, mut record: MessageRecord, fault: FaultId) {
        LiveCounters::add(&self.shared.counters.of(fault).messages_dropped, 1);
        record.fate = MessageFate::Dropped;
        record.fault = Some(fault);
        self.log(record);
    }

    fn log(&mut self, record: MessageRecord) {
        if self.pending.sink.is_some() {
            self.records.push(record);
        }
    }

    /// Writes the log's lines, then the bytes.
    async fn flush<W: AsyncWrite + Unpin>(&mut self, destination: &mut W) -> io::Result<()> {
        if let Some(sink) = &self.pending.sink {
            for record in self.records.drain(..) {
                // The log's reader may have ended first; the network goes on without it.
                let _ = sink.send(record).await;
            }
        }
        if !self.out.is_empty() {
            destination.write_all(&self.out).await?;
            self.out.clear();
            // One large message must not pin its memory for the connection's life.
            self.out.shrink_to(limits::READ_BYTES);
        }
        Ok(())
    }

    fn record(&mut self, message: &[u8], number: u64, now_ns: u64) -> MessageRecord {
        MessageRecord {
            time_ns: now_ns,
            delivered_ns: None,
            src: self.link.link.from.clone(),
            dest: self.link.link.to.clone(),
            number,
            bytes: message.len(),
            kind: if self.pending.sink.is_some() { self.kind(message) } else { None },
            fate: MessageFate::Passed,
            fault: None,
        }
    }

    fn kind(&mut self, message: &[u8]) -> Option<Arc<str>> {
        let body = match self.link.framing {
            Framing::LengthPrefix => message.get(4..)?,
            Framing::Lines | Framing::Opaque => message,
        };
        let kind = message_kind(body)?;
        if let Some(known) = self.kinds.iter().find(|known| known.as_ref() == kind) {
            return Some(Arc::clone(known));
        }
        let kind: Arc<str> = Arc::from(kind);
        if self.kinds.len() < limits::KINDS_REMEMBERED_MAX {
            self.kinds.push(Arc::clone(&kind));
        }
        Some(kind)
    }
}

fn hold(item: &mut Item, fault: FaultId, shared: &Shared) {
    item.held_by = Some(fault);
    let counters = shared.counters.of(fault);
    LiveCounters::add(&counters.messages_held, 1);
    LiveCounters::add(&counters.bytes_held, item.bytes.len() as u64);
}
