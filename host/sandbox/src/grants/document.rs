//! The grants file: what the operator allows each plugin, in one YAML document.
//!
//! These types are its published schema (`docs/grants.schema.json`, kept equal by a test). Unknown fields are refused, so that a misspelt
//! one is noticed before somebody relies on it. A field of a capability that is there and empty (`events:`) is refused too: it could
//! mean all or nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use outrigger_manifest::ObjectRule;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::hosts::HostPattern;
use crate::limits::Limits;
use crate::limits_spec::LimitsSpec;

/// The grants file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrantsFile {
    /// `outrigger.dev/v1alpha1`.
    pub api_version: String,
    /// `Grants`.
    pub kind: String,
    /// By the plugin's name in its manifest; `"*"` is for every plugin, and adds to what stands under a plugin's own name.
    #[serde(default)]
    pub plugins: BTreeMap<String, PluginGrant>,
}

/// What one plugin is granted and told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginGrant {
    /// What it may use, as far as its manifest asks for it.
    #[serde(default)]
    pub capabilities: CapabilityGrants,
    /// Its configuration: any object that fits the manifest's `config` schema. The plugin reads it with the capability `config`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Map<String, Value>>,
    /// What it may cost; what is not said has the host's defaults. It holds for a plugin that is loaded from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsSpec>,
    /// As whom it acts on objects; absent: the user `outrigger:plugin:NAME` in the group `outrigger:plugins`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityGrant>,
}

/// Capabilities by the names of the contract. What is absent is denied.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CapabilityGrants {
    /// Summaries of kubelets.
    #[serde(default, deserialize_with = "there", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Plain")]
    pub kubelet: Option<Plain>,
    /// The operator's configuration.
    #[serde(default, deserialize_with = "there", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Plain")]
    pub config: Option<Plain>,
    /// Kubernetes objects: rules in RBAC's words, `*` for everything.
    #[serde(default, deserialize_with = "there", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<ObjectRule>")]
    pub objects: Option<Vec<ObjectRule>>,
    /// HTTP to hosts outside.
    #[serde(default, deserialize_with = "there", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "HttpGrant")]
    pub http: Option<HttpGrant>,
    /// Small durable state.
    #[serde(default, deserialize_with = "there", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "KvGrant")]
    pub kv: Option<KvGrant>,
    /// Events on objects.
    #[serde(default, deserialize_with = "there", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Plain")]
    pub events: Option<Plain>,
    /// Series of its own.
    #[serde(default, deserialize_with = "there", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "MetricsGrant")]
    pub metrics: Option<MetricsGrant>,
    /// Secrets, by the names that the manifest uses.
    #[serde(default, deserialize_with = "there", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "BTreeMap<String, SecretSource>")]
    pub secrets: Option<BTreeMap<String, SecretSource>>,
}

/// A capability without details: `{}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plain {}

/// Where requests may go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpGrant {
    /// `HOST`, `HOST:PORT`, `*.DOMAIN` or `*.DOMAIN:PORT`; absent: those that the manifest asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<String>>")]
    pub hosts: Option<Vec<HostPattern>>,
    /// Networks in CIDR notation that are allowed though they are private, loopback or the like. A metadata service's address needs a
    /// network of its own (`169.254.169.254/32`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_private: Vec<String>,
    /// PEM file with the authorities to believe; absent: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// How much state may be kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KvGrant {
    /// Bytes of all keys and values together; absent: 1 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// Bytes of one value; absent: 256 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_value_bytes: Option<u64>,
}

/// How many series there may be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MetricsGrant {
    /// Combinations of labels, over all series of the plugin; absent: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_series: Option<u32>,
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum SecretSource {
    /// A file on the host, read at each request for it.
    File(PathBuf),
    /// A key of a Secret, read with the host's own rights.
    Secret(SecretKey),
}

/// One key of a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretKey {
    /// The Secret's namespace.
    pub namespace: String,
    /// The Secret's name.
    pub name: String,
    /// The key in its `data`.
    pub key: String,
}

/// As whom a plugin acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentityGrant {
    /// A ServiceAccount, as `NAMESPACE/NAME`.
    pub service_account: String,
}

/// Why a grants file cannot be used: one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadGrants {
    /// It is no such document.
    #[error("it is not a grants file: {0}")]
    Malformed(String),
    /// It is of another kind or version.
    #[error("apiVersion {version:?} and kind {kind:?} are not those of a grants file, {API_VERSION} and {KIND}")]
    Another {
        /// What stands there.
        version: String,
        /// What stands there.
        kind: String,
    },
    /// Something in it makes no sense.
    #[error("plugins.{plugin}.{field}: {why}")]
    Wrong {
        /// Under which plugin.
        plugin: String,
        /// In which field.
        field: &'static str,
        /// What is wrong.
        why: String,
    },
}

const API_VERSION: &str = "outrigger.dev/v1alpha1";
const KIND: &str = "Grants";
/// Stands for every plugin.
const ANY: &str = "*";
/// The most bytes of a file; nobody writes more by hand.
const MOST: usize = 1 << 20;

// === impl GrantsFile ===

impl GrantsFile {
    /// Reads and checks a document in YAML (or JSON, which is YAML).
    ///
    /// # Errors
    /// One sentence that names the field.
    pub fn read(text: &str) -> Result<Self, BadGrants> {
        if text.len() > MOST {
            return Err(BadGrants::Malformed(format!(
                "it has {} bytes, the most is {MOST}",
                text.len()
            )));
        }
        let file: Self = serde_saphyr::from_str(text).map_err(|e| BadGrants::Malformed(one_line(&e.to_string())))?;
        if file.api_version != API_VERSION || file.kind != KIND {
            return Err(BadGrants::Another {
                version: file.api_version,
                kind: file.kind,
            });
        }
        for (plugin, grant) in &file.plugins {
            if let Err((field, why)) = grant.check(plugin) {
                let plugin = plugin.clone();
                return Err(BadGrants::Wrong { plugin, field, why });
            }
        }
        Ok(file)
    }

    /// What one plugin is granted: what stands under its name, and what is for all.
    #[must_use]
    pub fn of(&self, plugin: &str) -> PluginGrant {
        let own = self.plugins.get(plugin).cloned().unwrap_or_default();
        match self.plugins.get(ANY) {
            Some(all) if plugin != ANY => own.over(all),
            _ => own,
        }
    }

    /// The published schema.
    #[must_use]
    pub fn schema() -> Value {
        schemars::schema_for!(GrantsFile).into()
    }
}

// === impl PluginGrant ===

impl PluginGrant {
    /// This one's details before the other's; rules, hosts and names are added up.
    fn over(self, all: &Self) -> Self {
        let (own, all_c) = (self.capabilities, &all.capabilities);
        let objects = joined(own.objects, &all_c.objects, |mut a, b| {
            a.extend(b.iter().cloned());
            a
        });
        let http = joined(own.http, &all_c.http, |a, b| HttpGrant {
            hosts: a.hosts.zip(b.hosts.clone()).map(|(a, b)| [a, b].concat()),
            allow_private: [a.allow_private, b.allow_private.clone()].concat(),
            ca_file: a.ca_file.or_else(|| b.ca_file.clone()),
        });
        let secrets = joined(own.secrets, &all_c.secrets, |a, b| {
            let mut both = b.clone();
            both.extend(a);
            both
        });
        Self {
            capabilities: CapabilityGrants {
                kubelet: own.kubelet.or_else(|| all_c.kubelet.clone()),
                config: own.config.or_else(|| all_c.config.clone()),
                objects,
                http,
                kv: own.kv.or_else(|| all_c.kv.clone()),
                events: own.events.or_else(|| all_c.events.clone()),
                metrics: own.metrics.or_else(|| all_c.metrics.clone()),
                secrets,
            },
            config: self.config.or_else(|| all.config.clone()),
            limits: self.limits.or_else(|| all.limits.clone()),
            identity: self.identity.or_else(|| all.identity.clone()),
        }
    }

    fn check(&self, plugin: &str) -> Result<(), (&'static str, String)> {
        if plugin != ANY && !outrigger_manifest::is_dns_label(plugin) {
            return Err(("capabilities", format!("{plugin:?} is not the name of a plugin")));
        }
        for rule in self.capabilities.objects.iter().flatten() {
            for (field, all) in [
                ("apiGroups", &rule.api_groups),
                ("resources", &rule.resources),
                ("verbs", &rule.verbs),
            ] {
                if all.is_empty() {
                    return Err(("capabilities.objects", format!("a rule has no {field}, so it allows nothing")));
                }
            }
        }
        for name in self.capabilities.secrets.iter().flat_map(BTreeMap::keys) {
            if !outrigger_manifest::is_dns_label(name) {
                return Err(("capabilities.secrets", format!("{name:?} is not a DNS label")));
            }
        }
        if let Some(limits) = &self.limits {
            limits.check(&Limits::most()).map_err(|e| ("limits", e.to_string()))?;
        }
        if let Some(identity) = &self.identity
            && identity.parts().is_none()
        {
            let why = format!("{:?} is not NAMESPACE/NAME", identity.service_account);
            return Err(("identity.serviceAccount", why));
        }
        Ok(())
    }
}

// === impl IdentityGrant ===

impl IdentityGrant {
    /// Namespace and name of the ServiceAccount, if the text is of that form.
    #[must_use]
    pub fn parts(&self) -> Option<(&str, &str)> {
        let (namespace, name) = self.service_account.split_once('/')?;
        let fits = outrigger_manifest::is_dns_label(namespace) && outrigger_manifest::is_dns_subdomain(name);
        fits.then_some((namespace, name))
    }
}

fn joined<T: Clone>(own: Option<T>, all: &Option<T>, join: impl FnOnce(T, &T) -> T) -> Option<T> {
    match (own, all) {
        (Some(own), Some(all)) => Some(join(own, all)),
        (Some(own), None) => Some(own),
        (None, all) => all.clone(),
    }
}

/// A field that is there has a value; `null` is none.
fn there<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    match Option::<T>::deserialize(from)? {
        Some(value) => Ok(Some(value)),
        None => Err(serde::de::Error::custom(
            "the field is there, but has no value; write {} or leave it out",
        )),
    }
}

fn one_line(text: &str) -> String {
    // What follows the first line draws the place with arrows.
    text.lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: outrigger.dev/v1alpha1\nkind: Grants\n";

    #[test]
    fn a_whole_file_is_read() {
        let text = format!(
            "{HEAD}plugins:
  harbor:
    capabilities:
      kubelet: {{}}
      config: {{}}
      objects:
      - apiGroups: ['']
        resources: [configmaps]
        verbs: [get, list, watch]
        namespaces: [harbor]
      http:
        hosts: ['*.example.com', 'tides.example.org:8443']
        allowPrivate: [10.0.0.0/8]
        caFile: /etc/harbor/ca.crt
      kv: {{quotaBytes: 65536}}
      events: {{}}
      metrics: {{maxSeries: 10}}
      secrets:
        token: {{file: /etc/harbor/token}}
        key: {{secret: {{namespace: harbor, name: keys, key: tls.key}}}}
    config: {{depth: 3}}
    identity: {{serviceAccount: harbor/master}}
  '*':
    capabilities:
      secrets: {{token: {{file: /other}}, more: {{file: /more}}}}
"
        );
        let file = GrantsFile::read(&text).unwrap();
        let harbor = file.of("harbor");
        assert_eq!(harbor.capabilities.http.as_ref().unwrap().hosts.as_ref().unwrap().len(), 2);
        assert_eq!(harbor.identity.as_ref().unwrap().parts(), Some(("harbor", "master")));
        let secrets = harbor.capabilities.secrets.unwrap();
        assert_eq!(
            secrets["token"],
            SecretSource::File("/etc/harbor/token".into()),
            "its own name first"
        );
        assert!(secrets.contains_key("more"));
        let other = file.of("other").capabilities;
        assert!(other.kubelet.is_none() && other.secrets.is_some());
        // Written and read again it is the same.
        let again = serde_json::to_string(&file).unwrap();
        assert_eq!(GrantsFile::read(&again).unwrap(), file);
    }

    #[test]
    fn what_does_not_fit_is_said() {
        for (name, text, want) in [
            ("empty", String::new(), "not a grants file"),
            (
                "another kind",
                "apiVersion: v1\nkind: Secret\n".into(),
                "are not those of a grants file",
            ),
            ("a field", format!("{HEAD}plugin: {{}}\n"), "plugin"),
            (
                "a field of a plugin",
                format!("{HEAD}plugins: {{harbor: {{capability: {{}}}}}}\n"),
                "capability",
            ),
            (
                "a capability",
                format!("{HEAD}plugins: {{harbor: {{capabilities: {{kublet: {{}}}}}}}}\n"),
                "kublet",
            ),
            (
                "a detail",
                format!("{HEAD}plugins: {{harbor: {{capabilities: {{http: {{host: [a]}}}}}}}}\n"),
                "host",
            ),
            (
                "no value",
                format!("{HEAD}plugins:\n  harbor:\n    capabilities:\n      events:\n"),
                "has no value",
            ),
            (
                "a pattern",
                format!("{HEAD}plugins: {{harbor: {{capabilities: {{http: {{hosts: ['*']}}}}}}}}\n"),
                "none of HOST",
            ),
            (
                "an empty rule",
                format!(
                    "{HEAD}plugins: {{harbor: {{capabilities: {{objects: [{{apiGroups: [a], resources: [b], verbs: []}}]}}}}}}\n"
                ),
                "plugins.harbor.capabilities.objects: a rule has no verbs",
            ),
            (
                "a secret from nowhere",
                format!("{HEAD}plugins: {{harbor: {{capabilities: {{secrets: {{token: {{env: X}}}}}}}}}}\n"),
                "env",
            ),
            (
                "an identity",
                format!("{HEAD}plugins: {{harbor: {{identity: {{serviceAccount: master}}}}}}\n"),
                "plugins.harbor.identity.serviceAccount: \"master\" is not NAMESPACE/NAME",
            ),
            (
                "a name",
                format!("{HEAD}plugins: {{Harbor: {{}}}}\n"),
                "is not the name of a plugin",
            ),
            ("twice", format!("{HEAD}plugins: {{harbor: {{}}, harbor: {{}}}}\n"), "harbor"),
        ] {
            let error = GrantsFile::read(&text).unwrap_err().to_string();
            assert!(error.contains(want) && !error.contains('\n'), "{name}: {error}");
        }
    }

    #[test]
    fn the_published_schema_is_of_these_types() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/grants.schema.json");
        let want = format!("{:#}\n", GrantsFile::schema());
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &want).unwrap();
        }
        let published = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(
            published, want,
            "run `UPDATE=1 cargo test --workspace --lib published_schema` and commit docs/grants.schema.json"
        );
    }
}
