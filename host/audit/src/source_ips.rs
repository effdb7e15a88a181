//! Where a request came from: `X-Forwarded-For`, `X-Real-Ip`, the connection (apimachinery `util/net` `SourceIPs`).
//!
//! Only the last address can be believed; a client may write anything into the headers.

use std::net::{IpAddr, Ipv4Addr};

use http::HeaderMap;

/// The addresses, farthest first; never empty.
#[must_use]
pub fn source_ips(headers: &HeaderMap, remote: IpAddr) -> Vec<IpAddr> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let mut ips: Vec<IpAddr> = text("x-forwarded-for")
        .split(',')
        .filter_map(|part| parse(part.trim()))
        .collect();
    if let Some(real) = parse(text("x-real-ip"))
        && !ips.contains(&real)
    {
        ips.push(real);
    }
    let remote = remote.to_canonical();
    if ips.last() != Some(&remote) {
        ips.push(remote);
    }
    ips
}

/// As Go reads it (`ParseIPSloppy`): leading zeros are decimal, an IPv4 address within IPv6 is an IPv4 address.
fn parse(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
    }
    let mut numbers = text.split('.').map(|part| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| part.parse::<u8>().ok()).flatten()
    });
    let mut next = || numbers.next().flatten();
    let ip = Ipv4Addr::new(next()?, next()?, next()?, next()?);
    numbers.next().is_none().then_some(IpAddr::V4(ip))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    /// The rows of upstream's `TestSourceIPs`.
    #[test]
    fn the_order_is_upstreams() {
        for (forwarded, real, remote, want) in [
            ("", "", "1.1.1.1", "1.1.1.1"),
            ("", "1.1.1.1", "1.1.1.1", "1.1.1.1"),
            ("", "2.2.2.2", "1.1.1.1", "2.2.2.2 1.1.1.1"),
            ("2.2.2.2, 3.3.3.3", "", "1.1.1.1", "2.2.2.2 3.3.3.3 1.1.1.1"),
            ("2.2.2.2, 1.1.1.1", "", "1.1.1.1", "2.2.2.2 1.1.1.1"),
            ("2.2.2.2", "2.2.2.2", "1.1.1.1", "2.2.2.2 1.1.1.1"),
            ("2.2.2.2", "3.3.3.3", "1.1.1.1", "2.2.2.2 3.3.3.3 1.1.1.1"),
            ("garbage, 010.1.1.1,", "::1%eth0", "::ffff:9.9.9.9", "10.1.1.1 9.9.9.9"),
            ("1.2.3, 1.2.3.4.5, 1.2.3.256, ::ffff:1.2.3.4", "", "::1", "1.2.3.4 ::1"),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [("x-forwarded-for", forwarded), ("x-real-ip", real)] {
                if !value.is_empty() {
                    headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
                }
            }
            let got = source_ips(&headers, remote.parse().unwrap());
            let got: Vec<String> = got.iter().map(ToString::to_string).collect();
            assert_eq!(got.join(" "), want, "{forwarded:?} {real:?} {remote}");
        }
    }
}
