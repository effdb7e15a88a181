//! Where a plugin may look: everywhere, or in some namespaces.

use std::collections::BTreeSet;

use outrigger_api::manifest::{Manifest, ObjectRule, ResourceName};

/// The namespaces of a right.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Namespaces {
    /// All of them, and what has none.
    All,
    /// These alone; never empty.
    Only(BTreeSet<String>),
}

/// What following a resource takes.
const FOLLOWING: [&str; 2] = ["list", "watch"];

// === impl Namespaces ===

impl Namespaces {
    /// Where a manifest asks to follow a resource; `None` if it does not ask to.
    #[must_use]
    pub fn asked(manifest: &Manifest, resource: &ResourceName) -> Option<Self> {
        Self::allowed(manifest.capabilities.iter().flat_map(|c| &c.objects), resource)
    }

    /// Where these rules allow to follow a resource; `None` if they do not.
    #[must_use]
    pub fn allowed<'a>(rules: impl Iterator<Item = &'a ObjectRule> + Clone, resource: &ResourceName) -> Option<Self> {
        let [list, watch] = FOLLOWING.map(|verb| {
            let rules = rules.clone().filter(|rule| {
                rule.api_groups.contains(&resource.group)
                    && rule.resources.contains(&resource.resource)
                    && rule.verbs.iter().any(|v| v == verb)
            });
            rules.map(|rule| Self::of(&rule.namespaces)).reduce(Self::or)
        });
        list?.and(watch?)
    }

    /// As rules write them: none named is all.
    #[must_use]
    pub fn of(named: &[String]) -> Self {
        if named.is_empty() {
            Self::All
        } else {
            Self::Only(named.iter().cloned().collect())
        }
    }

    /// What both allow; `None` if that is nothing.
    #[must_use]
    pub fn and(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::All, some) | (some, Self::All) => Some(some),
            (Self::Only(a), Self::Only(b)) => {
                let both: BTreeSet<String> = a.intersection(&b).cloned().collect();
                (!both.is_empty()).then_some(Self::Only(both))
            }
        }
    }

    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::Only(a), Self::Only(b)) => Self::Only(a.union(&b).cloned().collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(names: &[&str]) -> Namespaces {
        Namespaces::Only(names.iter().map(|&n| n.to_owned()).collect())
    }

    #[test]
    fn following_takes_list_and_watch_in_the_same_namespaces() {
        let maps = ResourceName::new("", "v1", "configmaps");
        let rule = |verbs: &[&str], namespaces: &[&str]| {
            let rule = ObjectRule::of("", "configmaps").verbs(verbs.iter().copied());
            namespaces.iter().fold(rule, |rule, n| rule.namespace(*n))
        };
        for (name, rules, expected) in [
            ("nothing", vec![], None),
            ("list alone", vec![rule(&["list"], &[])], None),
            ("both", vec![rule(&["list", "watch"], &[])], Some(Namespaces::All)),
            ("in one", vec![rule(&["list", "watch"], &["a"])], Some(only(&["a"]))),
            (
                "in two by two rules",
                vec![rule(&["list", "watch"], &["a"]), rule(&["watch", "list"], &["b"])],
                Some(only(&["a", "b"])),
            ),
            (
                "listed everywhere, watched in one",
                vec![rule(&["list"], &[]), rule(&["watch"], &["b"])],
                Some(only(&["b"])),
            ),
            (
                "never in the same",
                vec![rule(&["list"], &["a"]), rule(&["watch"], &["b"])],
                None,
            ),
        ] {
            let manifest = Manifest::new("p", "1").needs_objects(rules, "tests");
            assert_eq!(Namespaces::asked(&manifest, &maps), expected, "{name}");
            let other = ResourceName::new("apps", "v1", "configmaps");
            assert_eq!(Namespaces::asked(&manifest, &other), None, "{name}, of another group");
        }
    }
}
