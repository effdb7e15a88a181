//! A new pod, and a resolution of one second: when the first values come, and how true they are.
//!
//! A container younger than ten seconds is sampled anew for each question, an older one by the kubelet's own housekeeping. Whatever
//! the resolution, a new pod is served at the first question after it is ten seconds old, and what is served is what it used.

use crate::support::{CORE_SECOND, Cgroup, Paper, T0};
use outrigger_plugin_metrics::Summaries;
use outrigger_sdk::prelude::*;
use outrigger_sdk::serde_json::{self, Value};

const MILLI: u64 = 1_000_000;

/// A container that started so many milliseconds after a second, uses so many millicores, and is sampled as a kubelet does.
#[derive(Debug, Clone, Copy)]
struct Young {
    started: u64,
    millicores: u64,
    /// Between two of the kubelet's samples, once it is ten seconds old.
    step: u64,
}

impl Young {
    /// What the kubelet says at this moment after its start (milliseconds), if it was last asked then.
    fn sample(self, age: u64, asked: Option<u64>) -> Cgroup {
        let at = if age < 10_000 {
            age
        } else {
            (10_000 + (age - 10_000) / self.step * self.step).max(asked.filter(|a| *a < 10_000).unwrap_or(0))
        };
        let before = if at < 10_000 {
            asked
        } else {
            Some(at.saturating_sub(self.step))
        };
        let counter = |age: u64| age * self.millicores * 1_000;
        let reported = before
            .filter(|b| *b < at)
            .map_or(0, |b| (counter(at) - counter(b)) * 1_000 / (at - b));
        let seconds = |millis: u64| i64::try_from(millis / 1_000).unwrap();
        Cgroup {
            start: Some(seconds(self.started)),
            ..Cgroup::at(seconds(self.started + at), counter(at)).reporting(reported)
        }
    }
}

/// Millicores served at each question, and the container's age at it.
fn served(container: Young, resolution: u64, phase: u64, until: u64) -> Vec<(u64, Option<f64>)> {
    let mut target = fake::Target::<Summaries>::new("n");
    let (mut all, mut asked) = (Vec::new(), None);
    let mut age = phase;
    while age <= until {
        let paper = Paper::new()
            .node(Cgroup::at(
                i64::try_from((container.started + age) / 1_000).unwrap(),
                CORE_SECOND,
            ))
            .container("p", "c", container.sample(age, asked));
        let host = fake::Host::new()
            .answering("n", paper.bytes())
            .at((container.started + age) * MILLI);
        let rows = target.tick(&host).unwrap();
        let millicores = rows.iter().find(|r| r.key().0 == "pods").map(|row| {
            let fields: Value = serde_json::from_str(row.fields_json()).unwrap();
            assert!(outrigger_plugin_metrics::time::parse(fields["timestamp"].as_str().unwrap()).unwrap() >= T0);
            let cpu = fields["containers"][0]["usage"]["cpu"].as_str().unwrap().to_owned();
            let digits = cpu.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let scale = match &cpu[digits.len()..] {
                "n" => 1e-6,
                "u" => 1e-3,
                "m" => 1.0,
                _ => 1e3,
            };
            digits.parse::<f64>().unwrap() * scale
        });
        all.push((age, millicores));
        asked = Some(age);
        age += resolution;
    }
    all
}

#[test]
fn a_new_pod_is_served_at_the_first_question_after_it_is_ten_seconds_old() {
    for resolution in [1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000] {
        for phase in [0, 300, 700, 999] {
            for (started, step) in [(0, 10_000), (400, 13_700), (999, 19_900)] {
                let container = Young {
                    started,
                    millicores: 50,
                    step,
                };
                let all = served(container, resolution, phase, 100_000);
                // Ages in the summary are differences of cut times: ten seconds there are eleven at most.
                let first = all.iter().find(|(age, _)| *age >= 11_000).unwrap();
                assert!(first.1.is_some(), "{container:?} every {resolution} ms from {phase}: {all:?}");
                let gap = all
                    .iter()
                    .skip_while(|(_, served)| served.is_none())
                    .find(|(_, served)| served.is_none());
                assert_eq!(
                    gap, None,
                    "{container:?} every {resolution} ms from {phase}: served ever after"
                );
            }
        }
    }
}

#[test]
fn at_one_second_values_are_right_from_the_first_on() {
    for millicores in [1, 50, 2_000] {
        for (started, phase) in [(0, 0), (400, 300), (999, 700)] {
            for step in [1_000, 3_300, 10_030, 14_500] {
                let container = Young {
                    started,
                    millicores,
                    step,
                };
                for (age, cpu) in served(container, 1_000, phase, 120_000) {
                    let Some(cpu) = cpu else { continue };
                    // Of the first windows nothing is known but cut times, five seconds apart.
                    let bound = if age < 30_000 { 0.25 } else { 0.06 };
                    let error = (cpu / millicores as f64 - 1.0).abs();
                    assert!(error <= bound, "{container:?} at {age} ms: {cpu}m");
                }
            }
        }
    }
}
