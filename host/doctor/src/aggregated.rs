//! An API as its clients see it: in kube-apiserver's discovery and OpenAPI documents, and in its lists.

use std::collections::BTreeMap;

use futures::future::join_all;
use http::StatusCode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIResource, APIResourceList};
use serde::Deserialize;

use crate::apiservice::Named;
use crate::condition::Condition;
use crate::report::{Finding, Row};
use crate::world::{Answer, NoAnswer, World};

const V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// kube-apiserver's own documents, read once for all APIServices.
#[derive(Debug)]
pub(crate) struct Documents {
    discovery: Result<Discovery, NoAnswer>,
    v3: Result<Index, NoAnswer>,
    v2: Result<Swagger, NoAnswer>,
    /// Names of CustomResourceDefinitions; empty if they cannot be read.
    pub(crate) crds: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Discovery {
    #[serde(default)]
    items: Vec<Group>,
}

#[derive(Debug, Deserialize)]
struct Group {
    metadata: Metadata,
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
}

#[derive(Debug, Deserialize)]
struct Version {
    version: String,
    #[serde(default)]
    freshness: String,
}

#[derive(Debug, Deserialize)]
struct Index {
    #[serde(default)]
    paths: BTreeMap<String, serde::de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Swagger {
    #[serde(default)]
    definitions: BTreeMap<String, Definition>,
}

#[derive(Debug, Deserialize)]
struct Definition {
    #[serde(default, rename = "x-kubernetes-group-version-kind")]
    kinds: Vec<Kind>,
}

#[derive(Debug, Deserialize)]
struct Kind {
    #[serde(default)]
    group: String,
    #[serde(default)]
    version: String,
}

#[derive(Debug, Deserialize)]
struct Names {
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    metadata: Metadata,
}

// === impl Documents ===

impl Documents {
    pub(crate) async fn read(world: &World) -> Self {
        // The largest of them all is put together when it is asked for.
        let patient = World {
            deadline: world.deadline * 3,
            ..world.clone()
        };
        let (discovery, v3, v2, crds) = futures::join!(
            discovery(world),
            world.read("/openapi/v3"),
            patient.read("/openapi/v2"),
            world.read_as::<Names>("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", METADATA),
        );
        Self {
            discovery,
            v3,
            v2,
            crds: crds.map_or_else(
                |_| Vec::new(),
                |list| list.items.into_iter().map(|i| i.metadata.name).collect(),
            ),
        }
    }

    /// Whether they know an APIService's version.
    pub(crate) fn judge(&self, named: &Named<'_>) -> Vec<Row> {
        vec![
            Row::new(named.row("discovery"), self.judge_discovery(named)),
            Row::new(named.row("openapi-v3"), self.judge_v3(named)),
            Row::new(named.row("openapi-v2"), self.judge_v2(named)),
        ]
    }

    fn judge_discovery(&self, named: &Named<'_>) -> Finding {
        let version = named.version();
        let discovery = match &self.discovery {
            Ok(discovery) => discovery,
            Err(error) => return error.skip("get /apis").into(),
        };
        let group = named.spec.group.as_deref().unwrap_or_default();
        let found = discovery
            .items
            .iter()
            .filter(|g| g.metadata.name == group)
            .flat_map(|g| &g.versions)
            .find(|v| Some(v.version.as_str()) == named.spec.version.as_deref());
        match found {
            None => Condition::DiscoveryMissing { version }.into(),
            Some(found) if found.freshness == "Stale" => Condition::DiscoveryStale { version }.into(),
            Some(_) => Finding::Fine("Current".into()),
        }
    }

    fn judge_v3(&self, named: &Named<'_>) -> Finding {
        match &self.v3 {
            Err(error) => error.skip("get /openapi/v3").into(),
            Ok(index) if index.paths.contains_key(&format!("apis/{}", named.version())) => Finding::Fine("listed".into()),
            Ok(_) => missing("/openapi/v3", named),
        }
    }

    fn judge_v2(&self, named: &Named<'_>) -> Finding {
        let swagger = match &self.v2 {
            Ok(swagger) => swagger,
            Err(error) => return error.skip("get /openapi/v2").into(),
        };
        let of_version = |kind: &Kind| {
            Some(kind.group.as_str()) == named.spec.group.as_deref()
                && Some(kind.version.as_str()) == named.spec.version.as_deref()
        };
        if swagger.definitions.values().any(|d| d.kinds.iter().any(of_version)) {
            Finding::Fine("has its definitions".into())
        } else {
            missing("/openapi/v2", named)
        }
    }
}

async fn discovery(world: &World) -> Result<Discovery, NoAnswer> {
    let answer = world.get("/apis", V2).await?;
    let kind = answer.headers.get(http::header::CONTENT_TYPE);
    if answer.status == StatusCode::OK && !kind.is_some_and(|k| k.to_str().is_ok_and(|k| k.contains("APIGroupDiscoveryList"))) {
        return Err(NoAnswer::Unreadable(
            "kube-apiserver does not speak aggregated discovery v2".into(),
        ));
    }
    answer.document()
}

fn missing(document: &str, named: &Named<'_>) -> Finding {
    Condition::OpenApiMissing {
        document: document.into(),
        version: named.version(),
    }
    .into()
}

/// A list of each resource, through the aggregator, and whether a namespace that has some of it can go.
pub(crate) async fn lists(world: &World, named: &Named<'_>, resources: &APIResourceList) -> Vec<Row> {
    let own: Vec<&APIResource> = resources.resources.iter().filter(|r| !r.name.contains('/')).collect();
    let listed = own.iter().filter(|r| offers(r, "list"));
    let mut rows = join_all(listed.map(|resource| async move {
        let path = format!("/apis/{}/{}?limit=1", named.version(), resource.name);
        let answer = world.get(&path, "application/json").await;
        Row::new(
            named.row(&format!("list/{}", resource.name)),
            judge_list(&resource.name, &answer),
        )
    }))
    .await;
    rows.push(Row::new(named.row("deletion"), judge_deletion(&own)));
    rows
}

fn judge_list(resource: &str, answer: &Result<Answer, NoAnswer>) -> Finding {
    let what = format!("list {resource}");
    match answer {
        Err(error) => error.skip(&what).into(),
        Ok(answer) if answer.status == StatusCode::OK => Finding::Fine("200".into()),
        Ok(answer) if answer.status == StatusCode::FORBIDDEN => NoAnswer::Denied.skip(&what).into(),
        Ok(answer) => Condition::ListFails {
            resource: resource.into(),
            status: answer.status.to_string(),
            said: answer.said(),
        }
        .into(),
    }
}

/// The namespace controller empties what offers delete, and looks with list whether it is empty.
fn judge_deletion(resources: &[&APIResource]) -> Finding {
    let unsafe_one = resources
        .iter()
        .find(|r| (offers(r, "delete") || offers(r, "deletecollection")) && !(offers(r, "list") && offers(r, "get")));
    match unsafe_one {
        Some(resource) => Condition::DeletesUnlisted {
            resource: resource.name.clone(),
        }
        .into(),
        None => Finding::Fine("nothing here can hold up a namespace".into()),
    }
}

fn offers(resource: &APIResource, verb: &str) -> bool {
    resource.verbs.iter().any(|v| v == verb)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIServiceSpec;
    use serde_json::{Value, json};

    use super::*;

    fn spec() -> APIServiceSpec {
        APIServiceSpec {
            group: Some("metrics.k8s.io".into()),
            version: Some("v1".into()),
            ..APIServiceSpec::default()
        }
    }

    fn documents(discovery: Value, v3: Value, v2: Value) -> Documents {
        Documents {
            discovery: Ok(serde_json::from_value(discovery).unwrap()),
            v3: Ok(serde_json::from_value(v3).unwrap()),
            v2: Ok(serde_json::from_value(v2).unwrap()),
            crds: Vec::new(),
        }
    }

    #[test]
    fn the_documents_of_kube_apiserver() {
        let spec = spec();
        let named = Named {
            name: "v1.metrics.k8s.io",
            spec: &spec,
        };
        let group = |version: &str, freshness: &str| json!({"items": [{"metadata": {"name": "metrics.k8s.io"}, "versions": [{"version": version, "freshness": freshness}]}]});
        let index = json!({"paths": {"apis/metrics.k8s.io/v1": {"serverRelativeURL": "/x"}}});
        let swagger = json!({"definitions": {"a": {"type": "string"},
            "b": {"x-kubernetes-group-version-kind": [{"group": "metrics.k8s.io", "kind": "NodeMetrics", "version": "v1"}]}}});
        let (none, other) = (json!({}), json!({"paths": {"apis/metrics.k8s.io/v1beta1": {}}}));
        for (case, documents, expected) in [
            (
                "well",
                documents(group("v1", "Current"), index.clone(), swagger.clone()),
                [None, None, None],
            ),
            (
                "stale",
                documents(group("v1", "Stale"), index.clone(), swagger.clone()),
                [Some("discovery-stale"), None, None],
            ),
            (
                "another version",
                documents(group("v1beta1", "Current"), other, swagger),
                [Some("discovery-missing"), Some("openapi-missing"), None],
            ),
            (
                "nothing",
                documents(none.clone(), none.clone(), none),
                [Some("discovery-missing"), Some("openapi-missing"), Some("openapi-missing")],
            ),
        ] {
            let codes: Vec<_> = documents.judge(&named).iter().map(|r| r.finding.code()).collect();
            assert_eq!(codes, expected, "{case}");
        }
    }

    #[test]
    fn lists_and_deletion() {
        let answer = |status: u16| {
            Ok(Answer {
                status: StatusCode::from_u16(status).unwrap(),
                headers: http::HeaderMap::new(),
                body: bytes::Bytes::from_static(br#"{"message":"no"}"#),
                ahead: None,
            })
        };
        for (answer, expected) in [
            (answer(200), None),
            (answer(403), Some("not-permitted")),
            (answer(405), Some("list-fails")),
            (answer(503), Some("list-fails")),
            (Err(NoAnswer::Unreachable("gone".into())), Some("not-answered")),
        ] {
            assert_eq!(judge_list("pods", &answer).code(), expected);
        }
        for (verbs, expected) in [
            (vec!["get", "list"], None),
            (vec!["get", "list", "delete", "deletecollection"], None),
            (vec!["get", "list", "delete"], None),
            (vec!["get", "delete"], Some("deletes-unlisted")),
            (vec!["deletecollection", "list"], Some("deletes-unlisted")),
        ] {
            let resource = APIResource {
                name: "things".into(),
                verbs: verbs.iter().map(|v| (*v).to_owned()).collect(),
                ..APIResource::default()
            };
            assert_eq!(judge_deletion(&[&resource]).code(), expected, "{verbs:?}");
        }
    }
}
