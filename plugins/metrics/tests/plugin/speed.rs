//! What a tick costs, natively; `cargo test --test speed -- --ignored --nocapture`, with `--profile guest` for the guest's
//! own optimisation.

use std::time::Instant;

use outrigger_plugin_metrics::clocks::Moment;
use outrigger_plugin_metrics::configuration::Configuration;
use outrigger_plugin_metrics::rates::advance;
use outrigger_plugin_metrics::rows::rows;
use outrigger_plugin_metrics::state::State;
use outrigger_plugin_metrics::summary::Summary;
use outrigger_sdk::serde_json::{self, Value, json};

/// The real cheap half, its pods repeated under new names: 110 pods of two containers, with all that a kubelet adds.
fn full_node(second: i64) -> Vec<u8> {
    let mut summary: Value = serde_json::from_str(include_str!("../fixtures/summary-cpumem.json")).unwrap();
    let sidecar = summary["pods"]
        .as_array()
        .unwrap()
        .iter()
        .find(|p| p["podRef"]["name"] == "with-sidecar")
        .unwrap()
        .clone();
    let pods = (0..110).map(|i| {
        let mut pod = sidecar.clone();
        pod["podRef"]["name"] = json!(format!("deployment-7f9c6d5b8c-{:05}", i * 7919 % 99_991));
        for container in pod["containers"].as_array_mut().unwrap() {
            container["cpu"]["time"] = json!(format!("2026-11-21T10:42:{second:02}Z"));
            container["cpu"]["usageCoreNanoSeconds"] = json!(20_524_732_775u64 + 50_000_000 * second.unsigned_abs() + i);
            container["cpu"]["usageNanoCores"] = json!(50_000_000);
        }
        pod
    });
    summary["pods"] = pods.collect();
    serde_json::to_vec(&summary).unwrap()
}

#[test]
#[ignore = "a measurement"]
fn a_full_node() {
    let (first, second) = (full_node(10), full_node(25));
    if let Ok(folder) = std::env::var("DUMP") {
        std::fs::write(format!("{folder}/first.json"), &first).unwrap();
        std::fs::write(format!("{folder}/second.json"), &second).unwrap();
    }
    let state = advance(State::default(), &Summary::read(&first).unwrap(), Moment(0))
        .0
        .write();
    let mut best = [f64::MAX; 5];
    for _ in 0..300 {
        let mut times = [0.0; 5];
        let all = Instant::now();
        let mut part = Instant::now();
        let mut lap = |slot: &mut f64| {
            *slot = part.elapsed().as_secs_f64() * 1e6;
            part = Instant::now();
        };
        let summary = Summary::read(&second).unwrap();
        lap(&mut times[0]);
        let (next, samples) = advance(State::read(&state), &summary, Moment(15_000_000_000));
        lap(&mut times[1]);
        let rows = rows("n", &samples, Configuration::default());
        lap(&mut times[2]);
        let state = next.write();
        lap(&mut times[3]);
        times[4] = all.elapsed().as_secs_f64() * 1e6;
        assert_eq!(
            (rows.len(), samples.pods.len()),
            (111 - usize::from(samples.node.is_none()), 110)
        );
        assert!(!state.is_empty());
        for (best, time) in best.iter_mut().zip(times) {
            *best = best.min(time);
        }
    }
    let [parse, rates, rows, write, all] = best;
    println!(
        "{} bytes: parse {parse:.0}, state and rates {rates:.0}, rows {rows:.0}, state {write:.0}; all {all:.0} µs",
        second.len()
    );
}
