//! The health paths: which checks there are is each server's own affair, how they are asked and shown is not.

use http::Method;

use crate::row::{Row, Who, get};

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for path in ["healthz", "livez", "readyz"] {
        for (how, rest) in [
            ("plain", ""),
            ("verbose", "?verbose"),
            ("verbose with a value", "?verbose=0"),
            ("without ping", "?exclude=ping"),
            ("without an unknown one", "?exclude=unknown"),
            ("verbose, without ping", "?verbose&exclude=ping"),
            ("verbose, without two", "?verbose&exclude=ping&exclude=log"),
            ("verbose, without an unknown one", "?verbose&exclude=unknown"),
            ("a slash more", "/"),
            ("ping", "/ping"),
            ("ping, verbose", "/ping?verbose"),
            ("ping, excluded", "/ping?exclude=ping"),
            ("ping, a slash more", "/ping/"),
            ("below ping", "/ping/x"),
            ("log", "/log"),
            ("an unknown check", "/unknown"),
        ] {
            rows.push(get(format!("{path}: {how}"), format!("/{path}{rest}")));
        }
        for method in [Method::HEAD, Method::POST, Method::OPTIONS] {
            rows.push(get(format!("{path}: {method}"), format!("/{path}")).method(method));
        }
        rows.push(get(format!("{path}: by nobody"), format!("/{path}")).by(Who::Nobody));
        rows.push(get(format!("{path}: ping by nobody"), format!("/{path}/ping")).by(Who::Nobody));
        rows.push(get(format!("{path}: verbose by nobody"), format!("/{path}?verbose")).by(Who::Nobody));
        rows.push(get(format!("{path}: JSON"), format!("/{path}")).accept("application/json"));
    }
    rows
}
