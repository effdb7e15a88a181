//! What client-go's informers hold, compared with LIST.

use std::time::Duration;

use anyhow::{Result, ensure};
use outrigger_e2e::informers::{Informers, KINDS, reconnects};
use outrigger_e2e::promise;
use outrigger_e2e::wait::{LATER, until};
use serde_json::{Value, json};

use crate::house::{House, house, pod};

const SHOP: &str = "?fieldSelector=metadata.namespace=shop";

fn start(house: &House) -> Result<Informers> {
    let kubeconfig = house.control_plane.kubeconfig_of("admin", house.control_plane.admin())?;
    Informers::start(&kubeconfig, "pods", "shop")
}

/// Waits until all three hold exactly what LIST shows.
fn agree(informers: &mut Informers, house: &House, why: &str) -> Result<Value> {
    informers.agree(why, || house.list(SHOP))
}

#[test]
fn caches_follow_publications_and_pods() {
    promise(|| {
        let house = house()?;
        let mut informers = start(&house)?;
        let first = agree(&mut informers, &house, "filled")?;
        for kind in KINDS {
            ensure!(first[kind]["lists"] == json!(0), "{kind} fell back to LIST: {}", first[kind]);
            ensure!(
                first[kind]["streamed"] == json!(1),
                "{kind} was not filled by one watch: {}",
                first[kind]
            );
        }

        // Collectors publish: versions and timestamps move, by events.
        let version = |held: &Value, kind: &str| {
            held[kind]["version"]
                .as_str()
                .and_then(|v| v.parse::<u64>().ok())
                .unwrap_or_default()
        };
        until("publications arrive", LATER, || {
            let held = informers.show()?;
            for kind in KINDS {
                ensure!(version(&held, kind) > version(&first, kind), "{kind} stands still");
                ensure!(
                    held[kind]["events"].as_i64() > first[kind]["events"].as_i64(),
                    "{kind} saw no event"
                );
            }
            Ok(())
        })?;

        house.kubectl.apply(&pod("shop", "comer", "10m 8Mi"))?;
        until("a new pod is held", LATER, || {
            let held = informers.show()?;
            for kind in KINDS {
                ensure!(held[kind]["objects"].get("shop/comer").is_some(), "{kind} does not hold it");
            }
            Ok(())
        })?;
        agree(&mut informers, &house, "a pod came")?;
        house.kubectl.run("label pod comer -n shop app=changed --overwrite")?;
        until("a label is seen", LATER, || {
            let held = informers.show()?;
            for kind in KINDS {
                ensure!(
                    held[kind]["objects"]["shop/comer"]["metadata"]["labels"]["app"] == json!("changed"),
                    "{kind}: {}",
                    held[kind]["objects"]["shop/comer"]
                );
            }
            Ok(())
        })?;
        house.kubectl.run("delete pod comer -n shop --wait=false")?;
        until("a pod that is gone is let go", LATER, || {
            let held = informers.show()?;
            for kind in KINDS {
                ensure!(held[kind]["objects"].get("shop/comer").is_none(), "{kind} holds it");
            }
            Ok(())
        })?;
        let last = agree(&mut informers, &house, "a pod went")?;
        for kind in KINDS {
            ensure!(
                reconnects(&last, kind) == 1,
                "{kind} did not stay on its one watch: {}",
                last[kind]
            );
        }
        Ok(())
    });
}

#[test]
fn caches_outlive_broken_connections() {
    promise(|| {
        let house = house()?;
        let mut informers = start(&house)?;
        let mut before = agree(&mut informers, &house, "filled")?;
        for turn in 0..3 {
            ensure!(house.way.cut() > 0, "nothing was connected");
            until("every cache has connected anew", LATER, || {
                let held = informers.show()?;
                for kind in KINDS {
                    ensure!(reconnects(&held, kind) > reconnects(&before, kind), "{kind} has not");
                }
                Ok(())
            })?;
            before = agree(&mut informers, &house, &format!("after cut {turn}"))?;
        }
        Ok(())
    });
}

#[test]
fn caches_outlive_the_host() {
    promise(|| {
        let mut house = house()?;
        let mut informers = start(&house)?;
        agree(&mut informers, &house, "filled")?;
        house.kill();
        house.kubectl.apply(&pod("shop", "newcomer", "10m 8Mi"))?;
        house.kubectl.run("delete pod five -n shop --wait=false")?;
        std::thread::sleep(Duration::from_secs(2));
        house.revive()?;
        house.outrigger()?.program().runs()?;
        until("the new host's rows are held, and no others", LATER, || {
            let held = informers.show()?;
            for kind in KINDS {
                let objects = &held[kind]["objects"];
                ensure!(
                    objects.get("shop/newcomer").is_some() && objects.get("shop/five").is_none(),
                    "{kind}: {objects}"
                );
            }
            Ok(())
        })?;
        agree(&mut informers, &house, "revived")?;
        house.kubectl.run("delete pod newcomer -n shop --wait=false")?;
        house.kubectl.apply(&pod("shop", "five", "50m 64Mi"))?;
        until("all as before", LATER, || {
            let items = house.list(SHOP)?;
            let mut names: Vec<&str> = items.iter().filter_map(|item| item["metadata"]["name"].as_str()).collect();
            names.sort_unstable();
            ensure!(names == ["five", "four", "one", "three", "two"], "{names:?}");
            Ok(())
        })
    });
}
