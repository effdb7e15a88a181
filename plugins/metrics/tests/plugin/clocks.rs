//! Clocks that are set, machines that boot, counters that begin anew: no rate is served that nobody worked.
//!
//! Every case is a node and a container that use one core in truth, told by a kubelet whose clock goes wrong in some way. What is
//! served must be one core, under whatever time, or nothing.

use crate::support::{CORE_SECOND, Cgroup, Paper, T0};
use outrigger_plugin_metrics::Summaries;
use outrigger_sdk::prelude::*;
use outrigger_sdk::serde_json::{self, Value};

/// One tick: the host's clock, the node's, core-seconds of the node and of the container, when each says that it started; all in seconds.
#[derive(Clone, Copy)]
struct Told {
    host: u64,
    node: i64,
    counter: u64,
    own: u64,
    boot: Option<i64>,
    start: Option<i64>,
}

fn told(host: u64, node: i64, counter: u64) -> Told {
    Told {
        host,
        node,
        counter,
        own: counter,
        boot: None,
        start: None,
    }
}

impl Told {
    fn boot(self, boot: i64) -> Self {
        Self {
            boot: Some(boot),
            ..self
        }
    }

    fn start(self, start: i64) -> Self {
        Self {
            start: Some(start),
            ..self
        }
    }

    fn own(self, own: u64) -> Self {
        Self { own, ..self }
    }

    fn bytes(&self) -> Vec<u8> {
        let of = |counter: u64, start| Cgroup {
            start,
            ..Cgroup::at(self.node, counter * CORE_SECOND)
        };
        let paper = Paper::new().node(of(self.counter, self.boot));
        paper.container("p", "c", of(self.own, self.start)).bytes()
    }
}

/// What is served of the node and of the pod after each tick: `cores @ seconds-after-T0`, `-` for nothing.
fn served(ticks: &[Told]) -> Vec<String> {
    let host = ticks
        .iter()
        .fold(fake::Host::new(), |host, told| host.answering("n", told.bytes()));
    let mut target = fake::Target::<Summaries>::new("n");
    let said = |rows: &[Row], table: &str| -> String {
        let Some(row) = rows.iter().find(|r| r.key().0 == table) else {
            return "-".into();
        };
        let fields: Value = serde_json::from_str(row.fields_json()).unwrap();
        let usage = fields.get("usage").unwrap_or(&fields["containers"][0]["usage"]);
        let at = outrigger_plugin_metrics::time::parse(fields["timestamp"].as_str().unwrap()).unwrap() - T0;
        format!("{} @ {at}", usage["cpu"].as_str().unwrap())
    };
    let mut all = Vec::new();
    for told in ticks {
        host.pass(told.host * 1_000_000_000 - host.monotonic());
        let rows = target.tick(&host).unwrap();
        let (node, pod) = (said(&rows, "nodes"), said(&rows, "pods"));
        all.push(if node == pod { node } else { format!("{node}, pod {pod}") });
    }
    all
}

#[test]
fn a_rate_is_true_or_absent() {
    const HOUR: i64 = 3_600;
    let table: Vec<(&str, Vec<Told>, Vec<&str>)> = vec![
        (
            "nothing happens",
            vec![told(0, 5_000, 100), told(15, 5_015, 115), told(30, 5_030, 130)],
            vec!["-", "1 @ 5015", "1 @ 5030"],
        ),
        (
            "a minute ahead: the last good value, moved along, then rates of the new time",
            vec![
                told(0, 5_000, 100),
                told(15, 5_015, 115),
                told(30, 5_090, 130),
                told(45, 5_105, 145),
            ],
            vec!["-", "1 @ 5015", "1 @ 5075", "1 @ 5105"],
        ),
        (
            "an hour ahead",
            vec![
                told(0, 5_000, 100),
                told(15, 5_015, 115),
                told(30, 5_030 + HOUR, 130),
                told(45, 5_045 + HOUR, 145),
            ],
            vec!["-", "1 @ 5015", "1 @ 8615", "1 @ 8645"],
        ),
        (
            "an hour ahead of the first rate",
            vec![told(0, 5_000, 100), told(15, 5_015 + HOUR, 115), told(30, 5_030 + HOUR, 130)],
            vec!["-", "-", "1 @ 8630"],
        ),
        (
            "an hour back: nothing until there are two samples",
            vec![
                told(0, 5_000, 100),
                told(15, 5_015, 115),
                told(30, 5_030 - HOUR, 130),
                told(45, 5_045 - HOUR, 145),
            ],
            vec!["-", "1 @ 5015", "-", "1 @ 1445"],
        ),
        (
            "less than a minute back, within the window: the last good value, which is still the past",
            vec![
                told(0, 5_000, 100),
                told(60, 5_060, 160),
                told(120, 5_075, 220),
                told(180, 5_135, 280),
            ],
            vec!["-", "1 @ 5060", "1 @ 5060", "1 @ 5135"],
        ),
        (
            "back by less than sampling explains, but more work at an earlier time",
            vec![
                told(0, 5_000, 100),
                told(15, 5_015, 115),
                told(30, 5_012, 130),
                told(45, 5_027, 145),
            ],
            vec!["-", "1 @ 5015", "-", "1 @ 5027"],
        ),
        (
            "to and fro",
            vec![
                told(0, 5_000, 100),
                told(15, 5_015, 115),
                told(30, 5_030 + HOUR, 130),
                told(45, 5_045, 145),
                told(60, 5_060, 160),
            ],
            vec!["-", "1 @ 5015", "1 @ 8615", "-", "1 @ 5060"],
        ),
        (
            "back an hour, and an hour later the container's start is no fresh start",
            vec![
                told(0, 5_000, 100).start(4_990).own(10),
                told(15, 5_015 - HOUR, 115).start(4_990).own(25),
                told(30, 5_030 - HOUR, 130).start(4_990).own(40),
                told(HOUR as u64 - 15, 4_985, 100 + HOUR as u64 - 15)
                    .start(4_990)
                    .own(HOUR as u64 - 5),
                told(HOUR as u64, 5_000, 100 + HOUR as u64).start(4_990).own(HOUR as u64 + 10),
            ],
            vec!["-, pod 1 @ 5000", "-", "1 @ 1430", "-", "1 @ 5000"],
        ),
        (
            "ahead by a minute: a start before that dates nothing",
            vec![
                told(0, 5_000, 100).start(4_998).own(2),
                told(15, 5_075, 115).start(4_998).own(17),
                told(18, 5_078, 118).start(4_998).own(20),
                told(30, 5_090, 130).start(4_998).own(32),
            ],
            vec!["-", "-", "-", "1 @ 5090"],
        ),
        (
            "a reboot",
            vec![
                told(0, 5_000, 100).boot(1_000),
                told(15, 5_015, 115).boot(1_000),
                told(75, 5_075, 20).boot(5_055).start(5_060).own(15),
                told(90, 5_090, 35).boot(5_055).start(5_060).own(30),
            ],
            vec!["-", "1 @ 5015", "1 @ 5015, pod 1 @ 5075", "1 @ 5090"],
        ),
        (
            "a reboot whose counter has overtaken the old one",
            vec![
                told(0, 5_000, 10).boot(4_990),
                told(15, 5_015, 25).boot(4_990),
                told(75, 5_075, 40).boot(5_055).start(5_060).own(15),
                told(90, 5_090, 55).boot(5_055).start(5_060).own(30),
            ],
            vec!["-", "1 @ 5015", "1 @ 5015, pod 1 @ 5075", "1 @ 5090"],
        ),
        (
            "a kubelet that takes a young cgroup for the boot",
            vec![
                told(0, 5_000, 900_000).boot(1_000),
                told(15, 5_015, 900_015).boot(1_000),
                told(30, 5_030, 900_030).boot(5_020),
            ],
            vec!["-", "1 @ 5015", "1 @ 5030"],
        ),
        (
            "a boot time that wavers",
            vec![
                told(0, 5_000, 100).boot(1_000),
                told(15, 5_015, 115).boot(1_001),
                told(30, 5_030, 130).boot(999),
            ],
            vec!["-", "1 @ 5015", "1 @ 5030"],
        ),
        (
            "the same sample twice, and the kubelet asleep for a minute",
            vec![
                told(0, 5_000, 100),
                told(15, 5_015, 115),
                told(30, 5_015, 115),
                told(45, 5_015, 115),
                told(75, 5_075, 175),
            ],
            vec!["-", "1 @ 5015", "1 @ 5015", "1 @ 5015", "1 @ 5075"],
        ),
        (
            "ticks that failed: five minutes between two answers",
            vec![told(0, 5_000, 100), told(15, 5_015, 115), told(315, 5_315, 415)],
            vec!["-", "1 @ 5015", "1 @ 5315"],
        ),
    ];
    for (name, ticks, expected) in table {
        assert_eq!(served(&ticks), expected, "{name}");
    }
}

#[test]
fn a_leap_is_logged() {
    let ticks = [told(0, 5_000, 100), told(15, 5_075, 115)];
    let host = ticks
        .iter()
        .fold(fake::Host::new(), |host, told| host.answering("n", told.bytes()));
    let mut target = fake::Target::<Summaries>::new("n");
    for told in ticks {
        host.pass(told.host * 1_000_000_000 - host.monotonic());
        target.tick(&host).unwrap();
    }
    let lines: Vec<String> = host
        .logged()
        .into_iter()
        .map(|(_, line)| line)
        .filter(|l| l.contains("leapt"))
        .collect();
    assert_eq!(lines, ["the clock of n has leapt by 60 s; its rates start anew"]);
}
