//! What a plugin may use, down to the details: which objects, which hosts, which secrets.
//!
//! Three sets of one shape: what the manifest asks for, what the operator grants, and what both say, which is effective. A grant
//! without details (`--grant harbor=objects`) grants what the manifest asks for and no more. More than is asked may be granted; it has
//! no effect.

mod document;
mod hosts;
mod rules;

use std::collections::BTreeSet;

use outrigger_manifest::{Manifest, ObjectRule};

use crate::capabilities::{Capability, Target, UnknownCapability};

pub use document::{
    BadGrants, CapabilityGrants, GrantsFile, HttpGrant, IdentityGrant, KvGrant, MetricsGrant, Plain, PluginGrant, SecretKey,
    SecretSource,
};
pub use hosts::{BadHost, HostPattern};

/// A set of capabilities with their details. What needs no grant is always in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    all: BTreeSet<Capability>,
    /// `None`: whatever is asked for.
    objects: Option<Vec<ObjectRule>>,
    hosts: Option<Vec<HostPattern>>,
    secrets: Option<BTreeSet<String>>,
}

// === impl Grants ===

impl Grants {
    /// Nothing but what needs no grant.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Everything that is asked for: for tests and a developer's own machine.
    #[must_use]
    pub fn all() -> Self {
        Capability::ALL.into_iter().collect()
    }

    /// Reads names as an operator writes them; each grants what is asked for of it.
    ///
    /// # Errors
    /// The first name that is not a capability.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownCapability> {
        names.into_iter().map(str::parse).collect()
    }

    /// What a manifest asks for.
    ///
    /// # Errors
    /// It names what is not a capability.
    pub fn asked(manifest: &Manifest) -> Result<Self, UnknownCapability> {
        let mut asked = Self::from_names(manifest.capabilities.iter().map(|c| c.name.as_str()))?;
        let of = |c: Capability| manifest.capabilities.iter().filter(move |asked| asked.name == c.name());
        asked.objects = Some(of(Capability::Objects).flat_map(|c| c.objects.iter().cloned()).collect());
        // The manifest's own check has the same patterns; what it would let through here is asked for in vain.
        let hosts = of(Capability::Http).flat_map(|c| &c.hosts);
        asked.hosts = Some(hosts.filter_map(|h| h.parse().ok()).collect());
        asked.secrets = Some(of(Capability::Secrets).flat_map(|c| c.secrets.iter().cloned()).collect());
        Ok(asked)
    }

    /// Whether it may be used at all.
    #[must_use]
    pub fn allows(&self, capability: Capability) -> bool {
        !capability.needs_grant() || self.all.contains(&capability)
    }

    /// Whether this may be done with these objects.
    #[must_use]
    pub fn allows_object(&self, of: &Target, verb: &str) -> bool {
        let rules = |all: &Vec<ObjectRule>| all.iter().any(|rule| rules::allows(rule, of, verb));
        self.allows(Capability::Objects) && self.objects.as_ref().is_none_or(rules)
    }

    /// Whether a request may be sent to this host; an IPv6 address stands in brackets.
    #[must_use]
    pub fn allows_host(&self, host: &str, port: u16) -> bool {
        let patterns = |all: &Vec<HostPattern>| all.iter().any(|p| p.matches(host, port));
        self.allows(Capability::Http) && self.hosts.as_ref().is_none_or(patterns)
    }

    /// Whether the secret may be read.
    #[must_use]
    pub fn allows_secret(&self, name: &str) -> bool {
        self.allows(Capability::Secrets) && self.secrets.as_ref().is_none_or(|all| all.contains(name))
    }

    /// What both say.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            all: self.all.intersection(&other.all).copied().collect(),
            objects: both(&self.objects, &other.objects, |a, b| {
                let pairs = a.iter().flat_map(|a| b.iter().map(move |b| rules::meet(a, b)));
                pairs.flatten().collect()
            }),
            hosts: both(&self.hosts, &other.hosts, |a, b| {
                let pairs = a.iter().flat_map(|a| b.iter().map(move |b| a.and(b)));
                pairs.flatten().collect::<BTreeSet<_>>().into_iter().collect()
            }),
            secrets: both(&self.secrets, &other.secrets, |a, b| a.intersection(b).cloned().collect()),
        }
    }

    /// What either says.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self {
            all: self.all.union(&other.all).copied().collect(),
            objects: self.either(other, Capability::Objects, |g| &g.objects, |a, b| [&a[..], &b[..]].concat()),
            hosts: self.either(other, Capability::Http, |g| &g.hosts, |a, b| [&a[..], &b[..]].concat()),
            secrets: self.either(
                other,
                Capability::Secrets,
                |g| &g.secrets,
                |a, b| a.union(b).cloned().collect(),
            ),
        }
    }

    /// Details of a capability that one or both have.
    fn either<T: Clone>(
        &self,
        other: &Self,
        of: Capability,
        details: impl Fn(&Self) -> &Option<T>,
        join: impl Fn(&T, &T) -> T,
    ) -> Option<T> {
        match (self.all.contains(&of), other.all.contains(&of)) {
            (true, true) => Some(join(details(self).as_ref()?, details(other).as_ref()?)),
            (true, false) => details(self).clone(),
            (false, _) => details(other).clone(),
        }
    }

    /// The rules for objects; empty where none are said. What both manifest and operator say ([`and`](Self::and)) has them.
    #[must_use]
    pub fn object_rules(&self) -> &[ObjectRule] {
        self.objects.as_deref().unwrap_or_default()
    }

    /// The capabilities in it that need a grant, in order.
    pub fn iter(&self) -> impl Iterator<Item = Capability> + '_ {
        self.all.iter().copied()
    }

    /// What it says in detail of one capability, a line each; empty if it has none to say.
    #[must_use]
    pub fn details(&self, of: Capability) -> Vec<String> {
        if !self.allows(of) {
            return Vec::new();
        }
        match of {
            Capability::Objects => self.objects.iter().flatten().map(sentence).collect(),
            Capability::Http => self.hosts.iter().flatten().map(ToString::to_string).collect(),
            Capability::Secrets => self.secrets.iter().flatten().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// Whether nothing of it is left though the capability itself is granted: a grant that meets nothing that is asked for.
    #[must_use]
    pub fn is_empty_of(&self, of: Capability) -> bool {
        match of {
            Capability::Objects => self.objects.as_ref().is_some_and(Vec::is_empty),
            Capability::Http => self.hosts.as_ref().is_some_and(Vec::is_empty),
            Capability::Secrets => self.secrets.as_ref().is_some_and(BTreeSet::is_empty),
            _ => false,
        }
    }
}

/// `None` limits nothing.
fn both<T: Clone>(a: &Option<T>, b: &Option<T>, meet: impl Fn(&T, &T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(meet(a, b)),
        (Some(one), None) | (None, Some(one)) => Some(one.clone()),
        (None, None) => None,
    }
}

fn sentence(rule: &ObjectRule) -> String {
    let groups: Vec<&str> = rule
        .api_groups
        .iter()
        .map(|g| if g.is_empty() { "core" } else { g.as_str() })
        .collect();
    let place = if rule.namespaces.is_empty() {
        "everywhere".to_owned()
    } else {
        format!("in {}", rule.namespaces.join(", "))
    };
    format!(
        "{} {} ({}) {place}",
        rule.verbs.join(","),
        rule.resources.join(","),
        groups.join(",")
    )
}

impl FromIterator<Capability> for Grants {
    fn from_iter<I: IntoIterator<Item = Capability>>(all: I) -> Self {
        Self {
            all: all.into_iter().filter(|c| c.needs_grant()).collect(),
            ..Self::default()
        }
    }
}

impl From<&PluginGrant> for Grants {
    fn from(grant: &PluginGrant) -> Self {
        let c = &grant.capabilities;
        let given = [
            (Capability::Kubelet, c.kubelet.is_some()),
            (Capability::Config, c.config.is_some()),
            (Capability::Objects, c.objects.is_some()),
            (Capability::Http, c.http.is_some()),
            (Capability::Kv, c.kv.is_some()),
            (Capability::Events, c.events.is_some()),
            (Capability::Metrics, c.metrics.is_some()),
            (Capability::Secrets, c.secrets.is_some()),
        ];
        Self {
            all: given.into_iter().filter_map(|(c, given)| given.then_some(c)).collect(),
            objects: c.objects.clone(),
            hosts: c.http.as_ref().and_then(|h| h.hosts.clone()),
            secrets: c.secrets.as_ref().map(|s| s.keys().cloned().collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_hold_only_what_needs_one() {
        assert!(Grants::none().allows(Capability::Log) && !Grants::none().allows(Capability::Kubelet));
        assert_eq!(
            Grants::from_names(["log", "kubelet"]).unwrap().iter().collect::<Vec<_>>(),
            [Capability::Kubelet]
        );
        let both = Grants::from_names(["kubelet", "kv"])
            .unwrap()
            .and(&Grants::from_names(["kv", "http"]).unwrap());
        assert_eq!(both, Grants::from_names(["kv"]).unwrap());
    }

    #[test]
    fn effective_is_what_both_say_in_every_detail() {
        let manifest = Manifest::new("harbor", "1")
            .needs_objects([ObjectRule::of("", "configmaps").verbs(["get", "delete"])], "keeps them")
            .needs_http(["tides.example.com", "*.example.org"], "asks")
            .needs_secrets(["token", "other"], "to be let in")
            .needs("kv", "remembers");
        let asked = Grants::asked(&manifest).unwrap();
        let read = |text: &str| Grants::from(&GrantsFile::read(text).unwrap().of("harbor"));
        let granted = read(
            "apiVersion: outrigger.dev/v1alpha1\nkind: Grants\nplugins:\n  harbor:\n    capabilities:\n      objects:\n      - \
             apiGroups: ['*']\n        resources: ['*']\n        verbs: [get, create]\n        namespaces: [harbor]\n      http: {hosts: \
             [tides.example.com, a.example.org]}\n      secrets: {token: {file: /t}, unasked: {file: /u}}\n      events: {}\n",
        );
        let both = asked.and(&granted);
        let target = |ns: &str| Target::new("", "v1", "configmaps", ns).unwrap();
        for (name, got, want) in [
            ("get here", both.allows_object(&target("harbor"), "get"), true),
            ("get elsewhere", both.allows_object(&target("x"), "get"), false),
            ("asked, not granted", both.allows_object(&target("harbor"), "delete"), false),
            ("granted, not asked", both.allows_object(&target("harbor"), "create"), false),
            ("host", both.allows_host("tides.example.com", 443), true),
            ("narrowed host", both.allows_host("a.example.org", 443), true),
            ("the rest of it", both.allows_host("b.example.org", 443), false),
            ("secret", both.allows_secret("token"), true),
            ("no source", both.allows_secret("other"), false),
            ("unasked", both.allows_secret("unasked"), false),
            ("asked only", both.allows(Capability::Kv), false),
            ("granted only", both.allows(Capability::Events), false),
        ] {
            assert_eq!(got, want, "{name}");
        }
        // A flag adds to the file: the whole capability, as asked for.
        let more = asked.and(&granted.or(&Grants::from_names(["objects", "kv"]).unwrap()));
        assert!(more.allows_object(&target("x"), "delete") && more.allows(Capability::Kv));
        assert!(!more.allows_host("b.example.org", 443));
        // Two grants with details are what either says.
        let two = granted.or(&read(
            "apiVersion: outrigger.dev/v1alpha1\nkind: Grants\nplugins:\n  '*':\n    capabilities:\n      http: {hosts: [b.example.org]}\n",
        ));
        assert!(asked.and(&two).allows_host("b.example.org", 443) && asked.and(&two).allows_host("a.example.org", 443));
        let nothing = asked.and(&read(
            "apiVersion: outrigger.dev/v1alpha1\nkind: Grants\nplugins:\n  '*':\n    capabilities:\n      http: {hosts: [other.net]}\n",
        ));
        assert!(nothing.allows(Capability::Http) && nothing.is_empty_of(Capability::Http));
    }
}
