//! One counter's past, and the rate that it yields.
//!
//! # The problem
//! A rate is what a counter gained, over how long it took. The gain is exact to the nanosecond; the summary's times have
//! whole seconds, cut off. Two samples 11 s apart are really 10 to 12 s apart: ±9 %. The samples themselves
//! come from the kubelet's own housekeeping, every 10–20 s (a node's every 10 s), whatever the interval at which we ask.
//!
//! # What is known besides
//! *The kubelet's rate.* `usageNanoCores` is the kubelet's rate between **its** last two samples, made with nanosecond
//! times. If ours are the same two, gain / rate is the true length of the window, to a millisecond, and the kubelet's rate
//! is the exact answer. If we missed a sample between, its rate speaks of the last part only.
//!
//! *Steps are at least 10 s long.* Housekeeping never comes sooner, so two truncated times less than 20 s apart have no
//! third sample between. Tested at each use: |gain / rate − Δt| < 1 s. If that fails, this kubelet steps faster
//! than it should (another housekeeping interval, or a container so young that each question samples it), and the counter
//! is [in doubt](History::doubt) for a while.
//!
//! *Samples have a true instant.* A sample stamped t was taken in [t, t+1 s). An exact window fixes the distance of two
//! instants, so what is known of the one bounds the other. Each sample carries its bounds; a chain of exact windows
//! tightens them, and that sharpens the windows in which a sample was missed.
//!
//! *Some steps are regular.* A node's are equal within 1 %. Four exact windows within 1.5 % of each other teach the
//! step, and then a longer window is a whole number of steps.
//!
//! *Some loads are steady.* If the kubelet's last three rates that we saw agree within 2 %, and the gains of this window
//! and of a longer one fit the truncated times, the load was the same between as well: gain / rate is again the length.
//!
//! # The choice
//! In this order: an exact window; a whole number of regular steps; a steady load; the middle of what bounds and
//! truncated times allow. The latter alone is naive arithmetic, so without `usageNanoCores` this is upstream's algorithm.
//! Whatever is chosen beyond exact windows stays within what truncated times allow, so a load that imitates a steady one by
//! accident costs at most twice the naive bound.
//!
//! # Measured
//! Errors in per cent, mean / worst, naive arithmetic against this. Above: every window of 40 polls of a real kubelet
//! (v1.36.3), 15 s apart, against its milliseconds. Taking only every fourth poll, one a minute, the steady containers err
//! by 0.10 in the mean (naive: 0.57), in the first window by 1.51 at most, afterwards by less than 0.5. Below: 50 simulated
//! kubelets of 200 windows each, load between 10m and 1000m, and how many windows erred by more than naive
//! arithmetic can.
//!
//! | 15 s | windows | naive | here |
//! |---|---|---|---|
//! | burner, 50m | 36 | 1.83 / 5.82 | 0.004 / 0.06 |
//! | two/a, 15m | 35 | 2.23 / 5.73 | 0.008 / 0.10 |
//! | two/b, 4.8–7.8m, unsteady | 35 | 1.73 / 6.45 | 0.124 / 2.03 |
//! | with-init, 10m | 33 | 1.96 / 5.14 | 0.004 / 0.05 |
//! | with-sidecar/main, 30m | 35 | 1.87 / 7.68 | 0.006 / 0.12 |
//! | with-sidecar/proxy, 20m | 36 | 3.06 / 8.64 | 0.008 / 0.08 |
//! | static pod, 10m | 37 | 2.62 / 6.57 | 0.003 / 0.01 |
//! | hog, asleep, below 32u | 9 | 1.47 / 3.84 | 0.266 / 1.56 |
//! | host-net, asleep, below 5u | 10 | 2.30 / 4.97 | 0.224 / 0.94 |
//! | the node, 180–290m, unsteady | 39 | 0.61 / 8.82 | 0.049 / 0.37 |
//!
//! | simulated | poll | naive | here | beyond |
//! |---|---|---|---|---|
//! | container, steady | 15 s | 2.16 / 9.38 | 0.003 / 0.12 | 0 |
//! | container, steady | 60 s | 0.56 / 2.04 | 0.042 / 0.15 | 0 |
//! | container, bursty | 15 s | 2.18 / 9.58 | 0.166 / 4.19 | 0 |
//! | container, bursty | 60 s | 0.56 / 2.15 | 0.559 / 2.15 | 0 |
//! | node, steady | 15 s | 1.12 / 8.91 | 0.074 / 0.63 | 0 |
//! | node, bursty | 15 s | 1.11 / 8.90 | 0.086 / 4.33 | 0 |
//! | steps of 2–4 s, bursty | 15 s | 2.27 / 8.17 | 2.257 / 9.06 | 0 |
//! | steps of 2–4 s, bursty | 10 s | 2.56 / 12.34 | 2.383 / 13.31 | 5 of 9,850 |
//!
//! # What was refused
//! *Serving `usageNanoCores` alone*: at one poll a minute it speaks of the last quarter. *Longer windows throughout*: they
//! would halve the error of unsteady loads (there it is small against the load's own change), and double the time until an
//! autoscaler sees a change. So older samples serve only where the newest window is shorter than 10 s and inexact. *The
//! kubelet's other endpoint, `/metrics/resource`*, which has milliseconds: twice the requests for what the summary tells.
//!
//! # When clocks leap and machines boot
//! A history knows the node's times alone; that a clock has leapt by more than sampling explains it is [told](History::leap), and
//! forgets. A later time with a smaller counter, or an earlier one with a greater, tells it by itself. What a container's *start* dates is
//! true only if the same clock dated both: after a leap, or when it was first seen in the future, it is remembered as no date, until
//! there is another. So a clock that is set back an hour does not make every container look freshly started an hour later. A node
//! that [boots](History::boot) starts anew even where its counter has overtaken the old one.

use crate::time::SECOND;

/// Two samples further apart make no rate: the entity starts anew. Ten minutes, so that intervals up to five survive a
/// missed tick.
pub const LONGEST_WINDOW: i64 = 600;

/// Samples closer than this (seconds, truncated) have none of a kubelet's between.
pub(crate) const ONE_STEP: i64 = 20;
/// Below this many seconds an inexact window gives way to an older sample.
const SHORT: i64 = 10;
/// Below this many seconds an inexact window, of which a second is unknown, makes no rate at all: at a resolution of one second a
/// young container's would be off by any factor.
const TOO_SHORT: i64 = 5;
/// A machine has no more cores than this: what a node's counter can have gained since a boot.
const MOST_CORES: u64 = 1_024;
/// A container may be measured from its start between these ages in seconds: old enough for whole seconds to mean
/// something (upstream's bound), young enough that the average since the start is the present.
const YOUNG: std::ops::RangeInclusive<i64> = 10..=90;
/// A kubelet's rate below this many nanocores has too few digits to divide by.
const SMALLEST_RATE: u64 = 1_000;
/// What rounding in the kubelet may add to a window, in nanoseconds, beside the last digit of its rate.
const ROUNDING: i64 = 100_000;
/// Windows for which a failed test keeps others from being taken for exact.
const DOUBT: u8 = 8;
/// Exact windows, alike within [`STEP_SPREAD`], that make a step regular.
const REGULAR: u8 = 4;
/// Parts per thousand by which regular steps may differ.
const STEP_SPREAD: i64 = 15;
/// No kubelet steps faster than this, in nanoseconds; a young container's samples may.
pub(crate) const SHORTEST_STEP: i64 = SECOND;
/// What a regular step may deviate from those seen, in nanoseconds.
const STEP_SLACK: i64 = 20_000_000;
/// One part in this many by which a steady load's rates may differ from each other.
const STEADY: u64 = 50;
/// One part in this many of a window by which a steady load's little differences may put it beyond its bounds.
const STEADY_SLACK: i64 = 200;
/// Agreements in a row that make a load steady. One is too easily an accident.
pub(crate) const STEADY_RUN: u8 = 2;

/// A rate and the window that it was measured over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// CPU in nanocores, rounded down.
    pub nanocores: u64,
    /// The window's true length, as well as it is known, in nanoseconds.
    pub window: u64,
}

/// What a sample brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// A new sample, with a rate.
    Rate(Rate),
    /// The sample that was there before: what it brought then is still the newest.
    Repeat,
    /// A sample that cannot be compared yet: there is none before it, or too near.
    First,
}

/// What is remembered of one counter.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct History {
    /// The newest sample.
    pub(crate) last: Option<Sample>,
    /// An older one of the same run.
    pub(crate) anchor: Option<Sample>,
    /// The kubelet's rate at the newest sample; 0 if it gave none.
    pub(crate) reported: u64,
    /// How many samples in a row, up to [`STEADY_RUN`], had a rate that agreed with the one before.
    pub(crate) steady: u8,
    /// The lengths of its exact windows as long as they were alike.
    pub(crate) step: Step,
    /// Windows for which none is taken for exact; see the module.
    pub(crate) doubt: u8,
    /// The start that was told last, in seconds since 1970; 0 if none was.
    pub(crate) start: i64,
    /// That start is of another clock than the samples.
    pub(crate) undated: bool,
}

/// A counter at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Seconds since 1970, truncated.
    pub(crate) time: i64,
    /// Core-nanoseconds.
    pub(crate) counter: u64,
    /// The earliest that the true instant can be, in nanoseconds after `time`.
    pub(crate) earliest: i64,
    /// The latest.
    pub(crate) latest: i64,
}

/// How long the kubelet's steps are, in nanoseconds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) shortest: i64,
    pub(crate) longest: i64,
    /// How many were seen, up to [`REGULAR`].
    pub(crate) seen: u8,
}

/// The possible lengths of a window, in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Span {
    low: i64,
    high: i64,
}

// === impl History ===

impl History {
    /// Takes one sample: when (seconds since 1970), the counter, the kubelet's own rate, and when the run started, where
    /// that is known.
    pub fn observe(&mut self, time: i64, counter: u64, reported: Option<u64>, start: Option<i64>) -> Observed {
        if self.last.is_some_and(|l| l.time == time && l.counter == counter) {
            return Observed::Repeat;
        }
        let last = self.last.map(|l| l.time);
        let start = start.filter(|s| *s > 0);
        let known = start.is_none_or(|s| s == self.start);
        self.start = start.unwrap_or(self.start);
        self.undated = known && self.undated || start.is_some_and(|s| s > time);
        let start = start.filter(|_| !self.undated);
        if !known && start.is_some_and(|s| last.is_some_and(|last| s >= last)) {
            self.forget();
        }
        self.forget_what_contradicts(time, counter);
        let reported = reported.unwrap_or(0);
        self.steady = if agree(self.reported, reported) {
            (self.steady + 1).min(STEADY_RUN)
        } else {
            0
        };
        let mut sample = Sample {
            time,
            counter,
            earliest: 0,
            latest: SECOND,
        };
        let rate = self.rate(&mut sample, reported, start);
        self.push(sample, reported);
        rate.map_or(Observed::First, Observed::Rate)
    }

    /// The newest sample's time.
    #[must_use]
    pub fn time(&self) -> Option<i64> {
        self.last.map(|l| l.time)
    }

    /// The node's clock has leapt: what was seen before it says nothing of what comes after, nor does the start of who lives now.
    pub(crate) fn leap(&mut self, start: Option<i64>) {
        self.forget();
        self.start = start.unwrap_or(self.start);
        self.undated = true;
    }

    /// The node says that it has booted then. If that is after the newest sample, and the counter can be of that boot, it begins anew. A
    /// kubelet that takes the age of a cgroup for the boot is not believed: such a counter is older.
    pub(crate) fn boot(&mut self, start: i64, time: i64, counter: u64) {
        let after = self.last.is_some_and(|l| start >= l.time) && start <= time;
        let most = u64::try_from(time - start + 1)
            .unwrap_or(0)
            .saturating_mul(MOST_CORES)
            .saturating_mul(SECOND.unsigned_abs());
        if after && counter <= most {
            self.forget();
        }
    }

    fn forget(&mut self) {
        (self.last, self.anchor, self.reported, self.steady) = (None, None, 0, 0);
    }

    /// Drops samples that are not of this run, or that this clock has not reached.
    fn forget_what_contradicts(&mut self, time: i64, counter: u64) {
        if self.last.is_some_and(|l| l.time > time && l.counter < counter) {
            // More work done at an earlier time: the clock went back, by nobody knows how much.
            self.forget();
            self.undated = true;
        }
        while let Some(last) = self.last
            && last.time >= time
        {
            // An older sample, or a second one within one second.
            self.last = self.anchor.take();
            self.reported = 0;
        }
        let Some(last) = self.last else { return };
        if counter < last.counter || time - last.time > LONGEST_WINDOW {
            (self.last, self.anchor, self.reported) = (None, None, 0);
        }
    }

    fn rate(&mut self, sample: &mut Sample, reported: u64, start: Option<i64>) -> Option<Rate> {
        let last = self.last;
        if let Some(last) = last
            && let Some(window) = self.exact(&last, sample, reported)
        {
            return Some(Rate {
                nanocores: reported,
                window,
            });
        }
        // What the newest window lacks in length an older sample may have, or the start.
        let long_enough = |base: &Sample| sample.time - base.time >= SHORT;
        let base = last.filter(long_enough).or(self.anchor.filter(long_enough));
        if base.is_none()
            && let Some(start) = start.filter(|s| !self.undated && YOUNG.contains(&(sample.time - s)))
        {
            // From 0 at its start. The kubelet has no rate there to compare with: that the whole life fits its rate
            // is taken for a steady load.
            let born = Sample {
                time: start,
                counter: 0,
                earliest: 0,
                latest: SECOND,
            };
            return Some(self.inexact(&born, sample, reported, true));
        }
        let base = base
            .or(self.anchor)
            .or(last)
            .filter(|base| sample.time - base.time >= TOO_SHORT)?;
        // A load in step with our own questions shows the same rate each time; a longer window tells.
        let steady = self.steady >= STEADY_RUN && self.anchor.is_none_or(|a| steady_window(&a, sample, reported).is_some());
        Some(self.inexact(&base, sample, reported, steady))
    }

    /// The window's exact length, if the kubelet's rate speaks of the same two samples. Tightens the sample's bounds.
    fn exact(&mut self, last: &Sample, sample: &mut Sample, reported: u64) -> Option<u64> {
        let apart = sample.time - last.time;
        if apart >= ONE_STEP {
            return None;
        }
        let window = length(sample.counter - last.counter, reported)?;
        let surplus = window - apart * SECOND;
        if surplus.abs() >= SECOND {
            self.doubt = DOUBT;
            return None;
        }
        if self.doubt > 0 {
            self.doubt -= 1;
            return None;
        }
        let slack = slack(window, reported);
        let earliest = (last.earliest + surplus - slack).max(0);
        let latest = (last.latest + surplus + slack).min(SECOND);
        if earliest > latest {
            // Either this window is not exact or one before was not: start the chain anew.
            return None;
        }
        (sample.earliest, sample.latest) = (earliest, latest);
        self.step.learn(window);
        u64::try_from(window).ok()
    }

    /// The best that bounds, regular steps and a steady load allow.
    fn inexact(&self, base: &Sample, sample: &mut Sample, reported: u64, steady: bool) -> Rate {
        let apart = (sample.time - base.time) * SECOND;
        let gained = sample.counter.saturating_sub(base.counter);
        let span = Span::between(base, sample);
        let window = if let Some(steps) = self.step.whole(apart).and_then(|steps| span.narrowed(steps)) {
            sample.earliest = (base.earliest + steps.low - apart).max(0);
            sample.latest = (base.latest + steps.high - apart).min(SECOND).max(sample.earliest);
            steps.middle()
        } else {
            let by_rate = if steady { steady_window(base, sample, reported) } else { None };
            by_rate.unwrap_or(span.middle())
        };
        let window = u64::try_from(window).unwrap_or(0).max(1_000_000);
        let nanocores = u128::from(gained) * u128::from(SECOND.unsigned_abs()) / u128::from(window);
        Rate {
            nanocores: u64::try_from(nanocores).unwrap_or(u64::MAX),
            window,
        }
    }

    /// Remembers a sample. The anchor follows at a distance of 10 s or more, and never much more than 20.
    fn push(&mut self, sample: Sample, reported: u64) {
        if let Some(last) = self.last {
            let far = sample.time - last.time >= SHORT;
            if far || self.anchor.is_none_or(|a| sample.time - a.time >= 2 * SHORT) {
                self.anchor = Some(last);
            }
        }
        (self.last, self.reported) = (Some(sample), reported);
    }
}

/// gain / rate in nanoseconds; none where the rate has too few digits or there is no gain.
fn length(gained: u64, rate: u64) -> Option<i64> {
    if gained == 0 || rate < SMALLEST_RATE {
        return None;
    }
    i64::try_from(u128::from(gained) * u128::from(SECOND.unsigned_abs()) / u128::from(rate)).ok()
}

/// gain / rate, if truncated times and bounds allow it, or nearly; never beyond what they allow.
fn steady_window(base: &Sample, sample: &Sample, rate: u64) -> Option<i64> {
    let window = length(sample.counter.saturating_sub(base.counter), rate)?;
    let Span { low, high } = Span::between(base, sample);
    let slack = window / STEADY_SLACK;
    (window >= low - slack && window <= high + slack).then(|| window.clamp(low, high))
}

/// How far [`length`] can be off: the kubelet cuts its rate to whole nanocores.
fn slack(window: i64, rate: u64) -> i64 {
    i64::try_from(rate).map_or(ROUNDING, |rate| window / rate.max(1) + ROUNDING)
}

/// Two rates of a steady load.
fn agree(a: u64, b: u64) -> bool {
    a >= SMALLEST_RATE && b >= SMALLEST_RATE && a.abs_diff(b) <= a.max(b) / STEADY
}

// === impl Step ===

impl Step {
    fn learn(&mut self, window: i64) {
        if window < SHORTEST_STEP {
            return;
        }
        let (shortest, longest) = (self.shortest.min(window), self.longest.max(window));
        let alike = self.seen > 0 && longest - shortest <= shortest / 1000 * STEP_SPREAD;
        *self = if alike {
            Self {
                shortest,
                longest,
                seen: (self.seen + 1).min(REGULAR),
            }
        } else {
            Self {
                shortest: window,
                longest: window,
                seen: 1,
            }
        };
    }

    /// The lengths that a window of about `apart` can have, as a whole number of steps.
    fn whole(&self, apart: i64) -> Option<Span> {
        if self.seen < REGULAR || self.shortest <= 0 {
            return None;
        }
        let middle = self.shortest.midpoint(self.longest);
        let steps = (apart + middle / 2) / middle;
        (steps >= 1).then(|| Span {
            low: steps * (self.shortest - STEP_SLACK),
            high: steps * (self.longest + STEP_SLACK),
        })
    }
}

// === impl Span ===

impl Span {
    /// By truncated times, and by what is known of the instants.
    fn between(base: &Sample, sample: &Sample) -> Self {
        let apart = (sample.time - base.time) * SECOND;
        Self {
            low: apart + sample.earliest - base.latest,
            high: apart + sample.latest - base.earliest,
        }
    }

    fn narrowed(self, to: Self) -> Option<Self> {
        let (low, high) = (self.low.max(to.low), self.high.min(to.high));
        (low <= high).then_some(Self { low, high })
    }

    fn middle(self) -> i64 {
        self.low.midpoint(self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: u64 = 1_000_000;

    /// True milliseconds, the counter's gain since the sample before, the kubelet's rate.
    type Taken = (i64, u64, Option<u64>);
    /// Nanocores, and the window in milliseconds.
    type Brought = Option<(u64, u64)>;

    fn observe(history: &mut History, samples: &[Taken]) -> Vec<Brought> {
        let mut counter = history.last.map_or(0, |l| l.counter);
        let mut brought = Vec::new();
        for &(millis, gained, reported) in samples {
            counter += gained;
            brought.push(match history.observe(millis / 1000, counter, reported, None) {
                Observed::Rate(rate) => Some((rate.nanocores, rate.window / MILLI)),
                Observed::First | Observed::Repeat => None,
            });
        }
        brought
    }

    #[test]
    fn windows() {
        let table: Vec<(&str, Vec<Taken>, Brought)> = vec![
            (
                "without the kubelet's rate: naive",
                vec![(10_900, 0, None), (21_100, 510 * MILLI, None)],
                Some((46_363_636, 11_000)),
            ),
            (
                "exact: the kubelet's rate is the rate",
                vec![(10_900, 0, Some(7)), (21_100, 510 * MILLI, Some(50 * MILLI))],
                Some((50 * MILLI, 10_200)),
            ),
            (
                "a rate that speaks of less: naive",
                vec![(10_900, 0, Some(7)), (21_100, 510 * MILLI, Some(80 * MILLI))],
                Some((46_363_636, 11_000)),
            ),
            (
                "20 s hold two steps: naive",
                vec![(10_900, 0, Some(50 * MILLI)), (31_100, 1_010 * MILLI, Some(50 * MILLI))],
                Some((48_095_238, 21_000)),
            ),
            (
                "but for a steady load",
                vec![
                    (10_900, 0, Some(50 * MILLI)),
                    (31_100, 1_010 * MILLI, Some(50 * MILLI)),
                    (60_400, 1_465 * MILLI, Some(50 * MILLI)),
                ],
                Some((50 * MILLI, 29_300)),
            ),
            (
                "a steady load must fit the times",
                vec![
                    (10_900, 0, Some(50 * MILLI)),
                    (31_100, 1_010 * MILLI, Some(50 * MILLI)),
                    (60_400, 1_700 * MILLI, Some(50 * MILLI)),
                ],
                Some((58_620_689, 29_000)),
            ),
            (
                "no gain: zero",
                vec![(10_900, 9, Some(0)), (21_100, 0, Some(0))],
                Some((0, 11_000)),
            ),
            (
                "5 s, inexact: from the sample before",
                vec![(10_000, 0, None), (20_000, 100 * MILLI, None), (25_000, 500 * MILLI, None)],
                Some((40 * MILLI, 15_000)),
            ),
            (
                "5 s, exact",
                vec![
                    (10_000, 0, None),
                    (20_000, 100 * MILLI, None),
                    (25_000, 500 * MILLI, Some(100 * MILLI)),
                ],
                Some((100 * MILLI, 5_000)),
            ),
            (
                "a second sample within a second",
                vec![(10_000, 0, None), (20_000, 100 * MILLI, None), (20_900, 50 * MILLI, None)],
                Some((15 * MILLI, 10_000)),
            ),
        ];
        for (name, samples, expected) in table {
            let brought = observe(&mut History::default(), &samples);
            assert_eq!(brought.last().copied().flatten(), expected, "{name}");
        }
    }

    /// Exact windows of 14.45 s bring the bounds of the instant together, and they serve the next inexact window.
    #[test]
    fn a_chain_of_exact_windows_bounds_the_instant() {
        let mut history = History::default();
        let samples: Vec<_> = (0..12)
            .map(|i| (100_300 + 14_450 * i, 1_445 * MILLI, Some(100 * MILLI)))
            .collect();
        observe(&mut history, &samples);
        let last = history.last.unwrap();
        let truth = (100_300 + 14_450 * 11) % 1000 * 1_000_000;
        assert!(
            (last.earliest..=last.latest).contains(&truth) && last.latest - last.earliest < SECOND / 8,
            "{last:?}"
        );
        // Twice the load and 24 s: the end is anywhere in its second, the beginning is known.
        let brought = observe(
            &mut history,
            &[(100_300 + 14_450 * 11 + 24_500, 4_900 * MILLI, Some(300 * MILLI))],
        );
        let window = brought[0].unwrap().1;
        assert!(window.abs_diff(24_500) < 570, "{window}");
    }

    #[test]
    fn regular_steps_are_learned_and_counted() {
        let mut history = History::default();
        let samples: Vec<_> = (0..5)
            .map(|i| (100_300 + 10_060 * i, 1_000 * MILLI, Some(99_403_578)))
            .collect();
        observe(&mut history, &samples);
        assert_eq!(history.step.seen, REGULAR);
        for (steps, load) in [(2, 3_000), (3, 9_000), (6, 500)] {
            let next = 100_300 + 10_060 * (4 + steps);
            let brought = observe(&mut history.clone(), &[(next, load * MILLI, Some(7 * MILLI))]);
            let window = brought[0].unwrap().1;
            assert!(
                window.abs_diff(10_060 * steps.unsigned_abs()) <= 60 * steps.unsigned_abs(),
                "{steps}: {window}"
            );
        }
    }

    #[test]
    fn a_kubelet_that_steps_faster_is_in_doubt_for_a_while() {
        let mut history = History::default();
        observe(
            &mut history,
            &[(100_000, 0, None), (115_000, 1_500 * MILLI, Some(300 * MILLI))],
        );
        assert_eq!(history.doubt, DOUBT);
        // An accident: the test holds although the rate is of another part.
        let brought = observe(&mut history, &[(130_000, 1_500 * MILLI, Some(106 * MILLI))]);
        assert_eq!(brought, [Some((100 * MILLI, 15_000))]);
        for i in 1..i64::from(DOUBT) {
            observe(&mut history, &[(130_000 + 15_000 * i, 1_500 * MILLI, Some(106 * MILLI))]);
        }
        assert_eq!(history.doubt, 0);
        let brought = observe(&mut history, &[(250_000, 1_500 * MILLI, Some(106 * MILLI))]);
        assert_eq!(brought, [Some((106 * MILLI, 14_150))]);
    }

    #[test]
    fn an_older_sample_follows_at_a_distance() {
        let mut history = History::default();
        for i in 0..50 {
            observe(&mut history, &[(100_000 + 3_000 * i, MILLI, None)]);
            let (last, anchor) = (history.last.unwrap(), history.anchor);
            assert!(
                anchor.is_none_or(|a| (1..=24).contains(&(last.time - a.time))),
                "{i}: {history:?}"
            );
        }
    }
}
