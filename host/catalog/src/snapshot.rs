//! One state of what is served.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use outrigger_api::cells::Cells;
use outrigger_api::discovery::{ServedGroup, ServedResource, ServedVersion, sort_versions};
use outrigger_api::manifest::{Backing, Column, Resource, Shadow, Subresource, Verb};
use outrigger_storage::store::Prefix;
use outrigger_storage::{Kept, LiveIndex, Shelf, Table};

use crate::verbs::verbs;
use crate::{Documents, Guest, Schemas, Standing};

/// A plugin version that is served.
#[derive(Clone)]
pub struct Installed {
    /// Where it came from, for people: a file's path, or `built in`.
    pub origin: Arc<str>,
    /// The running version.
    pub guest: Arc<dyn Guest>,
}

/// One resource in one version.
pub struct Served {
    /// As the manifest has it.
    pub resource: Resource,
    /// The plugin's name; empty for what is built in.
    pub plugin: Arc<str>,
    /// `GROUP/VERSION`, or the version alone in core.
    pub api_version: Arc<str>,
    /// Its rows.
    pub table: Arc<Table>,
    /// By what its objects are pruned, filled in and validated, if the host keeps them.
    pub schemas: Schemas,
    /// The objects, if the host keeps them; the table is their image.
    pub kept: Option<Arc<Kept>>,
    /// Whether they are worth an answer.
    pub standing: Arc<Standing>,
    /// The plugin's running version; none for what is built in.
    pub guest: Option<Arc<dyn Guest>>,
    /// How the cells of its columns are found in an object; none for a table, whose rows bring their cells.
    pub cells: Option<Cells>,
}

/// All that is served at one moment.
#[derive(Default)]
pub struct Snapshot {
    plugins: BTreeMap<Arc<str>, Installed>,
    groups: BTreeMap<String, BTreeMap<String, BTreeMap<String, Arc<Served>>>>,
    tables: BTreeMap<(Arc<str>, String), Arc<Table>>,
    standings: BTreeMap<(Arc<str>, String), Arc<Standing>>,
    documents: Documents,
}

// === impl Served ===

impl Served {
    /// A resource in one of its versions, over its table.
    #[must_use]
    pub fn new(resource: Resource, version: &str, plugin: Arc<str>, table: Arc<Table>) -> Self {
        let schemas = Schemas::of(&resource, version);
        let mut resource = in_version(resource, version);
        let is_table = matches!(resource.backing, Backing::Table { .. });
        if !is_table && resource.columns.is_empty() {
            // What a CRD shows that declares no columns.
            resource.columns.push(Column::date("Age").path(".metadata.creationTimestamp"));
        }
        let api_version = match &*resource.group {
            "" => version.into(),
            group => format!("{group}/{version}").into(),
        };
        Self {
            cells: (!is_table).then(|| Cells::of(&resource.columns)),
            resource,
            plugin,
            api_version,
            table,
            schemas,
            kept: None,
            standing: Arc::default(),
            guest: None,
        }
    }

    /// The same, over objects that the host keeps.
    #[must_use]
    pub fn keeping(self, kept: Option<Arc<Kept>>) -> Self {
        Self { kept, ..self }
    }

    /// The same, answered by this version of its plugin.
    #[must_use]
    pub fn by(self, guest: Option<Arc<dyn Guest>>) -> Self {
        Self { guest, ..self }
    }

    /// Seconds between two looks, if its objects are a plugin's own and all callers share one list of them.
    #[must_use]
    pub fn poll_seconds(&self) -> Option<u32> {
        match &self.resource.backing {
            Backing::Virtual { verbs, poll_seconds } if *poll_seconds > 0 && verbs.contains(&Verb::List) => Some(*poll_seconds),
            _ => None,
        }
    }

    /// The same with a standing that its collectors feed; without one it is always worth an answer.
    #[must_use]
    pub fn standing(self, standing: Arc<Standing>) -> Self {
        Self { standing, ..self }
    }
}

/// A resource as one of its versions is: with the schema of that version, and with the parts that its backing declares.
fn in_version(mut resource: Resource, version: &str) -> Resource {
    resource.schema = resource.schema_of(version).cloned();
    resource.schemas.clear();
    if let Backing::Stored { status, scale, .. } = &resource.backing {
        let part = |name: &str, kind: &str| Subresource {
            name: name.to_owned(),
            verbs: vec![Verb::Get, Verb::Update],
            kind: kind.to_owned(),
            methods: Vec::new(),
            protocols: Vec::new(),
        };
        let declared = [(*status, "status", ""), (scale.is_some(), "scale", "Scale")];
        let parts = declared
            .into_iter()
            .filter(|(has, ..)| *has)
            .map(|(_, name, kind)| part(name, kind));
        resource.subresources.extend(parts);
    }
    resource
}

/// What the rows of a resource speak of, if they speak of live objects.
fn shadow(resource: &Resource) -> Option<Shadow> {
    match resource.backing {
        Backing::Table { shadow } => shadow,
        _ => None,
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// Builds what these plugins and built-in resources serve. Tables that `before` has for the same plugin and resource go
    /// on with their rows.
    ///
    /// The caller has made sure that no two of them claim the same resource.
    pub(crate) fn build(
        plugins: &[Installed],
        built_in: &[Resource],
        live: &Arc<dyn LiveIndex>,
        shelf: &Shelf,
        before: &Snapshot,
    ) -> Self {
        let mut next = Self::default();
        let nobody: Arc<str> = "".into();
        let claims = plugins
            .iter()
            .map(|p| {
                (
                    Arc::<str>::from(p.guest.manifest().name.as_str()),
                    p.guest.manifest().resources.as_slice(),
                    p.guest.manifest().collectors.as_slice(),
                    Some(p.guest.clone()),
                )
            })
            .chain([(nobody, built_in, [].as_slice(), None)]);
        let mut served: BTreeMap<String, BTreeMap<String, Vec<ServedResource>>> = BTreeMap::new();
        for (plugin, resources, collectors, guest) in claims {
            for resource in resources {
                let at = (plugin.clone(), format!("{}/{}", resource.group, resource.plural));
                let shadow = shadow(resource);
                let kept = match resource.is_stored() {
                    true => shelf.of(&resource.group, &resource.plural),
                    false => None,
                };
                let known = before.tables.get(&at).filter(|table| table.shadow() == shadow);
                let table = match &kept {
                    Some(kept) => Arc::clone(kept.table()),
                    None => known
                        .cloned()
                        .unwrap_or_else(|| Arc::new(Table::speaking_of(shadow.map(|of| (of, Arc::clone(live)))))),
                };
                let filled = collectors.iter().any(|c| c.fills.contains(&resource.plural));
                let standing = match before.standings.get(&at).filter(|_| filled) {
                    Some(known) => known.clone(),
                    None if filled => Arc::new(Standing::collected()),
                    None => Arc::new(Standing::given()),
                };
                next.tables.insert(at.clone(), table.clone());
                next.standings.insert(at, standing.clone());
                for version in &resource.versions {
                    let entry = Served::new(resource.clone(), version, plugin.clone(), table.clone())
                        .standing(standing.clone())
                        .keeping(kept.clone())
                        .by(guest.clone());
                    let group = next.groups.entry(resource.group.clone()).or_default();
                    group
                        .entry(version.clone())
                        .or_default()
                        .insert(resource.plural.clone(), Arc::new(entry));
                    let listed = served
                        .entry(resource.group.clone())
                        .or_default()
                        .entry(version.clone())
                        .or_default();
                    listed.push(ServedResource {
                        resource: in_version(resource.clone(), version),
                        verbs: verbs(resource),
                    });
                }
            }
        }
        let groups: Vec<ServedGroup> = served
            .into_iter()
            .map(|(name, versions)| {
                let mut versions: Vec<ServedVersion> = versions
                    .into_iter()
                    .map(|(version, resources)| ServedVersion { version, resources })
                    .collect();
                sort_versions(&mut versions);
                ServedGroup { name, versions }
            })
            .collect();
        next.documents = Documents::of(&groups);
        next.plugins = plugins
            .iter()
            .map(|p| (p.guest.manifest().name.as_str().into(), p.clone()))
            .collect();
        next
    }

    /// Ends the watches of tables that are not served any more.
    pub(crate) fn retire_what_is_not_in(&self, next: &Snapshot) {
        for (at, table) in &self.tables {
            let stays = |still: &Arc<Table>| Arc::ptr_eq(still, table);
            // The objects of a stored resource may have passed to another plugin.
            if !next.tables.get(at).is_some_and(stays) && !next.tables.values().any(stays) {
                table.retire();
            }
        }
    }

    /// The resource that a URL names.
    #[must_use]
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Served>> {
        self.groups.get(group)?.get(version)?.get(plural)
    }

    /// Whether anything is served under `/apis/GROUP/VERSION` (`/api/VERSION` for the empty group).
    #[must_use]
    pub fn has_version(&self, group: &str, version: &str) -> bool {
        self.groups.get(group).is_some_and(|g| g.contains_key(version))
    }

    /// All that is served: group and version.
    pub fn versions(&self) -> impl Iterator<Item = (&str, &str)> {
        let groups = self.groups.iter();
        groups.flat_map(|(group, versions)| versions.keys().map(move |version| (group.as_str(), version.as_str())))
    }

    /// The plugins, by name.
    #[must_use]
    pub fn plugins(&self) -> &BTreeMap<Arc<str>, Installed> {
        &self.plugins
    }

    /// The table of one plugin's resource; the plugin's name is empty for what is built in.
    #[must_use]
    pub fn table(&self, plugin: &str, group: &str, plural: &str) -> Option<&Arc<Table>> {
        self.tables.get(&(Arc::from(plugin), format!("{group}/{plural}")))
    }

    /// Whether that table is worth an answer.
    #[must_use]
    pub fn standing(&self, plugin: &str, group: &str, plural: &str) -> Option<&Arc<Standing>> {
        self.standings.get(&(Arc::from(plugin), format!("{group}/{plural}")))
    }

    /// All tables: plugin, `GROUP/PLURAL`, rows.
    pub fn tables(&self) -> impl Iterator<Item = (&str, &str, &Arc<Table>)> {
        self.tables
            .iter()
            .map(|((plugin, resource), table)| (&**plugin, resource.as_str(), table))
    }

    /// The resources whose objects the host keeps.
    pub(crate) fn stored(&self) -> BTreeSet<Prefix> {
        let versions = self.groups.values().flat_map(BTreeMap::values);
        let served = versions.flat_map(BTreeMap::values).filter(|served| served.kept.is_some());
        served
            .map(|served| Prefix::of(&served.resource.group, &served.resource.plural))
            .collect()
    }

    /// Discovery and OpenAPI.
    #[must_use]
    pub fn documents(&self) -> &Documents {
        &self.documents
    }
}
