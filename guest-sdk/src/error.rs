//! Why something is not a result: the contract's closed set of cases.
//!
//! Host functions answer with it and roles return it; `?` carries one through to the other. The text is one sentence for a
//! person and must never hold a credential; programs decide by the case alone.

/// The contract's error. The set of cases is complete: none will be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The capability was not granted to this plugin, or not for this argument. Asking again is pointless.
    #[error("denied: {0}")]
    Denied(String),
    /// The arguments make no sense. The caller is at fault.
    #[error("invalid: {0}")]
    Invalid(String),
    /// What was asked for does not exist.
    #[error("not found: {0}")]
    NotFound(String),
    /// The state it relied on has changed, or it exists already; read again, then retry.
    #[error("conflict: {0}")]
    Conflict(String),
    /// No answer in time. Asking again is safe for reads.
    #[error("timed out: {0}")]
    Timeout(String),
    /// The answer or the argument is larger than the limit of this plugin.
    #[error("too large: {0}")]
    TooLarge(String),
    /// A quota or rate of this plugin is used up; ask again later.
    #[error("exhausted: {0}")]
    Exhausted(String),
    /// The other side cannot be reached or refused to answer; ask again later.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// Anything else. The host reports it as an internal error.
    #[error("{0}")]
    Failed(String),
}

// === impl Error ===

impl Error {
    /// [`Error::Failed`] with what went wrong.
    ///
    /// ```
    /// # use outrigger_sdk::Error;
    /// let e = "x".parse::<u8>().map_err(Error::failed);
    /// assert_eq!(e, Err(Error::Failed("invalid digit found in string".to_owned())));
    /// ```
    #[must_use]
    pub fn failed(why: impl std::fmt::Display) -> Self {
        Self::Failed(why.to_string())
    }

    /// [`Error::Invalid`] with what makes no sense.
    #[must_use]
    pub fn invalid(why: impl std::fmt::Display) -> Self {
        Self::Invalid(why.to_string())
    }
}

/// What another program sent is not the JSON that was expected.
impl From<serde_json::Error> for Error {
    fn from(e: serde_json::Error) -> Self {
        Self::Failed(format!("unexpected JSON: {e}"))
    }
}

/// For `io::Read` and `io::Write`: the kind says the case as far as there is one.
impl From<Error> for std::io::Error {
    fn from(e: Error) -> Self {
        use std::io::ErrorKind;
        let kind = match &e {
            Error::Denied(_) => ErrorKind::PermissionDenied,
            Error::Invalid(_) => ErrorKind::InvalidInput,
            Error::NotFound(_) => ErrorKind::NotFound,
            Error::Conflict(_) => ErrorKind::AlreadyExists,
            Error::Timeout(_) => ErrorKind::TimedOut,
            Error::TooLarge(_) => ErrorKind::FileTooLarge,
            Error::Exhausted(_) => ErrorKind::QuotaExceeded,
            Error::Unavailable(_) => ErrorKind::BrokenPipe,
            Error::Failed(_) => ErrorKind::Other,
        };
        Self::new(kind, e)
    }
}

/// What came through `io::Read` and `io::Write` is what it was.
impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        match e.downcast::<Self>() {
            Ok(own) => own,
            Err(other) => Self::Failed(other.to_string()),
        }
    }
}
