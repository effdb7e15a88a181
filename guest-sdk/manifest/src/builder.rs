//! How a plugin in Rust writes its manifest: from the top down, each fact by its name.
//!
//! Every method takes and returns the whole value, so a manifest is one expression. Nothing is checked here; that is
//! [`Manifest::check`]'s part, and the SDK's `plugin!` puts a test of it into every plugin.

use serde_json::Value;

use crate::{Backing, Capability, Collector, Column, Deprecation, Each, Manifest, Resource, Scope, Shadow};

// === impl Manifest ===

impl Manifest {
    /// An empty manifest. In a plugin the SDK's `manifest!()` fills both from Cargo.toml.
    ///
    /// ```
    /// use outrigger_manifest::{Collector, Column, Each, Manifest, Resource, Scope};
    /// let manifest = Manifest::new("harbor", "1.0.0")
    ///     .needs("kubelet", "reads the tide from each node")
    ///     .resource(
    ///         Resource::table("Tide", "tides", Scope::Cluster)
    ///             .group("harbor.example.com")
    ///             .version("v1")
    ///             .column(Column::integer("Metres").description("Height above the chart's zero.")),
    ///     )
    ///     .collector(Collector::new("gauge", Each::Node, 15).fills("tides"));
    /// assert_eq!(manifest.check(), Ok(()));
    /// ```
    #[must_use]
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            description: String::new(),
            capabilities: Vec::new(),
            config: None,
            resources: Vec::new(),
            collectors: Vec::new(),
        }
    }

    /// Another name than the crate's.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..self
        }
    }

    /// One sentence for `inspect`.
    #[must_use]
    pub fn description(self, text: impl Into<String>) -> Self {
        Self {
            description: text.into(),
            ..self
        }
    }

    /// Asks for a capability, and says why to whoever grants it.
    #[must_use]
    pub fn needs(mut self, capability: impl Into<String>, reason: impl Into<String>) -> Self {
        self.capabilities.push(Capability {
            name: capability.into(),
            reason: reason.into(),
        });
        self
    }

    /// The JSON Schema of the operator's configuration.
    #[must_use]
    pub fn config(self, schema: Value) -> Self {
        Self {
            config: Some(schema),
            ..self
        }
    }

    /// Adds what it serves.
    #[must_use]
    pub fn resource(mut self, resource: Resource) -> Self {
        self.resources.push(resource);
        self
    }

    /// Adds what runs on a schedule. The SDK's `plugin!` does this for the collectors that it is given.
    #[must_use]
    pub fn collector(mut self, collector: Collector) -> Self {
        self.collectors.push(collector);
        self
    }
}

// === impl Resource ===

impl Resource {
    /// A table that collectors fill. It needs a [`group`](Self::group) and at least one [`version`](Self::version).
    #[must_use]
    pub fn table(kind: impl Into<String>, plural: impl Into<String>, scope: Scope) -> Self {
        Self {
            group: String::new(),
            versions: Vec::new(),
            deprecated: Vec::new(),
            plural: plural.into(),
            singular: String::new(),
            kind: kind.into(),
            scope,
            short_names: Vec::new(),
            categories: Vec::new(),
            description: String::new(),
            backing: Backing::Table { shadow: None },
            columns: Vec::new(),
            schema: None,
            protobuf: false,
        }
    }

    /// The API group.
    #[must_use]
    pub fn group(self, group: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            ..self
        }
    }

    /// A version in which it is served; the first is preferred.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.versions.push(version.into());
        self
    }

    /// One of its versions is deprecated: who asks for it gets this warning, or a usual one if the text is empty.
    #[must_use]
    pub fn deprecated(mut self, version: impl Into<String>, warning: impl Into<String>) -> Self {
        self.deprecated.push(Deprecation {
            version: version.into(),
            warning: warning.into(),
            removed_release: String::new(),
        });
        self
    }

    /// The rows speak of live objects, which decide existence, labels and selectors at every read.
    #[must_use]
    pub fn shadow(self, of: Shadow) -> Self {
        Self {
            backing: Backing::Table { shadow: Some(of) },
            ..self
        }
    }

    /// Another singular name than the lower-cased kind.
    #[must_use]
    pub fn singular(self, name: impl Into<String>) -> Self {
        Self {
            singular: name.into(),
            ..self
        }
    }

    /// A short name for kubectl.
    #[must_use]
    pub fn short_name(mut self, name: impl Into<String>) -> Self {
        self.short_names.push(name.into());
        self
    }

    /// A category for kubectl, such as `all`.
    #[must_use]
    pub fn category(mut self, name: impl Into<String>) -> Self {
        self.categories.push(name.into());
        self
    }

    /// One paragraph, for `kubectl explain`.
    #[must_use]
    pub fn description(self, text: impl Into<String>) -> Self {
        Self {
            description: text.into(),
            ..self
        }
    }

    /// The next column of its Table, after `Name`.
    #[must_use]
    pub fn column(mut self, column: Column) -> Self {
        self.columns.push(column);
        self
    }

    /// OpenAPI v3 schema of the fields but apiVersion, kind and metadata, without references.
    #[must_use]
    pub fn schema(self, schema: Value) -> Self {
        Self {
            schema: Some(schema),
            ..self
        }
    }

    /// Rows carry protobuf too.
    #[must_use]
    pub fn protobuf(self) -> Self {
        Self { protobuf: true, ..self }
    }
}

// === impl Column ===

impl Column {
    /// A column of texts.
    #[must_use]
    pub fn string(name: impl Into<String>) -> Self {
        Self::of("string", name)
    }

    /// A column of whole numbers.
    #[must_use]
    pub fn integer(name: impl Into<String>) -> Self {
        Self::of("integer", name)
    }

    /// A column of numbers.
    #[must_use]
    pub fn number(name: impl Into<String>) -> Self {
        Self::of("number", name)
    }

    /// A column of truths.
    #[must_use]
    pub fn boolean(name: impl Into<String>) -> Self {
        Self::of("boolean", name)
    }

    /// A column of RFC 3339 times; kubectl shows their age.
    #[must_use]
    pub fn date(name: impl Into<String>) -> Self {
        Self::of("date", name)
    }

    /// An OpenAPI format, such as `int64`.
    #[must_use]
    pub fn format(self, format: impl Into<String>) -> Self {
        Self {
            format: format.into(),
            ..self
        }
    }

    /// One sentence.
    #[must_use]
    pub fn description(self, text: impl Into<String>) -> Self {
        Self {
            description: text.into(),
            ..self
        }
    }

    /// Shown in wide output only.
    #[must_use]
    pub fn wide(self) -> Self {
        Self { priority: 1, ..self }
    }

    fn of(kind: &str, name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: kind.to_owned(),
            format: String::new(),
            description: String::new(),
            priority: 0,
        }
    }
}

// === impl Collector ===

impl Collector {
    /// A collector that runs every so many seconds. It needs at least one table that it [`fills`](Self::fills).
    #[must_use]
    pub fn new(name: impl Into<String>, each: Each, interval_seconds: u32) -> Self {
        Self {
            name: name.into(),
            each,
            interval_seconds,
            keep_seconds: 0,
            fills: Vec::new(),
            state_schema: 0,
        }
    }

    /// A table (by its plural name) into which it may put rows.
    #[must_use]
    pub fn fills(mut self, plural: impl Into<String>) -> Self {
        self.fills.push(plural.into());
        self
    }

    /// How long rows of the last good tick are served when later ones fail; 0: four intervals.
    #[must_use]
    pub fn keep_seconds(self, seconds: u32) -> Self {
        Self {
            keep_seconds: seconds,
            ..self
        }
    }

    /// The number of its state's schema.
    #[must_use]
    pub fn state_schema(self, number: u32) -> Self {
        Self {
            state_schema: number,
            ..self
        }
    }
}
