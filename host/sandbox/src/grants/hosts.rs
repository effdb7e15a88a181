//! Patterns of hosts: `HOST`, `HOST:PORT`, `*.DOMAIN`, `*.DOMAIN:PORT`.
//!
//! Without a port a pattern means the ports of http and https, 80 and 443. `*.DOMAIN` means every name below DOMAIN, not DOMAIN itself.
//! Names are compared without case and without the dot at the end, as DNS does. A pattern judges names; where a name leads is judged
//! when it is resolved.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Hosts that requests may name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern {
    /// Lower case, without a dot at the end; an IPv6 address in brackets.
    name: Box<str>,
    below: bool,
    port: Option<u16>,
}

/// Not a pattern of hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of HOST, HOST:PORT, *.DOMAIN, *.DOMAIN:PORT")]
pub struct BadHost(pub String);

/// What a pattern without a port means.
const PORTS: [u16; 2] = [80, 443];

// === impl HostPattern ===

impl HostPattern {
    /// Whether a request for this host and port is meant. IPv6 addresses stand in brackets, as in a URL.
    #[must_use]
    pub fn matches(&self, host: &str, port: u16) -> bool {
        if !self.port.map_or(PORTS.contains(&port), |p| p == port) {
            return false;
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        if !self.below {
            return host.eq_ignore_ascii_case(&self.name);
        }
        let Some(at) = host.len().checked_sub(self.name.len() + 1) else {
            return false;
        };
        at > 0
            && host.as_bytes().get(at) == Some(&b'.')
            && host.get(at + 1..).is_some_and(|end| end.eq_ignore_ascii_case(&self.name))
    }

    /// What both mean; none if there is no such host.
    #[must_use]
    pub fn and(&self, other: &Self) -> Option<Self> {
        let port = match (self.port, other.port) {
            (None, None) => None,
            (Some(p), None) | (None, Some(p)) if PORTS.contains(&p) => Some(p),
            (Some(p), Some(q)) if p == q => Some(p),
            _ => return None,
        };
        let narrower = match (self.below, other.below) {
            (false, false) => (self.name == other.name).then_some(self),
            (false, true) => other.covers(&self.name).then_some(self),
            (true, false) => self.covers(&other.name).then_some(other),
            (true, true) if self.name == other.name || other.covers(&self.name) => Some(self),
            (true, true) => self.covers(&other.name).then_some(other),
        }?;
        Some(Self {
            port,
            ..narrower.clone()
        })
    }

    /// Whether the name lies below this one's domain.
    fn covers(&self, name: &str) -> bool {
        name.strip_suffix(&*self.name)
            .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
    }
}

impl FromStr for HostPattern {
    type Err = BadHost;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadHost(text.chars().take(256).collect());
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                let digits = port.bytes().all(|b| b.is_ascii_digit());
                let port = port.parse::<u16>().ok().filter(|p| digits && *p != 0).ok_or_else(bad)?;
                (host, Some(port))
            }
            _ => (text, None),
        };
        let (below, name) = match host.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, host),
        };
        let name = name.to_ascii_lowercase();
        let fits = match name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
            Some(ip) => !below && ip.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                name.len() <= 253
                    && name.split('.').all(outrigger_manifest::is_dns_label)
                    && !(below && name.parse::<std::net::Ipv4Addr>().is_ok())
            }
        };
        if !fits {
            return Err(bad());
        }
        Ok(Self {
            name: name.into(),
            below,
            port,
        })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.below { "*." } else { "" };
        write!(f, "{star}{}", self.name)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl TryFrom<String> for HostPattern {
    type Error = BadHost;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_hosts() {
        for (pattern, host, port, want) in [
            ("example.com", "example.com", 443, true),
            ("example.com", "EXAMPLE.com.", 80, true),
            ("example.com", "example.com", 8443, false),
            ("example.com", "www.example.com", 443, false),
            ("example.com", "example.com.evil.org", 443, false),
            ("example.com", "notexample.com", 443, false),
            ("Example.COM", "example.com", 443, true),
            ("example.com:8443", "example.com", 8443, true),
            ("example.com:8443", "example.com", 443, false),
            ("*.example.com", "www.example.com", 443, true),
            ("*.example.com", "a.b.example.com", 443, true),
            ("*.example.com", "example.com", 443, false),
            ("*.example.com", ".example.com", 443, false),
            ("*.example.com", "wwwexample.com", 443, false),
            ("*.example.com:81", "www.example.com", 81, true),
            ("10.0.0.1", "10.0.0.1", 80, true),
            ("[::1]:8080", "[::1]", 8080, true),
            ("[::1]", "[::1]", 443, true),
        ] {
            let pattern: HostPattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(host, port), want, "{pattern} and {host}:{port}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in [
            "",
            "*",
            "*.",
            "*.*.example.com",
            "a..b",
            "-a.example.com",
            "example.com:",
            "example.com:0",
            "example.com:65536",
            "example.com:+80",
            "https://example.com",
            "example.com/",
            "user@example.com",
            "[::1",
            "*.[::1]",
            "*.10.0.0.1",
            "a b",
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn patterns_meet() {
        for (a, b, want) in [
            ("a.example.com", "a.example.com", Some("a.example.com")),
            ("a.example.com", "*.example.com", Some("a.example.com")),
            ("*.example.com", "*.b.example.com", Some("*.b.example.com")),
            ("*.example.com", "example.com", None),
            ("a.example.com", "b.example.com", None),
            ("a.example.com", "a.example.com:443", Some("a.example.com:443")),
            ("a.example.com", "a.example.com:8443", None),
            ("*.example.com:8443", "a.example.com:8443", Some("a.example.com:8443")),
        ] {
            let (a, b): (HostPattern, HostPattern) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!(a.and(&b).map(|p| p.to_string()).as_deref(), want, "{a} and {b}");
            assert_eq!(a.and(&b), b.and(&a), "{a} and {b}");
        }
    }

    fn pattern() -> impl Strategy<Value = HostPattern> {
        (
            any::<bool>(),
            "([ab]\\.){0,2}[ab]",
            proptest::option::of(prop_oneof![Just(80u16), Just(443), Just(81)]),
        )
            .prop_map(|(below, name, port)| {
                let star = if below { "*." } else { "" };
                let port = port.map_or_else(String::new, |p| format!(":{p}"));
                format!("{star}{name}{port}").parse().unwrap()
            })
    }

    proptest! {
        /// The meeting of two patterns matches exactly what both match.
        #[test]
        fn meeting_is_both(a in pattern(), b in pattern(), host in "([ab]\\.){0,3}[ab]", port in prop_oneof![Just(80u16), Just(443), Just(81)]) {
            let both = a.matches(&host, port) && b.matches(&host, port);
            prop_assert_eq!(a.and(&b).is_some_and(|p| p.matches(&host, port)), both);
        }

        /// The text form reads as itself, and whatever reads matches itself at most.
        #[test]
        fn text_reads_as_itself(text in "\\PC{0,40}") {
            if let Ok(pattern) = text.parse::<HostPattern>() {
                prop_assert_eq!(pattern.to_string().parse::<HostPattern>(), Ok(pattern));
            }
        }
    }
}
