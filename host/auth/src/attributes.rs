//! What somebody wants to do, as `authorizer.Attributes` of apiserver; borrowed from the request.

use outrigger_api::identity::Identity;
use outrigger_api::request_info::RequestInfo;

use crate::fingerprint::{Fingerprint, Fingerprints};

/// A question's "what". Field meanings are those of [`RequestInfo`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the meanings are RequestInfo's, field by field")]
pub struct Attributes<'a> {
    pub is_resource_request: bool,
    pub path: &'a str,
    pub verb: &'a str,
    pub api_group: &'a str,
    pub api_version: &'a str,
    pub namespace: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub name: &'a str,
    pub field_selector: &'a str,
    pub label_selector: &'a str,
}

// === impl Attributes ===

impl<'a> From<&'a RequestInfo> for Attributes<'a> {
    fn from(info: &'a RequestInfo) -> Self {
        Self {
            is_resource_request: info.is_resource_request,
            path: &info.path,
            verb: &info.verb,
            api_group: &info.api_group,
            api_version: &info.api_version,
            namespace: &info.namespace,
            resource: &info.resource,
            subresource: &info.subresource,
            name: &info.name,
            field_selector: &info.field_selector,
            label_selector: &info.label_selector,
        }
    }
}

impl Attributes<'_> {
    /// How many bytes of this the caller controls (apiserver webhook `shouldCache`).
    pub(crate) fn size(&self) -> usize {
        self.texts().iter().map(|t| t.len()).sum()
    }

    /// Names "this caller, this question". The path counts only for non-resource requests: it is not part of the review
    /// otherwise, and `/apis/…?x` and `/apis/…?y` ask the same.
    pub(crate) fn fingerprint(&self, prints: &Fingerprints, identity: &Identity) -> Fingerprint {
        let mut key = prints.start();
        key.text(&identity.name);
        key.text(&identity.uid);
        key.count(identity.groups.len());
        identity.groups.iter().for_each(|g| key.text(g));
        key.count(identity.extra.len());
        for (name, values) in &identity.extra {
            key.text(name);
            key.count(values.len());
            values.iter().for_each(|v| key.text(v));
        }
        key.count(usize::from(self.is_resource_request));
        self.texts().iter().for_each(|t| key.text(t));
        key.finish()
    }

    fn texts(&self) -> [&str; 10] {
        [
            if self.is_resource_request { "" } else { self.path },
            self.verb,
            self.api_group,
            self.api_version,
            self.namespace,
            self.resource,
            self.subresource,
            self.name,
            self.field_selector,
            self.label_selector,
        ]
    }
}
