//! `OpenAPIv2.proto`.

use serde_json::Value;

use crate::message::{Field, Kind, Named, Shape};

pub(super) static DOCUMENT: Shape = Shape::Extended(
    &[
        Field("swagger", 1, Kind::Text),
        Field("info", 2, Kind::One(&INFO)),
        Field("paths", 8, Kind::One(&PATHS)),
        Field("definitions", 9, Kind::One(&SCHEMAS)),
    ],
    16,
);

static INFO: Shape = Shape::Extended(
    &[
        Field("title", 1, Kind::Text),
        Field("version", 2, Kind::Text),
        Field("description", 3, Kind::Text),
    ],
    7,
);

static PATHS: Shape = Shape::Named(Named {
    fields: &[],
    pairs: 2,
    value: Kind::One(&PATH),
    extensions: Some(1),
});

static PATH: Shape = Shape::Extended(
    &[
        Field("get", 2, Kind::One(&OPERATION)),
        Field("put", 3, Kind::One(&OPERATION)),
        Field("post", 4, Kind::One(&OPERATION)),
        Field("delete", 5, Kind::One(&OPERATION)),
        Field("options", 6, Kind::One(&OPERATION)),
        Field("head", 7, Kind::One(&OPERATION)),
        Field("patch", 8, Kind::One(&OPERATION)),
        Field("parameters", 9, Kind::Many(&PARAMETERS_ITEM)),
    ],
    10,
);

static OPERATION: Shape = Shape::Extended(
    &[
        Field("tags", 1, Kind::Texts),
        Field("summary", 2, Kind::Text),
        Field("description", 3, Kind::Text),
        Field("operationId", 5, Kind::Text),
        Field("produces", 6, Kind::Texts),
        Field("consumes", 7, Kind::Texts),
        Field("parameters", 8, Kind::Many(&PARAMETERS_ITEM)),
        Field("responses", 9, Kind::One(&RESPONSES)),
        Field("schemes", 10, Kind::Texts),
        Field("deprecated", 11, Kind::Flag),
    ],
    13,
);

static PARAMETERS_ITEM: Shape = Shape::OneOf(|item| match item.get("$ref") {
    Some(_) => Some((2, Kind::One(&REFERENCE))),
    None => Some((1, Kind::One(&PARAMETER))),
});

static REFERENCE: Shape = Shape::Fields(&[Field("$ref", 1, Kind::Text), Field("description", 2, Kind::Text)]);

static PARAMETER: Shape = Shape::OneOf(|parameter| match parameter.get("in").and_then(Value::as_str) {
    Some("body") => Some((1, Kind::One(&BODY_PARAMETER))),
    _ => Some((2, Kind::One(&NON_BODY_PARAMETER))),
});

static BODY_PARAMETER: Shape = Shape::Extended(
    &[
        Field("description", 1, Kind::Text),
        Field("name", 2, Kind::Text),
        Field("in", 3, Kind::Text),
        Field("required", 4, Kind::Flag),
        Field("schema", 5, Kind::One(&SCHEMA)),
    ],
    6,
);

static NON_BODY_PARAMETER: Shape = Shape::OneOf(|parameter| match parameter.get("in").and_then(Value::as_str) {
    Some("query") => Some((3, Kind::One(&QUERY_PARAMETER))),
    Some("path") => Some((4, Kind::One(&PATH_PARAMETER))),
    _ => None,
});

static QUERY_PARAMETER: Shape = Shape::Extended(
    &[
        Field("required", 1, Kind::Flag),
        Field("in", 2, Kind::Text),
        Field("description", 3, Kind::Text),
        Field("name", 4, Kind::Text),
        Field("type", 6, Kind::Text),
        Field("format", 7, Kind::Text),
        Field("uniqueItems", 20, Kind::Flag),
    ],
    23,
);

static PATH_PARAMETER: Shape = Shape::Extended(
    &[
        Field("required", 1, Kind::Flag),
        Field("in", 2, Kind::Text),
        Field("description", 3, Kind::Text),
        Field("name", 4, Kind::Text),
        Field("type", 5, Kind::Text),
        Field("format", 6, Kind::Text),
        Field("uniqueItems", 19, Kind::Flag),
    ],
    22,
);

static RESPONSES: Shape = Shape::Named(Named {
    fields: &[],
    pairs: 1,
    value: Kind::One(&RESPONSE_VALUE),
    extensions: Some(2),
});

static RESPONSE_VALUE: Shape = Shape::OneOf(|response| match response.get("$ref") {
    Some(_) => Some((2, Kind::One(&REFERENCE))),
    None => Some((1, Kind::One(&RESPONSE))),
});

static RESPONSE: Shape = Shape::Extended(
    &[
        Field("description", 1, Kind::Text),
        Field("schema", 2, Kind::One(&SCHEMA_ITEM)),
    ],
    5,
);

/// The other possibility is a file.
static SCHEMA_ITEM: Shape = Shape::OneOf(|_| Some((1, Kind::One(&SCHEMA))));

static SCHEMAS: Shape = Shape::Named(Named {
    fields: &[],
    pairs: 1,
    value: Kind::One(&SCHEMA),
    extensions: None,
});

static SCHEMA: Shape = Shape::Extended(
    &[
        Field("$ref", 1, Kind::Text),
        Field("format", 2, Kind::Text),
        Field("title", 3, Kind::Text),
        Field("description", 4, Kind::Text),
        Field("default", 5, Kind::Any),
        Field("multipleOf", 6, Kind::Number),
        Field("maximum", 7, Kind::Number),
        Field("exclusiveMaximum", 8, Kind::Flag),
        Field("minimum", 9, Kind::Number),
        Field("exclusiveMinimum", 10, Kind::Flag),
        Field("maxLength", 11, Kind::Integer),
        Field("minLength", 12, Kind::Integer),
        Field("pattern", 13, Kind::Text),
        Field("maxItems", 14, Kind::Integer),
        Field("minItems", 15, Kind::Integer),
        Field("uniqueItems", 16, Kind::Flag),
        Field("maxProperties", 17, Kind::Integer),
        Field("minProperties", 18, Kind::Integer),
        Field("required", 19, Kind::Texts),
        Field("enum", 20, Kind::Anys),
        Field("additionalProperties", 21, Kind::One(&ADDITIONAL)),
        Field("type", 22, Kind::Words),
        Field("items", 23, Kind::One(&ITEMS)),
        Field("allOf", 24, Kind::Many(&SCHEMA)),
        Field("properties", 25, Kind::One(&SCHEMAS)),
        Field("readOnly", 27, Kind::Flag),
        Field("example", 30, Kind::Any),
    ],
    31,
);

static ADDITIONAL: Shape = Shape::OneOf(|value| match value {
    Value::Bool(_) => Some((2, Kind::Flag)),
    _ => Some((1, Kind::One(&SCHEMA))),
});

static ITEMS: Shape = Shape::OneOf(|_| Some((1, Kind::One(&SCHEMA))));
