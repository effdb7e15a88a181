//! Rights are taken away and given back: no restart, and one sentence for each that says what to do. The tests do what it says.

use std::time::Duration;

use anyhow::ensure;
use outrigger_e2e::outrigger::{account_named, rbac};
use outrigger_e2e::wait::SOON;
use outrigger_e2e::{Outrigger, promise, until};

use crate::house::{NODES, heed, house, items, lines, options, serves_metrics};

#[test]
fn the_right_to_ask_who_may_is_taken_and_given_back() {
    promise(|| {
        let house = house()?;
        let kubeconfig = account_named(&house.control_plane, "faulty")?;
        let mut options = options("faulty", [127, 96, 0, 60], "kubernetes.io/hostname=guarded");
        for ttl in [
            "--authorization-webhook-cache-authorized-ttl=1s",
            "--authorization-webhook-cache-unauthorized-ttl=1s",
            "--authentication-token-webhook-cache-ttl=1s",
        ] {
            options.arguments.push(ttl.to_owned());
        }
        let server = Outrigger::start(&house.control_plane, &kubeconfig, &options)?;
        serves_metrics(&server, &house.control_plane)?;
        let pid = server.program().pid();
        house
            .kubectl
            .run("create clusterrolebinding asker --clusterrole=system:aggregated-metrics-reader --user=asker --serviceaccount=default:asker")?;
        house.kubectl.run("create serviceaccount asker -n default")?;
        let token = house.kubectl.run("create token asker -n default")?;
        let pair = house.control_plane.ca().user("asker", None)?;
        let asker = server.client(Some(&pair))?;
        let bearer = server
            .client(None)?
            .with("authorization", &format!("Bearer {}", token.trim()))?;
        let both = |status: (u16, u16)| {
            until(&format!("both are answered {status:?}"), SOON, || {
                let found = (asker.get(NODES)?.status.as_u16(), bearer.get(NODES)?.status.as_u16());
                ensure!(found == status, "{found:?}");
                Ok(())
            })
        };
        both((200, 200))?;

        house.kubectl.run("delete clusterrolebinding faulty:system:auth-delegator")?;
        both((500, 401))?;
        for _ in 0..5 {
            let answer = asker.get(NODES)?;
            let status = answer.json()?;
            ensure!(answer.status == 500 && status["reason"] == "InternalError", "{status}");
            ensure!(bearer.get(NODES)?.status == 401);
            server.client(None)?.get("/livez")?.ok()?;
            server.client(None)?.get("/readyz")?.ok()?;
        }
        ensure!(
            items(&server.client(Some(house.control_plane.admin()))?.document(NODES)?).len() == 1,
            "masters need no review"
        );
        let cure = "kubectl create clusterrolebinding faulty:system:auth-delegator --clusterrole=system:auth-delegator \
                    --serviceaccount=kube-system:faulty";
        for review in ["SubjectAccessReview", "TokenReview"] {
            let sentence = format!(
                "service account kube-system/faulty may not create {review}s, so callers cannot be told apart or let in; bind ClusterRole \
                 system:auth-delegator to it: {cure}"
            );
            let said = lines(&server.program().log(), &[&sentence]);
            ensure!(said == 1, "{said} times: {sentence}");
        }
        heed(
            &house.kubectl,
            &server.program().log(),
            &["may not create SubjectAccessReviews"],
        )?;
        both((200, 200))?;
        for review in ["SubjectAccessReview", "TokenReview"] {
            ensure!(
                lines(
                    &server.program().log(),
                    &[&format!("kube-apiserver answers a {review} again")]
                ) == 1
            );
        }

        // The kubelets' summaries.
        let role = rbac("faulty")?.replace("resources: [nodes/stats]", "resources: [nodes/nothing]");
        house.kubectl.apply(&role)?;
        let sentence = "service account kube-system/faulty may not get nodes/stats; grant it (deploy/metrics/base/rbac.yaml has the rule): kubectl \
                        create clusterrole faulty:nodes-stats --verb=get --resource=nodes/stats && kubectl create \
                        clusterrolebinding faulty:nodes-stats --clusterrole=faulty:nodes-stats \
                        --serviceaccount=kube-system:faulty";
        let refused = house.guarded.refused();
        until("the kubelet refuses, several times", SOON, || {
            if house.guarded.refused() < refused + 3 {
                house.guarded.forget();
            }
            ensure!(house.guarded.refused() >= refused + 3);
            Ok(())
        })?;
        let log = server.program().log();
        let said = lines(&log, &["tick failed, last good rows stay", sentence]);
        ensure!(said == 1, "{said} times: {sentence}");
        heed(&house.kubectl, &log, &["may not get nodes/stats"])?;
        until("it answers again", SOON, || {
            house.guarded.forget();
            ensure!(lines(&server.program().log(), &["no tick fails any more"]) == 1);
            Ok(())
        })?;
        both((200, 200))?;
        ensure!(server.program().pid() == pid);
        server.program().runs()
    });
}

#[test]
fn a_server_without_rights_says_what_it_lacks_and_begins_when_it_has_them() {
    promise(|| {
        let house = house()?;
        let kubeconfig = account_named(&house.control_plane, "poor")?;
        house.kubectl.run("delete clusterrolebinding system:poor")?;
        let options = options("poor", [127, 96, 0, 61], "kubernetes.io/hostname=guarded");
        let server = Outrigger::start(&house.control_plane, &kubeconfig, &options)?;
        let sentence = |what: &str| {
            format!(
                "cannot follow {what}: service account kube-system/poor may not get,list,watch {what}; grant it (deploy/metrics/base/rbac.yaml has the \
                 rule): kubectl create clusterrole poor:{what} --verb=get,list,watch --resource={what} && kubectl create clusterrolebinding poor:{what} \
                 --clusterrole=poor:{what} --serviceaccount=kube-system:poor"
            )
        };
        for what in ["nodes", "pods"] {
            until(&format!("the log speaks of {what}"), SOON, || {
                ensure!(lines(&server.program().log(), &[&sentence(what)]) == 1);
                Ok(())
            })?;
        }
        // Some attempts later it has not been said again.
        std::thread::sleep(Duration::from_secs(4));
        let probe = server.client(None)?;
        probe.get("/livez")?.ok()?;
        let ready = probe.get("/readyz")?;
        ensure!(
            ready.status == 500 && ready.text().contains("[-]metric-informer-sync failed"),
            "{}",
            ready.text()
        );
        let admin = server.client(Some(house.control_plane.admin()))?;
        for path in [NODES, "/apis", "/openapi/v3"] {
            let answer = admin.get(path)?;
            ensure!(
                answer.status == 503 && answer.headers.contains_key("retry-after"),
                "{path}: {}",
                answer.text()
            );
        }
        let log = server.program().log();
        for what in ["nodes", "pods"] {
            ensure!(lines(&log, &["cannot follow", what]) == 1, "{what}: said more than once");
            heed(&house.kubectl, &log, &[&sentence(what)])?;
        }
        until("it is in sync", SOON, || {
            let text = probe.get("/readyz?verbose")?.text();
            ensure!(text.contains("[+]metric-informer-sync ok"), "{text}");
            Ok(())
        })?;
        admin.get("/apis")?.ok()?;
        server.program().runs()
    });
}
