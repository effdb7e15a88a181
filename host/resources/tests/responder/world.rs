//! A library whose books a function keeps, and a client.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Uri};
use outrigger_api::identity::Identity;
use outrigger_api::manifest::{Column, Resource, Scope, Subresource, Verb};
use outrigger_api::query::Query;
use outrigger_api::request_info::RequestInfo;
use outrigger_api::status::Status;
use outrigger_catalog::testing::Native;
use outrigger_catalog::{Catalog, Served};
use outrigger_resources::{Answer, Asked, Options, Permission, ReadMetrics, Resources};
use outrigger_sandbox::{Answered, Ask, CallError, ContractError, FieldError, Request};
use outrigger_storage::Nothing;
use serde_json::{Value, json};

/// What the function keeps.
#[derive(Default)]
pub(crate) struct Shelf {
    pub(crate) books: Mutex<BTreeMap<(String, String), Value>>,
    /// Versions are given out and insisted on.
    pub(crate) versioned: bool,
    pub(crate) lists: AtomicUsize,
    pub(crate) updates: AtomicUsize,
    /// Updates that find the book changed under them.
    pub(crate) races: AtomicUsize,
    /// What the guest answers instead, once.
    pub(crate) instead: Mutex<Option<Result<Vec<u8>, CallError>>>,
    pub(crate) seen: Mutex<Vec<Request>>,
}

pub(crate) struct World {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) resources: Resources,
    pub(crate) shelf: Arc<Shelf>,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) code: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) warnings: Vec<String>,
}

pub(crate) fn refused(error: ContractError, fields: Vec<FieldError>) -> CallError {
    CallError::Refused {
        plugin: "library".into(),
        call: "test".into(),
        error,
        fields,
    }
}

/// Books with all verbs; watched if `poll` says how often to look.
pub(crate) fn books(poll: u32) -> Resource {
    use Verb::{Create, Delete, Get, List, Update};
    Resource::virtual_("Book", "books", Scope::Namespaced, [Get, List, Create, Update, Delete])
        .group("library.example.com")
        .version("v1")
        .poll_seconds(poll)
        .column(Column::string("Author").path(".spec.author"))
        .column(Column::integer("Pages").path(".spec.pages"))
        .subresource(Subresource::part("status", [Get, Update]))
        .subresource(Subresource::connect("pages").method("GET").method("POST").protocol("lines"))
        .schema(json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {"author": {"type": "string"}, "pages": {"type": "integer"}}},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }}))
}

pub(crate) fn book(namespace: &str, name: &str, author: &str) -> Value {
    json!({
        "apiVersion": "library.example.com/v1", "kind": "Book",
        "metadata": {"name": name, "namespace": namespace, "labels": {"by": author}},
        "spec": {"author": author, "pages": 100},
    })
}

/// Everybody may do everything.
pub(crate) struct All;

#[async_trait::async_trait]
impl Permission for All {
    async fn check(&self, _: &RequestInfo) -> Result<(), Status> {
        Ok(())
    }
}

impl Shelf {
    pub(crate) fn put(&self, book: &Value) {
        let at = |key: &str| book["metadata"][key].as_str().unwrap_or_default().to_owned();
        let key = (at("namespace"), at("name"));
        self.books.lock().unwrap().insert(key, book.clone());
    }

    async fn respond(self: Arc<Self>, request: Arc<Request>, ask: Ask) -> Result<Answered, CallError> {
        self.seen.lock().unwrap().push((*request).clone());
        let object = |value: &Value| {
            Ok(Answered {
                object: value.to_string().into(),
                warnings: Vec::new(),
            })
        };
        let key = (request.namespace.clone(), request.name.clone());
        let absent = || refused(ContractError::NotFound("no such book".into()), Vec::new());
        let instead = match ask {
            Ask::List(_) => None,
            _ => self.instead.lock().unwrap().take(),
        };
        if let Some(instead) = instead {
            return instead.map(|object| Answered {
                object: object.into(),
                warnings: vec!["mind the dust".into()],
            });
        }
        match ask {
            Ask::Get => object(self.books.lock().unwrap().get(&key).ok_or_else(absent)?),
            Ask::List(mut to) => {
                self.lists.fetch_add(1, Ordering::SeqCst);
                let instead = self.instead.lock().unwrap().take();
                if let Some(instead) = instead {
                    let bytes = instead?;
                    to.write(bytes.into()).await.map_err(|e| refused(e, Vec::new()))?;
                }
                let books: Vec<Value> = self.books.lock().unwrap().values().rev().cloned().collect();
                for book in books {
                    let book = book.to_string().into();
                    to.write(book).await.map_err(|e| refused(e, Vec::new()))?;
                }
                Ok(Answered::default())
            }
            Ask::Create(bytes) | Ask::Update(bytes) => {
                let mut book: Value = serde_json::from_slice(&bytes).unwrap();
                if book["spec"]["pages"].as_i64().is_some_and(|pages| pages < 1) {
                    let field = FieldError {
                        reason: "FieldValueInvalid".into(),
                        field: "spec.pages".into(),
                        message: "Invalid value: 0: must be positive".into(),
                    };
                    return Err(refused(ContractError::Invalid("that is no book".into()), vec![field]));
                }
                let mut books = self.books.lock().unwrap();
                // Who makes a book finds its name in the book.
                let mut key = key;
                if request.verb == "create" {
                    assert_eq!(request.name, "", "the contract: no name for a create");
                    key.1 = book["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                }
                let known = books.get(&key);
                let conflict = || Err(refused(ContractError::Conflict("it has changed".into()), Vec::new()));
                if request.verb == "create" && known.is_some() {
                    return conflict();
                }
                if request.verb == "update" {
                    self.updates.fetch_add(1, Ordering::SeqCst);
                    let Some(known) = known else { return Err(absent()) };
                    let race = self
                        .races
                        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
                    let sent = book["metadata"]["resourceVersion"].as_str();
                    let stale = self.versioned && sent.is_some_and(|v| Some(v) != known["metadata"]["resourceVersion"].as_str());
                    if race.is_ok() || stale {
                        return conflict();
                    }
                }
                if self.versioned {
                    let version = self.updates.load(Ordering::SeqCst) + 1000;
                    book["metadata"]["resourceVersion"] = format!("own-{version}").into();
                }
                if !request.dry_run {
                    books.insert(key, book.clone());
                }
                drop(books);
                object(&book)
            }
            Ask::Delete => {
                let mut books = self.books.lock().unwrap();
                let last = if request.dry_run {
                    books.get(&key).cloned()
                } else {
                    books.remove(&key)
                };
                object(&last.ok_or_else(absent)?)
            }
            Ask::Connect(mut from, mut to) => {
                let told = |e| refused(e, Vec::new());
                if request.parameters.iter().any(|(k, _)| k == "refuse") {
                    return Err(told(ContractError::Denied("not today".into())));
                }
                to.start(202, "text/plain").await.map_err(told)?;
                loop {
                    let bytes = from.read(8).await.map_err(told)?;
                    if bytes.is_empty() {
                        break;
                    }
                    to.write(bytes).await.map_err(told)?;
                }
                let last = format!("{} {}{}", request.method, request.name, request.path);
                to.write(last.into()).await.map_err(told)?;
                Ok(Answered::default())
            }
        }
    }
}

impl World {
    pub(crate) fn new(poll: u32) -> Self {
        Self::of(poll, Shelf::default())
    }

    pub(crate) fn of(poll: u32, shelf: Shelf) -> Self {
        let shelf = Arc::new(shelf);
        shelf.put(&book("sea", "moby", "melville"));
        shelf.put(&book("sea", "nemo", "verne"));
        shelf.put(&book("land", "emma", "austen"));
        let kept = Arc::clone(&shelf);
        let mut world = Self::with(books(poll), move |request, ask| Arc::clone(&kept).respond(request, ask));
        world.shelf = shelf;
        world
    }

    pub(crate) fn with<F>(resource: Resource, responds: impl Fn(Arc<Request>, Ask) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Answered, CallError>> + Send + 'static,
    {
        let catalog = Arc::new(Catalog::new(Vec::new(), Arc::new(Nothing)));
        let refused = catalog.replace(vec![
            Native::responding("library", "1", resource, responds).installed("library.wasm"),
        ]);
        assert!(refused.is_empty());
        Self {
            resources: Resources::new(Arc::clone(&catalog), ReadMetrics::default(), Options::default()),
            catalog,
            shelf: Arc::default(),
        }
    }

    pub(crate) fn served(&self) -> Arc<Served> {
        let snapshot = self.catalog.snapshot();
        Arc::clone(snapshot.resource("library.example.com", "v1", "books").unwrap())
    }

    pub(crate) async fn with_asked<T>(
        &self,
        (method, path, accept): (&str, &str, &str),
        (content_type, body): (&str, &str),
        then: impl AsyncFnOnce(&Asked<'_>) -> T,
    ) -> (T, Vec<String>) {
        let uri: Uri = format!("/apis/library.example.com/v1/{path}").parse().unwrap();
        let info = RequestInfo::parse(&method.parse::<Method>().unwrap(), &uri).unwrap();
        let query = Query::parse(uri.query().unwrap_or_default());
        let (served, warnings) = (self.served(), Mutex::new(Vec::new()));
        let warn = |text: &str| warnings.lock().unwrap().push(text.to_owned());
        let mut caller = Identity::anonymous();
        caller.name = "ann".into();
        let body = Bytes::copy_from_slice(body.as_bytes());
        let asked = Asked {
            served: &served,
            info: &info,
            query: &query,
            accept: Some(accept),
            pretty: false,
            method,
            content_type: Some(content_type),
            body: &body,
            caller: &caller,
            audit_id: "audit-1",
            deadline: Duration::from_secs(10),
            warn: &warn,
            permission: &All,
        };
        let got = then(&asked).await;
        (got, warnings.into_inner().unwrap())
    }

    pub(crate) async fn answer(
        &self,
        method: &str,
        path: &str,
        accept: &str,
        body: (&str, &str),
    ) -> Result<(Answer, Vec<String>), Status> {
        let (answer, warnings) = self
            .with_asked((method, path, accept), body, async |asked| self.resources.answer(asked).await)
            .await;
        Ok((answer?, warnings))
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: &str) -> Result<Read, Status> {
        let kind = if method == "PATCH" {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        self.send_as(method, path, "application/json", (kind, body)).await
    }

    pub(crate) async fn send_as(&self, method: &str, path: &str, accept: &str, body: (&str, &str)) -> Result<Read, Status> {
        let (answer, warnings) = self.answer(method, path, accept, body).await?;
        let (code, body) = whole(answer).await;
        Ok(Read { code, body, warnings })
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let read = self.send("GET", path, "").await.unwrap();
        serde_json::from_slice(&read.body).unwrap()
    }

    /// Events of a watch.
    pub(crate) async fn watch(&self, path: &str) -> impl futures::Stream<Item = Bytes> + Unpin + use<> {
        match self.answer("GET", path, "application/json", ("", "")).await.unwrap().0 {
            Answer::Events { events, .. } => events,
            other => panic!("{path}: {other:?}"),
        }
    }
}

pub(crate) async fn whole(answer: Answer) -> (u16, Vec<u8>) {
    match answer {
        Answer::Document { code, body, .. } => (code, body),
        Answer::Stream { code, mut body, .. } => {
            let mut out = Vec::new();
            while let Some(piece) = body.next().await {
                out.extend_from_slice(&piece.expect("the stream broke off"));
            }
            (code, out)
        }
        Answer::Events { .. } => panic!("a watch"),
    }
}

impl Read {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub(crate) fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|i| {
            format!(
                "{}/{}",
                i["metadata"]["namespace"].as_str().unwrap(),
                i["metadata"]["name"].as_str().unwrap()
            )
        })
        .collect()
}
