//! Requests without a pause while something happens: one task for each way, and not one failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use outrigger_e2e::http::{Client, runtime};
use outrigger_e2e::steady::{Protocol, Steady};

/// Loops that run until [`Load::end`].
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    loops: Vec<tokio::task::JoinHandle<Result<Loop>>>,
}

/// What one loop did.
pub(crate) struct Loop {
    pub(crate) way: &'static str,
    pub(crate) answers: usize,
    pub(crate) connections: usize,
}

impl Load {
    pub(crate) fn new() -> Self {
        Self {
            over: Arc::default(),
            answers: Arc::default(),
            loops: Vec::new(),
        }
    }

    /// Asks for `path` again and again; every answer is 200 and a whole list. If `fresh`, over a new connection each time.
    pub(crate) fn add(&mut self, way: &'static str, client: Client, protocol: Protocol, path: &'static str, fresh: bool) {
        let (over, all) = (self.over.clone(), self.answers.clone());
        self.loops.push(runtime().spawn(async move {
            let (mut answers, mut connections) = (0, 0);
            let mut steady = Steady::new(client.clone(), protocol);
            while !over.load(Ordering::SeqCst) {
                let answer = steady
                    .get(path)
                    .await
                    .with_context(|| format!("{way}: after {answers} answers and {} connections", steady.dialled))?;
                ensure!(
                    answer.status == 200,
                    "{way}: after {answers} answers: {} {}",
                    answer.status,
                    answer.text()
                );
                let list = answer.json()?;
                ensure!(list["kind"].as_str().is_some_and(|k| k.ends_with("List")), "{way}: {list}");
                answers += 1;
                if fresh {
                    connections += steady.dialled;
                    steady = Steady::new(client.clone(), protocol);
                }
                all.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Ok(Loop {
                way,
                answers,
                connections: connections + steady.dialled,
            })
        }));
    }

    /// Answers so far, of all loops.
    pub(crate) fn answers(&self) -> usize {
        self.answers.load(Ordering::SeqCst)
    }

    /// Whether a loop has ended already: there is no need to wait on.
    pub(crate) fn failed(&self) -> bool {
        self.loops.iter().any(tokio::task::JoinHandle::is_finished)
    }

    /// Ends all loops; the first failure of any.
    pub(crate) fn end(self) -> Result<Vec<Loop>> {
        self.over.store(true, Ordering::SeqCst);
        self.loops
            .into_iter()
            .map(|one| runtime().block_on(one).map_err(|e| anyhow!("{e}"))?)
            .collect()
    }
}
