//! Command line: upstream's flag names where upstream has the flag, with upstream's meaning and default.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use outrigger_server::Named;

/// Serves Kubernetes APIs from sandboxed WebAssembly plugins, beside kube-apiserver.
#[derive(Debug, Parser)]
// As with pflag, a flag that is given again counts as it was given last, and every verb has --version.
#[command(
    name = "outrigger",
    version,
    propagate_version = true,
    args_override_self = true,
    max_term_width = 110
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,

    #[command(flatten)]
    pub(crate) logging: Logging,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Serve behind kube-apiserver's aggregation layer.
    Serve(Box<Serve>),
    /// Serve on this machine without a cluster: own certificates, a kubeconfig, read-only nodes and pods.
    Run(Box<Run>),
    /// Say what a plugin file is, what it asks for, and whether this host can load it. Runs nothing but `describe`.
    Inspect(Inspect),
    /// Say why an API served by this host does not work, and what to do: looks at the cluster with your kubeconfig, changes nothing.
    Doctor(Box<Doctor>),
    /// Back up and restore, export and import the objects of stored resources.
    Storage(crate::storage::Storage),
    /// Compiles for the process that started it: a component in, its code out.
    #[command(hide = true)]
    Compile(Compile),
}

/// `outrigger compile`, the server's own child.
#[derive(Debug, Args)]
pub(crate) struct Compile {
    /// Bytes of address space that it may have.
    #[arg(long)]
    pub(crate) memory: u64,

    /// Seconds of CPU that it may use.
    #[arg(long)]
    pub(crate) cpu_seconds: u64,
}

/// How the log reads.
#[derive(Debug, Args)]
pub(crate) struct Logging {
    /// Verbosity: 0 info, 2 debug, 3 a line per request, 4 and more trace; RUST_LOG refines it.
    #[arg(short = 'v', long = "v", global = true, default_value_t = 0, value_name = "LEVEL")]
    pub(crate) verbosity: u8,

    /// `text` or `json`.
    #[arg(long, global = true, default_value = "text", value_parser = ["text", "json"])]
    pub(crate) logging_format: String,
}

/// Which plugins, with which rights.
#[derive(Debug, Args, Clone)]
pub(crate) struct Plugins {
    /// Folder of plugins: every *.wasm in it is served, and changes take effect at once.
    #[arg(long, value_name = "DIR")]
    pub(crate) plugins: PathBuf,

    /// Grants a plugin capabilities, as PLUGIN=CAPABILITY[,CAPABILITY…]; * stands for any plugin. What is not granted is
    /// denied. Repeatable.
    #[arg(long = "grant", value_name = "PLUGIN=CAPABILITIES")]
    pub(crate) grants: Vec<String>,

    /// What each plugin is granted, in detail (YAML; docs/grants.md). Changes of the file take effect within seconds; what --grant
    /// says is added.
    #[arg(long = "grants", value_name = "FILE")]
    pub(crate) grants_file: Option<PathBuf>,

    /// Folder of what plugins keep (capability kv), for this host alone. Without it they can keep nothing.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,

    /// A plugin's configuration, as PLUGIN=FILE (JSON or YAML). Repeatable.
    #[arg(long = "plugin-config", value_name = "PLUGIN=FILE")]
    pub(crate) configs: Vec<String>,

    /// Folder for compiled plugins, kept from run to run; must not be writable by others.
    #[arg(long, value_name = "DIR")]
    pub(crate) compile_cache: Option<PathBuf>,

    /// Interval of metrics collection, at least 1s.
    #[arg(long, value_parser = go_duration, value_name = "DURATION")]
    pub(crate) metric_resolution: Option<Duration>,

    /// Kubelets asked at once.
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub(crate) collect_concurrency: usize,
}

/// `outrigger serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) plugins: Plugins,

    #[command(flatten)]
    pub(crate) serving: Serving,

    #[command(flatten)]
    pub(crate) authentication: Authentication,

    #[command(flatten)]
    pub(crate) authorization: Authorization,

    #[command(flatten)]
    pub(crate) kubelet: Kubelet,

    #[command(flatten)]
    pub(crate) observation: crate::observation::Flags,

    #[command(flatten)]
    pub(crate) leading: crate::leading::LeaderElection,

    #[command(flatten)]
    pub(crate) keeping: crate::keeping::Flags,

    #[command(flatten)]
    pub(crate) ca: crate::ca::Flags,

    #[command(flatten)]
    pub(crate) sharing: crate::sharing::Flags,

    /// The kubeconfig to reach kube-apiserver with; in a cluster, the pod's service account if absent.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
}

/// Where and how to listen.
#[derive(Debug, Args)]
pub(crate) struct Serving {
    /// Address to listen on.
    #[arg(long, default_value = "0.0.0.0", value_name = "IP")]
    pub(crate) bind_address: IpAddr,

    /// Port for HTTPS; 0 picks one.
    #[arg(long, default_value_t = 443, value_name = "PORT")]
    pub(crate) secure_port: u16,

    /// Folder for a certificate of our own, when --tls-cert-file is not given: ca.crt, apiserver.crt, apiserver.key.
    #[arg(long, default_value = "apiserver.local.config/certificates", value_name = "DIR")]
    pub(crate) cert_dir: PathBuf,

    /// Serving certificate (PEM, with intermediates).
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub(crate) tls_cert_file: Option<PathBuf>,

    /// Its key.
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub(crate) tls_private_key_file: Option<PathBuf>,

    /// A further certificate and key for hosts that clients name, as CERT,KEY or CERT,KEY:NAME,NAME… with domain names, maybe with a
    /// leading `*.`; the names of the certificate if none are given. Repeatable.
    #[arg(long, value_name = "CERT,KEY[:NAMES]")]
    pub(crate) tls_sni_cert_key: Vec<Named>,

    /// Oldest TLS version: VersionTLS12 or VersionTLS13.
    #[arg(long, default_value = "VersionTLS12", value_name = "VERSION")]
    pub(crate) tls_min_version: String,

    /// Cipher suites of TLS 1.2 by Go's names; all that rustls has if absent. Those of TLS 1.3 are always on. Preferred:
    /// TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    /// TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    /// TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256.
    /// Go's other suites (CBC, and all that Go lists as insecure) are refused.
    #[arg(long, value_delimiter = ',', value_name = "SUITES")]
    pub(crate) tls_cipher_suites: Vec<String>,

    /// Curves by Go's numbers: 23 (P-256), 24 (P-384), 29 (X25519); all of them if absent.
    #[arg(long, value_delimiter = ',', value_name = "IDS")]
    pub(crate) tls_curve_preferences: Vec<i32>,

    /// Speak HTTP/1.1 only.
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub(crate) disable_http2_serving: bool,

    /// Streams that a client may have open on one HTTP/2 connection; 0 is Go's default, 250.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub(crate) http2_max_streams_per_connection: u32,

    /// Let several processes listen on one port (SO_REUSEPORT).
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub(crate) permit_port_sharing: bool,

    /// SO_REUSEADDR. On Linux it is set in any case, as Go does.
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub(crate) permit_address_sharing: bool,

    /// Names for our own certificate beside localhost; the aggregator asks for SERVICE.NAMESPACE.svc.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "metrics-server.kube-system.svc",
        value_name = "NAMES"
    )]
    pub(crate) cert_names: Vec<String>,

    /// Non-mutating requests in flight; 429 beyond. 0 is no limit.
    #[arg(long, default_value_t = 400, value_name = "N")]
    pub(crate) max_requests_inflight: u32,

    /// Mutating requests in flight; 429 beyond. 0 is no limit.
    #[arg(long, default_value_t = 200, value_name = "N")]
    pub(crate) max_mutating_requests_inflight: u32,

    /// How long a request may take; watches are exempt.
    #[arg(long, default_value = "1m0s", value_parser = go_duration, value_name = "DURATION")]
    pub(crate) request_timeout: Duration,

    /// Seconds that a watch stays open at least, if it does not say itself; it ends at a random time between this and twice this.
    #[arg(long, default_value_t = 1800, value_name = "SECONDS")]
    pub(crate) min_request_timeout: u32,

    /// The part of requests (0 to 0.02) after which an HTTP/2 connection is ended, so that clients spread over replicas; 0 is off.
    #[arg(long, default_value_t = 0.0, value_name = "CHANCE")]
    pub(crate) goaway_chance: f64,

    /// Origins that browsers may let in, as regular expressions that pin both ends of the host, such as
    /// `//example\.com(:|$)`. None: no CORS.
    #[arg(long, value_delimiter = ',', value_name = "PATTERNS")]
    pub(crate) cors_allowed_origins: Vec<String>,

    /// Directives of Strict-Transport-Security, such as max-age=31536000,includeSubDomains,preload. None: no such header.
    #[arg(long, value_delimiter = ',', value_name = "DIRECTIVES")]
    pub(crate) strict_transport_security_directives: Vec<String>,

    /// How long to go on serving, not ready, after SIGTERM before connections are closed.
    #[arg(long, default_value = "0s", value_parser = go_duration, value_name = "DURATION")]
    pub(crate) shutdown_delay_duration: Duration,

    /// After that, keep the port open and answer newcomers with 429 and Retry-After until requests under way are answered.
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub(crate) shutdown_send_retry_after: bool,

    /// Only `false`: there are no flow schemas here, --max-requests-inflight and its sister limit what is in flight.
    #[arg(long, num_args = 0..=1, default_value = "false", default_missing_value = "true", require_equals = true, value_parser = off, hide = true)]
    pub(crate) enable_priority_and_fairness: bool,

    /// Only `false`: there is no /debug/pprof here.
    #[arg(long, num_args = 0..=1, default_value = "false", default_missing_value = "true", require_equals = true, value_parser = off, hide = true)]
    pub(crate) profiling: bool,

    /// Only `false`: there is no /debug/pprof here.
    #[arg(long, num_args = 0..=1, default_value = "false", default_missing_value = "true", require_equals = true, value_parser = off, hide = true)]
    pub(crate) contention_profiling: bool,
}

/// Who is calling.
#[derive(Debug, Args)]
pub(crate) struct Authentication {
    /// kubeconfig for TokenReviews and for reading kube-system/extension-apiserver-authentication; --kubeconfig if absent.
    #[arg(long, value_name = "FILE")]
    pub(crate) authentication_kubeconfig: Option<PathBuf>,

    /// Do not read kube-system/extension-apiserver-authentication.
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub(crate) authentication_skip_lookup: bool,

    /// Start even if that ConfigMap cannot be read.
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub(crate) authentication_tolerate_lookup_failure: bool,

    /// How long the answer of a TokenReview is good.
    #[arg(long, default_value = "10s", value_parser = go_duration, value_name = "DURATION")]
    pub(crate) authentication_token_webhook_cache_ttl: Duration,

    /// CA of client certificates (CN is the user, O the groups).
    #[arg(long, value_name = "FILE")]
    pub(crate) client_ca_file: Option<PathBuf>,

    /// CA of the aggregator's client certificate; instead of the ConfigMap's.
    #[arg(long, value_name = "FILE")]
    pub(crate) requestheader_client_ca_file: Option<PathBuf>,

    /// Common names that the aggregator's certificate may have; empty is any.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) requestheader_allowed_names: Vec<String>,

    /// Headers that carry the user name.
    #[arg(long, value_delimiter = ',', default_value = "x-remote-user", value_name = "HEADERS")]
    pub(crate) requestheader_username_headers: Vec<String>,

    /// Headers that carry the user's UID.
    #[arg(long, value_delimiter = ',', value_name = "HEADERS")]
    pub(crate) requestheader_uid_headers: Vec<String>,

    /// Headers that carry groups.
    #[arg(long, value_delimiter = ',', default_value = "x-remote-group", value_name = "HEADERS")]
    pub(crate) requestheader_group_headers: Vec<String>,

    /// Prefixes of headers that carry extra attributes.
    #[arg(long, value_delimiter = ',', default_value = "x-remote-extra-", value_name = "PREFIXES")]
    pub(crate) requestheader_extra_headers_prefix: Vec<String>,
}

/// May they.
#[derive(Debug, Args)]
pub(crate) struct Authorization {
    /// kubeconfig for SubjectAccessReviews; --kubeconfig if absent.
    #[arg(long, value_name = "FILE")]
    pub(crate) authorization_kubeconfig: Option<PathBuf>,

    /// Paths that need no permission.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "/healthz,/readyz,/livez",
        value_name = "PATHS"
    )]
    pub(crate) authorization_always_allow_paths: Vec<String>,

    /// How long a permission is good.
    #[arg(long, default_value = "10s", value_parser = go_duration, value_name = "DURATION")]
    pub(crate) authorization_webhook_cache_authorized_ttl: Duration,

    /// How long a denial is good.
    #[arg(long, default_value = "10s", value_parser = go_duration, value_name = "DURATION")]
    pub(crate) authorization_webhook_cache_unauthorized_ttl: Duration,
}

/// How kubelets are reached: metrics-server's flags.
#[derive(Debug, Args)]
pub(crate) struct Kubelet {
    /// The port of kubelets.
    #[arg(long, default_value_t = 10250, value_name = "PORT")]
    pub(crate) kubelet_port: u16,

    /// Take the port from the node's status where it has one.
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub(crate) kubelet_use_node_status_port: bool,

    /// Which of a node's addresses to use, best first.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "Hostname,InternalDNS,InternalIP,ExternalDNS,ExternalIP",
        value_name = "TYPES"
    )]
    pub(crate) kubelet_preferred_address_types: Vec<String>,

    /// How long a kubelet may take to answer.
    #[arg(long, default_value = "10s", value_parser = go_duration, value_name = "DURATION")]
    pub(crate) kubelet_request_timeout: Duration,

    /// Do not verify kubelets' certificates. For tests.
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub(crate) kubelet_insecure_tls: bool,

    /// A kubelet's certificate must be for its node's name, instead of the address that is dialled.
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub(crate) kubelet_verify_by_node_name: bool,

    /// CA of kubelets' certificates; the cluster's if absent.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubelet_certificate_authority: Option<PathBuf>,

    /// Client certificate for kubelets.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubelet_client_certificate: Option<PathBuf>,

    /// Its key.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubelet_client_key: Option<PathBuf>,

    /// Plain HTTP and no credentials. Deprecated.
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub(crate) deprecated_kubelet_completely_insecure: bool,

    /// Only nodes that match this label selector.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(crate) node_selector: Option<String>,
}

/// `outrigger run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) plugins: Plugins,

    #[command(flatten)]
    pub(crate) keeping: crate::keeping::Flags,

    /// Folder for certificates, the kubeconfig and compiled plugins.
    #[arg(long, default_value = ".outrigger", value_name = "DIR")]
    pub(crate) dir: PathBuf,

    /// Address and port to listen on; port 0 picks one.
    #[arg(long, default_value = "127.0.0.1:8443", value_name = "ADDRESS")]
    pub(crate) listen: std::net::SocketAddr,

    /// The kubelet of this machine, such as https://127.0.0.1:10250 (examples/local-kubelet serves one).
    #[arg(long, value_name = "URL")]
    pub(crate) kubelet: http::Uri,

    /// CA of its certificate.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubelet_certificate_authority: Option<PathBuf>,

    /// File with the bearer token it wants.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubelet_token_file: Option<PathBuf>,
}

/// `outrigger inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The plugin.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Say, beside what is asked for, what this grants file grants and what comes of both.
    #[arg(long = "grants", value_name = "FILE")]
    pub(crate) grants_file: Option<PathBuf>,

    /// As one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `outrigger doctor`. Exit code 0: nothing fails; 1: something does; 2: it could not look.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// kubeconfig of an administrator; $KUBECONFIG or ~/.kube/config if absent.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig; its current one if absent.
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,

    /// The host's service account; that of the pods behind the Service if absent, else kube-system/metrics-server.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = namespaced)]
    pub(crate) service_account: Option<(String, String)>,

    /// APIService to look at, such as v1.metrics.k8s.io; those of metrics and all others of the same Service if absent. Repeatable.
    #[arg(long = "api-service", value_name = "NAME")]
    pub(crate) api_services: Vec<String>,

    /// Where the host answers on this machine, such as https://127.0.0.1:8443 after `kubectl port-forward`; the Service's own
    /// addresses if absent.
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<http::Uri>,

    /// The certificate of kube-apiserver's front proxy (its --proxy-client-cert-file), to be judged as the host judges it.
    #[arg(long, value_name = "FILE")]
    pub(crate) proxy_client_cert_file: Option<PathBuf>,

    /// Kubelets to look at.
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub(crate) max_nodes: usize,

    /// How long one question may take.
    #[arg(long, default_value = "10s", value_parser = go_duration, value_name = "DURATION")]
    pub(crate) timeout: Duration,

    /// `text` or `json`.
    #[arg(short = 'o', long, default_value = "text", value_parser = ["text", "json"], value_name = "FORMAT")]
    pub(crate) output: String,
}

pub(crate) fn namespaced(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((namespace.into(), name.into()))
        }
        _ => Err(format!("{text:?} is not NAMESPACE/NAME")),
    }
}

/// Of something that upstream can switch on and this host has not.
fn off(text: &str) -> Result<bool, String> {
    match text {
        "false" | "0" | "f" | "F" | "FALSE" | "False" => Ok(false),
        _ => Err("this host does not have it; only false is taken (see docs/flags.md)".into()),
    }
}

/// A duration as Go writes it: `15s`, `1m0s`, `1.5h`, `100ms`.
pub(crate) fn go_duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let parsed: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("{text:?} is not a duration such as 15s or 1m0s"))?;
    Duration::try_from(parsed).map_err(|_| format!("{text:?} is negative"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_in_go() {
        for (text, expected) in [
            ("15s", Some(Duration::from_secs(15))),
            ("1m0s", Some(Duration::from_secs(60))),
            ("1.5h", Some(Duration::from_secs(5_400))),
            ("100ms", Some(Duration::from_millis(100))),
            ("1h2m3s", Some(Duration::from_secs(3_723))),
            ("0", Some(Duration::ZERO)),
            ("0s", Some(Duration::ZERO)),
            ("15", None),
            ("-5s", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(go_duration(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn metrics_servers_arguments_are_understood() {
        let cli = Cli::try_parse_from([
            "outrigger",
            "serve",
            "--plugins=/plugins",
            "--cert-dir=/tmp",
            "--secure-port=10250",
            "--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",
            "--kubelet-use-node-status-port",
            "--metric-resolution=60s",
            // As a chart adds somebody's arguments to its own.
            "--metric-resolution=15s",
            "--kubelet-insecure-tls",
            "--kubelet-insecure-tls=false",
        ])
        .unwrap();
        let Verb::Serve(serve) = cli.verb else { panic!("not serve") };
        assert!(serve.kubelet.kubelet_use_node_status_port && !serve.kubelet.kubelet_insecure_tls);
        assert_eq!(serve.plugins.metric_resolution, Some(Duration::from_secs(15)));
        assert_eq!(
            serve.kubelet.kubelet_preferred_address_types,
            ["InternalIP", "ExternalIP", "Hostname"]
        );
        let version = Cli::try_parse_from(["outrigger", "serve", "--version"]).unwrap_err();
        assert_eq!(version.kind(), clap::error::ErrorKind::DisplayVersion);
    }
}
