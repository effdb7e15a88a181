//! Whom kube-apiserver believes us by, for the binary: the flags, the Secret of the shared authority, and the `caBundle` of APIServices.
//!
//! `server` knows authorities, `cluster` knows Secrets and APIServices, `catalog` what is served; here they meet.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use clap::Args;
use outrigger_catalog::Catalog;
use outrigger_cluster::ca_secret::Keys;
use outrigger_cluster::{CaSecret, Cluster, Register, Registration, RegistrationOptions, registration};
use outrigger_server::{
    Bundle, Certificates, Clock, Held, Pems, Publication, Published, Safe, SharedCa, SharedCaOptions, Written, certificates,
};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::flags::{go_duration, namespaced};

/// Whom kube-apiserver believes us by.
#[derive(Debug, Args, Clone)]
#[group(id = "ca")]
pub(crate) struct Flags {
    /// Secret in which replicas keep one certificate authority (tls.crt, tls.key, and ca.crt with whom to believe), made if it is
    /// missing and renewed in time unless somebody else made it, such as cert-manager. Each replica serves under a leaf of its own, and
    /// the caBundle of APIServices whose Service stands in --cert-names is kept. Instead of --cert-dir.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = namespaced, conflicts_with_all = ["tls_cert_file", "ca_bundle_file"])]
    ca_secret: Option<(String, String)>,

    /// How long an authority that is made in --ca-secret lasts; the next one is made when a third of that is left.
    #[arg(long, default_value = "87600h", value_parser = lifetime, value_name = "DURATION")]
    ca_lifetime: Duration,

    /// How long a serving certificate under --ca-secret lasts; the next one is made when a third of that is left.
    #[arg(long, default_value = "720h", value_parser = lifetime, value_name = "DURATION")]
    cert_lifetime: Duration,

    /// From when every caBundle has a new authority to when it signs, so that every kube-apiserver has heard of it.
    #[arg(long, default_value = "30s", value_parser = go_duration, value_name = "DURATION")]
    ca_switch_delay: Duration,

    /// How long somebody who should not be in a caBundle stays there, since other replicas may still need him.
    #[arg(long, default_value = "1h", value_parser = go_duration, value_name = "DURATION")]
    ca_removal_delay: Duration,

    /// With certificates of somebody else's: whom kube-apiserver shall believe (PEM). The caBundle of APIServices whose Service stands
    /// in --cert-names is kept as this file says.
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    ca_bundle_file: Option<PathBuf>,

    /// Make the APIServices that are missing for what is served; their Service is the first of --cert-names. Needs --ca-secret or
    /// --ca-bundle-file.
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    register_apiservices: bool,
}

/// Whom others believe us by, as it is kept.
#[derive(Default)]
pub(crate) struct Trusted {
    /// What the certificates come from, if replicas share an authority.
    pub(crate) shared: Option<Arc<SharedCa>>,
    /// Whom to believe, if that is published.
    pub(crate) publication: Option<Arc<Publication>>,
}

/// The Secret as a safe.
struct Kept(CaSecret);

/// What belongs into APIServices: what is served, and whom to believe.
struct Leads {
    catalog: Arc<Catalog>,
    publication: Arc<Publication>,
    changes: Mutex<[watch::Receiver<u64>; 2]>,
}

/// The APIServices as a board.
struct Board(Registration);

/// Longer than any certificate; later years have no place in one.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

// === impl Flags ===

impl Flags {
    /// Whether the serving certificate comes from the Secret.
    pub(crate) fn lends(&self) -> bool {
        self.ca_secret.is_some()
    }

    /// Starts what the flags ask for. `names` are those of the serving certificate.
    pub(crate) fn keep(
        &self,
        names: Vec<String>,
        cluster: &Cluster,
        catalog: Arc<Catalog>,
        certificates: &Arc<Certificates>,
        tasks: &TaskTracker,
        end: &CancellationToken,
    ) -> Result<Trusted> {
        if self.ca_secret.is_none() && self.ca_bundle_file.is_none() {
            if self.register_apiservices {
                bail!(
                    "--register-apiservices needs --ca-secret or --ca-bundle-file: an APIService without a caBundle is of no use"
                );
            }
            return Ok(Trusted::default());
        }
        if self.cert_lifetime > self.ca_lifetime {
            bail!("--cert-lifetime must not be longer than --ca-lifetime");
        }
        let services = services(&names);
        let first = services.first().context(
            "--cert-names has no name such as SERVICE.NAMESPACE.svc, so it cannot be told which APIServices lead here",
        )?;
        let options = RegistrationOptions {
            create: self.register_apiservices.then(|| first.clone()),
            services,
        };
        let clock: Clock = Arc::new(SystemTime::now);
        let publication = Arc::new(Publication::new(self.ca_removal_delay, clock.clone()));
        let register = Leads {
            changes: Mutex::new([catalog.changes(), publication.changes()]),
            publication: publication.clone(),
            catalog,
        };
        let registration = registration::keep(cluster.client.clone(), options, Arc::new(register), tasks, end.clone());
        if let Some(file) = &self.ca_bundle_file {
            tasks.spawn(follow(file.clone(), publication.clone(), end.clone()));
            return Ok(Trusted {
                shared: None,
                publication: Some(publication),
            });
        }
        let Some((namespace, name)) = &self.ca_secret else {
            return Ok(Trusted::default());
        };
        let options = SharedCaOptions {
            what: format!("Secret {namespace}/{name}"),
            names,
            ca_lifetime: self.ca_lifetime,
            leaf_lifetime: self.cert_lifetime,
            switch_delay: self.ca_switch_delay,
        };
        let kept = Arc::new(Kept(CaSecret::new(cluster.client.clone(), namespace, name)));
        let board = Arc::new(Board(registration));
        let shared = SharedCa::new(kept, board, publication.clone(), certificates.clone(), options, clock);
        let shared = Arc::new(shared);
        tasks.spawn(shared.clone().run(end.clone()));
        Ok(Trusted {
            shared: Some(shared),
            publication: Some(publication),
        })
    }
}

/// The Services that a certificate is for: namespace and name of each `NAME.NAMESPACE.svc`, as the aggregator asks for it.
fn services(names: &[String]) -> Vec<(String, String)> {
    let mut services = Vec::new();
    for name in names {
        let mut parts = name.split('.');
        if let (Some(service), Some(namespace), Some("svc"), None) = (parts.next(), parts.next(), parts.next(), parts.next()) {
            services.push((namespace.to_owned(), service.to_owned()));
        }
    }
    services
}

/// Publishes what a file says, until `end`. What cannot be read replaces nothing.
async fn follow(file: PathBuf, publication: Arc<Publication>, end: CancellationToken) {
    let mut failing = String::new();
    loop {
        match read(&file).await {
            Ok(bundle) => {
                publication.set(bundle);
                failing.clear();
            }
            Err(error) => {
                let why = format!("{error:#}");
                if why != failing {
                    tracing::error!("--ca-bundle-file cannot be used, what was published stays: {why}");
                    failing = why;
                }
            }
        }
        if end
            .run_until_cancelled(tokio::time::sleep(certificates::CHECK_EVERY))
            .await
            .is_none()
        {
            return;
        }
    }
}

async fn read(file: &Path) -> Result<Bundle> {
    let pem = tokio::fs::read(file).await.with_context(|| file.display().to_string())?;
    Bundle::read(&pem).with_context(|| format!("{} does not hold certificates in PEM alone", file.display()))
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = go_duration(text)?;
    if lifetime < Duration::from_secs(1) || lifetime > LONGEST {
        return Err("must be between 1s and 876000h".to_owned());
    }
    Ok(lifetime)
}

// === impl Kept ===

#[async_trait]
impl Safe for Kept {
    async fn read(&self) -> Result<Option<Held>, String> {
        let read = self.0.read().await?;
        Ok(read.map(|read| Held {
            pems: Pems {
                certificate: read.keys.certificate,
                key: read.keys.key,
                bundle: read.keys.bundle,
            },
            version: read.version,
            ours: read.ours,
        }))
    }

    async fn create(&self, pems: &Pems) -> Result<Written, String> {
        Ok(written(self.0.create(&keys(pems)).await?))
    }

    async fn replace(&self, pems: &Pems, version: &str) -> Result<Written, String> {
        Ok(written(self.0.replace(&keys(pems), version).await?))
    }
}

fn keys(pems: &Pems) -> Keys {
    Keys {
        certificate: pems.certificate.clone(),
        key: pems.key.clone(),
        bundle: pems.bundle.clone(),
    }
}

fn written(done: bool) -> Written {
    if done { Written::Done } else { Written::Overtaken }
}

// === impl Leads ===

#[async_trait]
impl Register for Leads {
    fn versions(&self) -> Vec<(String, String)> {
        let snapshot = self.catalog.snapshot();
        let versions = snapshot.versions();
        versions
            .map(|(group, version)| (group.to_owned(), version.to_owned()))
            .collect()
    }

    fn bundle(&self, name: &str, present: &[u8]) -> Option<Vec<u8>> {
        self.publication.next(name, present).map(String::into_bytes)
    }

    async fn changed(&self) {
        let mut changes = self.changes.lock().await;
        let [served, believed] = &mut *changes;
        let ended = tokio::select! {
            changed = served.changed() => changed.is_err(),
            changed = believed.changed() => changed.is_err(),
        };
        if ended {
            // Neither ends before whoever asks.
            std::future::pending::<()>().await;
        }
    }
}

impl Published for Board {
    fn bundles(&self) -> Option<Vec<Vec<u8>>> {
        self.0.bundles()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::flags::{Cli, Verb};

    #[test]
    fn services_are_those_that_the_aggregator_asks_for() {
        let names = [
            "metrics-server.kube-system.svc",
            "localhost",
            "a.b.svc.cluster.local",
            "127.0.0.1",
            "a.b.svc",
            "x.svc",
        ];
        let names: Vec<String> = names.map(str::to_owned).to_vec();
        let expected = [("kube-system", "metrics-server"), ("b", "a")].map(|(ns, name)| (ns.to_owned(), name.to_owned()));
        assert_eq!(services(&names), expected);
    }

    #[test]
    fn flags_that_make_no_sense_together_are_refused() {
        for (flags, fits) in [
            (&["--ca-secret=kube-system/metrics-server-ca"][..], true),
            (&["--ca-secret=metrics-server-ca"], false),
            (&["--ca-secret=a/b", "--tls-cert-file=c", "--tls-private-key-file=k"], false),
            (&["--ca-secret=a/b", "--ca-bundle-file=c"], false),
            (&["--ca-bundle-file=c"], false),
            (&["--ca-bundle-file=b", "--tls-cert-file=c", "--tls-private-key-file=k"], true),
            (&["--ca-secret=a/b", "--ca-lifetime=0s"], false),
            (&["--ca-secret=a/b", "--ca-lifetime=8760000h"], false),
            (
                &[
                    "--ca-secret=a/b",
                    "--ca-lifetime=24h",
                    "--cert-lifetime=1h",
                    "--register-apiservices",
                ],
                true,
            ),
        ] {
            let line = ["outrigger", "serve", "--plugins=/p"].iter().chain(flags);
            assert_eq!(Cli::try_parse_from(line).is_ok(), fits, "{flags:?}");
        }
        let Verb::Serve(serve) = Cli::try_parse_from(["outrigger", "serve", "--plugins=/p"]).unwrap().verb else {
            panic!("not serve")
        };
        assert!(!serve.ca.lends());
        assert_eq!(serve.ca.ca_lifetime, outrigger_server::shared_ca::LIFETIME);
        assert_eq!(serve.ca.cert_lifetime, outrigger_server::shared_ca::LEAF_LIFETIME);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bundle_file_is_followed_and_a_broken_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.crt");
        let publication = Arc::new(Publication::new(Duration::ZERO, Arc::new(SystemTime::now)));
        let end = CancellationToken::new();
        let following = tokio::spawn(follow(file.clone(), publication.clone(), end.clone()));
        let looks = || tokio::time::sleep(certificates::CHECK_EVERY * 3);
        let authority = |name| outrigger_server::Authority::create(name).unwrap().pem().to_owned();
        let published = || publication.first().and_then(|pem| Bundle::read(pem.as_bytes()));
        looks().await;
        assert!(published().is_none(), "there is no file yet");
        let first = authority("first");
        std::fs::write(&file, &first).unwrap();
        looks().await;
        assert!(published().unwrap().is_as(&Bundle::read(first.as_bytes()).unwrap()));
        for broken in ["nonsense", ""] {
            std::fs::write(&file, broken).unwrap();
            looks().await;
            assert!(
                published().unwrap().is_as(&Bundle::read(first.as_bytes()).unwrap()),
                "{broken:?}"
            );
        }
        let second = authority("second");
        std::fs::write(&file, &second).unwrap();
        looks().await;
        assert!(published().unwrap().is_as(&Bundle::read(second.as_bytes()).unwrap()));
        end.cancel();
        following.await.unwrap();
    }
}
