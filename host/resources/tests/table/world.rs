//! A small cluster, two resources over it, and a client.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use futures::stream::BoxStream;
use http::{Method, Uri};
use outrigger_api::manifest::{Column, Resource, Scope, Shadow};
use outrigger_api::query::Query;
use outrigger_api::request_info::RequestInfo;
use outrigger_api::status::Status;
use outrigger_catalog::Served;
use outrigger_resources::{Answer, Options, ReadMetrics, Tables};
use outrigger_storage::{Key, Labels, LiveIndex, Row, Table};
use serde_json::Value;

/// Node n1; pods shop/web (tier=front), shop/new (no row yet) and mail/in; and what a test adds.
#[derive(Default)]
pub(crate) struct Cluster(Mutex<BTreeMap<(String, String), Labels>>);

pub(crate) const AT: u64 = 1_795_257_700;

impl Cluster {
    pub(crate) fn usual() -> Arc<Self> {
        let cluster = Self::default();
        cluster.set("", "n1", Some(&[("zone", "a")]));
        cluster.set("shop", "web", Some(&[("app", "web"), ("tier", "front")]));
        cluster.set("shop", "new", Some(&[]));
        cluster.set("mail", "in", Some(&[("app", "in")]));
        Arc::new(cluster)
    }

    pub(crate) fn set(&self, namespace: &str, name: &str, labels: Option<&[(&str, &str)]>) {
        let mut objects = self.0.lock().unwrap();
        let at = (namespace.to_owned(), name.to_owned());
        match labels {
            Some(labels) => objects.insert(at, labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()),
            None => objects.remove(&at),
        };
    }
}

impl LiveIndex for Cluster {
    fn labels(&self, _of: Shadow, namespace: &str, name: &str) -> Option<Arc<Labels>> {
        let objects = self.0.lock().unwrap();
        objects.get(&(namespace.into(), name.into())).cloned().map(Arc::new)
    }
}

/// A row that says how much CPU.
pub(crate) fn row(namespace: &str, name: &str, cpu: u32) -> Row {
    Row {
        key: Key::new(namespace, name),
        created: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(AT)),
        fields: format!(r#""window":"15s","containers":[{{"cpu":"{cpu}m"}}]"#)
            .into_bytes()
            .into(),
        protobuf: [0x1a, 0x02, 0x08, 0x0f].as_slice().into(),
        cells: format!(r#""{cpu}m""#).into_bytes().into(),
        meta: None,
    }
}

pub(crate) fn publish(served: &Served, rows: Vec<Row>) {
    served
        .table
        .publish(&"summaries/n1".into(), rows, SystemTime::now(), Duration::from_secs(60));
}

/// PodMetrics over the pods of a cluster: rows for shop/web, mail/in, and for shop/deleted, which is gone.
pub(crate) fn pods_of(cluster: Arc<Cluster>) -> Arc<Served> {
    let resource = Resource::table("PodMetrics", "pods", Scope::Namespaced)
        .group("metrics.k8s.io")
        .version("v1beta1")
        .shadow(Shadow::Pods)
        .column(Column::string("cpu").format("quantity"))
        .protobuf();
    let table = Arc::new(Table::speaking_of(Some((Shadow::Pods, cluster))));
    let served = Served::new(resource, "v1beta1", "metrics".into(), table);
    publish(
        &served,
        vec![row("shop", "web", 50), row("shop", "deleted", 50), row("mail", "in", 50)],
    );
    Arc::new(served)
}

pub(crate) fn pods() -> Arc<Served> {
    pods_of(Cluster::usual())
}

pub(crate) fn nodes() -> Arc<Served> {
    let resource = Resource::table("NodeMetrics", "nodes", Scope::Cluster)
        .group("metrics.k8s.io")
        .version("v1beta1")
        .shadow(Shadow::Nodes);
    let table = Arc::new(Table::speaking_of(Some((Shadow::Nodes, Cluster::usual()))));
    Arc::new(Served::new(resource, "v1beta1", "metrics".into(), table))
}

pub(crate) async fn ask(served: &Arc<Served>, method: &str, path: &str, accept: &str) -> Result<Answer, Status> {
    let uri: Uri = format!("/apis/metrics.k8s.io/v1beta1/{path}").parse().unwrap();
    let info = RequestInfo::parse(&method.parse::<Method>().unwrap(), &uri)?;
    let query = Query::parse(uri.query().unwrap_or_default());
    let tables = Tables::new(ReadMetrics::default(), Options::default());
    tables.read(served, &info, &query, Some(accept), false).await
}

pub(crate) async fn body(served: &Arc<Served>, path: &str, accept: &str) -> Vec<u8> {
    match ask(served, "GET", path, accept).await.unwrap() {
        Answer::Document { body, .. } => body,
        _ => panic!("{path} is no document"),
    }
}

pub(crate) async fn json(served: &Arc<Served>, path: &str, accept: &str) -> Value {
    serde_json::from_slice(&body(served, path, accept).await).unwrap()
}

/// The names of a list's items, as NAMESPACE/NAME.
pub(crate) fn names(list: &Value) -> Vec<String> {
    let name = |i: &Value| {
        let text = |at| i["metadata"][at].as_str().unwrap_or_default().to_owned();
        format!("{}/{}", text("namespace"), text("name"))
    };
    list["items"].as_array().unwrap().iter().map(name).collect()
}

/// A watch under way.
pub(crate) struct Watched {
    events: BoxStream<'static, bytes::Bytes>,
    read: Vec<u8>,
}

impl Watched {
    pub(crate) async fn open(served: &Arc<Served>, path: &str) -> Self {
        Self::open_as(served, path, "application/json").await
    }

    pub(crate) async fn open_as(served: &Arc<Served>, path: &str, accept: &str) -> Self {
        match ask(served, "GET", path, accept).await.unwrap() {
            Answer::Events { events, .. } => Self {
                events,
                read: Vec::new(),
            },
            _ => panic!("{path} is no watch"),
        }
    }

    /// Raw bytes of the next piece; `None` when it is over.
    pub(crate) async fn piece(&mut self) -> Option<Vec<u8>> {
        self.events.next().await.map(|b| b.to_vec())
    }

    /// The next event; `None` when the watch is over.
    pub(crate) async fn event(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.read.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            self.read.extend(self.events.next().await?);
        }
    }

    /// The next events in a line each: type, name, CPU.
    pub(crate) async fn lines(&mut self, n: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..n {
            let event = self.event().await.expect("the watch is over");
            let object = &event["object"];
            let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
            lines.push(format!(
                "{} {}/{} {}",
                text(&event["type"]),
                text(&object["metadata"]["namespace"]),
                text(&object["metadata"]["name"]),
                text(&object["containers"][0]["cpu"])
            ));
        }
        lines
    }

    /// Whether there is nothing to say now.
    pub(crate) async fn is_silent(&mut self) -> bool {
        assert!(self.read.is_empty());
        tokio::select! {
            biased;
            more = self.events.next() => { panic!("{:?}", more.map(|b| String::from_utf8_lossy(&b).into_owned())) }
            () = async { for _ in 0..20 { tokio::task::yield_now().await } } => true,
        }
    }
}
