//! What an operator applies: the kustomization and its overlays, components.yaml, the chart, rules and a dashboard. Everything is
//! rendered by the tools that he has, and judged by a real kube-apiserver, the binary, and Prometheus' own parser.

#![allow(clippy::indexing_slicing, reason = "a test may panic")]

mod chart;
mod flags;
mod house;
mod manifests;
mod series;
mod upgrade;
mod values;
