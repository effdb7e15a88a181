//! What client-go's informers hold, compared with LIST.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_e2e::peer::{self, Conversation};
use outrigger_e2e::promise;
use outrigger_e2e::wait::{LATER, until};
use serde_json::{Value, json};

use crate::house::{House, house, pod};

const KINDS: [&str; 3] = ["typed", "dynamic", "metadata"];

/// Three informers in a process of their own.
struct Informers(Conversation);

impl Informers {
    fn start(house: &House) -> Result<Self> {
        let kubeconfig = house.control_plane.kubeconfig_of("admin", house.control_plane.admin())?;
        let mut command = Command::new(peer::program("informers")?);
        command.arg("--kubeconfig").arg(kubeconfig).args(["--namespace", "shop"]);
        Ok(Self(Conversation::start(&mut command)?))
    }

    fn show(&mut self) -> Result<Value> {
        self.0.ask("")
    }

    /// Waits until all three hold exactly what LIST shows.
    fn agree(&mut self, house: &House, why: &str) -> Result<Value> {
        until(&format!("{why}: the caches hold what LIST shows"), LATER, || {
            let held = self.show()?;
            let listed = listed(house)?;
            for kind in KINDS {
                let cache = &held[kind];
                ensure!(cache["synced"] == json!(true), "{kind} is not synced: {cache}");
                let objects: BTreeMap<String, Value> = serde_json::from_value(cache["objects"].clone())?;
                let names = |map: &BTreeMap<String, Value>| map.keys().cloned().collect::<Vec<_>>().join(" ");
                ensure!(
                    objects.len() == listed.len(),
                    "{kind}: {} and not {}",
                    names(&objects),
                    names(&listed)
                );
                for (name, object) in &objects {
                    let expected = listed
                        .get(name)
                        .with_context(|| format!("{kind} holds {name}, which LIST does not show"))?;
                    let expected = seen_by(kind, expected);
                    ensure!(
                        without_type(object) == expected,
                        "{kind} of {name}: {object} and not {expected}"
                    );
                }
            }
            Ok(held)
        })
    }
}

fn listed(house: &House) -> Result<BTreeMap<String, Value>> {
    let items = house.list("?fieldSelector=metadata.namespace=shop")?;
    Ok(items
        .into_iter()
        .map(|item| {
            (
                format!("shop/{}", item["metadata"]["name"].as_str().unwrap_or_default()),
                item,
            )
        })
        .collect())
}

/// What this kind of client can see of a list's item.
fn seen_by(kind: &str, item: &Value) -> Value {
    match kind {
        "metadata" => json!({"metadata": item["metadata"]}),
        _ => item.clone(),
    }
}

fn without_type(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    object
}

/// How often a cache has filled or opened anew.
fn reconnects(held: &Value, kind: &str) -> i64 {
    ["lists", "watches", "streamed"]
        .iter()
        .filter_map(|how| held[kind][how].as_i64())
        .sum()
}

#[test]
fn caches_follow_publications_and_pods() {
    promise(|| {
        let house = house()?;
        let mut informers = Informers::start(&house)?;
        let first = informers.agree(&house, "filled")?;
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
        informers.agree(&house, "a pod came")?;
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
        let last = informers.agree(&house, "a pod went")?;
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
        let mut informers = Informers::start(&house)?;
        let mut before = informers.agree(&house, "filled")?;
        for turn in 0..3 {
            ensure!(house.way.cut() > 0, "nothing was connected");
            until("every cache has connected anew", LATER, || {
                let held = informers.show()?;
                for kind in KINDS {
                    ensure!(reconnects(&held, kind) > reconnects(&before, kind), "{kind} has not");
                }
                Ok(())
            })?;
            before = informers.agree(&house, &format!("after cut {turn}"))?;
        }
        Ok(())
    });
}

#[test]
fn caches_outlive_the_host() {
    promise(|| {
        let mut house = house()?;
        let mut informers = Informers::start(&house)?;
        informers.agree(&house, "filled")?;
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
        informers.agree(&house, "revived")?;
        house.kubectl.run("delete pod newcomer -n shop --wait=false")?;
        house.kubectl.apply(&pod("shop", "five", "50m 64Mi"))?;
        until("all as before", LATER, || {
            let names: Vec<String> = listed(&house)?.into_keys().collect();
            ensure!(
                names == ["shop/five", "shop/four", "shop/one", "shop/three", "shop/two"],
                "{names:?}"
            );
            Ok(())
        })
    });
}
