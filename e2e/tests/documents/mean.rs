//! Schemas that nobody should write: made by chance, from a seed, of whatever JSON Schema has words for and some things it has not.

use outrigger_api::discovery::{ServedGroup, ServedResource, ServedVersion};
use outrigger_api::manifest::{Backing, Resource, Scope};
use serde_json::{Map, Value, json};

/// A few groups with resources of every kind.
pub(crate) fn groups(seed: u64) -> Vec<ServedGroup> {
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let names = ["", "harbor.example.com", "x.k8s.io"];
    names
        .iter()
        .map(|name| ServedGroup {
            name: (*name).to_owned(),
            versions: ["v1", "v1beta1"]
                .iter()
                .map(|version| ServedVersion {
                    version: (*version).to_owned(),
                    resources: (0..4).map(|i| resource(&mut chance, name, version, i)).collect(),
                })
                .collect(),
        })
        .collect()
}

fn resource(chance: &mut Chance, group: &str, version: &str, i: usize) -> ServedResource {
    let all = [
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "update",
        "watch",
    ];
    let verbs = all.into_iter().filter(|_| chance.of(2) == 0).map(str::to_owned).collect();
    let schema = chance.schema(0);
    ServedResource {
        resource: Resource {
            deprecated: Vec::new(),
            group: group.into(),
            versions: vec![version.into()],
            plural: format!("things{i}"),
            singular: if chance.of(2) == 0 { String::new() } else { "thing".into() },
            kind: format!("Thing{i}"),
            scope: if chance.of(2) == 0 {
                Scope::Cluster
            } else {
                Scope::Namespaced
            },
            short_names: if chance.of(2) == 0 { vec![] } else { vec!["th".into()] },
            categories: if chance.of(2) == 0 { vec![] } else { vec!["all".into()] },
            description: chance.text(),
            backing: Backing::Table { shadow: None },
            columns: vec![],
            schemas: std::collections::BTreeMap::new(),
            schema: (chance.of(8) > 0)
                .then(|| json!({ "type": "object", "properties": { "spec": schema, "status": chance.schema(0) } })),
            protobuf: chance.of(2) == 0,
            subresources: Vec::new(),
        },
        verbs,
    }
}

/// xorshift64*: the same seed, the same schemas, on every machine.
struct Chance(u64);

// === impl Chance ===

impl Chance {
    fn of(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        let at = self.of(of.len() as u64);
        of[usize::try_from(at).unwrap_or(0)]
    }

    fn text(&mut self) -> String {
        let parts = [
            "a",
            "ships",
            "",
            " ",
            "\n",
            "\t",
            "\"",
            "\\",
            "'",
            "{",
            "}",
            ":",
            "- ",
            "#",
            "<<",
            "&a",
            "*a",
            "!!int",
            "null",
            "true",
            "1",
            "1e3",
            "0x1",
            "2020-01-01",
            "é",
            "😀",
            "<>&",
            "\u{7f}",
            "\u{80}",
            "\u{85}",
            "\u{a0}",
            "\u{2028}",
            "\u{feff}",
            "\u{fffe}",
            "\u{ffff}",
            "\u{1}",
            "x-",
            "$ref",
            "~",
            "%",
            "@",
            "`",
        ];
        let long = self.of(40) == 0;
        let count = if long { 700 } else { self.of(5) };
        (0..count).map(|_| self.one(&parts).to_owned()).collect()
    }

    fn value(&mut self, depth: u32) -> Value {
        match self.of(if depth > 3 { 6 } else { 8 }) {
            0 => Value::Null,
            1 => (self.of(2) == 0).into(),
            2 => json!(self.of(1 << 40)),
            3 => json!(-0.5 * self.of(1000) as f64),
            4 => json!(u64::MAX),
            5 => self.text().into(),
            6 => (0..self.of(3)).map(|_| self.value(depth + 1)).collect(),
            _ => (0..self.of(3))
                .map(|_| (self.text(), self.value(depth + 1)))
                .collect::<Map<_, _>>()
                .into(),
        }
    }

    fn schema(&mut self, depth: u32) -> Value {
        if self.of(12) == 0 {
            return self.value(2);
        }
        let mut out = Map::new();
        let types = ["object", "array", "string", "integer", "number", "boolean", "null", "file"];
        match self.of(6) {
            0 => {}
            1 => {
                out.insert("type".into(), json!([self.one(&types), self.one(&types)]));
            }
            _ => {
                let name = if depth < 3 { self.one(&types[..4]) } else { self.one(&types) };
                out.insert("type".into(), name.into());
            }
        }
        for _ in 0..self.of(5) {
            let (key, value) = self.keyword(depth);
            out.insert(key, value);
        }
        if depth < 5 {
            if self.of(2) == 0 {
                let fields: Map<_, _> = (0..self.of(4)).map(|_| (self.text(), self.schema(depth + 1))).collect();
                out.insert("properties".into(), fields.into());
            }
            for key in ["items", "additionalProperties"] {
                if self.of(3) == 0 {
                    let inner = if self.of(5) == 0 {
                        true.into()
                    } else {
                        self.schema(depth + 1)
                    };
                    out.insert(key.into(), inner);
                }
            }
            for key in ["allOf", "anyOf", "oneOf"] {
                if self.of(8) == 0 {
                    out.insert(key.into(), (0..self.of(3)).map(|_| self.schema(depth + 2)).collect());
                }
            }
            if self.of(10) == 0 {
                out.insert("not".into(), self.schema(depth + 2));
            }
        }
        out.into()
    }

    fn keyword(&mut self, depth: u32) -> (String, Value) {
        let keys = [
            "description",
            "title",
            "format",
            "default",
            "enum",
            "const",
            "pattern",
            "minimum",
            "maximum",
            "exclusiveMinimum",
            "exclusiveMaximum",
            "multipleOf",
            "maxLength",
            "minLength",
            "maxItems",
            "minItems",
            "maxProperties",
            "minProperties",
            "uniqueItems",
            "required",
            "nullable",
            "readOnly",
            "discriminator",
            "xml",
            "example",
            "externalDocs",
            "x-kubernetes-int-or-string",
            "x-kubernetes-preserve-unknown-fields",
            "x-kubernetes-list-type",
            "x-kubernetes-list-map-keys",
            "x-kubernetes-map-type",
            "x-anything",
            "$ref",
            "$schema",
            "unheard",
        ];
        let key = self.one(&keys);
        let value = match (self.of(4), key) {
            (0, _) => self.value(depth),
            (_, "description" | "title" | "pattern") => self.text().into(),
            (_, "format") => self.one(&["date-time", "int64", "quantity", "byte", "double"]).into(),
            (_, "enum") => (0..self.of(3)).map(|_| self.value(2)).collect(),
            (_, "minimum" | "maximum" | "multipleOf") => json!(self.of(100) as f64 / 3.0),
            (_, "exclusiveMinimum" | "exclusiveMaximum") => {
                if self.of(2) == 0 {
                    true.into()
                } else {
                    json!(self.of(9))
                }
            }
            (_, "required" | "x-kubernetes-list-map-keys") => (0..self.of(3)).map(|_| Value::from(self.text())).collect(),
            (_, "x-kubernetes-list-type") => self.one(&["atomic", "set", "map"]).into(),
            (_, "x-kubernetes-map-type") => self.one(&["atomic", "granular"]).into(),
            (_, key) if key.starts_with("max") || key.starts_with("min") => json!(self.of(1 << 20)),
            _ => true.into(),
        };
        (key.to_owned(), value)
    }
}
