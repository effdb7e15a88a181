//! What the serving flags mean to the server: TLS, limits, the filters that are off by default. A value that cannot be had ends
//! the start with a sentence, before anything listens.

use anyhow::Result;
use outrigger_server::filters::cors::Cors;
use outrigger_server::filters::goaway::Goaway;
use outrigger_server::filters::hsts::Hsts;
use outrigger_server::{GO_MAX_STREAMS, Limits, MinVersion, Optional, ServerOptions, Suites, TlsOptions};

use crate::flags::Serving;

/// The flags, understood.
pub(crate) struct Opening {
    pub(crate) tls: TlsOptions,
    pub(crate) limits: Limits,
    pub(crate) optional: Optional,
    pub(crate) options: ServerOptions,
}

// === impl Opening ===

impl Opening {
    /// Understands them.
    pub(crate) fn read(flags: &Serving) -> Result<Self> {
        // The default of these is what they may say; clap refuses the rest.
        let _ = (
            flags.enable_priority_and_fairness,
            flags.profiling,
            flags.contention_profiling,
            flags.permit_address_sharing,
        );
        let min_version = MinVersion::named(&flags.tls_min_version)?;
        Ok(Self {
            tls: TlsOptions {
                suites: Suites::new(min_version, &flags.tls_cipher_suites, &flags.tls_curve_preferences)?,
                http1_only: flags.disable_http2_serving,
            },
            limits: Limits {
                request_timeout: flags.request_timeout,
                max_reading: flags.max_requests_inflight,
                max_writing: flags.max_mutating_requests_inflight,
                min_request_timeout: std::time::Duration::from_secs(flags.min_request_timeout.into()),
            },
            optional: Optional {
                cors: Cors::new(&flags.cors_allowed_origins)?,
                hsts: Hsts::new(&flags.strict_transport_security_directives)?,
                goaway: Goaway::new(flags.goaway_chance)?,
                retry_after: flags.shutdown_send_retry_after.then(Default::default),
            },
            options: ServerOptions {
                max_streams: match flags.http2_max_streams_per_connection {
                    0 => GO_MAX_STREAMS,
                    streams => streams,
                },
                share_port: flags.permit_port_sharing,
                shutdown_delay: flags.shutdown_delay_duration,
                ..ServerOptions::default()
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::flags::{Cli, Verb};

    fn opening(args: &[&str]) -> Result<Opening, String> {
        let all = ["outrigger", "serve", "--plugins=/p"].iter().chain(args);
        let cli = Cli::try_parse_from(all).map_err(|error| error.to_string())?;
        let Verb::Serve(serve) = cli.verb else { panic!("not serve") };
        Opening::read(&serve.serving).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn defaults_are_upstreams() {
        let opening = opening(&[]).unwrap();
        assert_eq!(opening.options.max_streams, 1000);
        assert_eq!(opening.limits.min_request_timeout.as_secs(), 1800);
        let Optional {
            cors,
            hsts,
            goaway,
            retry_after,
        } = opening.optional;
        assert!(cors.is_none() && hsts.is_none() && goaway.is_none() && retry_after.is_none());
    }

    #[test]
    fn what_can_be_had_is_taken() {
        for args in [
            &["--tls-min-version=VersionTLS13"][..],
            &["--tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_AES_128_GCM_SHA256"],
            &["--tls-curve-preferences=29,23"],
            &[
                "--tls-sni-cert-key=a.crt,a.key:*.example.com,example.com",
                "--tls-sni-cert-key=b.crt,b.key",
            ],
            &["--cors-allowed-origins=//example\\.com(:|$),^https://x$"],
            &["--strict-transport-security-directives=max-age=31536000,includeSubDomains,preload"],
            &["--goaway-chance=0.001"],
            &[
                "--shutdown-send-retry-after",
                "--permit-port-sharing",
                "--permit-address-sharing=true",
            ],
            &["--disable-http2-serving=true", "--min-request-timeout=60"],
            &[
                "--enable-priority-and-fairness=false",
                "--profiling=false",
                "--contention-profiling=false",
            ],
        ] {
            assert!(opening(args).is_ok(), "{args:?}: {:?}", opening(args).err());
        }
        assert_eq!(
            opening(&["--http2-max-streams-per-connection=0"])
                .unwrap()
                .options
                .max_streams,
            250
        );
    }

    #[test]
    fn what_cannot_is_refused_with_a_sentence() {
        for (args, sentence) in [
            ("--tls-min-version=VersionTLS11", "TLS begins at 1.2"),
            ("--tls-min-version=1.2", "unknown tls version"),
            (
                "--tls-cipher-suites=TLS_RSA_WITH_AES_128_GCM_SHA256",
                "not implemented by rustls",
            ),
            ("--tls-cipher-suites=X", "not supported or doesn't exist"),
            ("--tls-curve-preferences=25", "not implemented here"),
            (
                "--tls-sni-cert-key=a.crt",
                "expected comma separated certificate and key file paths",
            ),
            ("--cors-allowed-origins=example.com", "does not pin to start/end of host"),
            ("--strict-transport-security-directives=nonsense", "allowed values: max-age"),
            ("--goaway-chance=0.5", "greater than 0.02"),
            ("--enable-priority-and-fairness=true", "does not have it"),
            ("--profiling", "does not have it"),
        ] {
            let refused = opening(&[args]).err().unwrap_or_default();
            assert!(refused.contains(sentence), "{args}: {refused}");
        }
    }
}
