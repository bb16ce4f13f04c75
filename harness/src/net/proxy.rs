//! Peer proxies: each accepts what one node dials to reach one other node.

use std::os::fd::AsFd;
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc};

use super::connection::{Broken, Side, carry, reset_when_dropped};
use super::counters::LiveCounters;
use super::limits;
use super::rule::{Delivery, FaultId};
use super::shared::{LinkState, Registration, Shared};

/// The proxy for the connections that `forth.from` dials to reach `forth.to`.
pub(super) struct Proxy {
    pub(super) shared: Arc<Shared>,
    pub(super) forth: Arc<LinkState>,
    pub(super) back: Arc<LinkState>,
    /// Where `forth.to` listens for its peers.
    pub(super) target: std::net::SocketAddr,
    /// Every task holds one; when all are gone, the network has stopped.
    pub(super) alive: mpsc::Sender<()>,
}

impl Proxy {
    /// Accepts connections for ever.
    pub(super) async fn accept(self, listener: TcpListener) {
        let proxy = Arc::new(self);
        let room = Arc::new(Semaphore::new(limits::CONNECTIONS_PER_PROXY_MAX));
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((near, _)) => {
                    let proxy = Arc::clone(&proxy);
                    tokio::spawn(async move {
                        proxy.serve(near).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    let link = &proxy.forth.link;
                    tracing::warn!(%link, %error, "cannot accept a peer's connection");
                    tokio::time::sleep(limits::ACCEPT_RETRY).await;
                }
            }
        }
    }

    async fn serve(&self, near: TcpStream) {
        let _alive = self.alive.clone();
        let Ok(near) = reset_when_dropped(near) else { return };
        let (forth, back) = (&self.forth, &self.back);
        let Some(mut registration) = Registration::new(&self.shared, forth, back) else {
            near.reset(Broken::Cut);
            return;
        };
        // The connection is registered first: a cut published from here on finds it.
        if let Some(fault) = self.shared.cut_by(forth, back) {
            if registration.withdraw() {
                let counters = self.shared.counters.of(fault);
                LiveCounters::add(&counters.connections_refused, 1);
            }
            near.reset(Broken::Cut);
            return;
        }
        let dialled = tokio::select! {
            biased;
            _ = &mut registration.cut => Dialled::Cut,
            dialled = self.dial(&near) => dialled,
        };
        match dialled {
            Dialled::To(far) => {
                // Delay of small messages would be the harness's doing, not a fault's.
                let _ = near.set_nodelay(true);
                carry(&self.shared, (forth, back), near, far, &mut registration.cut).await;
            }
            Dialled::Refused | Dialled::GivenUp => near.reset(Broken::Peer),
            Dialled::Cut => near.reset(Broken::Cut),
        }
    }

    /// Dials the target as the rules allow. A stream's dial waits until both directions are open;
    /// where messages may be lost the connection is made regardless, and the messages are judged.
    async fn dial(&self, near: &TcpStream) -> Dialled {
        let links: [&LinkState; 2] = [&self.forth, &self.back];
        if self.forth.delivery == Delivery::Stream {
            let mut held = false;
            let count = |fault: FaultId| {
                held = true;
                LiveCounters::add(&self.shared.counters.of(fault).dials_held, 1);
            };
            self.shared.unblocked(&links, count).await;
            if held && gave_up(near) {
                // Its first packet never got through, so nothing after it may.
                return Dialled::GivenUp;
            }
        }
        match dial_over_loopback(self.target).await {
            Ok(far) => Dialled::To(far),
            Err(error) => {
                tracing::debug!(link = %self.forth.link, %error, "peer does not answer");
                // The refusal is news that travels on the links, too.
                self.shared.unblocked(&links, |_| {}).await;
                Dialled::Refused
            }
        }
    }
}

enum Dialled {
    To(TcpStream),
    Refused,
    GivenUp,
    Cut,
}

/// Connects without Nagle's delay, within a bounded time. Dropping the connection resets it, see
/// [`reset_when_dropped`].
pub(super) async fn dial_over_loopback(target: std::net::SocketAddr) -> std::io::Result<TcpStream> {
    let socket = match target {
        std::net::SocketAddr::V4(_) => TcpSocket::new_v4()?,
        std::net::SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Set before the dial: a dial given up may already be a connection for the other side.
    socket.set_zero_linger()?;
    socket.set_nodelay(true)?;
    tokio::time::timeout(limits::DIAL_TIMEOUT, socket.connect(target)).await?
}

/// Whether the dialling side has ended its stream already. Asks the kernel, since the runtime may
/// not have heard yet.
fn gave_up(near: &TcpStream) -> bool {
    let peer_ended = PollFlags::from_bits_retain(nix::libc::POLLRDHUP);
    let mut fds = [PollFd::new(near.as_fd(), peer_ended)];
    match poll(&mut fds, PollTimeout::ZERO) {
        // The crate has no name for this event, and gives `None` where it meets it.
        Ok(_) => fds[0].revents().is_none_or(|events| !events.is_empty()),
        Err(_) => false,
    }
}
