//! Namespaces and quotas: what kube-controller-manager does with stored objects, and what is made in no namespace or in one that goes.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::Method;
use outrigger_e2e::http::Answer;
use outrigger_e2e::promise;
use outrigger_e2e::wait::{LATER, until};
use serde_json::{Value, json};

use crate::house::{Namespace, flunder, flunders, house, refused};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

fn ships(namespace: &str) -> String {
    format!("/apis/test.example.com/v2/namespaces/{namespace}/ships")
}

fn post(here: &Namespace, path: &str, object: &Value) -> Result<Answer> {
    here.api.request(Method::POST, path, &JSON, Bytes::from(object.to_string()))
}

/// Deletes a namespace, and waits until it is gone.
fn leave(here: &Namespace) -> Result<()> {
    here.kubectl.run(&format!("delete namespace {} --timeout=150s", here.name))?;
    Ok(())
}

#[test]
fn a_namespace_is_emptied() {
    promise(|| {
        let here = house()?.namespace("full")?;
        let all: Vec<Value> = (0..30).map(|n| flunder(&format!("f{n}"), "other")).collect();
        here.send("create", &all)?;
        let events = here.start("events", "get flunders -w --output-watch-events --no-headers")?;
        until("somebody watches", LATER, || {
            ensure!(events.lines()?.len() >= 30, "not yet");
            Ok(())
        })?;
        leave(&here)?;
        ensure!(here.list()?["items"] == json!([]), "{}", here.list()?);
        until("every deletion is seen", LATER, || {
            let lines = events.lines()?;
            let deleted = lines.iter().filter(|line| line.starts_with("DELETED")).count();
            ensure!(deleted == 30, "{deleted}");
            Ok(())
        })
    });
}

/// The rules of what may be stored are the plugin's, and the plugin fails: nothing is written, everything can be deleted.
#[test]
fn a_namespace_is_emptied_although_the_plugin_traps() {
    promise(|| {
        let here = house()?.namespace("wrecks")?;
        let ship = |name: &str, flag: &str| json!({"apiVersion": "test.example.com/v2", "kind": "Ship", "metadata": {"name": name}, "flag": flag, "tonnes": 5});
        for name in ["one", "two", "three"] {
            let made = post(&here, &ships("wrecks"), &ship(name, "x"))?;
            ensure!(made.status == 201, "{}: {}", made.status, made.text());
        }
        for turn in 0..8 {
            let answer = post(&here, &ships("wrecks"), &ship(&format!("wreck-{turn}"), "trap"))?;
            ensure!(
                matches!(answer.status.as_u16(), 500 | 503),
                "{}: {}",
                answer.status,
                answer.text()
            );
            ensure!(answer.json()?["kind"] == "Status", "{}", answer.text());
        }
        let said = refused(here.run_with("patch ship one --type=merge -p", r#"{"flag": "trap"}"#))?;
        ensure!(
            said.contains("InternalError") || said.contains("ServiceUnavailable"),
            "{said}"
        );
        ensure!(here.run("get ships -o name")?.lines().count() == 3, "reads go on");
        leave(&here)?;
        let left = here.api.document(&ships("wrecks"))?;
        ensure!(left["items"] == json!([]), "{left}");
        Ok(())
    });
}

#[test]
fn nothing_is_made_in_a_namespace_that_is_not_there() {
    promise(|| {
        let house = house()?;
        let nowhere = Namespace {
            name: "nowhere".into(),
            kubectl: house.kubectl.clone(),
            api: house.control_plane.api().clone(),
        };
        let said = refused(nowhere.send("create", &[flunder("one", "other")]))?;
        ensure!(
            said.contains("(NotFound)") && said.contains("namespaces \"nowhere\" not found"),
            "{said}"
        );
        ensure!(nowhere.list()?["items"] == json!([]), "what is not there is empty");
        Ok(())
    });
}

#[test]
fn nothing_is_made_in_a_namespace_that_goes() {
    promise(|| {
        let here = house()?.namespace("going")?;
        here.send("create", &[flunder("before", "other")])?;
        let mut held = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": ["e2e.example.com/hold"]}});
        held["metadata"]["namespace"] = json!(here.name);
        here.send("create", &[held])?;
        here.kubectl.run("delete namespace going --wait=false")?;
        until("it is being deleted, and the host knows", LATER, || {
            let answer = post(&here, &flunders("going"), &flunder("raw", "other"))?;
            ensure!(answer.status == 403, "{}: {}", answer.status, answer.text());
            let status = answer.json()?;
            ensure!(
                status["reason"] == "Forbidden" && status["details"]["causes"][0]["reason"] == "NamespaceTerminating",
                "{status}"
            );
            Ok(())
        })?;
        let said = refused(here.send("create", &[flunder("late", "other")]))?;
        ensure!(
            said.contains("(Forbidden)")
                && said.contains("unable to create new content in namespace going because it is being terminated"),
            "{said}"
        );
        until("what was there is gone although the namespace is held", LATER, || {
            ensure!(here.list()?["items"] == json!([]), "{}", here.list()?);
            Ok(())
        })?;
        here.run_with(
            "patch configmap held --type=merge -p",
            r#"{"metadata": {"finalizers": null}}"#,
        )?;
        until("the namespace is gone", LATER, || {
            let left = here.kubectl.run("get namespace going --ignore-not-found -o name")?;
            ensure!(left.is_empty(), "{left}");
            Ok(())
        })
    });
}

/// Counting alone: to refuse what is too much is kube-apiserver's admission, which does not see what is made behind the aggregator.
#[test]
fn a_quota_counts() {
    promise(|| {
        let here = house()?.namespace("counted")?;
        here.run("create quota flunders --hard=count/flunders.wardle.example.com=10")?;
        let used = |count: &str| {
            until(&format!("{count} are counted"), LATER, || {
                let quota: Value = serde_json::from_str(&here.run("get quota flunders -o json")?)?;
                let used = &quota["status"]["used"]["count/flunders.wardle.example.com"];
                ensure!(used.as_str().context("nothing is counted")? == count, "{quota}");
                Ok(())
            })
        };
        used("0")?;
        here.send("create", &[flunder("a", "x"), flunder("b", "x"), flunder("c", "x")])?;
        used("3")?;
        here.run("delete flunder a b")?;
        used("1")
    });
}
