//! Discovery and OpenAPI in both of their forms, read by upstream's own code (`e2e/documents`), and the same in every process.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may")]

mod mean;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use anyhow::{Context, Result, anyhow, ensure};
use outrigger_api::discovery::{self, ApiGroup, ApiGroupDiscoveryList, ApiGroupList, ApiResourceList, ApiVersions, ServedGroup};
use outrigger_api::openapi::{self, About, Specification};
use outrigger_e2e::http::{Answer, Client};
use outrigger_e2e::outrigger::{Options, account, example, metrics_plugin};
use outrigger_e2e::{ControlPlane, Outrigger, promise, scratch, until, wait::LATER};
use serde_json::Value;

const AGGREGATED: &str = ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const V2: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const V3: &str = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";

/// The program that compares, built once.
static JUDGE: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let build = || {
        let judge = scratch::folder("judge")?.join("documents");
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("documents");
        let out = Command::new("go")
            .current_dir(&sources)
            .args(["build", "-mod=readonly", "-trimpath", "-o"])
            .arg(&judge)
            .arg(".")
            .env("CGO_ENABLED", "0")
            .output()
            .context("go builds e2e/documents")?;
        ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        Ok(judge)
    };
    build().map_err(|reason: anyhow::Error| format!("{reason:#}"))
});

/// Documents that wait for their judge.
struct Case {
    folder: PathBuf,
    arguments: Vec<PathBuf>,
}

// === impl Case ===

impl Case {
    fn new(name: &str) -> Result<Self> {
        Ok(Self {
            folder: scratch::folder(&format!("documents/{name}"))?,
            arguments: Vec::new(),
        })
    }

    fn add(&mut self, kind: &str, name: &str, json: &[u8], protobuf: &[u8]) -> Result<()> {
        let file = |end: &str| self.folder.join(format!("{}.{end}", name.replace('/', "-")));
        let (text, binary) = (file("json"), file("pb"));
        std::fs::write(&text, json)?;
        std::fs::write(&binary, protobuf)?;
        self.arguments.extend([kind.into(), text, binary]);
        Ok(())
    }

    fn judge(self) -> Result<()> {
        let judge = JUDGE.as_ref().map_err(|reason| anyhow!("{reason}"))?;
        let out = Command::new(judge).args(&self.arguments).output()?;
        let (said, wrong) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        ensure!(out.status.success(), "{said}{wrong}");
        let documents = self.arguments.len() / 3;
        ensure!(
            documents > 0 && said.starts_with(&format!("{documents} documents are the same")),
            "{said}"
        );
        Ok(())
    }
}

/// All documents of these groups, made in this process.
fn judge(name: &str, groups: &[ServedGroup]) -> Result<()> {
    let about = About {
        title: "Outrigger",
        version: "v0.1.0",
    };
    let mut case = Case::new(name)?;
    let mut lists = vec![
        ("api".to_owned(), serde_json::to_value(ApiVersions::of(groups))?),
        ("apis".into(), serde_json::to_value(ApiGroupList::of(groups))?),
        (
            "api-aggregated".into(),
            serde_json::to_value(ApiGroupDiscoveryList::api(groups))?,
        ),
        (
            "apis-aggregated".into(),
            serde_json::to_value(ApiGroupDiscoveryList::apis(groups))?,
        ),
    ];
    for group in groups {
        if let Some(one) = ApiGroup::of(group) {
            lists.push((format!("group-{}", group.name), serde_json::to_value(one)?));
        }
        for version in &group.versions {
            let name = format!("resources-{}", group.api_version(&version.version));
            lists.push((name, serde_json::to_value(ApiResourceList::of(group, version))?));
        }
    }
    for (name, list) in lists {
        let protobuf = discovery::protobuf(&list).context("a discovery document")?;
        case.add("discovery", &name, list.to_string().as_bytes(), &protobuf)?;
    }
    let v2 = openapi::v2(groups, about);
    case.add("v2", "v2", v2.to_string().as_bytes(), &Specification::V2.protobuf(&v2))?;
    for document in openapi::v3(groups, about) {
        let value: Value = serde_json::from_slice(&document.json)?;
        case.add("v3", &document.path, &document.json, &Specification::V3.protobuf(&value))?;
    }
    case.judge()
}

#[test]
fn mean_schemas_are_read_by_upstream_in_both_forms() {
    promise(|| {
        for seed in 1..=20 {
            judge(&format!("mean-{seed}"), &mean::groups(seed)).with_context(|| format!("seed {seed}"))?;
        }
        judge("nothing", &[])
    })
}

fn options(name: &str, last: u8) -> Options {
    Options {
        name: name.to_owned(),
        address: Ipv4Addr::new(127, 96, 1, last),
        resolution: 5,
        plugins: vec![metrics_plugin(), example("hello-collector")],
        arguments: Vec::new(),
    }
}

fn get(client: &Client, path: &str, accept: &str) -> Result<Answer> {
    let answer = client.get_with(path, &[("accept", accept)])?.ok()?;
    let got = answer.headers.get("content-type").and_then(|v| v.to_str().ok());
    ensure!(got == Some(accept), "{path}: {got:?} instead of {accept}");
    Ok(answer)
}

/// Every document that a server has: path, its JSON type, its protobuf type, what the judge calls it.
fn paths(client: &Client) -> Result<Vec<(String, String, String, &'static str)>> {
    let plain = |path: &str| (path.to_owned(), JSON.to_owned(), PROTOBUF.to_owned(), "discovery");
    let mut all = vec![
        plain("/apis"),
        (
            "/apis".into(),
            format!("{JSON}{AGGREGATED}"),
            format!("{PROTOBUF}{AGGREGATED}"),
            "discovery",
        ),
        ("/openapi/v2".into(), JSON.into(), V2.into(), "v2"),
    ];
    for group in client.document("/apis")?["groups"].as_array().context("groups")? {
        let name = group["name"].as_str().context("a name")?;
        all.push(plain(&format!("/apis/{name}")));
        for version in group["versions"].as_array().context("versions")? {
            all.push(plain(&format!(
                "/apis/{}",
                version["groupVersion"].as_str().context("a version")?
            )));
        }
    }
    for (_, entry) in client.document("/openapi/v3")?["paths"].as_object().context("paths")? {
        let url = entry["serverRelativeURL"].as_str().context("a URL")?;
        all.push((url.to_owned(), JSON.into(), V3.into(), "v3"));
    }
    Ok(all)
}

/// ETags by path and type.
fn tags(client: &Client) -> Result<Vec<(String, String)>> {
    let mut tags = Vec::new();
    for (path, json, protobuf, _) in paths(client)? {
        for accept in [json, protobuf] {
            let answer = get(client, &path, &accept)?;
            let tag = answer.headers.get("etag").context("an ETag")?.to_str()?.to_owned();
            tags.push((format!("{path} {accept}"), tag));
        }
    }
    Ok(tags)
}

#[test]
fn a_running_host_says_the_same_in_both_forms_in_every_process() {
    promise(|| {
        let control_plane = ControlPlane::start()?;
        let kubeconfig = account(&control_plane)?;
        let start = |options: &Options| -> Result<(Outrigger, Client)> {
            let server = Outrigger::start(&control_plane, &kubeconfig, options)?;
            let client = server.client(Some(control_plane.admin()))?;
            // Not ready as a whole: without a node there is nothing to measure.
            until("the plugins are loaded", LATER, || {
                server.program().runs()?;
                client.get("/readyz/plugins-loaded")?.ok()
            })?;
            Ok((server, client))
        };
        let (first, client) = start(&options("documents-first", 1))?;
        let mut case = Case::new("running")?;
        let all = paths(&client)?;
        ensure!(all.len() >= 11, "two groups, three versions: {all:?}");
        for (i, (path, json, protobuf, kind)) in all.iter().enumerate() {
            let (text, binary) = (get(&client, path, json)?, get(&client, path, protobuf)?);
            ensure!(text.headers.get("etag") == binary.headers.get("etag"), "{path}: two ETags");
            case.add(kind, &i.to_string(), &text.body, &binary.body)?;
        }
        case.judge()?;

        let before = tags(&client)?;
        let (second, other) = start(&options("documents-second", 2))?;
        ensure!(tags(&other)? == before, "another process has other ETags");
        drop(first);
        let (_again, client) = start(&options("documents-first", 1))?;
        ensure!(tags(&client)? == before, "another start has other ETags");

        // The same, seen through a real aggregator.
        second.register(&control_plane, "metrics.k8s.io", &["v1", "v1beta1"])?;
        let fresh = |home: &str| control_plane.kubectl_anew(home);
        until("kubectl finds the resources", LATER, || {
            let resources = fresh("home-documents")?.run("api-resources --api-group=metrics.k8s.io --no-headers")?;
            ensure!(resources.lines().count() == 2, "{resources}");
            Ok(())
        })?;
        let kubectl = fresh("home-documents-explain")?;
        for (arguments, words) in [
            (
                "explain podmetrics.containers --api-version=metrics.k8s.io/v1",
                ["usage", "containers"],
            ),
            (
                "explain podmetrics.containers --api-version=metrics.k8s.io/v1 --output plaintext-openapiv2",
                ["usage", "containers"],
            ),
            ("explain nodemetrics --output plaintext-openapiv2", ["window", "NodeMetrics"]),
        ] {
            until(arguments, LATER, || {
                let out = kubectl.run(arguments)?;
                ensure!(words.iter().all(|word| out.contains(word)), "{out}");
                Ok(())
            })?;
        }
        // kube-apiserver still makes its own protobuf of the merged document, with ours in it.
        let merged = control_plane.api().get_with("/openapi/v2", &[("accept", V2)])?.ok()?;
        let name = b"io.k8s.metrics.v1.PodMetrics";
        ensure!(
            merged.body.windows(name.len()).any(|window| window == name),
            "the merged protobuf lacks our definitions"
        );
        Ok(())
    })
}
