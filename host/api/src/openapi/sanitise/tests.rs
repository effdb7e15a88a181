use serde_json::json;

use super::*;

/// Each case is the schema of one field.
#[test]
fn only_structural_schemas_pass() {
    let any = json!({ OPEN: true });
    let cases = [
        (
            "as it is",
            json!({"type": "string", "maxLength": 3, "pattern": "^a", "default": "b"}),
            None,
            "",
        ),
        (
            "in any order",
            json!({"maximum": 3, "type": "integer"}),
            Some(json!({"type": "integer", "maximum": 3})),
            "",
        ),
        (
            "map",
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            None,
            "",
        ),
        ("true", json!(true), Some(any.clone()), ""),
        ("false", json!(false), Some(any.clone()), "is not a schema"),
        ("empty", json!({}), Some(any.clone()), "no single type"),
        ("any", any.clone(), None, ""),
        (
            "any more",
            json!({"type": "object", "additionalProperties": true}),
            Some(json!({"type": "object", OPEN: true})),
            "",
        ),
        (
            "no more",
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false}),
            Some(json!({"type": "object", "properties": {"a": {"type": "string"}}})),
            "",
        ),
        (
            "both",
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
            Some(json!({"type": "object", OPEN: true, "properties": {"a": {"type": "string"}}})),
            "has properties and additionalProperties",
        ),
        (
            "reference",
            json!({"$ref": "#/definitions/x", "description": "d"}),
            Some(json!({"description": "d", OPEN: true})),
            "$ref",
        ),
        (
            "a field named $ref",
            json!({"type": "object", "properties": {"$ref": {"type": "string"}}}),
            None,
            "",
        ),
        (
            "unknown keyword",
            json!({"type": "string", "if": {}}),
            Some(json!({"type": "string"})),
            "keyword \"if\"",
        ),
        (
            "annotation",
            json!({"type": "string", "title": "T"}),
            Some(json!({"type": "string"})),
            "",
        ),
        ("unknown type", json!({"type": "float"}), Some(any.clone()), "type \"float\""),
        (
            "types",
            json!({"type": ["object", "string"]}),
            Some(any.clone()),
            "no single type",
        ),
        (
            "nullable",
            json!({"type": ["null", "integer"]}),
            Some(json!({"type": "integer", "nullable": true})),
            "",
        ),
        (
            "nullable by anyOf",
            json!({"description": "d", "anyOf": [{"type": "integer"}, {"type": "null"}]}),
            Some(json!({"description": "d", "type": "integer", "nullable": true})),
            "",
        ),
        (
            "one allOf",
            json!({"allOf": [{"type": "integer"}]}),
            Some(json!({"type": "integer"})),
            "",
        ),
        (
            "int or string",
            json!({"type": ["integer", "string"]}),
            Some(json!({INT_OR_STRING: true})),
            "",
        ),
        (
            "int or string, upstream",
            json!({"anyOf": [{"type": "integer"}, {"type": "string"}], INT_OR_STRING: true}),
            Some(json!({INT_OR_STRING: true, "anyOf": [{"type": "integer"}, {"type": "string"}]})),
            "",
        ),
        (
            "const",
            json!({"const": "a"}),
            Some(json!({"type": "string", "enum": ["a"]})),
            "",
        ),
        (
            "described enumeration",
            json!({"oneOf": [{"const": "a", "description": "A"}, {"const": "b"}]}),
            Some(json!({"type": "string", "oneOf": [{"enum": ["a"]}, {"enum": ["b"]}]})),
            "",
        ),
        (
            "alternatives",
            json!({"type": "string", "anyOf": [{"minLength": 1}, {"pattern": "x"}], "not": {"enum": ["y"]}}),
            None,
            "",
        ),
        (
            "alternatives with types",
            json!({"type": "string", "oneOf": [{"type": "integer"}, {"minLength": 1}]}),
            Some(json!({"type": "string"})),
            "oneOf is not structural",
        ),
        (
            "alternatives with fields",
            json!({"type": "object", "oneOf": [{"properties": {"a": {}}}]}),
            Some(json!({"type": "object", OPEN: true})),
            "oneOf is not structural",
        ),
        (
            "a limit of the wrong type",
            json!({"type": "string", "maxLength": "3", "pattern": 4, "minLength": -1}),
            Some(json!({"type": "string"})),
            "maxLength has a value",
        ),
        (
            "a limit beyond int64",
            json!({"type": "string", "maxLength": u64::MAX}),
            Some(json!({"type": "string"})),
            "maxLength has a value",
        ),
        (
            "exclusive limit of today",
            json!({"type": "number", "exclusiveMinimum": 0.5}),
            Some(json!({"type": "number", "minimum": 0.5, "exclusiveMinimum": true})),
            "",
        ),
        (
            "default of another type",
            json!({"type": "string", "default": 1}),
            Some(json!({"type": "string"})),
            "default is of another type",
        ),
        (
            "list",
            json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}),
            Some(json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}})),
            "",
        ),
        (
            "list of anything",
            json!({"type": "array"}),
            Some(json!({"type": "array", "items": any})),
            "list without a schema",
        ),
        (
            "map list without its key",
            json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}),
            Some(json!({"type": "array", "items": {"type": "string"}})),
            "x-kubernetes-list-type does not fit",
        ),
        (
            "rules that nobody keeps",
            json!({"type": "string", "x-kubernetes-validations": [{"rule": "1"}]}),
            Some(json!({"type": "string"})),
            "x-kubernetes-validations",
        ),
    ];
    for (name, field, expected, warning) in cases {
        let expected = expected.unwrap_or_else(|| field.clone());
        let made = sanitise(&json!({"type": "object", "properties": {"f": field}}));
        assert_eq!(
            made.schema,
            json!({"type": "object", "properties": {"f": expected}}),
            "{name}"
        );
        let warned = made.warnings.first().map_or("", String::as_str);
        assert!(
            warned.contains(warning) && warned.is_empty() == warning.is_empty(),
            "{name}: {:?}",
            made.warnings
        );
        let again = sanitise(&made.schema);
        assert_eq!((again.schema, again.warnings), (made.schema, vec![]), "{name}");
    }
}

#[test]
fn the_root_is_an_object_without_the_hosts_fields() {
    let open = json!({ OPEN: true, "type": "object" });
    let cases = [
        (json!(true), open.clone(), 0),
        (json!("x"), open.clone(), 2),
        (json!({"type": "string"}), open, 1),
        (json!({"type": "object"}), json!({"type": "object"}), 0),
        (
            json!({"properties": {"kind": {"type": "string"}, "metadata": {"type": "object", "properties": {"a": {"type": "string"}}}, "a": {"type": "string"}}}),
            json!({"type": "object", "properties": {"a": {"type": "string"}}}),
            2,
        ),
    ];
    for (schema, expected, warnings) in cases {
        let made = sanitise(&schema);
        assert_eq!((made.schema, made.warnings.len()), (expected, warnings), "{schema}");
    }
}

#[test]
fn depth_size_and_warnings_are_bounded() {
    let deep = (0..120).fold(
        json!({"type": "string"}),
        |inner, _| json!({"type": "object", "properties": {"a": inner}}),
    );
    let chain = (0..120).fold(json!({"type": "string"}), |inner, _| json!({"allOf": [inner]}));
    let wide: Map<String, Value> = (0..10_000).map(|i| (format!("f{i}"), json!({"type": "string"}))).collect();
    let long = "ä".repeat(200_000);
    let texts: Map<String, Value> = (0..100)
        .map(|i| {
            (
                format!("f{i}"),
                json!({"type": "string", "description": long, "enum": [long]}),
            )
        })
        .collect();
    let wrong: Map<String, Value> = (0..100).map(|i| (format!("f{i}"), json!({"type": "float"}))).collect();
    for schema in [
        json!({"properties": {"a": deep}}),
        json!({"properties": {"a": chain}}),
        json!({"properties": wide}),
        json!({"properties": texts}),
        json!({"properties": wrong}),
    ] {
        let made = sanitise(&schema);
        let text = made.schema.to_string();
        assert!(
            text.len() < 2 * BYTES && !made.warnings.is_empty() && made.warnings.len() <= WARNINGS + 1,
            "{}",
            text.len()
        );
        assert_eq!(sanitise(&made.schema).schema, made.schema);
    }
}

#[test]
fn what_kube_apiserver_cannot_read_as_yaml_does_not_pass() {
    // Each was tried with kube-openapi's ToProtoBinary: "control characters are not allowed", "did not find expected ',' or '}'".
    let long = "k".repeat(1_100);
    let any = json!({ OPEN: true });
    for (name, field, expected) in [
        (
            "description",
            json!({"type": "string", "description": "a\u{7f}b\u{80}c\u{85}d\u{ffff}e\u{2028}f\u{1}😀"}),
            json!({"type": "string", "description": "abcdef\u{1}😀"}),
        ),
        (
            "pattern",
            json!({"type": "string", "pattern": "[\u{9f}]"}),
            json!({"type": "string"}),
        ),
        (
            "format",
            json!({"type": "string", "format": "\u{7f}"}),
            json!({"type": "string"}),
        ),
        (
            "default",
            json!({"type": "string", "default": "\u{7f}"}),
            json!({"type": "string"}),
        ),
        (
            "enum",
            json!({"type": "string", "enum": ["a", "\u{7f}"]}),
            json!({"type": "string"}),
        ),
        (
            "const",
            json!({"type": "string", "const": "\u{7f}"}),
            json!({"type": "string"}),
        ),
        (
            "more than 64 bits",
            json!({"type": "integer", "default": u64::MAX, "enum": [1, u64::MAX]}),
            json!({"type": "integer"}),
        ),
        (
            "half an alternative",
            json!({"type": "string", "oneOf": [{"const": "\u{7f}", "maxLength": 3}, {"const": "a"}]}),
            json!({"type": "string"}),
        ),
        (
            "a key within",
            json!({ OPEN: true, "default": {"a": {(long.clone()): 1}} }),
            any,
        ),
        (
            "field names",
            json!({"type": "object", "properties": {(long): {"type": "string"}, "\u{80}": {"type": "string"}, "a": {"type": "string"}}}),
            json!({"type": "object", OPEN: true, "properties": {"a": {"type": "string"}}}),
        ),
    ] {
        let made = sanitise(&json!({"type": "object", "properties": {"f": field}}));
        assert_eq!(made.schema["properties"]["f"], expected, "{name}");
        let again = sanitise(&made.schema);
        assert_eq!((again.schema, again.warnings), (made.schema, vec![]), "{name}");
    }
}
