//! Who may do what, now: the operator's word over every plugin that is loaded.
//!
//! A plugin is decided about when it is loaded, and again whenever the grants file says something else: what it is granted is swapped
//! under it, so the next call has the new grants and nothing is loaded anew. A file that cannot be used changes nothing and is said
//! once. A configuration that does not fit keeps the old one; what is granted changes all the same, since it may have been taken away.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outrigger_api::manifest::Manifest;
use outrigger_cluster::Persona;
use outrigger_sandbox::{Capabilities, Capability, Decided, Grants, Limits, Plugin, WeakPlugin};
use outrigger_server::certificates::CHECK_EVERY;
use tokio_util::sync::CancellationToken;

use crate::means::{Means, OfCluster};
use crate::operator::Operator;

/// The operator's word, and whom it was given to.
pub(crate) struct Rights {
    means: Means,
    told: Mutex<Told>,
}

struct Told {
    operator: Operator,
    plugins: Vec<WeakPlugin>,
}

/// The limits of a plugin of which nothing is said. One deadline for a tick, background's: a shorter one would cut
/// --kubelet-request-timeout without a word.
fn default_limits() -> Limits {
    Limits {
        tick_deadline: outrigger_background::Options::default().deadline,
        ..Limits::default()
    }
}

// === impl Rights ===

impl Rights {
    pub(crate) fn new(operator: Operator, means: Means) -> Self {
        let told = Told {
            operator,
            plugins: Vec::new(),
        };
        Self {
            means,
            told: Mutex::new(told),
        }
    }

    /// Lends the cluster to all plugins.
    pub(crate) fn lend(&self, cluster: OfCluster) {
        self.means.lend(cluster);
    }

    /// As whom a plugin acts in the cluster.
    pub(crate) fn persona(&self, plugin: &str) -> Persona {
        self.told().operator.of(plugin).persona(plugin)
    }

    /// What a plugin is held to before its name is known: the most that the file allows any of them, as far as it matters then.
    pub(crate) fn before(&self) -> Limits {
        self.told().operator.most(&default_limits())
    }

    /// What this plugin is granted, who answers it, and what it may cost.
    pub(crate) fn decide(&self, manifest: &Manifest) -> Result<Decided, String> {
        let said = self.told().operator.of(&manifest.name);
        let config = said.configuration(manifest)?;
        let capabilities = self.means.of(manifest, &said, config)?;
        let name = &manifest.name;
        let asked = manifest.capabilities.iter().filter_map(|c| c.name.parse::<Capability>().ok());
        let missing: Vec<&str> = asked.filter(|c| !said.grants.allows(*c)).map(Capability::name).collect();
        if !missing.is_empty() {
            let missing = missing.join(",");
            tracing::warn!(
                plugin = name,
                "asks for what is not granted and will be denied; to allow it: --grant {name}={missing}, or in the file of --grants"
            );
        }
        if !said.config.is_empty() && !said.grants.allows(Capability::Config) {
            tracing::warn!(
                plugin = name,
                "has a configuration, but is not granted the capability config, so it cannot read it"
            );
        }
        Ok(Decided {
            limits: said.limits(&default_limits()),
            grants: said.grants,
            capabilities,
        })
    }

    /// A plugin was loaded: from now on it hears of changes, those since it was decided about first.
    pub(crate) fn follow_plugin(&self, plugin: &Plugin) {
        let mut told = self.told();
        told.plugins.retain(|p| p.upgrade().is_some());
        told.plugins.push(plugin.downgrade());
        self.give(&told.operator, plugin);
    }

    /// Follows the grants file until `stop`.
    pub(crate) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        if !self.told().operator.has_file() {
            return;
        }
        let mut failing = String::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(CHECK_EVERY) => {}
            }
            let this = self.clone();
            // It reads a file.
            let outcome = tokio::task::spawn_blocking(move || this.reread()).await;
            match outcome.map_err(anyhow::Error::from).flatten() {
                Ok(_) => failing.clear(),
                Err(error) => {
                    let why = format!("{error:#}");
                    if why != failing {
                        tracing::error!("the grants file cannot be used, the old grants stay: {why}");
                        failing = why;
                    }
                }
            }
        }
    }

    /// Looks at the file; true if it says something else, and all plugins were told.
    fn reread(&self) -> anyhow::Result<bool> {
        let now = self.told().operator.clone();
        let Some(next) = now.reread()? else { return Ok(false) };
        let mut told = self.told();
        told.operator = next;
        told.plugins.retain(|p| p.upgrade().is_some());
        for plugin in told.plugins.iter().filter_map(WeakPlugin::upgrade) {
            self.give(&told.operator, &plugin);
        }
        tracing::info!(
            "the grants file has changed; {} plugins have their new grants",
            told.plugins.len()
        );
        Ok(true)
    }

    fn give(&self, operator: &Operator, plugin: &Plugin) {
        let manifest = plugin.manifest();
        let said = operator.of(&manifest.name);
        let config = said.configuration(manifest).unwrap_or_else(|why| {
            tracing::error!(plugin = manifest.name, "{why}; it keeps the configuration that it has");
            plugin.config()
        });
        match self.means.of(manifest, &said, config) {
            Ok(capabilities) => plugin.regrant(said.grants, &capabilities),
            Err(why) => {
                tracing::error!(plugin = manifest.name, "{why}; it is granted nothing until this is mended");
                plugin.regrant(Grants::none(), &Capabilities::default());
            }
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
