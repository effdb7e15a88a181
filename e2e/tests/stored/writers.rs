//! Writers that are many, in a hurry, and in each other's way; they go on through broken connections and a host that is killed.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use http::Method;
use outrigger_e2e::http::{Answer, Client, Connection, runtime};
use outrigger_e2e::wait::LATER;
use serde_json::json;
use tokio::task::JoinSet;

use crate::house::{flunder, flunders};

/// Names that all of them write.
const SHARED: u64 = 200;

/// Several writers of one namespace's flunders.
pub(crate) struct Writers {
    done: Arc<AtomicUsize>,
    allowed: Arc<AtomicUsize>,
    tasks: JoinSet<Result<()>>,
}

struct Writer {
    client: Client,
    connection: Option<Connection>,
    collection: String,
    /// Its own flunder, which nobody else writes and nobody deletes.
    own: String,
    /// The last count that it was told to be kept, and the last that it sent.
    kept: u64,
    sent: u64,
    random: u64,
    done: Arc<AtomicUsize>,
    allowed: Arc<AtomicUsize>,
}

// === impl Writers ===

impl Writers {
    /// Writers of these numbers, until together they have made so many changes. They begin when they are allowed to.
    pub(crate) fn start(client: &Client, namespace: &str, writers: Range<u64>, changes: usize) -> Self {
        let (done, allowed) = (Arc::default(), Arc::default());
        let mut tasks = JoinSet::new();
        for n in writers {
            let writer = Writer {
                client: client.clone(),
                connection: None,
                collection: flunders(namespace),
                own: format!("own-{n}"),
                kept: 0,
                sent: 0,
                random: n + 1,
                done: Arc::clone(&done),
                allowed: Arc::clone(&allowed),
            };
            tasks.spawn_on(writer.run(changes), runtime().handle());
        }
        Self { done, allowed, tasks }
    }

    /// Allows so many changes, and no more for now.
    pub(crate) fn allow(&self, changes: usize) {
        self.allowed.store(changes, Ordering::Relaxed);
    }

    /// Allows so many changes, and waits until they are made.
    pub(crate) fn reach(&mut self, changes: usize) -> Result<()> {
        self.allow(changes);
        let end = Instant::now() + LATER;
        while self.done.load(Ordering::Relaxed) < changes {
            while let Some(ended) = self.tasks.try_join_next() {
                ended??;
            }
            ensure!(Instant::now() < end, "no {changes} changes in {LATER:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Lets them go on to their end, and waits for it.
    pub(crate) fn finish(mut self) -> Result<usize> {
        self.allow(usize::MAX);
        runtime().block_on(async {
            while let Some(ended) = tokio::time::timeout(LATER, self.tasks.join_next())
                .await
                .context("writers that end")?
            {
                ended??;
            }
            Ok(self.done.load(Ordering::Relaxed))
        })
    }
}

// === impl Writer ===

impl Writer {
    async fn run(mut self, changes: usize) -> Result<()> {
        while self.done.load(Ordering::Relaxed) < changes {
            if self.done.load(Ordering::Relaxed) < self.allowed.load(Ordering::Relaxed) {
                self.turn().await?;
            } else {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        // What was acknowledged is there, or what was sent after it.
        loop {
            let path = format!("{}/{}", self.collection, self.own);
            match self.ask(Method::GET, &path, "", String::new()).await {
                Some(answer) if answer.status == 200 => {
                    let text = answer.json()?["metadata"]["annotations"]["count"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned();
                    let count: u64 = text.parse()?;
                    ensure!(
                        self.kept <= count && count <= self.sent,
                        "{}: {count}, although {} was kept and {} was sent",
                        self.own,
                        self.kept,
                        self.sent
                    );
                    return Ok(());
                }
                Some(answer) if answer.status == 404 => {
                    ensure!(self.kept == 0, "{} is lost", self.own);
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// One change, or the try at one.
    async fn turn(&mut self) -> Result<()> {
        let name = format!("f-{:03}", self.next() % SHARED);
        let path = format!("{}/{name}", self.collection);
        let turn = self.next();
        match self.next() % 10 {
            0 => self.count().await,
            1..=4 => {
                let patch = json!({"metadata": {"labels": {"turn": turn.to_string()}}}).to_string();
                self.change(Method::PATCH, &path, "application/merge-patch+json", patch, &[200, 404])
                    .await
            }
            5 | 6 => {
                let Some(read) = self.ask(Method::GET, &path, "", String::new()).await else {
                    return Ok(());
                };
                if read.status != 200 {
                    return Ok(());
                }
                let mut object = read.json()?;
                object["spec"]["flunderReference"] = json!(turn.to_string());
                self.change(Method::PUT, &path, "application/json", object.to_string(), &[200, 404, 409])
                    .await
            }
            7 | 8 => {
                let collection = self.collection.clone();
                let object = flunder(&name, &turn.to_string()).to_string();
                self.change(Method::POST, &collection, "application/json", object, &[201, 409])
                    .await
            }
            _ => {
                self.change(Method::DELETE, &path, "application/json", String::new(), &[200, 404])
                    .await
            }
        }
    }

    /// Counts on in its own flunder. By version: what was on its way when a connection broke may arrive late, and is then refused.
    async fn count(&mut self) -> Result<()> {
        let path = format!("{}/{}", self.collection, self.own);
        let Some(read) = self.ask(Method::GET, &path, "", String::new()).await else {
            return Ok(());
        };
        let (method, mut object) = match read.status.as_u16() {
            404 => {
                ensure!(self.kept == 0, "{} is lost", self.own);
                (Method::POST, flunder(&self.own, "nobody"))
            }
            _ => (Method::PUT, read.ok()?.json()?),
        };
        let path = if method == Method::POST {
            self.collection.clone()
        } else {
            path
        };
        self.sent += 1;
        object["metadata"]["annotations"] = json!({"count": self.sent.to_string()});
        match self.ask(method, &path, "application/json", object.to_string()).await {
            Some(answer) if answer.status.is_success() => {
                self.kept = self.sent;
                self.done.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Some(answer) if answer.status != 409 => bail!("{}: {}: {}", self.own, answer.status, answer.text()),
            _ => Ok(()),
        }
    }

    async fn change(&mut self, method: Method, path: &str, kind: &str, body: String, expected: &[u16]) -> Result<()> {
        let what = format!("{method} {path}");
        let Some(answer) = self.ask(method, path, kind, body).await else {
            return Ok(());
        };
        ensure!(
            expected.contains(&answer.status.as_u16()),
            "{what}: {}: {}",
            answer.status,
            answer.text()
        );
        if answer.status.is_success() {
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// An answer, if there is one: not while the connection breaks, and not from a host that has just begun.
    async fn ask(&mut self, method: Method, path: &str, kind: &str, body: String) -> Option<Answer> {
        if self.connection.is_none() {
            self.connection = self.client.connect().await.ok();
        }
        let headers = match kind {
            "" => &[][..],
            kind => &[("content-type", kind)],
        };
        let answer = match &self.connection {
            Some(connection) => connection.send(method, path, headers, body.into()).await.ok(),
            None => None,
        };
        match answer {
            Some(answer) if !matches!(answer.status.as_u16(), 429 | 503) => Some(answer),
            answer => {
                if answer.is_none() {
                    self.connection = None;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                None
            }
        }
    }

    /// Reproducible, and different for each (SplitMix64).
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
