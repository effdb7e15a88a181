//! Where objects of stored resources are kept, as the operator says it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use outrigger_storage::Shelf;
use outrigger_storage::store::embedded::Embedded;
use outrigger_storage::store::etcd::{Etcd, EtcdOptions, EtcdTimeouts};
use outrigger_storage::store::memory::Memory;
use outrigger_storage::store::{Keep, Store};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::flags::go_duration;

/// Where objects are kept.
#[derive(Debug, Args, Clone, Default)]
// A group is called as its type is, and observation has flags, too.
#[group(id = "keeping")]
pub(crate) struct Flags {
    /// Folder in which objects of stored resources are kept, for this host alone; plugins' own state too, unless --state-dir says otherwise.
    #[arg(long, value_name = "DIR", conflicts_with = "etcd_servers")]
    pub(crate) data_dir: Option<PathBuf>,

    /// What keeps them: `embedded` (in --data-dir), `etcd3` (--etcd-servers), or `memory` (nothing survives the process). By the flags
    /// that are given, if absent; with none of them this host serves no stored resources.
    #[arg(long, value_name = "NAME")]
    pub(crate) storage_backend: Option<Backend>,

    /// etcd's endpoints, as http://HOST:PORT or https://HOST:PORT, comma separated. Replicas of this host share one etcd.
    #[arg(long, value_delimiter = ',', value_name = "URLS")]
    pub(crate) etcd_servers: Vec<String>,

    /// CA of etcd's certificates.
    #[arg(long, value_name = "FILE", requires = "etcd_servers")]
    pub(crate) etcd_cafile: Option<PathBuf>,

    /// Client certificate for etcd.
    #[arg(long, value_name = "FILE", requires = "etcd_keyfile")]
    pub(crate) etcd_certfile: Option<PathBuf>,

    /// Its key.
    #[arg(long, value_name = "FILE", requires = "etcd_certfile")]
    pub(crate) etcd_keyfile: Option<PathBuf>,

    /// What all keys in etcd begin with.
    #[arg(long, default_value = "/registry/outrigger", value_name = "PREFIX")]
    pub(crate) etcd_prefix: String,

    /// How long the past is kept: watches and lists of an older resourceVersion are answered with 410.
    #[arg(long, default_value = "5m0s", value_parser = go_duration, value_name = "DURATION")]
    pub(crate) etcd_compaction_interval: Duration,

    /// MiB of old values that are kept for that at most, in the store and again in memory for each resource.
    #[arg(long, default_value_t = 64, value_name = "MIB")]
    pub(crate) storage_history_mib: usize,
}

/// What keeps objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// One file in --data-dir.
    Embedded,
    /// etcd v3.
    Etcd3,
    /// Nothing but memory.
    Memory,
}

// === impl Flags ===

impl Flags {
    /// Opens what the flags say, if they say anything.
    pub(crate) async fn open(&self, tasks: &TaskTracker, stop: &CancellationToken) -> Result<Shelf> {
        let keep = self.keep();
        let Some(store) = self.store(keep).await? else {
            return Ok(Shelf::none());
        };
        if let Some(folder) = &self.data_dir {
            crate::storage::answer(folder, store.clone(), tasks, stop.clone());
        }
        Ok(Shelf::new(store, keep, Handle::current(), tasks.clone(), stop.clone()))
    }

    fn keep(&self) -> Keep {
        Keep {
            time: self.etcd_compaction_interval,
            bytes: self.storage_history_mib << 20,
        }
    }

    /// The store alone, for whoever does not serve from it.
    pub(crate) async fn open_store(&self) -> Result<Option<Arc<dyn Store>>> {
        self.store(self.keep()).await
    }

    fn etcd(&self, keep: Keep) -> EtcdOptions {
        EtcdOptions {
            servers: self.etcd_servers.clone(),
            ca: self.etcd_cafile.clone(),
            cert: self.etcd_certfile.clone(),
            key: self.etcd_keyfile.clone(),
            prefix: self.etcd_prefix.clone(),
            timeouts: EtcdTimeouts::default(),
            keep,
        }
    }

    async fn store(&self, keep: Keep) -> Result<Option<Arc<dyn Store>>> {
        let said = match (&self.data_dir, self.etcd_servers.is_empty()) {
            (Some(_), _) => Some(Backend::Embedded),
            (None, false) => Some(Backend::Etcd3),
            (None, true) => None,
        };
        let store: Arc<dyn Store> = match (self.storage_backend.or(said), &self.data_dir) {
            (None, _) => return Ok(None),
            (Some(Backend::Memory), _) => Arc::new(Memory::new(keep)),
            // It reads a file.
            (Some(Backend::Embedded), Some(folder)) => {
                let folder = folder.clone();
                let opened = tokio::task::spawn_blocking(move || Embedded::open(&folder, keep)).await?;
                Arc::new(opened.context("--data-dir")?)
            }
            (Some(Backend::Embedded), None) => bail!("--storage-backend=embedded needs --data-dir DIR"),
            (Some(Backend::Etcd3), _) if self.etcd_servers.is_empty() => {
                bail!("--storage-backend=etcd3 needs --etcd-servers URLS")
            }
            (Some(Backend::Etcd3), _) => Arc::new(Etcd::open(self.etcd(keep)).await.context("--etcd-servers")?),
        };
        Ok(Some(store))
    }
}
