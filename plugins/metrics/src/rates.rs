//! From one summary to the next: who has a rate, and which.
//!
//! A pure function: what was remembered and what the kubelet says now give what to remember and what to serve. How one
//! counter becomes a rate is told in [`crate::history`]; here stands what happens to an entity that has none.
//!
//! # What is promised
//! * **A pod is served whole or not at all.** A partial sum looks like an idle pod to an autoscaler, and one pod without the
//!   container that it asks for fails a whole `ContainerResource` reading. Upstream serves partial pods after a counter
//!   reset, and hides whole pods over one idle container.
//! * **A container without a rate lends its last good one** for up to [`HOLD`] seconds by its node's own clock, with the
//!   timestamp that it was measured at: after a restart (until it is 10 s old), a counter reset, or damage in the
//!   answer. So a pod has no gap where upstream shows one. A pod's timestamp is its oldest container's, so readers
//!   see the age. The node is treated alike.
//! * **Who never had a rate is waited for**: the pod is absent until then, one tick as a rule. That is what
//!   autoscalers can handle (a missing pod counts conservatively), and what upstream does.
//! * **Who is not listed does not exist**: its row and all that was remembered are gone at once. So a finished init container or
//!   one between two crashes neither counts nor blocks its pod.
//! * **Zero is a value**: a sleeping container uses 0 CPU and is served so.
//! * **A repeated sample repeats its rate and timestamp**, with the newest memory.
//! * **A clock that leaps makes no rate** ([`crate::clocks`]). Forward, the last good values are lent as ever, their timestamps moved along
//!   with the clock; back, nothing is served until there are two samples of the new time, as upstream.
//! * **Swap and storage are the answer's own**: they are neither remembered nor lent, and what the kubelet leaves out is left out.
//! * **No entity's damage touches another's row.** The exception is the first rule.

use crate::clocks::{self, Moment};
use crate::history::{Observed, Rate};
use crate::state::{Entity, PodState, State};
use crate::summary::{Pod, Stats, Summary};

/// Seconds for which a last good value stands in for a missing one.
pub const HOLD: i64 = 120;

/// What one entity uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// When it was measured, in seconds since 1970: the end of the window.
    pub time: i64,
    /// CPU over the window.
    pub rate: Rate,
    /// Working set in bytes.
    pub memory: u64,
    /// Swap in bytes, if the answer says so.
    pub swap: Option<u64>,
    /// Local storage in bytes, if the answer says so.
    pub storage: Option<u64>,
}

/// What a tick serves.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Samples<'s> {
    /// The node.
    pub node: Option<Usage>,
    /// Whole pods, by namespace and name.
    pub pods: Vec<PodSample<'s>>,
    /// How many of the kubelet's pods are waited for: a container of theirs has no rate yet, or is damaged for longer
    /// than [`HOLD`].
    pub waiting: usize,
    /// By how many seconds the node's clock has leapt, if it has.
    pub leap: Option<i64>,
}

/// One whole pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSample<'s> {
    /// Namespace.
    pub namespace: &'s str,
    /// Name.
    pub name: &'s str,
    /// All its containers, by name; never empty.
    pub containers: Vec<(&'s str, Usage)>,
}

/// One tick: what was remembered, what the kubelet says, and when that was read.
#[must_use]
pub fn advance<'s>(before: State<'_>, summary: &'s Summary<'_>, read: Moment) -> (State<'s>, Samples<'s>) {
    let tick = Tick {
        now: now(summary),
        read: read.seconds(),
    };
    let leap = summary.node.and_then(|stats| tick.leap(&before.node, &stats));
    let (node, node_usage) = summary
        .node
        .map_or_else(Default::default, |stats| tick.node(before.node, stats));
    let mut state = State {
        host: tick.read,
        node,
        pods: Vec::with_capacity(summary.pods.len()),
    };
    let mut samples = Samples {
        node: node_usage,
        pods: Vec::with_capacity(summary.pods.len()),
        waiting: 0,
        leap,
    };
    // Both sides are in order, so one walk joins them.
    let mut remembered = before.pods.into_iter().peekable();
    for pod in &summary.pods {
        let here = (&*pod.namespace, &*pod.name);
        while remembered.next_if(|old| old.key() < here).is_some() {}
        let old = remembered.next_if(|old| old.key() == here);
        let (pod_state, sample) = tick.pod(old, pod);
        state.pods.push(pod_state);
        match sample {
            Some(sample) => samples.pods.push(sample),
            None if pod.containers.is_empty() => {}
            None => samples.waiting += 1,
        }
    }
    (state, samples)
}

/// The node's clock, as far as the answer shows it: what it says of itself, or its newest container.
fn now(summary: &Summary<'_>) -> Option<i64> {
    let containers = || {
        summary
            .pods
            .iter()
            .flat_map(|p| &p.containers)
            .filter_map(|c| c.stats.time)
            .max()
    };
    summary.node.and_then(|n| n.time).or_else(containers)
}

/// What all entities of one answer share.
#[derive(Debug, Clone, Copy)]
struct Tick {
    /// The node's clock, as far as the answer shows it.
    now: Option<i64>,
    /// The host's, in seconds.
    read: u64,
}

// === impl Tick ===

impl Tick {
    /// By how much the clock of this entity's samples has leapt.
    fn leap(self, before: &Entity, stats: &Stats) -> Option<i64> {
        let (time, last) = stats.time.zip(before.history.time())?;
        if time == last {
            return None;
        }
        clocks::leap(time - last, self.read.checked_sub(before.seen))
    }

    fn node(self, mut before: Entity, stats: Stats) -> (Entity, Option<Usage>) {
        if let (Some(start), Some(time), Some(counter)) = (stats.start, stats.time, stats.counter) {
            before.history.boot(start, time, counter);
        }
        // Its start is its boot or its root cgroup's, as the kubelet's path has it: it dates no counter.
        self.next(before, &Stats { start: None, ..stats })
    }

    fn pod<'s>(self, old: Option<PodState<'_>>, pod: &'s Pod<'_>) -> (PodState<'s>, Option<PodSample<'s>>) {
        let (namespace, name) = (&*pod.namespace, &*pod.name);
        let mut remembered = old.map(|o| o.containers).unwrap_or_default().into_iter().peekable();
        let mut state = PodState {
            namespace,
            name,
            containers: Vec::with_capacity(pod.containers.len()),
        };
        let mut usages = Vec::with_capacity(pod.containers.len());
        for container in &pod.containers {
            let here = &*container.name;
            while remembered.next_if(|(old, _)| *old < here).is_some() {}
            let old = remembered
                .next_if(|(old, _)| *old == here)
                .map(|(_, entity)| entity)
                .unwrap_or_default();
            let (entity, usage) = self.next(old, &container.stats);
            state.containers.push((here, entity));
            usages.extend(usage.map(|usage| (here, usage)));
        }
        let whole = !usages.is_empty() && usages.len() == pod.containers.len();
        (
            state,
            whole.then_some(PodSample {
                namespace,
                name,
                containers: usages,
            }),
        )
    }

    /// One entity's step: what to remember, what to serve.
    fn next(self, before: Entity, stats: &Stats) -> (Entity, Option<Usage>) {
        let leap = self.leap(&before, stats);
        let Entity {
            mut history,
            mut good,
            mut seen,
        } = before;
        if let Some(leap) = leap {
            history.leap(stats.start);
            if let Some(good) = good.as_mut().filter(|_| leap > 0) {
                good.time += leap;
            }
        }
        let &Stats { swap, storage, .. } = stats;
        let served = |usage: Usage| Usage { swap, storage, ..usage };
        let held = |at: Option<i64>| {
            good.filter(|g| at.is_some_and(|at| (0..=HOLD).contains(&(at - g.time))))
                .map(served)
        };
        let &Stats {
            time: Some(time),
            counter: Some(counter),
            memory: Some(memory),
            reported,
            start,
            ..
        } = stats
        else {
            return (Entity { history, good, seen }, held(self.now));
        };
        if history.time() != Some(time) {
            seen = self.read;
        }
        let fresh = match history.observe(time, counter, reported, start) {
            Observed::Rate(rate) => Some(rate),
            Observed::Repeat => good.filter(|g| g.time == time).map(|g| g.rate),
            Observed::First => None,
        };
        match fresh {
            Some(rate) => {
                let usage = Usage {
                    time,
                    rate,
                    memory,
                    swap: None,
                    storage: None,
                };
                let good = Some(usage);
                (Entity { history, good, seen }, good.map(served))
            }
            None => (Entity { history, good, seen }, held(Some(time))),
        }
    }
}

// === impl PodSample ===

impl PodSample<'_> {
    /// The container whose timestamp and window speak for the pod, as upstream: the one that was measured first.
    #[must_use]
    pub fn oldest(&self) -> Option<&Usage> {
        self.containers.iter().map(|(_, usage)| usage).min_by_key(|usage| usage.time)
    }
}
