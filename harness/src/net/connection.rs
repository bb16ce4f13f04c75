//! One connection through the harness: two flows, and how its end is passed on.
//!
//! An orderly end of one direction is passed on as an orderly end of that direction (half-close);
//! a broken side becomes a reset of the other side. Both travel along a link and wait while that
//! link is blocked. A cut resets both sides at once.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::flow::{Flow, FlowEnd};
use super::shared::{CutReason, LinkState, Shared};

/// One side of a connection.
pub(super) trait Side: Send {
    /// The half that is read.
    type Reader<'a>: AsyncRead + Unpin + Send
    where
        Self: 'a;
    /// The half that is written.
    type Writer<'a>: AsyncWrite + Unpin + Send
    where
        Self: 'a;

    /// Both halves.
    fn halves(&mut self) -> (Self::Reader<'_>, Self::Writer<'_>);

    /// Ends this side in order. Merely dropping it is a reset.
    fn finish(self);

    /// Ends this side so that it cannot be taken for an orderly end.
    fn reset(self, why: Broken);
}

/// Why a side was reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The other side broke.
    Peer,
    /// The harness cut the connection.
    Cut,
}

impl Side for TcpStream {
    type Reader<'a> = tokio::net::tcp::ReadHalf<'a>;
    type Writer<'a> = tokio::net::tcp::WriteHalf<'a>;

    fn halves(&mut self) -> (Self::Reader<'_>, Self::Writer<'_>) {
        self.split()
    }

    fn finish(self) {
        let linger = nix::libc::linger { l_onoff: 0, l_linger: 0 };
        // It fails only for a socket that is gone.
        let _ = setsockopt(&self, sockopt::Linger, &linger);
    }

    fn reset(self, _why: Broken) {
        // [`reset_when_dropped`] has seen to it.
        drop(self);
    }
}

/// Makes the drop of this connection a reset, so that whatever ends its task, a cancelled dial and
/// a panic included, cannot look like an orderly end. [`Side::finish`] takes it back.
pub(super) fn reset_when_dropped(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_zero_linger()?;
    Ok(stream)
}

/// The harness's end of a client's connection: two pipes within the process.
pub(super) struct ClientSide {
    from_client: DuplexStream,
    to_client: DuplexStream,
    /// Tells the client how the connection ended; `None`: in order.
    broken: Arc<Mutex<Option<Broken>>>,
    on_drop: Option<Broken>,
}

impl Side for ClientSide {
    type Reader<'a> = &'a mut DuplexStream;
    type Writer<'a> = &'a mut DuplexStream;

    fn halves(&mut self) -> (Self::Reader<'_>, Self::Writer<'_>) {
        (&mut self.from_client, &mut self.to_client)
    }

    fn finish(mut self) {
        self.on_drop = None;
    }

    fn reset(mut self, why: Broken) {
        self.on_drop = Some(why);
    }
}

impl ClientSide {
    /// The harness's end of the two pipes; dropping it is a reset.
    pub(super) fn new(
        from_client: DuplexStream,
        to_client: DuplexStream,
        broken: Arc<Mutex<Option<Broken>>>,
    ) -> Self {
        ClientSide { from_client, to_client, broken, on_drop: Some(Broken::Peer) }
    }
}

impl Drop for ClientSide {
    fn drop(&mut self) {
        // This comes before the pipes close, so the client finds it when it sees their end.
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = self.on_drop;
    }
}

/// Which side broke.
enum BrokenSide {
    Near,
    Far,
}

/// Carries a connection from `near`, who dialled, to `far`, until it ends. `forth` is the link
/// from near to far, `back` its reverse.
pub(super) async fn carry<S: Side>(
    shared: &Arc<Shared>,
    (forth, back): (&Arc<LinkState>, &Arc<LinkState>),
    mut near: S,
    mut far: TcpStream,
    cut: &mut oneshot::Receiver<CutReason>,
) {
    let end = tokio::select! {
        biased;
        _ = &mut *cut => Err(Broken::Cut),
        end = both_flows(shared, (forth, back), &mut near, &mut far) => Ok(end),
    };
    let why = match end {
        // Both directions were ended in order, and both sides know.
        Ok(None) => {
            near.finish();
            far.finish();
            return;
        }
        Ok(Some(broken)) => {
            // The news of it travels on the link away from the side that broke.
            let links: [&LinkState; 1] = match broken {
                BrokenSide::Near => [forth],
                BrokenSide::Far => [back],
            };
            tokio::select! {
                biased;
                _ = cut => Broken::Cut,
                () = shared.unblocked(&links, |_| {}) => Broken::Peer,
            }
        }
        Err(why) => why,
    };
    near.reset(why);
    far.reset(why);
}

async fn both_flows<S: Side>(
    shared: &Arc<Shared>,
    (forth, back): (&Arc<LinkState>, &Arc<LinkState>),
    near: &mut S,
    far: &mut TcpStream,
) -> Option<BrokenSide> {
    let (near_reader, near_writer) = near.halves();
    let (far_reader, far_writer) = far.split();
    let forward = Flow::new(shared, forth).run(near_reader, far_writer);
    let backward = Flow::new(shared, back).run(far_reader, near_writer);
    tokio::pin!(forward, backward);
    let (mut forward_ended, mut backward_ended) = (false, false);
    while !(forward_ended && backward_ended) {
        let broken = tokio::select! {
            end = &mut forward, if !forward_ended => {
                forward_ended = true;
                broken_side(shared, forth, end, BrokenSide::Near, BrokenSide::Far)
            }
            end = &mut backward, if !backward_ended => {
                backward_ended = true;
                broken_side(shared, back, end, BrokenSide::Far, BrokenSide::Near)
            }
        };
        if broken.is_some() {
            return broken;
        }
    }
    None
}

fn broken_side(
    shared: &Shared,
    link: &LinkState,
    end: FlowEnd,
    source: BrokenSide,
    destination: BrokenSide,
) -> Option<BrokenSide> {
    let note = |error: io::Error, what: &str| {
        tracing::debug!(link = %link.link, %error, "{what} broke");
    };
    match end {
        FlowEnd::Finished => None,
        FlowEnd::SourceBroke(error) => {
            note(error, "source");
            Some(source)
        }
        FlowEnd::DestinationBroke(error) => {
            note(error, "destination");
            Some(destination)
        }
        FlowEnd::Breach(problem) => {
            shared.breach(&link.link, problem);
            Some(source)
        }
    }
}
