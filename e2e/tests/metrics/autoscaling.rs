//! A HorizontalPodAutoscaler reads the figures and acts on them.

use anyhow::{Context, ensure};
use outrigger_e2e::wait::LATER;
use outrigger_e2e::{promise, until};

use crate::house::house;

const WEB: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: scaling}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: scaling}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, annotations: {load.e2e/serve: 90m 32Mi}}
    spec:
      containers: [{name: serve, image: none, resources: {requests: {cpu: 100m, memory: 64Mi}}}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: scaling}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 1
  maxReplicas: 3
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 30}}}]
"#;

#[test]
fn an_hpa_reads_cpu_and_scales_up() {
    promise(|| {
        let house = house()?;
        house.kubectl.apply(WEB)?;
        until("the HPA reads 90 % and scales to three", LATER, || {
            let hpa = house.document("/apis/autoscaling/v2/namespaces/scaling/horizontalpodautoscalers/web")?;
            let conditions = hpa["status"]["conditions"]
                .as_array()
                .with_context(|| format!("no conditions: {}", hpa["status"]))?;
            let active = conditions
                .iter()
                .find(|c| c["type"] == "ScalingActive")
                .context("no ScalingActive")?;
            ensure!(active["status"] == "True", "{active}");
            let read = &hpa["status"]["currentMetrics"][0]["resource"]["current"]["averageUtilization"];
            ensure!(
                read.as_u64().is_some_and(|percent| (85..=95).contains(&percent)),
                "{}",
                hpa["status"]
            );
            ensure!(hpa["status"]["desiredReplicas"] == 3, "{}", hpa["status"]);
            Ok(())
        })?;
        house.kubectl.run("rollout status deployment/web -n scaling --timeout=60s")?;
        house.kubectl.run("delete namespace scaling --wait=false")?;
        Ok(())
    })
}
