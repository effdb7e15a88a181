//! `outrigger inspect FILE`: what a plugin is, before anybody trusts it.
//!
//! The file is read, then described in the sandbox with nothing granted. What keeps this host from serving it is one sentence,
//! and the exit code says so too.

use anyhow::{Context as _, Result, anyhow};
use outrigger_api::manifest::{Backing, Each, Manifest};
use outrigger_sandbox::{Engine, EngineOptions, Inspection, LoadOptions, Plugin};

use crate::flags::Inspect;

/// Prints; fails if the plugin cannot be served.
pub(crate) async fn inspect(flags: Inspect) -> Result<()> {
    let bytes = std::fs::read(&flags.file).with_context(|| flags.file.display().to_string())?;
    let inspection = Inspection::read(&bytes).map_err(|e| anyhow!("{}: {e}", flags.file.display()))?;
    let engine = Engine::new(&EngineOptions {
        slots: 4,
        ..EngineOptions::default()
    })?;
    let plugin = Plugin::load(&engine, None, bytes.into(), LoadOptions::default()).await;
    let manifest = plugin.as_ref().map(Plugin::manifest);
    if flags.json {
        println!("{:#}", document(&inspection, manifest.ok()));
    } else {
        print(&inspection, manifest.ok());
    }
    plugin.map(drop).map_err(|e| anyhow!("{}: {e}", flags.file.display()))
}

fn document(inspection: &Inspection, manifest: Option<&Manifest>) -> serde_json::Value {
    let names = |all: &mut dyn Iterator<Item = &'static str>| all.collect::<Vec<_>>();
    serde_json::json!({
        "digest": inspection.digest,
        "size": inspection.size,
        "builtWith": inspection.built_with,
        "contract": inspection.contract,
        "roles": names(&mut inspection.roles.iter().map(|r| r.name())),
        "capabilities": names(&mut inspection.capabilities.iter().map(|c| c.name())),
        "wasi": inspection.wasi,
        "manifest": manifest,
    })
}

fn print(inspection: &Inspection, manifest: Option<&Manifest>) {
    let list = |all: Vec<&str>| if all.is_empty() { "none".to_owned() } else { all.join(", ") };
    let built = inspection.built_with.as_ref().map_or("unknown", |b| &b.sdk);
    println!("digest        sha256:{}", inspection.digest);
    println!("size          {} bytes", inspection.size);
    println!("built with    SDK {built}, contract {}", inspection.contract);
    println!("roles         {}", list(inspection.roles.iter().map(|r| r.name()).collect()));
    println!(
        "imports       {}",
        list(inspection.capabilities.iter().map(|c| c.name()).collect())
    );
    let Some(manifest) = manifest else { return };
    println!("plugin        {} {}", manifest.name, visible(&manifest.version));
    if !manifest.description.is_empty() {
        println!("              {}", visible(&manifest.description));
    }
    println!(
        "asks for      {}",
        if manifest.capabilities.is_empty() { "nothing" } else { "" }
    );
    for capability in &manifest.capabilities {
        println!("  {:<12}{}", visible(&capability.name), visible(&capability.reason));
    }
    println!("serves");
    for r in &manifest.resources {
        let backing = match &r.backing {
            Backing::Table { shadow: None } => "a table".to_owned(),
            Backing::Table { shadow: Some(of) } => format!("a table, speaks of live {}", format!("{of:?}").to_lowercase()),
            Backing::Virtual { .. } => format!("virtual ({})", outrigger_catalog::verbs(r).join(", ")),
            Backing::Stored {} => "stored".to_owned(),
        };
        println!(
            "  {}.{} ({}), kind {}: {backing}",
            r.plural,
            r.group,
            r.versions.join(", "),
            r.kind
        );
        for s in &r.subresources {
            println!("    {}/{}", r.plural, s.name);
        }
    }
    println!("runs");
    for c in &manifest.collectors {
        let each = match c.each {
            Each::Once => "once",
            Each::Node => "for each node",
            Each::Object => "for each object",
        };
        println!(
            "  {} {each} every {} s, fills {}",
            c.name,
            c.interval_seconds,
            c.fills.join(", ")
        );
    }
    for c in &manifest.controllers {
        println!("  controller {} for {}.{}", c.name, c.primary.resource, c.primary.group);
    }
}

/// A stranger's text, without what a terminal would obey.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}
