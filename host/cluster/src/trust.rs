//! Whom kube-apiserver tells us to believe: the ConfigMap `kube-system/extension-apiserver-authentication`.
//!
//! kube-apiserver keeps in it the CA of ordinary client certificates, the CA of its own front proxy, and the names of the headers
//! in which the front proxy says who is calling. It is read at start, then followed: a changed CA or name counts without a
//! restart. Belief is never widened by a mishap: a ConfigMap that is deleted, unreadable or malformed leaves the last good
//! one in force.
//!
//! Reading it takes the Role `extension-apiserver-authentication-reader` through a RoleBinding **in kube-system**.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::watcher;
use kube::{Api, Client};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::advice::Account;
use crate::causes::causes;
use crate::informer::{self, Keep, Subject};

/// Where the ConfigMap lives.
pub const NAMESPACE: &str = "kube-system";
/// Its name.
pub const NAME: &str = "extension-apiserver-authentication";

/// One read at start may take this long.
const READ_DEADLINE: Duration = Duration::from_secs(10);
/// Should an event be lost, the truth is at most this old.
const READ_AGAIN: Duration = Duration::from_secs(600);

/// What kube-apiserver says of those who may call. Empty means "not said"; flags may override each part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestHeaderTrust {
    /// CA of ordinary client certificates (`client-ca-file`), PEM.
    pub client_ca_pem: Option<String>,
    /// CA of the front proxy's certificate (`requestheader-client-ca-file`), PEM. Without it no header is believed.
    pub requestheader_client_ca_pem: Option<String>,
    /// Common names that the front proxy's certificate may have; **empty allows any**.
    pub allowed_names: Vec<String>,
    /// Headers that carry the user's name.
    pub username_headers: Vec<String>,
    /// Headers that carry the user's UID; absent before Kubernetes 1.32.
    pub uid_headers: Vec<String>,
    /// Headers that carry groups.
    pub group_headers: Vec<String>,
    /// Prefixes of headers that carry extra attributes.
    pub extra_headers_prefix: Vec<String>,
}

/// Why there is no trust to be had.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// kube-apiserver refuses.
    #[error("{}", Account::named_in(&causes(.0)).may_not_read_trust())]
    Denied(#[source] kube::Error),
    /// kube-apiserver did not answer in time.
    #[error("ConfigMap {NAMESPACE}/{NAME} was not answered within {READ_DEADLINE:?}")]
    Deadline,
    /// Anything else on the way.
    #[error("cannot read ConfigMap {NAMESPACE}/{NAME}: {}", causes(.0))]
    Unreadable(#[source] kube::Error),
    /// A key that must be a JSON array of strings is not.
    #[error("key {key} of ConfigMap {NAMESPACE}/{NAME} is not a JSON array of strings")]
    NotAList {
        /// The key.
        key: &'static str,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A key that must hold certificates holds none, or broken ones.
    #[error("key {key} of ConfigMap {NAMESPACE}/{NAME} holds no readable PEM certificate")]
    NoCertificate {
        /// The key.
        key: &'static str,
    },
}

// === impl RequestHeaderTrust ===

impl RequestHeaderTrust {
    /// Reads a ConfigMap's data. Every key may be absent or empty; one that is there must be well formed, since a CA half
    /// understood is worse than the one before.
    ///
    /// # Errors
    /// [`TrustError::NotAList`] and [`TrustError::NoCertificate`] name the key at fault.
    pub fn parse<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Result<Self, TrustError> {
        Ok(Self {
            client_ca_pem: certificates("client-ca-file", &get)?,
            requestheader_client_ca_pem: certificates("requestheader-client-ca-file", &get)?,
            allowed_names: list("requestheader-allowed-names", &get)?,
            username_headers: list("requestheader-username-headers", &get)?,
            uid_headers: list("requestheader-uid-headers", &get)?,
            group_headers: list("requestheader-group-headers", &get)?,
            extra_headers_prefix: list("requestheader-extra-headers-prefix", &get)?,
        })
    }

    fn of(map: &ConfigMap) -> Result<Self, TrustError> {
        Self::parse(|key| map.data.as_ref()?.get(key).map(String::as_str))
    }
}

/// Reads the ConfigMap once. None: there is none, as in clusters whose kube-apiserver has no front proxy.
///
/// # Errors
/// Denied, unreachable, or malformed; the caller decides whether to start all the same
/// (`--authentication-tolerate-lookup-failure`).
pub async fn read(client: &Client) -> Result<Option<RequestHeaderTrust>, TrustError> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let answer = tokio::time::timeout(READ_DEADLINE, api.get_opt(NAME))
        .await
        .map_err(|_| TrustError::Deadline)?;
    match answer {
        Ok(map) => map.as_ref().map(RequestHeaderTrust::of).transpose(),
        Err(kube::Error::Api(status)) if status.code == 403 => Err(TrustError::Denied(kube::Error::Api(status))),
        Err(error) => Err(TrustError::Unreadable(error)),
    }
}

/// Follows the ConfigMap until cancelled, beginning with what was read at start. The receiver sees only real changes.
#[must_use]
pub fn follow(
    client: Client,
    first: RequestHeaderTrust,
    cancel: CancellationToken,
) -> (watch::Receiver<Arc<RequestHeaderTrust>>, JoinHandle<()>) {
    let (now, receiver) = watch::channel(Arc::new(first));
    let now = Arc::new(now);
    let mut config = informer::config();
    config.field_selector = Some(format!("metadata.name={NAME}"));
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let open = move || watcher(api.clone(), config.clone());
    let keeper = Keeper {
        now: Arc::clone(&now),
        listed: false,
        absent: false,
    };
    let task = tokio::spawn(async move {
        tokio::select! {
            () = informer::follow(subject(), open, keeper, cancel) => {}
            // Ends with the follower; never on its own.
            () = read_again(&client, &now) => {}
        }
    });
    (receiver, task)
}

fn subject() -> Subject {
    let what = "ConfigMap kube-system/extension-apiserver-authentication";
    Subject::own(what, Account::may_not_read_trust)
}

struct Keeper {
    now: Arc<watch::Sender<Arc<RequestHeaderTrust>>>,
    listed: bool,
    /// It has been said that there is none.
    absent: bool,
}

// === impl Keeper ===

impl Keep<ConfigMap> for Keeper {
    fn begin(&mut self) {
        self.listed = false;
    }

    fn list(&mut self, object: ConfigMap) {
        self.listed = true;
        take(&self.now, &object);
    }

    fn commit(&mut self) {
        if !self.listed && !std::mem::replace(&mut self.absent, true) {
            warn!(
                "there is no ConfigMap {NAMESPACE}/{NAME}; what was last known of it stays in force until kube-apiserver writes it"
            );
        }
        self.absent = !self.listed;
    }

    fn apply(&mut self, object: ConfigMap) {
        self.absent = false;
        take(&self.now, &object);
    }

    fn delete(&mut self, _: ConfigMap) {
        self.absent = true;
        warn!("ConfigMap {NAMESPACE}/{NAME} was deleted; the last good one stays in force until kube-apiserver writes it anew");
    }
}

async fn read_again(client: &Client, now: &watch::Sender<Arc<RequestHeaderTrust>>) {
    loop {
        tokio::time::sleep(READ_AGAIN).await;
        match read(client).await {
            Ok(Some(trust)) => publish(now, trust),
            Ok(None) => {}
            Err(error) => debug!("{error}; the last good one stays in force"),
        }
    }
}

fn take(now: &watch::Sender<Arc<RequestHeaderTrust>>, map: &ConfigMap) {
    if map.metadata.name.as_deref() != Some(NAME) {
        return;
    }
    match RequestHeaderTrust::of(map) {
        Ok(trust) => publish(now, trust),
        Err(error) => warn!("{error}; the last good one stays in force"),
    }
}

fn publish(now: &watch::Sender<Arc<RequestHeaderTrust>>, trust: RequestHeaderTrust) {
    let changed = now.send_if_modified(|known| {
        let changed = **known != trust;
        if changed {
            *known = Arc::new(trust);
        }
        changed
    });
    if changed {
        info!("authentication of callers follows ConfigMap {NAMESPACE}/{NAME} as it is now");
    }
}

fn list<'a>(key: &'static str, get: &impl Fn(&str) -> Option<&'a str>) -> Result<Vec<String>, TrustError> {
    match get(key) {
        // `null` is what Go writes for no names.
        None | Some("" | "null") => Ok(Vec::new()),
        Some(text) => serde_json::from_str(text).map_err(|source| TrustError::NotAList { key, source }),
    }
}

fn certificates<'a>(key: &'static str, get: &impl Fn(&str) -> Option<&'a str>) -> Result<Option<String>, TrustError> {
    let Some(pem) = get(key).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        certificate.map_err(|_| TrustError::NoCertificate { key })?;
        count += 1;
    }
    if count == 0 {
        return Err(TrustError::NoCertificate { key });
    }
    Ok(Some(pem.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::scripted::{Server, event, list as list_step, status, until, watch};

    fn ca(name: &str) -> String {
        let mut parameters = rcgen::CertificateParams::new(vec![]).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    }

    fn parse(data: &[(&str, &str)]) -> Result<RequestHeaderTrust, TrustError> {
        let data: BTreeMap<&str, &str> = data.iter().copied().collect();
        RequestHeaderTrust::parse(|key| data.get(key).copied())
    }

    #[test]
    fn whole_and_partial_config_maps() {
        let (client, proxy) = (ca("client"), ca("front-proxy"));
        let whole = parse(&[
            ("client-ca-file", &client),
            ("requestheader-client-ca-file", &proxy),
            ("requestheader-allowed-names", r#"["front-proxy-client"]"#),
            ("requestheader-username-headers", r#"["X-Remote-User"]"#),
            ("requestheader-uid-headers", r#"["X-Remote-Uid"]"#),
            ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
            ("requestheader-extra-headers-prefix", r#"["X-Remote-Extra-"]"#),
            ("a-later-key", "ignored"),
        ])
        .unwrap();
        assert_eq!(
            whole,
            RequestHeaderTrust {
                client_ca_pem: Some(client.clone()),
                requestheader_client_ca_pem: Some(proxy.clone()),
                allowed_names: vec!["front-proxy-client".into()],
                username_headers: vec!["X-Remote-User".into()],
                uid_headers: vec!["X-Remote-Uid".into()],
                group_headers: vec!["X-Remote-Group".into()],
                extra_headers_prefix: vec!["X-Remote-Extra-".into()],
            }
        );
        let nothing = RequestHeaderTrust::default();
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Result<RequestHeaderTrust, &'a str>);
        let cases: [Case<'_>; 9] = [
            ("no data", &[], Ok(nothing.clone())),
            (
                "empty values",
                &[("client-ca-file", ""), ("requestheader-allowed-names", "")],
                Ok(nothing.clone()),
            ),
            ("any name", &[("requestheader-allowed-names", "[]")], Ok(nothing.clone())),
            ("null names", &[("requestheader-allowed-names", "null")], Ok(nothing.clone())),
            (
                "client CA alone",
                &[("client-ca-file", &client)],
                Ok(RequestHeaderTrust {
                    client_ca_pem: Some(client.clone()),
                    ..nothing.clone()
                }),
            ),
            (
                "names that are no list",
                &[("requestheader-allowed-names", "front-proxy-client")],
                Err("requestheader-allowed-names"),
            ),
            (
                "names that are no strings",
                &[("requestheader-group-headers", "[1]")],
                Err("requestheader-group-headers"),
            ),
            ("a CA that is no PEM", &[("client-ca-file", "MIIB")], Err("client-ca-file")),
            (
                "a CA that breaks off",
                &[(
                    "requestheader-client-ca-file",
                    "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
                )],
                Err("requestheader-client-ca-file"),
            ),
        ];
        for (name, data, expected) in cases {
            match (parse(data), expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{name}"),
                (Err(error), Err(key)) => assert!(error.to_string().contains(key), "{name}: {error}"),
                (got, expected) => panic!("{name}: {got:?}, expected {expected:?}"),
            }
        }
    }

    fn map(version: u32, name: &str, allowed: &str) -> String {
        serde_json::json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": NAMESPACE, "resourceVersion": version.to_string()},
            "data": {"requestheader-allowed-names": allowed},
        })
        .to_string()
    }

    #[tokio::test]
    async fn the_first_read_tells_absent_from_denied() {
        let server = Server::start(vec![
            status(404, "NotFound"),
            status(403, "Forbidden"),
            crate::scripted::Step::Say(200, map(1, NAME, r#"["a"]"#)),
        ])
        .await;
        assert_eq!(read(&server.client).await.unwrap(), None);
        let denied = read(&server.client).await.unwrap_err();
        assert!(
            matches!(denied, TrustError::Denied(_)) && denied.to_string().contains("kubectl create rolebinding"),
            "{denied}"
        );
        assert_eq!(read(&server.client).await.unwrap().unwrap().allowed_names, ["a"]);
        assert_eq!(
            server.asked()[0].uri,
            "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
        );
    }

    #[tokio::test]
    async fn changes_count_and_mishaps_do_not() {
        let (events, first) = watch();
        let server = Server::start(vec![list_step("2", "", &[map(1, NAME, r#"["a"]"#)]), first]).await;
        let cancel = CancellationToken::new();
        let (trust, task) = follow(server.client.clone(), RequestHeaderTrust::default(), cancel.clone());
        let names = || trust.borrow().allowed_names.clone();
        until("list", || names() == ["a"]).await;
        events.send(event("MODIFIED", &map(3, NAME, r#"["b"]"#))).unwrap();
        until("change", || names() == ["b"]).await;
        // Malformed, somebody else's, deleted: the last good one stays.
        events.send(event("MODIFIED", &map(4, NAME, "nonsense"))).unwrap();
        events.send(event("ADDED", &map(5, "another", r#"["evil"]"#))).unwrap();
        events.send(event("DELETED", &map(6, NAME, r#"["b"]"#))).unwrap();
        events.send(event("ADDED", &map(7, NAME, r#"["c"]"#))).unwrap();
        let mut seen = trust.clone();
        seen.borrow_and_update();
        tokio::time::timeout(Duration::from_secs(5), seen.wait_for(|t| t.allowed_names == ["c"]))
            .await
            .unwrap()
            .unwrap();
        assert!(server.asked().iter().all(|a| {
            a.uri
                .contains("fieldSelector=metadata.name%3Dextension-apiserver-authentication")
        }));
        cancel.cancel();
        task.await.unwrap();
    }
}
