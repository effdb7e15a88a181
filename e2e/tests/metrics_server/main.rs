//! The same requests to Outrigger and to metrics-server v0.9.0, both over the same small fleet: metrics-server's answer is the
//! specification.
//!
//! The fleet has what the field has: pods with init containers and sidecars, completed, restarted, sleeping and unscheduled ones, a node
//! that a selector leaves out, a node whose kubelet is dead. Each row of [`requests`] is one request; status, headers and bodies are
//! compared field by field, after times and amounts have become words; that the amounts are right is a test of its own. What differs
//! is a defect, or stands with its reason in [`differences`], which `docs/metrics-differences.md` shows.

#![allow(clippy::indexing_slicing, reason = "a test may panic")]

mod differences;
mod house;
mod requests;

use anyhow::{Result, ensure};
use outrigger_e2e::differential::judge;
use outrigger_e2e::promise;
use outrigger_e2e::quantity;
use outrigger_e2e::wait::{LATER, until};

use house::{House, house};

#[test]
fn answers_are_metrics_servers() {
    promise(|| {
        let house = house()?;
        judge(&requests::rows(), &differences::all().collect::<Vec<_>>(), |row| {
            vec![house.compared(row)]
        })
    });
}

#[test]
fn the_page_shows_the_differences() {
    promise(differences::page);
}

/// Times have whole seconds in a summary and samples here are a few seconds apart, so a rate of ours is a good one after a while.
#[test]
fn both_say_the_truth() {
    promise(|| {
        let house = house()?;
        until("both are within a tenth of the truth", LATER, || {
            for (server, client) in [("Outrigger", &house.ours.master), ("metrics-server", &house.theirs.master)] {
                for (pod, container, millicores, bytes) in house::TRUTH {
                    let used = usage(client, pod, container)?;
                    let cpu = quantity::millicores(&used)?;
                    ensure!(
                        (cpu - millicores).abs() <= millicores / 10.0,
                        "{server}: {pod}/{container} uses {cpu}m, not {millicores}m"
                    );
                    let memory = quantity::bytes(&used)?;
                    ensure!(memory == bytes << 20, "{server}: {pod}/{container} holds {memory} bytes");
                }
            }
            Ok(())
        })
    });
}

fn usage(client: &outrigger_e2e::http::Client, pod: &str, container: &str) -> Result<serde_json::Value> {
    let metrics = client.document(&format!("{}/namespaces/shop/pods/{pod}", house::BASE))?;
    let all = metrics["containers"].as_array().into_iter().flatten();
    let mut found = all.filter(|c| c["name"] == *container);
    found
        .next()
        .map(|c| c["usage"].clone())
        .ok_or_else(|| anyhow::anyhow!("{pod} has no {container}: {metrics}"))
}

/// One series for each of the six families, and the labels of each.
#[test]
fn its_own_families_are_there() {
    promise(|| {
        let house = house()?;
        let families = |text: &str| -> std::collections::BTreeSet<String> {
            text.lines()
                .filter_map(|line| line.strip_prefix("# TYPE metrics_server_"))
                .map(str::to_owned)
                .collect()
        };
        let ours = families(&House::metrics(&house.ours)?);
        let theirs = families(&House::metrics(&house.theirs)?);
        let missing: Vec<_> = theirs.difference(&ours).collect();
        ensure!(
            theirs.len() == 6 && missing.is_empty(),
            "missing: {missing:?}; metrics-server has {theirs:?}"
        );
        Ok(())
    });
}
