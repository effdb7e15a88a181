//! `OpenAPIv3.proto`.

use serde_json::Value;

use crate::message::{Field, Kind, Named, Shape};

pub(super) static DOCUMENT: Shape = Shape::Extended(
    &[
        Field("openapi", 1, Kind::Text),
        Field("info", 2, Kind::One(&INFO)),
        Field("paths", 4, Kind::One(&PATHS)),
        Field("components", 5, Kind::One(&COMPONENTS)),
    ],
    9,
);

static INFO: Shape = Shape::Extended(
    &[
        Field("title", 1, Kind::Text),
        Field("description", 2, Kind::Text),
        Field("version", 6, Kind::Text),
    ],
    7,
);

static COMPONENTS: Shape = Shape::Extended(&[Field("schemas", 1, Kind::One(&SCHEMAS))], 10);

static PATHS: Shape = Shape::Named(Named {
    fields: &[],
    pairs: 1,
    value: Kind::One(&PATH),
    extensions: Some(2),
});

static PATH: Shape = Shape::Extended(
    &[
        Field("get", 4, Kind::One(&OPERATION)),
        Field("put", 5, Kind::One(&OPERATION)),
        Field("post", 6, Kind::One(&OPERATION)),
        Field("delete", 7, Kind::One(&OPERATION)),
        Field("options", 8, Kind::One(&OPERATION)),
        Field("head", 9, Kind::One(&OPERATION)),
        Field("patch", 10, Kind::One(&OPERATION)),
        Field("parameters", 13, Kind::Many(&PARAMETER_OR_REFERENCE)),
    ],
    14,
);

static OPERATION: Shape = Shape::Extended(
    &[
        Field("tags", 1, Kind::Texts),
        Field("summary", 2, Kind::Text),
        Field("description", 3, Kind::Text),
        Field("operationId", 5, Kind::Text),
        Field("parameters", 6, Kind::Many(&PARAMETER_OR_REFERENCE)),
        Field("requestBody", 7, Kind::One(&REQUEST_BODY_OR_REFERENCE)),
        Field("responses", 8, Kind::One(&RESPONSES)),
        Field("deprecated", 10, Kind::Flag),
    ],
    13,
);

static REFERENCE: Shape = Shape::Fields(&[
    Field("$ref", 1, Kind::Text),
    Field("summary", 2, Kind::Text),
    Field("description", 3, Kind::Text),
]);

/// Everything that may be a reference has the thing itself as field 1 and the reference as field 2.
fn or_reference(value: &Value, itself: &'static Shape) -> Option<(u32, Kind)> {
    match value.get("$ref") {
        Some(_) => Some((2, Kind::One(&REFERENCE))),
        None => Some((1, Kind::One(itself))),
    }
}

static PARAMETER_OR_REFERENCE: Shape = Shape::OneOf(|value| or_reference(value, &PARAMETER));
static REQUEST_BODY_OR_REFERENCE: Shape = Shape::OneOf(|value| or_reference(value, &REQUEST_BODY));
static RESPONSE_OR_REFERENCE: Shape = Shape::OneOf(|value| or_reference(value, &RESPONSE));
static SCHEMA_OR_REFERENCE: Shape = Shape::OneOf(|value| or_reference(value, &SCHEMA));

static PARAMETER: Shape = Shape::Extended(
    &[
        Field("name", 1, Kind::Text),
        Field("in", 2, Kind::Text),
        Field("description", 3, Kind::Text),
        Field("required", 4, Kind::Flag),
        Field("schema", 10, Kind::One(&SCHEMA_OR_REFERENCE)),
    ],
    14,
);

static REQUEST_BODY: Shape = Shape::Extended(
    &[
        Field("description", 1, Kind::Text),
        Field("content", 2, Kind::One(&MEDIA_TYPES)),
        Field("required", 3, Kind::Flag),
    ],
    4,
);

static MEDIA_TYPES: Shape = Shape::Named(Named {
    fields: &[],
    pairs: 1,
    value: Kind::One(&MEDIA_TYPE),
    extensions: None,
});

static MEDIA_TYPE: Shape = Shape::Extended(&[Field("schema", 1, Kind::One(&SCHEMA_OR_REFERENCE))], 5);

static RESPONSES: Shape = Shape::Named(Named {
    fields: &[Field("default", 1, Kind::One(&RESPONSE_OR_REFERENCE))],
    pairs: 2,
    value: Kind::One(&RESPONSE_OR_REFERENCE),
    extensions: Some(3),
});

static RESPONSE: Shape = Shape::Extended(
    &[
        Field("description", 1, Kind::Text),
        Field("content", 3, Kind::One(&MEDIA_TYPES)),
    ],
    5,
);

static SCHEMAS: Shape = Shape::Named(Named {
    fields: &[],
    pairs: 1,
    value: Kind::One(&SCHEMA_OR_REFERENCE),
    extensions: None,
});

static SCHEMA: Shape = Shape::Extended(
    &[
        Field("nullable", 1, Kind::Flag),
        Field("readOnly", 3, Kind::Flag),
        Field("writeOnly", 4, Kind::Flag),
        Field("example", 7, Kind::Any),
        Field("deprecated", 8, Kind::Flag),
        Field("title", 9, Kind::Text),
        Field("multipleOf", 10, Kind::Number),
        Field("maximum", 11, Kind::Number),
        Field("exclusiveMaximum", 12, Kind::Flag),
        Field("minimum", 13, Kind::Number),
        Field("exclusiveMinimum", 14, Kind::Flag),
        Field("maxLength", 15, Kind::Integer),
        Field("minLength", 16, Kind::Integer),
        Field("pattern", 17, Kind::Text),
        Field("maxItems", 18, Kind::Integer),
        Field("minItems", 19, Kind::Integer),
        Field("uniqueItems", 20, Kind::Flag),
        Field("maxProperties", 21, Kind::Integer),
        Field("minProperties", 22, Kind::Integer),
        Field("required", 23, Kind::Texts),
        Field("enum", 24, Kind::Anys),
        Field("type", 25, Kind::Text),
        Field("allOf", 26, Kind::Many(&SCHEMA_OR_REFERENCE)),
        Field("oneOf", 27, Kind::Many(&SCHEMA_OR_REFERENCE)),
        Field("anyOf", 28, Kind::Many(&SCHEMA_OR_REFERENCE)),
        Field("not", 29, Kind::One(&SCHEMA)),
        Field("items", 30, Kind::One(&ITEMS)),
        Field("properties", 31, Kind::One(&SCHEMAS)),
        Field("additionalProperties", 32, Kind::One(&ADDITIONAL)),
        Field("default", 33, Kind::One(&DEFAULT)),
        Field("description", 34, Kind::Text),
        Field("format", 35, Kind::Text),
    ],
    36,
);

static ADDITIONAL: Shape = Shape::OneOf(|value| match value {
    Value::Bool(_) => Some((2, Kind::Flag)),
    _ => Some((1, Kind::One(&SCHEMA_OR_REFERENCE))),
});

static ITEMS: Shape = Shape::OneOf(|_| Some((1, Kind::One(&SCHEMA_OR_REFERENCE))));

/// `DefaultType` has no place for objects, lists and null.
static DEFAULT: Shape = Shape::OneOf(|value| match value {
    Value::Number(_) => Some((1, Kind::Number)),
    Value::Bool(_) => Some((2, Kind::Flag)),
    Value::String(_) => Some((3, Kind::Text)),
    _ => None,
});
