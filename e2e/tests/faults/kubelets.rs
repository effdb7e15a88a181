//! All kubelets are ill: the last metrics stay for a while, then nobody knows; other groups go on.

use anyhow::{Context, Result, ensure};
use outrigger_e2e::kubelet::Health;
use outrigger_e2e::outrigger::hostile;
use outrigger_e2e::wait::SOON;
use outrigger_e2e::{Outrigger, promise, until};

use crate::house::{NODES, house, items, lines, options, serves_metrics};

const WOES: &str = "/apis/steady-after-0.hostile.example.com/v1/woes";

#[test]
fn without_a_kubelet_the_metrics_are_old_then_unknown_and_nobody_else_is_harmed() {
    promise(|| {
        let house = house()?;
        let mut options = options("kubelets", [127, 96, 0, 50], "kubernetes.io/hostname=sick");
        options.plugins.push(hostile("steady-after-0")?);
        options.arguments.push("--kubelet-request-timeout=500ms".to_owned());
        let server = Outrigger::start(&house.control_plane, &house.kubeconfig, &options)?;
        serves_metrics(&server, &house.control_plane)?;
        server.ready()?;
        let client = server.client(Some(house.control_plane.admin()))?;
        let others = || -> Result<()> {
            ensure!(items(&client.document(WOES)?).len() == 1, "the other group");
            for probe in ["/livez", "/readyz"] {
                client.get(probe)?.ok().context("a red probe would take every group away")?;
            }
            client.get("/apis/metrics.k8s.io/v1")?.ok()?;
            Ok(())
        };
        for (health, words) in [
            (Health::Hanging, "did not answer within"),
            (Health::Failing, "answered 500 Internal Server Error"),
        ] {
            let before = client.document(NODES)?;
            let (asked, log) = (house.sick.asked(), server.program().log().len());
            house.sick.fall(health.clone());
            until("it is asked while it is ill", SOON, || {
                ensure!(house.sick.asked() > asked + 1);
                Ok(())
            })?;
            let old = client.document(NODES)?;
            ensure!(
                items(&old).len() == items(&before).len(),
                "{health:?}: the last good rows stay"
            );
            let status = until("they are too old", SOON, || {
                others()?;
                let answer = client.get(NODES)?;
                ensure!(answer.status == 503, "{health:?}: {} {}", answer.status, answer.text());
                ensure!(
                    answer.headers.get("retry-after").is_some_and(|v| v == "1"),
                    "{:?}",
                    answer.headers
                );
                answer.json()
            })?;
            let message = status["message"].as_str().context("a message")?;
            ensure!(
                message.starts_with("nodes.metrics.k8s.io: nothing has been collected since 2"),
                "{health:?}: {message}"
            );
            for path in ["/apis/metrics.k8s.io/v1/nodes/sick", "/apis/metrics.k8s.io/v1beta1/pods"] {
                ensure!(client.get(path)?.status == 503, "{health:?}: {path}");
            }
            others()?;
            let said = lines(&server.program().log()[log..], &["tick failed, last good rows stay", words]);
            ensure!(said == 1, "{health:?}: {said} lines on one trouble");
            house.sick.fall(Health::Well);
            until("the metrics are back", SOON, || {
                ensure!(items(&client.document(NODES)?).len() == 1);
                Ok(())
            })?;
            until("the log says so", SOON, || {
                ensure!(lines(&server.program().log()[log..], &["no tick fails any more", words]) == 1);
                Ok(())
            })?;
        }
        Ok(())
    });
}
