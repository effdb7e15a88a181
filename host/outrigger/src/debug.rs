//! `/debug/plugins`: every plugin that is served, as its operator wants to see it when something is wrong.
//!
//! What it may (grants, limits), what it did (counts), how it is (set aside or not), and how it failed lately, with the guest's own last
//! words and where it was. A path like any other: who may read it is a matter of RBAC's `nonResourceURLs`. Nothing secret is in
//! there: no configuration, no state, no object.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outrigger_api::time::{Timestamp, go_duration};
use outrigger_background::{Collectors, Controllers};
use outrigger_catalog::{Catalog, Installed};
use outrigger_sandbox::{Capability, Counts, Failed, Origin, Plugin};
use outrigger_server::Document;
use serde_json::{Map, Value, json};

/// Writes the document from what is served then, and from what runs for it.
pub(crate) fn document(catalog: Arc<Catalog>, collectors: Arc<Collectors>, controllers: Arc<Controllers>) -> Document {
    Arc::new(move || {
        let snapshot = catalog.snapshot();
        let (ticks, loops) = (collectors.status(), controllers.status());
        let runs = |installed: &Installed| {
            let mut all = plugin(installed);
            let name = &installed.guest.manifest().name;
            let own = |status: Vec<Value>| (!status.is_empty()).then_some(status);
            let ticks = own(ticks.iter().filter(|c| c.plugin == *name).map(|c| json!(c)).collect());
            let loops = own(loops.iter().filter(|c| c.plugin == *name).map(|c| json!(c)).collect());
            if let Some(all) = all.as_object_mut() {
                all.extend(ticks.map(|t| ("collectors".to_owned(), json!(t))));
                all.extend(loops.map(|l| ("controllers".to_owned(), json!(l))));
            }
            all
        };
        let plugins: Vec<Value> = snapshot.plugins().values().map(runs).collect();
        let mut text = serde_json::to_vec_pretty(&json!({ "plugins": plugins })).unwrap_or_default();
        text.push(b'\n');
        text
    })
}

fn plugin(installed: &Installed) -> Value {
    let manifest = installed.guest.manifest();
    let mut all = json!({
        "name": manifest.name,
        "version": manifest.version,
        "digest": format!("sha256:{}", installed.guest.digest()),
        "origin": &*installed.origin,
    });
    if let (Some(plugin), Some(all)) = (installed.guest.sandboxed(), all.as_object_mut()) {
        sandboxed(plugin, all);
    }
    all
}

fn sandboxed(plugin: &Plugin, all: &mut Map<String, Value>) {
    let aside: Vec<Value> = plugin
        .set_aside()
        .iter()
        .map(|(call, left)| json!({"call": call, "retryAfter": go_duration(whole(*left))}))
        .collect();
    let state = if aside.is_empty() { "Serving" } else { "SetAside" };
    let code = match plugin.origin() {
        Origin::Cached => "cached",
        Origin::Compiled => "compiled",
    };
    let limits: Map<String, Value> = plugin
        .limits()
        .figures()
        .iter()
        .map(|(n, v)| ((*n).into(), json!(v)))
        .collect();
    let grants: Vec<&str> = plugin.grants().iter().map(Capability::name).collect();
    for (name, value) in [
        ("state", json!(state)),
        ("setAside", json!(aside)),
        ("code", json!(code)),
        ("grants", json!(grants)),
        ("limits", Value::Object(limits)),
        ("counts", counts(&plugin.counts())),
        ("failures", plugin.failures().iter().rev().map(failure).collect()),
    ] {
        all.insert(name.to_owned(), value);
    }
}

fn counts(counts: &Counts) -> Value {
    let failed: Map<String, Value> = counts.failed.iter().map(|(why, n)| ((*why).into(), json!(n))).collect();
    let host_calls: Map<String, Value> = counts
        .capabilities
        .iter()
        .map(|c| (c.capability.name().into(), json!({"calls": c.calls, "denied": c.denials})))
        .collect();
    json!({
        "succeeded": counts.succeeded,
        "failed": failed,
        "inFlight": counts.in_flight,
        "waiting": counts.waiting,
        "cpuSeconds": counts.cpu.as_secs_f64(),
        "rowsRefused": counts.rows_refused,
        "logLines": counts.lines,
        "logLinesDropped": counts.lines_dropped,
        "hostCalls": host_calls,
    })
}

fn failure(failed: &Failed) -> Value {
    let ago = SystemTime::now().duration_since(failed.at).unwrap_or_default();
    let mut all = json!({
        "time": Timestamp::from(failed.at),
        "ago": go_duration(whole(ago)),
        "call": failed.call,
        "reason": failed.reason,
        "message": failed.message,
    });
    if let (Some(panic), Some(all)) = (&failed.panic, all.as_object_mut()) {
        all.insert("panic".into(), json!({"message": panic.message, "location": panic.location}));
    }
    if let (false, Some(all)) = (failed.frames.is_empty(), all.as_object_mut()) {
        all.insert("frames".into(), json!(failed.frames));
    }
    all
}

fn whole(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}
