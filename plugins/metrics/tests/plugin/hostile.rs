//! Input that nobody promised: bytes as summaries and as states, and real summaries with damage.

use crate::support::{CORE_SECOND, Cgroup, Paper, poll, series};
use outrigger_plugin_metrics::clocks::Moment;
use outrigger_plugin_metrics::configuration::Configuration;
use outrigger_plugin_metrics::rates::advance;
use outrigger_plugin_metrics::rows::rows;
use outrigger_plugin_metrics::state::State;
use outrigger_plugin_metrics::summary::Summary;
use outrigger_sdk::Row;
use outrigger_sdk::serde_json::{self, Value, json};
use proptest::prelude::*;

/// One tick, as the collector does it.
fn tick(state: &[u8], answer: &[u8]) -> Option<(Vec<u8>, Vec<Row>)> {
    let summary = Summary::read(answer).ok()?;
    // The first tick, and half a minute later, at which the host's clock then stands: what the node's does is a leap, beyond some seconds.
    let read = Moment(if state.is_empty() { 0 } else { 30_000_000_000 });
    let (next, samples) = advance(State::read(state), &summary, read);
    let all = Configuration {
        swap: true,
        ephemeral_storage: true,
    };
    Some((next.write(), rows("n", &samples, all)))
}

/// Two real polls: the state after the first, and the second.
fn real() -> (Vec<u8>, Value) {
    let series = series();
    let (state, _) = tick(&[], &poll(&series, 10).bytes()).unwrap();
    (state, poll(&series, 12).value())
}

/// Everything that a value in a document can be replaced by.
fn damage() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!(-5)),
        Just(json!(1.5)),
        Just(json!(u64::MAX)),
        Just(json!("")),
        Just(json!("yesterday")),
        Just(json!("9999-12-31T23:59:59Z")),
        Just(json!("1970-01-01T00:00:00Z")),
        Just(json!([])),
        Just(json!([[{}]])),
        Just(json!({})),
        Just(json!({"time": {"time": []}})),
        Just(json!(true)),
        "\\PC{0,300}".prop_map(Value::from),
    ]
}

/// Every place in a document.
fn places(of: &Value, at: &str, to: &mut Vec<String>) {
    to.push(at.to_owned());
    match of {
        Value::Object(members) => members
            .iter()
            .for_each(|(key, value)| places(value, &format!("{at}/{key}"), to)),
        Value::Array(elements) => elements
            .iter()
            .enumerate()
            .for_each(|(i, value)| places(value, &format!("{at}/{i}"), to)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn any_bytes_are_a_summary_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = tick(&[], &bytes);
    }

    #[test]
    fn any_bytes_are_a_state(bytes in prop::collection::vec(any::<u8>(), 0..400), schema: bool) {
        let (_, second) = real();
        let mut bytes = bytes;
        if schema && !bytes.is_empty() {
            bytes[0] = 2;
        }
        prop_assert!(tick(&bytes, second.to_string().as_bytes()).is_some());
    }

    #[test]
    fn a_state_with_flipped_bytes_is_read_or_not(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let (mut state, second) = real();
        for (at, byte) in flips {
            let at = at.index(state.len());
            state[at] = byte;
        }
        let (state, _) = tick(&state, second.to_string().as_bytes()).unwrap();
        prop_assert!(tick(&state, poll(&series(), 14).bytes().as_slice()).is_some());
    }

    /// Damage anywhere below one pod leaves every other row as it was, byte for byte.
    #[test]
    fn damage_in_one_pod_keeps_its_neighbours(at: prop::sample::Index, damage in damage(), which: prop::sample::Index) {
        let (state, second) = real();
        let whole = tick(&state, second.to_string().as_bytes()).unwrap().1;
        let pods = second["pods"].as_array().unwrap().len();
        let pod = which.index(pods);
        let mut all = Vec::new();
        places(&second["pods"][pod], &format!("/pods/{pod}"), &mut all);
        let place = &all[at.index(all.len())];
        let mut damaged = second.clone();
        *damaged.pointer_mut(place).unwrap() = damage;
        let name = second["pods"][pod]["podRef"]["name"].as_str().unwrap();
        let (next, rows) = tick(&state, damaged.to_string().as_bytes()).unwrap();
        for row in whole.iter().filter(|r| r.key().2 != name) {
            prop_assert!(rows.contains(row), "{place}: {:?} is lost", row.key());
        }
        // A pod under another name may have come; the one itself is whole, or absent.
        let containers = |row: &Row| serde_json::from_str::<Value>(row.fields_json()).unwrap()["containers"].as_array().map(Vec::len);
        if let (Some(before), Some(after)) = (whole.iter().find(|r| r.key().2 == name), rows.iter().find(|r| r.key().2 == name)) {
            let listed_no_more = place.ends_with("/containers");
            prop_assert!(listed_no_more || containers(before) == containers(after), "{place}");
        }
        prop_assert!(tick(&next, second.to_string().as_bytes()).is_some());
    }

    #[test]
    fn damage_in_the_node_keeps_its_pods(at: prop::sample::Index, damage in damage()) {
        let (state, second) = real();
        let whole = tick(&state, second.to_string().as_bytes()).unwrap().1;
        let mut all = Vec::new();
        places(&second["node"], "/node", &mut all);
        let mut damaged = second.clone();
        *damaged.pointer_mut(&all[at.index(all.len())]).unwrap() = damage;
        let (_, rows) = tick(&state, damaged.to_string().as_bytes()).unwrap();
        for row in whole.iter().filter(|r| r.key().0 == "pods") {
            prop_assert!(rows.contains(row), "{:?}", row.key());
        }
    }

    /// Counters, times and rates without any sense: rows are still well formed, and the state still reads.
    #[test]
    fn any_numbers_make_well_formed_rows(ticks in prop::collection::vec((0..4_000i64, any::<u64>(), prop::option::of(any::<u64>()), prop::option::of(-5_000..5_000i64), any::<u64>()), 1..20)) {
        let mut state = Vec::new();
        for (time, counter, reported, start, memory) in ticks {
            let cgroup = Cgroup { start, time, counter, reported, memory };
            let (next, rows) = tick(&state, &Paper::new().node(cgroup).container("p", "c", cgroup).bytes()).unwrap();
            for row in &rows {
                prop_assert!(serde_json::from_str::<Value>(row.fields_json()).unwrap().is_object());
                prop_assert!(serde_json::from_str::<Value>(row.cells_json()).unwrap().as_array().unwrap().len() == 3);
            }
            let read = State::read(&next);
            prop_assert_eq!(read.write(), next.clone(), "what is written is read");
            state = next;
        }
    }
}

#[test]
fn a_state_cut_off_anywhere_is_empty() {
    let (state, _) = real();
    for end in 0..state.len() {
        assert_eq!(State::read(&state[..end]), State::default(), "{end}");
    }
    assert_eq!(State::read(&[&state[..], &[0]].concat()), State::default());
    assert_ne!(State::read(&state), State::default());
}

#[test]
fn state_is_small() {
    let mut paper = Paper::new().node(Cgroup::at(10, CORE_SECOND).reporting(7));
    let mut state = Vec::new();
    for time in [20, 35, 50, 65, 80] {
        for pod in 0..110 {
            for name in ["main", "proxy"] {
                let counter = u64::try_from(time).unwrap() * 50_000_000 + 123_456_789;
                let container = Cgroup::at(time, counter).started(-3_000).reporting(50_000_000);
                paper = paper.container(&format!("deployment-7f9c6d5b8c-{pod:05}"), name, container);
            }
        }
        state = tick(&state, &paper.bytes()).unwrap().0;
        paper = Paper::new();
    }
    println!("{} bytes for 220 containers", state.len());
    assert!(state.len() < 220 * 96, "{}", state.len());
    assert_eq!(State::read(&state).containers(), 220);
}

#[test]
fn nesting_without_end_is_an_error() {
    let deep = format!("{{\"node\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(Summary::read(deep.as_bytes()).is_err() || Summary::read(deep.as_bytes()).unwrap().node.is_none());
    let deep = format!("{{\"pods\":{}{}}}", "[{\"containers\":".repeat(10_000), "}]".repeat(10_000));
    let _ = Summary::read(deep.as_bytes());
}
