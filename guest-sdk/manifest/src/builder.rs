//! How a plugin in Rust writes its manifest: from the top down, each fact by its name.
//!
//! Every method takes and returns the whole value, so a manifest is one expression. Nothing is checked here; that is
//! [`Manifest::check`]'s part, and the SDK's `plugin!` puts a test of it into every plugin.

use serde_json::Value;

use crate::{
    Backing, Capability, Collector, Column, Controller, Deprecation, Each, Manifest, ObjectRule, Resource, ResourceName, Scope,
    Series, SeriesKind, Shadow, Subresource, Verb,
};

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
            controllers: Vec::new(),
            series: Vec::new(),
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
            objects: Vec::new(),
            hosts: Vec::new(),
            secrets: Vec::new(),
        });
        self
    }

    /// Asks for the capability `objects` within these rules.
    ///
    /// ```
    /// use outrigger_manifest::{Manifest, ObjectRule};
    /// let rule = ObjectRule::of("", "configmaps").verbs(["get", "list", "watch", "create", "update"]);
    /// let manifest = Manifest::new("harbor", "1.0.0").needs_objects([rule], "keeps a ConfigMap for each ship");
    /// assert_eq!(manifest.check(), Ok(()));
    /// ```
    #[must_use]
    pub fn needs_objects(self, rules: impl IntoIterator<Item = ObjectRule>, reason: impl Into<String>) -> Self {
        let rules = rules.into_iter().collect();
        self.asks("objects", reason, |c| c.objects = rules)
    }

    /// Asks for the capability `http` with these hosts: `HOST`, `HOST:PORT` or `*.DOMAIN`.
    #[must_use]
    pub fn needs_http<H: Into<String>>(self, hosts: impl IntoIterator<Item = H>, reason: impl Into<String>) -> Self {
        let hosts = hosts.into_iter().map(Into::into).collect();
        self.asks("http", reason, |c| c.hosts = hosts)
    }

    /// Asks for the capability `secrets` with these names.
    #[must_use]
    pub fn needs_secrets<N: Into<String>>(self, names: impl IntoIterator<Item = N>, reason: impl Into<String>) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        self.asks("secrets", reason, |c| c.secrets = names)
    }

    fn asks(self, capability: &str, reason: impl Into<String>, with: impl FnOnce(&mut Capability)) -> Self {
        let mut this = self.needs(capability, reason);
        if let Some(last) = this.capabilities.last_mut() {
            with(last);
        }
        this
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

    /// Adds what reconciles objects. The SDK's `plugin!` does this for the controllers that it is given.
    #[must_use]
    pub fn controller(mut self, controller: Controller) -> Self {
        self.controllers.push(controller);
        self
    }

    /// Declares a series of its own.
    #[must_use]
    pub fn series(mut self, series: Series) -> Self {
        self.series.push(series);
        self
    }
}

// === impl ObjectRule ===

impl ObjectRule {
    /// One resource (`RESOURCE`, or `RESOURCE/SUBRESOURCE`) of one group, in all namespaces; it needs [`verbs`](Self::verbs).
    #[must_use]
    pub fn of(group: impl Into<String>, resource: impl Into<String>) -> Self {
        Self {
            api_groups: vec![group.into()],
            resources: vec![resource.into()],
            ..Self::default()
        }
    }

    /// What is done with them.
    #[must_use]
    pub fn verbs<V: Into<String>>(mut self, verbs: impl IntoIterator<Item = V>) -> Self {
        self.verbs.extend(verbs.into_iter().map(Into::into));
        self
    }

    /// Only in this namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespaces.push(namespace.into());
        self
    }
}

// === impl ResourceName ===

impl ResourceName {
    /// A resource in one of its versions; the group is empty for core.
    #[must_use]
    pub fn new(group: impl Into<String>, version: impl Into<String>, resource: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            version: version.into(),
            resource: resource.into(),
        }
    }
}

// === impl Controller ===

impl Controller {
    /// A controller for the objects of one resource.
    #[must_use]
    pub fn new(name: impl Into<String>, primary: ResourceName) -> Self {
        Self {
            name: name.into(),
            primary,
            owns: Vec::new(),
            concurrency: 0,
            resync_seconds: 0,
        }
    }

    /// Objects of this resource lead back to the `for` object that owns them.
    #[must_use]
    pub fn owns(mut self, resource: ResourceName) -> Self {
        self.owns.push(resource);
        self
    }

    /// So many keys at once.
    #[must_use]
    pub fn concurrency(self, concurrency: u32) -> Self {
        Self { concurrency, ..self }
    }

    /// Every key again after so many seconds.
    #[must_use]
    pub fn resync_seconds(self, resync_seconds: u32) -> Self {
        Self { resync_seconds, ..self }
    }
}

// === impl Series ===

impl Series {
    /// A counter; the name without `_total`.
    #[must_use]
    pub fn counter(name: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: SeriesKind::Counter,
            help: help.into(),
            labels: Vec::new(),
        }
    }

    /// A gauge.
    #[must_use]
    pub fn gauge(name: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            kind: SeriesKind::Gauge,
            ..Self::counter(name, help)
        }
    }

    /// One of its labels.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>) -> Self {
        self.labels.push(name.into());
        self
    }
}

// === impl Subresource ===

impl Subresource {
    /// A part of the object that can be read, and replaced if `update` is among the verbs.
    #[must_use]
    pub fn part(name: impl Into<String>, verbs: impl IntoIterator<Item = Verb>) -> Self {
        Self {
            name: name.into(),
            verbs: verbs.into_iter().collect(),
            kind: String::new(),
            methods: Vec::new(),
            protocols: Vec::new(),
        }
    }

    /// A stream.
    #[must_use]
    pub fn connect(name: impl Into<String>) -> Self {
        Self::part(name, [Verb::Connect])
    }

    /// The kind of its documents.
    #[must_use]
    pub fn kind(self, kind: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            ..self
        }
    }

    /// An HTTP method that it takes.
    #[must_use]
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.methods.push(method.into());
        self
    }

    /// A WebSocket subprotocol that it speaks.
    #[must_use]
    pub fn protocol(mut self, protocol: impl Into<String>) -> Self {
        self.protocols.push(protocol.into());
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
            schemas: std::collections::BTreeMap::new(),
            protobuf: false,
            subresources: Vec::new(),
        }
    }

    /// Objects that the role responder computes on demand. It needs a [`group`](Self::group) and at least one
    /// [`version`](Self::version).
    #[must_use]
    pub fn virtual_(
        kind: impl Into<String>,
        plural: impl Into<String>,
        scope: Scope,
        verbs: impl IntoIterator<Item = Verb>,
    ) -> Self {
        Self {
            backing: Backing::Virtual {
                verbs: verbs.into_iter().collect(),
                poll_seconds: 0,
            },
            ..Self::table(kind, plural, scope)
        }
    }

    /// Objects that the host keeps, by the rules of the role strategy. It needs a [`group`](Self::group) and at least one
    /// [`version`](Self::version).
    #[must_use]
    pub fn stored(kind: impl Into<String>, plural: impl Into<String>, scope: Scope) -> Self {
        Self {
            backing: Backing::stored(),
            ..Self::table(kind, plural, scope)
        }
    }

    /// How the host keeps its objects, where that is not [`Backing::stored`].
    #[must_use]
    pub fn kept(self, backing: Backing) -> Self {
        Self { backing, ..self }
    }

    /// Offers `watch` of a virtual resource: the host lists every so many seconds and compares.
    #[must_use]
    pub fn poll_seconds(mut self, seconds: u32) -> Self {
        if let Backing::Virtual { poll_seconds, .. } = &mut self.backing {
            *poll_seconds = seconds;
        }
        self
    }

    /// One of its subresources.
    #[must_use]
    pub fn subresource(mut self, subresource: Subresource) -> Self {
        self.subresources.push(subresource);
        self
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

    /// The release that will not have the version any more which was [`deprecated`](Self::deprecated) last, as MAJOR.MINOR.
    #[must_use]
    pub fn removed_release(mut self, release: impl Into<String>) -> Self {
        if let Some(last) = self.deprecated.last_mut() {
            last.removed_release = release.into();
        }
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

    /// The same of one version whose objects look otherwise.
    #[must_use]
    pub fn schema_in(mut self, version: impl Into<String>, schema: Value) -> Self {
        self.schemas.insert(version.into(), schema);
        self
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

    /// Where the cell stands in the object, such as `.spec.tonnage`; not for tables.
    #[must_use]
    pub fn path(self, json_path: impl Into<String>) -> Self {
        Self {
            json_path: json_path.into(),
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
            json_path: String::new(),
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
            of: None,
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

    /// For [`Each::Object`]: whose objects.
    #[must_use]
    pub fn of(self, resource: ResourceName) -> Self {
        Self {
            of: Some(resource),
            ..self
        }
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
