//! A request line: method, path and query.
#![no_main]

use http::{Method, Uri};
use libfuzzer_sys::fuzz_target;
use outrigger_api::query::Query;
use outrigger_api::request_info::RequestInfo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

fuzz_target!(|line: &str| {
    let (method, target) = line.split_once(' ').unwrap_or(("GET", line));
    let query = target.split_once('?').map_or("", |(_, query)| query);
    queries(query);
    let (Ok(method), Ok(uri)) = (method.parse::<Method>(), target.parse::<Uri>()) else {
        return;
    };
    let query = uri.query().unwrap_or_default();
    let Ok(info) = RequestInfo::parse(&method, &uri) else { return };
    assert_eq!(RequestInfo::parse(&method, &uri).as_ref(), Ok(&info), "reading twice");
    if !info.is_resource_request {
        assert_eq!(info.verb, method.as_str().to_ascii_lowercase());
        assert!(
            info.resource.is_empty(),
            "permission would be asked for something else: {info:?}"
        );
        return;
    }
    // What a resource request is named by stands in its path; permission is asked for exactly that.
    assert!(["api", "apis"].contains(&info.api_prefix.as_str()), "{info:?}");
    // A resource or a group without a name there is only between two slashes, as upstream reads them.
    assert!(!info.resource.is_empty() || info.path.contains("//"), "{info:?}");
    assert!(info.api_prefix == "apis" || info.api_group.is_empty(), "{info:?}");
    assert!(
        info.api_prefix == "api" || !info.api_group.is_empty() || info.path.contains("//"),
        "{info:?}"
    );
    let verbs = [
        "",
        "get",
        "list",
        "watch",
        "create",
        "update",
        "patch",
        "delete",
        "deletecollection",
        "proxy",
    ];
    assert!(verbs.contains(&info.verb.as_str()), "{info:?}");
    let read = [Method::GET, Method::HEAD].contains(&method);
    let reading = ["get", "list", "watch", "proxy", ""].contains(&info.verb.as_str());
    assert!(!read || reading, "a GET that writes: {info:?}");
    let segments: Vec<&str> = info.path.trim_matches('/').split('/').collect();
    for part in [
        &info.api_group,
        &info.api_version,
        &info.namespace,
        &info.resource,
        &info.subresource,
    ] {
        assert!(part.is_empty() || segments.contains(&part.as_str()), "{part:?} of {info:?}");
    }
    // A path that is already decoded, written again, names the same.
    let path: String = info
        .path
        .split('/')
        .map(|segment| utf8_percent_encode(segment, NON_ALPHANUMERIC).to_string())
        .collect::<Vec<_>>()
        .join("/");
    let again = if query.is_empty() { path } else { format!("{path}?{query}") };
    if let Ok(uri) = again.parse::<Uri>() {
        assert_eq!(RequestInfo::parse(&method, &uri).ok(), Some(info), "{again}");
    }
});

/// What is read, written and read again is the same.
fn queries(text: &str) {
    let query = Query::parse(text);
    let mut written = String::new();
    let mut keys: Vec<String> = Vec::new();
    for part in text.split('&') {
        let key = part.split('=').next().unwrap_or_default();
        let read = Query::parse(&format!("{key}=1"));
        let decoded = percent_encoding::percent_decode_str(&key.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned();
        if read.first(&decoded).is_some() && !keys.contains(&decoded) {
            keys.push(decoded);
        }
    }
    for key in &keys {
        for value in query.all(key) {
            let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
            written.push_str(&format!("{}={}&", encode(key), encode(value)));
        }
    }
    let again = Query::parse(&written);
    for key in &keys {
        assert_eq!(
            again.all(key).collect::<Vec<_>>(),
            query.all(key).collect::<Vec<_>>(),
            "{key:?} in {written:?}"
        );
    }
}
