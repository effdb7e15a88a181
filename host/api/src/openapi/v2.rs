//! Swagger 2.0 of everything that is served.
//!
//! v2 knows less than v3, and its readers (kubectl's and kube-controller-manager's type parsers) take offence at more. What
//! they cannot read is left out, as apiextensions-apiserver does for CustomResourceDefinitions
//! (`openapi/v2/conversion.go`): alternatives, defaults, and whatever stands inside values that may be null or anything.

use serde_json::{Map, Value, json};

use super::About;
use super::definitions::{Definitions, REFERENCE};
use super::parameters::Parameter;
use super::paths::{GroupVersion, Operation, Path};

const PREFIX: &str = "#/definitions/";
const OPEN: &str = "x-kubernetes-preserve-unknown-fields";
const GVK: &str = "x-kubernetes-group-version-kind";

pub(super) fn document(apis: &[GroupVersion], definitions: &Definitions, about: About<'_>) -> Value {
    let mut all: Vec<&Path> = apis.iter().flat_map(|api| &api.paths).collect();
    all.sort_by(|a, b| a.path.cmp(&b.path));
    let paths: Map<String, Value> = all.iter().map(|p| (p.path.clone(), path(p))).collect();
    let roots = all
        .iter()
        .flat_map(|p| p.definitions())
        .chain(apis.iter().flat_map(|api| api.kinds.iter().map(String::as_str)));
    let named: Map<String, Value> = definitions
        .closure(roots)
        .into_iter()
        .map(|(name, schema)| (name.to_owned(), definition(schema)))
        .collect();
    json!({
        "swagger": "2.0",
        "info": { "title": about.title, "version": about.version },
        "paths": paths,
        "definitions": named,
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
    out.insert("description".into(), of.description.as_str().into());
    out.insert(
        "consumes".into(),
        of.body.as_ref().map_or_else(|| json!(["*/*"]), |body| json!(body.consumes)),
    );
    out.insert("produces".into(), json!(of.produces));
    out.insert("schemes".into(), json!(["https"]));
    out.insert("tags".into(), json!([of.tag]));
    out.insert("operationId".into(), of.id.as_str().into());
    let body = of.body.as_ref().map(|body| {
        let mut sent = json!({ "in": "body", "name": "body", "schema": { "$ref": format!("{PREFIX}{}", body.definition) } });
        if let (true, Some(sent)) = (body.required, sent.as_object_mut()) {
            sent.insert("required".into(), true.into());
        }
        sent
    });
    let parameters: Vec<Value> = body.into_iter().chain(of.parameters.iter().map(parameter)).collect();
    if !parameters.is_empty() {
        out.insert("parameters".into(), parameters.into());
    }
    let mut responses = Map::new();
    for (code, word, definition) in &of.responses {
        let schema = match definition.as_str() {
            "" => json!({ "type": "string" }),
            definition => json!({ "$ref": format!("{PREFIX}{definition}") }),
        };
        let answer = json!({ "description": word, "schema": schema });
        responses.insert(code.to_string(), answer);
    }
    responses.insert("401".into(), json!({ "description": "Unauthorized" }));
    out.insert("responses".into(), responses.into());
    if let Some((action, gvk)) = &of.on {
        out.insert("x-kubernetes-action".into(), (*action).into());
        out.insert(GVK.into(), gvk.clone());
    }
    out.into()
}

fn parameter(of: &Parameter) -> Value {
    let mut out = Map::new();
    out.insert("uniqueItems".into(), true.into());
    out.insert("type".into(), of.kind.into());
    out.insert("description".into(), of.description.as_str().into());
    out.insert("name".into(), of.name.into());
    out.insert("in".into(), if of.in_path { "path" } else { "query" }.into());
    if of.in_path {
        out.insert("required".into(), true.into());
    }
    out.into()
}

/// A kind that takes any field has no fields here at all: kubectl would call all others unknown.
fn definition(of: &Value) -> Value {
    let Some(of) = of.as_object() else {
        return json!({ "type": "object" });
    };
    if !of.contains_key(OPEN) {
        return schema(of);
    }
    let kept = ["description", "type", GVK]
        .into_iter()
        .filter_map(|key| of.get_key_value(key));
    kept.map(|(key, value)| (key.clone(), value.clone()))
        .collect::<Map<_, _>>()
        .into()
}

fn schema(of: &Map<String, Value>) -> Value {
    let is = |key: &str| of.get(key).and_then(Value::as_bool) == Some(true);
    // Of such values v2 can only say that they are there.
    let opaque = is("nullable") || is(OPEN) || is("x-kubernetes-int-or-string");
    let list_without_items = of.get("type").and_then(Value::as_str) == Some("array") && !of.contains_key("items");
    let mut out = Map::new();
    for (key, value) in of {
        match (key.as_str(), value) {
            ("allOf", Value::Array(one)) => {
                let target = one
                    .first()
                    .and_then(|only| only.get("$ref")?.as_str()?.strip_prefix(REFERENCE));
                out.extend(target.map(|name| ("$ref".to_owned(), Value::from(format!("{PREFIX}{name}")))));
            }
            // Quantity: the only alternatives that v3's definitions have outside of plugins' schemas.
            ("oneOf", _) if !of.contains_key("type") && !opaque => {
                out.insert("type".into(), "string".into());
            }
            ("default" | "nullable" | "oneOf" | "anyOf" | "not", _) => {}
            ("type" | "items" | "properties" | "additionalProperties" | "required", _) if opaque => {}
            ("type", _) if list_without_items => {}
            ("items" | "additionalProperties", Value::Object(inner)) => {
                out.insert(key.clone(), schema(inner));
            }
            ("properties", Value::Object(fields)) => {
                let fields = fields
                    .iter()
                    .filter_map(|(name, field)| Some((name.clone(), schema(field.as_object()?))));
                out.insert(key.clone(), fields.collect::<Map<_, _>>().into());
            }
            ("required", Value::Array(names)) => {
                let names: Vec<_> = names.iter().filter(|name| !may_be_null(of, name)).cloned().collect();
                if !names.is_empty() {
                    out.insert(key.clone(), names.into());
                }
            }
            (_, value) => {
                out.insert(key.clone(), value.clone());
            }
        }
    }
    out.into()
}

/// kubectl takes null for absent, so such a field cannot be required.
fn may_be_null(of: &Map<String, Value>, name: &Value) -> bool {
    let field = name
        .as_str()
        .and_then(|name| of.get("properties")?.get(name)?.get("nullable")?.as_bool());
    let any = of.get("additionalProperties").and_then(|any| any.get("nullable")?.as_bool());
    field == Some(true) || any == Some(true)
}
