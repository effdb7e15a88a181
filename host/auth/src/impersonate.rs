//! Acting as somebody else (apiserver `endpoints/filters/impersonation/impersonation.go`).
//!
//! `Impersonate-User`, `-Group`, `-Uid` and `-Extra-KEY` ask to be taken for another user. Every single thing that is asked for is a
//! question to the authorizer, "may the caller *impersonate* this?", and one refusal refuses the whole. What comes out replaces
//! the caller for everything that follows: seats, permission, the endpoint, the audit log's `impersonatedUser`. Behind a
//! kube-apiserver these headers never arrive, since it consumes them; they matter to who calls this server directly.
//!
//! The headers are gone afterwards, whatever came of them. A request without any of them pays for one look at its header names.
//!
//! Not done: *constrained* impersonation (KEP-5284, beta in 1.36: the verbs `impersonate:user-info`, `impersonate-on:…`). Who has
//! only those permissions is refused here; the unconstrained `impersonate` verb decides, as upstream's last mode does. The words of
//! refusals are those of the unconstrained filter; a server with the constrained one (upstream's default in 1.36) has others.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;
use outrigger_api::identity::{ANONYMOUS, AUTHENTICATED, Identity, UNAUTHENTICATED};
use outrigger_api::manifest::{is_dns_label, is_dns_subdomain};
use outrigger_api::request_info::RequestInfo;
use outrigger_api::status::Status;

use crate::attributes::Attributes;
use crate::authorize::{Authorizer, Refused};
use crate::requestheader::decoded;

const ANY: &str = "impersonate-";
const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
/// Where extras and UIDs are resources.
const AUTHENTICATION: (&str, &str) = ("authentication.k8s.io", "v1");
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// One thing that somebody wants to be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wish {
    User(String),
    ServiceAccount { namespace: String, name: String },
    Group(String),
    Extra { key: String, value: String },
    Uid(String),
}

/// Whom the request shall be taken for; `None` if it says nothing of the kind. The headers are removed.
///
/// # Errors
/// 400 for groups, extras or a UID without a user, and for a header that is not UTF-8; 403 in upstream's words for the first thing
/// that the caller may not be.
pub async fn impersonate(
    authorizer: &Authorizer,
    caller: &Identity,
    headers: &mut HeaderMap,
) -> Result<Option<Arc<Identity>>, Status> {
    if !headers.keys().any(|name| name.as_str().starts_with(ANY)) {
        return Ok(None);
    }
    let wishes = wishes(headers);
    strip(headers);
    let wishes = wishes?;
    if wishes.is_empty() {
        return Ok(None);
    }
    for wish in &wishes {
        let info = wish.question();
        match authorizer.decide(caller, &Attributes::from(&info)).await {
            Ok(()) => {}
            Err(Refused::Denied(reason)) => return Err(Status::forbidden(&caller.name, &info, &reason)),
            // No answer is a no, in the same words; why there is none is for the log.
            Err(Refused::NoAnswer(why)) => {
                tracing::error!(user = %caller.name, resource = %info.resource, error = %why, "no answer on impersonation");
                return Err(Status::forbidden(&caller.name, &info, ""));
            }
        }
    }
    let identity = become_all(wishes);
    tracing::debug!(by = %caller.name, user = %identity.name, "impersonated");
    Ok(Some(Arc::new(identity)))
}

// === impl Wish ===

impl Wish {
    /// The request that is put before the authorizer.
    fn question(&self) -> RequestInfo {
        let mut info = RequestInfo {
            is_resource_request: true,
            verb: "impersonate".into(),
            ..RequestInfo::default()
        };
        let mut of = |(group, version): (&str, &str), resource: &str, name: &str| {
            info.api_group = group.into();
            info.api_version = version.into();
            info.resource = resource.into();
            info.name = name.into();
        };
        match self {
            Self::User(name) => of(("", ""), "users", name),
            Self::ServiceAccount { namespace, name } => {
                of(("", ""), "serviceaccounts", name);
                info.namespace.clone_from(namespace);
            }
            Self::Group(name) => of(("", ""), "groups", name),
            Self::Extra { key, value } => {
                of(AUTHENTICATION, "userextras", value);
                info.subresource.clone_from(key);
            }
            Self::Uid(uid) => of(AUTHENTICATION, "uids", uid),
        }
        info
    }

    /// As Go prints the `ObjectReference` that upstream makes of it.
    fn printed(&self) -> String {
        let version = format!("{}/{}", AUTHENTICATION.0, AUTHENTICATION.1);
        match self {
            Self::User(name) => format!("{{User  {name}    }}"),
            Self::ServiceAccount { namespace, name } => format!("{{ServiceAccount {namespace} {name}    }}"),
            Self::Group(name) => format!("{{Group  {name}    }}"),
            Self::Extra { key, value } => format!("{{UserExtra  {value}  {version}  {key}}}"),
            Self::Uid(uid) => format!("{{UID  {uid}  {version}  }}"),
        }
    }
}

/// Reads the headers, in upstream's order: the user, groups, extras, the UID.
fn wishes(headers: &HeaderMap) -> Result<Vec<Wish>, Status> {
    let text = |name: &str, value: &http::HeaderValue| {
        std::str::from_utf8(value.as_bytes())
            .map(str::to_owned)
            .map_err(|_| Status::bad_request(format!("header {name} is not UTF-8")))
    };
    let first = |name: &'static str| headers.get(name).map(|value| text(name, value)).transpose();
    let mut wishes = Vec::new();
    let user = first(USER)?.filter(|user| !user.is_empty());
    if let Some(user) = &user {
        wishes.push(match service_account(user) {
            Some((namespace, name)) => Wish::ServiceAccount {
                namespace: namespace.into(),
                name: name.into(),
            },
            None => Wish::User(user.clone()),
        });
    }
    for value in headers.get_all(GROUP) {
        wishes.push(Wish::Group(text(GROUP, value)?));
    }
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            let (key, value) = (decoded(key), text(name.as_str(), value)?);
            wishes.push(Wish::Extra { key, value });
        }
    }
    if let Some(uid) = first(UID)?.filter(|uid| !uid.is_empty()) {
        wishes.push(Wish::Uid(uid));
    }
    if user.is_none() && !wishes.is_empty() {
        let printed: Vec<String> = wishes.iter().map(Wish::printed).collect();
        return Err(Status::bad_request(format!(
            "requested [{}] without impersonating a user",
            printed.join(" ")
        )));
    }
    Ok(wishes)
}

/// The user that all these permitted things make.
fn become_all(wishes: Vec<Wish>) -> Identity {
    // Groups that are named are all there are; a service account's own are known, and only used if none is named.
    let named = wishes.iter().any(|wish| matches!(wish, Wish::Group(_)));
    let mut identity = Identity {
        name: String::new(),
        uid: String::new(),
        groups: Vec::new(),
        extra: BTreeMap::new(),
    };
    for wish in wishes {
        match wish {
            Wish::User(name) => identity.name = name,
            Wish::ServiceAccount { namespace, name } => {
                if !named {
                    identity.groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
                }
                identity.name = format!("{SERVICE_ACCOUNT}{namespace}:{name}");
            }
            Wish::Group(group) => identity.groups.push(group),
            Wish::Extra { key, value } => identity.extra.entry(key).or_default().push(value),
            Wish::Uid(uid) => identity.uid = uid,
        }
    }
    let everybody = if identity.name == ANONYMOUS {
        (!identity.is_in(UNAUTHENTICATED)).then_some(UNAUTHENTICATED)
    } else {
        (!identity.is_in(AUTHENTICATED) && !identity.is_in(UNAUTHENTICATED)).then_some(AUTHENTICATED)
    };
    identity.groups.extend(everybody.map(str::to_owned));
    identity
}

/// Namespace and name, if the user name is a service account's (apiserver `serviceaccount.SplitUsername`).
fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
    (is_dns_label(namespace) && is_dns_subdomain(name)).then_some((namespace, name))
}

fn strip(headers: &mut HeaderMap) {
    for name in [USER, GROUP, UID] {
        headers.remove(name);
    }
    while let Some(name) = headers.keys().find(|name| name.as_str().starts_with(EXTRA)).cloned() {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::sync::Mutex;

    use async_trait::async_trait;
    use http::HeaderName;

    use super::*;
    use crate::authorize::Options;
    use crate::reviews::{AccessReviewer, Decision};

    /// Allows what upstream's test authorizer allows; remembers what it was asked.
    #[derive(Default)]
    struct Cluster(Mutex<Vec<String>>);

    #[async_trait]
    impl AccessReviewer for Cluster {
        async fn review(&self, who: &Identity, a: &Attributes<'_>) -> Result<Decision, Box<dyn Error + Send + Sync>> {
            let line = [
                a.verb,
                a.api_group,
                a.api_version,
                a.namespace,
                a.resource,
                a.subresource,
                a.name,
            ]
            .join("|");
            self.0.lock().unwrap().push(line);
            let role = |at: usize| who.groups.get(at).map_or("", String::as_str);
            let authentication = a.api_group == "authentication.k8s.io";
            let allowed = match a.resource {
                "users" => matches!(role(0), "wheel" | "regular-impersonater" | "everything-impersonater"),
                "serviceaccounts" => role(0) == "sa-impersonater",
                "groups" => role(1) == "group-impersonater" || role(0) == "everything-impersonater",
                "userextras" if authentication => match role(1) {
                    "extra-setter-scopes" => a.subresource == "scopes",
                    "extra-setter-particular-scopes" => a.subresource == "scopes" && a.name == "scope-a",
                    "extra-setter-project" => a.subresource == "project",
                    "escaped-scopes" => true,
                    _ => role(0) == "everything-impersonater" && a.subresource == "scopes",
                },
                "uids" if authentication => role(0) == "everything-impersonater" && a.name == "some-uid",
                _ => false,
            };
            if a.name == "silent" {
                return Err("no route".into());
            }
            Ok(if allowed {
                Decision::Allowed
            } else {
                Decision::Denied("deny by default".into())
            })
        }
    }

    fn caller(name: &str, groups: &[&str]) -> Identity {
        Identity {
            name: name.into(),
            uid: String::new(),
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
            extra: BTreeMap::new(),
        }
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                http::HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        map
    }

    fn shown(identity: &Identity) -> String {
        format!(
            "{}|{}|{}|{:?}",
            identity.name,
            identity.uid,
            identity.groups.join(","),
            identity.extra
        )
    }

    type Row<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, &'a str)], Result<Option<&'a str>, u16>);

    const ADMIN: (&str, &str) = ("Impersonate-User", "system:admin");
    const SOME_GROUP: (&str, &str) = ("Impersonate-Group", "some-group");

    /// The cases of apiserver `impersonation_test.go`.
    #[tokio::test]
    async fn who_may_be_whom() {
        let rows: &[Row<'_>] = &[
            ("nobody", &[], &[], Ok(None)),
            ("other headers", &[], &[("Accept", "*/*")], Ok(None)),
            ("an empty user", &[], &[("Impersonate-User", "")], Ok(None)),
            (
                "anybody, without permission",
                &[],
                &[("Impersonate-User", "anyone")],
                Err(403),
            ),
            ("a group without a user", &[], &[SOME_GROUP], Err(400)),
            (
                "an extra without a user",
                &[],
                &[("Impersonate-Extra-scopes", "scope-a")],
                Err(400),
            ),
            ("a uid without a user", &[], &[("Impersonate-Uid", "some-uid")], Err(400)),
            ("a group that they may not", &["wheel"], &[ADMIN, SOME_GROUP], Err(403)),
            (
                "a group that they may",
                &["wheel", "group-impersonater"],
                &[ADMIN, SOME_GROUP],
                Ok(Some("system:admin||some-group,system:authenticated|{}")),
            ),
            (
                "extras that they may not",
                &["wheel"],
                &[ADMIN, ("Impersonate-Extra-scopes", "scope-a")],
                Err(403),
            ),
            (
                "another extra than theirs",
                &["wheel", "extra-setter-project"],
                &[ADMIN, ("Impersonate-Extra-scopes", "scope-a")],
                Err(403),
            ),
            (
                "one value of two",
                &["wheel", "extra-setter-particular-scopes"],
                &[
                    ADMIN,
                    ("Impersonate-Extra-scopes", "scope-a"),
                    ("Impersonate-Extra-scopes", "scope-b"),
                ],
                Err(403),
            ),
            (
                "both values",
                &["wheel", "extra-setter-scopes"],
                &[
                    ADMIN,
                    ("Impersonate-Extra-scopes", "scope-a"),
                    ("Impersonate-Extra-scopes", "scope-b"),
                ],
                Ok(Some(
                    "system:admin||system:authenticated|{\"scopes\": [\"scope-a\", \"scope-b\"]}",
                )),
            ),
            (
                "an escaped key",
                &["wheel", "escaped-scopes"],
                &[ADMIN, ("Impersonate-Extra-example.com%2fescaped%e1%9b%84Scopes", "a")],
                Ok(Some(
                    "system:admin||system:authenticated|{\"example.com/escapedᛄscopes\": [\"a\"]}",
                )),
            ),
            (
                "a key that is not quite escaped",
                &["wheel", "escaped-scopes"],
                &[ADMIN, ("Impersonate-Extra-almost%zzpercent%xxencoded", "a")],
                Ok(Some(
                    "system:admin||system:authenticated|{\"almost%zzpercent%xxencoded\": [\"a\"]}",
                )),
            ),
            (
                "a user",
                &["regular-impersonater"],
                &[("Impersonate-User", "tester")],
                Ok(Some("tester||system:authenticated|{}")),
            ),
            (
                "a user, as who may be service accounts",
                &["sa-impersonater"],
                &[("Impersonate-User", "tester")],
                Err(403),
            ),
            (
                "a service account",
                &["sa-impersonater"],
                &[("Impersonate-User", "system:serviceaccount:foo:default")],
                Ok(Some(
                    "system:serviceaccount:foo:default||system:serviceaccounts,system:serviceaccounts:foo,system:authenticated|{}",
                )),
            ),
            (
                "what only looks like a service account",
                &["wheel"],
                &[("Impersonate-User", "system:serviceaccount:foo:b:c")],
                Ok(Some("system:serviceaccount:foo:b:c||system:authenticated|{}")),
            ),
            (
                "anonymous",
                &["wheel"],
                &[("Impersonate-User", "system:anonymous")],
                Ok(Some("system:anonymous||system:unauthenticated|{}")),
            ),
            (
                "anonymous with its group",
                &["everything-impersonater"],
                &[
                    ("Impersonate-User", "system:anonymous"),
                    ("Impersonate-Group", "system:unauthenticated"),
                ],
                Ok(Some("system:anonymous||system:unauthenticated|{}")),
            ),
            (
                "an unauthenticated user",
                &["everything-impersonater"],
                &[
                    ("Impersonate-User", "unknown"),
                    ("Impersonate-Group", "system:unauthenticated"),
                ],
                Ok(Some("unknown||system:unauthenticated|{}")),
            ),
            (
                "authenticated is not added twice",
                &["wheel", "group-impersonater"],
                &[ADMIN, SOME_GROUP, ("Impersonate-Group", "system:authenticated")],
                Ok(Some("system:admin||some-group,system:authenticated|{}")),
            ),
            (
                "everything",
                &["everything-impersonater"],
                &[
                    ("Impersonate-User", "tester"),
                    ("Impersonate-Group", "some-group"),
                    ("Impersonate-Extra-scopes", "scope-a"),
                    ("Impersonate-Uid", "some-uid"),
                ],
                Ok(Some(
                    "tester|some-uid|some-group,system:authenticated|{\"scopes\": [\"scope-a\"]}",
                )),
            ),
            (
                "a uid that they may not",
                &["everything-impersonater"],
                &[("Impersonate-User", "tester"), ("Impersonate-Uid", "other")],
                Err(403),
            ),
            (
                "a user about whom the cluster is silent",
                &["wheel"],
                &[("Impersonate-User", "silent")],
                Err(403),
            ),
            (
                "masters may be anybody",
                &["system:masters"],
                &[ADMIN],
                Ok(Some("system:admin||system:authenticated|{}")),
            ),
        ];
        for (name, groups, given, want) in rows {
            let authorizer = Authorizer::delegated(Arc::new(Cluster::default()), &Options::default()).unwrap();
            let mut given = headers(given);
            let got = impersonate(&authorizer, &caller("dev", groups), &mut given).await;
            let got = match &got {
                Ok(identity) => Ok(identity.as_ref().map(|i| shown(i))),
                Err(status) => Err(status.code),
            };
            assert_eq!(got, want.map(|w| w.map(str::to_owned)), "{name}");
            assert!(given.keys().all(|h| !h.as_str().starts_with(ANY)), "{name}: {given:?}");
        }
    }

    #[tokio::test]
    async fn each_thing_is_one_question_and_refusals_have_upstreams_words() {
        let cluster = Arc::new(Cluster::default());
        let authorizer = Authorizer::delegated(Arc::clone(&cluster) as Arc<dyn AccessReviewer>, &Options::default()).unwrap();
        let all = [
            ("Impersonate-User", "tester"),
            ("Impersonate-Group", "a"),
            ("Impersonate-Group", "b"),
            ("Impersonate-Extra-scopes", "x"),
            ("Impersonate-Uid", "some-uid"),
        ];
        let everything = caller("dev", &["everything-impersonater"]);
        for _ in 0..2 {
            impersonate(&authorizer, &everything, &mut headers(&all)).await.unwrap();
        }
        let asked = [
            "impersonate||||users||tester",
            "impersonate||||groups||a",
            "impersonate||||groups||b",
            "impersonate|authentication.k8s.io|v1||userextras|scopes|x",
            "impersonate|authentication.k8s.io|v1||uids||some-uid",
        ];
        assert_eq!(*cluster.0.lock().unwrap(), asked, "and the second time from memory");
        for (given, want) in [
            (
                &[("Impersonate-User", "bob")][..],
                r#"users "bob" is forbidden: User "dev" cannot impersonate resource "users" in API group "" at the cluster scope: deny by default"#,
            ),
            (
                &[("Impersonate-User", "system:serviceaccount:ns:sa")],
                r#"serviceaccounts "sa" is forbidden: User "dev" cannot impersonate resource "serviceaccounts" in API group "" in the namespace "ns": deny by default"#,
            ),
            (
                &[SOME_GROUP, ("Impersonate-Uid", "7")],
                "requested [{Group  some-group    } {UID  7  authentication.k8s.io/v1  }] without impersonating a user",
            ),
            (
                &[("Impersonate-Extra-Scopes", "a")],
                "requested [{UserExtra  a  authentication.k8s.io/v1  scopes}] without impersonating a user",
            ),
        ] {
            let refused = impersonate(&authorizer, &caller("dev", &[]), &mut headers(given))
                .await
                .unwrap_err();
            assert_eq!(refused.message, want);
        }
    }
}
