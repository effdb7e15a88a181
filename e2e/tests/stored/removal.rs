//! kubectl delete, finalizers, and the garbage collector of a real cluster.

use anyhow::{Result, ensure};
use outrigger_e2e::promise;
use outrigger_e2e::wait::{LATER, until};
use serde_json::{Value, json};

use crate::house::{Namespace, flunder, flunders, house, refused};

/// A reference to a flunder or a ConfigMap as the owner of something.
fn owner(here: &Namespace, what: &str, blocks: bool) -> Result<Value> {
    let owner: Value = serde_json::from_str(&here.run(&format!("get {what} -o json"))?)?;
    Ok(json!({
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
        "blockOwnerDeletion": blocks,
    }))
}

/// A ConfigMap or a Flunder that somebody owns.
fn owned(mut object: Value, owner: &Value) -> Value {
    object["metadata"]["ownerReferences"] = json!([owner]);
    object
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

fn there(here: &Namespace, what: &str) -> Result<bool> {
    Ok(!here.run(&format!("get {what} --ignore-not-found -o name"))?.is_empty())
}

fn gone(here: &Namespace, what: &str) -> Result<()> {
    until(&format!("{what} goes"), LATER, || {
        ensure!(
            !there(here, what)?,
            "{what} is there: {}",
            here.run(&format!("get {what} -o json"))?
        );
        Ok(())
    })
}

#[test]
fn kubectl_deletes() {
    promise(|| {
        let here = house()?.namespace("deletes")?;
        let all: Vec<Value> = (0..6).map(|n| flunder(&format!("f{n}"), "other")).collect();
        here.send("create", &all)?;
        let said = here.run("delete flunder f0")?;
        ensure!(said.starts_with("flunder.wardle.example.com \"f0\" deleted"), "{said}");
        let again = refused(here.run("delete flunder f0"))?;
        ensure!(again.contains("(NotFound)"), "{again}");
        here.run("delete flunder f0 --ignore-not-found")?;
        here.run("label flunder f1 f2 set=x")?;
        here.run("delete flunders -l set=x")?;
        here.run("delete flunder f3 --now")?;
        here.run("delete flunder f4 --grace-period=0 --force")?;
        ensure!(
            here.run("get flunders -o name")? == "flunder.wardle.example.com/f5\n",
            "{}",
            here.list()?
        );
        here.run("delete flunders --all")?;
        ensure!(here.run("get flunders -o name")?.is_empty(), "{}", here.list()?);

        // Held by a finalizer: marked, still there, and gone with the last one.
        let mut held = flunder("held", "other");
        held["metadata"]["finalizers"] = json!(["e2e.example.com/hold"]);
        here.send("create", &[held])?;
        here.run("delete flunder held --wait=false")?;
        let marked = here.flunder("held")?;
        ensure!(marked["metadata"]["deletionTimestamp"].is_string(), "{marked}");
        let waiting = here.start("held", "delete flunder held --timeout=100s")?;
        let late = refused(here.run_with(
            "patch flunder held --type=json -p",
            r#"[{"op": "add", "path": "/metadata/finalizers/-", "value": "e2e.example.com/late"}]"#,
        ))?;
        ensure!(
            late.contains("no new finalizers can be added if the object is being deleted"),
            "{late}"
        );
        here.run_with("patch flunder held --type=merge -p", r#"{"metadata": {"finalizers": null}}"#)?;
        ensure!(!here.has("held")?, "it has outlived its last finalizer");
        until("kubectl has seen it go", LATER, || {
            let lines = waiting.lines()?;
            ensure!(lines.iter().any(|line| line.contains("deleted")), "{lines:?}");
            Ok(())
        })
    });
}

/// Owners of both kinds, dependants of both kinds; each cascade does what it does to built-in types.
#[test]
fn the_garbage_collector_follows_owners() {
    promise(|| {
        let here = house()?.namespace("owners")?;
        here.send(
            "create",
            &[
                flunder("background", "x"),
                flunder("orphan", "x"),
                flunder("foreground", "x"),
                config_map("map"),
            ],
        )?;
        for cascade in ["background", "orphan", "foreground"] {
            let by = owner(&here, &format!("flunder/{cascade}"), true)?;
            here.send(
                "create",
                &[
                    owned(flunder(&format!("of-{cascade}"), "x"), &by),
                    owned(config_map(&format!("of-{cascade}")), &by),
                ],
            )?;
        }
        let by = owner(&here, "configmap/map", false)?;
        here.send("create", &[owned(flunder("of-map", "x"), &by)])?;
        let nobody = json!({"apiVersion": "wardle.example.com/v1beta1", "kind": "Flunder", "name": "nobody", "uid": "00000000-0000-4000-8000-000000000000"});
        here.send("create", &[owned(config_map("of-nobody"), &nobody)])?;

        here.run("delete configmap map")?;
        here.run("delete flunder background --cascade=background")?;
        let orphaned = here.run("delete flunder orphan --cascade=orphan --wait=false")?;
        ensure!(orphaned.contains("deleted"), "{orphaned}");
        here.run("delete flunder foreground --cascade=foreground --wait=false")?;
        // The collector may have been here already.
        let held = here.api.get(&format!("{}/foreground", flunders(&here.name)))?;
        if held.status != 404 {
            let held = held.ok()?.json()?;
            ensure!(
                held["metadata"]["deletionTimestamp"].is_string()
                    && held["metadata"]["finalizers"] == json!(["foregroundDeletion"]),
                "{held}"
            );
        }
        for what in [
            "flunder/of-map",
            "flunder/of-background",
            "configmap/of-background",
            "configmap/of-nobody",
            "flunder/of-foreground",
            "configmap/of-foreground",
            "flunder/foreground",
            "flunder/orphan",
        ] {
            gone(&here, what)?;
        }
        for what in ["flunder/of-orphan", "configmap/of-orphan"] {
            ensure!(there(&here, what)?, "{what} is an orphan and stays");
            let left = here.run(&format!("get {what} -o jsonpath={{.metadata.ownerReferences}}"))?;
            ensure!(left.is_empty(), "{what} is still owned: {left}");
        }
        Ok(())
    });
}

/// Foreground: whoever blocks its owner's deletion goes first, and an owner whose dependant is held is held itself.
#[test]
fn an_owner_waits_for_who_blocks_it() {
    promise(|| {
        let here = house()?.namespace("blocked")?;
        here.send("create", &[flunder("owner", "x")])?;
        let mut held = owned(flunder("held", "x"), &owner(&here, "flunder/owner", true)?);
        held["metadata"]["finalizers"] = json!(["e2e.example.com/hold"]);
        here.send("create", &[held])?;
        here.run("delete flunder owner --cascade=foreground --wait=false")?;
        until("the collector has begun with the dependant", LATER, || {
            ensure!(here.flunder("held")?["metadata"]["deletionTimestamp"].is_string(), "not yet");
            Ok(())
        })?;
        ensure!(here.has("owner")?, "the owner has gone first");
        here.run_with("patch flunder held --type=merge -p", r#"{"metadata": {"finalizers": null}}"#)?;
        gone(&here, "flunder/owner")
    });
}
