//! `outrigger inspect FILE`: what a plugin is, before anybody trusts it.
//!
//! The file is read, then described in the sandbox with nothing granted. What keeps this host from serving it is one sentence,
//! and the exit code says so too. With a grants file it also says what that grants, and what comes of both.

use anyhow::{Context as _, Result, anyhow};
use outrigger_api::manifest::{Backing, Each, Manifest};
use outrigger_sandbox::{Capability, Engine, EngineOptions, Grants, Inspection, LoadOptions, Plugin};

use crate::flags::Inspect;
use crate::operator::Operator;

/// Prints; fails if the plugin cannot be served.
pub(crate) async fn inspect(flags: Inspect) -> Result<()> {
    let bytes = std::fs::read(&flags.file).with_context(|| flags.file.display().to_string())?;
    let inspection = Inspection::read(&bytes).map_err(|e| anyhow!("{}: {e}", flags.file.display()))?;
    let engine = Engine::new(&EngineOptions {
        slots: 4,
        ..EngineOptions::default()
    })?;
    let plugin = Plugin::load(&engine, None, bytes.into(), LoadOptions::default()).await;
    let manifest = plugin.as_ref().map(Plugin::manifest).ok();
    let operator = flags.grants_file.map(Operator::of_file).transpose()?;
    let rights = match (manifest, &operator) {
        (Some(manifest), Some(operator)) => Some(Rights::of(manifest, operator)?),
        _ => None,
    };
    if flags.json {
        println!("{:#}", document(&inspection, manifest, rights.as_ref()));
    } else {
        print(&inspection, manifest, rights.as_ref());
    }
    // A configuration that does not fit keeps the plugin from being served, as any other thing that does not.
    if let Some(why) = rights.and_then(|rights| rights.config.err()) {
        return Err(anyhow!("{}: {why}", flags.file.display()));
    }
    plugin.map(drop).map_err(|e| anyhow!("{}: {e}", flags.file.display()))
}

/// What is asked for, granted, and effective.
struct Rights {
    asked: Grants,
    granted: Grants,
    effective: Grants,
    config: Result<(), String>,
}

// === impl Rights ===

impl Rights {
    fn of(manifest: &Manifest, operator: &Operator) -> Result<Self> {
        let said = operator.of(&manifest.name);
        let asked = Grants::asked(manifest)?;
        Ok(Self {
            effective: asked.and(&said.grants),
            asked,
            config: said.configuration(manifest).map(drop),
            granted: said.grants,
        })
    }

    fn document(&self) -> serde_json::Value {
        let set = |grants: &Grants| -> serde_json::Value {
            let one = |c: Capability| (c.name().to_owned(), grants.details(c).into());
            serde_json::Value::Object(grants.iter().map(one).collect())
        };
        serde_json::json!({
            "asked": set(&self.asked),
            "granted": set(&self.granted),
            "effective": set(&self.effective),
            "config": self.config.as_ref().err(),
        })
    }

    fn print(&self) {
        for (title, grants) in [("granted", &self.granted), ("effective", &self.effective)] {
            println!("{title:<13} {}", if grants.iter().next().is_none() { "nothing" } else { "" });
            for capability in grants.iter() {
                let note = match () {
                    () if title == "granted" && !self.asked.allows(capability) => "not asked for",
                    () if grants.is_empty_of(capability) => "nothing of what is asked for",
                    () => "",
                };
                println!("  {:<12}{note}", capability.name());
                for line in grants.details(capability) {
                    println!("    {}", visible(&line));
                }
            }
        }
        let denied: Vec<&str> = self
            .asked
            .iter()
            .filter(|c| !self.effective.allows(*c))
            .map(Capability::name)
            .collect();
        if !denied.is_empty() {
            println!("denied        {}", denied.join(", "));
        }
    }
}

fn document(inspection: &Inspection, manifest: Option<&Manifest>, rights: Option<&Rights>) -> serde_json::Value {
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
        "grants": rights.map(Rights::document),
    })
}

fn print(inspection: &Inspection, manifest: Option<&Manifest>, rights: Option<&Rights>) {
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
    let asked = Grants::asked(manifest).ok();
    for capability in &manifest.capabilities {
        println!("  {:<12}{}", visible(&capability.name), visible(&capability.reason));
        let details = |c: Capability| asked.as_ref().map(|asked| asked.details(c)).unwrap_or_default();
        for line in capability.name.parse().map(details).unwrap_or_default() {
            println!("    {}", visible(&line));
        }
    }
    if let Some(rights) = rights {
        rights.print();
    }
    println!("serves");
    for r in &manifest.resources {
        let backing = match &r.backing {
            Backing::Table { shadow: None } => "a table".to_owned(),
            Backing::Table { shadow: Some(of) } => format!("a table, speaks of live {}", format!("{of:?}").to_lowercase()),
            Backing::Virtual { .. } => format!("virtual ({})", outrigger_catalog::verbs(r).join(", ")),
            Backing::Stored { .. } => "stored".to_owned(),
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
