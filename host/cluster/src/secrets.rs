//! One key of a Secret, read with the host's own rights. Nothing of it is kept, logged or put into a sentence.

use bytes::Bytes;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use crate::causes::causes;
use crate::objects::{ObjectError, refusal};

/// Reads one key.
///
/// # Errors
/// There is no such Secret or key, the host may not read it, or nobody answers.
pub async fn read(client: &Client, namespace: &str, name: &str, key: &str) -> Result<Bytes, ObjectError> {
    let secret = Api::<Secret>::namespaced(client.clone(), namespace)
        .get(name)
        .await
        .map_err(|e| match e {
            kube::Error::Api(status) => {
                let code = http::StatusCode::from_u16(status.code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
                // Not the plugin's fault, and not its business who the host is.
                match refusal(code, b"") {
                    ObjectError::Denied(_) => ObjectError::Unavailable(format!(
                        "this host may not get the Secret {namespace}/{name}; its operator may allow it"
                    )),
                    ObjectError::NotFound(_) => ObjectError::NotFound(format!("there is no Secret {namespace}/{name}")),
                    other => other,
                }
            }
            other => ObjectError::Unavailable(format!("kube-apiserver does not answer: {}", causes(&other))),
        })?;
    secret
        .data
        .and_then(|mut data| data.remove(key))
        .map(|value| value.0.into())
        .ok_or_else(|| ObjectError::NotFound(format!("the Secret {namespace}/{name} has no key {key:?}")))
}
