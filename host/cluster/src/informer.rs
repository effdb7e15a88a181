//! One loop for everything that is followed: list, watch, keep, and get up again after every fall.
//!
//! kube's `watcher` knows the protocol (pages, bookmarks, resuming, 410). This loop adds what a server that lives for months
//! needs: a deadline on every list, back-off with jitter, one sentence in the log per trouble instead of one per attempt,
//! and an end when the owner says so. It must never drop what is known because kube-apiserver is away.

use std::borrow::Cow;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher::{Config, Error, Event};
use serde::{Deserialize, Deserializer};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::advice::{Account, Advice};
use crate::backoff::Backoff;
use crate::causes::causes;

/// A page of a list that takes longer than this is given up (kube-apiserver itself gives up after 60 s).
const PAGE_DEADLINE: Duration = Duration::from_secs(65);
const FIRST_DELAY: Duration = Duration::from_millis(800);
/// client-go waits up to 30 s (twice that with its jitter); this process has three informers, and who comes back need not fear them.
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// Where objects go. `begin`, any number of `list`, `commit` replace everything at once; between two such series single
/// objects come and go.
pub(crate) trait Keep<K>: Send {
    /// A complete list begins; what is kept stays valid until [`Keep::commit`].
    fn begin(&mut self);
    /// An object of the list.
    fn list(&mut self, object: K);
    /// The list is complete: it is all there is.
    fn commit(&mut self);
    /// An object was made or changed.
    fn apply(&mut self, object: K);
    /// An object is gone.
    fn delete(&mut self, object: K);
    /// Something is in the way, in one sentence, or nothing any more.
    fn troubled(&mut self, _sentence: Option<&str>) {}
}

/// What is followed, for the log.
pub(crate) struct Subject {
    /// Its name, plural.
    what: Cow<'static, str>,
    /// What is said when it is refused, given kube-apiserver's words.
    denied: Box<Denied>,
}

type Denied = dyn Fn(&str) -> Advice + Send + Sync;

// === impl Subject ===

impl Subject {
    /// What the host follows for itself.
    pub(crate) fn own(what: &'static str, denied: impl Fn(&Account) -> Advice + Send + Sync + 'static) -> Self {
        Self::new(what.into(), move |refusal| denied(&Account::named_in(refusal)))
    }

    /// What is followed for somebody else.
    pub(crate) fn new(what: Cow<'static, str>, denied: impl Fn(&str) -> Advice + Send + Sync + 'static) -> Self {
        Self {
            what,
            denied: Box::new(denied),
        }
    }
}

/// Pages of 500, as client-go asks for.
pub(crate) fn config() -> Config {
    Config::default().page_size(500)
}

/// Follows until cancelled. `open` starts a new watcher: once at first, and again when a list hangs.
pub(crate) async fn follow<K, S>(
    subject: Subject,
    mut open: impl FnMut() -> S + Send,
    mut keep: impl Keep<K>,
    cancel: CancellationToken,
) where
    K: Send,
    S: Stream<Item = Result<Event<K>, Error>> + Send,
{
    let mut trouble = Trouble::new(subject);
    let mut backoff = Backoff::new(FIRST_DELAY, 2.0, LONGEST_DELAY, 1.0);
    loop {
        let mut events = Box::pin(open());
        let mut listing = true;
        loop {
            let next = tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                next = events.next() => next,
                // A watch may be silent for minutes; the client's keep-alive and the watcher's own timeout end a dead one.
                () = tokio::time::sleep(PAGE_DEADLINE), if listing => {
                    let fact = format!("a list took longer than {PAGE_DEADLINE:?}");
                    keep.troubled(Some(&fact));
                    trouble.begins(&fact, "");
                    None
                }
            };
            match next {
                None => break,
                Some(Err(error)) => {
                    listing = !matches!(error, Error::WatchFailed(_) | Error::WatchStartFailed(_));
                    match verdict(&error, trouble.subject()) {
                        Some((fact, more)) => {
                            if trouble.begins(&fact, &more) {
                                // Another trouble than before: kube-apiserver is back but refuses, say. What made the last wait
                                // long is over.
                                backoff.reset();
                                keep.troubled(Some(&format!("{fact}{more}")));
                            }
                        }
                        None => debug!(what = %trouble.subject().what, "watch expired, listing again"),
                    }
                    let again = backoff.delay();
                    tokio::select! {
                        biased;
                        () = cancel.cancelled() => return,
                        () = tokio::time::sleep(again) => {}
                    }
                }
                // Only says that a list will be asked for: no sign of health.
                Some(Ok(Event::Init)) => {
                    listing = true;
                    keep.begin();
                }
                Some(Ok(event)) => {
                    match event {
                        Event::InitApply(object) => keep.list(object),
                        Event::InitDone => {
                            listing = false;
                            keep.commit();
                        }
                        Event::Apply(object) => keep.apply(object),
                        Event::Delete(object) => keep.delete(object),
                        Event::Init => {}
                    }
                    if !listing {
                        backoff.reset();
                        if trouble.ends() {
                            keep.troubled(None);
                        }
                    }
                }
            }
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(backoff.delay()) => {}
        }
    }
}

/// What is wrong at the moment, so that it is said once.
pub(crate) struct Trouble {
    subject: Subject,
    since: Option<(Instant, String)>,
}

// === impl Trouble ===

impl Trouble {
    pub(crate) fn new(subject: Subject) -> Self {
        Self { subject, since: None }
    }

    /// What it is about.
    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Says what is wrong, unless it has been said. Whether this is another trouble than before.
    pub(crate) fn begins(&mut self, fact: &str, more: &str) -> bool {
        let what = &*self.subject.what;
        match &mut self.since {
            Some((_, known)) if known == fact => {
                debug!(what, "still: {fact}{more}");
                return false;
            }
            Some((_, known)) => {
                fact.clone_into(known);
                warn!(what, "cannot follow {what}: {fact}{more}; it is tried again");
            }
            None => {
                self.since = Some((Instant::now(), fact.to_owned()));
                warn!(
                    what,
                    "cannot follow {what}: {fact}{more}; what is known stays, and it is tried again"
                );
            }
        }
        true
    }

    /// All is well; whether it was not before.
    pub(crate) fn ends(&mut self) -> bool {
        let Some((since, _)) = self.since.take() else { return false };
        let what = &*self.subject.what;
        info!(what, "following {what} again after {:.1?}", since.elapsed());
        true
    }
}

/// What is wrong, and what to do about it or what else is known. None for the ordinary end of a watch that fell behind: the
/// list that follows mends it.
fn verdict(error: &Error, subject: &Subject) -> Option<(String, String)> {
    match code(error) {
        Some(410) => None,
        code => Some(fact(code, error, subject)),
    }
}

/// What an HTTP status says; none, if there was no answer.
pub(crate) fn fact(code: Option<u16>, error: &(dyn std::error::Error + 'static), subject: &Subject) -> (String, String) {
    match code {
        Some(403) => {
            let advice = (subject.denied)(&causes(error));
            (advice.wrong(), format!("; {}", advice.cure()))
        }
        Some(401) => (
            "kube-apiserver does not know who we are (401)".to_owned(),
            "; the token or certificate of the kubeconfig or service account has expired or is of another cluster".to_owned(),
        ),
        Some(code) => (format!("kube-apiserver answered {code}"), format!(": {error}")),
        None => ("kube-apiserver does not answer".to_owned(), format!(": {}", causes(error))),
    }
}

/// The HTTP status in a watcher's error.
fn code(error: &Error) -> Option<u16> {
    match error {
        Error::WatchError(status) => Some(status.code),
        Error::InitialListFailed(kube::Error::Api(status))
        | Error::WatchStartFailed(kube::Error::Api(status))
        | Error::WatchFailed(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}

/// Reads name, namespace, labels and resourceVersion; everything else is skipped without being built, managedFields above
/// all (they are most of a pod's metadata).
pub(crate) fn slim_metadata<'de, D: Deserializer<'de>>(from: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Slim {
        name: Option<String>,
        namespace: Option<String>,
        labels: Option<std::collections::BTreeMap<String, String>>,
        resource_version: Option<String>,
    }
    let Slim {
        name,
        namespace,
        labels,
        resource_version,
    } = Slim::deserialize(from)?;
    Ok(ObjectMeta {
        name,
        namespace,
        labels,
        resource_version,
        ..ObjectMeta::default()
    })
}

/// A poisoned lock holds a map that is whole: every change here is one call.
pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// See [`read`].
pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn what_is_said_of_a_trouble() {
        let subject = Subject::own("pods", |account| account.may_not_read("get,list,watch", "pods"));
        let answer = |code: u16| {
            let status = Status {
                code,
                message: "scripted".into(),
                ..Status::default()
            };
            kube::Error::Api(status.boxed())
        };
        let lost = kube::Error::Service("connection refused".into());
        let cases = [
            (
                "list denied",
                Error::InitialListFailed(answer(403)),
                Some("may not get,list,watch pods"),
            ),
            ("watch denied", Error::WatchStartFailed(answer(403)), Some("--resource=pods")),
            ("unknown caller", Error::InitialListFailed(answer(401)), Some("has expired")),
            ("its own trouble", Error::WatchFailed(answer(500)), Some("answered 500")),
            ("away", Error::WatchFailed(lost), Some("connection refused")),
            (
                "expired",
                Error::WatchError(
                    Status {
                        code: 410,
                        ..Status::default()
                    }
                    .boxed(),
                ),
                None,
            ),
        ];
        for (name, error, expected) in cases {
            let said = verdict(&error, &subject).map(|(fact, more)| fact + &more);
            assert_eq!(said.is_some(), expected.is_some(), "{name}: {said:?}");
            let (said, expected) = (said.unwrap_or_default(), expected.unwrap_or_default());
            assert!(said.contains(expected) && !said.contains('\n'), "{name}: {said}");
        }
    }
}
