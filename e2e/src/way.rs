//! The network between the aggregator and the host: it leads to whichever host runs now, and can be cut.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::http::runtime;

/// An address that leads to another. Dropped, it is closed.
#[derive(Debug)]
pub struct Way {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    to: Mutex<SocketAddr>,
    under_way: Mutex<JoinSet<()>>,
}

// === impl Way ===

impl Way {
    /// Opens it.
    ///
    /// # Errors
    /// Nothing can listen at this address.
    pub fn open(at: Ipv4Addr, to: SocketAddr) -> Result<Self> {
        let listener = runtime().block_on(TcpListener::bind((at, 0)))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            to: Mutex::new(to),
            under_way: Mutex::default(),
        });
        let listening = runtime().spawn(listen(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            listening,
        })
    }

    /// Where it begins.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it leads there.
    pub fn lead(&self, to: SocketAddr) {
        *self.shared.to.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }

    /// Breaks every connection; new ones are taken. Returns how many there were.
    pub fn cut(&self) -> usize {
        let mut under_way = self.shared.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        while under_way.try_join_next().is_some() {}
        let cut = under_way.len();
        under_way.abort_all();
        cut
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.listening.abort();
        self.cut();
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((mut here, _)) = listener.accept().await {
        let to = *shared.to.lock().unwrap_or_else(PoisonError::into_inner);
        let carry = async move {
            let Ok(mut there) = TcpStream::connect(to).await else { return };
            // Either end may leave.
            let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
        };
        let mut under_way = shared.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        while under_way.try_join_next().is_some() {}
        under_way.spawn_on(carry, runtime().handle());
    }
}
