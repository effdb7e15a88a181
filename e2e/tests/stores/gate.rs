//! A network that breaks: what goes through it can be cut, and new connections turned away, for as long as a test wants.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// A way to an address.
pub(crate) struct Gate {
    at: SocketAddr,
    open: watch::Sender<bool>,
    task: AbortHandle,
}

impl Gate {
    /// Opens one.
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (open, opened) = watch::channel(true);
        let task = tokio::spawn(async move {
            let mut ways = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let mut opened = opened.clone();
                if !*opened.borrow_and_update() {
                    continue;
                }
                ways.spawn(async move {
                    let Ok(mut far) = TcpStream::connect(target).await else {
                        return;
                    };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = opened.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self {
            at,
            open,
            task: task.abort_handle(),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.at)
    }

    /// Cuts all that goes through it and lets nobody in, or lets them in again.
    pub(crate) fn set(&self, open: bool) {
        self.open.send_replace(open);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}
