//! Which requests stay open: they have no deadline, take no seat and end when the server drains
//! (apiserver `genericfilters.BasicLongRunningRequestCheck`).

use outrigger_api::request_info::RequestInfo;

/// Whether a request is one.
#[must_use]
pub fn is(info: &RequestInfo) -> bool {
    if info.is_resource_request {
        matches!(info.verb.as_str(), "watch" | "proxy")
            || matches!(info.subresource.as_str(), "attach" | "exec" | "proxy" | "log" | "portforward")
    } else {
        info.path.starts_with("/debug/pprof/")
    }
}
