//! A host that ends, by order or by force, and begins again over the same objects.

use anyhow::{Context, Result, ensure};
use outrigger_e2e::promise;
use serde_json::{Value, json};

use crate::house::{House, Namespace, alone, flunder, flunders, items};

/// The events of a watch from this version on, as long as it is granted.
fn events(here: &Namespace, from: &str) -> Result<Vec<Value>> {
    let path = format!("{}?watch=true&resourceVersion={from}&timeoutSeconds=1", flunders(&here.name));
    let answer = here.api.get(&path)?.ok()?;
    answer.text().lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn version(list: &Value) -> Result<String> {
    Ok(list["metadata"]["resourceVersion"].as_str().context("a version")?.to_owned())
}

fn outlives(name: &str, end: impl FnOnce(&mut House) -> Result<()>) -> Result<()> {
    let mut house = alone()?;
    let here = house.namespace(name)?;
    let empty = version(&here.list()?)?;
    let all: Vec<Value> = (0..20).map(|n| flunder(&format!("f{n:02}"), "x")).collect();
    here.send("create", &all)?;
    here.run("label flunder f00 f01 f02 changed=yes")?;
    let middle = here.list()?;
    here.run("delete flunder f03 f04")?;
    let before = here.list()?;
    let told = events(&here, &empty)?;
    ensure!(told.len() == 25, "{} events", told.len());

    end(&mut house)?;
    house.revive()?;
    let after = here.list()?;
    ensure!(items(&after) == items(&before), "{after} and not {before}");
    ensure!(
        version(&after)?.parse::<u64>()? >= version(&before)?.parse::<u64>()?,
        "the store has gone back"
    );
    let again = events(&here, &empty)?;
    ensure!(
        again == told,
        "a watch from before tells the same: {again:?} and not {told:?}"
    );
    let then = format!(
        "{}?resourceVersion={}&resourceVersionMatch=Exact",
        flunders(&here.name),
        version(&middle)?
    );
    let then = here.api.document(&then)?;
    ensure!(then == middle, "a list of then is as it was: {then} and not {middle}");

    here.run_with("patch flunder f05 -p", r#"{"spec": {"flunderReference": "y"}}"#)?;
    here.send("create", &[flunder("f03", "again")])?;
    let later = events(&here, &version(&before)?)?;
    let seen: Vec<_> = later
        .iter()
        .map(|e| (e["type"].clone(), e["object"]["metadata"]["name"].clone()))
        .collect();
    ensure!(
        seen == [(json!("MODIFIED"), json!("f05")), (json!("ADDED"), json!("f03"))],
        "{later:?}"
    );
    let old = version(&before)?.parse::<u64>()?;
    for event in &later {
        let version = event["object"]["metadata"]["resourceVersion"].as_str().context("a version")?;
        ensure!(version.parse::<u64>()? > old, "{version} after {old}");
    }
    Ok(())
}

#[test]
fn objects_outlive_a_host_that_is_killed() {
    promise(|| {
        outlives("killed", |house| {
            house.kill();
            Ok(())
        })
    });
}

#[test]
fn objects_outlive_a_host_that_ends() {
    promise(|| outlives("ended", House::end));
}
