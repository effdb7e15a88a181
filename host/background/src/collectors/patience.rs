//! How long a target waits after failures, so that a plugin that always fails does not cost its CPU at every tick.
//!
//! It depends on whose fault it is. What the plugin *refused* (the kubelet is away, the object is gone) costs little, and the world
//! may be well again at any moment: at most two intervals. What *failed* in the plugin (a trap, a deadline, a limit, rubbish) costs
//! what it costs every time: one interval, two, four, at most eight. And where it fails so on every target, one of them goes
//! on asking and the others wait for it: the first good tick of any target, or a new version, wakes them all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outrigger_catalog::Snapshot;
use tokio::sync::watch;

/// How a tick ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// With rows.
    Well,
    /// The plugin said why not.
    Refused,
    /// The plugin failed.
    Failed,
}

/// All collectors.
#[derive(Default)]
pub(super) struct Wards(Mutex<ByCollector>);

/// By plugin and collector.
type ByCollector = BTreeMap<(Arc<str>, Arc<str>), Arc<Ward>>;

/// The targets of one collector.
pub(super) struct Ward {
    state: Mutex<State>,
    woken: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    targets: usize,
    /// Those on which it failed [`SURE`] times in a row.
    hopeless: BTreeSet<Arc<str>>,
}

/// Failures in a row after which a target counts as hopeless.
const SURE: u32 = 3;
const MOST_REFUSED: u32 = 2;
const MOST_FAILED: u32 = 8;
const MOST_HOPELESS: u32 = 64;

// === impl Wards ===

impl Wards {
    pub(super) fn of(&self, plugin: &Arc<str>, collector: &Arc<str>) -> Arc<Ward> {
        let ward = || {
            Arc::new(Ward {
                state: Mutex::default(),
                woken: watch::Sender::new(0),
            })
        };
        self.all()
            .entry((plugin.clone(), collector.clone()))
            .or_insert_with(ward)
            .clone()
    }

    /// Everybody of this plugin tries again.
    pub(super) fn wake(&self, plugin: &str) {
        for (_, ward) in self.all().iter().filter(|((of, _), _)| **of == *plugin) {
            ward.state().hopeless.clear();
            ward.wake();
        }
    }

    /// Forgets the collectors that are no longer served.
    pub(super) fn retain(&self, snapshot: &Snapshot) {
        self.all().retain(|(plugin, collector), _| {
            let installed = snapshot.plugins().get(plugin);
            installed.is_some_and(|p| p.guest.manifest().collectors.iter().any(|c| *c.name == **collector))
        });
    }

    fn all(&self) -> MutexGuard<'_, ByCollector> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Ward ===

impl Ward {
    /// So many targets there are.
    pub(super) fn expect(&self, targets: usize) {
        self.state().targets = targets;
    }

    /// Changes when those who wait shall try again.
    pub(super) fn woken(&self) -> watch::Receiver<u64> {
        self.woken.subscribe()
    }

    /// After how many intervals a target's next tick is due, given how its last one ended and how many have not been well in a row.
    pub(super) fn intervals(&self, target: &Arc<str>, ended: Ended, failures: u32) -> u32 {
        let mut state = self.state();
        if ended != Ended::Failed || failures < SURE {
            let was_hopeless = state.all_hopeless();
            state.hopeless.remove(target);
            if was_hopeless && ended == Ended::Well {
                state.hopeless.clear();
                drop(state);
                self.wake();
            }
        } else {
            state.hopeless.insert(target.clone());
            if state.all_hopeless() && state.hopeless.first() != Some(target) {
                return growing(failures, MOST_HOPELESS);
            }
        }
        match ended {
            Ended::Well => 1,
            Ended::Refused => growing(failures, MOST_REFUSED),
            Ended::Failed => growing(failures, MOST_FAILED),
        }
    }

    /// The target is gone.
    pub(super) fn forget(&self, target: &str) {
        self.state().hopeless.remove(target);
    }

    fn wake(&self) {
        self.woken.send_modify(|n| *n = n.wrapping_add(1));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn all_hopeless(&self) -> bool {
        self.targets > 1 && self.hopeless.len() >= self.targets
    }
}

/// One, two, four … `most`.
fn growing(failures: u32, most: u32) -> u32 {
    2u32.saturating_pow(failures.saturating_sub(1)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ward(targets: usize) -> Arc<Ward> {
        let ward = Wards::default().of(&"p".into(), &"c".into());
        ward.expect(targets);
        ward
    }

    #[test]
    fn a_failure_waits_longer_than_a_refusal() {
        let (ward, target) = (ward(10), Arc::from("a"));
        for (ended, expected) in [
            (Ended::Refused, [1, 2, 2, 2, 2, 2]),
            (Ended::Failed, [1, 2, 4, 8, 8, 8]),
            (Ended::Well, [1, 1, 1, 1, 1, 1]),
        ] {
            let got: Vec<u32> = (1..=6).map(|failures| ward.intervals(&target, ended, failures)).collect();
            assert_eq!(got, expected, "{ended:?}");
        }
        assert_eq!(ward.intervals(&target, Ended::Failed, u32::MAX), 8);
    }

    #[test]
    fn where_all_fail_one_asks_on_and_its_success_wakes_the_others() {
        let ward = ward(3);
        let woken = ward.woken();
        let names: Vec<Arc<str>> = ["a", "b", "c"].map(Arc::from).to_vec();
        let waits = |failures| -> Vec<u32> {
            let all = names.iter();
            all.map(|target| ward.intervals(target, Ended::Failed, failures)).collect()
        };
        assert_eq!(waits(2), [2, 2, 2]);
        assert_eq!(waits(3), [4, 4, 4], "the last one makes it all of them");
        assert_eq!(waits(7), [8, 64, 64], "the first goes on asking");
        assert!(!woken.has_changed().unwrap());
        assert_eq!(ward.intervals(&names[0], Ended::Well, 0), 1);
        assert!(woken.has_changed().unwrap(), "the others need not wait any more");
        assert_eq!(waits(7)[1..], [8, 64], "counted anew: the last makes it all of them again");
    }

    #[test]
    fn one_target_is_nobody_to_wait_for() {
        assert_eq!(ward(1).intervals(&"a".into(), Ended::Failed, 9), 8);
    }
}
