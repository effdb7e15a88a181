//! What may be asked, as data: the operations of each group version, which `v2` and `v3` spell in their own ways.
//!
//! Paths, operation ids, actions and tags are upstream's (apiserver `endpoints/installer.go`, `endpoints/openapi`).
//! The deprecated `/watch/` paths are not published.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::definitions::{Definitions, Names};
use super::parameters::{Parameter, deleting, in_path, query, selecting, watching, writing};
use crate::discovery::{ServedGroup, ServedResource, ServedVersion};
use crate::manifest::{Backing, Scope, Subresource, Verb};

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const ANY: &str = "*/*";
/// The patch types of a kind without Go type: no strategic merge patch.
const PATCHES: [&str; 3] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
];
const PATCHES_WITHOUT_APPLY: [&str; 2] = ["application/json-patch+json", "application/merge-patch+json"];
const PATCHES_WITH_SCHEMA: [&str; 3] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// A version of a group with its paths.
pub(super) struct GroupVersion {
    /// `/apis/GROUP/VERSION` or `/api/VERSION`.
    pub root: String,
    /// Sorted by path.
    pub paths: Vec<Path>,
    /// Definitions that belong to it, whether or not an operation names them.
    pub kinds: BTreeSet<String>,
}

/// A path and what may be done there.
pub(super) struct Path {
    pub path: String,
    /// Parameters of all its operations.
    pub parameters: Vec<Parameter>,
    pub operations: Vec<Operation>,
}

/// An operation.
pub(super) struct Operation {
    /// `get`, `post`, `put`, `patch` or `delete`.
    pub method: &'static str,
    pub id: String,
    pub description: String,
    pub tag: String,
    pub parameters: Vec<Parameter>,
    pub body: Option<Body>,
    /// Code, description, definition.
    pub responses: Vec<(u16, &'static str, String)>,
    /// Media types of the responses.
    pub produces: Vec<String>,
    /// `x-kubernetes-action` and `x-kubernetes-group-version-kind`.
    pub on: Option<(&'static str, Value)>,
}

/// What is sent.
pub(super) struct Body {
    pub definition: String,
    pub required: bool,
    pub consumes: Vec<&'static str>,
}

/// The operations of these groups.
pub(super) fn of(groups: &[ServedGroup], definitions: &Definitions) -> Vec<GroupVersion> {
    let mut ids = BTreeSet::new();
    let versions = groups
        .iter()
        .flat_map(|g| g.versions.iter().map(move |v| (g.name.as_str(), v)));
    versions
        .map(|(group, version)| group_version(group, version, definitions, &mut ids))
        .collect()
}

fn group_version(group: &str, version: &ServedVersion, definitions: &Definitions, ids: &mut BTreeSet<String>) -> GroupVersion {
    let root = match group {
        "" => format!("/api/{}", version.version),
        _ => format!("/apis/{group}/{}", version.version),
    };
    let prefix = match group {
        "" => "core",
        _ => group.strip_suffix(".k8s.io").unwrap_or(group),
    };
    let tag = format!("{}_{}", camel(prefix, false), version.version);
    let mut paths = vec![Path {
        path: format!("{root}/"),
        parameters: vec![],
        operations: vec![resources(prefix, version, &tag)],
    }];
    let mut kinds = BTreeSet::new();
    for served in &version.resources {
        let Some(names) = definitions.names(group, &version.version, &served.resource.plural) else {
            continue;
        };
        kinds.extend([names.kind.clone(), names.list.clone()]);
        let of = Of {
            group,
            version: &version.version,
            prefix: camel(prefix, true),
            tag: &tag,
            served,
            names,
        };
        paths.extend(of.paths(&root));
    }
    for operation in paths.iter_mut().flat_map(|p| &mut p.operations) {
        unique(&mut operation.id, ids);
    }
    paths.sort_by(|a, b| a.path.cmp(&b.path));
    GroupVersion { root, paths, kinds }
}

/// Discovery of the version.
fn resources(prefix: &str, version: &ServedVersion, tag: &str) -> Operation {
    Operation {
        method: "get",
        id: format!("get{}{}APIResources", camel(prefix, true), camel(&version.version, true)),
        description: "get available resources".into(),
        tag: tag.to_owned(),
        parameters: vec![],
        body: None,
        responses: vec![(200, "OK", meta("APIResourceList"))],
        produces: vec![JSON.into(), YAML.into(), PROTOBUF.into()],
        on: None,
    }
}

/// One resource in one version, on its way to paths.
struct Of<'a> {
    group: &'a str,
    version: &'a str,
    prefix: String,
    tag: &'a str,
    served: &'a ServedResource,
    names: &'a Names,
}

// === impl Of ===

impl Of<'_> {
    fn paths(&self, root: &str) -> Vec<Path> {
        let plural = &self.served.resource.plural;
        let namespaced = self.served.resource.scope == Scope::Namespaced;
        let mut paths = Vec::new();
        let mut push = |path: String, mut parameters: Vec<Parameter>, operations: Vec<Option<Operation>>| {
            parameters.push(query("pretty", "string", "If 'true', the output is indented."));
            let operations: Vec<_> = operations.into_iter().flatten().collect();
            if !operations.is_empty() {
                paths.push(Path {
                    path,
                    parameters,
                    operations,
                });
            }
        };
        let (home, within) = if namespaced {
            push(format!("{root}/{plural}"), vec![], vec![self.list("", "ForAllNamespaces")]);
            let namespace = in_path(
                "namespace",
                "object name and auth scope, such as for teams and projects".into(),
            );
            (format!("{root}/namespaces/{{namespace}}/{plural}"), vec![namespace])
        } else {
            (format!("{root}/{plural}"), vec![])
        };
        let infix = if namespaced { "Namespaced" } else { "" };
        push(
            home.clone(),
            within.clone(),
            vec![self.delete_collection(infix), self.list(infix, ""), self.create(infix)],
        );
        let name = in_path("name", format!("name of the {}", self.served.resource.kind));
        let one = [vec![name], within].concat();
        let operations = vec![self.delete(infix), self.read(infix), self.patch(infix), self.replace(infix)];
        push(format!("{home}/{{name}}"), one.clone(), operations);
        for part in &self.served.resource.subresources {
            let operations = self.part(infix, part);
            push(format!("{home}/{{name}}/{}", part.name), one.clone(), operations);
        }
        paths
    }

    /// A subresource that is read and replaced, or one that is a stream.
    fn part(&self, infix: &str, part: &Subresource) -> Vec<Option<Operation>> {
        let (kind, name) = (&self.served.resource.kind, &part.name);
        let (Some(definition), suffix) = (self.names.parts.get(name), camel(name, true)) else {
            return Vec::new();
        };
        let version = camel(self.version, true);
        let (of_group, of_version) = self.served.foreign(part).unwrap_or((self.group, self.version));
        let made = |method: &'static str, action: &'static str, id: String, description: String| Operation {
            method,
            id,
            description,
            tag: self.tag.to_owned(),
            parameters: vec![],
            body: None,
            responses: vec![],
            produces: vec![JSON.into(), YAML.into()],
            on: Some((
                action,
                json!({ "group": of_group, "kind": self.served.kind_of(part), "version": of_version }),
            )),
        };
        let mut operations = Vec::new();
        if part.verbs.contains(&Verb::Connect) {
            let methods: Vec<&str> = match part.methods.as_slice() {
                [] => vec!["GET", "POST"],
                methods => methods.iter().map(String::as_str).collect(),
            };
            for method in methods {
                let lower = match method {
                    "GET" => "get",
                    "HEAD" => "head",
                    "POST" => "post",
                    "PUT" => "put",
                    "PATCH" => "patch",
                    _ => "delete",
                };
                let id = format!("connect{}{version}{}{infix}{kind}{suffix}", self.prefix, camel(lower, true));
                let mut operation = made(lower, "connect", id, format!("connect {method} requests to {name} of {kind}"));
                operation = operation.with(vec![], &[200], "");
                operation.produces = vec![ANY.into()];
                operations.push(Some(operation));
            }
            return operations;
        }
        for (verb, method, action, starts, doing, codes) in [
            (Verb::Get, "get", "get", "read", "read", &[200][..]),
            (Verb::Update, "patch", "patch", "patch", "partially update", &[200, 201]),
            (Verb::Update, "put", "put", "replace", "replace", &[200, 201]),
        ] {
            if !part.verbs.contains(&verb) {
                continue;
            }
            let id = format!("{starts}{}{version}{infix}{kind}{suffix}", self.prefix);
            let operation = made(method, action, id, format!("{doing} {name} of the specified {kind}"));
            operations.push(Some(match method {
                "get" => operation.with(vec![], codes, definition),
                "put" => operation.with(writing(), codes, definition).taking(definition, true, &[ANY]),
                _ => operation.with(writing(), codes, definition).taking(
                    &meta("Patch"),
                    true,
                    match self.served.foreign(part) {
                        // What the schema says is not of the Scale.
                        Some(_) => &PATCHES_WITHOUT_APPLY,
                        None => self.patches(),
                    },
                ),
            }));
        }
        operations
    }

    /// The host makes patches of virtual and stored resources itself; it has no apply for them.
    fn patches(&self) -> &'static [&'static str] {
        match self.served.resource.backing {
            Backing::Stored { .. } if self.served.resource.schema.is_some() => &PATCHES_WITH_SCHEMA,
            Backing::Virtual { .. } | Backing::Stored { .. } => &PATCHES_WITHOUT_APPLY,
            _ => &PATCHES,
        }
    }

    fn list(&self, infix: &str, suffix: &str) -> Option<Operation> {
        let watched = self.serves("watch");
        let doing = if watched {
            "list or watch objects of kind"
        } else {
            "list objects of kind"
        };
        let mut parameters = selecting();
        let mut operation = self.operation("list", "get", "list", "list", infix, suffix, doing)?;
        if watched {
            parameters.extend(watching());
            operation.produces.push(format!("{JSON};stream=watch"));
            if self.served.resource.protobuf {
                operation.produces.push(format!("{PROTOBUF};stream=watch"));
            }
        }
        Some(operation.with(parameters, &[200], &self.names.list))
    }

    fn read(&self, infix: &str) -> Option<Operation> {
        let operation = self.operation("get", "get", "get", "read", infix, "", "read the specified")?;
        Some(operation.with(vec![], &[200], &self.names.kind))
    }

    fn create(&self, infix: &str) -> Option<Operation> {
        let operation = self.operation("create", "post", "post", "create", infix, "", "create a")?;
        Some(
            operation
                .with(writing(), &[200, 201, 202], &self.names.kind)
                .taking(&self.names.kind, true, &[ANY]),
        )
    }

    fn replace(&self, infix: &str) -> Option<Operation> {
        let operation = self.operation("update", "put", "put", "replace", infix, "", "replace the specified")?;
        Some(
            operation
                .with(writing(), &[200, 201], &self.names.kind)
                .taking(&self.names.kind, true, &[ANY]),
        )
    }

    /// Published for every kind that can be written: the module's doc says why.
    fn patch(&self, infix: &str) -> Option<Operation> {
        let verb = ["patch", "create", "update"].into_iter().find(|verb| self.serves(verb))?;
        let operation = self.operation(verb, "patch", "patch", "patch", infix, "", "partially update the specified")?;
        let mut parameters = writing();
        parameters.push(query("force", "boolean", "Take over fields that others own; for apply only."));
        Some(
            operation
                .with(parameters, &[200, 201], &self.names.kind)
                .taking(&meta("Patch"), true, self.patches()),
        )
    }

    fn delete(&self, infix: &str) -> Option<Operation> {
        let operation = self.operation("delete", "delete", "delete", "delete", infix, "", "delete a")?;
        Some(
            operation
                .with(deleting(), &[200, 202], &meta("Status"))
                .taking(&meta("DeleteOptions"), false, &[ANY]),
        )
    }

    fn delete_collection(&self, infix: &str) -> Option<Operation> {
        let infix = format!("Collection{infix}");
        let (verb, doing) = ("deletecollection", "delete collection of");
        let operation = self.operation(verb, "delete", verb, "delete", &infix, "", doing)?;
        let parameters = [selecting(), deleting()].concat();
        Some(
            operation
                .with(parameters, &[200], &meta("Status"))
                .taking(&meta("DeleteOptions"), false, &[ANY]),
        )
    }

    fn serves(&self, verb: &str) -> bool {
        self.served.verbs.iter().any(|v| v == verb)
    }

    #[expect(clippy::too_many_arguments, reason = "one row of a table, private to it")]
    fn operation(
        &self,
        verb: &str,
        method: &'static str,
        action: &'static str,
        starts: &str,
        infix: &str,
        suffix: &str,
        doing: &str,
    ) -> Option<Operation> {
        if !self.serves(verb) {
            return None;
        }
        let kind = &self.served.resource.kind;
        let mut produces = vec![JSON.to_owned(), YAML.to_owned()];
        if self.served.resource.protobuf {
            produces.push(PROTOBUF.into());
        }
        let article = if doing.ends_with(" a") && kind.starts_with(['A', 'E', 'I', 'O', 'U']) {
            "n"
        } else {
            ""
        };
        Some(Operation {
            method,
            id: format!("{starts}{}{}{infix}{kind}{suffix}", self.prefix, camel(self.version, true)),
            description: format!("{doing}{article} {kind}"),
            tag: self.tag.to_owned(),
            parameters: vec![],
            body: None,
            responses: vec![],
            produces,
            on: Some((action, json!({ "group": self.group, "kind": kind, "version": self.version }))),
        })
    }
}

// === impl Path ===

impl Path {
    /// The definitions that its operations name.
    pub(super) fn definitions(&self) -> impl Iterator<Item = &str> {
        self.operations.iter().flat_map(|o| {
            let answers = o.responses.iter().map(|(_, _, definition)| definition.as_str());
            answers
                .chain(o.body.as_ref().map(|body| body.definition.as_str()))
                .filter(|name| !name.is_empty())
        })
    }
}

// === impl Operation ===

impl Operation {
    fn with(mut self, mut parameters: Vec<Parameter>, codes: &[u16], answer: &str) -> Self {
        parameters.sort_by_key(|p| p.name);
        self.parameters = parameters;
        let word = |code: u16| match code {
            201 => "Created",
            202 => "Accepted",
            _ => "OK",
        };
        self.responses = codes.iter().map(|&code| (code, word(code), answer.to_owned())).collect();
        self
    }

    fn taking(mut self, definition: &str, required: bool, consumes: &[&'static str]) -> Self {
        self.body = Some(Body {
            definition: definition.to_owned(),
            required,
            consumes: consumes.to_vec(),
        });
        self
    }
}

/// The definition of a type of meta/v1.
fn meta(name: &str) -> String {
    format!("io.k8s.apimachinery.pkg.apis.meta.v1.{name}")
}

/// Words joined, as apiserver's `ToValidOperationID`: only letters and digits, each word's first letter in upper case.
fn camel(text: &str, mut up: bool) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if !c.is_ascii_alphanumeric() {
            up = true;
        } else if std::mem::take(&mut up) {
            out.push(c.to_ascii_uppercase());
        } else {
            out.push(c);
        }
    }
    out
}

fn unique(id: &mut String, taken: &mut BTreeSet<String>) {
    let plain = id.clone();
    let mut n = 1;
    while !taken.insert(id.clone()) {
        n += 1;
        *id = format!("{plain}_{n}");
    }
}
