//! Plugins that trap, loop, eat memory, return rubbish, crawl or shout, all beside the metrics plugin in one server. They harm their
//! own resources and nothing else: not discovery, not the metrics, not the APIServices, and so neither namespaces nor the garbage
//! collector.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use outrigger_e2e::outrigger::hostile;
use outrigger_e2e::wait::{LATER, SOON};
use outrigger_e2e::{ControlPlane, Outrigger, promise, until};

use crate::house::{ASH, NODES, WELL, available, house, items, lines, options};

/// How a part ends up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Its rows stay up to their age bound, then 503.
    Stale,
    /// It never had a row: 503 from the beginning.
    Never,
    /// It is bearable: rows, ever newer.
    Serves,
    /// It is not served at all.
    Absent,
}

const PARTS: [(&str, End); 14] = [
    ("trap-after-2", End::Stale),
    ("loop-after-2", End::Stale),
    ("eat-after-2", End::Stale),
    ("json-after-2", End::Stale),
    ("many-after-2", End::Stale),
    ("names-after-2", End::Stale),
    ("trap-after-0", End::Never),
    ("twice-after-0", End::Never),
    ("huge-after-0", End::Never),
    ("proto-after-0", End::Never),
    ("slow-after-0", End::Serves),
    ("flood-after-0", End::Serves),
    ("well-after-0", End::Serves),
    ("mute-after-0", End::Absent),
];

fn group(part: &str) -> String {
    format!("{part}.hostile.example.com")
}

fn is_part(group_name: &str) -> bool {
    PARTS.iter().any(|(part, _)| group(part) == group_name)
}

fn woes(part: &str) -> String {
    format!("/apis/{}/v1/woes", group(part))
}

/// What a resource said, in order, each once.
type Stories = BTreeMap<&'static str, Vec<String>>;

/// Looks at every hostile resource until it is over; never is there an empty list.
fn watch_stories(server: &Outrigger, control_plane: &ControlPlane, over: &AtomicBool, stories: &Mutex<Stories>) -> Result<()> {
    let client = server.client(Some(control_plane.admin()))?;
    while !over.load(Ordering::SeqCst) {
        for (part, end) in PARTS {
            if end == End::Absent {
                continue;
            }
            let answer = client.get(&woes(part))?;
            let said = match answer.status.as_u16() {
                200 => {
                    let list = answer.json()?;
                    ensure!(!items(&list).is_empty(), "{part}: an empty list: {list}");
                    "rows"
                }
                503 => {
                    let status = answer.json()?;
                    ensure!(
                        status["kind"] == "Status"
                            && status["reason"] == "ServiceUnavailable"
                            && answer.headers.contains_key("retry-after"),
                        "{part}: {status}"
                    );
                    let message = status["message"].as_str().context("a message")?;
                    match message {
                        m if m.contains("nothing has been collected yet") => "nothing yet",
                        m if m.contains("what was known then is too old") => "too old",
                        m if m.contains("before all known HTTP paths have been installed") => continue,
                        m => bail!("{part}: {m}"),
                    }
                }
                status => bail!("{part}: {status} {}", answer.text()),
            };
            let mut stories = stories.lock().unwrap_or_else(PoisonError::into_inner);
            let story = stories.entry(part).or_default();
            if story.last().is_none_or(|last| last != said) {
                story.push(said.to_owned());
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// `kubectl top node`, again and again: always an answer, always right.
fn watch_metrics(over: &AtomicBool) -> Result<(usize, Duration)> {
    let house = house()?;
    let (mut count, mut slowest) = (0, Duration::ZERO);
    while !over.load(Ordering::SeqCst) {
        let begun = Instant::now();
        let list = house.control_plane.api().document(NODES)?;
        slowest = slowest.max(begun.elapsed());
        ensure!(items(&list).len() == 2, "{list}");
        let top = house.kubectl.run("top node ash --no-headers")?;
        let used = top
            .split_whitespace()
            .nth(1)
            .and_then(|cpu| cpu.trim_end_matches('m').parse::<u64>().ok());
        let truth = ASH.millicores;
        ensure!(
            used.is_some_and(|m| m.abs_diff(truth) <= truth / 20),
            "{top}, and the truth is {truth}m"
        );
        count += 1;
    }
    Ok((count, slowest))
}

/// The APIServices: once Available, always.
fn watch_services(over: &AtomicBool) -> Result<usize> {
    let house = house()?;
    let mut looks = 0;
    while !over.load(Ordering::SeqCst) {
        available(&house.control_plane, is_part)?;
        available(&house.control_plane, |group| group == "metrics.k8s.io")?;
        looks += 1;
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(looks)
}

#[test]
fn hostile_plugins_harm_nobody_else() {
    promise(|| {
        let house = house()?;
        let mut options = options("hostile", [127, 96, 0, 20], WELL);
        for (part, _) in PARTS {
            options.plugins.push(hostile(part)?);
        }
        let server = Outrigger::start(&house.control_plane, &house.kubeconfig, &options)?;
        let (over, stories) = (AtomicBool::new(false), Mutex::new(Stories::new()));
        std::thread::scope(|scope| {
            let telling = scope.spawn(|| watch_stories(&server, &house.control_plane, &over, &stories));
            let done = (|| {
                server.ready()?;
                let served = PARTS.iter().filter(|(_, end)| *end != End::Absent);
                for (part, _) in served.clone() {
                    server.register(&house.control_plane, &group(part), &["v1"])?;
                }
                server.register(&house.control_plane, "metrics.k8s.io", &["v1", "v1beta1"])?;
                let count = served.count();
                until("every APIService is available", LATER, || {
                    ensure!(available(&house.control_plane, is_part)? == count);
                    ensure!(available(&house.control_plane, |group| group == "metrics.k8s.io")? == 2);
                    Ok(())
                })?;
                until("there are metrics of both nodes", SOON, || {
                    ensure!(items(&house.control_plane.api().document(NODES)?).len() == 2);
                    Ok(())
                })?;
                let topping = scope.spawn(|| watch_metrics(&over));
                let looking = scope.spawn(|| watch_services(&over));
                let (cpu, begun) = (server.program().cpu()?, Instant::now());
                let outcome = neighbours(&server, &stories);
                let used = server.program().cpu()?.saturating_sub(cpu);
                let share = used.as_secs_f64() / begun.elapsed().as_secs_f64();
                over.store(true, Ordering::SeqCst);
                let thread = |_| anyhow::anyhow!("a thread panicked");
                outcome?;
                let (tops, slowest) = topping.join().map_err(thread)??;
                let looks = looking.join().map_err(thread)??;
                let (now, peak) = server.program().memory()?;
                eprintln!(
                    "hostile: {tops} times kubectl top, slowest list {slowest:?}; {looks} looks at APIServices; memory {} MiB, at most \
                     {} MiB; {share:.2} cores",
                    now >> 20,
                    peak >> 20
                );
                ensure!(tops > 0 && looks > 0);
                // 14 plugins of at most 2 calls of 64 MiB each, and results of at most 16 MiB: far more than this would be a leak.
                ensure!(peak < 1 << 30, "{peak} bytes of memory");
                Ok(())
            })();
            over.store(true, Ordering::SeqCst);
            telling.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
            done
        })
    });
}

/// All that others want of the cluster meanwhile.
fn neighbours(server: &Outrigger, stories: &Mutex<Stories>) -> Result<()> {
    let house = house()?;
    // Namespaces and garbage, by the real controllers.
    house.kubectl.run("create namespace ending")?;
    house.kubectl.run("create configmap thing -n ending --from-literal=a=b")?;
    house.kubectl.run("create configmap owner -n default")?;
    let owner = house
        .control_plane
        .api()
        .document("/api/v1/namespaces/default/configmaps/owner")?;
    let uid = owner["metadata"]["uid"].as_str().context("a uid")?;
    house.kubectl.apply(&format!(
        r#"{{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {{"name": "dependant", "namespace": "default", "ownerReferences":
        [{{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "{uid}"}}]}}}}"#
    ))?;
    house.kubectl.run("delete namespace ending --timeout=60s")?;
    house.kubectl.run("delete configmap owner -n default")?;
    until("the garbage collector has taken the dependant", SOON, || {
        let answer = house
            .control_plane
            .api()
            .get("/api/v1/namespaces/default/configmaps/dependant")?;
        ensure!(answer.status == 404, "{}", answer.status);
        Ok(())
    })?;

    // Discovery and OpenAPI, complete.
    let kubectl = house.control_plane.kubectl_anew("home-hostile")?;
    let table = quiet(&kubectl, &["api-resources"])?;
    let documents = house.control_plane.api().document("/openapi/v3")?;
    let direct = server.client(Some(house.control_plane.admin()))?;
    let openapi = direct.document("/openapi/v2")?.to_string();
    for (part, end) in PARTS {
        let group = group(part);
        let served = end != End::Absent;
        ensure!(table.contains(&group) == served, "{group}:\n{table}");
        ensure!(
            direct.get(&format!("/apis/{group}/v1"))?.status == if served { 200 } else { 404 },
            "{group}"
        );
        ensure!(
            openapi.contains(&format!("/apis/{group}/v1/woes")) == served,
            "{group}: {openapi}"
        );
        ensure!(
            documents["paths"].get(format!("apis/{group}/v1")).is_some() == served,
            "{group}: {documents}"
        );
    }
    quiet(&kubectl, &["get", "all", "-A"])?;

    // Every plugin's own story.
    for (part, end) in PARTS {
        let expected: &[&str] = match end {
            End::Stale => &["rows", "too old"],
            End::Never => &["nothing yet"],
            End::Serves => &["rows"],
            End::Absent => continue,
        };
        until(&format!("{part} is where it ends up"), SOON, || {
            let stories = stories.lock().unwrap_or_else(PoisonError::into_inner);
            let story = stories.get(part).context("no story")?;
            // Before the first tick there is nothing yet, if somebody looks quickly enough.
            let skip = usize::from(end != End::Never && story[0] == "nothing yet");
            ensure!(story[skip..] == *expected, "{story:?}");
            Ok(())
        })?;
        let answer = house.control_plane.api().get(&woes(part))?;
        let expected = if end == End::Serves { 200 } else { 503 };
        ensure!(
            answer.status == expected,
            "{part}, through the aggregator: {} {}",
            answer.status,
            answer.text()
        );
        if expected == 503 {
            ensure!(answer.headers.contains_key("retry-after"), "{part}: {:?}", answer.headers);
        }
    }
    let log = server.program().log();
    ensure!(
        lines(&log, &["plugin not loaded", "mute-after-0"]) == 1,
        "one sentence on the plugin that is not served"
    );
    for (part, words) in [
        ("trap-after-2", "stopped"),
        ("loop-after-2", "took longer than"),
        ("eat-after-2", "bytes of memory"),
    ] {
        let count = lines(&log, &["tick failed, last good rows stay", &format!("plugin={part}"), words]);
        ensure!(count == 1, "{part}: {count} lines on one trouble");
    }
    Ok(())
}

/// What kubectl says, if it has nothing to complain of.
fn quiet(kubectl: &outrigger_e2e::kubectl::Kubectl, arguments: &[&str]) -> Result<String> {
    let output = kubectl.command(arguments).output()?;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    // What it says of an empty cluster is no complaint.
    ensure!(
        output.status.success() && (complaint.is_empty() || complaint.starts_with("No resources found")),
        "kubectl {arguments:?}: {complaint}"
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
