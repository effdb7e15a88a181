//! kubectl apply: what the client merges works; what the server is to merge is refused, not done by halves.

use std::slice;

use anyhow::ensure;
use bytes::Bytes;
use http::Method;
use outrigger_e2e::promise;
use serde_json::{Value, json};

use crate::house::{flunder, flunders, house, refused};

#[test]
fn kubectl_applies_on_its_side() {
    promise(|| {
        let here = house()?.namespace("applied")?;
        let mut one = flunder("one", "first");
        one["metadata"]["labels"] = json!({"a": "1", "b": "2"});
        let said = here.send("apply", slice::from_ref(&one))?;
        ensure!(said.trim() == "flunder.wardle.example.com/one created", "{said}");
        let said = here.send("apply", slice::from_ref(&one))?;
        ensure!(said.trim() == "flunder.wardle.example.com/one unchanged", "{said}");
        // What somebody else has added stays, what is no longer said goes.
        here.run("label flunder one c=3")?;
        one["metadata"]["labels"] = json!({"a": "one"});
        one["spec"]["flunderReference"] = json!("second");
        let dry = here.send("apply --dry-run=server", slice::from_ref(&one))?;
        ensure!(
            dry.trim() == "flunder.wardle.example.com/one configured (server dry run)",
            "{dry}"
        );
        let said = here.send("apply", &[one])?;
        ensure!(said.trim() == "flunder.wardle.example.com/one configured", "{said}");
        let now = here.flunder("one")?;
        ensure!(
            now["metadata"]["labels"] == json!({"a": "one", "c": "3"}) && now["spec"]["flunderReference"] == "second",
            "{now}"
        );
        let last = &now["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
        let last: Value = serde_json::from_str(last.as_str().unwrap_or_default())?;
        ensure!(last["spec"]["flunderReference"] == "second", "{last}");
        // The same objects, one of them no longer wanted.
        let mut two = flunder("two", "one");
        two["metadata"]["labels"] = json!({"set": "x"});
        here.send("apply", &[two])?;
        let mut three = flunder("three", "one");
        three["metadata"]["labels"] = json!({"set": "x"});
        let said = here.send(
            "apply --prune -l set=x --prune-allowlist=wardle.example.com/v1beta1/Flunder",
            &[three],
        )?;
        ensure!(said.contains("two pruned"), "{said}");
        ensure!(here.has("three")? && !here.has("two")?, "{}", here.list()?);
        Ok(())
    });
}

#[test]
fn apply_on_the_server_is_refused() {
    promise(|| {
        let here = house()?.namespace("server-side")?;
        here.send("create", &[flunder("one", "first")])?;
        let before = here.flunder("one")?;
        for name in ["one", "new"] {
            let said = refused(here.send("apply --server-side", &[flunder(name, "second")]))?;
            ensure!(said.contains("Server-side apply not available on the server"), "{said}");
            let path = format!("{}/{name}?fieldManager=e2e", flunders(&here.name));
            let headers = [("content-type", "application/apply-patch+yaml")];
            let body = Bytes::from(flunder(name, "second").to_string());
            let answer = here.api.request(Method::PATCH, &path, &headers, body)?;
            ensure!(answer.status == 415, "{}: {}", answer.status, answer.text());
            ensure!(answer.json()?["reason"] == "UnsupportedMediaType", "{}", answer.text());
        }
        ensure!(here.flunder("one")? == before && !here.has("new")?, "{}", here.list()?);
        Ok(())
    });
}
