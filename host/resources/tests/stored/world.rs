//! A harbour whose ships are kept, and a client.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use http::{Method, Uri};
use outrigger_api::identity::Identity;
use outrigger_api::manifest::{Backing, Resource, ScalePaths, Scope};
use outrigger_api::query::Query;
use outrigger_api::request_info::RequestInfo;
use outrigger_api::status::Status;
use outrigger_catalog::testing::Native;
use outrigger_catalog::{Catalog, Served};
use outrigger_resources::{Answer, Asked, NamespaceIndex, NamespaceStanding, Options, Permission, ReadMetrics, Resources};
use outrigger_sandbox::{Admitted, CallError, ContractError, FieldError, Request};
use outrigger_storage::store::memory::Memory;
use outrigger_storage::store::{Changes, Keep, ObjectKey, Page, PageOf, Prefix, Store, StoreError, Stored, Write};
use outrigger_storage::{Nothing, Shelf};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What was asked of the strategy: verb, subresource, version, whether it was a dry run.
pub(crate) type Seen = Arc<Mutex<Vec<(String, String, String, bool)>>>;

pub(crate) struct World {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) resources: Resources,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) seen: Seen,
    /// How many objects were converted.
    pub(crate) converted: Arc<AtomicUsize>,
    /// What nobody may do: verbs.
    pub(crate) forbidden: Mutex<Vec<String>>,
    stop: CancellationToken,
}

/// An answer or a refusal.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) body: Value,
    pub(crate) warnings: Vec<String>,
}

/// Namespaces: `going` is, `nowhere` is not, nobody knows of `dark`.
struct Namespaces;

#[async_trait]
impl NamespaceIndex for Namespaces {
    async fn standing(&self, name: &str) -> Result<NamespaceStanding, String> {
        Ok(match name {
            "going" => NamespaceStanding::Terminating,
            "nowhere" => NamespaceStanding::Absent,
            "dark" => return Err("the cluster cannot be reached".to_owned()),
            _ => NamespaceStanding::Active,
        })
    }
}

#[async_trait]
impl Permission for World {
    async fn check(&self, info: &RequestInfo) -> Result<(), Status> {
        match self.forbidden.lock().unwrap().contains(&info.verb) {
            true => Err(Status::forbidden("ann", info, "")),
            false => Ok(()),
        }
    }
}

/// What the backing of the ships says; the rest is as it is by default.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rules {
    pub(crate) create_on_update: bool,
    pub(crate) unconditional_update: bool,
    pub(crate) admits_deletes: bool,
    pub(crate) no_status: bool,
    /// The schema requires one, as that of a Rust type with two fields does.
    pub(crate) requires_status: bool,
}

/// Ships, kept as v2; in v1 their tonnes are tons.
pub(crate) fn ships(rules: Rules) -> Resource {
    let required = if rules.requires_status {
        json!(["spec", "status"])
    } else {
        json!(["spec"])
    };
    let schema = |weight: &str| {
        json!({"type": "object", "required": required, "properties": {
            "spec": {"type": "object", "required": [weight], "properties": {
                weight: {"type": "integer", "maximum": 1_000_000},
                "flag": {"type": "string", "maxLength": 12},
                "berths": {"type": "integer", "default": 4},
                "crew": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                    "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "rank": {"type": "string"}}}},
            }},
            "status": {"type": "object", "properties": {"at": {"type": "string"}, "berths": {"type": "integer"}}},
        }})
    };
    let mut resource = Resource::stored("Ship", "ships", Scope::Namespaced)
        .group("harbor.example.com")
        .version("v2")
        .version("v1")
        .schema(schema("tonnes"))
        .schema_in("v1", schema("tons"));
    resource.backing = Backing::Stored {
        storage_version: "v2".to_owned(),
        status: !rules.no_status,
        scale: Some(ScalePaths {
            spec_replicas_path: ".spec.berths".to_owned(),
            status_replicas_path: ".status.berths".to_owned(),
            label_selector_path: ".status.at".to_owned(),
        }),
        create_on_update: rules.create_on_update,
        unconditional_update: rules.unconditional_update,
        admits_deletes: rules.admits_deletes,
    };
    resource
}

/// Ports, which have no namespace and no schema.
pub(crate) fn ports() -> Resource {
    Resource::stored("Port", "ports", Scope::Cluster)
        .group("harbor.example.com")
        .version("v2")
}

/// A ship as a client sends it.
pub(crate) fn ship(name: &str) -> Value {
    json!({
        "apiVersion": "harbor.example.com/v2", "kind": "Ship", "metadata": {"name": name},
        "spec": {"tonnes": 900, "flag": "no"},
    })
}

/// `value`, with these members put over it as a merge patch does.
pub(crate) fn with(mut value: Value, over: &Value) -> Value {
    fn merge(value: &mut Value, over: &Value) {
        let Value::Object(over) = over else {
            *value = over.clone();
            return;
        };
        if !value.is_object() {
            *value = json!({});
        }
        let value = value.as_object_mut().unwrap();
        for (key, over) in over {
            if over.is_null() {
                value.remove(key);
            } else {
                merge(value.entry(key.clone()).or_insert(Value::Null), over);
            }
        }
    }
    merge(&mut value, over);
    value
}

/// What the strategy does with a ship; its flag says so.
fn admit(request: &Request, object: &[u8], old: &[u8]) -> Result<Admitted, CallError> {
    let plugin = || "harbor".to_owned();
    let call = || "admit".to_owned();
    if object.is_empty() {
        let old: Value = serde_json::from_slice(old).unwrap();
        let field = FieldError {
            reason: "FieldValueForbidden".into(),
            field: "metadata.name".into(),
            message: "it is kept".into(),
        };
        return match old["spec"]["flag"].as_str() {
            Some("kept") => Ok(Admitted {
                errors: vec![field],
                ..Admitted::default()
            }),
            Some("trap") => Err(CallError::Refused {
                plugin: plugin(),
                call: call(),
                error: ContractError::Failed("it broke".into()),
                fields: Vec::new(),
            }),
            _ => Ok(Admitted::default()),
        };
    }
    let mut ship: Value = serde_json::from_slice(object).unwrap();
    let (mut warnings, mut errors) = (Vec::new(), Vec::new());
    match ship["spec"]["flag"].as_str().unwrap_or_default() {
        "" if request.resource == "ships" => ship["spec"]["flag"] = "unknown".into(),
        "sunk" => errors.push(FieldError {
            reason: "FieldValueInvalid".into(),
            field: "spec.flag".into(),
            message: "Invalid value: \"sunk\": it must swim".into(),
        }),
        "old" => warnings.push("it is an old ship".to_owned()),
        "sneaky" => {
            ship["metadata"]["generation"] = 77.into();
            ship["metadata"]["creationTimestamp"] = "1999-01-01T00:00:00Z".into();
            ship["metadata"]["resourceVersion"] = "1".into();
            ship["metadata"]["deletionTimestamp"] = "1999-01-01T00:00:00Z".into();
            ship["metadata"]["labels"] = json!({"by": "strategy"});
            ship["metadata"]["finalizers"] = json!(["harbor.example.com/held"]);
            ship["metadata"].as_object_mut().unwrap().remove("uid");
            // Said by whom, so that it can be seen whether it counts.
            let part = if request.subresource.is_empty() {
                &request.verb
            } else {
                &request.subresource
            };
            ship["status"] = json!({"at": part});
            if part == "status" {
                ship["spec"]["tonnes"] = 1.into();
            }
        }
        "renamed" => ship["metadata"]["name"] = "other".into(),
        "other uid" => ship["metadata"]["uid"] = "other".into(),
        "bad label" => ship["metadata"]["labels"] = json!({"a b": "c"}),
        "too long" => ship["spec"]["flag"] = "a flag that is too long".into(),
        "surplus" => ship["spec"]["surplus"] = 1.into(),
        "nonsense" => ship = json!([]),
        "failed" => {
            return Err(CallError::Refused {
                plugin: plugin(),
                call: call(),
                error: ContractError::Unavailable("no harbour master".into()),
                fields: Vec::new(),
            });
        }
        "late" => {
            return Err(CallError::Deadline {
                plugin: plugin(),
                call: call(),
                after: Duration::from_secs(1),
                frames: Vec::new(),
            });
        }
        _ => {}
    }
    Ok(Admitted {
        object: ship.to_string().into(),
        warnings,
        errors,
    })
}

fn convert(to: &str, object: Vec<u8>) -> Result<Vec<u8>, CallError> {
    let mut ship: Value = serde_json::from_slice(&object).unwrap();
    let (old, new) = if to == "v2" { ("tons", "tonnes") } else { ("tonnes", "tons") };
    ship["apiVersion"] = format!("harbor.example.com/{to}").into();
    if let Some(spec) = ship["spec"].as_object_mut()
        && let Some(weight) = spec.remove(old)
    {
        spec.insert(new.to_owned(), weight);
    }
    Ok(ship.to_string().into_bytes())
}

/// How an attempt fails.
pub(crate) type Mood = fn() -> StoreError;

/// A store that fails as it is told.
#[derive(Default)]
pub(crate) struct Moody {
    memory: Memory,
    /// What reading it comes to; nothing if it works.
    pub(crate) reads: Mutex<Option<Mood>>,
    pub(crate) writes: Mutex<Option<Mood>>,
}

impl Moody {
    fn in_mood(mood: &Mutex<Option<Mood>>) -> Result<(), StoreError> {
        mood.lock().unwrap().map_or(Ok(()), |why| Err(why()))
    }
}

#[async_trait]
impl Store for Moody {
    async fn get(&self, key: &ObjectKey) -> Result<Option<Stored>, StoreError> {
        Self::in_mood(&self.reads)?;
        self.memory.get(key).await
    }

    async fn list(&self, of: &Prefix, page: &PageOf) -> Result<Page, StoreError> {
        Self::in_mood(&self.reads)?;
        self.memory.list(of, page).await
    }

    async fn write(&self, write: Write) -> Result<u64, StoreError> {
        Self::in_mood(&self.writes)?;
        self.memory.write(write).await
    }

    async fn watch(&self, of: &Prefix, after: u64) -> Result<Changes, StoreError> {
        self.memory.watch(of, after).await
    }

    async fn revision(&self, of: &Prefix) -> Result<u64, StoreError> {
        Self::in_mood(&self.reads)?;
        self.memory.revision(of).await
    }

    fn is_local(&self) -> bool {
        true
    }

    fn oldest(&self) -> Option<u64> {
        self.memory.oldest()
    }

    async fn compact(&self, revision: u64) -> Result<(), StoreError> {
        self.memory.compact(revision).await
    }

    async fn prefixes(&self) -> Result<Vec<Prefix>, StoreError> {
        self.memory.prefixes().await
    }
}

impl World {
    pub(crate) async fn new(rules: Rules) -> Self {
        let world = Self::over(rules, Arc::new(Memory::new(Keep::default())));
        for plural in ["ships", "ports"] {
            world.served("v2", plural).kept.as_ref().unwrap().filled().await;
        }
        world
    }

    /// Over a store that may not have been read yet.
    pub(crate) fn over(rules: Rules, store: Arc<dyn Store>) -> Self {
        let seen: Seen = Arc::default();
        let told = Arc::clone(&seen);
        let converted = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&converted);
        let guest = Native::deciding(
            "harbor",
            "1",
            ships(rules),
            move |request, object, old| {
                told.lock().unwrap().push((
                    request.verb.clone(),
                    request.subresource.clone(),
                    request.version.clone(),
                    request.dry_run,
                ));
                admit(request, object, old)
            },
            move |to, object| {
                counted.fetch_add(1, Ordering::Relaxed);
                convert(to, object)
            },
        )
        .with(|manifest| manifest.resource(ports()));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let runtime = tokio::runtime::Handle::current();
        let shelf = Arc::new(Shelf::new(Arc::clone(&store), Keep::default(), runtime, tasks, stop.clone()));
        let catalog = Arc::new(Catalog::new(Vec::new(), Arc::new(Nothing)).keeping(shelf));
        let refused: Vec<_> = catalog
            .replace(vec![guest.installed("harbor.wasm")])
            .into_iter()
            .map(|(_, why)| why)
            .collect();
        assert_eq!(refused, []);
        Self {
            resources: Resources::new(Arc::clone(&catalog), ReadMetrics::default(), Options::default())
                .within(Arc::new(Namespaces)),
            catalog,
            store,
            seen,
            converted,
            forbidden: Mutex::default(),
            stop,
        }
    }

    pub(crate) fn served(&self, version: &str, plural: &str) -> Arc<Served> {
        let snapshot = self.catalog.snapshot();
        Arc::clone(snapshot.resource("harbor.example.com", version, plural).unwrap())
    }

    /// One request; `path` begins with the version.
    pub(crate) async fn ask(&self, method: &str, path: &str, accept: &str, (kind, body): (&str, &str)) -> Reply {
        let uri: Uri = format!("/apis/harbor.example.com/{path}").parse().unwrap();
        let info = RequestInfo::parse(&method.parse::<Method>().unwrap(), &uri).unwrap();
        let query = Query::parse(uri.query().unwrap_or_default());
        let (served, warnings) = (self.served(&info.api_version, &info.resource), Mutex::new(Vec::new()));
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
            content_type: Some(kind),
            body: &body,
            caller: &caller,
            audit_id: "audit-1",
            deadline: Duration::from_secs(10),
            warn: &warn,
            permission: self,
        };
        let (code, body) = match self.resources.answer(&asked).await {
            Ok(Answer::Document { code, body, .. }) => (code, serde_json::from_slice(&body).unwrap_or_default()),
            Ok(Answer::Stream { code, mut body, .. }) => {
                let mut whole = Vec::new();
                while let Some(piece) = body.next().await {
                    whole.extend_from_slice(&piece.unwrap());
                }
                (code, serde_json::from_slice(&whole).unwrap())
            }
            Ok(Answer::Events { .. }) => panic!("a watch"),
            Err(status) => (status.code, serde_json::to_value(&status).unwrap()),
        };
        Reply {
            code,
            body,
            warnings: warnings.into_inner().unwrap(),
        }
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: &Value) -> Reply {
        let kind = match method {
            "PATCH" if body.is_array() => "application/json-patch+json",
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.ask(method, path, "application/json", (kind, &body)).await
    }

    /// Makes a ship in `sea`.
    pub(crate) async fn make(&self, ship: &Value) -> Value {
        let made = self.send("POST", "v2/namespaces/sea/ships", ship).await;
        assert_eq!(made.code, 201, "{made:?}");
        made.body
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let got = self.send("GET", path, &Value::Null).await;
        assert_eq!(got.code, 200, "{got:?}");
        got.body
    }

    /// The revision of the store: a write moves it.
    pub(crate) async fn revision(&self) -> u64 {
        let prefix = self.served("v2", "ships").kept.as_ref().unwrap().prefix().clone();
        self.store.revision(&prefix).await.unwrap()
    }

    pub(crate) fn asked(&self) -> Vec<(String, String, String, bool)> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Reply {
    pub(crate) fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }

    pub(crate) fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    /// `FIELD REASON MESSAGE` of each cause.
    pub(crate) fn causes(&self) -> Vec<String> {
        let causes = self.body["details"]["causes"].as_array().cloned().unwrap_or_default();
        let text = |cause: &Value, key: &str| cause[key].as_str().unwrap_or_default().to_owned();
        causes
            .iter()
            .map(|c| format!("{} {} {}", text(c, "field"), text(c, "reason"), text(c, "message")))
            .collect()
    }

    /// Fails unless it is a refusal with this code, reason, beginning of a sentence, and these causes.
    #[track_caller]
    pub(crate) fn is(&self, name: &str, (code, reason, message): (u16, &str, &str), causes: &[&str]) {
        assert_eq!((self.code, self.reason()), (code, reason), "{name}: {self:?}");
        assert!(self.message().contains(message), "{name}: {}", self.message());
        let own = self.causes();
        if !causes.is_empty() {
            assert_eq!(own, causes, "{name}");
        }
    }

    /// The object as its author may compare it: without what is different each time.
    pub(crate) fn known(&self) -> Value {
        known(self.body.clone())
    }
}

pub(crate) fn known(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        let mut seen = BTreeMap::new();
        for key in ["uid", "creationTimestamp", "resourceVersion"] {
            seen.insert(key, metadata.remove(key));
        }
    }
    object
}
