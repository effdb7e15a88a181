//! The Secret in which replicas keep the authority that they share: read, made once, changed only by whoever has seen it last.
//!
//! Nothing is judged here. The Secret is `kubernetes.io/tls` with a `ca.crt`, labelled as ours; one without that label, or one that
//! cert-manager fills, is somebody else's. Its key is never logged and never put into a sentence.
//!
//! It takes `get` and `update` of this one Secret, and `create`, which RBAC cannot bind to a name. Who does not want to grant that puts
//! an empty Secret with our label there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, Error};

use crate::advice::Account;
use crate::causes::causes;

/// What says that a host of this kind made an object.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "outrigger");
/// What cert-manager writes on Secrets that it fills.
const CERT_MANAGERS: &str = "cert-manager.io/certificate-name";

const VERBS: &str = "get,update";

/// One Secret. A change carries the resourceVersion of what was read last, so that a change by somebody else is noticed.
pub struct CaSecret {
    api: Api<Secret>,
    namespace: String,
    name: String,
    last: Mutex<Option<Secret>>,
}

/// Its three keys, PEM; what is missing is empty.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// `tls.crt`.
    pub certificate: String,
    /// `tls.key`.
    pub key: String,
    /// `ca.crt`.
    pub bundle: String,
}

/// The Secret as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// What it holds. What is no text is no PEM either, and reads as such.
    pub keys: Keys,
    /// Its resourceVersion.
    pub version: String,
    /// Whether it has our label and nobody else fills it.
    pub ours: bool,
}

// === impl CaSecret ===

impl CaSecret {
    /// The Secret NAMESPACE/NAME.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            last: Mutex::default(),
        }
    }

    /// What it holds; none if there is no such Secret.
    ///
    /// # Errors
    /// One sentence.
    pub async fn read(&self) -> Result<Option<Read>, String> {
        let found = self.api.get_opt(&self.name).await.map_err(|error| self.said(VERBS, &error))?;
        let read = found.as_ref().map(|secret| {
            let data = secret.data.as_ref();
            let text = |key: &str| {
                let bytes = data.and_then(|data| data.get(key)).map(|value| value.0.as_slice());
                String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
            };
            let has = |of: &Option<BTreeMap<String, String>>, key: &str| of.as_ref().and_then(|all| all.get(key)).cloned();
            let labelled = has(&secret.metadata.labels, MANAGED_BY.0).as_deref() == Some(MANAGED_BY.1);
            Read {
                keys: Keys {
                    certificate: text("tls.crt"),
                    key: text("tls.key"),
                    bundle: text("ca.crt"),
                },
                version: secret.metadata.resource_version.clone().unwrap_or_default(),
                ours: labelled && has(&secret.metadata.annotations, CERT_MANAGERS).is_none(),
            }
        });
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(read)
    }

    /// Makes it; false if it is there already.
    ///
    /// # Errors
    /// One sentence.
    pub async fn create(&self, keys: &Keys) -> Result<bool, String> {
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.namespace.clone()),
                labels: Some([(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned())].into()),
                ..ObjectMeta::default()
            },
            type_: Some("kubernetes.io/tls".to_owned()),
            data: Some(keys.data().into()),
            ..Secret::default()
        };
        match self.api.create(&by_us(), &secret).await {
            Ok(_) => Ok(true),
            Err(Error::Api(status)) if status.reason == "AlreadyExists" => Ok(false),
            Err(error) => Err(self.said("create", &error)),
        }
    }

    /// Puts these keys in, if it still has this version; false if it has not. Whatever else it holds stays.
    ///
    /// # Errors
    /// One sentence.
    pub async fn replace(&self, keys: &Keys, version: &str) -> Result<bool, String> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let seen = last.filter(|secret| secret.metadata.resource_version.as_deref() == Some(version));
        let Some(mut secret) = seen else { return Ok(false) };
        secret.data.get_or_insert_default().extend(keys.data());
        match self.api.replace(&self.name, &by_us(), &secret).await {
            Ok(_) => Ok(true),
            Err(Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
            Err(error) => Err(self.said(VERBS, &error)),
        }
    }

    fn said(&self, verbs: &str, error: &Error) -> String {
        let (namespace, name) = (&self.namespace, &self.name);
        match error {
            Error::Api(status) if status.code == 403 => {
                let account = Account::named_in(&status.message);
                match verbs {
                    "create" => account.may_not_create_secret(namespace, name).to_string(),
                    verbs => account.may_not_keep_secret(verbs, namespace, name).to_string(),
                }
            }
            error => format!("Secret {namespace}/{name} cannot be read or written: {}", causes(error)),
        }
    }
}

fn by_us() -> PostParams {
    PostParams {
        field_manager: Some(MANAGED_BY.1.to_owned()),
        ..PostParams::default()
    }
}

// === impl Keys ===

impl Keys {
    fn data(&self) -> [(String, ByteString); 3] {
        [
            ("tls.crt", &self.certificate),
            ("tls.key", &self.key),
            ("ca.crt", &self.bundle),
        ]
        .map(|(key, text)| (key.to_owned(), ByteString(text.as_bytes().to_vec())))
    }
}

impl fmt::Debug for CaSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaSecret({}/{})", self.namespace, self.name)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("certificate", &self.certificate)
            .field("bundle", &self.bundle)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::scripted::{Server, Step, status};

    fn secret(version: &str, ours: bool, annotations: Value, data: Value) -> Step {
        let labels = if ours {
            json!({(MANAGED_BY.0): MANAGED_BY.1})
        } else {
            json!({})
        };
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "data": data,
            "metadata": {"name": "ca", "namespace": "sea", "resourceVersion": version, "labels": labels, "annotations": annotations},
        });
        Step::Say(200, secret.to_string())
    }

    fn keys() -> Keys {
        Keys {
            certificate: "crt".into(),
            key: "key".into(),
            bundle: "ca".into(),
        }
    }

    fn full() -> Value {
        json!({"tls.crt": "Y3J0", "tls.key": "a2V5", "ca.crt": "Y2E="})
    }

    #[tokio::test]
    async fn a_secret_is_read_and_known_as_ours_or_not() {
        let managed = json!({CERT_MANAGERS: "ca"});
        let cases = [
            ("none", status(404, "NotFound"), None),
            ("ours", secret("5", true, json!({}), full()), Some((keys(), true))),
            ("another's", secret("5", false, json!({}), full()), Some((keys(), false))),
            (
                "cert-manager's, with our label",
                secret("5", true, managed, full()),
                Some((keys(), false)),
            ),
            (
                "empty",
                secret("5", true, json!({}), json!({})),
                Some((Keys::default(), true)),
            ),
        ];
        for (name, step, expected) in cases {
            let server = Server::start(vec![step]).await;
            let read = CaSecret::new(server.client.clone(), "sea", "ca").read().await.unwrap();
            let version = "5".to_owned();
            assert_eq!(read, expected.map(|(keys, ours)| Read { keys, version, ours }), "{name}");
            assert_eq!(server.asked()[0].uri, "/api/v1/namespaces/sea/secrets/ca");
        }
        assert!(!format!("{:?}", keys()).contains("key\""), "a key is never printed");
    }

    #[tokio::test]
    async fn a_secret_is_made_once_and_changed_by_who_has_seen_it() {
        let server = Server::start(vec![
            secret("1", true, json!({}), full()),
            status(409, "AlreadyExists"),
            secret("1", true, json!({}), json!({"more": "bW9yZQ=="})),
            secret("2", true, json!({}), full()),
            status(409, "Conflict"),
            status(404, "NotFound"),
            status(500, "InternalError"),
        ])
        .await;
        let kept = CaSecret::new(server.client.clone(), "sea", "ca");
        assert_eq!(kept.create(&keys()).await, Ok(true));
        assert_eq!(kept.create(&keys()).await, Ok(false), "somebody was faster");
        assert_eq!(kept.replace(&keys(), "1").await, Ok(false), "it was not read yet");
        kept.read().await.unwrap();
        assert_eq!(kept.replace(&keys(), "1").await, Ok(true));
        assert_eq!(kept.replace(&keys(), "1").await, Ok(false), "somebody has changed it");
        assert_eq!(kept.replace(&keys(), "1").await, Ok(false), "somebody has deleted it");
        let why = kept.replace(&keys(), "1").await.unwrap_err();
        assert!(why.starts_with("Secret sea/ca cannot be read or written"), "{why}");
        let asked = server.asked();
        let body = |n: usize| serde_json::from_str::<Value>(&asked[n].body).unwrap();
        assert_eq!((asked[0].method.as_str(), asked[3].method.as_str()), ("POST", "PUT"));
        assert_eq!(body(0)["type"], "kubernetes.io/tls");
        assert_eq!(body(0)["metadata"]["labels"][MANAGED_BY.0], MANAGED_BY.1);
        assert_eq!(body(0)["data"], full());
        assert_eq!(body(3)["metadata"]["resourceVersion"], "1");
        let mut both = full();
        both["more"] = json!("bW9yZQ==");
        assert_eq!(body(3)["data"], both, "what else it holds stays");
    }

    #[tokio::test]
    async fn a_refusal_says_what_to_grant() {
        let server = Server::start(vec![status(403, "Forbidden"), status(403, "Forbidden")]).await;
        let kept = CaSecret::new(server.client.clone(), "sea", "ca");
        let read = kept.read().await.unwrap_err();
        assert!(
            read.contains("may not get,update Secret sea/ca") && read.contains("--resource-name=ca"),
            "{read}"
        );
        let made = kept.create(&keys()).await.unwrap_err();
        assert!(
            made.contains("may not create Secrets in sea") && made.contains("kubectl create role"),
            "{made}"
        );
    }
}
