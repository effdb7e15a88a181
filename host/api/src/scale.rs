//! `autoscaling/v1 Scale`: how many of it there are, for whatever counts replicas (apiextensions `registry/customresource/etcd.go`).
//!
//! `kubectl scale` and the HorizontalPodAutoscaler know nothing of a resource but its `scale` subresource. It is made of three places of the object, each a
//! simple path such as `.spec.replicas`, and an update writes the first of them back.

use serde_json::{Map, Value, json};

use crate::field;
use crate::object::Object;
use crate::object_rules::update;
use crate::quote::Quoted;
use crate::status::{Cause, Status};

/// Where an object's replicas stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    spec_replicas: Path,
    status_replicas: Path,
    label_selector: Option<Path>,
}

/// Not a path that a scale can be made by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {path:?}, not a simple path under {under} such as \"{under}.replicas\"")]
pub struct NotAPath {
    name: &'static str,
    path: String,
    under: &'static str,
}

/// Whose scale it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Of<'a> {
    /// API group.
    pub group: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// Plural.
    pub resource: &'a str,
}

/// Why an object has no scale.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoScale {
    /// Something on the way, or at its end, has another type.
    #[error("{path} accessor error: {value} is of the type {found}, expected {wanted}")]
    Type {
        /// As upstream names it, with dots in front.
        path: String,
        /// The value that is in the way, as Go prints it.
        value: String,
        /// Its Go type.
        found: &'static str,
        /// The Go type that it should have.
        wanted: &'static str,
    },
    /// The object does not say how many of it there should be.
    #[error("the spec replicas field {} does not exist", Quoted(.0))]
    Unset(String),
}

/// A dotted path, with its own spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Path {
    text: String,
    fields: Vec<String>,
}

/// What upstream puts where an object does not say how many.
const UNSET: i64 = i32::MIN as i64;

// === impl Paths ===

impl Paths {
    /// Reads `specReplicasPath`, `statusReplicasPath` and `labelSelectorPath`: under `.spec`, `.status`, and either (apiextensions'
    /// validation of a CustomResourceDefinition).
    ///
    /// # Errors
    /// [`NotAPath`].
    pub fn read(spec_replicas: &str, status_replicas: &str, label_selector: Option<&str>) -> Result<Self, NotAPath> {
        let selector = |text: &str| {
            let under = if text.starts_with(".spec") { ".spec" } else { ".status" };
            Path::read("labelSelectorPath", text, under)
        };
        Ok(Self {
            spec_replicas: Path::read("specReplicasPath", spec_replicas, ".spec")?,
            status_replicas: Path::read("statusReplicasPath", status_replicas, ".status")?,
            label_selector: label_selector.filter(|text| !text.is_empty()).map(selector).transpose()?,
        })
    }

    /// The Scale of an object. What the status does not say is 0 or empty.
    ///
    /// # Errors
    /// [`NoScale`]; 500 to a client, since the object is at fault.
    pub fn scale(&self, object: &Value) -> Result<Value, NoScale> {
        let scale = self.scale_of(object)?;
        let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64);
        if replicas == Some(UNSET) {
            return Err(NoScale::Unset(self.spec_replicas.text.clone()));
        }
        Ok(scale)
    }

    /// The Scale that a patch is applied to: of an object that does not say how many, the number is one that no client can mean.
    ///
    /// # Errors
    /// [`NoScale::Type`].
    pub fn scale_of(&self, object: &Value) -> Result<Value, NoScale> {
        let spec = self.spec_replicas.integer(object)?.unwrap_or(UNSET);
        let status = self.status_replicas.integer(object)?.unwrap_or_default();
        let mut metadata = Map::new();
        for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
            if let Some(value) = object.get("metadata").and_then(|metadata| metadata.get(key)) {
                metadata.insert(key.to_owned(), value.clone());
            }
        }
        let (mut wanted, mut there) = (Map::new(), Map::new());
        // Go leaves a 0 out of the spec and writes it into the status. Validation lets nothing in that does not fit.
        if spec != 0 {
            wanted.insert("replicas".to_owned(), within(spec).into());
        }
        there.insert("replicas".to_owned(), within(status).into());
        if let Some(selector) = &self.label_selector
            && let Some(text) = selector.text(object)?.filter(|text| !text.is_empty())
        {
            there.insert("selector".to_owned(), text.into());
        }
        Ok(json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": wanted, "status": there}))
    }

    /// Writes a Scale back: how many there should be, and the version that its writer insists on, if any.
    ///
    /// # Errors
    /// 400 if the Scale does not say how many; 409 if it is of another object; 422, of the object, if there cannot be so many; 500 if the object
    /// has something else in the place.
    pub fn write(&self, scale: &Scale, object: &mut Value, of: Of<'_>) -> Result<(), Status> {
        if i64::from(scale.replicas) == UNSET {
            let path = Quoted(&self.spec_replicas.text);
            return Err(Status::bad_request(format!("the spec replicas field {path} cannot be empty")));
        }
        let text = |key: &str| {
            let value = object.get("metadata").and_then(|metadata| metadata.get(key));
            value.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let (name, uid) = (text("name"), text("uid"));
        if !scale.uid.is_empty() && scale.uid != uid {
            let why = format!(
                "Precondition failed: UID in precondition: {}, UID in object meta: {uid}",
                scale.uid
            );
            return Err(Status::conflict(of.group, of.resource, &name, why));
        }
        self.spec_replicas
            .set(object, scale.replicas.into())
            .map_err(Status::internal_error)?;
        if !scale.version.is_empty()
            && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
        {
            metadata.insert("resourceVersion".to_owned(), scale.version.as_str().into());
        }
        match self.validate(object) {
            causes if causes.is_empty() => Ok(()),
            causes => Err(Status::invalid(of.group, of.kind, &name, causes)),
        }
    }

    /// What is wrong with the numbers of an object, whoever wrote them: to be asked of every write of a resource that scales.
    #[must_use]
    pub fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        for path in [&self.spec_replicas, &self.status_replicas] {
            match path.integer(object) {
                Err(why) => causes.push(field::invalid(&path.text, &json!(0), &why.to_string())),
                Ok(Some(number)) if number < 0 => {
                    causes.push(field::invalid(&path.text, &number.into(), "should be a non-negative integer"));
                }
                Ok(Some(number)) if number > i64::from(i32::MAX) => {
                    let why = format!("should be less than or equal to {}", i32::MAX);
                    causes.push(field::invalid(&path.text, &number.into(), &why));
                }
                Ok(_) => {}
            }
        }
        if let Some(selector) = &self.label_selector
            && let Err(why) = selector.text(object)
        {
            causes.push(field::invalid(&selector.text, &json!(""), &why.to_string()));
        }
        causes
    }
}

/// A Scale that a client wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scale {
    /// `spec.replicas`; 0 if it does not say.
    pub replicas: i32,
    /// `metadata.resourceVersion`; empty for any.
    pub version: String,
    /// `metadata.uid`; empty for any.
    pub uid: String,
}

// === impl Scale ===

impl Scale {
    /// Reads a Scale from a body, for the object of this name and namespace.
    ///
    /// # Errors
    /// 400 for another type or object, and for what has the wrong types.
    pub fn read(body: &Value, name: &str, namespace: &str) -> Result<Self, Status> {
        let malformed = |why: String| Status::bad_request(format!("Scale in version \"v1\" cannot be handled as a Scale: {why}"));
        let object = Object::of(body).map_err(|why| malformed(why.to_string()))?;
        if (object.api_version.as_str(), object.kind.as_str()) != ("autoscaling/v1", "Scale") {
            let (version, kind) = (&object.api_version, &object.kind);
            return Err(Status::bad_request(format!(
                "the API version in the data ({version}, Kind={kind}) does not match the expected API version (autoscaling/v1, Kind=Scale)"
            )));
        }
        if object.name().is_empty() {
            return Err(Status::bad_request(format!(
                "the name of the object ({name} based on URL) was undeterminable: name must be provided"
            )));
        }
        if object.name() != name {
            return Err(Status::bad_request(format!(
                "the name of the object ({}) does not match the name on the URL ({name})",
                object.name()
            )));
        }
        if !namespace.is_empty() && !object.namespace().is_empty() && object.namespace() != namespace {
            return Err(Status::bad_request(format!(
                "the namespace of the object ({}) does not match the namespace on the request ({namespace})",
                object.namespace()
            )));
        }
        let spec = body.get("spec").filter(|spec| !spec.is_null());
        if spec.is_some_and(|spec| !spec.is_object()) {
            return Err(malformed("spec: it is not an object".to_owned()));
        }
        let replicas = spec.and_then(|spec| spec.get("replicas")).filter(|value| !value.is_null());
        let replicas = match replicas.map(|value| value.as_i64().and_then(|number| i32::try_from(number).ok())) {
            None => 0,
            Some(Some(number)) => number,
            Some(None) => return Err(malformed("spec.replicas: it is not an integer of 32 bits".to_owned())),
        };
        Ok(Self {
            replicas,
            version: object.version().to_owned(),
            uid: object.text("uid").to_owned(),
        })
    }
}

/// Counts the generation of an object whose scale was written, if that changed how many there should be.
pub fn count_generation(object: &mut Object, old: &Object) {
    if object.fields != old.fields {
        update::next_generation(object, old);
    }
}

// === impl Path ===

impl Path {
    fn read(name: &'static str, text: &str, under: &'static str) -> Result<Self, NotAPath> {
        let fields: Vec<String> = text.trim_start_matches('.').split('.').map(str::to_owned).collect();
        let plain = |field: &String| !field.is_empty() && !field.contains(['[', ']', '*', '{', '}', '\'', '"', ' ']);
        let below = text.strip_prefix(under).is_some_and(|rest| rest.starts_with('.'));
        if below && fields.iter().all(plain) {
            return Ok(Self {
                text: text.to_owned(),
                fields,
            });
        }
        Err(NotAPath {
            name,
            path: text.to_owned(),
            under,
        })
    }

    fn get<'a>(&self, object: &'a Value) -> Result<Option<&'a Value>, NoScale> {
        let mut value = object;
        for (i, field) in self.fields.iter().enumerate() {
            let Value::Object(members) = value else {
                // Upstream looks through null as through nothing.
                return if value.is_null() {
                    Ok(None)
                } else {
                    Err(self.mistyped(i + 1, value, "map[string]interface{}"))
                };
            };
            match members.get(field) {
                Some(below) => value = below,
                None => return Ok(None),
            }
        }
        Ok(Some(value))
    }

    fn integer(&self, object: &Value) -> Result<Option<i64>, NoScale> {
        match self.get(object)? {
            None => Ok(None),
            Some(value) => value
                .as_i64()
                .map(Some)
                .ok_or_else(|| self.mistyped(self.fields.len(), value, "int64")),
        }
    }

    fn text<'a>(&self, object: &'a Value) -> Result<Option<&'a str>, NoScale> {
        match self.get(object)? {
            None => Ok(None),
            Some(value) => value
                .as_str()
                .map(Some)
                .ok_or_else(|| self.mistyped(self.fields.len(), value, "string")),
        }
    }

    /// Makes the objects on the way that are not there.
    fn set(&self, object: &mut Value, number: i64) -> Result<(), NoScale> {
        let Some((last, way)) = self.fields.split_last() else {
            return Ok(());
        };
        let mut value = object;
        for (i, field) in way.iter().enumerate() {
            if !value.is_object() {
                return Err(self.mistyped(i, value, "map[string]interface{}"));
            }
            value = value
                .as_object_mut()
                .map(|members| members.entry(field.as_str()).or_insert_with(|| json!({})))
                .ok_or_else(|| NoScale::Unset(self.text.clone()))?;
        }
        match value {
            Value::Object(members) => {
                members.insert(last.clone(), number.into());
                Ok(())
            }
            other => Err(self.mistyped(way.len(), other, "map[string]interface{}")),
        }
    }

    fn mistyped(&self, fields: usize, value: &Value, wanted: &'static str) -> NoScale {
        let way = self.fields.get(..fields).unwrap_or_default();
        NoScale::Type {
            path: format!(".{}", way.join(".")),
            value: match value {
                Value::String(text) => text.clone(),
                value => field::go_json(value),
            },
            found: match value {
                Value::Null => "<nil>",
                Value::Bool(_) => "bool",
                Value::Number(number) if number.is_i64() => "int64",
                Value::Number(_) => "float64",
                Value::String(_) => "string",
                Value::Array(_) => "[]interface {}",
                Value::Object(_) => "map[string]interface {}",
            },
            wanted,
        }
    }
}

/// What fits into 32 bits.
fn within(number: i64) -> i64 {
    number.clamp(i32::MIN.into(), i32::MAX.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF: Of<'_> = Of {
        group: "g",
        kind: "K",
        resource: "things",
    };

    fn paths() -> Paths {
        Paths::read(".spec.replicas", ".status.ready.count", Some(".status.selector")).unwrap()
    }

    fn object(spec: &Value, status: &Value) -> Value {
        json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7",
            "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 3, "labels": {"a": "b"}}, "spec": spec, "status": status})
    }

    #[test]
    fn paths_are_simple() {
        for (spec, status, selector, fits) in [
            (".spec.replicas", ".status.replicas", None, true),
            (".spec.a.b", ".status.a.b", Some(".spec.selector"), true),
            (".spec.a", ".status.a", Some(""), true),
            (".spec", ".status.a", None, false),
            ("spec.a", ".status.a", None, false),
            (".status.a", ".status.a", None, false),
            (".spec.a[0]", ".status.a", None, false),
            (".spec.a", ".spec.a", None, false),
            (".spec.a", ".status..a", None, false),
            (".spec.a", ".status.a", Some(".metadata.a"), false),
            (".special.a", ".status.a", None, false),
        ] {
            let got = Paths::read(spec, status, selector);
            assert_eq!(got.is_ok(), fits, "{spec} {status} {selector:?}: {got:?}");
        }
    }

    #[test]
    fn a_scale_is_made_of_an_object() {
        for (spec, status, want) in [
            (
                json!({"replicas": 3}),
                json!({"ready": {"count": 2}, "selector": "a=b"}),
                Ok(json!([3, 2, "a=b"])),
            ),
            (json!({"replicas": 3}), json!({}), Ok(json!([3, 0, null]))),
            (json!({"replicas": 0}), json!({"selector": ""}), Ok(json!([null, 0, null]))),
            (
                json!({}),
                json!({}),
                Err(r#"the spec replicas field ".spec.replicas" does not exist"#),
            ),
            (
                json!({"replicas": "x"}),
                json!({}),
                Err(".spec.replicas accessor error: x is of the type string, expected int64"),
            ),
            (
                json!({"replicas": 1}),
                json!({"ready": 5}),
                Err(".status.ready.count accessor error: 5 is of the type int64, expected map[string]interface{}"),
            ),
        ] {
            let got = paths().scale(&object(&spec, &status));
            let short = got.clone().map(|scale| {
                json!([
                    scale["spec"]["replicas"],
                    scale["status"]["replicas"],
                    scale["status"]["selector"]
                ])
            });
            assert_eq!(
                short.map_err(|why| why.to_string()),
                want.map_err(str::to_owned),
                "{spec} {status}"
            );
            if let Ok(scale) = got {
                assert_eq!(
                    scale["metadata"],
                    json!({"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z"})
                );
            }
        }
    }

    #[test]
    fn a_scale_is_read_and_written_back() {
        let body = |over: Value| {
            let mut body = json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "a", "namespace": "n"},
                "spec": {"replicas": 5}});
            json_patch::merge(&mut body, &over);
            body
        };
        for (name, over, want) in [
            ("as it should be", json!({}), Ok(5)),
            ("nothing said", json!({"spec": null}), Ok(0)),
            ("another type", json!({"kind": "Scales"}), Err(400)),
            ("another name", json!({"metadata": {"name": "b"}}), Err(400)),
            ("no name", json!({"metadata": {"name": null}}), Err(400)),
            ("another namespace", json!({"metadata": {"namespace": "m"}}), Err(400)),
            ("no namespace", json!({"metadata": {"namespace": null}}), Ok(5)),
            ("below zero", json!({"spec": {"replicas": -1}}), Err(422)),
            ("a text", json!({"spec": {"replicas": "5"}}), Err(400)),
            ("too many", json!({"spec": {"replicas": 2_147_483_648_i64}}), Err(400)),
            ("none that was read", json!({"spec": {"replicas": UNSET}}), Err(400)),
            ("another object", json!({"metadata": {"uid": "v"}}), Err(409)),
            (
                "the same object",
                json!({"metadata": {"uid": "u", "resourceVersion": "6"}}),
                Ok(5),
            ),
        ] {
            let mut kept = object(&json!({"other": true}), &json!({}));
            let outcome = Scale::read(&body(over.clone()), "a", "n")
                .and_then(|scale| paths().write(&scale, &mut kept, OF).map(|()| scale.version));
            assert_eq!(
                outcome
                    .as_ref()
                    .map(|_| kept["spec"]["replicas"].as_i64().unwrap())
                    .map_err(|status| status.code),
                want,
                "{name}: {outcome:?}"
            );
            if let Ok(version) = outcome {
                let wanted = if version.is_empty() { "7" } else { "6" };
                assert_eq!(kept["metadata"]["resourceVersion"], wanted, "{name}");
                assert_eq!(kept["spec"]["other"], true);
            }
        }
        let below = Scale::read(&body(json!({"spec": {"replicas": -1}})), "a", "n").unwrap();
        let refused = paths().write(&below, &mut object(&json!({}), &json!({})), OF).unwrap_err();
        assert_eq!(
            refused.message,
            r#"K.g "a" is invalid: .spec.replicas: Invalid value: -1: should be a non-negative integer"#
        );
    }

    #[test]
    fn numbers_are_judged_whoever_writes_them() {
        let sentences = |spec: Value, status: Value| -> Vec<String> {
            let causes = paths().validate(&object(&spec, &status));
            causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
        };
        assert_eq!(
            sentences(json!({"replicas": 3}), json!({"ready": null})),
            Vec::<String>::new()
        );
        assert_eq!(
            sentences(
                json!({"replicas": -1}),
                json!({"ready": {"count": 2_147_483_648_i64}, "selector": 5})
            ),
            [
                ".spec.replicas: Invalid value: -1: should be a non-negative integer",
                ".status.ready.count: Invalid value: 2147483648: should be less than or equal to 2147483647",
                r#".status.selector: Invalid value: "": .status.selector accessor error: 5 is of the type int64, expected string"#,
            ]
        );
    }

    #[test]
    fn a_generation_is_counted_when_the_number_changes() {
        let old = Object::of(&object(&json!({"replicas": 1}), &json!({}))).unwrap();
        let mut same = old.clone();
        count_generation(&mut same, &old);
        assert_eq!(same.metadata["generation"], 3);
        let mut other = Object::of(&object(&json!({"replicas": 2}), &json!({}))).unwrap();
        count_generation(&mut other, &old);
        assert_eq!(other.metadata["generation"], 4);
    }
}
