//! How true the rates are: 40 polls of a real kubelet, whose milliseconds are known from its other endpoint.

use std::collections::BTreeMap;

use crate::support::{Recorded, T0, poll, series};
use outrigger_plugin_metrics::clocks::Moment;
use outrigger_plugin_metrics::rates::advance;
use outrigger_plugin_metrics::state::State;
use outrigger_plugin_metrics::summary::Summary;

/// Containers whose load is the same in every second.
const STEADY: &[&str] = &[
    "default/burner/burn",
    "default/two/a",
    "default/with-init/main",
    "default/with-sidecar/main",
    "default/with-sidecar/proxy",
    "kube-system/static-real-0/main",
];

/// Errors of one series against the truth, in per cent.
#[derive(Default, Debug)]
struct Errors {
    ours: Vec<f64>,
    naive: Vec<f64>,
    /// Of our window against the true one, in milliseconds.
    window: Vec<f64>,
}

fn mean(all: &[f64]) -> f64 {
    if all.is_empty() {
        0.0
    } else {
        all.iter().sum::<f64>() / all.len() as f64
    }
}

fn worst(all: &[f64]) -> f64 {
    all.iter().copied().fold(0.0, f64::max)
}

/// Every served rate of every `stride`th poll from `first` on, against the truth of the window that it claims.
fn errors(stride: usize, first: usize) -> BTreeMap<String, Errors> {
    let series = series();
    let mut errors = BTreeMap::<String, Errors>::new();
    let mut state = Vec::new();
    for at in (first..40).step_by(stride) {
        let bytes = poll(&series, at).bytes();
        let summary = Summary::read(&bytes).unwrap();
        let (next, samples) = advance(State::read(&state), &summary, Moment(at as u64 * 15_000_000_000));
        state = next.write();
        let pods = samples.pods.iter().flat_map(|pod| {
            pod.containers
                .iter()
                .map(move |(name, usage)| (format!("{}/{}/{name}", pod.namespace, pod.name), usage))
        });
        for (entity, usage) in samples.node.iter().map(|usage| ("node".to_owned(), usage)).chain(pods) {
            let all: Vec<&Recorded> = series[&entity]
                .iter()
                .filter(|r| r.poll >= first && (r.poll - first).is_multiple_of(stride))
                .collect();
            let Some(end) = all.iter().position(|r| r.poll == at) else {
                continue;
            };
            // A container between two runs lends its last rate.
            if usage.time != T0 + all[end].cgroup.time {
                assert_eq!(entity, "default/crasher/main");
                continue;
            }
            // The sample that this window began with: the newest one before this, if this is not a repeat.
            let Some(begin) = all[..end].iter().rev().find(|r| r.cgroup.time < all[end].cgroup.time) else {
                continue;
            };
            if all[end - 1].cgroup.time == all[end].cgroup.time {
                continue;
            }
            let (Some(from), Some(to)) = (begin.truth, all[end].truth) else {
                continue;
            };
            let (gained, seconds) = (all[end].cgroup.counter - begin.cgroup.counter, (to - from) as f64 / 1e3);
            if gained == 0 {
                assert_eq!(usage.rate.nanocores, 0, "{entity}");
                continue;
            }
            let truth = gained as f64 / seconds;
            let naive = gained as f64 / (all[end].cgroup.time - begin.cgroup.time) as f64;
            let of = errors.entry(entity).or_default();
            of.ours.push((usage.rate.nanocores as f64 / truth - 1.0).abs() * 100.0);
            of.naive.push((naive / truth - 1.0).abs() * 100.0);
            of.window.push((usage.rate.window as f64 / 1e6 - seconds * 1e3).abs());
        }
    }
    errors
}

fn print(title: &str, errors: &BTreeMap<String, Errors>) {
    println!("{title}");
    for (entity, e) in errors {
        println!(
            "| {entity} | {} | {:.2} / {:.2} | {:.3} / {:.2} | {:.0} ms |",
            e.ours.len(),
            mean(&e.naive),
            worst(&e.naive),
            mean(&e.ours),
            worst(&e.ours),
            worst(&e.window)
        );
    }
}

#[test]
fn steady_loads_read_true_at_every_interval() {
    // (stride, worst error of steady containers in per cent, worst of the unsteady)
    for (stride, steady, any) in [(1, 0.5, 2.5), (2, 0.5, 3.0), (4, 0.5, 2.0)] {
        for first in 0..stride {
            let errors = errors(stride, first);
            print(&format!("every {} s from poll {first}", 15 * stride), &errors);
            for entity in STEADY {
                let e = &errors[*entity];
                assert!(e.ours.len() >= 28 / stride, "{entity}: only {} windows", e.ours.len());
                // Of the first window nothing is known but two truncated times, and less than three of the kubelet's rates.
                let (first, later) = e.ours.split_first().unwrap();
                assert!(
                    *first <= 4.0 && worst(later) <= steady,
                    "{entity} every {} s: {:?}",
                    15 * stride,
                    e.ours
                );
                assert!(mean(later) <= 0.15, "{entity} every {} s: {}", 15 * stride, mean(later));
            }
            for entity in ["node", "default/two/b"] {
                assert!(
                    worst(&errors[entity].ours) <= any,
                    "{entity} every {} s: {:?}",
                    15 * stride,
                    errors[entity].ours
                );
            }
        }
    }
}

#[test]
fn the_node_reads_true_where_its_steps_are_known() {
    let node = &errors(1, 0)["node"];
    assert!(mean(&node.ours) <= 0.1 && worst(&node.ours) <= 0.5, "{:?}", node.ours);
}

/// B14 of the checklist: the mean of what is served during any minute of a steady load.
#[test]
fn any_minute_of_a_steady_load_is_within_two_per_cent() {
    let errors = errors(1, 0);
    for entity in STEADY {
        for minute in errors[*entity].ours.windows(4) {
            assert!(mean(minute) <= 2.0 && worst(minute) <= 2.0, "{entity}: {minute:?}");
        }
    }
}
