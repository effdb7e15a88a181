//! Schemas of plugins: what is published is structural, small, the same when it is sanitised again, and fits gnostic's messages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger_api::discovery::{ServedGroup, ServedResource, ServedVersion};
use outrigger_api::manifest::{Backing, Resource, Scope};
use outrigger_api::openapi::{self, About, Specification, sanitise};
use serde_json::Value;

const ABOUT: About<'_> = About {
    title: "Outrigger",
    version: "v0",
};

fuzz_target!(|bytes: &[u8]| {
    let Ok(schema) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let made = sanitise(&schema);
    let again = sanitise(&made.schema);
    assert_eq!(again.schema, made.schema);
    assert_eq!(again.warnings, Vec::<String>::new(), "of {}", made.schema);
    let resource = Resource {
        group: "fuzz.example.com".into(),
        versions: vec!["v1".into()],
        plural: "things".into(),
        singular: "thing".into(),
        kind: "Thing".into(),
        scope: Scope::Namespaced,
        short_names: vec![],
        categories: vec![],
        description: String::from_utf8_lossy(bytes).into_owned(),
        backing: Backing::Table { shadow: None },
        columns: vec![],
        schema: Some(schema),
        deprecated: vec![],
        protobuf: false,
        subresources: vec![],
    };
    let groups = [ServedGroup {
        name: "fuzz.example.com".into(),
        versions: vec![ServedVersion {
            version: "v1".into(),
            resources: vec![ServedResource {
                resource,
                verbs: vec!["get".into(), "patch".into()],
            }],
        }],
    }];
    let v2 = openapi::v2(&groups, ABOUT);
    assert_eq!(Specification::V2.unnamed(&v2), None);
    readable(&v2);
    for document in openapi::v3(&groups, ABOUT) {
        let v3: Value = serde_json::from_slice(&document.json).unwrap();
        assert_eq!(Specification::V3.unnamed(&v3), None);
        readable(&v3);
    }
});

/// kube-apiserver reads the merged document as YAML.
fn readable(value: &Value) {
    let text = |text: &str| {
        let refused = |c: char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}');
        assert!(!text.contains(refused), "{text:?}");
    };
    match value {
        Value::String(one) => text(one),
        Value::Array(all) => all.iter().for_each(readable),
        Value::Object(map) => {
            for (key, value) in map {
                text(key);
                assert!(serde_json::to_string(key).unwrap().len() < 1_024, "{key:?}");
                assert!(key != "additionalProperties" || !value.is_boolean());
                readable(value);
            }
        }
        _ => {}
    }
}
