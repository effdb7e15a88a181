//! client-go's caches stay equal to the store while several writers are at work, connections break and the host is killed.

use std::ops::Range;

use anyhow::{Result, ensure};
use outrigger_e2e::informers::{Informers, KINDS, brief, reconnects};
use outrigger_e2e::promise;
use outrigger_e2e::wait::{LATER, until};
use serde_json::json;

use crate::house::{House, Namespace, alone, items};
use crate::writers::Writers;

const CHANGES: usize = 10_000;
/// What breaks, and after how many changes. client-go waits twice as long each time, so these are few.
const ENDS: [(usize, End); 3] = [(3_000, End::Connections), (6_000, End::Host), (8_500, End::Connections)];
/// Changes that are made while nobody watches.
const MEANWHILE: usize = 500;
const WRITERS: Range<u64> = 0..8;

#[derive(Clone, Copy)]
enum End {
    Connections,
    Host,
}

fn start(house: &House, here: &Namespace) -> Result<Informers> {
    let kubeconfig = house.control_plane.kubeconfig_of("admin", house.control_plane.admin())?;
    Informers::start(&kubeconfig, "flunders", &here.name)
}

/// No object's version has ever gone back.
fn onwards(held: &serde_json::Value) -> Result<()> {
    for kind in KINDS {
        ensure!(held[kind]["back"] == json!([]), "{kind}: {}", held[kind]["back"]);
    }
    Ok(())
}

#[test]
fn caches_stay_equal_to_the_store() {
    promise(|| {
        let mut house = alone()?;
        let here = house.namespace("many")?;
        let list = || Ok(items(&here.list()?));
        let mut informers = start(&house, &here)?;
        let first = informers.agree("empty", list)?;
        for kind in KINDS {
            ensure!(
                first[kind]["lists"] == json!(0) && first[kind]["streamed"] == json!(1),
                "{kind} was not filled by one watch: {}",
                brief(&first[kind])
            );
        }
        // The writers go the same way as the aggregator, so a cut breaks them as well.
        let client = house
            .outrigger()?
            .client(Some(house.control_plane.admin()))?
            .at(house.way.address());
        let mut writers = Writers::start(&client, &here.name, WRITERS, CHANGES);
        let mut before = first;
        for (at, end) in ENDS {
            writers.reach(at)?;
            informers.agree("while nothing is cut", list)?;
            writers.allow(at + MEANWHILE);
            match end {
                End::Connections => ensure!(house.way.cut() > 0, "nothing was connected"),
                End::Host => {
                    house.kill();
                    house.revive()?;
                }
            }
            until("every cache has connected anew", LATER, || {
                let held = informers.show()?;
                for kind in KINDS {
                    ensure!(reconnects(&held, kind) > reconnects(&before, kind), "{kind} has not");
                }
                before = held;
                Ok(())
            })?;
            onwards(&before)?;
        }
        let changes = writers.finish()?;
        ensure!(changes >= CHANGES, "{changes}");
        let last = informers.agree("after all changes", list)?;
        onwards(&last)?;
        for kind in KINDS {
            println!("{kind}: {}", brief(&last[kind]));
        }
        // Whoever comes later sees the same.
        start(&house, &here)?.agree("a newcomer", list)?;
        here.kubectl.run("delete namespace many --wait=false")?;
        Ok(())
    });
}
