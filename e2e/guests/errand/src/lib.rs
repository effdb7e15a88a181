//! A plugin that runs errands with every capability that needs a grant, and says of each how it went; for tests, never shipped.
//!
//! Every second each errand is run once; the row of its name in the table `errands` has the outcome: what it brought, or the error.

use outrigger_sdk::prelude::*;
use outrigger_sdk::serde_json::{Value, json};

/// Fills `errands`.
#[derive(Debug)]
pub struct Errands;

/// What the operator tells it.
#[derive(Debug, Deserialize)]
#[serde(crate = "outrigger_sdk::serde")]
struct Told {
    url: String,
}

fn maps(namespace: &str) -> Target {
    Target::new("", "v1", "configmaps").namespace(namespace)
}

/// One more than last time, wherever that was.
fn counted(host: &impl Kv) -> Result<String, Error> {
    let before = host
        .kv_get("runs")?
        .and_then(|v| String::from_utf8(v).ok()?.parse::<u64>().ok());
    let now = before.unwrap_or(0) + 1;
    host.kv_set("runs", now.to_string().as_bytes())?;
    Ok(now.to_string())
}

fn fetched(host: &(impl Http + Config)) -> Result<String, Error> {
    let told: Told = host.config()?;
    let answer = host.send(http::Request::get(told.url))?;
    Ok(format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)))
}

fn named(object: &[u8]) -> String {
    let object: Value = outrigger_sdk::serde_json::from_slice(object).unwrap_or_default();
    object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or("nameless")
        .to_owned()
}

impl Collector for Errands {
    const NAME: &'static str = "errands";
    const EACH: Each = Each::Once;
    const INTERVAL_SECONDS: u32 = 1;
    const FILLS: &'static [&'static str] = &["errands"];
    type State = ();

    fn collect(host: &impl Host, _: &str, (): ()) -> Result<Collected<()>, Error> {
        let regarding = Reference {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            namespace: "default".into(),
            name: "told".into(),
            ..Reference::default()
        };
        let made = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "made"}}).to_string();
        let length = |bytes: Vec<u8>| format!("{} bytes", bytes.len());
        let got = host.get_object(&maps("default"), "told").map(|o| named(&o));
        // Not before the cluster lets it: what is refused there is off the rate all the same.
        let told = match &got {
            Ok(_) => host
                .emit(&regarding, EventKind::Normal, "ErrandRun", "All is well.")
                .map(|()| "sent".into()),
            Err(_) => Ok("waits".into()),
        };
        let all = [
            ("get", got),
            (
                "create",
                host.create_object(&maps("default"), made.as_bytes()).map(|o| named(&o)),
            ),
            (
                "list",
                host.list_objects(&maps("default"), "errand=yes", 1, "")
                    .map(|p| format!("{} of more: {}", p.items.len(), !p.next.is_empty())),
            ),
            (
                "elsewhere",
                host.get_object(&maps("kube-system"), "extension-apiserver-authentication")
                    .map(|o| named(&o)),
            ),
            (
                "escape",
                host.get_object(&maps("default"), "../../kube-system/configmaps/told")
                    .map(|o| named(&o)),
            ),
            ("event", told),
            ("file", host.secret("word").map(length)),
            ("key", host.secret("key").map(length)),
            ("unknown", host.secret("other").map(length)),
            ("http", fetched(host)),
            ("kv", counted(host)),
            (
                "metrics",
                host.metric_add("runs", &[("way", "there")], 1.0).map(|()| "counted".into()),
            ),
        ];
        let rows = all.into_iter().map(|(name, outcome)| {
            let said = outcome.unwrap_or_else(|error| error.to_string());
            Row::of("errands")
                .name(name)
                .fields(&json!({"outcome": said}))
                .cells(&(said,))
        });
        Ok(Collected::new(rows.collect(), ()))
    }
}

fn about() -> Manifest {
    manifest!()
        .needs("config", "is told where to ask")
        .needs_objects(
            [manifest::ObjectRule::of("", "configmaps").verbs(["get", "list", "create"])],
            "keeps a ConfigMap",
        )
        .needs_http(
            ["tides.example.com:8080", "127.0.0.1:8080", "localhost:8080", "*.example.org"],
            "asks for the tide",
        )
        .needs_secrets(["word", "key", "other"], "to be let in")
        .needs("events", "tells how it went")
        .needs("kv", "counts its runs")
        .needs("metrics", "counts its runs where they can be seen")
        .config(json!({"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}}))
        .series(manifest::Series::counter("runs", "Runs of all errands.").label("way"))
        .resource(
            Resource::table("Errand", "errands", Scope::Cluster)
                .group("errands.example.com")
                .version("v1")
                .column(Column::string("Outcome")),
        )
}

plugin! { manifest: about, collectors: [Errands] }
