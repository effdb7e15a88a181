//! Stored objects behind a real aggregator: kubectl, informers and the controllers of a cluster as judges.
