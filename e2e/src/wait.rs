//! Waiting for something to become true: a poll with a deadline, and the last reason why it was not yet so.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(150);

/// For what takes a moment on an idle machine. Generous, because the machine is not idle: a deadline only ends a test that
/// would never end.
pub const SOON: Duration = Duration::from_secs(60);

/// For what has to wait for several of somebody else's periods (HPA, OpenAPI aggregation).
pub const LATER: Duration = Duration::from_secs(150);

/// Looks until `look` succeeds, at most for `deadline`.
///
/// # Errors
/// The last error of `look`, said to be of `what`.
pub fn until<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(reason) if Instant::now() >= end => return Err(anyhow!("{what}: not within {deadline:?}: {reason:#}")),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// A test that may use `?`: what goes wrong becomes a panic, which keeps and shows the logs ([`crate::scratch`]).
///
/// # Panics
/// On an error.
#[track_caller]
#[expect(clippy::panic, reason = "this is how a test fails")]
pub fn promise(test: impl FnOnce() -> Result<()>) {
    if let Err(reason) = test() {
        panic!("{reason:#}");
    }
}
