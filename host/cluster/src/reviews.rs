//! The two questions that a delegating API server asks kube-apiserver: "may they?" and "who is this?".
//!
//! Only a plain yes is a yes. An answer that is denied, conditional, came with an evaluation error, or carries a field that
//! this code does not know (a later Kubernetes may attach conditions to a permission, KEP-5681) allows nothing.
//! Attempts, delays and deadline are those of apiserver's delegated webhooks: 5 steps, 500 ms × 1.5, jitter 0.2, 10 s in all.
//! Remembering answers and asking once for many are the `auth` room's concern.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::TokenReviewSpec;
use k8s_openapi::api::authorization::v1::{
    FieldSelectorAttributes, LabelSelectorAttributes, NonResourceAttributes, ResourceAttributes, SubjectAccessReviewSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldSelectorRequirement, LabelSelectorRequirement};
use kube::Client;
use outrigger_api::identity::Identity;
use outrigger_api::selector::{LabelSelector, Operator, Terms};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::{debug, info, warn};

use crate::advice::Account;
use crate::backoff::Backoff;
use crate::causes::causes;

const DEADLINE: Duration = Duration::from_secs(10);
const STEPS: u32 = 5;
const FIRST_DELAY: Duration = Duration::from_millis(500);

/// "May this user do that?"
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AccessQuestion {
    /// Who.
    pub user: Identity,
    /// What.
    pub subject: Subject,
}

/// What somebody wants to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A resource.
    Resource(ResourceQuestion),
    /// A path outside the resources, such as `/metrics`.
    Path {
        /// Lower-case HTTP method.
        verb: String,
        /// The URL's path.
        path: String,
    },
}

/// A resource and what is to be done with it. Empty strings mean "none" (or, for a name, "all").
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ResourceQuestion {
    /// `get`, `list`, `watch`, `create`, …
    pub verb: String,
    /// API group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural resource.
    pub resource: String,
    /// Subresource.
    pub subresource: String,
    /// Namespace.
    pub namespace: String,
    /// Object name.
    pub name: String,
    /// Field selector as sent by the client. What can be parsed is asked as requirements, the rest as it is.
    pub field_selector: String,
    /// Label selector as sent by the client; asked in the same way.
    pub label_selector: String,
}

/// "They may" or "they may not".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessAnswer {
    /// True only for a plain, unconditional permission.
    pub allowed: bool,
    /// kube-apiserver's reason, or ours if its answer was not plain; may be empty.
    pub reason: String,
}

/// Why a question got no answer. None of these allows anything.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// kube-apiserver did not answer in time; asking again is safe.
    #[error("{review} was not answered within {DEADLINE:?}")]
    Deadline {
        /// Which question.
        review: &'static str,
    },
    /// This service account may not ask.
    #[error("{}", Account::named_in(&causes(.source)).may_not_create(&format!("{review}s")))]
    Denied {
        /// Which question.
        review: &'static str,
        /// kube-apiserver's words.
        source: kube::Error,
    },
    /// Anything else on the way, after all attempts.
    #[error("{review} failed: {}", causes(.source))]
    Failed {
        /// Which question.
        review: &'static str,
        /// The last failure.
        source: kube::Error,
    },
}

/// Told of every single question, also of those that are asked again.
pub trait ReviewObserver: Send + Sync + 'static {
    /// `review` was answered with an HTTP status, or with nothing, after `took`.
    fn reviewed(&self, review: &'static str, code: Option<u16>, took: Duration);
}

/// Asks kube-apiserver.
#[derive(Clone)]
pub struct Reviews {
    client: Client,
    deadline: Duration,
    observer: Option<Arc<dyn ReviewObserver>>,
    trouble: Arc<Mutex<Option<Trouble>>>,
}

/// Why there are no answers at the moment, so that it is said once and not for every request.
struct Trouble {
    denied: bool,
    since: Instant,
}

// === impl Reviews ===

impl Reviews {
    /// Asks through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            deadline: DEADLINE,
            observer: None,
            trouble: Arc::default(),
        }
    }

    /// Tells somebody of every question.
    #[must_use]
    pub fn observed(mut self, observer: Arc<dyn ReviewObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// One SubjectAccessReview.
    ///
    /// # Errors
    /// No answer. Refuse the request (500), and do not remember it.
    pub async fn review_access(&self, question: &AccessQuestion) -> Result<AccessAnswer, ReviewError> {
        let spec = access_spec(question);
        let status: Option<AccessStatus> = self.ask(ACCESS, &spec).await?;
        Ok(judge_access(status.unwrap_or_default()))
    }

    /// One TokenReview; none if kube-apiserver does not know the token, or knows it for none of the audiences. No audiences
    /// means kube-apiserver's own.
    ///
    /// # Errors
    /// No answer. Refuse the request (401 as upstream has it), and do not remember it.
    pub async fn review_token(&self, token: &str, audiences: &[String]) -> Result<Option<Identity>, ReviewError> {
        let spec = TokenReviewSpec {
            token: token.to_owned(),
            audiences: Some(audiences.to_vec()).filter(|all| !all.is_empty()),
        };
        let status: Option<TokenStatus> = self.ask(TOKEN, &spec).await?;
        Ok(judge_token(status.unwrap_or_default(), audiences))
    }

    async fn ask<T: DeserializeOwned>(&self, review: Review, spec: &(impl Serialize + Sync)) -> Result<Option<T>, ReviewError> {
        let answer = tokio::time::timeout(self.deadline, self.ask_patiently(review, spec))
            .await
            .unwrap_or(Err(ReviewError::Deadline { review: review.kind }));
        self.note(review.kind, answer.as_ref().err());
        answer
    }

    /// One line when the answers stop, one when the reason is another, one when they come again.
    fn note(&self, kind: &str, error: Option<&ReviewError>) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(error) = error else {
            if let Some(Trouble { since, .. }) = trouble.take() {
                info!("kube-apiserver answers a {kind} again, after {:.1?}", since.elapsed());
            }
            return;
        };
        let denied = matches!(error, ReviewError::Denied { .. });
        match &mut *trouble {
            Some(known) if known.denied == denied => debug!("still: {error}"),
            known => {
                let since = known.as_ref().map_or_else(Instant::now, |k| k.since);
                *known = Some(Trouble { denied, since });
                warn!("requests that need it are refused until it is mended: {error}");
            }
        }
    }

    async fn ask_patiently<T: DeserializeOwned>(
        &self,
        review: Review,
        spec: &(impl Serialize + Sync),
    ) -> Result<Option<T>, ReviewError> {
        let kind = review.kind;
        let failed = |source| ReviewError::Failed { review: kind, source };
        let body = serde_json::to_vec(&Asked {
            api_version: review.api_version,
            kind,
            spec,
        })
        .map_err(|error| failed(kube::Error::SerdeError(error)))?;
        let mut backoff = Backoff::new(FIRST_DELAY, 1.5, DEADLINE, 0.2);
        let mut step = 1;
        loop {
            let request = http::Request::post(review.path)
                .header(http::header::CONTENT_TYPE, "application/json")
                .body(body.clone())
                .map_err(|error| failed(kube::Error::HttpError(error)))?;
            let started = Instant::now();
            let answered = self.client.request::<Answered<T>>(request).await;
            if let Some(observer) = &self.observer {
                observer.reviewed(kind, code(&answered), started.elapsed());
            }
            match answered {
                Ok(answer) => return Ok(answer.status),
                Err(kube::Error::Api(status)) if status.code == 403 => {
                    return Err(ReviewError::Denied {
                        review: kind,
                        source: kube::Error::Api(status),
                    });
                }
                Err(error) if step < STEPS && is_passing(&error) => {
                    debug!("{kind} failed, step {step} of {STEPS}: {}", causes(&error));
                    step += 1;
                    tokio::time::sleep(backoff.delay()).await;
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

impl std::fmt::Debug for Reviews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reviews").finish_non_exhaustive()
    }
}

/// Where a question goes.
#[derive(Clone, Copy)]
struct Review {
    kind: &'static str,
    api_version: &'static str,
    path: &'static str,
}

/// The kind of the question "may they?".
pub const SUBJECT_ACCESS_REVIEW: &str = "SubjectAccessReview";
/// The kind of the question "who is this?".
pub const TOKEN_REVIEW: &str = "TokenReview";

const ACCESS: Review = Review {
    kind: SUBJECT_ACCESS_REVIEW,
    api_version: "authorization.k8s.io/v1",
    path: "/apis/authorization.k8s.io/v1/subjectaccessreviews",
};
const TOKEN: Review = Review {
    kind: TOKEN_REVIEW,
    api_version: "authentication.k8s.io/v1",
    path: "/apis/authentication.k8s.io/v1/tokenreviews",
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Asked<'a, S> {
    api_version: &'static str,
    kind: &'static str,
    spec: &'a S,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
struct Answered<T> {
    #[serde(default = "Option::default")]
    status: Option<T>,
}

/// Every field of `SubjectAccessReviewStatus` that this code understands, and what it does not.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AccessStatus {
    allowed: bool,
    denied: bool,
    reason: String,
    evaluation_error: String,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct TokenStatus {
    authenticated: bool,
    user: Option<TokenUser>,
    audiences: Option<Vec<String>>,
    error: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct TokenUser {
    username: String,
    uid: String,
    groups: Option<Vec<String>>,
    extra: Option<BTreeMap<String, Vec<String>>>,
}

/// Failures that may pass: the connection's, and kube-apiserver's own (apiserver `webhook.DefaultShouldRetry`).
fn is_passing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 429 || status.code >= 500,
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

fn access_spec(question: &AccessQuestion) -> SubjectAccessReviewSpec {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let mut spec = SubjectAccessReviewSpec {
        user: some(&question.user.name),
        uid: some(&question.user.uid),
        groups: Some(question.user.groups.clone()).filter(|groups| !groups.is_empty()),
        extra: Some(question.user.extra.clone()).filter(|extra| !extra.is_empty()),
        ..SubjectAccessReviewSpec::default()
    };
    match &question.subject {
        Subject::Resource(asked) => {
            spec.resource_attributes = Some(ResourceAttributes {
                verb: some(&asked.verb),
                group: some(&asked.group),
                version: some(&asked.version),
                resource: some(&asked.resource),
                subresource: some(&asked.subresource),
                namespace: some(&asked.namespace),
                name: some(&asked.name),
                field_selector: by_fields(&asked.field_selector),
                label_selector: by_labels(&asked.label_selector),
            });
        }
        Subject::Path { verb, path } => {
            spec.non_resource_attributes = Some(NonResourceAttributes {
                verb: some(verb),
                path: some(path),
            });
        }
    }
    spec
}

/// The status of an answer; 201 for one that could be read.
fn code<T>(answered: &Result<T, kube::Error>) -> Option<u16> {
    match answered {
        Ok(_) => Some(201),
        Err(kube::Error::Api(status)) => Some(status.code),
        Err(_) => None,
    }
}

/// As upstream asks it (apiserver `plugin/pkg/authorizer/webhook` `fieldSelectorToAuthorizationAPI`). What cannot be parsed goes
/// as it is: kube-apiserver ignores it, as a selector only ever narrows, and its audit log shows it.
fn by_fields(text: &str) -> Option<FieldSelectorAttributes> {
    if text.is_empty() {
        return None;
    }
    let Ok(terms) = Terms::parse(text) else {
        return Some(FieldSelectorAttributes {
            raw_selector: Some(text.to_owned()),
            requirements: None,
        });
    };
    let requirements: Vec<_> = terms
        .terms()
        .iter()
        .map(|term| FieldSelectorRequirement {
            key: term.field.clone(),
            operator: if term.equal { "In" } else { "NotIn" }.into(),
            values: Some(vec![term.value.clone()]),
        })
        .collect();
    (!requirements.is_empty()).then_some(FieldSelectorAttributes {
        raw_selector: None,
        requirements: Some(requirements),
    })
}

/// As upstream asks it (`labelSelectorToAuthorizationAPI`): `>` and `<` have no word there and are left out, which asks for more.
fn by_labels(text: &str) -> Option<LabelSelectorAttributes> {
    if text.is_empty() {
        return None;
    }
    let Ok(selector) = LabelSelector::parse(text) else {
        return Some(LabelSelectorAttributes {
            raw_selector: Some(text.to_owned()),
            requirements: None,
        });
    };
    let requirements: Vec<_> = selector
        .requirements()
        .iter()
        .filter_map(|requirement| {
            let operator = match requirement.operator {
                Operator::Equals | Operator::DoubleEquals | Operator::In => "In",
                Operator::NotEquals | Operator::NotIn => "NotIn",
                Operator::Exists => "Exists",
                Operator::DoesNotExist => "DoesNotExist",
                Operator::GreaterThan | Operator::LessThan => return None,
            };
            Some(LabelSelectorRequirement {
                key: requirement.key.clone(),
                operator: operator.into(),
                values: Some(requirement.values.clone()).filter(|values| !values.is_empty()),
            })
        })
        .collect();
    (!requirements.is_empty()).then_some(LabelSelectorAttributes {
        raw_selector: None,
        requirements: Some(requirements),
    })
}

fn judge_access(status: AccessStatus) -> AccessAnswer {
    let unknown = status
        .unknown
        .iter()
        .find(|(_, value)| !value.is_null())
        .map(|(key, _)| key.as_str());
    let refusal = if !status.allowed || status.denied {
        Some(status.reason.clone())
    } else if !status.evaluation_error.is_empty() {
        Some(format!(
            "the permission came with an evaluation error: {}",
            status.evaluation_error
        ))
    } else {
        unknown.map(|key| format!("the permission came with {key}, which is not understood here"))
    };
    match refusal {
        Some(reason) => AccessAnswer { allowed: false, reason },
        None => AccessAnswer {
            allowed: true,
            reason: status.reason,
        },
    }
}

fn judge_token(status: TokenStatus, wanted: &[String]) -> Option<Identity> {
    if !status.authenticated || !status.error.is_empty() {
        debug!("token refused: {}", status.error);
        return None;
    }
    // A reviewer that knows nothing of audiences names none; it cannot vouch for ours (apiserver `webhook/token`).
    let heard = status.audiences.unwrap_or_default();
    if !wanted.is_empty() && !wanted.iter().any(|audience| heard.contains(audience)) {
        debug!("token is for none of the audiences {wanted:?}");
        return None;
    }
    let user = status.user.filter(|user| !user.username.is_empty())?;
    Some(Identity {
        name: user.username,
        uid: user.uid,
        groups: user.groups.unwrap_or_default(),
        extra: user
            .extra
            .unwrap_or_default()
            .into_iter()
            .map(|(key, values)| (key.to_lowercase(), values))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::{Server, Step, status};

    fn question() -> AccessQuestion {
        AccessQuestion {
            user: Identity {
                name: "jane".into(),
                uid: String::new(),
                groups: vec!["dev".into()],
                extra: BTreeMap::from([("scopes".into(), vec!["a".into(), "b".into()])]),
            },
            subject: Subject::Resource(ResourceQuestion {
                verb: "list".into(),
                group: "metrics.k8s.io".into(),
                version: "v1".into(),
                resource: "pods".into(),
                namespace: "x".into(),
                label_selector: "app=web".into(),
                ..ResourceQuestion::default()
            }),
        }
    }

    #[test]
    fn what_is_asked() {
        let path = AccessQuestion {
            user: Identity::anonymous(),
            subject: Subject::Path {
                verb: "get".into(),
                path: "/metrics".into(),
            },
        };
        let cases = [
            (
                "resource",
                question(),
                r#"{"extra":{"scopes":["a","b"]},"groups":["dev"],"resourceAttributes":{"group":"metrics.k8s.io","labelSelector":{"requirements":[{"key":"app","operator":"In","values":["web"]}]},"namespace":"x","resource":"pods","verb":"list","version":"v1"},"user":"jane"}"#,
            ),
            (
                "path",
                path,
                r#"{"groups":["system:unauthenticated"],"nonResourceAttributes":{"path":"/metrics","verb":"get"},"user":"system:anonymous"}"#,
            ),
        ];
        for (name, question, expected) in cases {
            let mut said = serde_json::to_value(access_spec(&question)).unwrap();
            said.sort_all_objects();
            assert_eq!(said.to_string(), expected, "{name}");
        }
    }

    /// The cases of apiserver `webhook_v1_test.go` (`Test_resourceAttributesFrom`), and what cannot be parsed.
    #[test]
    fn selectors_are_asked_as_requirements() {
        let fields = [
            ("", "null"),
            (
                "metadata.name=a",
                r#"{"requirements":[{"key":"metadata.name","operator":"In","values":["a"]}]}"#,
            ),
            (
                "spec.nodeName!=n,a==b\\,c",
                r#"{"requirements":[{"key":"a","operator":"In","values":["b,c"]},{"key":"spec.nodeName","operator":"NotIn","values":["n"]}]}"#,
            ),
            (",", "null"),
            ("nonsense", r#"{"rawSelector":"nonsense"}"#),
        ];
        for (text, want) in fields {
            assert_eq!(serde_json::to_string(&by_fields(text)).unwrap(), want, "{text}");
        }
        let labels = [
            ("", "null"),
            (
                "a in (y,x),b!=c,!d,e",
                r#"{"requirements":[{"key":"a","operator":"In","values":["x","y"]},{"key":"b","operator":"NotIn","values":["c"]},{"key":"d","operator":"DoesNotExist"},{"key":"e","operator":"Exists"}]}"#,
            ),
            ("a>1,b=c", r#"{"requirements":[{"key":"b","operator":"In","values":["c"]}]}"#),
            ("a<1", "null"),
            ("a in", r#"{"rawSelector":"a in"}"#),
        ];
        for (text, want) in labels {
            assert_eq!(serde_json::to_string(&by_labels(text)).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn only_a_plain_yes_is_a_yes() {
        let cases = [
            ("yes", r#"{"allowed":true,"reason":"RBAC"}"#, true, "RBAC"),
            (
                "yes, explicitly not denied",
                r#"{"allowed":true,"denied":false,"later":null}"#,
                true,
                "",
            ),
            ("no opinion", r#"{"allowed":false,"reason":"no rule"}"#, false, "no rule"),
            ("denied", r#"{"allowed":false,"denied":true}"#, false, ""),
            ("both at once", r#"{"allowed":true,"denied":true}"#, false, ""),
            (
                "evaluation error",
                r#"{"allowed":true,"evaluationError":"oops"}"#,
                false,
                "evaluation error: oops",
            ),
            (
                "conditional",
                r#"{"allowed":true,"conditionSetChain":[{}]}"#,
                false,
                "conditionSetChain",
            ),
            ("empty", "{}", false, ""),
        ];
        for (name, json, allowed, reason) in cases {
            let answer = judge_access(serde_json::from_str(json).unwrap());
            assert_eq!(answer.allowed, allowed, "{name}");
            assert!(answer.reason.contains(reason), "{name}: {}", answer.reason);
        }
    }

    #[test]
    fn tokens() {
        let cases: [(&str, &str, &[&str], Option<&str>); 8] = [
            (
                "known",
                r#"{"authenticated":true,"user":{"username":"jane"}}"#,
                &[],
                Some("jane"),
            ),
            ("unknown", r#"{"authenticated":false,"error":"expired"}"#, &[], None),
            (
                "an error beside a yes",
                r#"{"authenticated":true,"user":{"username":"jane"},"error":"hm"}"#,
                &[],
                None,
            ),
            ("no user", r#"{"authenticated":true}"#, &[], None),
            ("nameless", r#"{"authenticated":true,"user":{"uid":"1"}}"#, &[], None),
            (
                "our audience",
                r#"{"authenticated":true,"user":{"username":"j"},"audiences":["a","b"]}"#,
                &["b"],
                Some("j"),
            ),
            (
                "another audience",
                r#"{"authenticated":true,"user":{"username":"j"},"audiences":["a"]}"#,
                &["b"],
                None,
            ),
            (
                "audiences unheard",
                r#"{"authenticated":true,"user":{"username":"j"}}"#,
                &["b"],
                None,
            ),
        ];
        for (name, json, audiences, expected) in cases {
            let audiences: Vec<String> = audiences.iter().map(ToString::to_string).collect();
            let got = judge_token(serde_json::from_str(json).unwrap(), &audiences);
            assert_eq!(got.as_ref().map(|i| i.name.as_str()), expected, "{name}");
        }
    }

    #[derive(Default)]
    struct Heard(std::sync::Mutex<Vec<(&'static str, Option<u16>)>>);

    impl ReviewObserver for Heard {
        fn reviewed(&self, review: &'static str, code: Option<u16>, _: Duration) {
            self.0.lock().unwrap().push((review, code));
        }
    }

    #[tokio::test]
    async fn passing_failures_are_asked_again_and_lasting_ones_are_not() {
        let yes = || {
            Step::Say(
                201,
                r#"{"kind":"SubjectAccessReview","spec":{},"status":{"allowed":true}}"#.into(),
            )
        };
        let server = Server::start(vec![
            status(500, "InternalError"),
            status(429, "TooManyRequests"),
            yes(),
            status(403, "Forbidden"),
        ])
        .await;
        let heard = Arc::new(Heard::default());
        let reviews = Reviews::new(server.client.clone()).observed(Arc::clone(&heard) as Arc<dyn ReviewObserver>);
        assert!(reviews.review_access(&question()).await.unwrap().allowed);
        assert_eq!(server.asked().len(), 3);
        assert_eq!(
            *heard.0.lock().unwrap(),
            [500, 429, 201].map(|code| (SUBJECT_ACCESS_REVIEW, Some(code)))
        );
        let denied = reviews.review_access(&question()).await.unwrap_err();
        assert!(denied.to_string().contains("system:auth-delegator"), "{denied}");
        let asked = server.asked();
        assert_eq!(asked.len(), 4, "a refusal is final");
        assert_eq!((asked[0].method.as_str(), asked[0].uri.as_str()), ("POST", ACCESS.path));
        assert!(
            asked[0]
                .body
                .starts_with(r#"{"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","spec":{"#)
        );
    }

    #[tokio::test]
    async fn a_token_crosses_and_comes_back_as_a_caller() {
        let server = Server::start(vec![Step::Say(
            201,
            r#"{"status":{"authenticated":true,"audiences":["me"],"user":{"username":"sa","uid":"7","groups":["g"],"extra":{"K/Pod":["p"]}}}}"#.into(),
        )])
        .await;
        let got = Reviews::new(server.client.clone())
            .review_token("secret", &["me".into()])
            .await
            .unwrap()
            .unwrap();
        let extra = BTreeMap::from([("k/pod".to_owned(), vec!["p".to_owned()])]);
        assert_eq!(
            got,
            Identity {
                name: "sa".into(),
                uid: "7".into(),
                groups: vec!["g".into()],
                extra
            }
        );
        assert!(
            server.asked()[0].body.contains(r#""token":"secret""#) && server.asked()[0].body.contains(r#""audiences":["me"]"#)
        );
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_the_deadline() {
        // A client whose answers never come.
        let silent = tower::service_fn(|_: http::Request<kube::client::Body>| {
            std::future::pending::<Result<http::Response<kube::client::Body>, tower::BoxError>>()
        });
        let reviews = Reviews {
            client: Client::new(silent, "default"),
            deadline: Duration::from_millis(50),
            observer: None,
            trouble: Arc::default(),
        };
        let error = reviews.review_token("t", &[]).await.unwrap_err();
        assert!(matches!(error, ReviewError::Deadline { .. }), "{error}");
    }
}
