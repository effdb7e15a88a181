//! The sources of metrics. Each kubelet is asked through kube-apiserver's node proxy, and where this machine reaches it, its
//! certificate is looked at as the host would: by the node's address, against the cluster's CA.

use std::time::Duration;

use futures::StreamExt as _;
use http::StatusCode;
use k8s_openapi::List;
use k8s_openapi::api::core::v1::Node;
use rustls_pki_types::CertificateDer;

use crate::certificate::{Bundle, Flaw, judge_server};
use crate::condition::Condition;
use crate::dial;
use crate::report::{Finding, Row};
use crate::words::{Meaning, meaning};
use crate::world::{Answer, NoAnswer, World};

/// Kubelets that are asked at once.
const AT_ONCE: usize = 8;
/// A kubelet that is not reached from here in this time is not reached from here.
const DIAL: Duration = Duration::from_secs(2);
/// Where kubelets listen if the node does not say.
const PORT: u16 = 10250;

/// Looks at the first `most` nodes.
pub(crate) async fn look(world: &World, most: usize, now: i64) -> Vec<Row> {
    let nodes: List<Node> = match world.read(&format!("/api/v1/nodes?limit={most}")).await {
        Ok(nodes) => nodes,
        Err(error) => return vec![Row::new("kubelets", error.skip("list nodes"))],
    };
    let authority = world
        .cluster
        .config
        .root_cert
        .as_ref()
        .and_then(|all| Bundle::from_der(all.iter().cloned().map(CertificateDer::from).collect()).ok());
    let authority = authority.as_ref();
    let looked: Vec<(Vec<Row>, bool)> = futures::stream::iter(nodes.items.iter().map(|node| one(world, node, authority, now)))
        .buffered(AT_ONCE)
        .collect()
        .await;
    let dialled = looked.iter().any(|(_, dialled)| *dialled);
    let mut rows: Vec<Row> = looked.into_iter().flat_map(|(rows, _)| rows).collect();
    if !dialled && !rows.is_empty() {
        let why = "no kubelet can be reached from this machine, so their certificates were not looked at".to_owned();
        rows.push(Row::new("kubelets/certificates", Condition::NotApplicable { why }));
    }
    if nodes.metadata.continue_.is_some_and(|token| !token.is_empty()) {
        let asked = most.to_string();
        rows.push(Row::new("kubelets", Condition::NodesLeftOut { asked }));
    }
    rows
}

/// The node's rows, and whether its kubelet was reached from here.
async fn one(world: &World, node: &Node, authority: Option<&Bundle>, now: i64) -> (Vec<Row>, bool) {
    let name = node.metadata.name.clone().unwrap_or_default();
    let path = format!("/api/v1/nodes/{name}/proxy/stats/summary");
    let (address, port) = address(node);
    let at = dial::at(&address, port);
    let (answer, shown) = futures::join!(
        world.get(&path, "application/json"),
        dial::certificates(&at, &address, DIAL.min(world.deadline))
    );
    let row = format!("kubelet/{name}");
    let mut rows = vec![Row::new(row.clone(), judge_summary(&name, is_ready(node), &answer))];
    let reached = shown.is_ok();
    if let Ok(chain) = shown {
        let verdict = judge_server(&chain, &address, authority, now);
        rows.push(Row::new(
            format!("{row}/certificate"),
            judge_certificate(&name, &address, verdict),
        ));
    }
    (crate::report::blame_first(rows), reached)
}

/// The address as `serve` chooses it by default is a matter of flags; certificates must name whichever it is. InternalIP is
/// the one that every kind of node has.
fn address(node: &Node) -> (String, u16) {
    let status = node.status.as_ref();
    let all = status.and_then(|s| s.addresses.as_deref()).unwrap_or_default();
    let chosen = all.iter().find(|a| a.type_ == "InternalIP").or_else(|| all.first());
    let port = status
        .and_then(|s| s.daemon_endpoints.as_ref()?.kubelet_endpoint.as_ref())
        .and_then(|e| u16::try_from(e.port).ok())
        .filter(|port| *port != 0)
        .unwrap_or(PORT);
    (chosen.map(|a| a.address.clone()).unwrap_or_default(), port)
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn judge_summary(node: &str, ready: bool, answer: &Result<Answer, NoAnswer>) -> Finding {
    let answer = match answer {
        Ok(answer) => answer,
        Err(NoAnswer::Deadline(after)) => {
            return Condition::KubeletUnreachable {
                node: node.into(),
                why: format!("no answer within {after:?}"),
            }
            .into();
        }
        Err(error) => return error.skip("get nodes/proxy").into(),
    };
    let said = answer.said();
    let node = node.to_owned();
    match answer.status {
        StatusCode::OK if ready => Finding::Fine("answers /stats/summary".into()),
        StatusCode::OK => Condition::NodeNotReady { node }.into(),
        // kube-apiserver names the subresource that we lack; a kubelet that refuses speaks of kube-apiserver's user.
        StatusCode::FORBIDDEN if said.contains("nodes/proxy") || said.contains("nodes \"") => {
            NoAnswer::Denied.skip("get nodes/proxy").into()
        }
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Condition::KubeletRefusesServer {
            node,
            status: answer.status.to_string(),
        }
        .into(),
        // kube-apiserver's own word: it could not resolve the address, or dials none of that kind (registry/core/node `strategy.go`).
        StatusCode::BAD_REQUEST if meaning(&said).is_none() => Condition::KubeletNotProxied { node, why: said }.into(),
        status => match meaning(&said) {
            Some(Meaning::WrongName) => Condition::KubeletCertificateName {
                node,
                wanted: "the address that kube-apiserver dials".into(),
                names: String::new(),
            }
            .into(),
            Some(Meaning::OutOfTime) => Condition::KubeletCertificateTime {
                node,
                when: String::new(),
            }
            .into(),
            Some(Meaning::UntrustedAuthority) => Condition::KubeletCertificateUntrusted { node }.into(),
            Some(Meaning::NotReached) => Condition::KubeletUnreachable {
                node,
                why: said.trim_start_matches(": ").to_owned(),
            }
            .into(),
            Some(Meaning::Answered(_)) | None => Condition::KubeletAnswers {
                node,
                status: status.to_string(),
                said,
            }
            .into(),
        },
    }
}

fn judge_certificate(node: &str, address: &str, verdict: Result<(), Flaw>) -> Finding {
    let node = node.to_owned();
    match verdict {
        Ok(()) => Finding::Fine(format!("for {address}, signed by the cluster's CA")),
        Err(Flaw::Name(names)) => Condition::KubeletCertificateName {
            node,
            wanted: address.into(),
            names,
        }
        .into(),
        Err(Flaw::Signer | Flaw::Unreadable(_)) => Condition::KubeletCertificateUntrusted { node }.into(),
        Err(Flaw::Expired(when)) => Condition::KubeletCertificateTime {
            node,
            when: format!(" (it ended on {when})"),
        }
        .into(),
        Err(Flaw::NotYet(when)) => Condition::KubeletCertificateTime {
            node,
            when: format!(" (it begins on {when})"),
        }
        .into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_kubelet_says_through_the_proxy() {
        let answer = |status: u16, message: &str| {
            Ok(Answer {
                status: StatusCode::from_u16(status).unwrap(),
                headers: http::HeaderMap::new(),
                body: json!({ "message": message }).to_string().into(),
                ahead: None,
            })
        };
        let trying = "error trying to reach service: ";
        for (case, ready, answer, expected) in [
            ("well", true, answer(200, ""), None),
            ("not ready", false, answer(200, ""), Some("node-not-ready")),
            (
                "our own right",
                true,
                answer(
                    403,
                    r#"nodes "ash" is forbidden: User "x" cannot get resource "nodes/proxy" in API group """#,
                ),
                Some("not-permitted"),
            ),
            (
                "the kubelet's word on kube-apiserver",
                true,
                answer(
                    403,
                    "Forbidden (user=kube-apiserver, verb=get, resource=nodes, subresource=stats)",
                ),
                Some("kubelet-refuses-server"),
            ),
            (
                "a stranger to it",
                true,
                answer(401, "Unauthorized"),
                Some("kubelet-refuses-server"),
            ),
            (
                "SAN",
                true,
                answer(
                    503,
                    &format!(
                        "{trying}tls: x509: cannot validate certificate for 10.0.0.1 because it doesn't contain any IP SANs"
                    ),
                ),
                Some("kubelet-certificate-name"),
            ),
            (
                "signer",
                true,
                answer(503, &format!("{trying}x509: certificate signed by unknown authority")),
                Some("kubelet-certificate-untrusted"),
            ),
            (
                "away",
                true,
                answer(503, &format!("{trying}dial tcp 10.0.0.1:10250: connect: connection refused")),
                Some("kubelet-unreachable"),
            ),
            (
                "a loopback address",
                true,
                answer(400, "address not allowed"),
                Some("kubelet-not-proxied"),
            ),
            (
                "no address",
                true,
                answer(400, "lookup ash: no such host"),
                Some("kubelet-unreachable"),
            ),
            ("ill", true, answer(500, "cadvisor is not ready"), Some("kubelet-answers")),
            ("slow", true, Err(NoAnswer::Deadline(DIAL)), Some("kubelet-unreachable")),
        ] {
            assert_eq!(judge_summary("ash", ready, &answer).code(), expected, "{case}");
        }
    }

    #[test]
    fn the_address_that_is_dialled() {
        let node = |status: serde_json::Value| -> Node { serde_json::from_value(json!({ "status": status })).unwrap() };
        for (status, expected) in [
            (
                json!({"addresses": [{"type": "Hostname", "address": "ash"}, {"type": "InternalIP", "address": "10.0.0.1"}],
                    "daemonEndpoints": {"kubeletEndpoint": {"Port": 20250}}}),
                ("10.0.0.1", 20250),
            ),
            (json!({"addresses": [{"type": "Hostname", "address": "ash"}]}), ("ash", 10250)),
            (json!({}), ("", 10250)),
        ] {
            assert_eq!(address(&node(status)), (expected.0.to_owned(), expected.1));
        }
    }
}
