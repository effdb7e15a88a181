//! The example `hostile` behind the real aggregator: each of its attempts is an answer or one error of its own, what it repeats is set
//! aside, its operator can read why, and everybody else goes on.

use anyhow::{Context, Result, ensure};
use outrigger_e2e::outrigger::example;
use outrigger_e2e::wait::SOON;
use outrigger_e2e::{Outrigger, promise, until};

use crate::house::{NODES, WELL, available, house, items, options};

const GROUP: &str = "hostile.example.com";

fn attempt(name: &str) -> String {
    format!("/apis/{GROUP}/v1/attempts/{name}")
}

#[test]
fn an_attempt_costs_nobody_but_itself() {
    promise(|| {
        let house = house()?;
        let mut options = options("attempts", [127, 96, 0, 60], WELL);
        options.plugins.push(example("hostile-plugin"));
        // A Service of its own: the tests beside this one have theirs.
        let names = ["metrics-server.kube-system.svc", "attempts.kube-system.svc"];
        let pair = house.control_plane.ca().server("attempts", &names)?;
        let server = Outrigger::start_under(&house.control_plane, &house.kubeconfig, &options, &pair)?;
        server.ready()?;
        server.register_at(&house.control_plane, "attempts", server.address(), GROUP, &["v1"])?;
        let outcome = attempts(&server);
        // A registered server that is gone would keep the namespaces of the tests beside this one from ending.
        house.kubectl.run("delete apiservice v1.hostile.example.com")?;
        outcome
    });
}

fn attempts(server: &Outrigger) -> Result<()> {
    let house = house()?;
    until("its group is available", SOON, || {
        ensure!(available(&house.control_plane, |group| group == GROUP)? == 1);
        Ok(())
    })?;
    let api = house.control_plane.api();
    let list = house.kubectl.run("get attempts.hostile.example.com --no-headers")?;
    ensure!(list.lines().count() == 27 && list.contains("all of the CPU"), "{list}");

    // What is refused is told.
    for (name, said) in [
        ("objects-list", "does not ask for the capability objects"),
        ("kubelet", "has not granted the capability kubelet"),
        ("environment", "it is empty"),
    ] {
        let object = api.document(&attempt(name))?;
        ensure!(
            object["outcome"].as_str().is_some_and(|o| o.contains(said)),
            "{name}: {object}"
        );
    }
    // What is stopped is an error; the same again and again is set aside, and is told when to come back.
    let codes = (0..6)
        .map(|_| Ok(api.get(&attempt("panic"))?.status.as_u16()))
        .collect::<Result<Vec<_>>>()?;
    ensure!(codes == [500, 500, 500, 500, 500, 503], "{codes:?}");
    let direct = server.client(Some(house.control_plane.admin()))?;
    until("there are metrics of both nodes", SOON, || {
        ensure!(items(&direct.document(NODES)?).len() == 2);
        Ok(())
    })?;
    let aside = direct.get(&attempt("panic"))?;
    ensure!(aside.status == 503 || aside.status == 500, "{}", aside.text());
    if aside.status == 503 {
        ensure!(aside.headers.contains_key("retry-after"), "{:?}", aside.headers);
        ensure!(aside.json()?["reason"] == "ServiceUnavailable", "{}", aside.text());
    }
    let again = api.get(&attempt("environment"))?;
    ensure!(again.status == 200, "its neighbour: {}", again.text());

    // Its operator can read why.
    let document = direct.document("/debug/plugins")?;
    let plugins = document["plugins"].as_array().context("plugins")?;
    let plugin = plugins.iter().find(|p| p["name"] == "hostile-plugin").context("the plugin")?;
    let call = plugin["setAside"][0]["call"].as_str().unwrap_or_default();
    ensure!(
        plugin["state"] == "SetAside" && call.starts_with("get attempts") && call.ends_with("panic"),
        "{plugin}"
    );
    let failures = plugin["failures"].as_array().context("failures")?;
    let panic = failures
        .iter()
        .find(|f| f["call"].as_str().is_some_and(|c| c.contains("panic")));
    let panic = panic.with_context(|| format!("{failures:?}"))?;
    ensure!(
        panic["panic"]["message"] == "as told" && panic["frames"].as_array().is_some_and(|f| !f.is_empty()),
        "{panic}"
    );
    let damage = &plugin["collectors"][0]["targets"][0];
    ensure!(
        damage["failures"].as_u64() > Some(0) && damage["lastError"].as_str().is_some_and(|e| e.contains("as told")),
        "{plugin}"
    );
    ensure!(plugin["limits"]["memory_bytes"] == 67_108_864.0, "{plugin}");
    let metrics = direct.get("/metrics")?.text();
    for line in [
        "outrigger_plugin_set_aside{plugin=\"hostile-plugin\"} 1",
        "outrigger_plugin_limit{plugin=\"hostile-plugin\",limit=\"cpu_seconds\"} 5",
        "outrigger_plugin_cpu_seconds_total{plugin=\"hostile-plugin\"}",
    ] {
        ensure!(metrics.contains(line), "{line} is not in\n{metrics}");
    }

    // While it computes, everybody else goes on: metrics, and the deletion of a namespace, which asks every group.
    std::thread::scope(|scope| {
        let spins: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| server.client(Some(house.control_plane.admin()))?.get(&attempt("spin"))))
            .collect();
        house.kubectl.run("create namespace beside-attempts")?;
        for _ in 0..5 {
            ensure!(items(&direct.document(NODES)?).len() == 2, "the metrics plugin beside it");
            ensure!(api.get(&attempt("environment"))?.status == 200, "its own other objects");
        }
        house.kubectl.run("delete namespace beside-attempts --timeout=60s")?;
        ensure!(available(&house.control_plane, |group| group == GROUP)? == 1);
        for spin in spins {
            let answer = spin.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
            ensure!(answer.status.as_u16() >= 500, "{}", answer.text());
        }
        Ok(())
    })
}
