//! kubectl makes, reads, edits and explains stored objects.

use std::os::unix::fs::PermissionsExt;
use std::slice;

use anyhow::{Result, ensure};
use outrigger_e2e::wait::{LATER, until};
use outrigger_e2e::{promise, scratch};
use serde_json::{Value, json};

use crate::house::{Namespace, fischer, flunder, house, items, refused};

/// What kubectl prints, in words.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().map(|line| line.split_whitespace().collect()).collect()
}

/// kubectl edit with an editor that carries out one command of sed.
fn edit(here: &Namespace, what: &str, command: &str) -> Result<String> {
    let editor = scratch::folder("editors")?.join(&here.name);
    std::fs::write(
        &editor,
        format!("#!/bin/sh\nPATH=/bin:/usr/bin exec sed -i '{command}' \"$1\"\n"),
    )?;
    std::fs::set_permissions(&editor, std::fs::Permissions::from_mode(0o755))?;
    let output = here
        .kubectl
        .command(&["edit", what, "-n", &here.name])
        .env("KUBE_EDITOR", &editor)
        .output()?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(output.status.success(), "{}", said(&output.stderr));
    Ok(said(&output.stdout))
}

#[test]
fn kubectl_creates_and_gets() {
    promise(|| {
        let here = house()?.namespace("reads")?;
        let made = here.send("create", &[flunder("one", "other"), flunder("two", "one")])?;
        ensure!(
            made == "flunder.wardle.example.com/one created\nflunder.wardle.example.com/two created\n",
            "{made}"
        );
        let again = refused(here.send("create", &[flunder("one", "other")]))?;
        ensure!(
            again.contains("(AlreadyExists)") && again.contains("flunders.wardle.example.com \"one\" already exists"),
            "{again}"
        );

        let table = here.run("get flunders")?;
        let lines = rows(&table);
        ensure!(lines[0] == ["NAME", "REFERENCE", "TYPE", "AGE"], "{table}");
        ensure!(
            lines[1][..2] == ["one", "Flunder"] && lines[2][..2] == ["two", "Flunder"],
            "{table}"
        );
        let wide = here.run("get flunder two -o wide --no-headers --show-labels")?;
        ensure!(
            rows(&wide)[0].first() == Some(&"two") && rows(&wide)[0].last() == Some(&"<none>"),
            "{wide}"
        );
        let yaml = here.run("get flunder one -o yaml")?;
        for line in [
            "apiVersion: wardle.example.com/v1beta1",
            "kind: Flunder",
            "  flunderReference: other",
            "  namespace: reads",
        ] {
            ensure!(yaml.lines().any(|l| l == line), "no {line} in\n{yaml}");
        }
        let object: Value = serde_json::from_str(&here.run("get flunder one -o json")?)?;
        let meta = &object["metadata"];
        ensure!(meta["uid"].as_str().is_some_and(|uid| uid.len() == 36), "{meta}");
        ensure!(
            meta["resourceVersion"].as_str().is_some_and(|rv| rv.parse::<u64>().is_ok()),
            "{meta}"
        );
        ensure!(meta["creationTimestamp"].is_string(), "{meta}");
        let old: Value = serde_json::from_str(&here.run("get flunders.v1alpha1.wardle.example.com one -o json")?)?;
        ensure!(
            old["apiVersion"] == "wardle.example.com/v1alpha1"
                && old["spec"] == json!({"reference": "other", "referenceType": "Flunder"}),
            "{old}"
        );
        ensure!(old["metadata"] == object["metadata"], "the same object in both versions");

        let names = here.run("get flunders -o name --chunk-size=1")?;
        ensure!(
            names == "flunder.wardle.example.com/one\nflunder.wardle.example.com/two\n",
            "{names}"
        );
        let one = here.run("get flunders -o name --field-selector=metadata.name=two")?;
        ensure!(one == "flunder.wardle.example.com/two\n", "{one}");
        let sorted = here.run("get flunders -o name --sort-by={.spec.flunderReference}")?;
        ensure!(
            sorted == "flunder.wardle.example.com/two\nflunder.wardle.example.com/one\n",
            "{sorted}"
        );
        let described = here.run("describe flunder one")?;
        ensure!(described.contains("Flunder Reference:  other"), "{described}");
        let none = refused(here.run("get flunder nobody"))?;
        ensure!(none.contains("(NotFound)"), "{none}");
        Ok(())
    });
}

/// What is written in the older version is kept, and read, in the newer one.
#[test]
fn kubectl_writes_the_older_version() {
    promise(|| {
        let here = house()?.namespace("old")?;
        let old = |reference: &str| {
            json!({
                "apiVersion": "wardle.example.com/v1alpha1", "kind": "Flunder", "metadata": {"name": "elder"},
                "spec": {"reference": reference, "referenceType": "Fischer"},
            })
        };
        here.send("create", &[old("one")])?;
        ensure!(
            here.flunder("elder")?["spec"] == json!({"fischerReference": "one", "referenceType": "Fischer"}),
            "{}",
            here.flunder("elder")?
        );
        here.send("replace", &[old("two")])?;
        here.run_with(
            "patch flunders.v1alpha1.wardle.example.com elder --type=merge -p",
            r#"{"metadata": {"labels": {"a": "b"}}}"#,
        )?;
        let now = here.flunder("elder")?;
        ensure!(
            now["spec"]["fischerReference"] == "two" && now["metadata"]["labels"]["a"] == "b",
            "{now}"
        );
        Ok(())
    });
}

#[test]
fn a_banned_name_is_refused() {
    promise(|| {
        let house = house()?;
        let here = house.namespace("banned")?;
        here.send("create", &[fischer("strict", &["shark", "eel"])])?;
        let list: Value = serde_json::from_str(&house.kubectl.run("get fischers -o json")?)?;
        ensure!(items(&list)[0]["disallowedFlunders"] == json!(["shark", "eel"]), "{list}");
        for how in ["create", "create --dry-run=server", "apply"] {
            let said = refused(here.send(how, &[flunder("shark", "other")]))?;
            ensure!(
                said.contains("(Forbidden)") && said.contains("this name may not be used, please change the resource name"),
                "{how}: {said}"
            );
        }
        ensure!(!here.has("shark")?, "it is kept all the same");
        house.kubectl.run_with(
            &[
                "patch",
                "fischer",
                "strict",
                "--type=merge",
                "-p",
                r#"{"disallowedFlunders": ["eel"]}"#,
            ],
            "",
        )?;
        here.send("create", &[flunder("shark", "other")])?;
        house.kubectl.run("delete fischer strict")?;
        here.send("create", &[flunder("eel", "other")])?;
        Ok(())
    });
}

#[test]
fn kubectl_edits_replaces_labels_and_annotates() {
    promise(|| {
        let here = house()?.namespace("edits")?;
        here.send("create", &[flunder("one", "before")])?;
        let first = here.flunder("one")?;
        let said = edit(&here, "flunder/one", "s/flunderReference: before/flunderReference: after/")?;
        ensure!(said.trim() == "flunder.wardle.example.com/one edited", "{said}");
        ensure!(
            here.flunder("one")?["spec"]["flunderReference"] == "after",
            "{}",
            here.flunder("one")?
        );
        let said = edit(&here, "flunder/one", "s/nothing/nothing/")?;
        ensure!(said.is_empty() || said.contains("no changes"), "{said}");

        here.run("label flunder one colour=red size=small")?;
        here.run("label flunder one colour=green --overwrite")?;
        here.run("label flunder one size-")?;
        here.run("annotate flunder one note=seen")?;
        let now = here.flunder("one")?;
        ensure!(
            now["metadata"]["labels"] == json!({"colour": "green"}) && now["metadata"]["annotations"] == json!({"note": "seen"}),
            "{now}"
        );
        let chosen = here.run("get flunders -l colour=green,size!=small -o name")?;
        ensure!(chosen == "flunder.wardle.example.com/one\n", "{chosen}");

        let stale = refused(here.send("replace", slice::from_ref(&first)))?;
        ensure!(
            stale.contains("(Conflict)")
                && stale.contains("the object has been modified; please apply your changes to the latest version and try again"),
            "{stale}"
        );
        let said = here.send("replace", &[flunder("one", "replaced")]);
        // Upstream's strategy of flunders takes no update without a version; kubectl replace sends the newest one.
        let now = here.flunder("one")?;
        ensure!(
            said.is_ok() && now["spec"]["flunderReference"] == "replaced" && now["metadata"].get("labels").is_none(),
            "{said:?}: {now}"
        );
        ensure!(now["metadata"]["uid"] == first["metadata"]["uid"], "the same object");
        here.send("replace --force", &[flunder("one", "anew")])?;
        ensure!(
            here.flunder("one")?["metadata"]["uid"] != first["metadata"]["uid"],
            "another object"
        );
        Ok(())
    });
}

#[test]
fn a_dry_run_keeps_nothing() {
    promise(|| {
        let here = house()?.namespace("dry")?;
        let said = here.send("create --dry-run=server -o json", &[flunder("one", "other")])?;
        let made: Value = serde_json::from_str(&said)?;
        let made = made["items"].get(0).unwrap_or(&made);
        ensure!(made["metadata"]["uid"].is_string(), "{made}");
        ensure!(!here.has("one")?, "a dry run has made it");
        here.send("create", &[flunder("one", "other")])?;
        let before = here.flunder("one")?;
        here.run("label flunder one colour=red --dry-run=server")?;
        here.run_with(
            "patch flunder one --dry-run=server --type=merge -p",
            r#"{"spec": {"flunderReference": "x"}}"#,
        )?;
        here.send("replace --dry-run=server", &[flunder("one", "x")])?;
        let said = here.run("delete flunder one --dry-run=server")?;
        ensure!(said.contains("(server dry run)"), "{said}");
        ensure!(here.flunder("one")? == before, "a dry run has changed it");
        Ok(())
    });
}

#[test]
fn unknown_fields_are_refused_warned_of_or_dropped() {
    promise(|| {
        let here = house()?.namespace("strict")?;
        let mut odd = flunder("odd", "other");
        odd["spec"]["sherry"] = json!("dry");
        let said = refused(here.send("create --validate=strict", slice::from_ref(&odd)))?;
        ensure!(
            said.contains("(BadRequest)") && said.contains(r#"strict decoding error: unknown field "spec.sherry""#),
            "{said}"
        );
        ensure!(!here.has("odd")?, "it is kept all the same");
        let mut wrong = flunder("wrong", "other");
        wrong["spec"]["referenceType"] = json!(5);
        let said = refused(here.send("create", &[wrong]))?;
        ensure!(said.contains("spec.referenceType"), "{said}");
        for how in ["warn", "ignore"] {
            let mut child = here
                .kubectl
                .command(&["create", "-n", &here.name, &format!("--validate={how}"), "-f", "-"]);
            let file = scratch::folder("odd")?.join(how);
            odd["metadata"]["name"] = json!(how);
            std::fs::write(&file, odd.to_string())?;
            let output = child.stdin(std::fs::File::open(&file)?).output()?;
            let warned = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.success(), "{warned}");
            ensure!(
                warned.contains(r#"Warning: unknown field "spec.sherry""#) == (how == "warn"),
                "{how}: {warned}"
            );
            ensure!(here.flunder(how)?["spec"].get("sherry").is_none(), "{}", here.flunder(how)?);
        }
        let said = refused(here.run_with("patch flunder warn --type=merge -p", r#"{"spec": {"sherry": "sweet"}}"#));
        // kubectl patch asks for no validation.
        ensure!(said.is_err(), "{said:?}");
        Ok(())
    });
}

#[test]
fn kubectl_explains_and_discovers() {
    promise(|| {
        let house = house()?;
        let kubectl = house.control_plane.kubectl_anew("home-stored")?;
        let resources = kubectl.run("api-resources --api-group=wardle.example.com --no-headers -o wide")?;
        let verbs = "create,delete,deletecollection,get,list,patch,update,watch";
        let mut lines: Vec<_> = resources
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .collect();
        lines.sort();
        ensure!(
            lines
                == [
                    vec!["fischers", "wardle.example.com/v1alpha1", "false", "Fischer", verbs],
                    vec!["flunders", "wardle.example.com/v1beta1", "true", "Flunder", verbs],
                ],
            "{resources}"
        );
        // kube-apiserver fetches the document in the background.
        until("kubectl explains", LATER, || {
            let new = kubectl.run("explain flunders.spec.flunderReference")?;
            ensure!(
                new.contains("mutually exclusive to the") && new.contains("VERSION:    v1beta1"),
                "{new}"
            );
            let old = kubectl.run("explain flunders.spec --api-version=wardle.example.com/v1alpha1 --recursive")?;
            ensure!(old.contains("reference\t<string>"), "{old}");
            let meta = kubectl.run("explain flunders.metadata.finalizers")?;
            ensure!(meta.contains("finalizers"), "{meta}");
            Ok(())
        })
    });
}
