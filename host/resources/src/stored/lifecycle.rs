//! Namespaces: nothing is made in one that is not there or is going (upstream's admission plugin NamespaceLifecycle).

use async_trait::async_trait;

/// What is known of namespaces.
#[async_trait]
pub trait NamespaceIndex: Send + Sync {
    /// How a namespace stands, after a look at the cluster itself if it is not known.
    ///
    /// # Errors
    /// Why nobody can say; nothing is made then.
    async fn standing(&self, name: &str) -> Result<NamespaceStanding, String>;
}

/// How a namespace stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamespaceStanding {
    /// It takes new objects.
    Active,
    /// It is being deleted.
    Terminating,
    /// There is none of this name.
    Absent,
}

/// A world in which every namespace is there.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllActive;

#[async_trait]
impl NamespaceIndex for AllActive {
    async fn standing(&self, _name: &str) -> Result<NamespaceStanding, String> {
        Ok(NamespaceStanding::Active)
    }
}
