//! Events on their way into the log: a bounded queue, and one thread that writes (apiserver `plugin/pkg/audit`).
//!
//! The queue keeps the order. In the modes `blocking` and `blocking-strict` a request waits until its line is written; in `batch` it
//! waits for nothing, and what the queue cannot hold is dropped, counted and logged. Making JSON of an event, and all that a disk
//! can do, happens on the thread and never on a request's task. [`Sink::close`] comes behind every event that was put before it,
//! so that nothing is lost when the server drains.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use outrigger_audit::{Event, Level};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use crate::audit::file::LogFile;
use crate::audit::metrics::AuditMetrics;

/// When a request goes on (`--audit-log-mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// When its event is in the queue; what finds no place is dropped.
    Batch,
    /// When its event is written, or writing it has failed.
    Blocking,
    /// As `Blocking`, and a request whose first event cannot be written fails.
    BlockingStrict,
}

/// How an event reads (`--audit-log-format`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `audit.k8s.io/v1`, one JSON document per line.
    Json,
    /// One line of text.
    Legacy,
}

/// How events are written.
#[derive(Debug, Clone)]
pub struct SinkOptions {
    /// When a request goes on.
    pub mode: Mode,
    /// How an event reads.
    pub format: Format,
    /// `--audit-log-batch-buffer-size`: events that may wait.
    pub queue: usize,
    /// `--audit-log-truncate-max-event-size`, if truncating is enabled.
    pub max_event_bytes: Option<usize>,
}

/// Where lines go.
pub(crate) enum Target {
    File(LogFile),
    /// Standard output, or what a test wants to look into.
    Stream(Box<dyn Write + Send>),
}

/// The queue's entrance.
pub(crate) struct Sink {
    options: SinkOptions,
    queue: mpsc::Sender<Job>,
    /// Bytes of objects in the queue.
    waiting: Arc<AtomicUsize>,
    metrics: Arc<AuditMetrics>,
    complaints: Arc<Complaints>,
    /// Events whose request is over and that found the queue full.
    late: TaskTracker,
}

enum Job {
    Event(Box<Event>, Option<oneshot::Sender<bool>>),
    Close(oneshot::Sender<()>),
}

struct Writer {
    options: SinkOptions,
    target: Target,
    waiting: Arc<AtomicUsize>,
    metrics: Arc<AuditMetrics>,
    complaints: Arc<Complaints>,
}

/// One line for many failures: a full disk fails thousands of times a second.
#[derive(Default)]
struct Complaints(Mutex<(Option<Instant>, u64)>);

/// The longest that a request waits for its line in the blocking modes; a disk that hangs must not hang the cluster.
const PATIENCE: Duration = Duration::from_secs(30);
/// Objects in the queue, in bytes. Ten thousand events of 3 MiB each would be more than any machine has.
const MAX_WAITING: usize = 64 << 20;
const QUIET: Duration = Duration::from_secs(10);

// === impl Sink ===

impl Sink {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread for us.
    pub(crate) fn start(target: Target, options: SinkOptions, metrics: Arc<AuditMetrics>) -> io::Result<Self> {
        let (queue, events) = mpsc::channel(options.queue.max(1));
        let (waiting, complaints) = (Arc::<AtomicUsize>::default(), Arc::<Complaints>::default());
        let writer = Writer {
            options: options.clone(),
            target,
            waiting: waiting.clone(),
            metrics: metrics.clone(),
            complaints: complaints.clone(),
        };
        // It ends with `close`, which waits for it to have written everything.
        std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || writer.run(events))?;
        Ok(Self {
            options,
            queue,
            waiting,
            metrics,
            complaints,
            late: TaskTracker::new(),
        })
    }

    pub(crate) fn is_strict(&self) -> bool {
        self.options.mode == Mode::BlockingStrict
    }

    /// Takes an event, and in the blocking modes waits until it is written. False if it is not in the log.
    pub(crate) async fn put(&self, event: Event) -> bool {
        self.metrics.events.inc();
        if self.options.mode == Mode::Batch {
            return self.try_put(Box::new(event)).is_ok();
        }
        let (written, outcome) = oneshot::channel();
        self.waiting.fetch_add(event.size(), Ordering::Relaxed);
        let wait = async {
            let job = Job::Event(Box::new(event), Some(written));
            self.queue.send(job).await.is_ok() && outcome.await.unwrap_or(false)
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| {
            self.lost("the log could not be written in time");
            false
        })
    }

    /// Takes an event of a request that is over: nobody is left who could wait.
    pub(crate) fn put_late(self: &Arc<Self>, event: Event) {
        self.metrics.events.inc();
        let Err(event) = self.try_put(Box::new(event)) else { return };
        match (event, Handle::try_current()) {
            (Some(event), Ok(runtime)) if self.options.mode != Mode::Batch => {
                let this = Arc::clone(self);
                self.late.spawn_on(
                    async move {
                        this.waiting.fetch_add(event.size(), Ordering::Relaxed);
                        let sent = tokio::time::timeout(PATIENCE, this.queue.send(Job::Event(event, None))).await;
                        if !matches!(sent, Ok(Ok(()))) {
                            this.lost("audit buffer queue blocked");
                        }
                    },
                    &runtime,
                );
            }
            (Some(_), _) => self.lost("audit buffer queue blocked"),
            (None, _) => {}
        }
    }

    /// Gives the event back if only the queue is in the way (and somebody may wait for it); what cannot be kept is counted here.
    fn try_put(&self, event: Box<Event>) -> Result<(), Option<Box<Event>>> {
        let size = event.size();
        let batch = self.options.mode == Mode::Batch;
        if batch && size > 0 && self.waiting.load(Ordering::Relaxed) + size > MAX_WAITING {
            self.lost("audit buffer queue blocked: too many bytes wait");
            return Err(None);
        }
        self.waiting.fetch_add(size, Ordering::Relaxed);
        let refused = match self.queue.try_send(Job::Event(event, None)) {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        self.waiting.fetch_sub(size, Ordering::Relaxed);
        match refused {
            mpsc::error::TrySendError::Full(Job::Event(event, _)) if !batch => Err(Some(event)),
            mpsc::error::TrySendError::Full(_) => {
                self.lost("audit buffer queue blocked");
                Err(None)
            }
            mpsc::error::TrySendError::Closed(_) => {
                self.lost("audit backend shut down");
                Err(None)
            }
        }
    }

    fn lost(&self, why: &str) {
        self.metrics.error("buffered");
        self.complaints.say(why, "");
    }

    /// Writes what is in the queue and ends; what comes later is lost. False if the deadline was first.
    pub(crate) async fn close(&self, deadline: Duration) -> bool {
        self.late.close();
        let all = async {
            self.late.wait().await;
            let (done, closed) = oneshot::channel();
            if self.queue.send(Job::Close(done)).await.is_ok() {
                let _ = closed.await;
            }
        };
        tokio::time::timeout(deadline, all).await.is_ok()
    }
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink").field("options", &self.options).finish_non_exhaustive()
    }
}

// === impl Writer ===

impl Writer {
    fn run(mut self, mut events: mpsc::Receiver<Job>) {
        while let Some(job) = events.blocking_recv() {
            match job {
                Job::Event(event, written) => {
                    self.waiting.fetch_sub(event.size(), Ordering::Relaxed);
                    let good = self.write(*event);
                    if let Some(written) = written {
                        // Who waited may have gone.
                        let _ = written.send(good);
                    }
                }
                Job::Close(done) => {
                    events.close();
                    drop(self);
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    fn write(&mut self, event: Event) -> bool {
        let (event, line) = match self.options.format {
            Format::Legacy => {
                let line = event.to_text().into_bytes();
                (event, line)
            }
            Format::Json => match self.json(event) {
                Ok(both) => both,
                Err(event) => {
                    self.metrics.error("truncate");
                    self.complaints
                        .say("event is too large even after truncating", &event.to_text());
                    // As upstream: no mode fails a request for this.
                    return true;
                }
            },
        };
        let written = match &mut self.target {
            Target::File(file) => file.write(&line),
            Target::Stream(stream) => stream.write_all(&line).and_then(|()| stream.flush()),
        };
        match written {
            Ok(()) => true,
            Err(error) => {
                self.metrics.error("log");
                self.complaints.say(&error.to_string(), &event.to_text());
                false
            }
        }
    }

    /// Within the bound on events, if there is one.
    fn json(&self, event: Event) -> Result<(Event, Vec<u8>), Event> {
        let line = event.to_json();
        let Some(most) = self.options.max_event_bytes.filter(|most| line.len() > *most) else {
            return Ok((event, line));
        };
        if event.level < Level::Request {
            return Err(event);
        }
        let event = event.truncated();
        let line = event.to_json();
        if line.len() > most { Err(event) } else { Ok((event, line)) }
    }
}

// === impl Complaints ===

impl Complaints {
    fn say(&self, why: &str, event: &str) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, kept_back) = &mut *state;
        if last.is_some_and(|at| at.elapsed() < QUIET) {
            *kept_back += 1;
            return;
        }
        let more = std::mem::take(kept_back);
        *last = Some(Instant::now());
        drop(state);
        tracing::error!(more, event = event.trim_end(), "an audit event is lost: {why}");
    }
}
