//! Flags of k8s.io/apiserver that this host does not have, each with the sentence that says why and what to do instead.
//!
//! A flag that is silently ignored is a promise that nobody keeps. These end the start, with more than "unexpected argument".

use clap::error::{ContextKind, ContextValue, ErrorKind};

const NO_WEBHOOK: &str =
    "audit events are not sent to webhooks; write them with --audit-log-path and let a collector read the file";
const NO_ENCRYPTION: &str = "objects are kept as they are; encrypt the disk, or what etcd writes to";
const HISTORY: &str = "how much of the past is kept is said by --storage-history-mib and --etcd-compaction-interval";
const NO_POLLS: &str = "objects are counted as they change, and nothing is polled";
const NO_CHECKS: &str = "/livez and /readyz do not ask etcd";

const ONE_STREAM: &str = "every line of the log is written at once, and all to standard error; leave the flag out";

/// Flag and sentence; `docs/flags.md` has the same list.
const REFUSED: &[(&str, &str)] = &[
    (
        "advertise-address",
        "the APIService names the Service that leads here; there is nothing to advertise",
    ),
    ("external-hostname", "no URL with a host name is ever made here"),
    (
        "livez-grace-period",
        "/livez does not wait for anything that starts; leave the flag out",
    ),
    (
        "storage-initialization-timeout",
        "a start does not wait for storage, /readyz does; leave the flag out",
    ),
    (
        "shutdown-watch-termination-grace-period",
        "watches end properly as soon as the drain begins; leave the flag out",
    ),
    ("debug-socket-path", "there is no pprof here"),
    ("feature-gates", "there are no feature gates here"),
    ("emulated-version", "one version of the API is served, that of this binary"),
    (
        "emulation-forward-compatible",
        "one version of the API is served, that of this binary",
    ),
    (
        "runtime-config-emulation-forward-compatible",
        "one version of the API is served, that of this binary",
    ),
    (
        "min-compatibility-version",
        "one version of the API is served, that of this binary",
    ),
    ("vmodule", "RUST_LOG chooses what is logged by module; see --v for all of it"),
    ("log-flush-frequency", ONE_STREAM),
    ("log-json-split-stream", ONE_STREAM),
    ("log-text-split-stream", ONE_STREAM),
    ("log-json-info-buffer-size", ONE_STREAM),
    ("log-text-info-buffer-size", ONE_STREAM),
    ("runtime-config", "what is served is what the plugins in --plugins declare"),
    ("etcd-servers-overrides", "all resources are kept in one place"),
    ("encryption-provider-config", NO_ENCRYPTION),
    ("encryption-provider-config-automatic-reload", NO_ENCRYPTION),
    ("storage-media-type", "objects are kept as JSON"),
    ("watch-cache", "every stored resource is read from memory; leave the flag out"),
    ("watch-cache-sizes", HISTORY),
    ("default-watch-cache-size", HISTORY),
    ("delete-collection-workers", "collections are deleted in eight places at once"),
    (
        "enable-garbage-collector",
        "finalizers of the garbage collector are always kept to; leave the flag out",
    ),
    ("etcd-count-metric-poll-period", NO_POLLS),
    ("etcd-db-metric-poll-interval", NO_POLLS),
    ("etcd-healthcheck-timeout", NO_CHECKS),
    ("etcd-readycheck-timeout", NO_CHECKS),
    ("lease-reuse-duration-seconds", "no leases are taken in etcd"),
    (
        "enable-admission-plugins",
        "there is no admission here beside what plugins do",
    ),
    (
        "disable-admission-plugins",
        "there is no admission here beside what plugins do",
    ),
    (
        "admission-control-config-file",
        "there is no admission here beside what plugins do",
    ),
    (
        "egress-selector-config-file",
        "kube-apiserver is reached directly; no konnectivity is needed or spoken",
    ),
    ("audit-webhook-config-file", NO_WEBHOOK),
    ("audit-webhook-initial-backoff", NO_WEBHOOK),
    ("audit-webhook-mode", NO_WEBHOOK),
    ("audit-webhook-version", NO_WEBHOOK),
    ("audit-webhook-batch-buffer-size", NO_WEBHOOK),
    ("audit-webhook-batch-max-size", NO_WEBHOOK),
    ("audit-webhook-batch-max-wait", NO_WEBHOOK),
    ("audit-webhook-batch-throttle-enable", NO_WEBHOOK),
    ("audit-webhook-batch-throttle-qps", NO_WEBHOOK),
    ("audit-webhook-batch-throttle-burst", NO_WEBHOOK),
    ("audit-webhook-truncate-enabled", NO_WEBHOOK),
    ("audit-webhook-truncate-max-event-size", NO_WEBHOOK),
    ("audit-webhook-truncate-max-batch-size", NO_WEBHOOK),
    ("audit-log-batch-throttle-enable", "writing to a file is not throttled"),
    ("audit-log-batch-throttle-qps", "writing to a file is not throttled"),
    ("audit-log-batch-throttle-burst", "writing to a file is not throttled"),
];

/// The sentence for a command line that clap refused because of one of these flags.
pub(crate) fn sentence(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let name = argument.trim_start_matches('-').split('=').next().unwrap_or_default();
    let (flag, why) = REFUSED.iter().find(|(flag, _)| *flag == name)?;
    Some(format!("--{flag} is not supported: {why} (see docs/flags.md)"))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;
    use crate::flags::Cli;

    #[test]
    fn upstreams_other_flags_are_refused_with_a_sentence() {
        for (flag, why) in REFUSED {
            for given in [format!("--{flag}=x"), format!("--{flag}")] {
                let error = Cli::try_parse_from(["outrigger", "serve", "--plugins=/p", &given]).unwrap_err();
                assert!(sentence(&error).unwrap().contains(why), "{given}");
            }
        }
        let typo = Cli::try_parse_from(["outrigger", "serve", "--plugins=/p", "--secure-prot=1"]).unwrap_err();
        assert_eq!(sentence(&typo), None);
    }

    /// The page is complete: it names every flag that there is, and every one that is refused.
    #[test]
    fn the_page_of_flags_names_all_of_them() {
        let page = include_str!("../../../docs/flags.md");
        let command = Cli::command();
        let serve = command.find_subcommand("serve").unwrap();
        let global = command.get_arguments().filter(|argument| argument.is_global_set());
        let flags = serve
            .get_arguments()
            .chain(global)
            .filter_map(|argument| argument.get_long())
            .filter(|flag| !matches!(*flag, "help" | "version"));
        for flag in flags.chain(REFUSED.iter().map(|(flag, _)| *flag)) {
            assert!(
                page.contains(&format!("| `--{flag}` |")),
                "docs/flags.md has no row for --{flag}"
            );
        }
        for row in page.lines().filter_map(|line| line.strip_prefix("| `--")) {
            let flag = row.split('`').next().unwrap();
            let known = serve
                .get_arguments()
                .chain(command.get_arguments())
                .any(|a| a.get_long() == Some(flag));
            assert!(
                known || REFUSED.iter().any(|(refused, _)| *refused == flag),
                "--{flag} is no flag"
            );
        }
    }
}
