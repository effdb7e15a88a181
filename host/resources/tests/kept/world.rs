//! A harbor's ships in a store in memory, served in two versions, and a client.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::{Method, Uri};
use outrigger_api::manifest::{Backing, Column, Resource, Scope};
use outrigger_api::object::Object;
use outrigger_api::query::Query;
use outrigger_api::request_info::RequestInfo;
use outrigger_api::status::Status;
use outrigger_catalog::testing::Native;
use outrigger_catalog::{Guest, Served};
use outrigger_resources::{Answer, Options, ReadMetrics, Tables};
use outrigger_sandbox::{Admitted, CallError};
use outrigger_storage::store::memory::Memory;
use outrigger_storage::store::{Expected, Keep, Prefix};
use outrigger_storage::{Kept, Key};
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) const SOON: Duration = Duration::from_secs(5);
pub(crate) const GROUP: &str = "harbor.example.com";

/// `ships.harbor.example.com`, kept in v1, served in v1 and v2; v2 says `tonnes` where v1 says `tons`.
pub(crate) struct Harbor {
    pub(crate) kept: Arc<Kept>,
    pub(crate) v1: Arc<Served>,
    pub(crate) v2: Arc<Served>,
    tables: Tables,
    _following: DropGuard,
}

fn resource() -> Resource {
    let mut resource = Resource::table("Ship", "ships", Scope::Namespaced)
        .group(GROUP)
        .version("v1")
        .version("v2")
        .column(Column::string("Tons").path(".spec.tons"))
        .column(Column::date("Age").path(".metadata.creationTimestamp"));
    resource.backing = Backing::stored();
    resource
}

/// v1 and v2 as the plugin converts them. A ship of no weight cannot be converted.
fn convert(version: &str, object: &[u8]) -> Result<Vec<u8>, CallError> {
    let mut value: Value = serde_json::from_slice(object).unwrap();
    let spec = value["spec"].as_object_mut().unwrap();
    let (old, new) = if version == "v2" {
        ("tons", "tonnes")
    } else {
        ("tonnes", "tons")
    };
    match spec.remove(old) {
        Some(weight) => spec.insert(new.to_owned(), weight),
        None => {
            return Err(CallError::NoSuchRole {
                plugin: "harbor".into(),
                role: "strategy",
            });
        }
    };
    value["apiVersion"] = format!("{GROUP}/{version}").into();
    Ok(serde_json::to_vec(&value).unwrap())
}

impl Harbor {
    pub(crate) async fn new() -> Self {
        Self::keeping(Keep::default()).await
    }

    pub(crate) async fn keeping(keep: Keep) -> Self {
        let store = Arc::new(Memory::new(keep));
        let kept = Arc::new(Kept::new(store, Prefix::of(GROUP, "ships"), keep));
        let stop = CancellationToken::new();
        let (following, end) = (Arc::clone(&kept), stop.clone());
        tokio::spawn(async move { following.follow(end).await });
        kept.filled().await;
        let guest: Arc<dyn Guest> = Arc::new(Native::deciding(
            "harbor",
            "d",
            resource(),
            |_, _, _| Ok(Admitted::default()),
            |version, object| convert(version, &object),
        ));
        let served = |version: &str| {
            let served = Served::new(resource(), version, "harbor".into(), Arc::clone(kept.table()));
            Arc::new(served.keeping(Some(Arc::clone(&kept))).by(Some(Arc::clone(&guest))))
        };
        Self {
            v1: served("v1"),
            v2: served("v2"),
            kept,
            tables: Tables::new(ReadMetrics::default(), Options::default()),
            _following: stop.drop_guard(),
        }
    }

    /// Makes a ship; returns its revision.
    pub(crate) async fn make(&self, namespace: &str, name: &str, tons: u64) -> u64 {
        let (key, ship) = (Key::new(namespace, name), ship(namespace, name, tons));
        self.kept.put(&key, Expected::Absent, &ship).await.unwrap().revision
    }

    pub(crate) async fn change(&self, at: u64, object: &Object) -> u64 {
        let key = Key::new(object.namespace(), object.name());
        let at = self.kept.put(&key, Expected::At(at), object).await.unwrap().revision;
        // So that the image has each state of its own.
        self.kept.fresh(SOON).await.unwrap();
        at
    }

    pub(crate) async fn ask(&self, path: &str, accept: &str) -> Result<Answer, Status> {
        let uri: Uri = format!("/apis/{GROUP}/{path}").parse().unwrap();
        let info = RequestInfo::parse(&Method::GET, &uri)?;
        let served = if info.api_version == "v1" { &self.v1 } else { &self.v2 };
        let query = Query::parse(uri.query().unwrap_or_default());
        self.tables.read(served, &info, &query, Some(accept), false).await
    }

    /// An answer's bytes, in pieces as they come.
    pub(crate) async fn pieces(&self, path: &str, accept: &str) -> Vec<Bytes> {
        match self.ask(path, accept).await.unwrap() {
            Answer::Document { body, .. } => vec![body.into()],
            Answer::Stream { body, .. } => body.map(Result::unwrap).collect().await,
            Answer::Events { .. } => panic!("{path} is a watch"),
        }
    }

    pub(crate) async fn json(&self, path: &str, accept: &str) -> Value {
        serde_json::from_slice(&self.pieces(path, accept).await.concat()).unwrap()
    }

    pub(crate) async fn refused(&self, path: &str) -> Status {
        self.ask(path, "application/json").await.unwrap_err()
    }

    pub(crate) async fn watch(&self, path: &str) -> Watched {
        self.watch_as(path, "application/json").await
    }

    pub(crate) async fn watch_as(&self, path: &str, accept: &str) -> Watched {
        match self.ask(path, accept).await.unwrap() {
            Answer::Events { events, .. } => Watched {
                events,
                read: Vec::new(),
            },
            _ => panic!("{path} is no watch"),
        }
    }
}

pub(crate) fn ship(namespace: &str, name: &str, tons: u64) -> Object {
    labelled(namespace, name, tons, &[("size", if tons > 100 { "large" } else { "small" })])
}

pub(crate) fn labelled(namespace: &str, name: &str, tons: u64, labels: &[(&str, &str)]) -> Object {
    let labels: serde_json::Map<String, Value> = labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let json = serde_json::json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": "Ship",
        "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{name}"), "creationTimestamp": "2026-11-21T10:00:00Z", "labels": labels},
        "spec": {"tons": tons},
    });
    Object::of(&json).unwrap()
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
    events: BoxStream<'static, Bytes>,
    read: Vec<u8>,
}

impl Watched {
    /// Raw bytes of the next piece; `None` when it is over.
    pub(crate) async fn piece(&mut self) -> Option<Bytes> {
        self.events.next().await
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

    /// The next events in a line each: type, name, tons or tonnes.
    pub(crate) async fn lines(&mut self, n: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..n {
            let event = self.event().await.expect("the watch is over");
            let object = &event["object"];
            let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
            lines.push(format!(
                "{} {} {}",
                text(&event["type"]),
                text(&object["metadata"]["name"]),
                object["spec"]
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
            () = async { for _ in 0..50 { tokio::task::yield_now().await } } => true,
        }
    }
}
