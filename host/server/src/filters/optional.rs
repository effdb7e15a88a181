//! Filters that are off unless an operator asks for them. What is off is `None`, and costs a request one comparison.

use std::sync::Arc;

use crate::filters::cors::Cors;
use crate::filters::goaway::Goaway;
use crate::filters::hsts::Hsts;
use crate::filters::retry_after::RetryAfter;

/// All of them; the default is off.
#[derive(Debug, Default)]
pub struct Optional {
    /// `--cors-allowed-origins`.
    pub cors: Option<Cors>,
    /// `--strict-transport-security-directives`.
    pub hsts: Option<Hsts>,
    /// `--goaway-chance`.
    pub goaway: Option<Goaway>,
    /// `--shutdown-send-retry-after`.
    pub retry_after: Option<Arc<RetryAfter>>,
}
