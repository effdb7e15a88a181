//! The fleet's truth, as a function of time: what every container has used at any instant, and when a kubelet looked.
//!
//! Nothing is kept and nothing is drawn: names, loads and clocks follow from a pod's place in the fleet, counters are integrals in
//! closed form. So the kubelets' process and the bench, which judges what servers made of the answers, know the same without a word
//! between them.
//!
//! Clocks are those of a real kubelet (v1.36.3 with containerd): a container's or pod's cgroup is sampled 10–22 s apart, 14 in the
//! mean, each on a clock of its own, a node's every 10.03–10.11 s; a container younger than ten seconds whenever somebody asks.
//! Two thirds of the containers use the same all the time; the others switch between two loads every few seconds, so that what they
//! used depends on when exactly one looked.

use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use outrigger_e2e::exposition::{Exposition, Pod, Sample};

pub(crate) const SECOND: u64 = 1_000_000_000;
/// Namespaces of the fleet: `team-0` and so on.
pub(crate) const TEAMS: usize = 10;
/// Apps, each in one namespace, as upstream reckons for such a cluster.
const APPS: usize = 100;
/// What the node uses besides its pods.
const OWN: u64 = 200;
/// Memory of a node.
const CAPACITY: u64 = 32 << 30;
/// How old everything is when the bench begins.
pub(crate) const AGE: u64 = 3600 * SECOND;

/// How large a fleet is: `100x70x2` is 100 nodes with 70 pods of two containers each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) nodes: usize,
    pub(crate) pods: usize,
    pub(crate) containers: usize,
}

/// A pod's place: which one of which node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) node: usize,
    pub(crate) pod: usize,
}

/// What a container uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// The same all the time, in millicores.
    Steady(u64),
    /// `high` for the first `on` nanoseconds of each `period`, otherwise `low`.
    Bursty { low: u64, high: u64, on: u64, period: u64 },
}

/// When something is looked at: `first`, and then every `period`, each time up to `slack` late.
#[derive(Debug, Clone, Copy)]
struct Clock {
    seed: u64,
    first: u64,
    period: u64,
    slack: u64,
}

/// One container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Container {
    started: u64,
    load: Load,
    bytes: u64,
    clock: Clock,
}

/// A node's pods, and what is always the same about them.
#[derive(Debug)]
pub(crate) struct Node {
    name: String,
    started: u64,
    clock: Clock,
    pods: Vec<Resident>,
}

#[derive(Debug)]
struct Resident {
    namespace: String,
    name: String,
    uid: String,
    clock: Clock,
    started: u64,
    containers: Vec<(String, Container)>,
}

pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or_default()
}

/// A number that follows from two others and looks like chance (SplitMix64).
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let mut z = a
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(b.wrapping_add(1).wrapping_mul(0xbf58_476d_1ce4_e5b9));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn number(index: usize) -> u64 {
    u64::try_from(index).unwrap_or_default()
}

pub(crate) fn node_name(node: usize) -> String {
    format!("node-{node:04}")
}

/// The name of a container, by its place in its pod.
pub(crate) fn container_name(index: usize) -> String {
    match index {
        0 => "main".to_owned(),
        1 => "sidecar".to_owned(),
        n => format!("more-{n}"),
    }
}

/// The place of the container of this name in its pod.
pub(crate) fn container_index(name: &str) -> Option<usize> {
    match name {
        "main" => Some(0),
        "sidecar" => Some(1),
        other => other.strip_prefix("more-")?.parse().ok(),
    }
}

// === impl Size ===

impl Size {
    /// Pods of the fleet.
    pub(crate) fn all(self) -> usize {
        self.nodes * self.pods
    }

    /// Every pod's place.
    pub(crate) fn places(self) -> impl Iterator<Item = Place> {
        (0..self.nodes).flat_map(move |node| (0..self.pods).map(move |pod| Place { node, pod }))
    }
}

impl FromStr for Size {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<usize> = text
            .split('x')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .with_context(|| format!("{text} is no size: NODESxPODSxCONTAINERS"))?;
        let [nodes, pods, containers] = *parts else {
            anyhow::bail!("{text} is no size: NODESxPODSxCONTAINERS")
        };
        ensure!(
            (1..=5000).contains(&nodes) && (1..=110).contains(&pods) && (1..=10).contains(&containers),
            "{text}: up to 5000 nodes, 110 pods and 10 containers"
        );
        Ok(Self { nodes, pods, containers })
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}x{}", self.nodes, self.pods, self.containers)
    }
}

// === impl Place ===

impl Place {
    fn seed(self) -> u64 {
        mix(number(self.node), number(self.pod))
    }

    fn team(self) -> usize {
        self.pod % TEAMS
    }

    pub(crate) fn namespace(self) -> String {
        format!("team-{}", self.team())
    }

    pub(crate) fn app(self) -> String {
        format!(
            "app-{}",
            self.team() + TEAMS * ((self.node + self.pod / TEAMS) % (APPS / TEAMS))
        )
    }

    pub(crate) fn name(self) -> String {
        format!("{}-5d4f8c7b9-n{}p{}", self.app(), self.node, self.pod)
    }

    /// The place of the pod of this name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let (node, pod) = name.rsplit_once("-n")?.1.split_once('p')?;
        Some(Self {
            node: node.parse().ok()?,
            pod: pod.parse().ok()?,
        })
    }

    /// Whether its load is the same all the time.
    pub(crate) fn steady(self) -> bool {
        self.pod / TEAMS % 3 != 2
    }
}

// === impl Clock ===

impl Clock {
    fn new(seed: u64, first: u64, shortest: u64, spread: u64, late: bool) -> Self {
        let period = shortest + mix(seed, 11) % spread;
        // Late by so much at most that two looks are never less than ten seconds apart.
        let slack = if late { period - 10 * SECOND } else { 0 };
        Self {
            seed,
            first,
            period,
            slack,
        }
    }

    /// A container's or a pod's.
    fn of_cgroup(seed: u64, first: u64) -> Self {
        Self::new(seed, first, 12 * SECOND, 4 * SECOND, true)
    }

    fn look(&self, k: u64) -> u64 {
        let late = match self.slack {
            0 => 0,
            _ if k == 0 => 0,
            slack => mix(self.seed, k + 100) % slack,
        };
        self.first + k * self.period + late
    }

    /// The last look, and the one before.
    fn last(&self, now: u64) -> Option<(u64, Option<u64>)> {
        let mut k = now.checked_sub(self.first)? / self.period;
        if self.look(k) > now {
            k = k.checked_sub(1)?;
        }
        Some((self.look(k), k.checked_sub(1).map(|k| self.look(k))))
    }

    /// The look within this second, if there is one.
    fn within(&self, second: u64) -> Option<u64> {
        let end = (second + 1) * SECOND - 1;
        self.last(end).map(|(at, _)| at).filter(|at| at / SECOND == second)
    }
}

// === impl Load ===

impl Load {
    /// Core-nanoseconds after this many nanoseconds.
    fn after(self, age: u64) -> u64 {
        match self {
            Self::Steady(millicores) => age / 1000 * millicores,
            Self::Bursty { low, high, on, period } => {
                let busy = age / period * on + (age % period).min(on);
                age / 1000 * low + busy / 1000 * (high - low)
            }
        }
    }
}

// === impl Container ===

impl Container {
    /// The one with this index in the pod at this place, begun at `started`.
    pub(crate) fn new(place: Place, index: usize, started: u64) -> Self {
        let seed = mix(place.seed(), number(index) + 1);
        let load = if place.steady() {
            Load::Steady(5 + mix(seed, 1) % 400)
        } else {
            let period = (6 + mix(seed, 2) % 50) * SECOND;
            let low = 10 + mix(seed, 3) % 100;
            Load::Bursty {
                low,
                high: low * 5,
                on: period / 10 * (3 + mix(seed, 4) % 5),
                period,
            }
        };
        Self {
            started,
            load,
            // Whole pages.
            bytes: (4 << 20) + mix(seed, 5) % (96 << 20) / 4096 * 4096,
            clock: Clock::of_cgroup(seed, started + 10 * SECOND),
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Core-nanoseconds used until then.
    pub(crate) fn counter(&self, at: u64) -> u64 {
        self.load.after(at.saturating_sub(self.started))
    }

    /// Nanocores over `window` nanoseconds that end within this second, where the kubelet looked; none if it did not look then.
    pub(crate) fn rate(&self, second: u64, window: u64) -> Option<f64> {
        if let Load::Steady(millicores) = self.load {
            return Some(float(millicores) * 1e6);
        }
        let end = self.clock.within(second)?;
        let begin = end.checked_sub(window).filter(|_| window > 0)?;
        Some(float(self.counter(end) - self.counter(begin)) / float(window) * 1e9)
    }

    fn sample(&self, now: u64) -> Sample {
        let (at, before) = match self.clock.last(now) {
            Some(looks) => looks,
            // Young: looked at because somebody asks. The first look was at its start.
            None => (now, Some(self.started)),
        };
        sample(self.started, at, before, self.bytes, |at| self.counter(at))
    }
}

#[expect(clippy::cast_precision_loss, reason = "nine digits are enough")]
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}

fn sample(started: u64, at: u64, before: Option<u64>, bytes: u64, counter: impl Fn(u64) -> u64) -> Sample {
    let now = counter(at);
    let rate = before.filter(|before| *before < at).map_or(0, |before| {
        let rate = u128::from(now - counter(before)) * u128::from(SECOND) / u128::from(at - before);
        u64::try_from(rate).unwrap_or(u64::MAX)
    });
    Sample {
        started,
        at,
        counter: now,
        rate,
        bytes,
    }
}

// === impl Node ===

impl Node {
    /// The node with this index in a fleet of this size, all of it begun at `epoch`.
    pub(crate) fn new(size: Size, node: usize, epoch: u64) -> Self {
        let seed = mix(number(node), 7);
        Self {
            name: node_name(node),
            started: epoch,
            clock: Clock::new(seed, epoch, 10_030_000_000, 80_000_000, false),
            pods: (0..size.pods)
                .map(|pod| Resident::new(Place { node, pod }, size.containers, epoch))
                .collect(),
        }
    }

    /// One more pod, from `started` on.
    pub(crate) fn run(&mut self, place: Place, containers: usize, started: u64) {
        self.pods.push(Resident::new(place, containers, started));
    }

    /// What its kubelet says now.
    pub(crate) fn exposition(&self, now: u64) -> Exposition<'_> {
        let pods = self.pods.iter().map(|pod| Pod {
            namespace: &pod.namespace,
            name: &pod.name,
            uid: &pod.uid,
            whole: pod.sample(now),
            containers: pod.containers.iter().map(|(name, c)| (&**name, c.sample(now))).collect(),
        });
        let (at, before) = self.clock.last(now).unwrap_or((now, None));
        let bytes = (2 << 30) + self.pods.iter().map(Resident::bytes).sum::<u64>();
        Exposition {
            node: &self.name,
            whole: sample(self.started, at, before, bytes, |at| self.counter(at)),
            pods: pods.collect(),
            capacity: CAPACITY,
        }
    }

    fn counter(&self, at: u64) -> u64 {
        at.saturating_sub(self.started) / 1000 * OWN + self.pods.iter().map(|pod| pod.counter(at)).sum::<u64>()
    }

    /// As [`Container::rate`].
    pub(crate) fn rate(&self, second: u64, window: u64) -> Option<f64> {
        let end = self.clock.within(second)?;
        let begin = end.checked_sub(window).filter(|_| window > 0)?;
        Some(float(self.counter(end) - self.counter(begin)) / float(window) * 1e9)
    }
}

// === impl Resident ===

impl Resident {
    fn new(place: Place, containers: usize, started: u64) -> Self {
        let seed = mix(place.seed(), 0);
        let uid = (mix(seed, 21), mix(seed, 22));
        Self {
            namespace: place.namespace(),
            name: place.name(),
            uid: format!(
                "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
                uid.0 >> 32,
                uid.0 >> 16 & 0xffff,
                uid.0 & 0xffff,
                uid.1 >> 48,
                uid.1 & 0xffff_ffff_ffff
            ),
            clock: Clock::of_cgroup(seed, started + 10 * SECOND),
            started,
            containers: (0..containers)
                .map(|index| (container_name(index), Container::new(place, index, started)))
                .collect(),
        }
    }

    fn counter(&self, at: u64) -> u64 {
        self.containers.iter().map(|(_, c)| c.counter(at)).sum()
    }

    fn bytes(&self) -> u64 {
        self.containers.iter().map(|(_, c)| c.bytes).sum()
    }

    fn sample(&self, now: u64) -> Sample {
        // A young pod's own cgroup has not been looked at since its start.
        let (at, before) = self.clock.last(now).unwrap_or((self.started, None));
        sample(self.started, at, before, self.bytes(), |at| self.counter(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(
            "100x70x2".parse::<Size>().unwrap(),
            Size {
                nodes: 100,
                pods: 70,
                containers: 2
            }
        );
        for text in ["100x70", "0x1x1", "100x70x2x1", "many"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_tells_the_place() {
        let size = Size {
            nodes: 30,
            pods: 40,
            containers: 1,
        };
        for place in size.places() {
            assert_eq!(Place::of(&place.name()), Some(place));
        }
        assert_eq!(Place::of("coredns-7d764666f9-x2x4z"), None);
        for index in 0..4 {
            assert_eq!(container_index(&container_name(index)), Some(index));
        }
    }

    #[test]
    fn a_counter_never_turns_back_and_a_rate_is_its_gain() {
        for pod in 0..60 {
            let place = Place { node: 3, pod };
            let container = Container::new(place, 0, 1000 * SECOND + 17);
            let mut before: Option<Sample> = None;
            for tenth in 0..3000 {
                let now = 2000 * SECOND + tenth * SECOND / 10;
                let sample = container.sample(now);
                assert!(sample.at <= now && now - sample.at < 23 * SECOND, "{sample:?} at {now}");
                if let Some(before) = before.filter(|before| before.at < sample.at) {
                    let window = sample.at - before.at;
                    assert!((10 * SECOND..=22 * SECOND).contains(&window), "{window}");
                    let gained = float(sample.counter - before.counter) / float(window) * 1e9;
                    assert!((gained - float(sample.rate)).abs() <= 1.0, "{sample:?}");
                    let truth = container.rate(sample.at / SECOND, window).unwrap();
                    assert!((gained - truth).abs() / truth < 1e-6, "{gained} {truth}");
                }
                before = Some(sample);
            }
        }
    }

    #[test]
    fn the_young_are_looked_at_when_asked() {
        let place = Place { node: 0, pod: 0 };
        let container = Container::new(place, 0, 1000 * SECOND);
        let sample = container.sample(1004 * SECOND);
        assert_eq!(sample.at, 1004 * SECOND);
        assert_eq!(container.sample(1011 * SECOND).at, 1010 * SECOND);
    }
}
