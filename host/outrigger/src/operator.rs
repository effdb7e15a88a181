//! What the operator says of plugins: the grants file, `--grant` and `--plugin-config`, added up.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use outrigger_api::manifest::Manifest;
use outrigger_cluster::Persona;
use outrigger_sandbox::{Capability, Grants, GrantsFile, Limits, PluginGrant};
use serde_json::{Map, Value};

use crate::flags;

/// What the operator says of plugins, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Operator {
    grants: BTreeMap<String, Grants>,
    configs: BTreeMap<String, Map<String, Value>>,
    file: Option<Told>,
}

/// The grants file as it was read.
#[derive(Debug, Clone)]
struct Told {
    path: PathBuf,
    text: String,
    file: GrantsFile,
}

/// What is said of one plugin.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    /// What may be used.
    pub(crate) grants: Grants,
    /// The file's details.
    pub(crate) grant: PluginGrant,
    /// The configuration: that of `--plugin-config` before the file's.
    pub(crate) config: Map<String, Value>,
}

/// Stands for every plugin in a grant.
const ANY: &str = "*";

// === impl Operator ===

impl Operator {
    /// Reads `--grant`, `--plugin-config` and `--grants`; `also` is granted to every plugin.
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
            *all = all.or(&new);
        }
        for config in &flags.configs {
            let (plugin, file) = config
                .split_once('=')
                .ok_or_else(|| anyhow!("--plugin-config {config:?} is not PLUGIN=FILE"))?;
            let text = std::fs::read_to_string(file).with_context(|| format!("--plugin-config {config:?}"))?;
            // YAML reads JSON too.
            let value: Value = serde_saphyr::from_str(&text).map_err(|e| anyhow!("{file} is neither YAML nor JSON: {e}"))?;
            let Value::Object(value) = value else {
                bail!("{file} must be an object")
            };
            this.configs.insert(plugin.into(), value);
        }
        if let Some(path) = &flags.grants_file {
            let text = std::fs::read_to_string(path).with_context(|| format!("--grants {}", path.display()))?;
            this.file = Some(Told::of(path.clone(), text)?);
        }
        Ok(this)
    }

    /// The operator of one grants file and nothing else.
    pub(crate) fn of_file(path: PathBuf) -> Result<Self> {
        let text = std::fs::read_to_string(&path).with_context(|| format!("--grants {}", path.display()))?;
        Ok(Self {
            file: Some(Told::of(path, text)?),
            ..Self::default()
        })
    }

    /// As it is now, if the file says something else than before.
    pub(crate) fn reread(&self) -> Result<Option<Self>> {
        let Some(told) = &self.file else { return Ok(None) };
        let text = std::fs::read_to_string(&told.path).with_context(|| format!("--grants {}", told.path.display()))?;
        if text == told.text {
            return Ok(None);
        }
        Ok(Some(Self {
            file: Some(Told::of(told.path.clone(), text)?),
            ..self.clone()
        }))
    }

    /// The most of what matters before a plugin's name is known: its file, its compilation, its `describe`.
    pub(crate) fn most(&self, default: &Limits) -> Limits {
        let specs = self
            .file
            .iter()
            .flat_map(|told| told.file.plugins.values())
            .filter_map(|p| p.limits.as_ref());
        specs.fold(default.clone(), |most, spec| {
            let these = spec.apply(default);
            Limits {
                memory_bytes: most.memory_bytes.max(these.memory_bytes),
                table_elements: most.table_elements.max(these.table_elements),
                component_bytes: most.component_bytes.max(these.component_bytes),
                compile_deadline: most.compile_deadline.max(these.compile_deadline),
                describe_deadline: most.describe_deadline.max(these.describe_deadline),
                ..most
            }
        })
    }

    /// Whether there is a file to follow.
    pub(crate) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// What is said of one plugin.
    pub(crate) fn of(&self, plugin: &str) -> Said {
        let grant = self.file.as_ref().map(|told| told.file.of(plugin)).unwrap_or_default();
        let grants = [ANY, plugin]
            .iter()
            .filter_map(|of| self.grants.get(*of))
            .fold(Grants::from(&grant), |all, more| all.or(more));
        let config = self
            .configs
            .get(plugin)
            .or(grant.config.as_ref())
            .cloned()
            .unwrap_or_default();
        Said { grants, grant, config }
    }
}

// === impl Said ===

impl Said {
    /// What the plugin may cost.
    pub(crate) fn limits(&self, default: &Limits) -> Limits {
        let said = self.grant.limits.as_ref();
        said.map_or_else(|| default.clone(), |spec| spec.apply(default))
    }

    /// As whom the plugin acts in the cluster.
    pub(crate) fn persona(&self, plugin: &str) -> Persona {
        match self.grant.identity.as_ref().and_then(|i| i.parts()) {
            Some((namespace, name)) => Persona::service_account(namespace, name),
            None => Persona::plugin(plugin),
        }
    }
}

// === impl Told ===

impl Told {
    fn of(path: PathBuf, text: String) -> Result<Self> {
        let file = GrantsFile::read(&text).map_err(|e| anyhow!("--grants {}: {e}", path.display()))?;
        // What the schema cannot say.
        for (plugin, grant) in &file.plugins {
            for network in grant.capabilities.http.iter().flat_map(|h| &h.allow_private) {
                network.parse::<outrigger_egress::Network>().map_err(|e| {
                    anyhow!(
                        "--grants {}: plugins.{plugin}.capabilities.http.allowPrivate: {e}",
                        path.display()
                    )
                })?;
            }
        }
        Ok(Self { path, text, file })
    }
}

// === impl Said ===

impl Said {
    /// The configuration as the plugin reads it, if it fits the manifest's schema; only looked at if the plugin may read it.
    ///
    /// # Errors
    /// One sentence that names the place.
    pub(crate) fn configuration(&self, manifest: &Manifest) -> Result<Bytes, String> {
        let asks = manifest.capabilities.iter().any(|c| c.name == Capability::Config.name());
        let value = Value::Object(self.config.clone());
        if let Some(schema) = manifest
            .config
            .as_ref()
            .filter(|_| asks && self.grants.allows(Capability::Config))
        {
            fits(schema, &value)?;
        }
        Ok(value.to_string().into())
    }
}

fn fits(schema: &Value, config: &Value) -> Result<(), String> {
    // Patterns are a stranger's: an engine of linear time. Nothing is fetched: this build has no retriever.
    let validator = jsonschema::options()
        .with_pattern_options(jsonschema::PatternOptions::regex())
        .build(schema)
        .map_err(|e| {
            format!(
                "the plugin's schema of its configuration cannot be used: {}",
                sentence(&e.to_string())
            )
        })?;
    let Some(error) = validator.iter_errors(config).next() else {
        return Ok(());
    };
    let path = error.instance_path().to_string();
    let place = if path.is_empty() {
        "the configuration".to_owned()
    } else {
        format!("the configuration's {path}")
    };
    Err(format!(
        "{place} does not fit the plugin's schema: {}",
        sentence(&error.masked().to_string())
    ))
}

fn sentence(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(512).collect()
}

#[cfg(test)]
mod tests {
    use outrigger_api::manifest::ObjectRule;
    use serde_json::json;

    use super::*;

    fn operator(text: &str, flags: &[&str]) -> Result<Operator> {
        let mut operator = Operator::default();
        for flag in flags {
            let (plugin, names) = flag.split_once('=').unwrap();
            operator
                .grants
                .insert(plugin.into(), Grants::from_names(names.split(',')).unwrap());
        }
        let text = format!("apiVersion: outrigger.dev/v1alpha1\nkind: Grants\nplugins:\n{text}");
        operator.file = Some(Told::of("grants.yaml".into(), text)?);
        Ok(operator)
    }

    #[test]
    fn flags_add_to_the_file() {
        let told = operator(
            "  harbor: {capabilities: {http: {hosts: [a.example.com]}}, config: {depth: 3}}\n",
            &["harbor=kv", "*=kubelet"],
        );
        let said = told.unwrap().of("harbor");
        let manifest = Manifest::new("harbor", "1")
            .needs_http(["a.example.com", "b.example.com"], "asks")
            .needs_objects([ObjectRule::of("", "pods").verbs(["get"])], "reads")
            .needs("kv", "keeps")
            .needs("kubelet", "measures");
        let effective = Grants::asked(&manifest).unwrap().and(&said.grants);
        let names: Vec<&str> = effective.iter().map(Capability::name).collect();
        assert_eq!(names, ["kubelet", "http", "kv"]);
        assert!(effective.allows_host("a.example.com", 443) && !effective.allows_host("b.example.com", 443));
        assert_eq!(&said.configuration(&manifest).unwrap()[..], br#"{"depth":3}"#);
        let wrong = operator("  harbor: {capabilities: {http: {allowPrivate: [10.0.0.0/99]}}}\n", &[]).unwrap_err();
        assert!(
            wrong.to_string().contains("plugins.harbor.capabilities.http.allowPrivate"),
            "{wrong}"
        );
    }

    #[test]
    fn a_configuration_that_does_not_fit_is_one_sentence() {
        let schema = json!({
            "type": "object",
            "required": ["depth"],
            "additionalProperties": false,
            "properties": {
                "depth": {"type": "integer", "minimum": 1},
                "piers": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]+$"}},
            },
        });
        for (config, want) in [
            ("{depth: 3, piers: [north]}", None),
            ("{}", Some("\"depth\" is a required property")),
            ("{depth: 0}", Some("/depth does not fit")),
            ("{depth: 3, deep: 1}", Some("deep")),
            ("{depth: 3, piers: [north, S3cret]}", Some("/piers/1 does not fit")),
        ] {
            let manifest = Manifest::new("harbor", "1").needs("config", "is told").config(schema.clone());
            let said = operator(
                &format!("  harbor: {{capabilities: {{config: {{}}}}, config: {config}}}\n"),
                &[],
            );
            let outcome = said.unwrap().of("harbor").configuration(&manifest);
            match want {
                None => assert!(outcome.is_ok(), "{config}: {outcome:?}"),
                Some(want) => {
                    let why = outcome.unwrap_err();
                    assert!(why.contains(want) && !why.contains('\n'), "{config}: {why}");
                    // A configuration may hold what nobody should read in a log.
                    assert!(!why.contains("S3cret"), "{why}");
                }
            }
        }
        // Who may not read it is not held up by it; who has a schema that is none, or that wants another, is refused.
        let manifest = Manifest::new("harbor", "1").needs("config", "is told").config(schema);
        assert!(
            operator("  harbor: {config: {}}\n", &[])
                .unwrap()
                .of("harbor")
                .configuration(&manifest)
                .is_ok()
        );
        for schema in [
            json!({"type": "nonsense"}),
            json!({"$ref": "https://example.com/schema.json"}),
        ] {
            let manifest = Manifest::new("harbor", "1").needs("config", "is told").config(schema);
            let said = operator("  harbor: {capabilities: {config: {}}}\n", &[])
                .unwrap()
                .of("harbor");
            assert!(said.configuration(&manifest).unwrap_err().contains("cannot be used"));
        }
    }
}
