//! OpenAPI 3.0.0 of one group version.

use serde_json::{Map, Value, json};

use super::About;
use super::definitions::{Definitions, REFERENCE};
use super::parameters::Parameter;
use super::paths::{GroupVersion, Operation, Path};

pub(super) fn document(api: &GroupVersion, definitions: &Definitions, about: About<'_>) -> Value {
    let paths: Map<String, Value> = api.paths.iter().map(|p| (p.path.clone(), path(p))).collect();
    let roots = api
        .paths
        .iter()
        .flat_map(Path::definitions)
        .chain(api.kinds.iter().map(String::as_str));
    let schemas: Map<String, Value> = definitions
        .closure(roots)
        .into_iter()
        .map(|(name, s)| (name.to_owned(), s.clone()))
        .collect();
    json!({
        "openapi": "3.0.0",
        "info": { "title": about.title, "version": about.version },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn path(path: &Path) -> Value {
    let mut item: Map<String, Value> = path.operations.iter().map(|o| (o.method.to_owned(), operation(o))).collect();
    if !path.parameters.is_empty() {
        item.insert("parameters".into(), path.parameters.iter().map(parameter).collect());
    }
    item.into()
}

fn operation(of: &Operation) -> Value {
    let mut out = Map::new();
    out.insert("tags".into(), json!([of.tag]));
    out.insert("description".into(), of.description.as_str().into());
    out.insert("operationId".into(), of.id.as_str().into());
    if !of.parameters.is_empty() {
        out.insert("parameters".into(), of.parameters.iter().map(parameter).collect());
    }
    if let Some(body) = &of.body {
        let mut sent = Map::new();
        sent.insert("content".into(), content(&body.consumes, &body.definition));
        if body.required {
            sent.insert("required".into(), true.into());
        }
        out.insert("requestBody".into(), sent.into());
    }
    let mut responses = Map::new();
    for (code, word, definition) in &of.responses {
        responses.insert(
            code.to_string(),
            json!({ "description": word, "content": content(&of.produces, definition) }),
        );
    }
    responses.insert("401".into(), json!({ "description": "Unauthorized" }));
    out.insert("responses".into(), responses.into());
    if let Some((action, gvk)) = &of.on {
        out.insert("x-kubernetes-action".into(), (*action).into());
        out.insert("x-kubernetes-group-version-kind".into(), gvk.clone());
    }
    out.into()
}

fn content(media: &[impl AsRef<str>], definition: &str) -> Value {
    let schema = match definition {
        "" => json!({ "schema": { "type": "string" } }),
        definition => json!({ "schema": { "$ref": format!("{REFERENCE}{definition}") } }),
    };
    media
        .iter()
        .map(|m| (m.as_ref().to_owned(), schema.clone()))
        .collect::<Map<_, _>>()
        .into()
}

fn parameter(of: &Parameter) -> Value {
    let mut out = Map::new();
    out.insert("name".into(), of.name.into());
    out.insert("in".into(), if of.in_path { "path" } else { "query" }.into());
    out.insert("description".into(), of.description.as_str().into());
    if of.in_path {
        out.insert("required".into(), true.into());
    }
    out.insert("schema".into(), json!({ "type": of.kind, "uniqueItems": true }));
    out.into()
}
