//! One list for all callers: how a virtual resource is watched.
//!
//! Where the manifest says so, the host asks the plugin for the whole list every few seconds while somebody watches, as itself and for everybody, and
//! publishes it into the resource's table. The table knows what has changed, so watches, resource versions, pages and LIST-and-WATCH of
//! informers are those of every other table. A list refreshes the table first, and callers that come together share one call of the
//! guest. What a guest returns from a get or a write goes into the table at once, so that a client finds its own writes in every later list and
//! a watcher need not wait for the next look.
//!
//! A look that fails leaves the rows as they are: watchers see nothing of it, a counter and one line of the log do. A list that cannot be
//! refreshed fails, for an old list would be a lie. What was written or read while a look was under way is newer than the look, and stays.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use outrigger_api::list_options::ListOptions;
use outrigger_api::object::Object;
use outrigger_api::status::Status;
use outrigger_catalog::{Catalog, Guest, Served};
use outrigger_sandbox::{Ask, CallError, ContractError, HostError, Request, Sink};
use outrigger_storage::{Key, Row, Table};
use tokio_util::sync::CancellationToken;

use super::Responder;
use super::judge::{Bad, Expected};
use super::written::row;
use crate::read::Kind;
use crate::{Answer, ReadMetrics, Tables};

/// As whom the host lists.
const IDENTITY: &str = "system:outrigger";
/// The longest that one look may take; the plugin's own limit may be shorter.
const LOOK: Duration = Duration::from_secs(30);
/// Bytes of the objects of one resource that are kept.
const KEPT: usize = 64 << 20;
/// Rows do not expire: only a newer look replaces them.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);
/// Looks without a watcher before the host stops looking.
const LINGER: u32 = 2;

/// The shared lists of all resources that have one.
pub(crate) struct Polls {
    catalog: Arc<Catalog>,
    metrics: ReadMetrics,
    known: Mutex<HashMap<Place, Arc<Poll>>>,
    /// Ends the tasks that look.
    stop: CancellationToken,
}

/// A plugin, and `GROUP/PLURAL` of one of its resources.
type Place = (Arc<str>, String);

/// The shared list of one resource.
pub(crate) struct Poll {
    catalog: Arc<Catalog>,
    metrics: ReadMetrics,
    plugin: Arc<str>,
    group: String,
    plural: String,
    table: Arc<Table>,
    source: Arc<str>,
    /// One look at a time; what the last one brought.
    last: tokio::sync::Mutex<Option<Result<(), Unseen>>>,
    /// How many looks there were.
    looks: AtomicU64,
    state: Mutex<State>,
    stop: CancellationToken,
}

#[derive(Default)]
struct State {
    /// Somebody looks regularly.
    looking: bool,
    /// Keys that were read or written while a look is under way.
    touched: Option<BTreeSet<Key>>,
    /// The last look has failed, and that was said.
    failing: bool,
}

/// Why a look brought nothing.
#[derive(Debug, Clone, thiserror::Error)]
enum Unseen {
    #[error("{0}")]
    Call(Box<CallError>),
    #[error("its list cannot be used: {0}")]
    Bad(Arc<Bad>),
    #[error("it is no longer served")]
    Gone,
}

/// Takes all objects of a look.
struct All {
    expected: Expected,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    rows: Vec<Row>,
    bytes: usize,
    bad: Option<Bad>,
}

// === impl Polls ===

impl Polls {
    pub(crate) fn new(catalog: Arc<Catalog>, metrics: ReadMetrics) -> Self {
        Self {
            catalog,
            metrics,
            known: Mutex::default(),
            stop: CancellationToken::new(),
        }
    }

    /// That of a resource, if it has one.
    pub(crate) fn of(&self, served: &Served) -> Option<Arc<Poll>> {
        served.poll_seconds()?;
        let resource = &served.resource;
        let at = (Arc::clone(&served.plugin), format!("{}/{}", resource.group, resource.plural));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(poll) = known.get(&at).filter(|poll| Arc::ptr_eq(&poll.table, &served.table)) {
            return Some(Arc::clone(poll));
        }
        known.retain(|_, poll| !poll.table.is_retired());
        let poll = Arc::new(Poll {
            catalog: Arc::clone(&self.catalog),
            metrics: self.metrics.clone(),
            plugin: Arc::clone(&served.plugin),
            group: resource.group.clone(),
            plural: resource.plural.clone(),
            table: Arc::clone(&served.table),
            source: "list".into(),
            last: tokio::sync::Mutex::default(),
            looks: AtomicU64::new(0),
            state: Mutex::default(),
            stop: self.stop.child_token(),
        });
        known.insert(at, Arc::clone(&poll));
        Some(poll)
    }
}

impl Drop for Polls {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

// === impl Poll ===

impl Poll {
    /// A list of what the guest has now, from the table.
    pub(super) async fn list(self: &Arc<Self>, responder: &Responder<'_>) -> Result<Answer, Status> {
        let read = responder.asked.read();
        // What cannot be answered is not asked for.
        read.media(Kind::List)?;
        let options = ListOptions::read(responder.asked.query)?;
        if options.continue_token.is_empty() {
            self.refresh().await.map_err(|why| self.unseen(&why, responder))?;
        }
        read.list().await
    }

    /// A watch; from now on somebody looks.
    pub(super) async fn watch(self: &Arc<Self>, responder: &Responder<'_>, tables: &Tables) -> Result<Answer, Status> {
        let read = responder.asked.read();
        let options = ListOptions::read_watch(responder.asked.query)?;
        if options.send_initial_events == Some(true) {
            self.refresh().await.map_err(|why| self.unseen(&why, responder))?;
        }
        let answer = read.watch(tables).await?;
        self.look();
        Ok(answer)
    }

    /// Looks, unless somebody else has since this was called.
    async fn refresh(self: &Arc<Self>) -> Result<(), Unseen> {
        let asked = self.looks.load(Ordering::Acquire);
        let mut last = self.last.lock().await;
        if let Some(outcome) = last.as_ref().filter(|_| self.looks.load(Ordering::Acquire) != asked) {
            return outcome.clone();
        }
        self.state().touched = Some(BTreeSet::new());
        let outcome = self.once().await;
        *last = Some(outcome.clone());
        self.looks.fetch_add(1, Ordering::Release);
        self.metrics.polled(&self.plugin, &self.group, &self.plural, outcome.is_ok());
        outcome
    }

    /// One look.
    async fn once(&self) -> Result<(), Unseen> {
        let (served, guest) = self.now().ok_or(Unseen::Gone)?;
        let resource = &served.resource;
        let version = resource.versions.first().cloned().unwrap_or_default();
        let facts = Request {
            verb: "list".into(),
            group: resource.group.clone(),
            version,
            resource: resource.plural.clone(),
            user: IDENTITY.into(),
            ..Request::default()
        };
        let taken = Arc::new(Mutex::new(Taken::default()));
        let sink = All {
            expected: Expected {
                api_version: served.api_version.to_string(),
                kind: resource.kind.clone(),
                is_namespaced: resource.scope == outrigger_api::manifest::Scope::Namespaced,
                namespace: String::new(),
                name: String::new(),
            },
            taken: Arc::clone(&taken),
        };
        let outcome = guest.respond(Arc::new(facts), Ask::List(Box::new(sink)), LOOK).await;
        let taken = std::mem::take(&mut *taken.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(bad) = taken.bad {
            return Err(Unseen::Bad(Arc::new(bad)));
        }
        outcome.map_err(|error| Unseen::Call(Box::new(error)))?;
        self.publish(taken.rows);
        Ok(())
    }

    /// What was touched in the meantime is as whoever touched it left it.
    fn publish(&self, mut rows: Vec<Row>) {
        let mut state = self.state();
        let touched = state.touched.take().unwrap_or_default();
        if !touched.is_empty() {
            rows.retain(|row| !touched.contains(&row.key));
            let now = self.table.snapshot();
            let at = SystemTime::now();
            rows.extend(
                touched
                    .iter()
                    .filter_map(|key| now.get(key, at))
                    .map(|entry| entry.row.clone()),
            );
        }
        self.table.publish(&self.source, rows, SystemTime::now(), FOR_EVER);
    }

    /// The guest has returned this object just now. Returns the version that readers see.
    pub(super) fn put(&self, object: Object) -> u64 {
        let row = row(object);
        let mut state = self.state();
        if let Some(touched) = &mut state.touched {
            touched.insert(row.key.clone());
        }
        let entry = self.table.put(&self.source, row, SystemTime::now(), FOR_EVER);
        entry.map_or_else(|| self.table.snapshot().revision(), |entry| entry.revision)
    }

    /// There is no such object any more.
    pub(super) fn gone(&self, namespace: &str, name: &str) {
        let key = Key::new(namespace, name);
        let mut state = self.state();
        if let Some(touched) = &mut state.touched {
            touched.insert(key.clone());
        }
        self.table.remove(&self.source, &key);
    }

    /// The version that readers see, and the author's own (empty if he has none).
    pub(super) fn version_of(&self, namespace: &str, name: &str) -> Option<(u64, String)> {
        let snapshot = self.table.snapshot();
        let entry = snapshot.get(&Key::new(namespace, name), SystemTime::now())?;
        let own = entry.row.meta.as_ref().map(|meta| meta.version.to_string());
        Some((entry.revision, own.unwrap_or_default()))
    }

    /// The resource in its preferred version, and the plugin's running version.
    fn now(&self) -> Option<(Arc<Served>, Arc<dyn Guest>)> {
        let snapshot = self.catalog.snapshot();
        let manifest = snapshot.plugins().get(&self.plugin)?.guest.manifest();
        let mut resources = manifest.resources.iter();
        let resource = resources.find(|r| r.group == self.group && r.plural == self.plural)?;
        let served = snapshot.resource(&self.group, resource.versions.first()?, &self.plural)?;
        Some((Arc::clone(served), served.guest.clone()?))
    }

    /// Looks every few seconds until nobody has watched for a while.
    fn look(self: &Arc<Self>) {
        if std::mem::replace(&mut self.state().looking, true) {
            return;
        }
        let (this, stop) = (Arc::clone(self), self.stop.clone());
        // It ends with its watchers, with the resource, or with the room.
        tokio::spawn(async move {
            stop.run_until_cancelled(this.follow()).await;
        });
    }

    async fn follow(self: &Arc<Self>) {
        let mut unwatched = 0;
        loop {
            let seconds = self.now().and_then(|(served, _)| served.poll_seconds());
            tokio::time::sleep(Duration::from_secs(seconds.unwrap_or(1).into())).await;
            unwatched = if self.table.is_watched() { 0 } else { unwatched + 1 };
            let over = self.table.is_retired() || seconds.is_none();
            if over || unwatched > LINGER {
                let mut state = self.state();
                // Whoever begins to watch behind this finds nobody looking, and looks himself.
                if over || !self.table.is_watched() {
                    state.looking = false;
                    return;
                }
            }
            let outcome = self.refresh().await;
            self.say(&outcome);
        }
    }

    /// One line when it begins to fail, and one when it is well again.
    fn say(&self, outcome: &Result<(), Unseen>) {
        let failing = outcome.is_err();
        if std::mem::replace(&mut self.state().failing, failing) == failing {
            return;
        }
        let (plugin, group, plural) = (&self.plugin, &self.group, &self.plural);
        match outcome {
            Err(why) => {
                tracing::error!("plugin {plugin}: {plural}.{group} cannot be listed, watchers see what was there before: {why}");
            }
            Ok(()) => tracing::info!("plugin {plugin}: {plural}.{group} can be listed again"),
        }
    }

    fn unseen(&self, why: &Unseen, responder: &Responder<'_>) -> Status {
        match why {
            Unseen::Call(error) => responder.failure().status(error, "", false),
            Unseen::Bad(bad) => responder.failure().bad(bad),
            Unseen::Gone => Status::generic_not_found(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl All ===

#[async_trait]
impl Sink for All {
    async fn start(&mut self, _: u16, _: &str) -> Result<(), HostError> {
        Err(ContractError::Invalid(
            "a list has no status and no content type of its own".into(),
        ))
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), HostError> {
        let judged = self.expected.judge(&bytes);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.bytes = taken.bytes.saturating_add(bytes.len());
        let judged = match judged {
            Ok(_) if taken.bytes > KEPT => Err(Bad::TooLarge(KEPT)),
            judged => judged,
        };
        match judged {
            Ok(object) => {
                taken.rows.push(row(object));
                Ok(())
            }
            Err(bad) => {
                let error = ContractError::Invalid(bad.to_string());
                taken.bad.get_or_insert(bad);
                Err(error)
            }
        }
    }
}
