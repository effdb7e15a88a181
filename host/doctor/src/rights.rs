//! What the host's service account may do: one SubjectAccessReview for each right of `deploy/metrics/base/rbac.yaml`.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::ServiceAccount;
use outrigger_api::identity::{AUTHENTICATED, Identity};
use outrigger_cluster::trust;
use outrigger_cluster::{AccessQuestion, Account, ResourceQuestion, ReviewError, Reviews, Subject};

use crate::condition::Condition;
use crate::report::{Finding, Row};
use crate::world::{NoAnswer, World};

/// A right, and how the row is called.
struct Right {
    row: &'static str,
    verbs: &'static [&'static str],
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
    kind: Kind,
}

/// Which sentence a missing right gets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Review(&'static str),
    Trust,
    Read,
}

const ALWAYS: &[Right] = &[
    Right {
        row: "rights/tokenreviews",
        verbs: &["create"],
        group: "authentication.k8s.io",
        resource: "tokenreviews",
        subresource: "",
        kind: Kind::Review("TokenReviews"),
    },
    Right {
        row: "rights/subjectaccessreviews",
        verbs: &["create"],
        group: "authorization.k8s.io",
        resource: "subjectaccessreviews",
        subresource: "",
        kind: Kind::Review("SubjectAccessReviews"),
    },
    Right {
        row: "rights/extension-apiserver-authentication",
        verbs: &["get", "list", "watch"],
        group: "",
        resource: "configmaps",
        subresource: "",
        kind: Kind::Trust,
    },
    Right {
        row: "rights/nodes",
        verbs: &["list", "watch"],
        group: "",
        resource: "nodes",
        subresource: "",
        kind: Kind::Read,
    },
    Right {
        row: "rights/pods",
        verbs: &["list", "watch"],
        group: "",
        resource: "pods",
        subresource: "",
        kind: Kind::Read,
    },
];

/// Only where metrics are served.
const KUBELETS: Right = Right {
    row: "rights/nodes/stats",
    verbs: &["get"],
    group: "",
    resource: "nodes",
    subresource: "stats",
    kind: Kind::Read,
};

/// Looks at the account and its rights.
pub(crate) async fn look(world: &World, namespace: &str, name: &str, metrics: bool) -> Vec<Row> {
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}");
    let there = world.read::<ServiceAccount>(&path);
    let reviews = Reviews::new(world.cluster.client.clone());
    let user = identity(namespace, name);
    let account = Account::named(namespace, name);
    let rights: Vec<&Right> = ALWAYS.iter().chain(metrics.then_some(&KUBELETS)).collect();
    let asked = join_all(rights.iter().map(|right| ask(&reviews, &user, right, world.deadline)));
    let (there, answers) = futures::join!(there, asked);
    let mut rows = vec![Row::new(
        "service-account",
        match there {
            Ok(_) => Finding::Fine(format!("{namespace}/{name}")),
            Err(NoAnswer::NotFound) => Condition::AccountMissing {
                namespace: namespace.into(),
                name: name.into(),
            }
            .into(),
            Err(error) => error.skip("get serviceaccounts").into(),
        },
    )];
    for (right, answers) in rights.iter().zip(answers) {
        rows.push(Row::new(right.row, judge(right, &account, answers)));
    }
    rows
}

/// What a pod with this service account is to kube-apiserver (apiserver `serviceaccount.UserInfo`).
fn identity(namespace: &str, name: &str) -> Identity {
    Identity {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        uid: String::new(),
        groups: vec![
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}"),
            AUTHENTICATED.into(),
        ],
        extra: BTreeMap::new(),
    }
}

/// For each verb whether it is allowed, or why nobody knows.
type Answers = Vec<(&'static str, Result<bool, Condition>)>;

async fn ask(reviews: &Reviews, user: &Identity, right: &Right, deadline: Duration) -> Answers {
    join_all(right.verbs.iter().map(|verb| async move {
        let trust = right.kind == Kind::Trust;
        let question = AccessQuestion {
            user: user.clone(),
            subject: Subject::Resource(ResourceQuestion {
                verb: (*verb).into(),
                group: right.group.into(),
                version: "v1".into(),
                resource: right.resource.into(),
                subresource: right.subresource.into(),
                namespace: if trust { trust::NAMESPACE.into() } else { String::new() },
                name: if trust { trust::NAME.into() } else { String::new() },
                ..ResourceQuestion::default()
            }),
        };
        let what = "create subjectaccessreviews";
        let answer = match tokio::time::timeout(deadline, reviews.review_access(&question)).await {
            Ok(Ok(answer)) => Ok(answer.allowed),
            Ok(Err(ReviewError::Denied { .. })) => Err(NoAnswer::Denied.skip(what)),
            Ok(Err(error)) => Err(NoAnswer::Unreachable(error.to_string()).skip(what)),
            Err(_) => Err(NoAnswer::Deadline(deadline).skip(what)),
        };
        (*verb, answer)
    }))
    .await
}

fn judge(right: &Right, account: &Account, answers: Answers) -> Finding {
    let mut missing = Vec::new();
    let mut unknown = None;
    for (verb, answer) in answers {
        match answer {
            Ok(true) => {}
            Ok(false) => missing.push(verb),
            Err(condition) => unknown = Some(condition),
        }
    }
    if missing.is_empty() {
        return match unknown {
            Some(condition) => condition.into(),
            None => Finding::Fine(format!("may {}", right.verbs.join(", "))),
        };
    }
    match right.kind {
        Kind::Review(review) => account.may_not_create(review),
        Kind::Trust => account.may_not_read_trust(),
        Kind::Read if right.subresource.is_empty() => account.may_not_read(&missing.join(","), right.resource),
        Kind::Read => account.may_not_read(&missing.join(","), &format!("{}/{}", right.resource, right.subresource)),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_is_named_with_what_grants_it() {
        let account = Account::named("kube-system", "metrics-server");
        let nodes = &ALWAYS[3];
        let denied = || Err(NoAnswer::Denied.skip("create subjectaccessreviews"));
        for (case, right, answers, expected) in [
            ("all", nodes, vec![("list", Ok(true)), ("watch", Ok(true))], "may list, watch"),
            (
                "one",
                nodes,
                vec![("list", Ok(true)), ("watch", Ok(false))],
                "may not watch nodes",
            ),
            (
                "none",
                nodes,
                vec![("list", Ok(false)), ("watch", Ok(false))],
                "kubectl create clusterrole metrics-server:nodes --verb=list,watch --resource=nodes",
            ),
            (
                "not asked",
                nodes,
                vec![("list", denied()), ("watch", denied())],
                "you may not create",
            ),
            (
                "kubelets",
                &KUBELETS,
                vec![("get", Ok(false))],
                "--verb=get --resource=nodes/stats",
            ),
            (
                "reviews",
                &ALWAYS[0],
                vec![("create", Ok(false))],
                "may not create TokenReviews",
            ),
            (
                "trust",
                &ALWAYS[2],
                vec![("get", Ok(false))],
                "metrics-server-auth-reader -n kube-system",
            ),
        ] {
            let said = match judge(right, &account, answers) {
                Finding::Fine(fact) => fact,
                Finding::Shared(advice) => advice.to_string(),
                Finding::Own(condition) => condition.to_string(),
            };
            assert!(said.contains(expected), "{case}: {said}");
        }
    }
}
