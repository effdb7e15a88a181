//! The lead among replicas, for the binary: upstream's flags, the Lease, and the series that says who leads.
//!
//! One Lease for the whole host, not one for each controller: upstream's flags name one, a renewal costs kube-apiserver a write every
//! other second whatever it is for, and whoever leads has all watches of a plugin once. Collectors run in every replica, or share
//! their targets ([`crate::sharing`]).

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use outrigger_cluster::{Cluster, Election, ElectionOptions, LeaseLock};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::flags::go_duration;

/// Which of several replicas runs controllers.
#[derive(Debug, Args)]
pub(crate) struct LeaderElection {
    /// Let one replica at a time run controllers. Turn it off only where there is one.
    #[arg(long, num_args = 0..=1, default_value_t = true, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    leader_elect: bool,

    /// How long the others wait without seeing the leader renew its lease before they take it.
    #[arg(long, default_value = "15s", value_parser = go_duration, value_name = "DURATION")]
    leader_elect_lease_duration: Duration,

    /// How long the leader tries to renew before it stops its controllers. Must be less than the lease duration.
    #[arg(long, default_value = "10s", value_parser = go_duration, value_name = "DURATION")]
    leader_elect_renew_deadline: Duration,

    /// From one try to take or renew the lease to the next.
    #[arg(long, default_value = "2s", value_parser = go_duration, value_name = "DURATION")]
    leader_elect_retry_period: Duration,

    /// What keeps the lead: only `leases`, as upstream.
    #[arg(long, default_value = "leases", value_parser = ["leases"], value_name = "KIND")]
    leader_elect_resource_lock: String,

    /// Name of the Lease.
    #[arg(long, default_value = "outrigger", value_name = "NAME")]
    leader_elect_resource_name: String,

    /// Namespace of the Lease.
    #[arg(long, default_value = "kube-system", value_name = "NAMESPACE")]
    leader_elect_resource_namespace: String,
}

/// `leader_election_master_status`, read when somebody looks.
struct Series {
    lease: String,
    leading: watch::Receiver<bool>,
}

// === impl LeaderElection ===

impl LeaderElection {
    /// Namespace and name of the Lease; other Leases of this host are called after it.
    pub(crate) fn lease(&self) -> (&str, &str) {
        (&self.leader_elect_resource_namespace, &self.leader_elect_resource_name)
    }

    /// Stands for election while `wanted`, until `over`. Says whether this replica leads: for ever, without an election.
    pub(crate) fn stand(
        &self,
        cluster: &Cluster,
        wanted: watch::Receiver<bool>,
        tasks: &TaskTracker,
        registry: &mut Registry,
        over: CancellationToken,
    ) -> Result<watch::Receiver<bool>> {
        if !self.leader_elect {
            return Ok(alone(tasks, over));
        }
        let options = ElectionOptions {
            lease_duration: self.leader_elect_lease_duration,
            renew_deadline: self.leader_elect_renew_deadline,
            retry_period: self.leader_elect_retry_period,
        };
        if let Some(wrong) = options.validate().first() {
            bail!("--leader-elect-…: {wrong}");
        }
        let (namespace, name) = (&self.leader_elect_resource_namespace, &self.leader_elect_resource_name);
        let lock = Arc::new(LeaseLock::new(cluster.client.clone(), namespace, name));
        let election = Election::new(lock, options, identity()?, format!("{namespace}/{name}"));
        let (leads, leading) = watch::channel(false);
        registry.register_collector(Box::new(Series {
            lease: name.clone(),
            leading: leading.clone(),
        }));
        tasks.spawn(election.stand(wanted, leads, over));
        Ok(leading)
    }
}

/// Who is alone always leads.
pub(crate) fn alone(tasks: &TaskTracker, over: CancellationToken) -> watch::Receiver<bool> {
    let (leads, leading) = watch::channel(true);
    tasks.spawn(async move {
        over.cancelled().await;
        drop(leads);
    });
    leading
}

/// As upstream's components call themselves: the host's name, which is the pod's, and something that no other process has.
fn identity() -> Result<String> {
    let name = rustix::system::uname();
    let host = name.nodename().to_str().context("the host's name is not UTF-8")?.to_owned();
    Ok(format!("{host}_{}", uuid::Uuid::new_v4()))
}

// === impl Series ===

impl std::fmt::Debug for Series {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Series").field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl Collector for Series {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "leader_election_master_status",
            "[ALPHA] Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master. 'name' is \
             the string used to identify the lease. Please make sure to group by name",
            None,
            MetricType::Gauge,
        )?;
        let labels = [("name", self.lease.as_str())];
        ConstGauge::new(i64::from(*self.leading.borrow())).encode(family.encode_family(&labels)?)
    }
}
