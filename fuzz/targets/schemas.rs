//! Any schema at work on any document: nothing panics, what was pruned or filled in twice is the same as once, defaults are what the schema itself
//! takes, and what is told of it is bounded.
//!
//! The input is a schema, a line break, and a document; without a line break a document for a schema that has a bit of everything.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use outrigger_api::schema::Schema;
use serde_json::{Value, json};

fn everything() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let schema = json!({"type": "object", "required": ["spec"], "properties": {"spec": {"type": "object", "properties": {
            "s": {"type": "string", "minLength": 1, "maxLength": 5, "pattern": "^[a-z]+$", "default": "x"},
            "i": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 9, "multipleOf": 3},
            "n": {"type": "number", "exclusiveMinimum": true, "minimum": 0.5, "nullable": true},
            "e": {"enum": ["a", "b"], "type": "string"},
            "date": {"type": "string", "format": "date-time"}, "dur": {"type": "string", "format": "duration"},
            "uri": {"type": "string", "format": "uri"}, "mail": {"type": "string", "format": "email"},
            "host": {"type": "string", "format": "hostname"}, "cidr": {"type": "string", "format": "cidr"},
            "mac": {"type": "string", "format": "mac"}, "uuid": {"type": "string", "format": "uuid4"},
            "isbn": {"type": "string", "format": "isbn"}, "card": {"type": "string", "format": "creditcard"},
            "rgb": {"type": "string", "format": "rgbcolor"}, "byte": {"type": "string", "format": "byte"},
            "l": {"type": "array", "items": {"type": "string", "default": "d"}, "x-kubernetes-list-type": "set", "maxItems": 3},
            "m": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string", "default": "k"}}}},
            "o": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "boolean", "default": true}}}},
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {"type": "object"}}},
            "t": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
            "p": {"x-kubernetes-int-or-string": true},
            "alt": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "oneOf": [{"required": ["a"]},
                {"required": ["b"]}], "not": {"required": ["a", "b"]}},
        }}}});
        Schema::read(&schema).expect("it is a schema")
    })
}

fuzz_target!(|text: &str| {
    let made;
    let (schema, document) = match text.split_once('\n') {
        Some((schema, document)) => {
            let Ok(value) = serde_json::from_str::<Value>(schema) else {
                return;
            };
            match Schema::read(&value) {
                Ok(schema) => {
                    made = schema;
                    (&made, document)
                }
                Err(why) => {
                    assert!(!why.0.is_empty() && why.0.len() <= 51, "{why}");
                    return;
                }
            }
        }
        None => (everything(), text),
    };
    let Ok(document) = serde_json::from_str::<Value>(document) else {
        return;
    };
    for whole in [document.clone(), json!({"metadata": {"name": "x"}, "spec": document})] {
        let mut object = whole.clone();
        let found = schema.prune(&mut object);
        assert!(found.len() <= 100);
        let mut again = object.clone();
        assert_eq!(schema.prune(&mut again), Vec::<String>::new(), "pruned twice");
        assert_eq!(again, object);
        schema.default(&mut object);
        let mut again = object.clone();
        schema.default(&mut again);
        assert_eq!(again, object, "filled in twice");
        assert_eq!(schema.prune(&mut again), Vec::<String>::new(), "what was filled in is known");
        let causes = schema.validate(&object);
        assert!(causes.len() <= 256);
        for cause in &causes {
            assert!(
                cause.reason.starts_with("FieldValue") && !cause.message.is_empty() && !cause.field.is_empty(),
                "{cause:?}"
            );
        }
        assert_eq!(schema.validate(&object), causes);
        let old = if whole.is_object() { whole } else { json!({}) };
        assert!(schema.validate_update(&object, &old).len() <= 256);
        // What is the host's stays.
        for key in ["apiVersion", "kind", "metadata"] {
            assert_eq!(object.get(key), old.get(key).filter(|_| object.is_object()), "{key}");
        }
    }
});
