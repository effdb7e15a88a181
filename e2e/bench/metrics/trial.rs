//! New pods, and how long each server takes to have a value of them.

use std::time::{Duration, Instant};

use anyhow::Result;
use outrigger_e2e::{ControlPlane, http};

use super::kubelets::Kubelets;
use super::truth::{self, Place, Size, node_name};
use super::world;
use crate::BASE;

/// Pods; a prime number of tenths of a second apart, so that they begin at every point of a cycle.
const PODS: usize = 24;
const APART: Duration = Duration::from_millis(9700);
/// After this nobody waits any longer.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);

/// All new pods.
pub(crate) struct Trials {
    size: Size,
    begun: usize,
    trials: Vec<Trial>,
}

struct Trial {
    place: Place,
    started: Instant,
    /// When each server had a value.
    seen: [Option<Duration>; 2],
}

/// Seconds from a container's start to its first value.
pub(crate) struct Firsts {
    pub(crate) mean: f64,
    pub(crate) max: f64,
    pub(crate) count: usize,
    pub(crate) missed: usize,
}

fn place(size: Size, index: usize) -> Place {
    Place {
        node: index % size.nodes,
        pod: size.pods + index / size.nodes,
    }
}

// === impl Trials ===

impl Trials {
    pub(crate) fn new(size: Size) -> Self {
        Self {
            size,
            begun: 0,
            trials: Vec::new(),
        }
    }

    /// Whether a new pod will run on this node.
    pub(crate) fn touches(&self, node: &str) -> bool {
        (0..PODS).any(|index| node_name(place(self.size, index).node) == node)
    }

    /// Begins what is due, and looks for what has begun.
    pub(crate) fn step(
        &mut self,
        elapsed: Duration,
        control_plane: &ControlPlane,
        kubelets: &mut Kubelets,
        clients: &[http::Client; 2],
    ) -> Result<()> {
        if self.begun < PODS && elapsed >= APART * u32::try_from(self.begun)? {
            let place = place(self.size, self.begun);
            self.begun += 1;
            kubelets.run(place, truth::now())?;
            let started = Instant::now();
            crate::runtime()?.block_on(world::run(control_plane, &[place], self.size.containers))?;
            self.trials.push(Trial {
                place,
                started,
                seen: [None; 2],
            });
        }
        for trial in &mut self.trials {
            if trial.started.elapsed() > LONGEST {
                continue;
            }
            let path = format!("{BASE}/namespaces/{}/pods/{}", trial.place.namespace(), trial.place.name());
            for (seen, client) in trial.seen.iter_mut().zip(clients).filter(|(seen, _)| seen.is_none()) {
                if client.get(&path)?.status.is_success() {
                    *seen = Some(trial.started.elapsed());
                }
            }
        }
        Ok(())
    }

    /// Of each server.
    pub(crate) fn results(&self) -> [Firsts; 2] {
        [0, 1].map(|side| {
            let seen: Vec<f64> = self
                .trials
                .iter()
                .filter_map(|trial| trial.seen.get(side).copied().flatten())
                .map(|time| time.as_secs_f64())
                .collect();
            Firsts {
                mean: seen.iter().sum::<f64>() / f64::from(u32::try_from(seen.len().max(1)).unwrap_or(1)),
                max: seen.iter().copied().fold(0.0, f64::max),
                count: self.trials.len(),
                missed: self.trials.len() - seen.len(),
            }
        })
    }
}
