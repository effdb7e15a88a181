//! A plugin that means harm: every object of its resource is an attempt, and reading it makes the attempt.
//!
//! `kubectl get attempts` says what there is; `kubectl get attempt spin` tries it. What the host refuses with an answer is told in
//! `outcome`; what it has to stop is the caller's 500 or 504, and after five of those a 503: the attempt is set aside. Nobody else notices.
#![allow(
    clippy::panic,
    clippy::infinite_loop,
    unconditional_recursion,
    reason = "a plugin may do all that a host has to bear"
)]

use std::fmt::Display;
use std::hint::black_box;
use std::time::Duration;

use outrigger_sdk::prelude::*;

/// An attempt on the host.
#[derive(Debug, Resource, Serialize, Deserialize, JsonSchema)]
#[resource(
    group = "hostile.example.com",
    version = "v1",
    plural = "attempts",
    scope = "Cluster",
    column(name = "Aim", path = ".aim"),
    column(name = "Outcome", path = ".outcome")
)]
pub struct Attempt {
    /// What it is after.
    aim: String,
    /// What came of it; empty until it is read by its name.
    outcome: String,
}

/// Fills nothing: it stops at every tick.
#[derive(Debug)]
pub struct Damage;

/// Each attempt, and what it is after.
pub const ATTEMPTS: [(&str, &str); 27] = [
    ("spin", "all of the CPU"),
    ("sleep", "a call that never ends"),
    ("eat", "all memory"),
    ("recurse", "the stack"),
    ("panic", "a crash"),
    ("exit", "the end of the host's process"),
    ("pour", "the host's memory, through one host call"),
    ("swell", "the host's memory, through one answer"),
    ("shout", "the operator's log"),
    ("read-file", "files of the host"),
    ("write-file", "files of the host"),
    ("environment", "credentials in the environment"),
    ("socket", "the network, without asking"),
    ("listen", "a port of the host"),
    ("config", "the operator's configuration, not granted"),
    ("kubelet", "a node's summary, not granted"),
    ("objects-get", "the cluster's secrets, not granted"),
    ("objects-list", "the cluster's secrets, not granted"),
    ("objects-create", "a cluster role binding of its own, not granted"),
    ("objects-update", "somebody's deployment, not granted"),
    ("objects-patch", "somebody's deployment, not granted"),
    ("objects-delete", "a namespace, not granted"),
    ("http", "the cloud's metadata service, not granted"),
    ("kv", "the host's disk, not granted"),
    ("event", "somebody's attention, not granted"),
    ("metric", "the host's metrics, not granted"),
    ("secret", "a secret by name, not granted"),
];

fn told<T, E: Display>(result: Result<T, E>) -> String {
    match result {
        Ok(_) => "it worked".to_owned(),
        Err(why) => why.to_string(),
    }
}

/// All of them, so that none is left out because the first was refused.
fn all_told<const N: usize>(results: [Result<(), Error>; N]) -> String {
    let worked = results.iter().any(Result::is_ok);
    let mut said: Vec<String> = results.into_iter().map(told).collect();
    said.dedup();
    if worked { "it worked".to_owned() } else { said.join("; ") }
}

fn deeper(depth: u64) -> u64 {
    black_box(deeper(black_box(depth + 1))) + 1
}

fn attempt(host: &impl Host, name: &str) -> Option<String> {
    let secrets = || Target::new("", "v1", "secrets").namespace("kube-system");
    let deployments = || Target::new("apps", "v1", "deployments").namespace("default");
    let bindings = || Target::new("rbac.authorization.k8s.io", "v1", "clusterrolebindings");
    Some(match name {
        "spin" => loop {
            black_box(());
        },
        "sleep" => {
            std::thread::sleep(Duration::from_secs(1_000_000));
            "it slept".to_owned()
        }
        "eat" => {
            let mut all = Vec::new();
            loop {
                all.push(black_box(vec![1_u8; 1 << 20]));
            }
        }
        "recurse" => deeper(0).to_string(),
        "panic" => panic!("as told"),
        "exit" => std::process::exit(0),
        "pour" => {
            host.write(Level::Error, &"x".repeat(20 << 20));
            "it worked".to_owned()
        }
        "swell" => "x".repeat(9 << 20),
        "shout" => {
            for n in 0..100_000 {
                host.error(format_args!("{n}: \u{1b}[2J the sky is falling"));
            }
            "it shouted, and nobody knows how much was heard".to_owned()
        }
        "read-file" => told(std::fs::read("/etc/passwd")),
        "write-file" => told(std::fs::write("/tmp/hostile", "was here")),
        "environment" => {
            let seen = std::env::vars().count() + std::env::args().count();
            if seen == 0 {
                "it is empty".to_owned()
            } else {
                "it worked".to_owned()
            }
        }
        "socket" => told(std::net::TcpStream::connect("127.0.0.1:6443")),
        "listen" => told(std::net::TcpListener::bind("0.0.0.0:8080")),
        "config" => told(host.document()),
        "kubelet" => told(host.summary("node-1", Detail::Full)),
        "objects-get" => told(host.get_object(&secrets(), "admin")),
        "objects-list" => told(host.list_objects(&secrets(), "", 0, "")),
        "objects-create" => told(host.create_object(&bindings(), br#"{"metadata": {"name": "mine"}}"#)),
        "objects-update" => told(host.update_object(&deployments(), br#"{"metadata": {"name": "web"}}"#)),
        "objects-patch" => told(host.patch_object(&deployments(), "web", "application/merge-patch+json", b"{}")),
        "objects-delete" => told(host.delete_object(&Target::new("", "v1", "namespaces"), "kube-system")),
        "http" => told(host.send(http::Request::get("http://169.254.169.254/latest/meta-data"))),
        "kv" => all_told([
            host.kv_get("key").map(drop),
            host.kv_set("key", &[0; 1 << 20]),
            host.kv_delete("key"),
            host.kv_keys("", "").map(drop),
        ]),
        "event" => {
            let somebody = Object::named("", "somebody", nobody());
            told(host.emit(&Reference::to(&somebody), EventKind::Warning, "Alarm", "come at once"))
        }
        "metric" => all_told([
            host.metric_add("up", &[("job", "kubernetes")], -1.0),
            host.metric_set("up", &[("job", "kubernetes")], 0.0),
        ]),
        "secret" => told(host.secret("admin")),
        _ => return None,
    })
}

fn nobody() -> Attempt {
    Attempt {
        aim: String::new(),
        outcome: String::new(),
    }
}

impl Get for Attempt {
    fn get(host: &impl Host, request: &Request<'_>) -> Result<Object<Self>, Error> {
        let name = request.name();
        let aim = ATTEMPTS.iter().find(|(n, _)| *n == name).map(|(_, aim)| (*aim).to_owned());
        let (Some(aim), Some(outcome)) = (aim, attempt(host, &name)) else {
            return Err(request.not_found());
        };
        Ok(Object::named("", name, Self { aim, outcome }))
    }
}

impl List for Attempt {
    fn list(_: &impl Host, _: &Request<'_>, to: &mut Objects<'_, Self>) -> Result<(), Error> {
        ATTEMPTS.iter().try_for_each(|(name, aim)| {
            let aim = (*aim).to_owned();
            to.write(&Object::named("", *name, Self { aim, ..nobody() }))
        })
    }
}

impl Collector for Damage {
    const NAME: &'static str = "damage";
    const EACH: Each = Each::Once;
    const INTERVAL_SECONDS: u32 = 15;
    const FILLS: &'static [&'static str] = &["damages"];
    type State = ();

    fn collect(host: &impl Kubelet, _: &str, (): ()) -> Result<Collected<()>, Error> {
        let _ = host.summary("node-1", Detail::Full);
        panic!("as told");
    }
}

fn about() -> Manifest {
    manifest!()
        .needs("kubelet", "out of curiosity")
        .needs("config", "out of curiosity")
        .resource(
            Resource::table("Damage", "damages", Scope::Cluster)
                .group("hostile.example.com")
                .version("v1")
                .description("What a hostile plugin has brought about: nothing."),
        )
}

plugin! { manifest: about, collectors: [Damage], responders: [Attempt] }
