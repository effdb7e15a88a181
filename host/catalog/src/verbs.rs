//! What discovery says of a resource: derived from what stands behind it and what its plugin implements, never declared.

use outrigger_api::manifest::{Backing, Resource, Verb};

/// All that the host does with objects that it keeps.
const STORED: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// The verbs of a resource, sorted as upstream's storage lists them. A table is read and watched; of a virtual resource the host
/// makes `patch` from get and update, `deletecollection` from list and delete, and `watch` by listing and comparing, if the
/// plugin allows that.
#[must_use]
pub fn verbs(resource: &Resource) -> Vec<String> {
    let (implemented, polled) = match &resource.backing {
        Backing::Table { .. } => return ["get", "list", "watch"].map(str::to_owned).into(),
        Backing::Virtual { verbs, poll_seconds } => (verbs, *poll_seconds > 0),
        // What k8s.io/apiserver's generic registry offers.
        Backing::Stored { .. } => return STORED.map(str::to_owned).into(),
    };
    let has = |all: &[Verb]| all.iter().all(|v| implemented.contains(v));
    let offers = [
        ("create", has(&[Verb::Create])),
        ("delete", has(&[Verb::Delete])),
        ("deletecollection", has(&[Verb::List, Verb::Delete])),
        ("get", has(&[Verb::Get])),
        ("list", has(&[Verb::List])),
        ("patch", has(&[Verb::Get, Verb::Update])),
        ("update", has(&[Verb::Update])),
        ("watch", polled && has(&[Verb::List])),
    ];
    offers
        .into_iter()
        .filter(|(_, offered)| *offered)
        .map(|(verb, _)| verb.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use outrigger_api::manifest::Scope;

    use super::*;

    #[test]
    fn what_is_implemented_decides() {
        use Verb::{Create, Delete, Get, List, Update};
        for (implemented, poll, want) in [
            (&[Get][..], 0, "get"),
            (&[List], 0, "list"),
            (&[List], 5, "list watch"),
            (&[Get, Update], 0, "get patch update"),
            (&[List, Delete], 0, "delete deletecollection list"),
            (
                &[Get, List, Create, Update, Delete],
                5,
                "create delete deletecollection get list patch update watch",
            ),
        ] {
            let resource = Resource::virtual_("Ship", "ships", Scope::Cluster, implemented.iter().copied()).poll_seconds(poll);
            assert_eq!(verbs(&resource).join(" "), want, "{implemented:?}");
        }
    }
}
