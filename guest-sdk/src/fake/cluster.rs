//! Objects of a cluster, in memory: names, resourceVersions, conflicts, finalizers, selectors and pages as an API server has them.
//!
//! What a plugin may do is not known here; schemas, defaults and controllers are not here either.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{Error, Page, Target, time};

/// Group, plural, namespace, name.
type Key = (String, String, String, String);

/// The objects.
#[derive(Debug, Default)]
pub(super) struct Objects {
    all: RefCell<BTreeMap<Key, Value>>,
    version: Cell<u64>,
}

/// Objects on a page where nobody says how many.
const PAGE: usize = 500;

impl Objects {
    pub(super) fn get(&self, of: &Target, name: &str) -> Result<Value, Error> {
        self.all.borrow().get(&key(of, name)).cloned().ok_or_else(|| absent(of, name))
    }

    pub(super) fn list(&self, of: &Target, selector: &str, limit: u32, after: &str) -> Result<Page, Error> {
        let wanted = Selector::parse(selector)?;
        let most = match usize::try_from(limit) {
            Ok(0) | Err(_) => PAGE,
            Ok(limit) => limit,
        };
        let all = self.all.borrow();
        let of_resource = all.iter().filter(|((group, plural, namespace, _), object)| {
            (group, plural) == (&of.group, &of.plural)
                && (of.namespace.is_empty() || *namespace == of.namespace)
                && wanted.selects(object.pointer("/metadata/labels").unwrap_or(&Value::Null))
        });
        let token = |key: &Key| format!("{}/{}", key.2, key.3);
        let mut rest = of_resource.filter(|(key, _)| token(key).as_str() > after).peekable();
        let (mut page, mut last) = (Page::default(), String::new());
        while let Some((key, object)) = rest.next_if(|_| page.items.len() < most) {
            page.items.push(serde_json::to_vec(object)?);
            last = token(key);
        }
        if rest.peek().is_some() {
            page.next = last;
        }
        Ok(page)
    }

    pub(super) fn create(&self, of: &Target, mut object: Value, now: u64) -> Result<Value, Error> {
        let version = self.next();
        let metadata = metadata(&mut object)?;
        if let (None, Some(Value::String(beginning))) = (metadata.get("name"), metadata.get("generateName")) {
            let name = format!("{beginning}{version:05}");
            metadata.insert("name".into(), name.into());
        }
        let name = text(metadata, "name");
        if name.is_empty() {
            return Err(Error::Invalid("name or generateName is required".to_owned()));
        }
        let own = text(metadata, "namespace");
        if !(own.is_empty() || of.namespace.is_empty() || own == of.namespace) {
            return Err(Error::Invalid(format!(
                "the namespace of the object is {own:?}, that of the call {:?}",
                of.namespace
            )));
        }
        let of = if of.namespace.is_empty() {
            of.clone().namespace(own)
        } else {
            of.clone()
        };
        if !of.namespace.is_empty() {
            metadata.insert("namespace".into(), of.namespace.clone().into());
        }
        metadata.insert("uid".into(), format!("{version:08x}-0000-4000-8000-000000000000").into());
        metadata.insert("resourceVersion".into(), version.to_string().into());
        metadata.insert("creationTimestamp".into(), time::rfc3339(now).to_string().into());
        let mut all = self.all.borrow_mut();
        let key = key(&of, &name);
        if all.contains_key(&key) {
            return Err(Error::Conflict(format!("{} {name:?} already exists", of.plural)));
        }
        all.insert(key, object.clone());
        Ok(object)
    }

    pub(super) fn update(&self, of: &Target, mut object: Value) -> Result<Value, Error> {
        let (base, part) = of.plural.split_once('/').unwrap_or((&of.plural, ""));
        let base = Target {
            plural: base.to_owned(),
            ..of.clone()
        };
        let sent = metadata(&mut object)?;
        let name = text(sent, "name");
        let base = if base.namespace.is_empty() {
            base.namespace(text(sent, "namespace"))
        } else {
            base
        };
        let asked = text(sent, "resourceVersion");
        let mut old = self.get(&base, &name)?;
        let newest = text(metadata(&mut old)?, "resourceVersion");
        if !(asked.is_empty() || asked == newest) {
            return Err(Error::Conflict(format!(
                "{} {name:?} is at {newest}, not at {asked}",
                of.plural
            )));
        }
        let mut next = match part {
            "" => object,
            "status" => {
                let mut next = old.clone();
                if let (Some(fields), Some(status)) = (next.as_object_mut(), object.get_mut("status")) {
                    fields.insert("status".into(), status.take());
                }
                next
            }
            _ => return Err(Error::NotFound(format!("the fake cluster has no {}", of.plural))),
        };
        // What nobody changes by an update.
        let kept = metadata(&mut old)?.clone();
        let fields = metadata(&mut next)?;
        for name in ["uid", "creationTimestamp", "deletionTimestamp", "namespace"] {
            match kept.get(name) {
                Some(value) => fields.insert(name.into(), value.clone()),
                None => fields.shift_remove(name),
            };
        }
        self.put(&base, &name, next)
    }

    pub(super) fn patch(&self, of: &Target, name: &str, content_type: &str, patch: &Value) -> Result<Value, Error> {
        if content_type != "application/merge-patch+json" {
            return Err(Error::Invalid(format!(
                "the fake cluster knows application/merge-patch+json, not {content_type}"
            )));
        }
        let base = of.plural.split('/').next().unwrap_or_default().to_owned();
        let mut object = self.get(
            &Target {
                plural: base,
                ..of.clone()
            },
            name,
        )?;
        merge(&mut object, patch);
        self.update(of, object)
    }

    pub(super) fn delete(&self, of: &Target, name: &str, now: u64) -> Result<(), Error> {
        let mut object = self.get(of, name)?;
        let fields = metadata(&mut object)?;
        if has_finalizers(fields) {
            let since = time::rfc3339(now).to_string();
            fields.entry("deletionTimestamp").or_insert(since.into());
            self.put(of, name, object)?;
        } else {
            self.all.borrow_mut().remove(&key(of, name));
        }
        Ok(())
    }

    /// Stores under a new resourceVersion; what is being deleted goes with its last finalizer.
    fn put(&self, of: &Target, name: &str, mut object: Value) -> Result<Value, Error> {
        let version = self.next();
        let fields = metadata(&mut object)?;
        fields.insert("resourceVersion".into(), version.to_string().into());
        let ends = fields.contains_key("deletionTimestamp") && !has_finalizers(fields);
        let mut all = self.all.borrow_mut();
        if ends {
            all.remove(&key(of, name));
        } else {
            all.insert(key(of, name), object.clone());
        }
        Ok(object)
    }

    fn next(&self) -> u64 {
        self.version.set(self.version.get() + 1);
        self.version.get()
    }
}

fn key(of: &Target, name: &str) -> Key {
    (of.group.clone(), of.plural.clone(), of.namespace.clone(), name.to_owned())
}

fn absent(of: &Target, name: &str) -> Error {
    Error::NotFound(format!("{} {name:?} not found", of.plural))
}

fn metadata(object: &mut Value) -> Result<&mut Map<String, Value>, Error> {
    let whole = object
        .as_object_mut()
        .ok_or_else(|| Error::Invalid("not an object".to_owned()))?;
    let metadata = whole.entry("metadata").or_insert_with(|| json!({}));
    metadata
        .as_object_mut()
        .ok_or_else(|| Error::Invalid("metadata is not an object".to_owned()))
}

fn text(fields: &Map<String, Value>, name: &str) -> String {
    fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn has_finalizers(metadata: &Map<String, Value>) -> bool {
    metadata
        .get("finalizers")
        .and_then(Value::as_array)
        .is_some_and(|f| !f.is_empty())
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            fields.shift_remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// A label selector: all of these.
struct Selector<'a>(Vec<Requirement<'a>>);

enum Requirement<'a> {
    In(&'a str, Vec<&'a str>),
    NotIn(&'a str, Vec<&'a str>),
    Exists(&'a str),
    Absent(&'a str),
}

impl<'a> Selector<'a> {
    fn parse(text: &'a str) -> Result<Self, Error> {
        let mut requirements = Vec::new();
        let mut depth = 0;
        let parts = text.split(|c: char| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            c == ',' && depth == 0
        });
        for part in parts.map(str::trim).filter(|p| !p.is_empty()) {
            requirements
                .push(Self::requirement(part).ok_or_else(|| Error::Invalid(format!("unable to parse requirement: {part:?}")))?);
        }
        Ok(Self(requirements))
    }

    fn requirement(part: &'a str) -> Option<Requirement<'a>> {
        if let Some((name, set)) = part.split_once('(') {
            let values = set.strip_suffix(')')?.split(',').map(str::trim).collect();
            let name = name.trim();
            return match name.strip_suffix(" notin") {
                Some(name) => Some(Requirement::NotIn(name.trim(), values)),
                None => name.strip_suffix(" in").map(|name| Requirement::In(name.trim(), values)),
            };
        }
        if let Some((name, value)) = part.split_once("!=") {
            return Some(Requirement::NotIn(name.trim(), vec![value.trim()]));
        }
        if let Some((name, value)) = part.split_once('=') {
            return Some(Requirement::In(name.trim(), vec![value.trim_start_matches('=').trim()]));
        }
        match part.strip_prefix('!') {
            Some(name) => Some(Requirement::Absent(name.trim())),
            None => (!part.contains(' ')).then_some(Requirement::Exists(part)),
        }
    }

    fn selects(&self, labels: &Value) -> bool {
        let of = |name: &str| labels.get(name).and_then(Value::as_str);
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(name, values) => of(name).is_some_and(|v| values.contains(&v)),
            Requirement::NotIn(name, values) => of(name).is_none_or(|v| !values.contains(&v)),
            Requirement::Exists(name) => of(name).is_some(),
            Requirement::Absent(name) => of(name).is_none(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps() -> Target {
        Target::new("", "v1", "configmaps").namespace("main")
    }

    #[test]
    fn selectors_are_upstreams() {
        let labels = json!({"app": "web", "tier": "front"});
        for (selector, selects) in [
            ("", true),
            ("app=web", true),
            ("app==web, tier=front", true),
            ("app!=web", false),
            ("zone!=a", true),
            ("app in (db, web)", true),
            ("app notin (db,web),tier", false),
            ("zone notin (a)", true),
            ("tier", true),
            ("!tier", false),
            ("!zone", true),
        ] {
            assert_eq!(Selector::parse(selector).unwrap().selects(&labels), selects, "{selector}");
        }
        assert!(Selector::parse("app in web").is_err());
    }

    #[test]
    fn pages_follow_each_other() {
        let objects = Objects::default();
        for name in ["a", "b", "c"] {
            objects.create(&maps(), json!({"metadata": {"name": name}}), 0).unwrap();
        }
        let (mut sizes, mut after) = (Vec::new(), String::new());
        loop {
            let page = objects.list(&maps(), "", 2, &after).unwrap();
            sizes.push(page.items.len());
            if page.next.is_empty() {
                break;
            }
            after = page.next;
        }
        assert_eq!(sizes, [2, 1]);
        assert!(objects.list(&maps().namespace("other"), "", 0, "").unwrap().items.is_empty());
        assert_eq!(objects.list(&maps().namespace(""), "", 0, "").unwrap().items.len(), 3);
    }

    #[test]
    fn what_has_finalizers_goes_with_the_last() {
        let objects = Objects::default();
        let mut kept = objects
            .create(
                &maps(),
                json!({"metadata": {"name": "a", "finalizers": ["x.example.com/y"]}}),
                0,
            )
            .unwrap();
        objects.delete(&maps(), "a", 0).unwrap();
        let marked = objects.get(&maps(), "a").unwrap();
        assert_eq!(marked["metadata"]["deletionTimestamp"], "1970-01-01T00:00:00Z");
        assert!(matches!(objects.update(&maps(), kept.clone()), Err(Error::Conflict(_))));
        kept["metadata"]["finalizers"] = json!([]);
        kept["metadata"]["resourceVersion"] = marked["metadata"]["resourceVersion"].clone();
        objects.update(&maps(), kept).unwrap();
        assert!(matches!(objects.get(&maps(), "a"), Err(Error::NotFound(_))));
    }

    #[test]
    fn a_status_is_written_by_itself() {
        let objects = Objects::default();
        objects
            .create(&maps(), json!({"metadata": {"name": "a"}, "data": {"x": "1"}}), 0)
            .unwrap();
        let status = maps().subresource("status");
        let sent = json!({"metadata": {"name": "a"}, "data": {"x": "2"}, "status": {"ready": true}});
        let stored = objects.update(&status, sent).unwrap();
        assert_eq!(
            (&stored["data"]["x"], &stored["status"]["ready"]),
            (&json!("1"), &json!(true))
        );
        assert!(
            objects
                .patch(&status, "a", "application/json-patch+json", &json!([]))
                .is_err()
        );
        let patched = objects
            .patch(
                &status,
                "a",
                "application/merge-patch+json",
                &json!({"status": {"ready": null, "why": "x"}}),
            )
            .unwrap();
        assert_eq!(patched["status"], json!({"why": "x"}));
    }
}
