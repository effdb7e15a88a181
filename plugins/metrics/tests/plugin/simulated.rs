//! How true the rates are under any clock: a kubelet of paper, whose every instant is known.
//!
//! It samples each container at random intervals as cAdvisor does (10 s and up to as much again), a node each 10.06 s, and
//! shows what a kubelet shows: times cut to seconds, and its own rate between its last two samples.

use std::collections::VecDeque;

use crate::support::T0;
use outrigger_plugin_metrics::history::{History, Observed};
use proptest::prelude::*;

/// A generator that is the same everywhere (SplitMix64); a test's seed comes from proptest.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between 0 and 1.
    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// When the kubelet samples a cgroup.
#[derive(Debug, Clone, Copy)]
enum Steps {
    /// 10 s, and as much again at most.
    Container,
    /// 10 s and 20–110 ms.
    Node,
    /// A kubelet set to another housekeeping interval: 2–4 s.
    Fast,
}

/// How the load goes.
#[derive(Debug, Clone, Copy)]
enum Load {
    /// The same, but for `jitter` (a part) from step to step.
    Steady { nanocores: f64, jitter: f64 },
    /// Every 3–30 s another one between two bounds.
    Bursty { from: f64, to: f64 },
}

/// One served rate against the truth of its window.
#[derive(Debug, Clone, Copy)]
struct Served {
    /// Parts; signed.
    ours: f64,
    naive: f64,
    /// The most by which truncated times alone can err.
    bound: f64,
}

/// Polls a simulated cgroup; what was served for each new sample, in order.
fn simulate(seed: u64, steps: Steps, load: Load, poll: f64, polls: usize) -> Vec<Served> {
    let mut dice = Dice(seed);
    let nanos = |seconds: f64| (seconds * 1e9) as i64;
    let mut now = T0 * 1_000_000_000 + nanos(dice.part());
    let (mut counter, mut level, mut level_until) = (1e12 * dice.part(), 0.0, now);
    // (instant, counter, the kubelet's rate)
    let mut sample = (now, counter as u64, 0u64);
    let mut next_poll = now + nanos(poll * dice.part());
    let mut seen: VecDeque<(i64, u64)> = VecDeque::new();
    let mut history = History::default();
    let mut served = Vec::new();
    while served.len() < polls {
        let step = match steps {
            Steps::Container => 10.0 + 10.0 * dice.part() + 0.9 * dice.part().powi(8),
            Steps::Node => 10.02 + 0.09 * dice.part(),
            Steps::Fast => 2.0 + 2.0 * dice.part(),
        };
        let next_sample = now + nanos(step);
        // Whoever asks before the next sample sees this one.
        while next_poll < next_sample {
            let (instant, count, rate) = sample;
            let observed = history.observe(instant / 1_000_000_000, count, Some(rate), Some(T0 - 1_000_000));
            if seen.back().is_some_and(|(before, _)| *before < instant) {
                let rate = match observed {
                    Observed::Rate(rate) => rate,
                    // Too near to the one before.
                    Observed::First if instant - seen[0].0 < 6_000_000_000 => {
                        seen.push_back((instant, count));
                        next_poll += nanos(poll);
                        continue;
                    }
                    other => panic!("a new sample has a rate: {other:?}"),
                };
                // The truth of the window that it says: to the sample that began it.
                let said = |(before, _): &&(i64, u64)| (instant - before).abs_diff(rate.window as i64);
                let &(before, count_before) = seen.iter().rev().take(8).min_by_key(said).unwrap();
                let truth = (count - count_before) as f64 / (instant - before) as f64;
                let apart = (instant / 1_000_000_000 - before / 1_000_000_000) as f64;
                if truth > 0.0 {
                    served.push(Served {
                        ours: rate.nanocores as f64 / 1e9 / truth - 1.0,
                        naive: (count - count_before) as f64 / 1e9 / apart / truth - 1.0,
                        bound: 1.0 / (apart - 1.0).max(0.1),
                    });
                }
            }
            if seen.back().is_none_or(|(before, _)| *before < instant) {
                seen.push_back((instant, count));
            }
            next_poll += nanos(poll + 0.03 * (dice.part() - 0.5));
        }
        // Work until the next sample.
        match load {
            Load::Steady { nanocores, jitter } => counter += nanocores * step * (1.0 + jitter * (2.0 * dice.part() - 1.0)),
            Load::Bursty { from, to } => {
                let mut at = now;
                while at < next_sample {
                    if level_until <= at {
                        level = from + (to - from) * dice.part();
                        level_until = at + nanos(3.0 + 27.0 * dice.part());
                    }
                    let until = level_until.min(next_sample);
                    counter += level * (until - at) as f64 / 1e9;
                    at = until;
                }
            }
        }
        let count = counter as u64;
        let rate = (count - sample.1) as f64 / (next_sample - sample.0) as f64 * 1e9;
        sample = (next_sample, count, rate as u64);
        now = next_sample;
    }
    served
}

fn mean(served: &[Served], of: impl Fn(&Served) -> f64) -> f64 {
    served.iter().map(|s| of(s).abs()).sum::<f64>() / served.len() as f64
}

fn worst(served: &[Served], of: impl Fn(&Served) -> f64) -> f64 {
    served.iter().map(|s| of(s).abs()).fold(0.0, f64::max)
}

/// The windows after a kubelet's first few.
const WARM: usize = 3;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn a_steady_load_reads_true(seed: u64, poll in prop::sample::select(vec![1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0]), nanocores in 1e6..4e9, node: bool) {
        let steps = if node { Steps::Node } else { Steps::Container };
        let served = simulate(seed, steps, Load::Steady { nanocores, jitter: 0.001 }, poll, 120);
        prop_assert!(mean(&served[WARM..], |s| s.ours) <= 0.005, "mean {}", mean(&served[WARM..], |s| s.ours));
        prop_assert!(worst(&served[WARM..], |s| s.ours) <= 0.02, "worst {}", worst(&served[WARM..], |s| s.ours));
    }

    /// A kubelet with another housekeeping interval: its rate never speaks of our window.
    #[test]
    fn a_kubelet_that_steps_faster_is_not_believed(seed: u64, poll in prop::sample::select(vec![15.0, 60.0])) {
        let served = simulate(seed, Steps::Fast, Load::Bursty { from: 1e7, to: 1e9 }, poll, 120);
        let beyond = served[WARM..].iter().filter(|s| s.ours.abs() > s.bound).count();
        prop_assert!(beyond <= 2, "{beyond} of {}", served.len());
        prop_assert!(mean(&served[WARM..], |s| s.ours) <= mean(&served[WARM..], |s| s.naive) * 1.25 + 0.001);
    }

    #[test]
    fn a_bursty_load_reads_no_worse_than_naively(seed: u64, poll in prop::sample::select(vec![1.0, 5.0, 10.0, 15.0, 30.0, 60.0]), node: bool) {
        let steps = if node { Steps::Node } else { Steps::Container };
        let served = simulate(seed, steps, Load::Bursty { from: 1e7, to: 1e9 }, poll, 200);
        for s in &served {
            // Whatever happens, twice what truncated times allow; see the module `history`.
            prop_assert!(s.ours.abs() <= 2.0 * s.bound, "{s:?}");
        }
        let beyond = served.iter().filter(|s| s.ours.abs() > s.bound).count();
        prop_assert!(beyond <= 2, "{beyond} of {} beyond the naive bound", served.len());
        prop_assert!(mean(&served, |s| s.ours) <= mean(&served, |s| s.naive) * 1.05 + 0.001, "{} {}", mean(&served, |s| s.ours), mean(&served, |s| s.naive));
    }
}

/// The figures of the table in `history`; `cargo test --test simulated -- --nocapture figures`.
#[test]
fn figures() {
    let loads = [
        (
            "steady",
            Load::Steady {
                nanocores: 5e7,
                jitter: 0.001,
            },
        ),
        ("bursty", Load::Bursty { from: 1e7, to: 1e9 }),
    ];
    for (steps, name) in [(Steps::Container, "container"), (Steps::Node, "node"), (Steps::Fast, "fast")] {
        for (load_name, load) in loads {
            for poll in [10.0, 15.0, 30.0, 60.0] {
                let all: Vec<Served> = (0..50)
                    .flat_map(|seed| simulate(seed, steps, load, poll, 200).split_off(WARM))
                    .collect();
                let (naive, ours) = (mean(&all, |s| s.naive), mean(&all, |s| s.ours));
                let beyond = all.iter().filter(|s| s.ours.abs() > s.bound).count();
                println!(
                    "| {name}, {load_name}, {poll} s | {} | {:.2} / {:.2} | {:.3} / {:.2} | {beyond} |",
                    all.len(),
                    100.0 * naive,
                    100.0 * worst(&all, |s| s.naive),
                    100.0 * ours,
                    100.0 * worst(&all, |s| s.ours)
                );
                assert!(ours <= naive * 1.05, "{name} {load_name} {poll}");
            }
        }
    }
}
