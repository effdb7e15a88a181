//! The dashboard, the recording rules and the alerts ask for series that there are, in PromQL that Prometheus reads.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use outrigger_e2e::control_plane::repository;
use outrigger_e2e::outrigger::{Options, account, metrics_plugin};
use outrigger_e2e::wait::SOON;
use outrigger_e2e::{Outrigger, promise, scratch, until};
use serde_json::{Value, json};

use crate::house::{deploy, house, run};

/// Series to the labels that were seen with them.
type Exposed = BTreeMap<String, BTreeSet<String>>;

/// What an expression asks for.
struct Asked {
    of: String,
    expression: String,
    /// Where it stands, the labels that it picks by or keeps.
    labels: BTreeSet<String>,
    series: Vec<(String, BTreeSet<String>)>,
}

fn strings(value: &Value) -> BTreeSet<String> {
    let all = value.as_array().into_iter().flatten();
    all.filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// The series of the classic text format. A family without samples is there by its type, with no labels.
fn exposed(text: &str) -> Exposed {
    let mut all = Exposed::new();
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').unwrap_or((family, ""));
            let parts: &[&str] = if kind == "histogram" {
                &["_bucket", "_sum", "_count"]
            } else {
                &[""]
            };
            for part in parts {
                all.entry(format!("{name}{part}")).or_default();
            }
        } else if !line.starts_with('#') {
            let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap_or(line.len()));
            let labels = all.entry(name.to_owned()).or_default();
            let inner = rest
                .strip_prefix('{')
                .and_then(|r| r.rsplit_once('}'))
                .map_or("", |(inner, _)| inner);
            // A value may hold anything but an unescaped quote; names stand before `="`.
            for part in inner.split("=\"") {
                let name = part.rsplit([',', '"']).next().unwrap_or_default();
                if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                    labels.insert(name.to_owned());
                }
            }
        }
    }
    all
}

/// Series that the page names: families whose first series somebody must cause.
fn named() -> Result<BTreeSet<String>> {
    let page = std::fs::read_to_string(repository().join("docs/observability.md"))?;
    let mut all = BTreeSet::new();
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        let cell = row.split('|').nth(1).unwrap_or_default();
        let mut first = String::new();
        for name in cell.split('`').skip(1).step_by(2) {
            if name.starts_with('_') {
                // `_b` after `x_a_total` may be `x_b`, `x_a_b`, …
                let ends = first.match_indices('_').map(|(at, _)| at);
                all.extend(ends.map(|at| format!("{}{name}", first.get(..at).unwrap_or_default())));
            } else {
                name.clone_into(&mut first);
                all.insert(first.clone());
            }
        }
    }
    Ok(all)
}

/// Reads expressions with Prometheus' parser.
fn read(expressions: &[(String, String)]) -> Result<Vec<Asked>> {
    let program = scratch::folder("promql")?.join("promql");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("promql");
    let mut build = Command::new("go");
    build.current_dir(sources).env("CGO_ENABLED", "0");
    build
        .args(["build", "-mod=readonly", "-trimpath", "-o"])
        .arg(&program)
        .arg(".");
    run(&mut build, "").context("go builds e2e/promql")?;
    // What Grafana puts in.
    let texts: Vec<String> = expressions
        .iter()
        .map(|(_, text)| text.replace("$__rate_interval", "5m"))
        .collect();
    let answer: Vec<Value> = serde_json::from_str(&run(&mut Command::new(program), &json!(texts).to_string())?)?;
    ensure!(answer.len() == expressions.len(), "{} answers", answer.len());
    let mut all = Vec::new();
    for ((of, expression), reading) in expressions.iter().zip(&answer) {
        ensure!(reading.get("error").is_none(), "{of}: {}: {expression}", reading["error"]);
        let selectors = reading["selectors"].as_array().into_iter().flatten();
        all.push(Asked {
            of: of.clone(),
            expression: expression.clone(),
            labels: strings(&reading["grouping"]),
            series: selectors
                .map(|s| (s["name"].as_str().unwrap_or_default().to_owned(), strings(&s["labels"])))
                .collect(),
        });
    }
    Ok(all)
}

/// Every series is exposed or on the page, and has the labels, as far as samples show.
fn check(asked: &[Asked], exposed: &Exposed, recorded: &BTreeSet<String>) -> Result<()> {
    let (page, given) = (named()?, BTreeSet::from(["job", "instance", "le"]));
    ensure!(asked.len() > 10, "{} expressions", asked.len());
    for one in asked {
        let mut known: BTreeSet<&str> = given.clone();
        let mut unknown = false;
        ensure!(!one.series.is_empty(), "{}: no series in {}", one.of, one.expression);
        for (name, labels) in &one.series {
            if recorded.contains(name) {
                unknown = true;
                continue;
            }
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
            ensure!(
                exposed.contains_key(name) || page.contains(family.unwrap_or(name)),
                "{}: nobody exposes {name} ({})",
                one.of,
                one.expression
            );
            match exposed.get(name).filter(|labels| !labels.is_empty()) {
                None => unknown = true,
                Some(has) => {
                    known.extend(has.iter().map(String::as_str));
                    for label in labels {
                        ensure!(
                            has.contains(label) || given.contains(label.as_str()),
                            "{}: {name} has no label {label} ({})",
                            one.of,
                            one.expression
                        );
                    }
                }
            }
        }
        for label in &one.labels {
            ensure!(
                unknown || known.contains(label.as_str()),
                "{}: no label {label} in {}",
                one.of,
                one.expression
            );
        }
    }
    Ok(())
}

/// What a running host exposes.
fn scrape() -> Result<Exposed> {
    let house = house()?;
    let kubeconfig = account(&house.control_plane)?;
    let options = Options {
        name: "scraped".to_owned(),
        address: Ipv4Addr::new(127, 96, 0, 20),
        resolution: 3,
        plugins: vec![metrics_plugin()],
        arguments: Vec::new(),
    };
    let outrigger = Outrigger::start(&house.control_plane, &kubeconfig, &options)?;
    let client = outrigger.client(Some(house.control_plane.admin()))?;
    until("its plugin is loaded and was asked for", SOON, || {
        client.get("/apis/metrics.k8s.io/v1/nodes")?;
        let text = client.get("/metrics")?.ok()?.text();
        ensure!(
            text.contains("outrigger_table_rows{") && text.contains("resource=\"nodes\""),
            "{text}"
        );
        Ok(exposed(&text))
    })
}

/// Objects of every group of rules.
fn rules() -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(deploy("prometheus/rules.yaml"))?;
    let document: Value = serde_saphyr::from_str(&text).context("not YAML")?;
    let mut all = Vec::new();
    let mut names = BTreeSet::new();
    for group in document["groups"].as_array().context("groups")? {
        ensure!(names.insert(group["name"].to_string()), "{} twice", group["name"]);
        all.extend(group["rules"].as_array().context("rules")?.iter().cloned());
    }
    Ok(all)
}

#[test]
fn rules_and_dashboard_ask_for_series_that_there_are() {
    promise(|| {
        let mut expressions = Vec::new();
        let (mut names, mut recorded) = (BTreeSet::new(), BTreeSet::new());
        for rule in rules()? {
            let (record, alert) = (rule["record"].as_str(), rule["alert"].as_str());
            let name = record.or(alert).with_context(|| format!("a name: {rule}"))?.to_owned();
            ensure!(names.insert(name.clone()), "{name} twice");
            if record.is_some() {
                // level:metric:operations
                ensure!(name.split(':').count() == 3, "{name}");
                recorded.insert(name.clone());
            } else {
                let severity = rule["labels"]["severity"].as_str().unwrap_or_default();
                ensure!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
                let summary = rule["annotations"]["summary"].as_str().unwrap_or_default();
                ensure!(
                    !summary.is_empty() && summary.matches("{{").count() == summary.matches("}}").count(),
                    "{name}"
                );
            }
            expressions.push((name, rule["expr"].as_str().context("expr")?.to_owned()));
        }

        let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(deploy("dashboards/outrigger.json"))?)?;
        let mut ids = BTreeSet::new();
        for panel in dashboard["panels"].as_array().context("panels")? {
            let title = panel["title"].as_str().context("a title")?;
            ensure!(
                ids.insert(panel["id"].as_u64().context("an id")?),
                "{title}: the id of another"
            );
            let grid = &panel["gridPos"];
            let end = grid["x"].as_u64().zip(grid["w"].as_u64()).map(|(x, w)| x + w);
            ensure!(end.is_some_and(|end| end <= 24), "{title}: {grid}");
            for target in panel["targets"].as_array().into_iter().flatten() {
                expressions.push((title.to_owned(), target["expr"].as_str().context("expr")?.to_owned()));
            }
        }
        check(&read(&expressions)?, &scrape()?, &recorded)
    })
}

#[test]
fn a_series_or_a_label_that_nobody_exposes_is_found() {
    promise(|| {
        let there = exposed("# TYPE a_total counter\na_total{plugin=\"x=\\\"y\",code=\"1\"} 1\n# TYPE b_seconds histogram\n");
        let few = |text: &str| -> Result<()> {
            let expressions = vec![("it".to_owned(), text.to_owned()); 11];
            check(&read(&expressions)?, &there, &BTreeSet::from(["r:a:rate".to_owned()]))
        };
        for text in [
            "sum by (plugin) (rate(a_total{code=\"1\"}[5m]))",
            "b_seconds_bucket",
            "r:a:rate > 0",
        ] {
            few(text).with_context(|| text.to_owned())?;
        }
        for (text, why) in [
            ("sum(rate(z_total[5m]))", "nobody exposes z_total"),
            ("b_seconds", "nobody exposes b_seconds"),
            ("a_total{colour=\"red\"}", "no label colour"),
            ("sum by (colour) (a_total)", "no label colour"),
            ("sum(a_total", "unclosed"),
        ] {
            let refused = few(text).err().with_context(|| format!("{text} passed"))?;
            ensure!(format!("{refused:#}").contains(why), "{text}: {refused:#}");
        }
        Ok(())
    })
}
