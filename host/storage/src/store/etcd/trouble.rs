//! What went wrong with a request to etcd, and what that means for it.
//!
//! What matters is whether a write may have happened. Only what is known to be said *before* etcd takes a request in is trusted to mean "it
//! has not"; whatever is not known is "perhaps". etcd's errors are told apart by their words (`rpctypes/error.go`), as its own client does:
//! several share a code.

use std::error::Error;

use tonic::{Code, Status};

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// What was asked for is compacted.
    Compacted,
    /// What was asked for is yet to come.
    Future,
    /// There is no room. Nothing has happened.
    Full(String),
    /// It is larger than etcd takes. Nothing has happened.
    TooLarge,
    /// This server could not do it, and nothing has happened. It is right to try again, and better elsewhere.
    NotHere(String),
    /// etcd will not do it, whoever is asked. Nothing has happened.
    Refused(String),
    /// It has happened or not.
    Perhaps(String),
}

/// What a connection says of a request that got no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    /// It never left.
    #[error("{0}")]
    Unsent(String),
    /// It may have arrived.
    #[error("{0}")]
    Broken(String),
}

// === impl Trouble ===

impl Trouble {
    /// Judges a refusal or a broken connection.
    pub(super) fn of(status: &Status) -> Self {
        if let Some(lost) = status.source().and_then(|source| source.downcast_ref::<Lost>()) {
            return match lost {
                Lost::Unsent(why) => Self::NotHere(why.clone()),
                Lost::Broken(why) => Self::Perhaps(why.clone()),
            };
        }
        Self::by_words(status.code(), status.message()).unwrap_or_else(|| Self::Perhaps(words(status)))
    }

    fn by_words(code: Code, message: &str) -> Option<Self> {
        let said = message.strip_prefix("etcdserver: ").unwrap_or(message);
        Some(match said {
            "mvcc: required revision has been compacted" => Self::Compacted,
            "mvcc: required revision is a future revision" => Self::Future,
            "mvcc: database space exceeded" => Self::Full(message.to_owned()),
            "request is too large" => Self::TooLarge,
            // Both are said by interceptors or before anything is proposed.
            "no leader" | "too many requests" | "rpc not supported for learner" | "not capable" => {
                Self::NotHere(message.to_owned())
            }
            "corrupt cluster" | "permission denied" | "invalid auth token" | "user name is empty" => {
                Self::Refused(message.to_owned())
            }
            _ if code == Code::ResourceExhausted && said.contains("message larger than max") => Self::TooLarge,
            // What answers is no etcd: it does not know these methods.
            _ if code == Code::Unimplemented => Self::Refused(format!("it is no etcd v3 ({message})")),
            _ if matches!(code, Code::PermissionDenied | Code::Unauthenticated) => Self::Refused(message.to_owned()),
            _ => return None,
        })
    }
}

/// A status in words, with its causes.
pub(super) fn words(status: &Status) -> String {
    match status.source() {
        Some(source) => causes(source),
        None if status.message().is_empty() => status.code().to_string(),
        None => status.message().to_owned(),
    }
}

/// An error and what caused it; each once.
pub(super) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_has_not_happened() {
        let lost = |lost: Lost| Status::from_error(Box::new(lost));
        for (status, expected) in [
            (
                Status::out_of_range("etcdserver: mvcc: required revision has been compacted"),
                Trouble::Compacted,
            ),
            (
                Status::out_of_range("etcdserver: mvcc: required revision is a future revision"),
                Trouble::Future,
            ),
            (
                Status::resource_exhausted("etcdserver: mvcc: database space exceeded"),
                Trouble::Full("etcdserver: mvcc: database space exceeded".into()),
            ),
            (
                Status::invalid_argument("etcdserver: request is too large"),
                Trouble::TooLarge,
            ),
            (
                Status::resource_exhausted("grpc: received message larger than max (2202013 vs. 2097152)"),
                Trouble::TooLarge,
            ),
            (
                Status::unavailable("etcdserver: no leader"),
                Trouble::NotHere("etcdserver: no leader".into()),
            ),
            (
                Status::resource_exhausted("etcdserver: too many requests"),
                Trouble::NotHere("etcdserver: too many requests".into()),
            ),
            (
                Status::permission_denied("etcdserver: permission denied"),
                Trouble::Refused("etcdserver: permission denied".into()),
            ),
            (
                Status::unavailable("etcdserver: request timed out"),
                Trouble::Perhaps("etcdserver: request timed out".into()),
            ),
            (
                Status::unavailable("etcdserver: leader changed"),
                Trouble::Perhaps("etcdserver: leader changed".into()),
            ),
            (lost(Lost::Unsent("a".into())), Trouble::NotHere("a".into())),
            (lost(Lost::Broken("b".into())), Trouble::Perhaps("b".into())),
            (Status::internal("what"), Trouble::Perhaps("what".into())),
        ] {
            assert_eq!(Trouble::of(&status), expected, "{status:?}");
        }
    }
}
