//! What Go's errors mean. The aggregator repeats them in an APIService's condition and in the body of a 503, and from outside
//! they are often all that can be known: kube-apiserver reaches the host where a laptop cannot.
//!
//! The words are those of crypto/x509, net and net/http (Go 1.26), and of kube-aggregator's `remote_available_controller.go`.

/// What a text says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    UntrustedAuthority,
    WrongName,
    OutOfTime,
    NotReached,
    /// `bad status from URL: CODE`.
    Answered(u16),
}

/// Reads a text; none if it says nothing that is known here.
pub(crate) fn meaning(text: &str) -> Option<Meaning> {
    let has = |any: &[&str]| any.iter().any(|words| text.contains(words));
    if has(&["certificate has expired or is not yet valid"]) {
        Some(Meaning::OutOfTime)
    } else if has(&[
        "x509: certificate is valid for",
        "x509: certificate is not valid for any names",
        "doesn't contain any IP SANs",
        "relies on legacy Common Name field",
    ]) {
        Some(Meaning::WrongName)
    } else if has(&[
        "certificate signed by unknown authority",
        "x509: certificate is not trusted",
        "x509: ",
    ]) {
        Some(Meaning::UntrustedAuthority)
    } else if let Some(code) = bad_status(text) {
        Some(Meaning::Answered(code))
    } else if has(&[
        "connection refused",
        "no route to host",
        "network is unreachable",
        "i/o timeout",
        "context deadline exceeded",
        "Client.Timeout exceeded",
        "timed out waiting for",
        "no such host",
        "connection reset by peer",
        "EOF",
        "first record does not look like a TLS handshake",
        "server gave HTTP response to HTTPS client",
    ]) {
        Some(Meaning::NotReached)
    } else {
        None
    }
}

fn bad_status(text: &str) -> Option<u16> {
    let rest = text.split("bad status from ").nth(1)?;
    let digits: String = rest.rsplit(": ").next()?.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_aggregator_says() {
        let failing = "failing or missing response from https://10.0.0.1:443/apis/metrics.k8s.io/v1beta1: ";
        let get = "Get \"https://10.0.0.1:443/apis/metrics.k8s.io/v1beta1\": ";
        for (words, expected) in [
            (
                "dial tcp 10.0.0.1:443: connect: connection refused",
                Some(Meaning::NotReached),
            ),
            (
                "net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)",
                Some(Meaning::NotReached),
            ),
            (
                "tls: failed to verify certificate: x509: certificate signed by unknown authority",
                Some(Meaning::UntrustedAuthority),
            ),
            (
                "tls: failed to verify certificate: x509: certificate signed by unknown authority (possibly because of \"x509: ECDSA \
                 verification failure\" while trying to verify candidate authority certificate \"ca\")",
                Some(Meaning::UntrustedAuthority),
            ),
            (
                "tls: failed to verify certificate: x509: certificate is valid for localhost, not metrics-server.kube-system.svc",
                Some(Meaning::WrongName),
            ),
            (
                "tls: failed to verify certificate: x509: cannot validate certificate for 10.0.0.9 because it doesn't contain any IP SANs",
                Some(Meaning::WrongName),
            ),
            (
                "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2026-11-21T15:00:00Z \
                 is after 2026-01-01T00:00:00Z",
                Some(Meaning::OutOfTime),
            ),
            ("something else", None),
        ] {
            assert_eq!(meaning(&format!("{failing}{get}{words}")), expected, "{words}");
        }
        let answered = format!("{failing}bad status from https://10.0.0.1:443/apis/metrics.k8s.io/v1beta1: 401");
        assert_eq!(meaning(&answered), Some(Meaning::Answered(401)));
    }
}
