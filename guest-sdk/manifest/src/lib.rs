//! The manifest: what a plugin says of itself, once per version, before anything is served.
//!
//! It is the half of the contract that will grow, so it crosses as a JSON document and not as a WIT record: fields are
//! only ever added, each with a default. The host and the Rust SDK share these types; other languages write the document
//! by its published schema (`docs/manifest.schema.json`, made from this file and kept equal by a test). Unknown fields
//! are refused, so that a misspelt one is noticed at load and not in production.
//!
//! Verbs are not here: what a role implements decides what discovery offers.
//!
//! The types stand here; how a plugin writes them fluently is in `builder`, what no type can say in `check` and `roles`.

mod builder;
mod check;
mod roles;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use check::{Unfit, is_dns_label, is_dns_subdomain};

/// The version of the contract that this crate and `guest-sdk/wit` describe.
pub const CONTRACT: &str = "0.1.0";

/// The name of the custom section by which a component says what it was built with, as a [`BuiltWith`] in JSON. The host
/// reads it before it compiles anything.
pub const SECTION: &str = "outrigger:plugin";

/// The capabilities of this contract that need a grant, as the interfaces of `guest-sdk/wit/capabilities.wit` name them.
pub const GRANTED: [&str; 8] = ["config", "kubelet", "objects", "http", "kv", "events", "metrics", "secrets"];

/// The capabilities that every plugin has. A manifest may name them, to no effect.
pub const FREE: [&str; 3] = ["log", "clock", "random"];

/// The custom section [`SECTION`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltWith {
    /// Version of the contract, such as `0.1.0`.
    pub contract: String,
    /// Name and version of the SDK, such as `rust 0.1.0`.
    pub sdk: String,
}

/// What `describe` returns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// The plugin's name: a DNS label, unique in a host. Logs, metrics and grants use it.
    pub name: String,
    /// The plugin's own version, for people.
    pub version: String,
    /// One sentence for `inspect`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What it asks to be granted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<Capability>,
    /// JSON Schema of the operator's configuration; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
    /// What it serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<Resource>,
    /// What runs on a schedule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub collectors: Vec<Collector>,
    /// What reconciles objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controllers: Vec<Controller>,
    /// The series that it writes with the capability `metrics`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<Series>,
}

/// A capability, and why it is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Capability {
    /// The interface's name: `kubelet`, `config`, `objects` …
    pub name: String,
    /// Shown to whoever grants it.
    pub reason: String,
    /// For `objects`: which ones, and what is done with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<ObjectRule>,
    /// For `http`: the hosts, as `HOST`, `HOST:PORT` or `*.DOMAIN`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// For `secrets`: their names, which the operator maps to what they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}

/// Objects and verbs, in the words of an RBAC rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectRule {
    /// API groups; `""` is core.
    pub api_groups: Vec<String>,
    /// Plural names; `RESOURCE/SUBRESOURCE` for a subresource.
    pub resources: Vec<String>,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verbs: Vec<String>,
    /// Namespaces; empty: all of them, and what has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
}

/// One kind of object, in one or more versions of one group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resource {
    /// API group, a DNS subdomain such as `metrics.k8s.io`.
    pub group: String,
    /// Versions in which it is served, preferred first. Rows of a table are the same in all of them.
    pub versions: Vec<String>,
    /// Which of them are deprecated: who asks for one gets a `Warning`, which kubectl shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deprecated: Vec<Deprecation>,
    /// Plural name, as in URLs.
    pub plural: String,
    /// Singular name; empty lets clients take the lower-cased kind.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub singular: String,
    /// Kind.
    pub kind: String,
    /// Cluster or Namespaced.
    pub scope: Scope,
    /// Short names for kubectl.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub short_names: Vec<String>,
    /// Categories for kubectl, such as `all`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    /// One paragraph, for `kubectl explain`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What stands behind it.
    pub backing: Backing,
    /// Columns of its Table after `Name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<Column>,
    /// OpenAPI v3 schema of the object's fields but apiVersion, kind and metadata: an object schema with `properties`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// The same for versions whose objects look otherwise, by version. For stored resources.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub schemas: BTreeMap<String, Value>,
    /// Rows carry protobuf too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protobuf: bool,
    /// Its subresources. Not for tables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subresources: Vec<Subresource>,
}

/// A named part of an object (`status`), or a stream that belongs to it (`log`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subresource {
    /// Its name, as in URLs.
    pub name: String,
    /// What the plugin implements of it: `get` and `update`, or `connect` alone.
    pub verbs: Vec<Verb>,
    /// The kind of its documents; empty: the resource's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// For `connect`: the HTTP methods; empty: GET and POST.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// For `connect`: the WebSocket subprotocols that it speaks, best first; empty: plain HTTP only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protocols: Vec<String>,
}

/// What a responder implements of a virtual resource. What follows from it is the host's: `patch` from `get` and `update`,
/// `deletecollection` from `list` and `delete`, `watch` from `list` and a poll interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verb {
    /// One object.
    Get,
    /// All objects.
    List,
    /// Make one.
    Create,
    /// Replace one.
    Update,
    /// Remove one.
    Delete,
    /// A stream, of a subresource only.
    Connect,
}

/// A version that should not be asked for any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Deprecation {
    /// One of the resource's versions.
    pub version: String,
    /// What the caller is told, at most 256 characters; empty names the version, and a newer one if there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub warning: String,
    /// The release that will not have it any more, as MAJOR.MINOR; empty if that is not decided.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub removed_release: String,
}

/// Where a resource's objects live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// No namespace.
    Cluster,
    /// In a namespace.
    Namespaced,
}

/// What stands behind a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Backing {
    /// Rows that collectors fetch, in a table of the host.
    #[serde(rename_all = "camelCase")]
    Table {
        /// The live resource whose objects these rows speak of: existence, labels and selectors come from the live
        /// object at every read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shadow: Option<Shadow>,
    },
    /// Objects that the role responder computes on demand; the host keeps nothing.
    #[serde(rename_all = "camelCase")]
    Virtual {
        /// What the responder implements. The SDK derives it.
        verbs: Vec<Verb>,
        /// Offers `watch`: while somebody watches, the host lists every so many seconds and compares. It lists for all callers
        /// alike, so what is listed must not depend on the caller. 0: no watch, and each caller's list is his own.
        #[serde(default, skip_serializing_if = "is_zero_u32")]
        poll_seconds: u32,
    },
    /// Objects that the host keeps, by the rules of the role strategy.
    #[serde(rename_all = "camelCase")]
    Stored {
        /// The version in which they are kept, and in which the strategy sees them; empty: the first.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        storage_version: String,
        /// `status` is a part of its own: what is written to it leaves all else alone, and all other writes leave the status alone.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        status: bool,
        /// `scale`: an `autoscaling/v1 Scale` over three paths.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scale: Option<ScalePaths>,
        /// Replacing an object that is not there makes it (upstream's `AllowCreateOnUpdate`).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        create_on_update: bool,
        /// An object may be replaced without naming its resourceVersion (upstream's `AllowUnconditionalUpdate`).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unconditional_update: bool,
        /// The strategy is asked about deletes as well. Then a strategy that fails keeps objects, and their namespaces, from going.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        admits_deletes: bool,
    },
}

/// Where a `Scale` stands in an object: dotted paths of members, such as `.spec.replicas`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScalePaths {
    /// The wanted number, under `.spec`.
    pub spec_replicas_path: String,
    /// The present number, under `.status`.
    pub status_replicas_path: String,
    /// A label selector as a text, under `.spec` or `.status`; autoscalers need it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label_selector_path: String,
}

/// The live resources that a table may shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Shadow {
    /// core/v1 nodes.
    Nodes,
    /// core/v1 pods in phase Running.
    Pods,
}

/// A column of the Table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Column {
    /// Heading.
    pub name: String,
    /// OpenAPI type of the cell: `string`, `integer`, `number`, `boolean` or `date`.
    #[serde(rename = "type")]
    pub kind: String,
    /// OpenAPI format of the cell; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub format: String,
    /// One sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// 0 is always shown, more only in wide output.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i32,
    /// Where the cell stands in the object, as in a CRD's printer columns: `.spec.tonnage`. For virtual and stored resources; rows of a
    /// table bring their cells.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub json_path: String,
}

/// Something that runs on a schedule and fills tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Collector {
    /// Its name within the plugin; handed to `collect`.
    pub name: String,
    /// For what it runs.
    pub each: Each,
    /// Seconds from one tick of a target to the next; the operator may set another (`--metric-resolution`).
    pub interval_seconds: u32,
    /// Seconds for which rows of the last good tick are served when later ones fail; 0: four intervals.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub keep_seconds: u32,
    /// For `each: object`: whose objects. They need the capability `objects` with `list` and `watch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<ResourceName>,
    /// The plural names of the resources into which it may put rows.
    pub fills: Vec<String>,
    /// Number of its state's schema; a changed number offers the state to `migrate`, or starts empty.
    #[serde(default)]
    pub state_schema: u32,
}

/// For what a collector runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Each {
    /// Once for the whole cluster.
    Once,
    /// For every node.
    Node,
    /// For every object of a granted resource.
    Object,
}

/// A resource of this plugin or of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceName {
    /// API group; empty for core.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Version.
    pub version: String,
    /// Plural name.
    pub resource: String,
}

/// A loop that brings the world in step with the objects of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Controller {
    /// Its name within the plugin; handed to `reconcile`.
    pub name: String,
    /// Whose objects it is called with. They need the capability `objects` with `list` and `watch`, as do `owns`.
    #[serde(rename = "for")]
    pub primary: ResourceName,
    /// Resources whose objects lead back to the `for` object that their controlling ownerReference names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owns: Vec<ResourceName>,
    /// Keys reconciled at once; 0: one.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub concurrency: u32,
    /// Seconds after which every key comes again without a change; 0: never.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub resync_seconds: u32,
}

/// A series of the plugin's own, shown as `outrigger_plugin_PLUGIN_NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Series {
    /// Its name in snake_case, without the prefix; a counter's without `_total`.
    pub name: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: SeriesKind,
    /// One sentence.
    pub help: String,
    /// The names of its labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

/// What a series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SeriesKind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

fn is_zero(n: &i32) -> bool {
    *n == 0
}

fn is_zero_u32(n: &u32) -> bool {
    *n == 0
}

// === impl Backing ===

impl Backing {
    /// Objects that the host keeps, with every default.
    #[must_use]
    pub fn stored() -> Self {
        Self::Stored {
            storage_version: String::new(),
            status: false,
            scale: None,
            create_on_update: false,
            unconditional_update: false,
            admits_deletes: false,
        }
    }
}

// === impl Resource ===

impl Resource {
    /// Whether the host keeps its objects.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        matches!(self.backing, Backing::Stored { .. })
    }

    /// The version in which its objects are kept; empty if it is not stored, or has no version.
    #[must_use]
    pub fn storage_version(&self) -> &str {
        match &self.backing {
            Backing::Stored { storage_version, .. } if !storage_version.is_empty() => storage_version,
            Backing::Stored { .. } => self.versions.first().map_or("", String::as_str),
            _ => "",
        }
    }

    /// The schema of its fields in one version.
    #[must_use]
    pub fn schema_of(&self, version: &str) -> Option<&Value> {
        self.schemas.get(version).or(self.schema.as_ref())
    }
}

// === impl Manifest ===

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// One sentence for each thing that does not fit: malformed JSON, an unknown field, a name that is not a DNS name, a
    /// resource named twice, a collector that fills what is not a table of this plugin.
    pub fn read(bytes: &[u8]) -> Result<Self, Unfit> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(|e| Unfit(vec![format!("the manifest is not valid: {e}")]))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The published schema.
    #[must_use]
    pub fn schema() -> Value {
        schemars::schema_for!(Manifest).into()
    }
}
