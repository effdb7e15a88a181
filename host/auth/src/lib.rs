//! Who is calling, and may they: identity and permission of every request, as k8s.io/apiserver's delegated options decide them.
//!
//! * [`authenticate`]: requestheader, client certificate, bearer token, anonymous; in upstream's order.
//! * [`authorize`]: `system:masters`, always-allowed paths, then one SubjectAccessReview for everybody who asks the same.
//! * [`trust`]: the CA bundles and header names of the moment, one snapshot swapped whole.
//! * [`handshake`]: the TLS side: any client certificate may come in, and its owner must prove that it is theirs.
//!
//! This room knows only `api`. The questions to kube-apiserver (TokenReview, SubjectAccessReview) are traits that the binary
//! implements. Nothing here ever takes "no answer" for "yes".

pub mod attributes;
pub mod authenticate;
pub mod authorize;
pub mod bearer;
pub mod handshake;
pub mod peer;
pub mod requestheader;
pub mod reviews;
pub mod trust;
pub mod x509;

mod fingerprint;

pub use attributes::Attributes;
pub use authenticate::{Authenticator, Refusal, Unauthenticated};
pub use authorize::{Authorizer, Refused};
pub use bearer::{Bearer, TokenReviewer};
pub use peer::Peer;
pub use reviews::{AccessReviewer, Decision, NoAnswer};
pub use trust::{Authorities, FrontProxy, HeaderNames, SharedTrust, Trust};
