//! client-go's caches as a reader: `e2e/peer/informers`, three shared informers on one resource, compared with what LIST shows.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::peer::{self, Conversation};
use crate::wait::{LATER, until};

/// The clients, each with an informer.
pub const KINDS: [&str; 3] = ["typed", "dynamic", "metadata"];

/// Three informers in a process of their own. Dropped, it is killed.
#[derive(Debug)]
pub struct Informers(Conversation);

// === impl Informers ===

impl Informers {
    /// Starts them on one of the APIs that the program knows (`pods` of metrics.k8s.io, `flunders`), in one namespace.
    ///
    /// # Errors
    /// The program cannot be built or started.
    pub fn start(kubeconfig: &Path, api: &str, namespace: &str) -> Result<Self> {
        let mut command = Command::new(peer::program("informers")?);
        command.arg("--kubeconfig").arg(kubeconfig);
        command.args(["--api", api, "--namespace", namespace]);
        Ok(Self(Conversation::start(&mut command)?))
    }

    /// What they hold and did: by kind `synced`, `lists`, `watches`, `streamed`, `events`, `version`, `back`, `objects`.
    ///
    /// # Errors
    /// The program has ended.
    pub fn show(&mut self) -> Result<Value> {
        self.0.ask("")
    }

    /// Waits until all three hold exactly the items that `list` shows, versions and all.
    ///
    /// # Errors
    /// They do not, in [`LATER`].
    pub fn agree(&mut self, why: &str, list: impl Fn() -> Result<Vec<Value>>) -> Result<Value> {
        until(&format!("{why}: the caches hold what LIST shows"), LATER, || {
            let held = self.show()?;
            let listed: BTreeMap<String, Value> = list()?.into_iter().map(|item| (key(&item), item)).collect();
            for kind in KINDS {
                let cache = held.get(kind).context("an informer of each kind")?;
                ensure!(
                    at(cache, "/synced") == &Value::Bool(true),
                    "{kind} is not synced: {}",
                    brief(cache)
                );
                let objects = at(cache, "/objects").as_object().context("objects by name")?;
                let differ = |name: &&String| objects.contains_key(*name) != listed.contains_key(*name);
                let others: Vec<&String> = objects.keys().chain(listed.keys()).filter(differ).take(5).collect();
                ensure!(
                    others.is_empty(),
                    "{kind} holds {}, LIST shows {}; {others:?} … are not in both",
                    objects.len(),
                    listed.len()
                );
                for (name, object) in objects {
                    let expected = seen_by(kind, listed.get(name).unwrap_or(&Value::Null));
                    let object = seen_by(kind, object);
                    ensure!(object == expected, "{kind} of {name}: {object} and not {expected}");
                }
            }
            Ok(held)
        })
    }
}

/// How often a cache has filled or opened anew.
#[must_use]
pub fn reconnects(held: &Value, kind: &str) -> i64 {
    let counts = ["lists", "watches", "streamed"].map(|how| at(held, &format!("/{kind}/{how}")).as_i64().unwrap_or_default());
    counts.into_iter().sum()
}

/// What a cache is said to have done, without what it holds.
#[must_use]
pub fn brief(cache: &Value) -> Value {
    let mut brief = cache.clone();
    if let Some(fields) = brief.as_object_mut() {
        fields.remove("objects");
    }
    brief
}

fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    value.pointer(path).unwrap_or(&Value::Null)
}

fn key(item: &Value) -> String {
    let text = |path| at(item, path).as_str().unwrap_or_default();
    format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"))
}

/// An object as this kind of client can see it: a list's items have no type, and Go's types say a status that is empty.
fn seen_by(kind: &str, object: &Value) -> Value {
    let mut seen = object.clone();
    if let Some(fields) = seen.as_object_mut() {
        fields.retain(|name, value| match name.as_str() {
            "kind" | "apiVersion" => false,
            "metadata" => true,
            "status" | "spec" => kind != "metadata" && value.as_object().is_none_or(|fields| !fields.is_empty()),
            _ => kind != "metadata",
        });
    }
    seen
}
