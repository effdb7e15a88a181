//! A guest that writes without end, against sinks that are slow, gone, or never read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use outrigger_sandbox::{Ask, CallError, ContractError, HostError, Plugin, Request, Sink};
use tokio::sync::Semaphore;

use super::{SOON, engine, limited};
use crate::responder::{OBJECT, listing};

/// Until a write fails.
const AGAIN: &str = "(br_if $on (i32.eqz (i32.load8_u (i32.const 128))))";

/// Takes as much as there are permits, then waits or is gone.
struct Reader {
    taken: Arc<AtomicUsize>,
    room: Arc<Semaphore>,
    leaves: bool,
}

#[async_trait]
impl Sink for Reader {
    async fn start(&mut self, _: u16, _: &str) -> Result<(), HostError> {
        Err(ContractError::Invalid("lists have no status".into()))
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), HostError> {
        assert_eq!(bytes, OBJECT.as_bytes());
        let gone = || ContractError::Unavailable("nobody reads".into());
        match self.room.try_acquire() {
            Ok(room) => room.forget(),
            Err(_) if self.leaves => return Err(gone()),
            Err(_) => self.room.acquire().await.map_err(|_| gone())?.forget(),
        }
        self.taken.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

async fn plugin(deadline: Duration) -> Plugin {
    let options = limited(|limits| limits.call_deadline = deadline);
    Plugin::load(engine(), None, listing(AGAIN).into(), options).await.unwrap()
}

fn list(room: usize, leaves: bool) -> (Ask, Arc<AtomicUsize>, Arc<Semaphore>) {
    let (taken, room) = (Arc::<AtomicUsize>::default(), Arc::new(Semaphore::new(room)));
    let reader = Reader {
        taken: taken.clone(),
        room: room.clone(),
        leaves,
    };
    (Ask::List(Box::new(reader)), taken, room)
}

fn request() -> Arc<Request> {
    Arc::new(Request {
        verb: "list".into(),
        resource: "buoys".into(),
        ..Request::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_hears_that_its_reader_has_gone() {
    let plugin = plugin(SOON).await;
    let (ask, taken, _room) = list(1000, true);
    plugin.respond(request(), ask, SOON).await.unwrap();
    assert_eq!(taken.load(Ordering::SeqCst), 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_waits_for_its_reader_and_ends_when_it_is_dropped() {
    let plugin = Arc::new(plugin(Duration::from_secs(3600)).await);
    let (ask, taken, room) = list(100, false);
    let call = {
        let plugin = plugin.clone();
        tokio::spawn(async move { plugin.respond(request(), ask, Duration::from_secs(3600)).await })
    };
    for more in [100, 200, 5000] {
        let wanted = taken.load(Ordering::SeqCst).max(100);
        while taken.load(Ordering::SeqCst) < wanted {
            tokio::task::yield_now().await;
        }
        // Whatever time it gets, it has no more room than this.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(taken.load(Ordering::SeqCst), wanted);
        room.add_permits(more);
        while taken.load(Ordering::SeqCst) < wanted + more {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(plugin.counts().in_flight, 1);
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert_eq!(plugin.counts().in_flight, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_nobody_reads_ends_at_its_deadline() {
    let plugin = plugin(Duration::from_millis(300)).await;
    let (ask, _, _room) = list(1, false);
    let outcome = plugin.respond(request(), ask, SOON).await;
    // It is told that nobody reads just before its time is up, and takes that for the end.
    assert!(matches!(outcome, Ok(_) | Err(CallError::Deadline { .. })), "{outcome:?}");
    assert_eq!(plugin.counts().in_flight, 0);
}
