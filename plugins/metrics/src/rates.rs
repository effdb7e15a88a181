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
//! * **No entity's damage touches another's row.** The exception is the first rule.

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

/// One tick.
#[must_use]
pub fn advance<'s>(before: State<'_>, summary: &'s Summary<'_>) -> (State<'s>, Samples<'s>) {
    let now = now(summary);
    // A node's start is its boot or its root cgroup's, as the kubelet's path has it: it dates no counter.
    let node = summary.node.map(|stats| Stats { start: None, ..stats });
    let (node, node_usage) = node.map_or_else(Default::default, |stats| next(before.node, &stats, now));
    let mut state = State {
        node,
        pods: Vec::with_capacity(summary.pods.len()),
    };
    let mut samples = Samples {
        node: node_usage,
        pods: Vec::with_capacity(summary.pods.len()),
        waiting: 0,
    };
    // Both sides are in order, so one walk joins them.
    let mut remembered = before.pods.into_iter().peekable();
    for pod in &summary.pods {
        let here = (&*pod.namespace, &*pod.name);
        while remembered.next_if(|old| old.key() < here).is_some() {}
        let old = remembered.next_if(|old| old.key() == here);
        let (pod_state, sample) = next_pod(old, pod, now);
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

fn next_pod<'s>(old: Option<PodState<'_>>, pod: &'s Pod<'_>, now: Option<i64>) -> (PodState<'s>, Option<PodSample<'s>>) {
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
        let (entity, usage) = next(old, &container.stats, now);
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
fn next(before: Entity, stats: &Stats, now: Option<i64>) -> (Entity, Option<Usage>) {
    let Entity { mut history, good } = before;
    let held = |at: Option<i64>| good.filter(|g| at.is_some_and(|at| (0..=HOLD).contains(&(at - g.time))));
    let &Stats {
        time: Some(time),
        counter: Some(counter),
        memory: Some(memory),
        reported,
        start,
    } = stats
    else {
        return (Entity { history, good }, held(now));
    };
    let fresh = match history.observe(time, counter, reported, start) {
        Observed::Rate(rate) => Some(rate),
        Observed::Repeat => good.filter(|g| g.time == time).map(|g| g.rate),
        Observed::First => None,
    };
    match fresh {
        Some(rate) => {
            let usage = Some(Usage { time, rate, memory });
            (Entity { history, good: usage }, usage)
        }
        None => (Entity { history, good }, held(Some(time))),
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
