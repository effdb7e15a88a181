//! What the table of upstream's answers does not have: how schemas are read, where the answer is another, and the bounds.

use serde_json::json;

use super::*;

fn read(spec: Value) -> Schema {
    Schema::read(&json!({"type": "object", "properties": {"spec": spec}})).unwrap()
}

fn judged(schema: &Schema, spec: &Value) -> Vec<String> {
    let causes = schema.validate(&json!({"apiVersion": "g/v1", "kind": "K", "metadata": {}, "spec": spec}));
    causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
}

#[test]
fn schemas_are_read_as_generators_write_them() {
    for (name, schema, good, bad) in [
        (
            "null among the types",
            json!({"type": ["string", "null"]}),
            vec![json!("x"), json!(null)],
            vec![json!(1)],
        ),
        (
            "null among the alternatives",
            json!({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "default": null}),
            vec![json!(1), json!(null)],
            vec![json!(0), json!("x")],
        ),
        (
            "an enumeration with null",
            json!({"anyOf": [{"$ref": "#/properties/spec/$defs/E"}, {"type": "null"}], "$defs": {"E": {"enum": ["a", "b"]}}}),
            vec![json!("a"), json!(null)],
            vec![json!("c"), json!(1)],
        ),
        (
            "described values",
            json!({"oneOf": [{"const": "a", "description": "A"}, {"type": "string", "enum": ["b", "c"]}]}),
            vec![json!("a"), json!("c")],
            vec![json!("d")],
        ),
        ("a constant", json!({"const": 5}), vec![json!(5)], vec![json!(6), json!("5")]),
        (
            "a reference with words beside it",
            json!({"$ref": "#/properties/spec/definitions/P", "description": "a port",
                "definitions": {"P": {"type": "integer", "format": "uint16", "minimum": 0, "maximum": 65535}}}),
            vec![json!(80)],
            vec![json!(70000), json!(-1)],
        ),
        (
            "one of all",
            json!({"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}]}),
            vec![json!({"a": "x"})],
            vec![json!({}), json!({"a": 1})],
        ),
        (
            "exclusive limits are numbers",
            json!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1.5, "maximum": 3}),
            vec![json!(1)],
            vec![json!(0), json!(1.5), json!(2)],
        ),
        (
            "alternatives of objects",
            json!({"oneOf": [
                {"type": "object", "properties": {"A": {"type": "object", "properties": {"n": {"type": "integer"}}}}, "required": ["A"],
                    "additionalProperties": false},
                {"type": "object", "properties": {"B": {"type": "string"}}, "required": ["B"], "additionalProperties": false}]}),
            vec![json!({"A": {"n": 1}}), json!({"B": "x"})],
            vec![json!({"A": {"n": "x"}}), json!({"A": {}, "B": "x"}), json!({}), json!("A")],
        ),
        (
            "anything",
            json!(true),
            vec![json!(1), json!({"a": null}), json!(null)],
            vec![],
        ),
        (
            "anything, too",
            json!({"description": "x"}),
            vec![json!([1]), json!(null)],
            vec![],
        ),
        (
            "any fields",
            json!({"type": "object", "additionalProperties": true}),
            vec![json!({"a": {"b": 1}})],
            vec![json!(1)],
        ),
        (
            "a tuple",
            json!({"type": "array", "prefixItems": [{"type": "string"}], "minItems": 1, "maxItems": 1}),
            vec![json!(["x"])],
            vec![json!([]), json!([1, 2])],
        ),
        (
            "letters of all scripts",
            json!({"type": "string", "pattern": "^\\p{Lu}\\p{Greek}$"}),
            vec![json!("Äω")],
            vec![json!("äω")],
        ),
        (
            "null in an enumeration",
            json!({"type": "string", "nullable": true, "enum": ["a", null]}),
            vec![json!("a"), json!(null)],
            vec![json!("b")],
        ),
        (
            "unique items",
            json!({"type": "array", "items": {}, "uniqueItems": true}),
            vec![json!([1, "1"])],
            vec![json!([{"a": 1, "b": 2}, {"b": 2, "a": 1}])],
        ),
        (
            "a list is no formatted text",
            json!({"type": "string", "format": "date"}),
            vec![json!("2026-11-21")],
            vec![json!([])],
        ),
        (
            "an integer against a limit with a fraction",
            json!({"type": "number", "maximum": 2.5, "multipleOf": 0.5}),
            vec![json!(2), json!(2.5)],
            vec![json!(3), json!(0.3)],
        ),
    ] {
        let schema = read(schema);
        for value in good {
            assert_eq!(judged(&schema, &value), Vec::<String>::new(), "{name}: {value}");
            let mut object = json!({"spec": value});
            assert_eq!(schema.prune(&mut object), Vec::<String>::new(), "{name}: {value}");
            schema.default(&mut object);
            assert_eq!(object["spec"], value, "{name}");
        }
        for value in bad {
            assert!(!judged(&schema, &value).is_empty(), "{name}: {value}");
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_a_sentence() {
    for (schema, want) in [
        (json!("x"), "the schema: a schema is an object"),
        (json!({"type": "string"}), "the schema: is not the schema of an object"),
        (json!({"properties": {"a": {"type": "text"}}}), r#"a: "text" is no type"#),
        (
            json!({"properties": {"a": {"pattern": "("}}}),
            r#"a: pattern "(" cannot be used: unclosed group"#,
        ),
        (
            json!({"properties": {"a": {"pattern": "(?=x)"}}}),
            "a: pattern \"(?=x)\" cannot be used: look-around",
        ),
        (
            json!({"properties": {"a": {"pattern": "(((\\pL{99}){99}){99}){99}"}}}),
            "a: pattern",
        ),
        (
            json!({"properties": {"a": {"minLength": -1}}}),
            "a: minLength is a number that is not negative",
        ),
        (
            json!({"properties": {"a": {"multipleOf": 0}}}),
            "a: multipleOf is a number above 0",
        ),
        (json!({"properties": {"a": {"minimum": true}}}), "a: minimum is a number"),
        (
            json!({"properties": {"a": {"$ref": "#/$defs/B"}}}),
            r##"a: $ref "#/$defs/B" leads nowhere"##,
        ),
        (
            json!({"properties": {"a": {"$ref": "http://x/y"}}}),
            r#"a: $ref "http://x/y" leads nowhere"#,
        ),
        (
            json!({"properties": {"a": {"type": "integer", "default": "x"}}}),
            "a: its default does not fit: <nil>: Invalid value: \"string\"",
        ),
        (
            json!({"properties": {"a": {"type": "object", "properties": {"b": {"type": "string", "maxLength": 1, "default": "xx"}}}}}),
            "a.b: its default",
        ),
        (
            json!({"properties": {"a": {"type": "array", "x-kubernetes-list-type": "map"}}}),
            "a: a list that is a map has x-kubernetes-list-map-keys",
        ),
        (
            json!({"properties": {"a": {"type": "string", "x-kubernetes-list-type": "set"}}}),
            "a: x-kubernetes-list-type is a list's",
        ),
        (
            json!({"properties": {"a": {"type": "array", "x-kubernetes-patch-strategy": "blend"}}}),
            "a: x-kubernetes-patch-strategy is of",
        ),
        (json!({"properties": {"a": {"anyOf": {}}}}), "a: anyOf is a list of schemas"),
        (json!({"properties": {"a": false}}), "a: false allows nothing"),
        (json!({"properties": [1]}), "the schema: properties is an object"),
        (json!({"required": "a"}), "the schema: required is a list of names"),
    ] {
        let why = Schema::read(&schema).unwrap_err();
        assert!(why.0[0].starts_with(want), "{schema}: {why}");
        assert!(why.0.iter().all(|one| !one.contains('\n')), "{why}");
    }
}

#[test]
fn what_nobody_is_held_to_is_noted() {
    let schema = read(
        json!({"type": "object", "properties": {"a": {"type": "object", "patternProperties": {"^x": {}}}, "kind": {}},
        "dependentRequired": {}}),
    );
    assert_eq!(
        schema.notes(),
        [
            r#"spec.a: nobody is held to keyword "patternProperties"; other fields are anything"#,
            r#"spec: nobody is held to keyword "dependentRequired""#,
        ]
    );
    let schema = Schema::read(&json!({"properties": {"kind": {"type": "string", "maxLength": 1}}})).unwrap();
    assert_eq!(
        schema.notes(),
        ["kind: is the host's; what the schema says of it is passed over"]
    );
    assert_eq!(schema.validate(&json!({"kind": "Long"})), []);
}

#[test]
fn a_schema_that_leads_back_to_itself_is_anything_there() {
    let schema = Schema::read(&json!({
        "properties": {"spec": {"$ref": "#/$defs/Tree"}},
        "$defs": {"Tree": {"type": "object", "properties": {"name": {"type": "string"}, "next": {"$ref": "#/$defs/Tree"}}}},
    }))
    .unwrap();
    let mut object = json!({"spec": {"name": "a", "odd": 1, "next": {"name": 1, "odd": 2}}});
    assert_eq!(schema.prune(&mut object), ["spec.odd"]);
    assert_eq!(schema.validate(&object), []);
}

#[test]
fn schemas_and_findings_are_bounded() {
    // Deeper than 24 levels is anything.
    let deep =
        |levels: usize, leaf: Value| (0..levels).fold(leaf, |inner, _| json!({"type": "object", "properties": {"a": inner}}));
    let object = (0..40).fold(json!({"a": 1}), |inner, _| json!({ "a": inner }));
    let schema = Schema::read(&deep(40, json!({"type": "string"}))).unwrap();
    assert_eq!(schema.validate(&object), []);
    assert_eq!(schema.notes().len(), 1, "{:?}", schema.notes());
    // References that multiply.
    let mut definitions = serde_json::Map::new();
    for i in 0..20 {
        let next = json!({"$ref": format!("#/$defs/d{}", i + 1)});
        definitions.insert(
            format!("d{i}"),
            json!({"type": "object", "properties": {"a": next, "b": next}}),
        );
    }
    definitions.insert("d20".into(), json!({"type": "string"}));
    let why = Schema::read(&json!({"properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": definitions})).unwrap_err();
    assert_eq!(why.0, ["the schema: is larger than 16384 schemas"]);
    // The same values over and over, and a long way to them.
    let fields: serde_json::Map<String, Value> = (0..1_000).map(|i| (format!("f{i}"), json!({"$ref": "#/$defs/e"}))).collect();
    let why = Schema::read(&json!({"properties": fields, "$defs": {"e": {"enum": ["x".repeat(10_000)]}}})).unwrap_err();
    assert_eq!(why.0, ["the schema: says more than 4194304 bytes"]);
    let way: serde_json::Map<String, Value> = (0..100)
        .map(|i| (format!("d{i}"), json!({"$ref": format!("#/$defs/d{}", i + 1)})))
        .collect();
    let why = Schema::read(&json!({"properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": way})).unwrap_err();
    assert_eq!(why.0, ["a: lies behind more than 64 references"]);
    // Many unknown fields, many causes.
    let schema = read(json!({"type": "object", "properties": {"l": {"type": "array", "items": {"type": "integer"}}}}));
    let many: serde_json::Map<String, Value> = (0..1_000).map(|i| (format!("f{i}"), json!(1))).collect();
    assert_eq!(schema.prune(&mut json!({ "spec": many })).len(), 100);
    assert_eq!(judged(&schema, &json!({"l": vec!["x"; 1_000]})).len(), 256);
}

#[test]
fn what_was_wrong_before_may_stay() {
    let short = || json!({"type": "string", "maxLength": 1});
    let schema = read(json!({"type": "object", "required": ["need"], "properties": {
        "a": short(), "b": short(),
        "o": {"type": "object", "properties": {"a": short(), "b": short()}, "required": ["c"]},
        "set": {"type": "array", "items": short(), "x-kubernetes-list-type": "set"},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": short()}}},
    }}));
    for (name, old, new, want) in [
        ("as it was", json!({"a": "long"}), json!({"a": "long", "need": 1}), vec![]),
        ("all as it was", json!({"a": "long"}), json!({"a": "long"}), vec![]),
        (
            "another",
            json!({"a": "long"}),
            json!({"a": "longer", "need": 1}),
            vec!["spec.a"],
        ),
        (
            "beside another",
            json!({"a": "long"}),
            json!({"a": "long", "b": "long", "need": 1}),
            vec!["spec.b"],
        ),
        (
            "what is missing in what is new",
            json!({"a": "x"}),
            json!({"a": "y"}),
            vec!["spec.need"],
        ),
        (
            "inside",
            json!({"o": {"a": "long"}}),
            json!({"o": {"a": "long", "b": "x"}, "need": 1}),
            vec!["spec.o.c"],
        ),
        (
            "a set that was one",
            json!({"set": ["a"]}),
            json!({"set": ["a", "a"], "need": 1}),
            vec!["spec.set[1]"],
        ),
        (
            "a set that was none",
            json!({"set": ["a", "a"]}),
            json!({"set": ["a", "a", "b"], "need": 1}),
            vec![],
        ),
        (
            "an item that moved",
            json!({"map": [{"k": "a", "v": "long"}]}),
            json!({"map": [{"k": "b", "v": "long"}, {"k": "a", "v": "long"}], "need": 1}),
            vec!["spec.map[0].v"],
        ),
        (
            "items of a set are not found again",
            json!({"set": ["long"]}),
            json!({"set": ["long", "b"], "need": 1}),
            vec!["spec.set[0]"],
        ),
    ] {
        let (old, new) = (json!({ "spec": old }), json!({ "spec": new }));
        let causes = schema.validate_update(&new, &old);
        assert_eq!(
            causes.iter().map(|c| c.field.as_str()).collect::<Vec<_>>(),
            want,
            "{name}: {causes:?}"
        );
    }
}

#[test]
fn a_default_is_complete() {
    let schema = read(json!({"type": "object", "default": {"odd": 1}, "properties": {"a": {"type": "string", "default": "x"}}}));
    let mut object = json!({});
    schema.default(&mut object);
    assert_eq!(object, json!({"spec": {"a": "x"}}));
}

#[test]
fn what_is_the_hosts_is_never_touched() {
    let schema = Schema::read(
        &json!({"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "string",
        "default": "x"}}}}),
    )
    .unwrap();
    let whole = json!({"apiVersion": 1, "kind": ["K"], "metadata": {"name": null, "b": 1}});
    let mut object = whole.clone();
    assert_eq!(schema.prune(&mut object), Vec::<String>::new());
    schema.default(&mut object);
    assert_eq!(object, whole);
    assert_eq!(schema.validate(&object), []);
}
