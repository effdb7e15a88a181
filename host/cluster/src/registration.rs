//! The APIServices that lead here: their `caBundle` is kept as it should be, and where that is wished they are made.
//!
//! An APIService is ours if its `spec.service` is, and is looked after while the version that it is for is served. What belongs into it
//! is not known here ([`Register`]). One that cert-manager's injector fills is left alone, as is one of another Service; nothing is ever
//! deleted. Every replica does this: a patch carries the resourceVersion that was seen, so the slower one of two changes nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, Client, Error};
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::advice::{Account, Advice};
use crate::backoff::Backoff;
use crate::ca_secret::MANAGED_BY;
use crate::causes::causes;
use crate::informer::{self, Keep, Subject, read, write};

/// What belongs into APIServices.
#[async_trait]
pub trait Register: Send + Sync {
    /// The versions that are served: group and version.
    fn versions(&self) -> Vec<(String, String)>;
    /// What the `caBundle` of the APIService `name` should be, which is `present` now; none if it is right, or nobody knows.
    fn bundle(&self, name: &str, present: &[u8]) -> Option<Vec<u8>>;
    /// Returns when one of the answers above may have changed.
    async fn changed(&self);
}

/// What is ours, and what may be done.
#[derive(Debug, Clone, Default)]
pub struct RegistrationOptions {
    /// Services that lead here: namespace and name.
    pub services: Vec<(String, String)>,
    /// The Service of APIServices that are missing; none: they are not made.
    pub create: Option<(String, String)>,
}

/// What is known of APIServices that lead here.
#[derive(Clone)]
pub struct Registration {
    register: Arc<dyn Register>,
    known: Arc<Known>,
}

#[derive(Default)]
struct Known {
    all: RwLock<All>,
    changed: Notify,
}

/// By name. Those that are not ours are remembered as being there.
#[derive(Default)]
struct All {
    synced: bool,
    services: BTreeMap<String, Option<Entry>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    group: String,
    version: String,
    resource_version: String,
    bundle: Vec<u8>,
    unverified: bool,
    injected: bool,
}

/// What cert-manager's injector heeds (cainjector `indexers`).
const INJECTED: [&str; 3] = [
    "cert-manager.io/inject-ca-from",
    "cert-manager.io/inject-ca-from-secret",
    "cert-manager.io/inject-apiserver-ca",
];
/// What time alone changes is noticed after this.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long one answer may take.
const DEADLINE: Duration = Duration::from_secs(15);
/// kube-aggregator's own for groups that nobody ranks.
const PRIORITY: i32 = 100;
const VERBS: &str = "get,list,watch,patch";
const RESOURCE: &str = "apiservices.apiregistration.k8s.io";

/// Looks after the APIServices until cancelled, among `tasks`.
pub fn keep(
    client: Client,
    options: RegistrationOptions,
    register: Arc<dyn Register>,
    tasks: &TaskTracker,
    cancel: CancellationToken,
) -> Registration {
    let registration = Registration {
        register,
        known: Arc::default(),
    };
    let api: Api<APIService> = Api::all(client);
    let services = options.services.clone();
    let keeper = Keeper {
        known: registration.known.clone(),
        services,
        next: BTreeMap::new(),
    };
    let (listed, tended) = (api.clone(), registration.clone());
    tasks.spawn(async move {
        let open = move || watcher(listed.clone(), informer::config());
        tokio::select! {
            () = informer::follow(subject(), open, keeper, cancel) => {}
            // Ends with the follower; never on its own.
            () = tended.tend(&api, &options) => {}
        }
    });
    registration
}

fn subject() -> Subject {
    Subject::own("APIServices", |account| account.may_not_read(VERBS, RESOURCE))
}

// === impl Registration ===

impl Registration {
    /// The bundles of all that are ours and served, also of those that somebody else keeps. None while nobody knows.
    #[must_use]
    pub fn bundles(&self) -> Option<Vec<Vec<u8>>> {
        let versions = self.register.versions();
        let all = read(&self.known.all);
        let ours = all.services.values().flatten().filter(|entry| entry.is_one_of(&versions));
        all.synced.then(|| ours.map(|entry| entry.bundle.clone()).collect())
    }

    async fn tend(&self, api: &Api<APIService>, options: &RegistrationOptions) {
        let mut backoff = Backoff::new(Duration::from_millis(800), 2.0, Duration::from_secs(60), 1.0);
        let mut said = None;
        loop {
            let failed = self.once(api, options).await.err();
            let look = match &failed {
                None => {
                    backoff.reset();
                    LOOK_EVERY
                }
                Some(_) => backoff.delay(),
            };
            if failed.is_some() && failed != said {
                warn!("{}; it is tried again", failed.as_deref().unwrap_or_default());
            }
            said = failed;
            tokio::select! {
                () = tokio::time::sleep(look) => {}
                () = self.known.changed.notified(), if said.is_none() => {}
                () = self.register.changed(), if said.is_none() => {}
            }
        }
    }

    /// Brings all in order; the first thing that is in the way, in one sentence.
    async fn once(&self, api: &Api<APIService>, options: &RegistrationOptions) -> Result<(), String> {
        let versions = self.register.versions();
        let (ours, missing) = {
            let all = read(&self.known.all);
            let ours = all
                .services
                .iter()
                .filter_map(|(name, entry)| Some((name.clone(), entry.clone()?)));
            let ours: Vec<_> = ours
                .filter(|(_, entry)| entry.is_one_of(&versions) && !entry.injected)
                .collect();
            let is_missing = |(group, version): &&(String, String)| {
                all.synced && !group.is_empty() && !all.services.contains_key(&format!("{version}.{group}"))
            };
            (ours, versions.iter().filter(is_missing).cloned().collect::<Vec<_>>())
        };
        let mut trouble = Ok(());
        for (name, entry) in ours {
            if let Some(bundle) = self.register.bundle(&name, &entry.bundle) {
                trouble = trouble.and(self.patch(api, &name, &entry, &bundle).await);
            }
        }
        if let Some(service) = &options.create {
            for (group, version) in missing {
                trouble = trouble.and(self.create(api, &group, &version, service).await);
            }
        }
        trouble
    }

    async fn patch(&self, api: &Api<APIService>, name: &str, seen: &Entry, bundle: &[u8]) -> Result<(), String> {
        let patch = json!({
            "metadata": {"resourceVersion": seen.resource_version},
            // kube-apiserver takes no bundle beside it.
            "spec": {"caBundle": BASE64_STANDARD.encode(bundle), "insecureSkipTLSVerify": null},
        });
        let options = PatchParams {
            field_manager: Some(MANAGED_BY.1.to_owned()),
            ..PatchParams::default()
        };
        match answered(name, api.patch(name, &options, &Patch::Merge(patch))).await? {
            Ok(_) => {
                if seen.unverified {
                    info!("APIService {name} verifies this server from now on (insecureSkipTLSVerify is off)");
                }
                info!("APIService {name} has the caBundle of this server");
                let mut all = write(&self.known.all);
                if let Some(Some(entry)) = all.services.get_mut(name)
                    && entry == seen
                {
                    entry.bundle = bundle.to_vec();
                    entry.unverified = false;
                }
                Ok(())
            }
            // Changed or gone meanwhile: the watch says what it is now.
            Err(Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(said(VERBS, name, &error)),
        }
    }

    async fn create(&self, api: &Api<APIService>, group: &str, version: &str, service: &(String, String)) -> Result<(), String> {
        let name = format!("{version}.{group}");
        // One without a bundle would be an open door for as long as there is none.
        let Some(bundle) = self.register.bundle(&name, &[]) else {
            return Ok(());
        };
        let (namespace, to) = service;
        let made = json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": name, "labels": {(MANAGED_BY.0): MANAGED_BY.1}},
            "spec": {
                "group": group, "version": version, "groupPriorityMinimum": PRIORITY, "versionPriority": PRIORITY,
                "service": {"namespace": namespace, "name": to}, "caBundle": BASE64_STANDARD.encode(bundle),
            },
        });
        let made = serde_json::from_value(made).map_err(|error| error.to_string())?;
        let options = PostParams {
            field_manager: Some(MANAGED_BY.1.to_owned()),
            ..PostParams::default()
        };
        match answered(&name, api.create(&options, &made)).await? {
            Ok(_) => {
                info!("registered APIService {name}");
                Ok(())
            }
            Err(Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(said("create", &name, &error)),
        }
    }
}

async fn answered<T>(name: &str, answer: impl Future<Output = kube::Result<T>>) -> Result<kube::Result<T>, String> {
    let answer = tokio::time::timeout(DEADLINE, answer).await;
    answer.map_err(|_| format!("APIService {name} was not answered within {DEADLINE:?}"))
}

fn said(verbs: &str, name: &str, error: &Error) -> String {
    match error {
        Error::Api(status) if status.code == 403 => {
            let advice: Advice = Account::named_in(&status.message).may_not_read(verbs, RESOURCE);
            advice.to_string()
        }
        error => format!("APIService {name} cannot be written: {}", causes(error)),
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("known", &read(&self.known.all).services.len())
            .finish_non_exhaustive()
    }
}

// === impl Entry ===

impl Entry {
    /// None if it leads elsewhere.
    fn of(service: APIService, ours: &[(String, String)]) -> Option<Self> {
        let spec = service.spec?;
        let to = spec.service?;
        let to = (to.namespace.unwrap_or_default(), to.name.unwrap_or_default());
        let annotations = service.metadata.annotations.unwrap_or_default();
        ours.contains(&to).then(|| Self {
            group: spec.group.unwrap_or_default(),
            version: spec.version.unwrap_or_default(),
            resource_version: service.metadata.resource_version.unwrap_or_default(),
            bundle: spec.ca_bundle.map(|bytes| bytes.0).unwrap_or_default(),
            unverified: spec.insecure_skip_tls_verify.unwrap_or_default(),
            injected: INJECTED.iter().any(|key| annotations.contains_key(*key)),
        })
    }

    fn is_one_of(&self, versions: &[(String, String)]) -> bool {
        versions
            .iter()
            .any(|(group, version)| *group == self.group && *version == self.version)
    }
}

struct Keeper {
    known: Arc<Known>,
    services: Vec<(String, String)>,
    /// What a list in progress has brought so far.
    next: BTreeMap<String, Option<Entry>>,
}

// === impl Keeper ===

impl Keep<APIService> for Keeper {
    fn begin(&mut self) {
        self.next = BTreeMap::new();
    }

    fn list(&mut self, object: APIService) {
        let name = object.metadata.name.clone();
        self.next.extend(name.map(|name| (name, Entry::of(object, &self.services))));
    }

    fn commit(&mut self) {
        *write(&self.known.all) = All {
            synced: true,
            services: std::mem::take(&mut self.next),
        };
        self.known.changed.notify_one();
    }

    fn apply(&mut self, object: APIService) {
        let Some(name) = object.metadata.name.clone() else { return };
        let entry = Entry::of(object, &self.services);
        write(&self.known.all).services.insert(name, entry);
        self.known.changed.notify_one();
    }

    fn delete(&mut self, object: APIService) {
        let Some(name) = object.metadata.name else { return };
        write(&self.known.all).services.remove(&name);
        self.known.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use serde_json::Value;

    use super::*;
    use crate::scripted::{Asked, Server, Step, event, list, status, until, watch};

    /// Wants `good` everywhere, once it knows.
    struct Wants {
        versions: Mutex<Vec<(String, String)>>,
        knows: AtomicBool,
        changed: Notify,
    }

    #[async_trait]
    impl Register for Wants {
        fn versions(&self) -> Vec<(String, String)> {
            self.versions.lock().unwrap().clone()
        }
        fn bundle(&self, _: &str, present: &[u8]) -> Option<Vec<u8>> {
            (self.knows.load(Ordering::SeqCst) && present != b"good").then(|| b"good".to_vec())
        }
        async fn changed(&self) {
            self.changed.notified().await;
        }
    }

    fn service(name: &str, version: u32, spec: Value, annotations: Value) -> String {
        let (api_version, group) = name.split_once('.').unwrap();
        let mut whole = json!({"group": group, "version": api_version, "groupPriorityMinimum": 100, "versionPriority": 100});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "spec": whole,
            "metadata": {"name": name, "resourceVersion": version.to_string(), "annotations": annotations},
        })
        .to_string()
    }

    fn ours() -> Value {
        json!({"service": {"namespace": "sea", "name": "boat"}})
    }

    fn with(key: &str, value: Value) -> Value {
        let mut spec = ours();
        spec[key] = value;
        spec
    }

    struct World {
        server: Server,
        wants: Arc<Wants>,
        registration: Registration,
        tasks: TaskTracker,
        cancel: CancellationToken,
    }

    /// Where all of these are listed and nothing has been changed yet.
    async fn world(listed: &[String], stream: Step, create: bool, versions: &[(&str, &str)]) -> World {
        let server = Server::start(vec![list("9", "", listed), stream]).await;
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let wants = Arc::new(Wants {
            versions: Mutex::new(versions.iter().map(|(g, v)| ((*g).to_owned(), (*v).to_owned())).collect()),
            knows: AtomicBool::new(false),
            changed: Notify::new(),
        });
        let boat = ("sea".to_owned(), "boat".to_owned());
        let options = RegistrationOptions {
            services: vec![boat.clone()],
            create: create.then_some(boat),
        };
        let registration = keep(server.client.clone(), options, wants.clone(), &tasks, cancel.clone());
        assert_eq!(registration.bundles(), None, "nothing is known yet");
        until("the watch", || server.asked().len() == 2).await;
        World {
            server,
            wants,
            registration,
            tasks,
            cancel,
        }
    }

    impl World {
        fn begin(&self) {
            self.wants.knows.store(true, Ordering::SeqCst);
            self.wants.changed.notify_one();
        }

        fn writes(&self) -> Vec<Asked> {
            self.server
                .asked()
                .into_iter()
                .filter(|asked| asked.method != "GET")
                .collect()
        }

        async fn end(self) {
            self.cancel.cancel();
            self.tasks.close();
            self.tasks.wait().await;
        }
    }

    #[tokio::test]
    async fn what_leads_here_is_put_right_and_nothing_else() {
        let good = json!("Z29vZA==");
        let (events, stream) = watch();
        let elsewhere = json!({"service": {"namespace": "sea", "name": "other"}});
        let listed = [
            service("v1.bare", 1, ours(), json!({})),
            service("v1.good", 2, with("caBundle", good.clone()), json!({})),
            service("v1.open", 3, with("insecureSkipTLSVerify", json!(true)), json!({})),
            service(
                "v1.injected",
                4,
                ours(),
                json!({"cert-manager.io/inject-ca-from": "sea/boat"}),
            ),
            service(
                "v1.injected-too",
                5,
                ours(),
                json!({"cert-manager.io/inject-ca-from-secret": "sea/boat"}),
            ),
            service("v1.elsewhere", 6, elsewhere, json!({})),
            service("v1.local", 7, json!({}), json!({})),
            service("v1.unserved", 8, ours(), json!({})),
        ];
        let patched =
            |name: &str, version| Step::Say(200, service(name, version, with("caBundle", json!("Z29vZA==")), json!({})));
        let served = ["bare", "good", "open", "injected", "injected-too", "elsewhere", "local"].map(|group| (group, "v1"));
        let world = world(&listed, stream, false, &served).await;
        world.server.then(patched("v1.bare", 10));
        world.server.then(patched("v1.open", 11));
        world.begin();
        until("two patches", || world.writes().len() == 2).await;
        until("both taken over", || {
            let bundles = world.registration.bundles().unwrap();
            bundles.iter().filter(|bundle| *bundle == b"good").count() == 3 && bundles.len() == 5
        })
        .await;
        let writes = world.writes();
        for (write, name, version) in [(&writes[0], "v1.bare", "1"), (&writes[1], "v1.open", "3")] {
            let path = format!("/apis/apiregistration.k8s.io/v1/apiservices/{name}");
            assert_eq!(
                (write.method.as_str(), write.uri.split('?').next().unwrap()),
                ("PATCH", path.as_str())
            );
            let body: Value = serde_json::from_str(&write.body).unwrap();
            let spec = json!({"caBundle": good, "insecureSkipTLSVerify": null});
            assert_eq!(body, json!({"metadata": {"resourceVersion": version}, "spec": spec}));
        }
        // Somebody empties one; another plugin is served.
        world.server.then(patched("v1.good", 21));
        events
            .send(event("MODIFIED", &service("v1.good", 20, ours(), json!({}))))
            .unwrap();
        until("a third", || world.writes().len() == 3).await;
        world.server.then(patched("v1.unserved", 22));
        world.wants.versions.lock().unwrap().push(("unserved".into(), "v1".into()));
        world.wants.changed.notify_one();
        until("a fourth", || world.writes().len() == 4).await;
        world.end().await;
    }

    #[tokio::test]
    async fn what_is_missing_is_made_where_that_is_wished() {
        for create in [false, true] {
            let (_events, stream) = watch();
            let listed = [service("v1.there", 1, json!({}), json!({}))];
            let world = world(&listed, stream, create, &[("there", "v1"), ("new", "v2"), ("", "v1")]).await;
            world.server.then(Step::Say(201, service("v2.new", 3, ours(), json!({}))));
            until("known", || world.registration.bundles().is_some()).await;
            world.begin();
            if create {
                until("made", || !world.writes().is_empty()).await;
                let made: Value = serde_json::from_str(&world.writes()[0].body).unwrap();
                assert_eq!(made["metadata"]["name"], "v2.new");
                assert_eq!(made["spec"]["service"], json!({"namespace": "sea", "name": "boat"}));
                assert_eq!(made["spec"]["caBundle"], "Z29vZA==");
                assert_eq!(made["spec"]["groupPriorityMinimum"], 100);
            }
            assert_eq!(world.writes().len(), usize::from(create));
            world.end().await;
        }
    }

    #[tokio::test]
    async fn a_refusal_is_tried_again() {
        let (_events, stream) = watch();
        let listed = [service("v1.bare", 1, ours(), json!({}))];
        let world = world(&listed, stream, false, &[("bare", "v1")]).await;
        for step in [
            status(403, "Forbidden"),
            status(500, "InternalError"),
            status(409, "Conflict"),
        ] {
            world.server.then(step);
        }
        world.begin();
        until("three tries", || world.writes().len() == 3).await;
        world.end().await;
        let denied = Error::Api(
            kube::core::Status {
                code: 403,
                ..kube::core::Status::default()
            }
            .boxed(),
        );
        let sentence = said(VERBS, "v1.bare", &denied);
        assert!(
            sentence.contains("may not get,list,watch,patch apiservices.apiregistration.k8s.io"),
            "{sentence}"
        );
        assert!(sentence.contains("kubectl create clusterrole"), "{sentence}");
    }
}
