//! Replicas that share the collectors' work, for the binary: the flags, who is alive, what they hear of each other.
//!
//! `cluster` knows the replicas and listens to them, `background` knows whose turn it is and what a tick brings, `server` lets the others
//! listen; here they meet. What stands in between is [`outrigger_background::sharing`].

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use outrigger_background::sharing::{self, weight};
use outrigger_background::{Collectors, EMPTY, Feed};
use outrigger_cluster::replicas::Live;
use outrigger_cluster::{Cluster, Peers, Replicas, ReplicasOptions, peers};
use outrigger_server::{Body, Bundle, OwnStream, Publication};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::flags::Serving;

/// How replicas share the collectors' work.
#[derive(Debug, Args, Clone)]
#[group(id = "sharing")]
pub(crate) struct Flags {
    /// Divide the targets of collectors (for metrics: the nodes) between the replicas. Each asks its part and hears the others' answers, so
    /// that all answer for everything; who falls silent is replaced before a value is two intervals old. Without it each replica asks
    /// everybody. Needs --ca-secret, --ca-bundle-file or --peer-ca-file.
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    share_collection: bool,

    /// Address at which other replicas reach this one; --bind-address if absent.
    #[arg(long, value_name = "IP")]
    peer_advertise_ip: Option<IpAddr>,

    /// Port at which other replicas reach this one; --secure-port if absent.
    #[arg(long, value_name = "PORT")]
    peer_advertise_port: Option<u16>,

    /// Whom to believe when other replicas show their certificates (PEM); who stands in the caBundle if absent.
    #[arg(long, value_name = "FILE")]
    peer_ca_file: Option<PathBuf>,
}

/// The replicas, while this one shares with them.
pub(crate) struct Crew {
    replicas: Arc<Replicas>,
    peer_ca_file: Option<PathBuf>,
}

/// Whose turn it is.
struct Line {
    me: String,
    live: watch::Receiver<Live>,
    changes: watch::Receiver<u64>,
}

/// `outrigger_replicas`, `outrigger_replicas_connected`, read when somebody looks.
struct Series(Arc<Replicas>);

/// From one look whether all is known to the next.
const LOOK: Duration = Duration::from_millis(100);

const _: () = assert!(sharing::MOST <= peers::FRAME);

// === impl Flags ===

impl Flags {
    /// Who shares, if anybody shall. Nothing is asked before [`Crew::work`].
    pub(crate) fn crew(
        &self,
        serving: &Serving,
        cluster: &Cluster,
        (namespace, name): (&str, &str),
        registry: &mut Registry,
    ) -> Result<Option<Crew>> {
        if !self.share_collection {
            return Ok(None);
        }
        let ip = self.peer_advertise_ip.unwrap_or(serving.bind_address);
        if ip.is_unspecified() {
            bail!("--share-collection needs --peer-advertise-ip, the address at which other replicas reach this one: the pod's");
        }
        let port = self.peer_advertise_port.unwrap_or(serving.secure_port);
        if port == 0 {
            bail!("--share-collection needs a --secure-port that is known, or --peer-advertise-port");
        }
        let options = ReplicasOptions::at(SocketAddr::new(ip, port));
        let replicas = Arc::new(Replicas::new(&cluster.client, namespace, name, options));
        registry.register_collector(Box::new(Series(replicas.clone())));
        Ok(Some(Crew {
            replicas,
            peer_ca_file: self.peer_ca_file.clone(),
        }))
    }
}

// === impl Crew ===

impl Crew {
    /// Whose turn it is, for collectors.
    pub(crate) fn line(&self, tasks: &TaskTracker, end: &CancellationToken) -> Arc<dyn outrigger_background::Replicas> {
        let live = self.replicas.live();
        let (tell, changes) = watch::channel(0);
        let (mut following, end) = (live.clone(), end.clone());
        tasks.spawn(async move {
            while let Some(Ok(())) = end.run_until_cancelled(following.changed()).await {
                tell.send_modify(|changes| *changes += 1);
            }
        });
        Arc::new(Line {
            me: self.replicas.address().to_string(),
            live,
            changes,
        })
    }

    /// Takes a place among the replicas and listens to the others until `over`; then the place is given up. Both begin when it is
    /// known what there is to collect: what is told of others' ticks before would be of no use.
    #[expect(clippy::too_many_arguments, reason = "two rooms and the door meet here")]
    pub(crate) fn work(
        &self,
        collectors: Arc<Collectors>,
        settled: impl Fn() -> bool + Send + Sync + 'static,
        cluster: &Cluster,
        server_name: Option<&str>,
        publication: Option<Arc<Publication>>,
        tasks: &TaskTracker,
        over: &CancellationToken,
    ) -> Result<()> {
        let server_name = server_name
            .context("--share-collection needs a name in --cert-names")?
            .to_owned();
        let authorities: Arc<dyn Fn() -> Option<Vec<Vec<u8>>> + Send + Sync> = match (&self.peer_ca_file, publication) {
            (Some(file), _) => {
                let file = file.clone();
                // Read at each connection: it may have been renewed.
                Arc::new(move || Some(Bundle::read(&std::fs::read(&file).ok()?)?.ders()))
            }
            (None, Some(publication)) => Arc::new(move || publication.wanted().map(|bundle| bundle.ders())),
            (None, None) => bail!(
                "--share-collection needs --ca-secret, --ca-bundle-file or --peer-ca-file: replicas must be able to verify each other"
            ),
        };
        let peers = Peers {
            replicas: self.replicas.clone(),
            config: cluster.config.clone(),
            server_name,
            authorities,
            heard: Arc::new(move |news| collectors.hear(news).map_err(|why| why.to_string())),
        };
        let (replicas, end) = (self.replicas.clone(), over.clone());
        tasks.spawn(async move {
            let known = async {
                while !settled() {
                    tokio::time::sleep(LOOK).await;
                }
                // Until the collectors have noticed too.
                tokio::time::sleep(LOOK).await;
            };
            if end.run_until_cancelled(known).await.is_some() {
                tokio::join!(replicas.keep(end.clone()), Arc::new(peers).follow(end));
            }
        });
        Ok(())
    }

    /// What the others hear, for the server.
    pub(crate) fn stream(&self, collectors: Arc<Collectors>) -> OwnStream {
        let replicas = self.replicas.clone();
        OwnStream {
            path: peers::PATH,
            open: Arc::new(move || {
                // Who listens may be new.
                replicas.nudge();
                collectors.feed().map_or_else(Body::empty, body)
            }),
        }
    }
}

/// Frames as they come, and a beat after each silence.
fn body(feed: Feed) -> Body {
    Body::from_stream(futures::stream::unfold(feed, |mut feed| async move {
        let frame = match tokio::time::timeout(peers::BEAT, feed.next()).await {
            Ok(frame) => frame?,
            Err(_) => EMPTY,
        };
        Some((Ok::<_, Infallible>(frame), feed))
    }))
}

// === impl Line ===

impl outrigger_background::Replicas for Line {
    fn before(&self, job: &str) -> usize {
        let Live { replicas, joined } = self.live.borrow().clone();
        if !joined {
            return 1;
        }
        if replicas.len() < 2 {
            return 0;
        }
        let rank = |replica: &str| (weight(replica, job), replica.to_owned());
        let mine = rank(&self.me);
        replicas.iter().filter(|other| rank(&other.to_string()) > mine).count()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }
}

// === impl Series ===

impl std::fmt::Debug for Series {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Series").finish_non_exhaustive()
    }
}

impl Collector for Series {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let live = self.0.live().borrow().replicas.len();
        for (name, help, number) in [
            (
                "outrigger_replicas",
                "Replicas that share the collectors' work, this one included",
                live,
            ),
            (
                "outrigger_replicas_connected",
                "Other replicas whose ticks are heard here",
                self.0.connections(),
            ),
        ] {
            let family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX)).encode(family)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use outrigger_background::Replicas as _;

    use super::*;
    use crate::flags::Cli;

    fn line(me: u8, live: &[u8]) -> Line {
        let address = |n: &u8| SocketAddr::from(([10, 0, 0, *n], 10250));
        let live = Live {
            replicas: Arc::new(live.iter().map(address).collect()),
            joined: true,
        };
        Line {
            me: address(&me).to_string(),
            live: watch::channel(live).1,
            changes: watch::channel(0).1,
        }
    }

    #[test]
    fn each_replica_has_a_place_of_its_own_in_every_line() {
        let lines = [1, 2, 3].map(|me| line(me, &[1, 2, 3]));
        let mut firsts = [0; 3];
        for n in 0..300 {
            let job = format!("metrics/nodes/node-{n}");
            let mut places = [0, 1, 2].map(|me| lines[me].before(&job));
            firsts[places.iter().position(|place| *place == 0).unwrap()] += 1;
            places.sort_unstable();
            assert_eq!(places, [0, 1, 2], "{job}");
        }
        assert!(firsts.iter().all(|n| (70..130).contains(n)), "{firsts:?}");
        assert_eq!(line(1, &[1]).before("any"), 0);
    }

    #[test]
    fn flags_that_make_no_sense_together_are_refused() {
        for (flags, fits) in [
            (&["--share-collection", "--peer-advertise-ip=10.0.0.1"][..], true),
            (
                &[
                    "--share-collection=true",
                    "--peer-advertise-ip=::1",
                    "--peer-advertise-port=1",
                ],
                true,
            ),
            (&["--share-collection", "--peer-advertise-ip=here"], false),
            (&["--peer-advertise-ip=10.0.0.1"], true),
        ] {
            let all = ["outrigger", "serve", "--plugins=/p"].iter().chain(flags);
            assert_eq!(Cli::try_parse_from(all).is_ok(), fits, "{flags:?}");
        }
    }
}
