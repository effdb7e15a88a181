//! kube-apiserver itself: does it answer, does it know us, is it of an age that we know, and what time does it have.

use http::StatusCode;
use outrigger_cluster::Advice;
use serde::Deserialize;

use crate::condition::Condition;
use crate::report::{Finding, Row};
use crate::world::{Answer, NoAnswer, World};

/// More than this many seconds apart is worth a word.
const SKEW: i64 = 5;
/// Aggregated discovery v2 is there from this minor version on.
const OLDEST: u32 = 30;
/// What the tests run against; later versions are taken three minors on, as kubectl and kubelets are.
const KNOWN: u32 = 36;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    git_version: String,
}

/// Two rows; the first is a failure if nothing else can be asked.
pub(crate) async fn look(world: &World) -> Vec<Row> {
    let answer = world.get("/version", "application/json").await;
    let server = world.cluster.config.cluster_url.to_string();
    let mut rows = vec![Row::new("kube-apiserver", judge(&server, &answer))];
    if let Ok(answer) = &answer {
        rows.push(Row::new("clock/kube-apiserver", clock("kube-apiserver", answer.ahead)));
    }
    rows
}

fn judge(server: &str, answer: &Result<Answer, NoAnswer>) -> Finding {
    let unreachable = |why: String| {
        Condition::ServerUnreachable {
            server: server.into(),
            why,
        }
        .into()
    };
    match answer {
        Err(error) => unreachable(error.to_string()),
        Ok(answer) if answer.status == StatusCode::UNAUTHORIZED => Advice::CallerUnknown {}.into(),
        Ok(answer) => match answer.document::<Version>() {
            Ok(version) => age(&version.git_version),
            Err(NoAnswer::Denied) => Condition::NotPermitted {
                what: "get /version".into(),
            }
            .into(),
            Err(error) => unreachable(error.to_string()),
        },
    }
}

fn age(version: &str) -> Finding {
    let minor = version
        .trim_start_matches("v1.")
        .split('.')
        .next()
        .and_then(|minor| minor.parse::<u32>().ok());
    match minor {
        Some(minor) if minor < OLDEST => Condition::ServerOld { version: version.into() }.into(),
        Some(minor) if minor > KNOWN + 3 => Condition::ServerNew {
            version: version.into(),
            known: format!("1.{KNOWN}"),
        }
        .into(),
        _ => Finding::Fine(version.into()),
    }
}

/// Whether somebody's clock agrees with ours.
pub(crate) fn clock(whose: &str, ahead: Option<i64>) -> Finding {
    match ahead {
        None => Condition::NotApplicable {
            why: format!("{whose} does not say what time it has"),
        }
        .into(),
        Some(seconds) if seconds.abs() > SKEW => Condition::ClockSkew {
            whose: whose.into(),
            seconds: seconds.abs().to_string(),
            way: if seconds > 0 { "ahead of" } else { "behind" }.into(),
        }
        .into(),
        Some(_) => Finding::Fine("agrees with this machine's".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_clocks() {
        for (version, expected) in [
            ("v1.36.3", None),
            ("v1.31.4-gke.1234", None),
            ("v1.39.0", None),
            ("v1.29.9+k3s1", Some("server-old")),
            ("v1.40.0-alpha.1", Some("server-new")),
            ("devel", None),
        ] {
            assert_eq!(age(version).code(), expected, "{version}");
        }
        for (ahead, expected) in [
            (Some(0), None),
            (Some(5), None),
            (Some(6), Some("clock-skew")),
            (Some(-60), Some("clock-skew")),
            (None, Some("not-applicable")),
        ] {
            assert_eq!(clock("x", ahead).code(), expected, "{ahead:?}");
        }
    }

    #[test]
    fn an_unknown_caller_is_told_so() {
        let answer = |status: u16, body: &'static str| Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: http::HeaderMap::new(),
            body: body.into(),
            ahead: None,
        };
        for (case, given, expected) in [
            ("well", Ok(answer(200, r#"{"gitVersion":"v1.36.3"}"#)), None),
            ("a stranger", Ok(answer(401, "")), Some("caller-unknown")),
            ("no right", Ok(answer(403, "")), Some("not-permitted")),
            ("something else there", Ok(answer(200, "<html>")), Some("server-unreachable")),
            (
                "nobody",
                Err(NoAnswer::Unreachable("refused".into())),
                Some("server-unreachable"),
            ),
        ] {
            assert_eq!(judge("https://x", &given).code(), expected, "{case}");
        }
    }
}
