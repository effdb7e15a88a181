//! One control plane, sample-apiserver over its etcd, and Outrigger with `examples/wardle` over a file of its own.

use std::net::Ipv4Addr;
use std::sync::LazyLock;

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use http::Method;
use outrigger_e2e::differential::compare::{self, Body, Read};
use outrigger_e2e::differential::{Aspect, Outcome};
use outrigger_e2e::http::{Answer, Client};
use outrigger_e2e::outrigger::{Options, account, example};
use outrigger_e2e::peer::Decoder;
use outrigger_e2e::wait::{SOON, until};
use outrigger_e2e::{ControlPlane, Outrigger, Sample, scratch};
use serde_json::{Value, json};

use crate::rules::Shown;
use crate::script::{Case, JSON, Kept, Step, flunder, object};

/// A name that a Fischer of both servers forbids.
pub(crate) const BANNED: &str = "banned";
/// A namespace that is being deleted, for as long as the tests run.
pub(crate) const TERMINATING: &str = "terminating";

pub(crate) struct House {
    ours: Client,
    theirs: Client,
    decoder: Decoder,
    #[expect(dead_code, reason = "lives as long as the tests")]
    outrigger: Outrigger,
    #[expect(dead_code, reason = "lives as long as the tests")]
    sample: Sample,
    control_plane: ControlPlane,
}

const WARNING: http::HeaderName = http::header::WARNING;
const DEPRECATION: http::HeaderName = http::HeaderName::from_static("deprecation");

/// An answer of one server, and its body before and after the rules.
struct Heard {
    answer: Answer,
    body: Read,
}

static HOUSE: LazyLock<Result<House, String>> = LazyLock::new(|| House::build().map_err(|reason| format!("{reason:#}")));

/// The house, built by whichever test comes first.
pub(crate) fn house() -> Result<&'static House> {
    HOUSE.as_ref().map_err(|reason| anyhow!("{reason}"))
}

// === impl House ===

impl House {
    fn build() -> Result<Self> {
        let control_plane = ControlPlane::start()?;
        let admin = control_plane.kubeconfig_of("sample", control_plane.admin())?;
        let sample = Sample::start(&control_plane, &admin, "sample", control_plane.etcd())?;
        let objects = scratch::folder("objects")?;
        let options = Options {
            name: "outrigger".into(),
            address: Ipv4Addr::new(127, 96, 0, 10),
            resolution: 60,
            plugins: vec![example("wardle")],
            arguments: vec!["--grant=wardle=objects".into(), format!("--data-dir={}", objects.display())],
        };
        let outrigger = Outrigger::start(&control_plane, &account(&control_plane)?, &options)?;
        let house = Self {
            ours: outrigger.client(Some(control_plane.admin()))?,
            theirs: sample.client(Some(control_plane.admin()))?,
            decoder: Decoder::start()?,
            outrigger,
            sample,
            control_plane,
        };
        house.terminating()?;
        for client in [&house.ours, &house.theirs] {
            until("flunders are served", SOON, || {
                client.get("/apis/wardle.example.com/v1beta1/flunders")?.ok()
            })?;
            ban(client)?;
        }
        Ok(house)
    }

    fn namespace(&self, body: &Value) -> Result<()> {
        let headers = [("content-type", JSON)];
        let body = Bytes::from(body.to_string());
        self.control_plane
            .api()
            .request(Method::POST, "/api/v1/namespaces", &headers, body)?
            .ok()?;
        Ok(())
    }

    fn terminating(&self) -> Result<()> {
        self.namespace(&json!({"metadata": {"name": TERMINATING, "finalizers": ["example.com/stay"]}}))?;
        let path = format!("/api/v1/namespaces/{TERMINATING}");
        self.control_plane
            .api()
            .request(Method::DELETE, &path, &[], Bytes::new())?
            .ok()?;
        Ok(())
    }

    /// What differs in the answers to each step of a case, which has a namespace of its own each time.
    pub(crate) fn compared(&self, case: &Case) -> Vec<Outcome> {
        let heard = self.fresh(case).and_then(|namespace| {
            let ours = self.heard(case, &self.ours, &namespace).context("ours")?;
            Ok((ours, self.heard(case, &self.theirs, &namespace).context("the sample's")?))
        });
        let (ours, theirs) = match heard {
            Ok(both) => both,
            Err(reason) => return vec![Outcome::of(&case.name, &"the whole case", Err(reason))],
        };
        let both = ours.into_iter().zip(theirs);
        case.steps
            .iter()
            .zip(both)
            .map(|(step, (ours, theirs))| {
                let name = format!("{}: {}", case.name, step.name);
                Outcome::of(&name, step, Ok(aspects(ours, theirs)))
            })
            .collect()
    }

    /// A new namespace for a case.
    fn fresh(&self, case: &Case) -> Result<String> {
        for attempt in ["", "-again"] {
            let name = format!("{}{attempt}", case.namespace());
            let path = format!("/api/v1/namespaces/{name}");
            if self.control_plane.api().get(&path)?.status.as_u16() == 404 {
                self.namespace(&json!({"metadata": {"name": name}}))?;
                return Ok(name);
            }
        }
        Err(anyhow!("two cases have the namespace {}", case.namespace()))
    }

    /// All answers of one server.
    fn heard(&self, case: &Case, client: &Client, namespace: &str) -> Result<Vec<Heard>> {
        let mut kept = Kept::new();
        let answers: Vec<Result<Answer>> = std::thread::scope(|scope| {
            let mut running = Vec::new();
            for step in &case.steps {
                if step.meanwhile {
                    let kept = kept.clone();
                    running.push(Err(scope.spawn(move || step.ask(client, namespace, &kept))));
                    continue;
                }
                let answer = step.ask(client, namespace, &kept);
                if let (Some(name), Ok(answer)) = (step.kept, &answer)
                    && let Ok(value) = answer.json()
                {
                    kept.insert(name, value);
                }
                running.push(Ok(answer));
            }
            let joined = running.into_iter().map(|one| match one {
                Ok(answer) => answer,
                Err(thread) => thread.join().unwrap_or_else(|_| Err(anyhow!("a panic"))),
            });
            joined.collect()
        });
        let mut shown = Shown::default();
        let mut heard = Vec::new();
        for (step, answer) in case.steps.iter().zip(answers) {
            let mut answer = answer.with_context(|| step.name.clone())?;
            deprecation(&mut answer);
            let body = compare::body(&self.decoder, &answer);
            if let Ok(Body { value, .. }) = &body {
                shown.look(value);
            }
            heard.push(Heard { answer, body });
        }
        let clean = |(step, heard): (&Step, Heard)| Heard {
            body: heard.body.map(|Body { value, form }| Body {
                value: shown.clean(step, value),
                form,
            }),
            ..heard
        };
        Ok(case.steps.iter().zip(heard).map(clean).collect())
    }
}

fn aspects(ours: Heard, theirs: Heard) -> Vec<Aspect> {
    compare::answers(&ours.answer, &theirs.answer, Some((ours.body, theirs.body)))
}

/// What is said of a deprecated version becomes a header of its own, so that the other warnings can be compared.
fn deprecation(answer: &mut Answer) {
    let all: Vec<_> = answer.headers.get_all(WARNING).iter().cloned().collect();
    answer.headers.remove(WARNING);
    for warning in all {
        let is_one = warning.to_str().is_ok_and(|text| text.contains(" is deprecated in v1.3+"));
        answer.headers.append(if is_one { DEPRECATION } else { WARNING }, warning);
    }
}

/// Forbids a name and waits until it is.
fn ban(client: &Client) -> Result<()> {
    let send = |path: &str, body: Value| client.request(Method::POST, path, &[("content-type", JSON)], body.to_string().into());
    let fischer = object(
        "v1alpha1",
        "Fischer",
        json!({"metadata": {"name": "bans"}, "disallowedFlunders": [BANNED]}),
    );
    send("/apis/wardle.example.com/v1alpha1/fischers", fischer)?.ok()?;
    let flunder = flunder(BANNED);
    until("a name is banned", SOON, || {
        let path = "/apis/wardle.example.com/v1alpha1/namespaces/default/flunders?dryRun=All";
        let answer = send(path, flunder.clone())?;
        ensure!(answer.status.is_client_error(), "{}", answer.status);
        Ok(())
    })
}
