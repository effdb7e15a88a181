//! kubectl finds the API and prints it.

use anyhow::{Context, ensure};
use outrigger_e2e::http::Client;
use outrigger_e2e::program::Program;
use outrigger_e2e::wait::{LATER, SOON};
use outrigger_e2e::{promise, scratch, until};
use serde_json::Value;

use crate::house::{VERSIONS, house, items};

#[test]
fn both_apiservices_are_available_and_verified() {
    promise(|| {
        let kubectl = &house()?.kubectl;
        for version in VERSIONS {
            kubectl.run(&format!(
                "wait --for=condition=Available apiservice/{version}.metrics.k8s.io --timeout=60s"
            ))?;
            let insecure = kubectl.run(&format!(
                "get apiservice {version}.metrics.k8s.io -o jsonpath={{.spec.insecureSkipTLSVerify}}"
            ))?;
            ensure!(insecure.is_empty(), "{version}: insecureSkipTLSVerify is {insecure}");
        }
        Ok(())
    })
}

#[test]
fn kubectl_lists_versions_and_resources() {
    promise(|| {
        let kubectl = house()?.control_plane.kubectl_anew("home-discovery")?;
        let versions = kubectl.run("api-versions")?;
        for version in VERSIONS {
            ensure!(
                versions.lines().any(|l| l == format!("metrics.k8s.io/{version}")),
                "{versions}"
            );
        }
        let resources = kubectl.run("api-resources --api-group=metrics.k8s.io --no-headers -o wide")?;
        for (name, namespaced, kind) in [("nodes", "false", "NodeMetrics"), ("pods", "true", "PodMetrics")] {
            let line = resources
                .lines()
                .find(|l| l.starts_with(name))
                .with_context(|| format!("{name}: {resources}"))?;
            let words: Vec<&str> = line.split_whitespace().collect();
            ensure!(words.contains(&namespaced) && words.contains(&kind), "{line}");
            let verbs: Vec<&str> = words.last().context("verbs")?.split(',').collect();
            ensure!(verbs.contains(&"get") && verbs.contains(&"list"), "{line}");
            ensure!(
                !verbs.contains(&"delete"),
                "what cannot be emptied must not offer delete: {line}"
            );
        }
        Ok(())
    })
}

#[test]
fn kubectl_top_node_prints_every_node() {
    promise(|| {
        let house = house()?;
        // The recorded kubelet's node has a rate once its sample has moved on, as a real one's: up to 30 s.
        until("top prints every node", LATER, || {
            let out = house.kubectl.run("top node --no-headers")?;
            for node in ["ash", "birch", "real-0"] {
                let line = out
                    .lines()
                    .find(|l| l.starts_with(node))
                    .with_context(|| format!("{node}: {out}"))?;
                let words: Vec<&str> = line.split_whitespace().collect();
                let figures = words.len() == 5 && words[1].ends_with('m') && words[2].ends_with('%') && words[3].ends_with("Mi");
                ensure!(figures, "{line}");
            }
            Ok(())
        })?;
        ensure!(
            house
                .kubectl
                .run("top node -l kubernetes.io/hostname=ash --no-headers")?
                .lines()
                .count()
                == 1
        );
        Ok(())
    })
}

#[test]
fn kubectl_top_pod_prints_selects_and_sorts() {
    promise(|| {
        let kubectl = &house()?.kubectl;
        let names = |out: &str, column: usize| -> Vec<String> {
            out.lines()
                .filter_map(|l| l.split_whitespace().nth(column).map(str::to_owned))
                .collect()
        };
        let table = [
            (
                "top pod -n shop --no-headers --sort-by=cpu",
                0,
                vec!["pair", "sidecar", "burner", "still"],
            ),
            (
                "top pod -n shop --no-headers --sort-by=memory",
                0,
                vec!["burner", "pair", "sidecar", "still"],
            ),
            ("top pod -n shop --no-headers -l app=pair", 0, vec!["pair"]),
            ("top pod -n shop --no-headers sidecar", 0, vec!["sidecar"]),
            (
                "top pod -n shop --no-headers --containers -l app=pair --sort-by=cpu",
                1,
                vec!["a", "b"],
            ),
            // A sidecar is listed, a finished init container is not.
            (
                "top pod -n shop --no-headers --containers -l app=sidecar --sort-by=cpu",
                1,
                vec!["main", "proxy"],
            ),
            (
                "top pod -n shop --no-headers -l app=still --use-protocol-buffers=false",
                0,
                vec!["still"],
            ),
        ];
        for (arguments, column, expected) in table {
            // kubectl rounds up to whole millicores: the figures themselves are judged elsewhere.
            let mut out = names(&kubectl.run(arguments)?, column);
            if arguments.contains("--containers") {
                out.sort();
            }
            ensure!(out == expected, "{arguments}: {out:?}");
        }
        until("top prints the pods of all namespaces", LATER, || {
            let all = kubectl.run("top pod -A --no-headers")?;
            for key in [["shop", "burner"], ["default", "hog"], ["kube-system", "static-real-0"]] {
                ensure!(all.lines().any(|l| l.split_whitespace().take(2).eq(key)), "{key:?}: {all}");
            }
            Ok(())
        })
    })
}

#[test]
fn kubectl_get_prints_a_table() {
    promise(|| {
        let kubectl = &house()?.kubectl;
        for (arguments, row) in [
            ("get nodemetrics", "ash"),
            ("get nodes.metrics.k8s.io", "birch"),
            ("get nodes.v1beta1.metrics.k8s.io", "birch"),
            ("get nodemetrics ash", "ash"),
            ("get podmetrics -n shop", "burner"),
            ("get pods.metrics.k8s.io -n shop -l app=pair", "pair"),
            (
                "get pods.v1.metrics.k8s.io -n shop --field-selector metadata.name=still",
                "still",
            ),
        ] {
            let out = kubectl.run(arguments)?;
            let heading: Vec<&str> = out.lines().next().unwrap_or_default().split_whitespace().collect();
            ensure!(heading == ["NAME", "CPU", "MEMORY", "WINDOW"], "{arguments}: {out}");
            ensure!(out.lines().skip(1).any(|l| l.starts_with(row)), "{arguments}: {out}");
        }
        let selected = kubectl.run("get podmetrics -n shop -l app=pair --no-headers")?;
        ensure!(selected.lines().count() == 1, "{selected}");
        ensure!(kubectl.run("get podmetrics -A")?.starts_with("NAMESPACE"));
        let yaml = kubectl.run("get podmetrics pair -n shop -o yaml")?;
        ensure!(yaml.contains("kind: PodMetrics") && yaml.contains("app: pair"), "{yaml}");
        Ok(())
    })
}

#[test]
fn every_path_answers_in_both_versions() {
    promise(|| {
        let house = house()?;
        let log = scratch::folder("proxy")?.join("proxy.log");
        let proxy = Program::start(
            "kubectl proxy",
            &mut house.kubectl.command(&["proxy", "--port=0"]),
            &log,
            false,
        )?;
        let address = until("kubectl proxy listens", SOON, || {
            proxy.runs()?;
            let log = proxy.log();
            Ok(log
                .split("127.0.0.1:")
                .nth(1)
                .and_then(|rest| rest.lines().next())
                .context("no address yet")?
                .trim()
                .parse::<u16>()?)
        })?;
        let proxied = Client::plain(([127, 0, 0, 1], address).into());
        for version in VERSIONS {
            for (path, kind) in [
                ("", "APIResourceList"),
                ("/nodes", "NodeMetricsList"),
                ("/nodes/ash", "NodeMetrics"),
                ("/pods", "PodMetricsList"),
                ("/namespaces/shop/pods", "PodMetricsList"),
                ("/namespaces/shop/pods/burner", "PodMetrics"),
            ] {
                let path = format!("/apis/metrics.k8s.io/{version}{path}");
                let raw: Value = serde_json::from_str(&house.kubectl.run(&format!("get --raw {path}"))?)?;
                for document in [&raw, &proxied.document(&path)?] {
                    ensure!(document["kind"] == kind, "{path}: {document}");
                    let expected = if path.matches('/').count() > 3 {
                        format!("metrics.k8s.io/{version}")
                    } else {
                        "v1".to_owned()
                    };
                    ensure!(document["apiVersion"] == *expected, "{path}: {document}");
                }
            }
        }
        Ok(())
    })
}

#[test]
fn what_does_not_exist_is_404_and_no_match_is_empty() {
    promise(|| {
        let house = house()?;
        let api = house.control_plane.api();
        for (path, message) in [
            ("nodes/oak", r#"node "oak" not found"#),
            ("namespaces/shop/pods/nobody", r#"pods "nobody" not found"#),
            ("namespaces/nowhere/pods/burner", r#"pods "burner" not found"#),
            ("ships", "the server could not find the requested resource"),
        ] {
            let answer = api.get(&format!("/apis/metrics.k8s.io/v1beta1/{path}"))?;
            let status = answer.json()?;
            ensure!(
                answer.status == 404 && status["kind"] == "Status" && status["reason"] == "NotFound",
                "{path}: {status}"
            );
            ensure!(status["message"] == message, "{path}: {status}");
        }
        for path in [
            "namespaces/nowhere/pods",
            "pods?labelSelector=app%3Dnone",
            "nodes?fieldSelector=metadata.name%3Doak",
        ] {
            let list = house.document(&format!("/apis/metrics.k8s.io/v1/{path}"))?;
            ensure!(list["items"].is_array() && items(&list).is_empty(), "{path}: {list}");
        }
        Ok(())
    })
}

#[test]
fn kubectl_explains_the_fields() {
    promise(|| {
        let kubectl = house()?.control_plane.kubectl_anew("home-explain")?;
        // kube-apiserver fetches an extension's OpenAPI on its own schedule.
        for (arguments, words) in [
            (
                "explain nodemetrics",
                ["GROUP:", "metrics.k8s.io", "NodeMetrics", "usage", "window"],
            ),
            (
                "explain podmetrics --api-version=metrics.k8s.io/v1",
                ["VERSION:", "v1", "PodMetrics", "containers", "timestamp"],
            ),
            (
                "explain podmetrics.containers --api-version=metrics.k8s.io/v1beta1",
                ["FIELD:", "containers", "name", "usage", "PodMetrics"],
            ),
        ] {
            until(arguments, LATER, || {
                let out = kubectl.run(arguments)?;
                ensure!(words.iter().all(|word| out.contains(word)), "{out}");
                Ok(())
            })?;
        }
        Ok(())
    })
}
