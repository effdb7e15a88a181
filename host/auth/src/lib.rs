//! Who is calling, and may they: identity and permission of every request, as k8s.io/apiserver's delegated options decide them.
//!
//! * [`authenticate`]: requestheader, client certificate, bearer token, anonymous; in upstream's order.
//! * [`impersonate`]: acting as somebody else, if the cluster permits each part of it.
//! * [`authorize`]: `system:masters`, always-allowed paths, then one SubjectAccessReview for everybody who asks the same.
//! * [`trust`]: the CA bundles and header names of the moment, one snapshot swapped whole.
//! * [`handshake`]: the TLS side: any client certificate may come in, and its owner must prove that it is theirs.
//! * [`metrics`]: all of it counted and timed, under upstream's names.
//!
//! This room knows only `api`. The questions to kube-apiserver (TokenReview, SubjectAccessReview) are traits that the binary
//! implements. Nothing here ever takes "no answer" for "yes".

pub mod attributes;
pub mod authenticate;
pub mod authorize;
pub mod bearer;
pub mod handshake;
pub mod impersonate;
pub mod metrics;
pub mod peer;
pub mod requestheader;
pub mod reviews;
pub mod trust;
mod unvouched;
pub mod x509;

mod fingerprint;
mod websocket;

pub use attributes::Attributes;
pub use authenticate::{Authenticator, Refusal, Unauthenticated};
pub use authorize::{Authorizer, Refused};
pub use bearer::{Bearer, TokenReviewer};
pub use impersonate::impersonate;
pub use metrics::Metrics;
pub use peer::Peer;
pub use reviews::{AccessReviewer, Decision, NoAnswer};
pub use trust::{Authorities, FrontProxy, HeaderNames, SharedTrust, Trust};
