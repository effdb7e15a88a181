//! Replicas that share the nodes: each kubelet is asked once, every replica answers for all, and who dies is replaced before a value
//! is two intervals old.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use outrigger_e2e::FakeKubelet;
use outrigger_e2e::load::Load;
use outrigger_e2e::wait::LATER;
use outrigger_e2e::{Outrigger, promise, until};
use serde_json::json;

use crate::house::{House, NODES, SECRET, Service};

const NAMES: [&str; 8] = ["ash", "beech", "cedar", "elm", "fir", "hazel", "larch", "oak"];
/// Seconds from one tick to the next.
const INTERVAL: u32 = 5;
/// A kubelet's sample is a second old at most when it is fetched, its time is cut off to seconds, and a busy machine is late.
const SLACK: f64 = 4.0;

fn shared(house: &House, name: &str, address: [u8; 4]) -> Result<Outrigger> {
    house.slow_replica(
        name,
        address,
        INTERVAL,
        SECRET,
        &["--share-collection", "--shutdown-delay-duration=2s"],
    )
}

/// One series of a replica's own.
fn series(house: &House, replica: &Outrigger, name: &str) -> Result<f64> {
    let text = replica
        .client(Some(house.control_plane.admin()))?
        .get("/metrics")?
        .ok()?
        .text();
    let lines = text.lines().filter(|line| line.starts_with(name));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(values.sum())
}

/// Waits until a replica knows that many, and hears all others.
fn knows(house: &House, replica: &Outrigger, replicas: u32) -> Result<()> {
    until("the replicas know each other", LATER, || {
        replica.program().runs()?;
        let (live, connected) = (
            series(house, replica, "outrigger_replicas ")?,
            series(house, replica, "outrigger_replicas_connected ")?,
        );
        ensure!(
            (live, connected) == (f64::from(replicas), f64::from(replicas) - 1.0),
            "{live} {connected}"
        );
        Ok(())
    })
}

/// What a replica itself says of all nodes.
fn nodes_of(house: &House, replica: &Outrigger) -> Result<Vec<String>> {
    let list = replica.client(Some(house.control_plane.admin()))?.document(NODES)?;
    let items = list["items"].as_array().context("no items")?;
    Ok(items
        .iter()
        .filter_map(|item| Some(item["metadata"]["name"].as_str()?.to_owned()))
        .collect())
}

/// `kubectl top`, which must not fail and must know every node, and the age of the oldest value.
fn look(house: &House) -> Result<f64> {
    let top = house.kubectl.run("top node --no-headers")?;
    ensure!(top.lines().count() == NAMES.len() && !top.contains("unknown"), "{top}");
    let list = house.control_plane.api().document(NODES)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    let mut oldest = 0.0_f64;
    for item in list["items"].as_array().context("no items")? {
        let at: jiff::Timestamp = item["timestamp"].as_str().context("no timestamp")?.parse()?;
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970")]
        let age = now - at.as_second() as f64;
        oldest = oldest.max(age);
    }
    Ok(oldest)
}

/// Looks again and again for so long, and says how old the oldest value was.
fn watch(house: &House, seconds: u64, oldest: &mut f64) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        *oldest = oldest.max(look(house)?);
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

#[test]
fn nodes_are_shared_and_a_replica_that_dies_is_not_missed() {
    promise(|| {
        let house = House::new("shared-work")?;
        let load = Load {
            millicores: 200,
            bytes: 1 << 30,
        };
        let mut kubelets: Vec<Arc<FakeKubelet>> = Vec::new();
        for name in NAMES.iter().skip(1) {
            kubelets.push(house.fleet.add(&house.control_plane, name, load, true)?);
        }
        let (one, two) = (
            shared(&house, "shared-1", [127, 96, 0, 71])?,
            shared(&house, "shared-2", [127, 96, 0, 72])?,
        );
        let behind = Arc::new(Mutex::new(vec![one.address(), two.address()]));
        let service = Service::of([127, 96, 0, 73], &behind)?;
        house.register(service.address, &["v1", "v1beta1"], &json!({}))?;
        for replica in [&one, &two] {
            house.ready(replica, SECRET)?;
            knows(&house, replica, 2)?;
        }
        until("metrics come through the aggregator", LATER, || look(&house))?;

        // Each kubelet is asked by one of them, and both know all nodes.
        let asked = || -> Vec<u64> { kubelets.iter().map(|kubelet| kubelet.asked()).collect() };
        let (begun, before) = (Instant::now(), asked());
        let mut oldest = 0.0;
        watch(&house, u64::from(INTERVAL) * 6, &mut oldest)?;
        let (after, most) = (asked(), begun.elapsed().as_secs_f64() / f64::from(INTERVAL) + 1.5);
        for (n, (before, after)) in before.iter().zip(&after).enumerate() {
            let times = f64::from(u32::try_from(after - before)?);
            ensure!(
                times >= 3.0 && times <= most,
                "{} was asked {times} times, {most} at most",
                NAMES[n + 1]
            );
        }
        for replica in [&one, &two] {
            ensure!(nodes_of(&house, replica)? == NAMES);
            let heard = series(&house, replica, "outrigger_collector_ticks_heard_total")?;
            ensure!(heard > 0.0, "a replica that hears nothing");
        }
        println!("shared: the oldest value was {oldest:.1} s old, at {INTERVAL} s from one tick to the next");

        // One is killed. Whoever asks in that moment finds the other.
        let mut oldest = 0.0;
        drop(two);
        watch(&house, u64::from(INTERVAL) * 5, &mut oldest)?;
        println!("one killed: {oldest:.1} s");
        ensure!(oldest <= 2.0 * f64::from(INTERVAL) + SLACK, "a value was {oldest} s old");
        ensure!(nodes_of(&house, &one)? == NAMES);

        // Another comes, and the first ends in order.
        let three = shared(&house, "shared-3", [127, 96, 0, 74])?;
        let mut oldest = 0.0;
        until("it is ready", LATER, || {
            oldest = look(&house)?.max(oldest);
            house.ready(&three, SECRET)
        })?;
        ensure!(nodes_of(&house, &three)? == NAMES, "who has just come answers for all");
        behind.lock().unwrap().push(three.address());
        knows(&house, &three, 2)?;
        watch(&house, u64::from(INTERVAL), &mut oldest)?;
        one.program().terminate()?;
        watch(&house, u64::from(INTERVAL) * 4, &mut oldest)?;
        println!("one came and one ended: {oldest:.1} s");
        ensure!(oldest <= 2.0 * f64::from(INTERVAL) + SLACK, "a value was {oldest} s old");
        until("it has ended", LATER, || {
            ensure!(one.program().ended()?.is_some());
            Ok(())
        })?;
        ensure!(
            one.program().ended()?.is_some_and(|status| status.success()),
            "{}",
            one.program().log()
        );
        knows(&house, &three, 1)
    });
}
