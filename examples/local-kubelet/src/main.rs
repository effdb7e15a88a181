//! `local-kubelet`: serves this machine's `/stats/summary` until it is told to stop.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use local_kubelet::cgroups::Cgroups;
use local_kubelet::identity::{self, Token};
use local_kubelet::names;
use local_kubelet::proc::Proc;
use local_kubelet::processes::Processes;
use local_kubelet::sample::{Sample, Sampler, Source};
use local_kubelet::server::{self, Kubelet};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// A kubelet's stats endpoint for the machine it runs on.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// Where to listen. Port 0 takes a free one; the address is the first line of standard output.
    #[arg(long, default_value = "127.0.0.1:10250")]
    listen: SocketAddr,
    /// ca.crt, tls.crt and tls.key. Made, with a client.crt and client.key, if tls.crt and tls.key are absent.
    #[arg(long, default_value = ".outrigger/local-kubelet")]
    cert_dir: PathBuf,
    /// The bearer token that readers show [default: token in --cert-dir]. Made if absent.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// The node's name [default: the host's name].
    #[arg(long)]
    node_name: Option<String>,
    /// Time between two samples, such as 10s or 500ms.
    #[arg(long, default_value = "10s", value_parser = duration)]
    housekeeping_interval: Duration,
    /// What is shown as pods.
    #[arg(long, value_enum, default_value_t = Pods::Auto)]
    pods: Pods,
    /// How many pods are made of processes, those first that used most CPU.
    #[arg(long, default_value_t = 50)]
    top: usize,
    /// The proc file system.
    #[arg(long, default_value = "/proc")]
    proc: PathBuf,
    /// The cgroup file system.
    #[arg(long, default_value = "/sys/fs/cgroup")]
    cgroups: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Pods {
    /// Cgroups where there are any, else processes.
    Auto,
    /// The slices and containers at the top of the hierarchy.
    Cgroups,
    /// Sessions and their programs.
    Processes,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr)
        .init();
    run(Flags::parse()).await
}

async fn run(flags: Flags) -> anyhow::Result<()> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let node = flags
        .node_name
        .unwrap_or_else(|| names::subdomain(&host.to_ascii_lowercase()));
    anyhow::ensure!(names::subdomain(&node) == node, "--node-name: {node:?} is not a DNS name");
    let token_file = flags.token_file.unwrap_or_else(|| flags.cert_dir.join("token"));
    let mut certified = vec![
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
        "localhost".to_owned(),
        names::subdomain(&host.to_ascii_lowercase()),
    ];
    certified.extend([node.clone(), flags.listen.ip().to_string()]);
    let mut unique = Vec::new();
    certified
        .into_iter()
        .filter(|name| name != "0.0.0.0" && name != "::")
        .for_each(|name| {
            if !unique.contains(&name) {
                unique.push(name);
            }
        });
    let tls = TlsAcceptor::from(Arc::new(identity::tls(&flags.cert_dir, &unique)?));
    let token = Token::from_file(&token_file)?;

    let source = match (flags.pods, Cgroups::at(&flags.cgroups)) {
        (Pods::Auto | Pods::Cgroups, Some(cgroups)) => Source::Cgroups(cgroups),
        (Pods::Cgroups, None) => anyhow::bail!("no cgroups with CPU and memory in {}", flags.cgroups.display()),
        (Pods::Auto | Pods::Processes, _) => Source::Processes(Processes::new(flags.top)),
    };
    let shown = if matches!(source, Source::Cgroups(_)) {
        "cgroups"
    } else {
        "processes"
    };
    let mut sampler = Sampler::new(Proc::at(flags.proc), source)?;
    let (publish, samples) = watch::channel(Arc::new(sampler.sample()?));
    let sampling = tokio::spawn(keep_sampling(sampler, publish, flags.housekeeping_interval));

    let listener = TcpListener::bind(flags.listen)
        .await
        .with_context(|| flags.listen.to_string())?;
    let address = listener.local_addr()?;
    println!("https://{address}");
    tracing::info!(%address, %node, pods = shown, token = %token_file.display(), "serving /stats/summary, /pods and /healthz");
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        tracing::info!("stopping");
    };
    server::serve(listener, tls, Arc::new(Kubelet { node, token, samples }), stop).await;
    sampling.abort();
    Ok(())
}

/// Looks again and again. The first time soon: until there are two samples there are no rates.
async fn keep_sampling(mut sampler: Sampler, publish: watch::Sender<Arc<Sample>>, interval: Duration) {
    let mut pause = interval.min(Duration::from_secs(1));
    loop {
        tokio::time::sleep(pause).await;
        pause = interval;
        // /proc may block for a moment; connections must not.
        let looked = tokio::task::spawn_blocking(move || {
            let sample = sampler.sample();
            (sampler, sample)
        });
        match looked.await {
            Ok((back, sample)) => {
                sampler = back;
                match sample {
                    Ok(sample) => drop(publish.send_replace(Arc::new(sample))),
                    Err(e) => tracing::warn!("the last sample stays: {e:#}"),
                }
            }
            Err(e) => return tracing::error!("the sampler is gone: {e}"),
        }
    }
}

/// Go's form, as the kubelet's flag has it, as far as it makes sense here.
fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000)];
    let (number, scale) = units
        .into_iter()
        .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?.parse::<u64>().ok()?, scale)))
        .ok_or("must be like 500ms, 10s or 1m")?;
    match number.saturating_mul(scale) {
        milliseconds @ 100..=600_000 => Ok(Duration::from_millis(milliseconds)),
        _ => Err("must be between 100ms and 10m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("10s", Some(10_000)),
            ("500ms", Some(500)),
            ("1m", Some(60_000)),
            ("0s", None),
            ("1h", None),
            ("s", None),
        ] {
            assert_eq!(duration(text).ok(), expected.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn flags_are_well_formed() {
        use clap::CommandFactory;
        Flags::command().debug_assert();
    }
}
