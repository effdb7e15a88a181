//! While the server shuts down with its port still open, newcomers are told to come back (apiserver
//! `server/filters/with_retry_after.go`). Off unless `--shutdown-send-retry-after` is given.
//!
//! Without it the port is closed and clients see refused connections; with it they see 429 and `Retry-After` until what was under
//! way is answered. Probes and scrapes go on, and so does kube-apiserver, which would not retry for its own callers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::HeaderMap;
use http::header;
use outrigger_api::status::Status;
use tokio::sync::Notify;

const EXEMPT_PATHS: [&str; 4] = ["/readyz", "/livez", "/healthz", "/metrics"];
const EXEMPT_AGENT: &str = "kube-apiserver/";

/// Whether newcomers are sent away, and how many are still being answered.
#[derive(Debug, Default)]
pub struct RetryAfter {
    closing: AtomicBool,
    under_way: AtomicUsize,
    changed: Notify,
}

/// A request that must be answered before the port closes.
#[derive(Debug)]
pub struct Awaited(Arc<RetryAfter>);

// === impl RetryAfter ===

impl RetryAfter {
    /// Takes a request in.
    ///
    /// # Errors
    /// 429 once [`RetryAfter::close`] was called, unless the request is exempt.
    pub fn enter(self: &Arc<Self>, path: &str, headers: &HeaderMap) -> Result<Option<Awaited>, Status> {
        if is_exempt(path, headers) {
            return Ok(None);
        }
        // Counted first: whoever closes sees either the count or the refusal.
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let awaited = Awaited(Arc::clone(self));
        if self.closing.load(Ordering::SeqCst) {
            let message = "The apiserver is shutting down, please try again later.";
            let mut status = Status::too_many_requests(5);
            status.message = message.into();
            return Err(status);
        }
        Ok(Some(awaited))
    }

    /// Sends newcomers away from now on.
    pub fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    /// Ends when nobody is awaited any more.
    pub async fn emptied(&self) {
        loop {
            let changed = self.changed.notified();
            if self.under_way.load(Ordering::SeqCst) == 0 {
                return;
            }
            changed.await;
        }
    }
}

// === impl Awaited ===

impl Drop for Awaited {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.changed.notify_waiters();
        }
    }
}

fn is_exempt(path: &str, headers: &HeaderMap) -> bool {
    EXEMPT_PATHS.iter().any(|exempt| path.starts_with(exempt))
        || headers
            .get(header::USER_AGENT)
            .is_some_and(|agent| agent.as_bytes().starts_with(EXEMPT_AGENT.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cases of apiserver `with_retry_after_test.go`.
    #[tokio::test]
    async fn newcomers_are_sent_away_once_it_closes() {
        let retry_after = Arc::new(RetryAfter::default());
        let agent = |agent: &str| HeaderMap::from_iter([(header::USER_AGENT, agent.parse().unwrap())]);
        let first = retry_after.enter("/apis", &HeaderMap::new()).unwrap();
        assert!(first.is_some());
        retry_after.close();
        for (path, who, refused) in [
            ("/apis", "", true),
            ("/version", "kubectl/v1.36", true),
            ("/apis", "kube-apiserver/v1.36", false),
            ("/apis", "kube-apiserver", true),
            ("/readyz", "", false),
            ("/readyz/ping", "", false),
            ("/livez?verbose", "", false),
            ("/healthz", "", false),
            ("/metrics", "", false),
            ("/", "", true),
        ] {
            let got = retry_after.enter(path, &agent(who));
            assert_eq!(got.is_err(), refused, "{path} {who}");
            if let Err(status) = got {
                assert_eq!((status.code, status.retry_after()), (429, Some(5)));
            }
        }
        let waiting = tokio::spawn({
            let retry_after = Arc::clone(&retry_after);
            async move { retry_after.emptied().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap();
    }
}
