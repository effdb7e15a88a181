//! The joints of the house: what the rooms ask for as traits, answered by `cluster`.
//!
//! Neither side knows the other. Each type here is as thin as it looks; anything with an idea in it belongs into a room.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use outrigger_api::identity::Identity;
use outrigger_api::manifest::Shadow;
use outrigger_auth::metrics::Review;
use outrigger_auth::{AccessReviewer, Attributes, Decision, TokenReviewer};
use outrigger_background::{Follow, Following, Hears, Kind, Owner, Seen, Standing, Targets, Watches, What};
use outrigger_catalog::Namespaces;
use outrigger_cluster::followed::{Change, Controller, Handle, News, Wanted};
use outrigger_cluster::reviews::TOKEN_REVIEW;
use outrigger_cluster::{
    AccessQuestion, KubeletClient, KubeletError, Namespace, NodeIndex, PodIndex, ResourceQuestion, ReviewObserver, Reviews,
    Subject, Watched,
};
use outrigger_resources::{NamespaceIndex, NamespaceStanding};
use outrigger_sandbox::{HostError, Kubelet};
use outrigger_storage::{Labels, LiveIndex};
use tokio::sync::watch;

/// The capability `kubelet`, over the kubelet client.
pub(crate) struct Kubelets(pub(crate) Arc<KubeletClient>);

/// Collectors' targets: the informer's nodes.
pub(crate) struct ClusterTargets(pub(crate) Arc<NodeIndex>);

/// Where objects may be made: the cluster's namespaces.
pub(crate) struct ClusterNamespaces(pub(crate) outrigger_cluster::Namespaces);

/// What plugins follow, with their own identity.
pub(crate) struct ClusterWatches(pub(crate) Arc<Watched>);

/// One of them.
struct Followed(Handle);

/// What rows speak of: the informers' nodes and pods.
pub(crate) struct ClusterLive {
    pub(crate) nodes: Arc<NodeIndex>,
    pub(crate) pods: Arc<PodIndex>,
}

/// Permission, by SubjectAccessReview.
pub(crate) struct Access(pub(crate) Reviews);

/// Identity from tokens, by TokenReview.
pub(crate) struct Tokens(pub(crate) Reviews);

/// Reviews, counted in `auth`'s series.
pub(crate) struct Reviewing(pub(crate) Arc<outrigger_auth::Metrics>);

#[async_trait]
impl Kubelet for Kubelets {
    async fn summary(&self, node: &str, only_cpu_and_memory: bool, deadline: Instant) -> Result<Bytes, HostError> {
        self.0
            .summary(node, only_cpu_and_memory, deadline.into())
            .await
            .map_err(|error| {
                let sentence = error.to_string();
                match error {
                    KubeletError::NoSuchNode { .. } => HostError::NotFound(sentence),
                    KubeletError::Timeout { .. } => HostError::Timeout(sentence),
                    KubeletError::TooLarge { .. } => HostError::TooLarge(sentence),
                    _ => HostError::Unavailable(sentence),
                }
            })
    }
}

#[async_trait]
impl NamespaceIndex for ClusterNamespaces {
    async fn standing(&self, name: &str) -> Result<NamespaceStanding, String> {
        Ok(match self.0.standing(name).await? {
            Namespace::Active => NamespaceStanding::Active,
            Namespace::Terminating => NamespaceStanding::Terminating,
            Namespace::Absent => NamespaceStanding::Absent,
        })
    }
}

impl Targets for ClusterTargets {
    fn nodes(&self) -> watch::Receiver<Arc<BTreeSet<Arc<str>>>> {
        self.0.names()
    }
}

impl Watches for ClusterWatches {
    fn follow(&self, what: &Follow, hears: Arc<dyn Hears>) -> Box<dyn Following> {
        let wanted = Wanted {
            plugin: what.plugin.clone(),
            resource: what.resource.clone(),
            namespaces: match &what.namespaces {
                Namespaces::All => None,
                Namespaces::Only(names) => Some(names.clone()),
            },
        };
        let listener = move |news: &News<'_>| match news {
            News::Object {
                key,
                change,
                owner,
                before,
            } => {
                let (owner, before) = (owner.map(owned), before.map(owned));
                hears.seen(&Seen {
                    key,
                    what: match change {
                        Change::Made => What::Made,
                        Change::Changed => What::Changed,
                        Change::Gone => What::Gone,
                    },
                    owner: owner.as_ref(),
                    before: before.as_ref(),
                });
            }
            News::Synced { kind, namespaced } => hears.stands(Standing::Synced(Kind {
                kind: Arc::clone(kind),
                namespaced: *namespaced,
            })),
            News::Troubled(sentence) => hears.stands(Standing::Troubled((*sentence).to_owned())),
        };
        Box::new(Followed(self.0.follow(&wanted, Arc::new(listener))))
    }
}

fn owned(by: &Controller) -> Owner {
    Owner {
        group: by.group.clone(),
        kind: by.kind.clone(),
        name: by.name.clone(),
    }
}

impl Following for Followed {
    fn keys(&self) -> Vec<Arc<str>> {
        self.0.keys()
    }
}

impl LiveIndex for ClusterLive {
    fn labels(&self, of: Shadow, namespace: &str, name: &str) -> Option<Arc<Labels>> {
        match of {
            Shadow::Nodes => self.nodes.get(name).map(|node| node.labels.clone()),
            Shadow::Pods => self.pods.get(namespace, name),
        }
    }
}

#[async_trait]
impl AccessReviewer for Access {
    async fn review(&self, identity: &Identity, attributes: &Attributes<'_>) -> Result<Decision, Box<dyn Error + Send + Sync>> {
        let subject = if attributes.is_resource_request {
            Subject::Resource(ResourceQuestion {
                verb: attributes.verb.into(),
                group: attributes.api_group.into(),
                version: attributes.api_version.into(),
                resource: attributes.resource.into(),
                subresource: attributes.subresource.into(),
                namespace: attributes.namespace.into(),
                name: attributes.name.into(),
                field_selector: attributes.field_selector.into(),
                label_selector: attributes.label_selector.into(),
            })
        } else {
            Subject::Path {
                verb: attributes.verb.into(),
                path: attributes.path.into(),
            }
        };
        let answer = self
            .0
            .review_access(&AccessQuestion {
                user: identity.clone(),
                subject,
            })
            .await?;
        Ok(if answer.allowed {
            Decision::Allowed
        } else {
            Decision::Denied(answer.reason.into())
        })
    }
}

#[async_trait]
impl TokenReviewer for Tokens {
    async fn review(&self, token: &str) -> Result<Option<Identity>, Box<dyn Error + Send + Sync>> {
        Ok(self.0.review_token(token, &[]).await?)
    }
}

impl ReviewObserver for Reviewing {
    fn reviewed(&self, review: &'static str, code: Option<u16>, took: Duration) {
        let review = if review == TOKEN_REVIEW {
            Review::Token
        } else {
            Review::Access
        };
        self.0.reviewed(review, code, took);
    }
}
