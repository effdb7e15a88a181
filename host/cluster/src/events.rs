//! Events on objects for plugins (events.k8s.io/v1), as client-go's recorder sends them: in the background, alike ones counted in one
//! series, and no more of one object than its rate.
//!
//! Who emits never waits: the queue is bounded, and what is over it or over the rate is refused at once. The rate is client-go's spam
//! filter (tools/record/events_cache.go): 25 at once for each source and object, then one every five minutes. An event that was sent
//! before, with the same words, becomes one more of its series for ten minutes. Events are sent under the plugin's own identity.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Request;
use http::header::CONTENT_TYPE;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::causes::causes;
use crate::persona::Persona;

/// What happened to an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Happening {
    /// Group and version of the object.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace; empty for none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID, if known.
    pub uid: String,
    /// Its resourceVersion, if known.
    pub resource_version: String,
    /// A part of it.
    pub field_path: String,
    /// `Warning`, and not `Normal`.
    pub warning: bool,
    /// In CamelCase.
    pub reason: String,
    /// For people.
    pub note: String,
}

/// Why an event is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// Too many on one object.
    #[error("too many events on this object: 25 at once, then one every five minutes")]
    Rate,
    /// Too many wait.
    #[error("too many events wait to be sent")]
    Full,
}

/// Takes events of all plugins and sends them.
pub struct EventRecorder {
    queue: mpsc::Sender<Sending>,
    rates: Mutex<Recent<(String, [String; 5]), Bucket>>,
}

struct Sending {
    persona: Persona,
    plugin: String,
    what: Happening,
}

/// What client-go's spam filter knows of one object.
#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// A map that forgets the oldest entries.
struct Recent<K, V> {
    most: usize,
    known: HashMap<K, V>,
    order: VecDeque<K>,
}

/// An event that was sent.
#[derive(Clone)]
struct Sent {
    namespace: String,
    name: String,
    count: u32,
    at: Instant,
}

const QUEUE: usize = 1000;
/// client-go's LRU has as many.
const REMEMBERED: usize = 4096;
const BURST: f64 = 25.0;
const PER_SECOND: f64 = 1.0 / 300.0;
/// client-go's defaultAggregateIntervalInSeconds.
const SERIES: Duration = Duration::from_secs(600);
const DEADLINE: Duration = Duration::from_secs(10);
/// How often one event is tried while kube-apiserver does not answer.
const TRIES: u32 = 3;
const AGAIN: Duration = Duration::from_secs(2);

// === impl EventRecorder ===

impl EventRecorder {
    /// Starts sending with the host's client; `tasks` owns the sender, `end` ends it.
    #[must_use]
    pub fn start(client: Client, tasks: &TaskTracker, end: CancellationToken) -> Arc<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let instance = std::env::var("HOSTNAME")
            .ok()
            .filter(|h| !h.is_empty())
            .unwrap_or_else(|| "outrigger".into());
        tasks.spawn(send_all(client, instance, waiting, end));
        Arc::new(Self {
            queue,
            rates: Mutex::new(Recent::new(REMEMBERED)),
        })
    }

    /// Takes an event to be sent.
    ///
    /// # Errors
    /// It is over the rate or the queue.
    pub fn emit(&self, plugin: &str, persona: &Persona, what: Happening) -> Result<(), NotTaken> {
        if !self.admits(plugin, &what, Instant::now()) {
            return Err(NotTaken::Rate);
        }
        let sending = Sending {
            persona: persona.clone(),
            plugin: plugin.to_owned(),
            what,
        };
        self.queue.try_send(sending).map_err(|_| NotTaken::Full)
    }

    fn admits(&self, plugin: &str, what: &Happening, now: Instant) -> bool {
        let of = [&what.api_version, &what.kind, &what.namespace, &what.name, &what.uid].map(Clone::clone);
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = rates.entry((plugin.to_owned(), of), || Bucket { tokens: BURST, at: now });
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * PER_SECOND).min(BURST);
        bucket.at = now;
        let admitted = bucket.tokens >= 1.0;
        if admitted {
            bucket.tokens -= 1.0;
        }
        admitted
    }
}

impl fmt::Debug for EventRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventRecorder").finish_non_exhaustive()
    }
}

// === impl Recent ===

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    fn new(most: usize) -> Self {
        Self {
            most,
            known: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    fn entry(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        if !self.known.contains_key(&key) {
            if self.order.len() >= self.most
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
            self.order.push_back(key.clone());
        }
        self.known.entry(key).or_insert_with(new)
    }
}

async fn send_all(client: Client, instance: String, mut waiting: mpsc::Receiver<Sending>, end: CancellationToken) {
    let mut sent: Recent<(String, Happening), Option<Sent>> = Recent::new(REMEMBERED);
    let mut said: HashMap<String, String> = HashMap::new();
    loop {
        let next = tokio::select! {
            () = end.cancelled() => return,
            next = waiting.recv() => next,
        };
        let Some(Sending { persona, plugin, what }) = next else {
            return;
        };
        let asks = persona.client(&client);
        let known = sent.entry((plugin.clone(), what.clone()), || None);
        let now = Instant::now();
        let before = known.take().filter(|s| now.saturating_duration_since(s.at) < SERIES);
        let mut tries = 0;
        let outcome = loop {
            tries += 1;
            let once = send(&asks, &plugin, &instance, &what, before.as_ref());
            match tokio::time::timeout(DEADLINE, once).await {
                Ok(Err(error)) if transient(&error) && tries < TRIES => {}
                Ok(outcome) => break outcome.map_err(|e| causes(&e)),
                Err(_) if tries < TRIES => {}
                Err(_) => break Err("kube-apiserver gave no answer in time".to_owned()),
            }
            tokio::select! {
                () = end.cancelled() => return,
                () = tokio::time::sleep(AGAIN * tries) => {}
            }
        };
        match outcome {
            Ok(done) => {
                *known = Some(done);
                said.remove(&plugin);
            }
            Err(why) if said.get(&plugin).is_none_or(|known| *known != why) => {
                tracing::warn!(plugin, "an event is lost: {why}");
                said.insert(plugin, why);
            }
            Err(why) => tracing::debug!(plugin, "an event is lost: {why}"),
        }
    }
}

fn transient(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 429 || status.code >= 500,
        _ => true,
    }
}

/// Makes the event, or counts one more of its series.
async fn send(
    client: &Client,
    plugin: &str,
    instance: &str,
    what: &Happening,
    before: Option<&Sent>,
) -> Result<Sent, kube::Error> {
    let now = jiff::Timestamp::now();
    let time = now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    if let Some(before) = before {
        let count = before.count.saturating_add(1);
        let patch = json!({"series": {"count": count, "lastObservedTime": time}});
        let path = format!("{}/{}", collection(&before.namespace), before.name);
        let request = Request::patch(path).header(CONTENT_TYPE, "application/merge-patch+json");
        match client.request::<Value>(body(request, &patch)?).await {
            Ok(_) => {
                return Ok(Sent {
                    count,
                    at: Instant::now(),
                    ..before.clone()
                });
            }
            // It has expired: begin anew.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    // Events on what has no namespace live in `default` (events.k8s.io's validation).
    let namespace = if what.namespace.is_empty() {
        "default"
    } else {
        &what.namespace
    };
    let name = format!("{}.{:x}", what.name, now.as_nanosecond());
    let event = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "eventTime": time,
        "reportingController": format!("outrigger.dev/{plugin}"),
        "reportingInstance": instance,
        // Required, and there is no word of its own for it: what was done is why it is told.
        "action": what.reason,
        "reason": what.reason,
        "regarding": {
            "apiVersion": what.api_version,
            "kind": what.kind,
            "namespace": what.namespace,
            "name": what.name,
            "uid": what.uid,
            "resourceVersion": what.resource_version,
            "fieldPath": what.field_path,
        },
        "note": what.note,
        "type": if what.warning { "Warning" } else { "Normal" },
    });
    let request = Request::post(collection(namespace)).header(CONTENT_TYPE, "application/json");
    client.request::<Value>(body(request, &event)?).await?;
    Ok(Sent {
        namespace: namespace.to_owned(),
        name,
        count: 1,
        at: Instant::now(),
    })
}

fn collection(namespace: &str) -> String {
    format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events")
}

fn body(request: http::request::Builder, json: &Value) -> Result<Request<Vec<u8>>, kube::Error> {
    request.body(json.to_string().into_bytes()).map_err(kube::Error::HttpError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::{Server, Step, until};

    fn happening(name: &str) -> Happening {
        Happening {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            namespace: "x".into(),
            name: name.into(),
            uid: String::new(),
            resource_version: String::new(),
            field_path: String::new(),
            warning: false,
            reason: "Landed".into(),
            note: "It has landed.".into(),
        }
    }

    #[tokio::test]
    async fn alike_events_are_one_series() {
        let ok = || Step::Say(200, "{}".into());
        let server = Server::start(vec![ok(), ok(), ok()]).await;
        let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
        let recorder = EventRecorder::start(server.client.clone(), &tasks, end.clone());
        let persona = Persona::plugin("harbor");
        for name in ["a", "a", "b"] {
            recorder.emit("harbor", &persona, happening(name)).unwrap();
        }
        until("all are sent", || server.asked().len() == 3).await;
        let asked = server.asked();
        let methods: Vec<&str> = asked.iter().map(|a| a.method.as_str()).collect();
        assert_eq!(methods, ["POST", "PATCH", "POST"]);
        assert!(
            asked[0].uri.ends_with("/apis/events.k8s.io/v1/namespaces/x/events"),
            "{}",
            asked[0].uri
        );
        assert!(
            asked[0].body.contains(r#""reportingController":"outrigger.dev/harbor""#),
            "{}",
            asked[0].body
        );
        assert!(asked[1].body.contains(r#""count":2"#), "{}", asked[1].body);
        end.cancel();
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn one_object_has_its_rate() {
        let server = Server::start(Vec::new()).await;
        let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
        let recorder = EventRecorder::start(server.client.clone(), &tasks, end.clone());
        let now = Instant::now();
        let admitted = |of: &str, plugin: &str, at| recorder.admits(plugin, &happening(of), at);
        assert_eq!((0..30).filter(|_| admitted("a", "harbor", now)).count(), 25);
        assert!(admitted("b", "harbor", now), "another object");
        assert!(admitted("a", "other", now), "another plugin");
        assert!(!admitted("a", "harbor", now + Duration::from_secs(299)));
        assert!(admitted("a", "harbor", now + Duration::from_secs(301)));
        end.cancel();
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut recent = Recent::new(2);
        for key in [1, 2, 1, 3] {
            *recent.entry(key, || 0) += 1;
        }
        assert_eq!((recent.known.len(), recent.known.contains_key(&1)), (2, false));
    }
}
