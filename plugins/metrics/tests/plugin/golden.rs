//! metrics-server's unit tests as vectors (its `pkg/storage`), from the kubelet's bytes to the rows.
//!
//! Two are better here on purpose (see `rates`): a pod whose counter went back is absent and not empty (3), and so stays
//! whole; and 13 is kept as it is.

use crate::support::{CORE_SECOND, Cgroup, MIB, Paper, T0};
use outrigger_plugin_metrics::Summaries;
use outrigger_sdk::prelude::*;
use outrigger_sdk::serde_json;
use serde_json::{Value, json};

/// Each batch is one tick; the rows after each.
fn ticks(batches: &[Paper]) -> Vec<Vec<Row>> {
    let host = batches
        .iter()
        .fold(fake::Host::new(), |host, batch| host.answering("n", batch.bytes()));
    let mut target = fake::Target::<Summaries>::new("n");
    batches.iter().map(|_| target.tick(&host).unwrap()).collect()
}

fn row(rows: &[Row], table: &str) -> Option<Value> {
    let row = rows.iter().find(|r| r.key().0 == table)?;
    Some(serde_json::from_str(row.fields_json()).unwrap())
}

/// What is served of the node, or of the only pod: `cpu memory window seconds-after-T0`, containers joined by ` + `.
fn served(rows: &[Row], table: &str) -> Option<String> {
    let fields = row(rows, table)?;
    let usage = |u: &Value| format!("{} {}", u["cpu"].as_str().unwrap(), u["memory"].as_str().unwrap());
    let usages = match &fields["containers"] {
        Value::Array(containers) => containers.iter().map(|c| usage(&c["usage"])).collect::<Vec<_>>().join(" + "),
        _ => usage(&fields["usage"]),
    };
    let at = outrigger_plugin_metrics::time::parse(fields["timestamp"].as_str().unwrap()).unwrap() - T0;
    Some(format!("{usages} {} {at}", fields["window"].as_str().unwrap()))
}

fn node(time: i64, core_seconds: u64) -> Paper {
    Paper::new().node(Cgroup::at(time, core_seconds * CORE_SECOND))
}

fn pod(start: Option<i64>, time: i64, core_seconds: u64) -> Paper {
    Paper::new().container(
        "p",
        "c",
        Cgroup {
            start,
            ..Cgroup::at(time, core_seconds * CORE_SECOND)
        },
    )
}

/// Its name, the table to look at, the batches, and what is served after each.
type Vector = (&'static str, &'static str, Vec<Paper>, Vec<Option<&'static str>>);

#[test]
fn upstreams_vectors() {
    let both = |a: (i64, u64), b: (i64, u64)| {
        let of = |(time, core_seconds): (i64, u64)| Cgroup::at(time, core_seconds * CORE_SECOND);
        Paper::new().container("p", "a", of(a)).container("p", "b", of(b))
    };
    let table: Vec<Vector> = vec![
        (
            "1: two batches make a rate",
            "nodes",
            vec![
                Paper::new().node(Cgroup::at(10, 10 * CORE_SECOND).memory(2 * MIB)),
                Paper::new().node(Cgroup::at(20, 20 * CORE_SECOND).memory(3 * MIB)),
            ],
            vec![None, Some("1 3Mi 10s 20")],
        ),
        (
            "2: the same batch twice, node",
            "nodes",
            vec![node(10, 10), node(10, 10)],
            vec![None, None],
        ),
        (
            "2: the same batch twice, pod",
            "pods",
            vec![pod(Some(-100), 10, 10), pod(Some(-100), 10, 10)],
            vec![None, None],
        ),
        (
            "3: a counter goes back, node",
            "nodes",
            vec![node(10, 50), node(20, 10)],
            vec![None, None],
        ),
        (
            "3: a counter goes back, pod",
            "pods",
            vec![pod(None, 10, 50), pod(None, 20, 10)],
            vec![None, None],
        ),
        (
            "4: a node restarts",
            "nodes",
            vec![
                Paper::new().node(Cgroup::at(10, 10 * CORE_SECOND).started(0)),
                Paper::new().node(Cgroup::at(20, 5 * CORE_SECOND).started(15)),
            ],
            vec![None, None],
        ),
        (
            "5: time leaps back before all",
            "nodes",
            vec![node(15, 10), node(35, 30), node(5, 40)],
            vec![None, Some("1 1Mi 20s 35"), None],
        ),
        (
            "6: time leaps back between",
            "nodes",
            vec![node(15, 10), node(35, 50), node(25, 35)],
            vec![None, Some("2 1Mi 20s 35"), Some("2500m 1Mi 10s 25")],
        ),
        (
            "7: a node is gone",
            "nodes",
            vec![node(10, 10), node(20, 20), Paper::new()],
            vec![None, Some("1 1Mi 10s 20"), None],
        ),
        (
            "7: a pod is gone",
            "pods",
            vec![pod(None, 10, 10), pod(None, 20, 20), node(30, 30)],
            vec![None, Some("1 1Mi 10s 20"), None],
        ),
        (
            "8: five seconds are enough",
            "pods",
            vec![pod(Some(0), 120, 1), pod(Some(0), 125, 6)],
            vec![None, Some("1 1Mi 5s 125")],
        ),
        (
            "9: fresh containers at once",
            "pods",
            vec![pod(Some(0), 10, 10)],
            vec![Some("1 1Mi 10s 10")],
        ),
        ("10: too young", "pods", vec![pod(Some(0), 9, 9)], vec![None]),
        ("10: from the future", "pods", vec![pod(Some(20), 10, 10)], vec![None]),
        ("10: too old", "pods", vec![pod(Some(0), 120, 120)], vec![None]),
        (
            "11: a container restarts",
            "pods",
            vec![pod(Some(0), 10, 1), pod(Some(15), 25, 5)],
            vec![Some("100m 1Mi 10s 10"), Some("500m 1Mi 10s 25")],
        ),
        (
            "12: the oldest container speaks for the pod",
            "pods",
            vec![both((110, 0), (115, 0)), both((120, 10), (125, 20))],
            vec![None, Some("1 1Mi + 2 1Mi 10s 120")],
        ),
        (
            "13: a container that is new hides its pod",
            "pods",
            vec![
                Paper::new().container("p", "a", Cgroup::at(110, 0)),
                both((120, 10), (125, 20)),
                both((130, 20), (135, 30)),
            ],
            vec![None, None, Some("1 1Mi + 1 1Mi 10s 130")],
        ),
        (
            "14: no start times",
            "pods",
            vec![pod(None, 10, 10), pod(None, 20, 20)],
            vec![None, Some("1 1Mi 10s 20")],
        ),
        (
            "15: small rates",
            "nodes",
            vec![
                Paper::new().node(Cgroup::at(10, 0)),
                Paper::new().node(Cgroup::at(20, 200_000)),
            ],
            vec![None, Some("20u 1Mi 10s 20")],
        ),
    ];
    for (name, table, batches, expected) in table {
        let rows = ticks(&batches);
        let seen: Vec<_> = rows.iter().map(|rows| served(rows, table)).collect();
        assert_eq!(seen.iter().map(Option::as_deref).collect::<Vec<_>>(), expected, "{name}");
    }
}

#[test]
fn zero_is_a_value() {
    let idle = |time| {
        Paper::new()
            .container("p", "c", Cgroup::at(time, 0).memory(0))
            .node(Cgroup::at(time, 0).memory(0))
    };
    let rows = ticks(&[idle(10), idle(25)]);
    assert_eq!(served(&rows[1], "pods").as_deref(), Some("0 0 15s 25"));
    assert_eq!(served(&rows[1], "nodes").as_deref(), Some("0 0 15s 25"));
}

#[test]
fn a_repeated_sample_keeps_rate_and_timestamp_and_brings_new_memory() {
    let rows = ticks(&[
        pod(None, 10, 10),
        pod(None, 20, 20),
        Paper::new().container("p", "c", Cgroup::at(20, 20 * CORE_SECOND).memory(MIB / 2)),
    ]);
    assert_eq!(served(&rows[1], "pods").as_deref(), Some("1 1Mi 10s 20"));
    assert_eq!(served(&rows[2], "pods").as_deref(), Some("1 512Ki 10s 20"));
}

/// Two containers; the second has a trouble in the third batch and later ones. The pod must be whole or absent.
#[test]
fn a_container_without_a_rate_lends_its_last_one() {
    let good = |time: i64| {
        let counter = u64::try_from(time).unwrap() * CORE_SECOND;
        Paper::new()
            .container("p", "a", Cgroup::at(time, counter))
            .container("p", "b", Cgroup::at(time, 2 * counter))
            .value()
    };
    let with = |time: i64, path: &str, value: Value| {
        let mut summary = good(time);
        *summary.pointer_mut(path).unwrap() = value;
        summary
    };
    let b = "/pods/0/containers/1";
    let held = Some("1 1Mi + 2 1Mi 10s 30");
    let table = [
        (
            "damaged counter",
            with(40, &format!("{b}/cpu/usageCoreNanoSeconds"), json!(-1)),
            held,
        ),
        ("damaged time", with(40, &format!("{b}/cpu/time"), json!("soon")), held),
        ("no cpu", with(40, &format!("{b}/cpu"), Value::Null), held),
        ("no memory", with(40, &format!("{b}/memory"), json!([])), held),
        ("damaged start", with(40, b, json!({"name": "b", "startTime": 7})), held),
        (
            "counter reset",
            with(40, &format!("{b}/cpu/usageCoreNanoSeconds"), json!(5)),
            held,
        ),
        ("a name that is none", with(40, &format!("{b}/name"), json!(3)), None),
        ("no object", with(40, b, json!("b")), None),
        ("no list", with(40, "/pods/0/containers", json!("b")), None),
        (
            "finished",
            with(40, "/pods/0/containers", json!([good(40)["pods"][0]["containers"][0]])),
            Some("1 1Mi 10s 40"),
        ),
    ];
    for (name, third, expected) in table {
        let host = fake::Host::new()
            .answering("n", good(20).to_string())
            .answering("n", good(30).to_string())
            .answering("n", third.to_string());
        let mut target = fake::Target::<Summaries>::new("n");
        target.tick(&host).unwrap();
        assert_eq!(served(&target.tick(&host).unwrap(), "pods").as_deref(), held, "{name}");
        let rows = target.tick(&host).unwrap();
        assert_eq!(served(&rows, "pods").as_deref(), expected, "{name}");
        assert_eq!(
            host.logged().iter().filter(|(_, line)| line.contains("1 of 1 pods")).count(),
            1 + usize::from(expected.is_none()),
            "{name}"
        );
    }
}

#[test]
fn what_is_lent_is_bounded_by_the_nodes_clock() {
    let tick = |time: i64, damaged: bool| {
        let counter = u64::try_from(time).unwrap() * CORE_SECOND;
        let mut summary = Paper::new()
            .node(Cgroup::at(time, counter))
            .container("p", "c", Cgroup::at(time, counter))
            .value();
        if damaged {
            summary["pods"][0]["containers"][0]["cpu"] = json!("lost");
        }
        summary.to_string()
    };
    let times = [(10, false), (25, false), (40, true), (145, true), (146, true)];
    let host = times.iter().fold(fake::Host::new(), |host, (time, damaged)| {
        host.answering("n", tick(*time, *damaged))
    });
    let mut target = fake::Target::<Summaries>::new("n");
    let seen: Vec<_> = times
        .iter()
        .map(|(time, _)| {
            host.pass(u64::try_from(*time).unwrap() * 1_000_000_000 - host.monotonic());
            served(&target.tick(&host).unwrap(), "pods")
        })
        .collect();
    let good = Some("1 1Mi 15s 25".to_owned());
    assert_eq!(seen, [None, good.clone(), good.clone(), good, None]);
}

#[test]
fn a_restarted_container_keeps_its_pod_visible_until_it_has_a_rate() {
    let tick = |time: i64, start: i64, core_seconds: u64| {
        let b = Cgroup::at(time, core_seconds * CORE_SECOND).started(start);
        let a = u64::try_from(time).unwrap() * CORE_SECOND;
        Paper::new()
            .container("p", "a", Cgroup::at(time, a).started(-900))
            .container("p", "b", b)
    };
    let rows = ticks(&[tick(10, -900, 100), tick(25, -900, 130), tick(40, 37, 1), tick(55, 37, 9)]);
    let seen: Vec<_> = rows.iter().map(|rows| served(rows, "pods")).collect();
    let expected = [
        None,
        Some("1 1Mi + 2 1Mi 15s 25"),
        Some("1 1Mi + 2 1Mi 15s 25"),
        Some("1 1Mi + 533333333n 1Mi 15s 55"),
    ];
    assert_eq!(seen.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
}
