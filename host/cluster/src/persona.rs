//! As whom a plugin acts: an identity of its own in the cluster, so that RBAC decides for each plugin what it may do.
//!
//! The host says so by impersonation: it needs the verb `impersonate` for this user (or ServiceAccount), which deploy/metrics/base/rbac.yaml has, and
//! nothing of what the plugin does is done with the host's own rights.

use http::HeaderValue;
use http::header::HeaderName;
use kube::Client;
use kube::client::Body;
use tower::service_fn;

/// A user of the cluster that is a plugin.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Persona {
    user: String,
    groups: Vec<String>,
}

/// The group of all plugins that have no ServiceAccount.
pub const PLUGINS: &str = "outrigger:plugins";

const USER: HeaderName = HeaderName::from_static("impersonate-user");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");

// === impl Persona ===

impl Persona {
    /// `outrigger:plugin:NAME` in the group `outrigger:plugins`.
    #[must_use]
    pub fn plugin(name: &str) -> Self {
        Self {
            user: format!("outrigger:plugin:{name}"),
            groups: vec![PLUGINS.to_owned()],
        }
    }

    /// A ServiceAccount; kube-apiserver adds its groups.
    #[must_use]
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self {
            user: format!("system:serviceaccount:{namespace}:{name}"),
            groups: Vec::new(),
        }
    }

    /// The user's name.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// A client that asks in its name.
    #[must_use]
    pub fn client(&self, host: &Client) -> Client {
        let (host, persona) = (host.clone(), self.clone());
        let namespace = host.default_namespace().to_owned();
        let service = service_fn(move |mut request: http::Request<Body>| {
            let host = host.clone();
            let said = persona.says(request.headers_mut());
            async move {
                said?;
                host.send(request).await.map_err(tower::BoxError::from)
            }
        });
        Client::new(service, namespace)
    }

    fn says(&self, headers: &mut http::HeaderMap) -> Result<(), tower::BoxError> {
        headers.insert(USER, HeaderValue::from_str(&self.user)?);
        headers.remove(GROUP);
        for group in &self.groups {
            headers.append(GROUP, HeaderValue::from_str(group)?);
        }
        Ok(())
    }
}

impl std::fmt::Display for Persona {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.user)
    }
}
