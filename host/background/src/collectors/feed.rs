//! What other replicas hear of this one's ticks, and what it takes of theirs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use outrigger_catalog::Snapshot;
use outrigger_storage::{Entry, Row};
use prost::Message as _;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::Instant;

use super::memory::{Cell, Heard};
use super::{Collectors, Job, find, source};
use crate::metrics::Outcome;
use crate::sharing::{Brought, Good, NotTaken, SharedRow, Told};

/// What one listener hears: everything that is known, and then each tick.
pub struct Feed {
    collectors: Arc<Collectors>,
    live: broadcast::Receiver<Told>,
    everything: Everything,
    /// Whether the listener knows that it has heard everything.
    complete: bool,
}

/// What is known at one moment, as pointers: it is written job by job, as the listener takes it.
#[derive(Default)]
struct Everything {
    jobs: Vec<(Job, Arc<Cell>, Instant)>,
    /// By plugin and source.
    rows: HashMap<(Arc<str>, Arc<str>), Vec<Of>>,
    snapshot: Option<Arc<Snapshot>>,
}

/// A row, and the plural of its resource.
type Of = (Arc<str>, Arc<Entry>);

/// A frame without a message.
pub const EMPTY: Bytes = Bytes::from_static(&[0; 4]);
/// How long news may be on their way to pass for as old as they say.
const MOMENT: Duration = Duration::from_secs(1);

// === impl Collectors ===

impl Collectors {
    /// What another replica wants to hear; nothing where the work is not shared.
    #[must_use]
    pub fn feed(self: &Arc<Self>) -> Option<Feed> {
        let live = self.sharing.as_ref()?.listen();
        // After the subscription, so that nothing falls between.
        let everything = self.everything();
        Some(Feed {
            collectors: self.clone(),
            live,
            everything,
            complete: false,
        })
    }

    /// Takes what another replica's tick brought: one message of its [`Feed`], without the length.
    ///
    /// # Errors
    /// It is of no use here; nothing has changed.
    pub fn hear(&self, news: Bytes) -> Result<(), NotTaken> {
        let Brought {
            plugin,
            digest,
            collector,
            target,
            age_ms,
            good,
        } = Brought::decode(news).map_err(|_| NotTaken::Unreadable)?;
        let job = Job {
            plugin: plugin.into(),
            collector: collector.into(),
            target: target.into(),
        };
        let memory = self.memories().get(&job).cloned().ok_or(NotTaken::Unknown)?;
        let snapshot = self.catalog.snapshot();
        let (guest, spec) = find(&snapshot, &job)
            .filter(|(guest, _)| guest.digest() == digest)
            .ok_or(NotTaken::Unknown)?;
        let (now, age) = (Instant::now(), Duration::from_millis(age_ms));
        let heard = Heard {
            at: self.started.elapsed(),
            age,
            good: good.is_some(),
        };
        if let Some(good) = good {
            let since = now.checked_sub(age).unwrap_or(self.started);
            // On its way it has got younger by a moment.
            let moment = (self.interval(&spec) / 4).min(MOMENT);
            if !memory.is_before(since.checked_sub(moment).unwrap_or(since)) {
                return Err(NotTaken::Old);
            }
            let at = SystemTime::now();
            let at = at.checked_sub(age).unwrap_or(at);
            let mut rows: HashMap<Arc<str>, Vec<Row>> = HashMap::new();
            for row in good.rows {
                let resource = Arc::from(row.resource.as_str());
                rows.entry(resource).or_default().push(row.into_row());
            }
            let cell = Cell {
                schema: good.schema,
                // Of its own: a piece of what came in would keep all of it alive.
                bytes: Bytes::copy_from_slice(&good.state),
            };
            memory.keep(cell, since);
            let source = source(&job.collector, &job.target);
            self.put(&snapshot, &job, &source, &*guest, &spec, rows, at);
            self.recovered(&job);
            self.metrics.board.brought(&job);
        }
        memory.hear(heard);
        let result = if heard.good { "success" } else { "failed" };
        self.metrics
            .heard
            .get_or_create(&Outcome {
                plugin: job.plugin.to_string(),
                collector: job.collector.to_string(),
                result,
            })
            .inc();
        Ok(())
    }

    fn everything(&self) -> Everything {
        let snapshot = self.catalog.snapshot();
        let jobs = self
            .memories()
            .iter()
            .filter_map(|(job, memory)| memory.last().map(|(cell, since)| (job.clone(), cell, since)))
            .collect();
        let mut rows: HashMap<_, Vec<_>> = HashMap::new();
        let now = SystemTime::now();
        for (plugin, resource, table) in snapshot.tables() {
            let plugin: Arc<str> = plugin.into();
            let plural: Arc<str> = resource.split_once('/').map_or(resource, |(_, plural)| plural).into();
            // Who brings metadata of his own is no collector.
            for entry in table.snapshot().iter(now).filter(|entry| entry.row.meta.is_none()) {
                let of = (plugin.clone(), entry.source.clone());
                rows.entry(of).or_default().push((plural.clone(), entry.clone()));
            }
        }
        Everything {
            jobs,
            rows,
            snapshot: Some(snapshot),
        }
    }
}

// === impl Feed ===

impl Feed {
    /// The next frame: a length in four bytes, big end first, and a message for [`Collectors::hear`] of the listener, or nothing behind
    /// all that was known at first; `None` at the end of all. May be dropped and asked again.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(next) = self.everything.next() {
                return Some(next);
            }
            if !self.complete {
                self.complete = true;
                return Some(EMPTY);
            }
            match self.live.recv().await {
                Ok(told) => return Some(told.frame()),
                // Too slow for every single tick: what they have led to is shorter.
                Err(RecvError::Lagged(_)) => {
                    self.live = self.live.resubscribe();
                    self.everything = self.collectors.everything();
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

// === impl Everything ===

impl Everything {
    fn next(&mut self) -> Option<Bytes> {
        while let Some((job, cell, since)) = self.jobs.pop() {
            let Some((guest, _)) = self.snapshot.as_ref().and_then(|snapshot| find(snapshot, &job)) else {
                continue;
            };
            let of = (job.plugin.clone(), source(&job.collector, &job.target));
            let rows = self.rows.remove(&of).unwrap_or_default();
            let brought = Brought {
                plugin: job.plugin.to_string(),
                digest: guest.digest().to_owned(),
                collector: job.collector.to_string(),
                target: job.target.to_string(),
                age_ms: 0,
                good: Some(Good {
                    schema: cell.schema,
                    state: cell.bytes.clone(),
                    rows: rows
                        .iter()
                        .map(|(resource, entry)| SharedRow::kept(resource, &entry.row))
                        .collect(),
                }),
            };
            if let Some(told) = Told::new(&brought, since) {
                return Some(told.frame());
            }
        }
        *self = Self::default();
        None
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed")
            .field("to_come", &self.everything.jobs.len())
            .finish_non_exhaustive()
    }
}
