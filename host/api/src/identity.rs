//! Who is calling, as `user.Info` of apiserver: established once by `auth`, carried with the request.

use std::collections::BTreeMap;

/// The group of everybody who proved an identity. The aggregator's own polls carry no groups, so it is added here and not
/// expected from the caller (apiserver `group.AuthenticatedGroupAdder`).
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of everybody who did not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The user name of everybody who did not.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group that may do everything without a review.
pub const MASTERS: &str = "system:masters";

/// A caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// User name; never empty.
    pub name: String,
    /// UID; empty if unknown.
    pub uid: String,
    /// Groups in the order in which they came.
    pub groups: Vec<String>,
    /// Extra attributes, keys lower-case.
    pub extra: BTreeMap<String, Vec<String>>,
}

// === impl Identity ===

impl Identity {
    /// Nobody in particular.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            name: ANONYMOUS.into(),
            uid: String::new(),
            groups: vec![UNAUTHENTICATED.into()],
            extra: BTreeMap::new(),
        }
    }

    /// Whether the caller is in a group.
    #[must_use]
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// With [`AUTHENTICATED`] added, unless it is there or the caller is anonymous.
    #[must_use]
    pub fn authenticated(mut self) -> Self {
        if !self.is_in(AUTHENTICATED) && !self.is_in(UNAUTHENTICATED) && self.name != ANONYMOUS {
            self.groups.push(AUTHENTICATED.into());
        }
        self
    }
}
