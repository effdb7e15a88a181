//! Who may not, gets nothing: through the aggregator or past it.

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::Method;
use outrigger_e2e::http::{Answer, Client, runtime};
use outrigger_e2e::outrigger::Outrigger;
use outrigger_e2e::promise;

use crate::house::{house, options};

const NODES: &str = "/apis/metrics.k8s.io/v1/nodes";

fn forbidden(answer: &Answer, user: &str) -> Result<()> {
    let status = answer.json()?;
    let message = format!(
        r#"nodes.metrics.k8s.io is forbidden: User "{user}" cannot list resource "nodes" in API group "metrics.k8s.io" at the cluster scope"#
    );
    ensure!(answer.status == 403 && status["reason"] == "Forbidden", "{status}");
    ensure!(
        status["message"].as_str().is_some_and(|m| m.starts_with(&message)),
        "{status}"
    );
    Ok(())
}

#[test]
fn a_user_without_rights_is_refused_through_the_aggregator() {
    promise(|| {
        let kubectl = house()?.control_plane.kubectl_as("stranger", None)?;
        for arguments in [
            "get --raw /apis/metrics.k8s.io/v1/nodes",
            "top node",
            "top pod -n shop",
            "get podmetrics burner -n shop",
        ] {
            let refused = kubectl.run(arguments).err().map(|e| e.to_string()).unwrap_or_default();
            ensure!(
                refused.contains("Forbidden") && refused.contains("stranger"),
                "{arguments}: {refused:?}"
            );
        }
        Ok(())
    })
}

#[test]
fn a_user_without_rights_is_refused_directly() {
    promise(|| {
        let house = house()?;
        let pair = house.control_plane.ca().user("outsider", None)?;
        forbidden(&house.outrigger.client(Some(&pair))?.get(NODES)?, "outsider")
    })
}

#[test]
fn an_administrator_may_ask_directly() {
    promise(|| {
        let house = house()?;
        house.outrigger.client(Some(house.control_plane.admin()))?.document(NODES)?;
        Ok(())
    })
}

#[test]
fn who_may_view_a_namespace_may_view_its_metrics() {
    promise(|| {
        let house = house()?;
        house
            .kubectl
            .run("create rolebinding viewer -n shop --clusterrole=view --user=viewer")?;
        let kubectl = house.control_plane.kubectl_as("viewer", None)?;
        let out = kubectl.run("top pod burner -n shop --no-headers")?;
        ensure!(out.starts_with("burner"), "{out}");
        let refused = kubectl.run("top pod -A").err().map(|e| e.to_string()).unwrap_or_default();
        ensure!(refused.contains("Forbidden"), "{refused:?}");
        Ok(())
    })
}

#[test]
fn forged_headers_make_nobody_else() {
    promise(|| {
        let house = house()?;
        let forged = [("X-Remote-User", "admin"), ("X-Remote-Group", "system:masters")];
        let nobody = house.outrigger.client(None)?.get_with(NODES, &forged)?;
        forbidden(&nobody, "system:anonymous")?;
        // A certificate of the cluster's authority is not the aggregator's.
        let pair = house.control_plane.ca().user("forger", None)?;
        forbidden(&house.outrigger.client(Some(&pair))?.get_with(NODES, &forged)?, "forger")?;
        // Nor does the aggregator pass on what a client says of himself.
        let stranger = outrigger_e2e::http::Client::new(
            house.control_plane.address(),
            "localhost",
            &house.control_plane.ca().certificate(),
            Some(&house.control_plane.ca().user("imposter", None)?),
        )?;
        let answer = stranger.get_with(NODES, &forged)?;
        ensure!(
            answer.status == 403 && answer.text().contains("imposter"),
            "{}",
            answer.text()
        );
        Ok(())
    })
}

#[test]
fn a_wrong_token_is_401_and_a_right_one_counts() {
    promise(|| {
        let house = house()?;
        let client = house.outrigger.client(None)?;
        let answer = client.get_with(NODES, &[("Authorization", "Bearer nonsense")])?;
        ensure!(
            answer.status == 401 && answer.json()?["reason"] == "Unauthorized",
            "{}",
            answer.text()
        );
        house.kubectl.run("create serviceaccount reader -n shop")?;
        house.kubectl.run(
            "create clusterrolebinding reader --clusterrole=system:aggregated-metrics-reader --serviceaccount=shop:reader",
        )?;
        let token = house.kubectl.run("create token reader -n shop")?;
        let answer = client.get_with(NODES, &[("Authorization", &format!("Bearer {}", token.trim()))])?;
        ensure!(answer.status == 200, "{}", answer.text());
        Ok(())
    })
}

#[test]
fn probes_are_open_and_own_metrics_are_not() {
    promise(|| {
        let house = house()?;
        let nobody = house.outrigger.client(None)?;
        for path in ["/livez", "/readyz", "/healthz"] {
            let answer = nobody.get(path)?;
            ensure!(
                answer.status == 200 && answer.text() == "ok",
                "{path}: {} {}",
                answer.status,
                answer.text()
            );
        }
        ensure!(nobody.get("/metrics")?.status == 403);
        let metrics = house
            .outrigger
            .client(Some(house.control_plane.admin()))?
            .get("/metrics")?
            .ok()?
            .text();
        ensure!(metrics.contains("metrics_server_kubelet_request_total"), "{metrics}");
        Ok(())
    })
}

/// A sample of a server's own metrics; 0 if there is none.
fn sample(root: &Client, series: &str) -> Result<u64> {
    let text = root.get("/metrics")?.ok()?.text();
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    Ok(value.map_or(Ok(0), str::parse)?)
}

#[test]
fn a_thousand_equal_requests_ask_kube_apiserver_once() {
    promise(|| {
        let house = house()?;
        // One of its own, without an APIService: nobody else's requests are counted.
        let mut options = options("quiet", [127, 96, 0, 31]);
        // A thousand at once are more than there are seats.
        options.arguments.push("--max-requests-inflight=0".into());
        let quiet = Outrigger::start(&house.control_plane, &house.kubeconfig, &options)?;
        quiet.ready()?;
        let root = quiet.client(Some(house.control_plane.admin()))?;
        let reviews = r#"apiserver_delegated_authz_request_total{code="201"}"#;
        for (user, allowed) in [("bursty", true), ("bursty-stranger", false)] {
            if allowed {
                house.kubectl.run(&format!(
                    "create clusterrolebinding {user} --clusterrole=system:aggregated-metrics-reader --user={user}"
                ))?;
            }
            let client = quiet.client(Some(&house.control_plane.ca().user(user, None)?))?;
            let before = sample(&root, reviews)?;
            let answers = runtime().block_on(async {
                let asking: Vec<_> = (0..1000)
                    .map(|_| {
                        let client = client.clone();
                        tokio::spawn(async move { client.send(Method::GET, NODES, &[], Bytes::new()).await })
                    })
                    .collect();
                let mut answers = Vec::with_capacity(asking.len());
                for answer in asking {
                    answers.push(answer.await??.status.as_u16());
                }
                anyhow::Ok(answers)
            })?;
            let want = if allowed { 200 } else { 403 };
            ensure!(answers.iter().all(|code| *code == want), "{user}: {answers:?}");
            let asked = sample(&root, reviews)? - before;
            ensure!(asked == 1, "{user}: {asked} reviews for a thousand requests");
        }
        Ok(())
    })
}

#[test]
fn who_may_impersonate_is_who_they_say() {
    promise(|| {
        let house = house()?;
        house
            .kubectl
            .run("create clusterrole helper-as-reader --verb=impersonate --resource=users --resource-name=helped")?;
        house
            .kubectl
            .run("create clusterrolebinding helper-as-reader --clusterrole=helper-as-reader --user=helper")?;
        house
            .kubectl
            .run("create clusterrolebinding helped --clusterrole=system:aggregated-metrics-reader --user=helped")?;
        let helper = house
            .outrigger
            .client(Some(&house.control_plane.ca().user("helper", None)?))?;
        forbidden(&helper.get(NODES)?, "helper")?;
        let answer = helper.get_with(NODES, &[("Impersonate-User", "helped")])?;
        ensure!(answer.status == 200, "{}", answer.text());
        // kube-apiserver, asked the same, says no in the same cases; in other words, since it also tries the constrained modes.
        let judge = Client::new(
            house.control_plane.address(),
            "localhost",
            &house.control_plane.ca().certificate(),
            Some(&house.control_plane.ca().user("helper", None)?),
        )?;
        for (headers, code, words) in [
            (
                &[("Impersonate-User", "another")][..],
                403,
                r#"users "another" is forbidden: User "helper" cannot impersonate resource "users" in API group "" at the cluster scope"#,
            ),
            (
                &[("Impersonate-User", "helped"), ("Impersonate-Group", "system:masters")],
                403,
                r#"groups "system:masters" is forbidden: User "helper" cannot impersonate resource "groups" in API group "" at the cluster scope"#,
            ),
            (
                &[("Impersonate-Group", "ops")],
                400,
                "requested [{Group  ops    }] without impersonating a user",
            ),
        ] {
            let (ours, theirs) = (helper.get_with(NODES, headers)?, judge.get_with("/api/v1/nodes", headers)?);
            let message = ours.json()?["message"].as_str().unwrap_or_default().to_owned();
            ensure!(
                ours.status == code && theirs.status == code && message == words,
                "ours: {}\ntheirs: {}",
                ours.text(),
                theirs.text()
            );
        }
        Ok(())
    })
}
