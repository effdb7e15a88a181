//! Plugins from bytes, with what the operator granted and configured.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use async_trait::async_trait;
use bytes::Bytes;
use outrigger_api::manifest::{Backing, Manifest};
use outrigger_api::openapi;
use outrigger_catalog::{Guest, Loads};
use outrigger_sandbox::{ArtifactCache, Capabilities, Capability, Engine, Grants, Kubelet, Limits, Plugin};

use crate::flags;

/// What the operator says of plugins, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Operator {
    grants: BTreeMap<String, Grants>,
    configs: BTreeMap<String, Bytes>,
}

/// Loads plugins into one engine.
pub(crate) struct Loader {
    pub(crate) engine: Engine,
    pub(crate) cache: Option<ArtifactCache>,
    pub(crate) operator: Operator,
    pub(crate) kubelet: Arc<dyn Kubelet>,
}

/// Stands for every plugin in a grant.
const ANY: &str = "*";

// === impl Operator ===

impl Operator {
    /// Reads `--grant` and `--plugin-config`; `also` is granted to every plugin.
    pub(crate) fn read(flags: &flags::Plugins, also: &[&str]) -> Result<Self> {
        let mut this = Self::default();
        this.grants.insert(ANY.into(), Grants::from_names(also.iter().copied())?);
        for grant in &flags.grants {
            let (plugin, capabilities) = grant
                .split_once('=')
                .ok_or_else(|| anyhow!("--grant {grant:?} is not PLUGIN=CAPABILITY[,CAPABILITY…], such as metrics=kubelet"))?;
            let names = capabilities.split(',').map(str::trim).filter(|c| !c.is_empty());
            let new = Grants::from_names(names).with_context(|| format!("--grant {grant:?}"))?;
            let all = this.grants.entry(plugin.into()).or_default();
            *all = all.iter().chain(new.iter()).collect();
        }
        for config in &flags.configs {
            let (plugin, file) = config
                .split_once('=')
                .ok_or_else(|| anyhow!("--plugin-config {config:?} is not PLUGIN=FILE"))?;
            let text = std::fs::read_to_string(file).with_context(|| format!("--plugin-config {config:?}"))?;
            // YAML reads JSON too.
            let value: serde_json::Value =
                serde_saphyr::from_str(&text).map_err(|e| anyhow!("{file} is neither YAML nor JSON: {e}"))?;
            if !value.is_object() {
                bail!("{file} must be an object");
            }
            this.configs.insert(plugin.into(), value.to_string().into());
        }
        Ok(this)
    }

    fn grants(&self, plugin: &str) -> Grants {
        [ANY, plugin]
            .iter()
            .filter_map(|of| self.grants.get(*of))
            .flat_map(Grants::iter)
            .collect()
    }
}

#[async_trait]
impl Loads for Loader {
    async fn load(&self, bytes: Bytes) -> Result<Arc<dyn Guest>, String> {
        // One deadline for a tick, background's: a shorter one here would cut --kubelet-request-timeout without a word.
        let limits = Limits {
            tick_deadline: outrigger_background::Options::default().deadline,
            ..Limits::default()
        };
        let plugin = Plugin::load_as(&self.engine, self.cache.as_ref(), bytes, limits, |manifest| {
            self.decide(manifest)
        });
        let plugin = plugin.await.map_err(|e| e.to_string())?;
        if let Some(stored) = plugin
            .manifest()
            .resources
            .iter()
            .find(|r| matches!(r.backing, Backing::Stored {}))
        {
            return Err(format!(
                "the resource {:?} is stored, and this version of the host keeps no objects",
                stored.plural
            ));
        }
        warn_of_schemas(plugin.manifest());
        Ok(Arc::new(plugin))
    }
}

// === impl Loader ===

impl Loader {
    fn decide(&self, manifest: &Manifest) -> (Grants, Capabilities) {
        let name = &manifest.name;
        let grants = self.operator.grants(name);
        let mut capabilities = Capabilities {
            kubelet: Some(self.kubelet.clone()),
            ..Capabilities::default()
        };
        if let Some(config) = self.operator.configs.get(name) {
            capabilities.config = config.clone();
        }
        let asked = manifest.capabilities.iter().filter_map(|c| c.name.parse::<Capability>().ok());
        let missing: Vec<&str> = asked.filter(|c| !grants.allows(*c)).map(Capability::name).collect();
        if !missing.is_empty() {
            let missing = missing.join(",");
            tracing::warn!(
                plugin = name,
                "asks for what is not granted and will be denied; to allow it: --grant {name}={missing}"
            );
        }
        (grants, capabilities)
    }
}

/// What of a plugin's schemas is not published as it stands; once per load, for whoever wrote them.
fn warn_of_schemas(manifest: &Manifest) {
    for resource in &manifest.resources {
        let Some(schema) = &resource.schema else { continue };
        for warning in openapi::sanitise(schema).warnings {
            tracing::warn!(plugin = manifest.name, resource = resource.plural, "schema: {warning}");
        }
    }
}

/// Where compiled plugins are kept, unless the operator says otherwise.
pub(crate) fn default_cache() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|p| p.is_absolute())
        .or_else(home);
    base.map(|base| base.join("outrigger").join("compiled"))
}
