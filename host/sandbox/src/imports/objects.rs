//! `objects`: Kubernetes objects within the effective rules.
//!
//! Nothing is sent that the rules do not allow, and no part of a name can lead elsewhere: each stands in the path as one segment of the
//! kind that it says it is. What the rules allow, the cluster's own RBAC decides for the plugin's identity.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;

use crate::bindings::outrigger::plugin::objects;
use crate::bindings::outrigger::plugin::types::Error;
use crate::call::Call;
use crate::capabilities::{Capability, Objects, PatchKind, Target};
use crate::log::visible;

/// Objects of a page, if the plugin does not say; also the most.
const PAGE: u32 = 500;
/// The most bytes of a selector or a continue token.
const TEXT: usize = 8 << 10;

/// An object as far as its path goes.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow, default)]
    metadata: Option<Metadata<'a>>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow, default)]
    name: Option<std::borrow::Cow<'a, str>>,
}

impl objects::Host for Call {
    async fn get(&mut self, of: objects::Target, name: String) -> Result<Vec<u8>, Error> {
        let (objects, of) = self.open(&of, &["get"])?;
        is_name(&name)?;
        let asked = objects.get(&of, &name, self.answers_left);
        self.bytes(asked).await
    }

    async fn list(&mut self, of: objects::Target, selector: String, limit: u32, next: String) -> Result<objects::Page, Error> {
        let (objects, of) = self.open(&of, &["list"])?;
        for (what, text) in [("label selector", &selector), ("continue token", &next)] {
            if text.len() > TEXT {
                return Err(Error::TooLarge(format!(
                    "the {what} has {} bytes, the most is {TEXT}",
                    text.len()
                )));
            }
        }
        let limit = if limit == 0 { PAGE } else { limit.min(PAGE) };
        let asked = objects.list(&of, &selector, limit, &next, self.answers_left);
        let page = super::within(self.host_deadline(), "kube-apiserver", asked).await?;
        self.spend(page.items.iter().map(Bytes::len).sum::<usize>() + page.next.len())?;
        Ok(objects::Page {
            items: page.items.into_iter().map(Into::into).collect(),
            continue_: page.next,
        })
    }

    async fn create(&mut self, of: objects::Target, object: Vec<u8>) -> Result<Vec<u8>, Error> {
        let (objects, of) = self.open(&of, &["create"])?;
        let name = named(&object)?.unwrap_or_default();
        let asked = objects.create(&of, &name, object.into(), self.answers_left);
        self.bytes(asked).await
    }

    async fn update(&mut self, of: objects::Target, object: Vec<u8>) -> Result<Vec<u8>, Error> {
        let (objects, of) = self.open(&of, &["update"])?;
        let name = named(&object)?.ok_or_else(|| Error::Invalid("the object has no metadata.name".into()))?;
        let asked = objects.update(&of, &name, object.into(), self.answers_left);
        self.bytes(asked).await
    }

    async fn patch(&mut self, of: objects::Target, name: String, content_type: String, patch: Vec<u8>) -> Result<Vec<u8>, Error> {
        let kind = PatchKind::of(&content_type);
        // To apply may be to create.
        let verbs: &[&str] = if kind == Some(PatchKind::Apply) {
            &["patch", "create"]
        } else {
            &["patch"]
        };
        let (objects, of) = self.open(&of, verbs)?;
        is_name(&name)?;
        let kind =
            kind.ok_or_else(|| Error::Invalid(format!("{:?} is not the content type of a patch", visible(&content_type, 64))))?;
        let asked = objects.patch(&of, &name, kind, patch.into(), self.answers_left);
        self.bytes(asked).await
    }

    async fn delete(&mut self, of: objects::Target, name: String) -> Result<(), Error> {
        let (objects, of) = self.open(&of, &["delete"])?;
        is_name(&name)?;
        super::within(self.host_deadline(), "kube-apiserver", objects.delete(&of, &name)).await
    }
}

// === impl Call ===

impl Call {
    /// Whom to ask, if the rules allow all of this.
    fn open(&self, of: &objects::Target, verbs: &[&str]) -> Result<(Arc<dyn Objects>, Target), Error> {
        self.admit(Capability::Objects)?;
        let of = Target::new(&of.group, &of.version, &of.plural, &of.namespace).map_err(Error::Invalid)?;
        if let Some(verb) = verbs.iter().find(|verb| !self.granted.effective.allows_object(&of, verb)) {
            let asked = self.granted.requested.allows_object(&of, verb);
            return Err(self.deny_argument(Capability::Objects, asked, &format!("{verb} of {of}")));
        }
        let objects = self.granted.objects.clone();
        Ok((objects.ok_or_else(|| super::nobody("kube-apiserver"))?, of))
    }

    /// An answer in bytes, within the deadline and the budget.
    async fn bytes(&mut self, asked: impl Future<Output = Result<Bytes, crate::HostError>>) -> Result<Vec<u8>, Error> {
        let bytes = super::within(self.host_deadline(), "kube-apiserver", asked).await?;
        self.spend(bytes.len())?;
        Ok(bytes.into())
    }
}

/// What can stand in a path as one segment (apimachinery's path.IsValidPathSegmentName).
fn is_name(name: &str) -> Result<(), Error> {
    let fits = !name.is_empty()
        && name.len() <= 253
        && !matches!(name, "." | "..")
        && !name
            .chars()
            .any(|c| matches!(c, '/' | '%') || c.is_control() || c.is_whitespace());
    if fits {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "{:?} is not the name of an object",
        visible(name, 64)
    )))
}

/// The name in an object, if it has one that can be used.
fn named(object: &[u8]) -> Result<Option<String>, Error> {
    if !object.trim_ascii_start().starts_with(b"{") {
        return Err(Error::Invalid("the object is not a JSON object".into()));
    }
    let read: Named<'_> =
        serde_json::from_slice(object).map_err(|e| Error::Invalid(format!("the object is not a JSON object: {e}")))?;
    let name = read.metadata.and_then(|m| m.name).filter(|name| !name.is_empty());
    if let Some(name) = &name {
        is_name(name)?;
    }
    Ok(name.map(Into::into))
}
