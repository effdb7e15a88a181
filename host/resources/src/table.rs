//! get and list over a table.
//!
//! Rows are finished bytes: a list is their concatenation between frames. For a table that shadows a live resource,
//! existence, labels and selectors come from the live object at every read, so a deleted pod is gone with its deletion and
//! not with the next tick.

use std::sync::Arc;
use std::time::SystemTime;

use outrigger_api::list_options::ListOptions;
use outrigger_api::manifest::{Scope, Shadow};
use outrigger_api::media::{Encoding, Form, Media, Offer};
use outrigger_api::meta::{ListMeta, NONE, ObjectMeta, TypeMeta};
use outrigger_api::query::Query;
use outrigger_api::request_info::RequestInfo;
use outrigger_api::selector::{FieldSelector, LabelSelector};
use outrigger_api::status::Status;
use outrigger_api::table::{IncludeObject, RowObject, TableWriter};
use outrigger_api::time::Timestamp;
use outrigger_api::{encode, json, protobuf};
use outrigger_catalog::Served;
use outrigger_storage::{Entry, Key, Labels, LiveIndex};

use crate::Answer;

/// Reads tables.
pub struct Tables {
    live: Arc<dyn LiveIndex>,
}

/// One read of one table.
struct Read<'a> {
    served: &'a Served,
    info: &'a RequestInfo,
    query: &'a Query,
    now: SystemTime,
    api_version: String,
}

/// A row that the request selects, with the labels of its live object.
struct Selected {
    entry: Arc<Entry>,
    labels: Option<Arc<Labels>>,
}

/// Room for one object and for a list's rows, to begin with.
const OBJECT: usize = 1 << 10;
const FRAME: usize = 512;

// === impl Tables ===

impl Tables {
    /// Reads tables; rows that shadow live objects are judged by `live`.
    #[must_use]
    pub fn new(live: Arc<dyn LiveIndex>) -> Self {
        Self { live }
    }

    /// Answers a request for a resource that is backed by a table.
    ///
    /// # Errors
    /// The Status to answer with: 404 if there is no such object or row, 405 for any verb but get and list, 406 if no
    /// representation fits, 400 for malformed parameters.
    pub fn read(
        &self,
        served: &Served,
        info: &RequestInfo,
        query: &Query,
        accept: Option<&str>,
        pretty: bool,
    ) -> Result<Answer, Status> {
        if !info.subresource.is_empty() {
            return Err(Status::generic_not_found());
        }
        let namespaced = served.resource.scope == Scope::Namespaced;
        if !namespaced && !info.namespace.is_empty() {
            return Err(Status::generic_not_found());
        }
        let api_version = match &*info.api_group {
            "" => info.api_version.clone(),
            group => format!("{group}/{}", info.api_version),
        };
        let read = Read {
            served,
            info,
            query,
            now: SystemTime::now(),
            api_version,
        };
        match &*info.verb {
            "get" if namespaced && info.namespace.is_empty() => Err(Status::generic_not_found()),
            "get" => self.get(&read, read.media(accept, pretty, false)?),
            "list" => self.list(&read, read.media(accept, pretty, true)?),
            "watch" => Err(Status::method_not_supported(&info.api_group, &info.resource, "watch")),
            _ => Err(Status::method_not_allowed()),
        }
    }

    fn get(&self, read: &Read<'_>, media: Media) -> Result<Answer, Status> {
        let (namespace, name) = (&*read.info.namespace, &*read.info.name);
        let labels = match read.served.shadow() {
            Some(of) => Some(
                self.live
                    .labels(of, namespace, name)
                    .ok_or_else(|| no_such_object(read, of))?,
            ),
            None => None,
        };
        let snapshot = read.served.table.snapshot();
        let key = Key::new(namespace, name);
        let entry = snapshot.get(&key, read.now).ok_or_else(|| no_such_row(read, &key))?;
        let selected = Selected {
            entry: entry.clone(),
            labels,
        };
        let mut out = Vec::with_capacity(OBJECT);
        let meta = selected.meta();
        match (media.form, media.encoding) {
            (Form::Object, Encoding::Protobuf) => {
                protobuf::write_document(&mut out, read.kind(), &meta, &entry.row.protobuf);
            }
            (Form::Object, _) => json::write_document(&mut out, read.kind(), &meta, &entry.row.fields),
            (Form::PartialMetadata, Encoding::Protobuf) => protobuf::write_document(&mut out, PARTIAL, &meta, &[]),
            (Form::PartialMetadata, _) => json::write_document(&mut out, PARTIAL, &meta, &[]),
            (Form::Table(version), _) => {
                let include = IncludeObject::parse(read.query)?;
                let columns = &read.served.resource.columns;
                let mut table = TableWriter::begin(&mut out, version, include, &ListMeta::default(), columns);
                table.row(
                    &entry.row.cells,
                    RowObject {
                        meta: &meta,
                        kind: read.kind(),
                        fields: &entry.row.fields,
                    },
                );
                table.finish();
            }
        }
        finish(out, media)
    }

    fn list(&self, read: &Read<'_>, media: Media) -> Result<Answer, Status> {
        let options = ListOptions::read(read.query)?;
        let selected = self.select(read, &options.label_selector, &options.field_selector);
        let meta = ListMeta::default();
        let kind = format!("{}List", read.served.resource.kind);
        let kind = TypeMeta {
            api_version: &read.api_version,
            kind: &kind,
        };
        let size: usize = selected.iter().map(|s| s.size(media)).sum();
        let mut out = Vec::with_capacity(FRAME + size);
        match (media.form, media.encoding) {
            (Form::Object, Encoding::Protobuf) => {
                let mut list = protobuf::ListWriter::begin(&mut out, kind, &meta);
                for s in &selected {
                    list.item(&s.meta(), &s.entry.row.protobuf);
                }
                list.finish();
            }
            (Form::Object, _) => {
                let mut list = json::ListWriter::begin(&mut out, kind, &meta);
                for s in &selected {
                    list.item(None, &s.meta(), &s.entry.row.fields);
                }
                list.finish();
            }
            (Form::PartialMetadata, Encoding::Protobuf) => {
                let mut list = protobuf::ListWriter::begin(&mut out, PARTIAL_LIST, &meta);
                for s in &selected {
                    list.item(&s.meta(), &[]);
                }
                list.finish();
            }
            (Form::PartialMetadata, _) => {
                let mut list = json::ListWriter::begin(&mut out, PARTIAL_LIST, &meta);
                for s in &selected {
                    list.item(Some(PARTIAL), &s.meta(), &[]);
                }
                list.finish();
            }
            (Form::Table(version), _) => {
                let mut table = TableWriter::begin(
                    &mut out,
                    version,
                    options.include_object,
                    &meta,
                    &read.served.resource.columns,
                );
                for s in &selected {
                    let object = RowObject {
                        meta: &s.meta(),
                        kind: read.kind(),
                        fields: &s.entry.row.fields,
                    };
                    table.row(&s.entry.row.cells, object);
                }
                table.finish();
            }
        }
        finish(out, media)
    }

    /// The rows of a list, in the order of the table: namespace, then name.
    fn select(&self, read: &Read<'_>, labels: &LabelSelector, fields: &FieldSelector) -> Vec<Selected> {
        let snapshot = read.served.table.snapshot();
        let shadow = read.served.shadow();
        let choose = |entry: &Arc<Entry>| -> Option<Selected> {
            let key = &entry.row.key;
            if !fields.matches(&key.namespace, &key.name) {
                return None;
            }
            let found = match shadow {
                Some(of) => Some(self.live.labels(of, &key.namespace, &key.name)?),
                None => None,
            };
            labels.matches(found.as_deref().unwrap_or(&NONE)).then(|| Selected {
                entry: entry.clone(),
                labels: found,
            })
        };
        match &*read.info.namespace {
            "" => snapshot.iter(read.now).filter_map(choose).collect(),
            namespace => snapshot.iter_namespace(namespace, read.now).filter_map(choose).collect(),
        }
    }
}

const PARTIAL: TypeMeta<'static> = TypeMeta {
    api_version: "meta.k8s.io/v1",
    kind: "PartialObjectMetadata",
};
const PARTIAL_LIST: TypeMeta<'static> = TypeMeta {
    api_version: "meta.k8s.io/v1",
    kind: "PartialObjectMetadataList",
};

/// The document in the encoding that was asked for; it was written as compact JSON or as protobuf.
fn finish(document: Vec<u8>, media: Media) -> Result<Answer, Status> {
    let body = match media.encoding {
        Encoding::Protobuf | Encoding::Json { pretty: false } => document,
        encoding => encode::text(document, encoding).map_err(Status::internal_error)?,
    };
    Ok(Answer {
        content_type: media.content_type(),
        body,
    })
}

/// The live object that the row would speak of does not exist: the words of the lister that metrics-server asks
/// (metrics-server `pkg/api/{node,pod}.go`; a node is named in the singular there).
fn no_such_object(read: &Read<'_>, of: Shadow) -> Status {
    let name = &read.info.name;
    match of {
        _ if read.info.api_group.is_empty() => Status::not_found("", &read.info.resource, name),
        Shadow::Nodes => Status::not_found("", "node", name),
        Shadow::Pods => Status::not_found("", "pods", name),
    }
}

/// The object exists but there is no row for it (yet): metrics-server names it by its kind, and a pod with its
/// namespace, so that a client can tell "no such pod" from "no metrics for it".
fn no_such_row(read: &Read<'_>, key: &Key) -> Status {
    let resource = &read.served.resource;
    if read.served.shadow().is_some() {
        Status::not_found(&resource.group, &resource.kind.to_lowercase(), &key.to_string())
    } else {
        Status::not_found(&resource.group, &resource.plural, &key.name)
    }
}

// === impl Read ===

impl Read<'_> {
    fn kind(&self) -> TypeMeta<'_> {
        TypeMeta {
            api_version: &self.api_version,
            kind: &self.served.resource.kind,
        }
    }

    fn media(&self, accept: Option<&str>, pretty: bool, list: bool) -> Result<Media, Status> {
        let offer = Offer {
            protobuf: self.served.resource.protobuf,
            table: true,
            partial: true,
            list,
        };
        Media::negotiate(accept, pretty, &offer)
    }
}

// === impl Selected ===

impl Selected {
    fn meta(&self) -> ObjectMeta<'_> {
        let key = &self.entry.row.key;
        let created = self.entry.row.created.unwrap_or(self.entry.published);
        ObjectMeta {
            creation: Some(Timestamp::from(created)),
            labels: self.labels.as_deref().unwrap_or(&NONE),
            ..ObjectMeta::named(&key.namespace, &key.name)
        }
    }

    /// About how many bytes it takes in a list.
    fn size(&self, media: Media) -> usize {
        let row = &self.entry.row;
        let labels = self
            .labels
            .as_ref()
            .map_or(0, |l| l.iter().map(|(k, v)| k.len() + v.len() + 6).sum::<usize>());
        let fields = match (media.form, media.encoding) {
            (Form::Object, Encoding::Protobuf) => row.protobuf.len(),
            (Form::Object, _) => row.fields.len(),
            _ => row.cells.len() + 96,
        };
        128 + row.key.namespace.len() + row.key.name.len() + labels + fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Method, Uri};
    use outrigger_api::manifest::{Column, Resource};
    use outrigger_storage::{Row, Table};
    use std::collections::BTreeMap;
    use std::time::Duration;

    /// Node n1; pods shop/web (tier=front), shop/new (no row yet) and mail/in.
    struct Cluster;

    impl LiveIndex for Cluster {
        fn labels(&self, of: Shadow, namespace: &str, name: &str) -> Option<Arc<Labels>> {
            let labels: &[(&str, &str)] = match (of, namespace, name) {
                (Shadow::Nodes, "", "n1") => &[("zone", "a")],
                (Shadow::Pods, "shop", "web") => &[("app", "web"), ("tier", "front")],
                (Shadow::Pods, "shop", "new") => &[],
                (Shadow::Pods, "mail", "in") => &[("app", "in")],
                _ => return None,
            };
            Some(Arc::new(
                labels
                    .iter()
                    .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                    .collect::<BTreeMap<_, _>>(),
            ))
        }
    }

    const AT: u64 = 1_795_257_700;

    fn pods() -> Served {
        let resource = Resource::table("PodMetrics", "pods", Scope::Namespaced)
            .group("metrics.k8s.io")
            .version("v1beta1")
            .shadow(Shadow::Pods)
            .column(Column::string("cpu").format("quantity"))
            .protobuf();
        let table = Table::new();
        let row = |namespace: &str, name: &str| Row {
            key: Key::new(namespace, name),
            created: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(AT)),
            fields: br#""window":"15s","containers":[]"#.as_slice().into(),
            protobuf: [0x1a, 0x02, 0x08, 0x0f].as_slice().into(),
            cells: br#""50m""#.as_slice().into(),
        };
        let rows = vec![row("shop", "web"), row("shop", "deleted"), row("mail", "in")];
        table.publish(&"summaries/n1".into(), rows, SystemTime::now(), Duration::from_secs(60));
        Served {
            resource,
            plugin: "metrics".into(),
            table: Arc::new(table),
        }
    }

    fn nodes() -> Served {
        let resource = Resource::table("NodeMetrics", "nodes", Scope::Cluster)
            .group("metrics.k8s.io")
            .version("v1beta1")
            .shadow(Shadow::Nodes);
        Served {
            resource,
            plugin: "metrics".into(),
            table: Arc::default(),
        }
    }

    fn ask(served: &Served, method: &str, path: &str, accept: &str) -> Result<Answer, Status> {
        let uri: Uri = format!("/apis/metrics.k8s.io/v1beta1/{path}").parse().unwrap();
        let info = RequestInfo::parse(&method.parse::<Method>().unwrap(), &uri)?;
        let query = Query::parse(uri.query().unwrap_or_default());
        Tables::new(Arc::new(Cluster)).read(served, &info, &query, Some(accept), false)
    }

    fn json(served: &Served, path: &str, accept: &str) -> serde_json::Value {
        serde_json::from_slice(&ask(served, "GET", path, accept).unwrap().body).unwrap()
    }

    #[test]
    fn an_object_reads_as_upstreams() {
        let answer = ask(&pods(), "GET", "namespaces/shop/pods/web", "application/json").unwrap();
        let expected = concat!(
            r#"{"kind":"PodMetrics","apiVersion":"metrics.k8s.io/v1beta1","metadata":{"name":"web","namespace":"shop","#,
            r#""creationTimestamp":"2026-11-21T10:41:40Z","labels":{"app":"web","tier":"front"}},"window":"15s","containers":[]}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(answer.body).unwrap(), expected);
        assert_eq!(answer.content_type, "application/json");
    }

    #[test]
    fn lists_hold_what_lives_and_is_selected() {
        for (path, expected) in [
            ("pods", vec!["mail/in", "shop/web"]),
            ("namespaces/shop/pods", vec!["shop/web"]),
            ("namespaces/none/pods", vec![]),
            ("pods?labelSelector=tier%3Dfront", vec!["shop/web"]),
            ("pods?labelSelector=app+notin+(web)", vec!["mail/in"]),
            ("pods?fieldSelector=metadata.name%3Din", vec!["mail/in"]),
            ("pods?fieldSelector=metadata.namespace!%3Dmail", vec!["shop/web"]),
            ("pods?labelSelector=tier%3Dfront&fieldSelector=metadata.name%3Din", vec![]),
            ("pods?limit=1", vec!["mail/in", "shop/web"]),
        ] {
            let list = json(&pods(), path, "application/json");
            assert_eq!(list["kind"], "PodMetricsList", "{path}");
            assert_eq!(list["metadata"], serde_json::json!({}), "{path}");
            let name = |i: &serde_json::Value| {
                let text = |at| i["metadata"][at].as_str().unwrap().to_owned();
                format!("{}/{}", text("namespace"), text("name"))
            };
            let names: Vec<String> = list["items"].as_array().unwrap().iter().map(name).collect();
            assert_eq!(names, expected, "{path}");
        }
    }

    #[test]
    fn refusals_use_metrics_servers_words() {
        let (pods, nodes) = (pods(), nodes());
        for (served, method, path, code, message) in [
            (&nodes, "GET", "nodes/gone", 404, r#"node "gone" not found"#),
            (&nodes, "GET", "nodes/n1", 404, r#"nodemetrics.metrics.k8s.io "n1" not found"#),
            (&pods, "GET", "namespaces/shop/pods/gone", 404, r#"pods "gone" not found"#),
            (
                &pods,
                "GET",
                "namespaces/shop/pods/deleted",
                404,
                r#"pods "deleted" not found"#,
            ),
            (
                &pods,
                "GET",
                "namespaces/shop/pods/new",
                404,
                r#"podmetrics.metrics.k8s.io "shop/new" not found"#,
            ),
            (
                &pods,
                "GET",
                "namespaces/shop/pods/web/log",
                404,
                "the server could not find the requested resource",
            ),
            (
                &pods,
                "GET",
                "pods?watch=true",
                405,
                r#"watch is not supported on resources of kind "pods.metrics.k8s.io""#,
            ),
            (
                &pods,
                "DELETE",
                "namespaces/shop/pods/web",
                405,
                "the server does not allow this method on the requested resource",
            ),
            (
                &pods,
                "POST",
                "namespaces/shop/pods",
                405,
                "the server does not allow this method on the requested resource",
            ),
            (
                &pods,
                "GET",
                "pods?fieldSelector=spec.x%3D1",
                400,
                r#""spec.x" is not a known field selector: only "metadata.name", "metadata.namespace""#,
            ),
        ] {
            let status = ask(served, method, path, "application/json").unwrap_err();
            assert_eq!((status.code, &*status.message), (code, message), "{method} {path}");
        }
        assert_eq!(ask(&pods, "GET", "pods", "text/html").unwrap_err().code, 406);
    }

    #[test]
    fn other_forms() {
        let table = json(&pods(), "pods", "application/json;as=Table;v=v1;g=meta.k8s.io");
        assert_eq!(table["columnDefinitions"][1]["name"], "cpu");
        assert_eq!(table["rows"][1]["cells"], serde_json::json!(["web", "50m"]));
        assert_eq!(table["rows"][1]["object"]["metadata"]["namespace"], "shop");
        let partial = json(
            &pods(),
            "pods",
            "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
        );
        assert_eq!(partial["items"][0]["kind"], "PartialObjectMetadata");
        assert_eq!(partial["items"][0].get("window"), None);
        let yaml = ask(&pods(), "GET", "namespaces/shop/pods/web", "application/yaml").unwrap();
        assert!(String::from_utf8(yaml.body).unwrap().contains("window: 15s"));
    }

    #[test]
    fn protobuf_is_spliced_from_the_rows() {
        let accept = "application/vnd.kubernetes.protobuf,application/json";
        let answer = ask(&pods(), "GET", "namespaces/mail/pods", accept).unwrap();
        assert_eq!(answer.content_type, protobuf::CONTENT_TYPE);
        let unknown = protobuf::open(&answer.body).unwrap();
        assert_eq!(unknown.type_meta.unwrap().kind, "PodMetricsList");
        let end = &unknown.raw[unknown.raw.len() - 4..];
        assert_eq!(end, [0x1a, 0x02, 0x08, 0x0f], "the row's own bytes close the last item");
        let nodes = ask(&nodes(), "GET", "nodes", accept).unwrap();
        assert_eq!(
            nodes.content_type, "application/json",
            "no protobuf declared: the next type that is accepted"
        );
    }
}
