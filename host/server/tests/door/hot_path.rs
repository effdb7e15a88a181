//! What one permitted GET costs, for whoever changes the chain: `cargo test --test door -- --ignored --nocapture hot_path`.
//! A figure to compare before and after on one machine; nothing is asserted about time.

use std::time::{Duration, Instant};

use crate::world::{BOTH, World, thing};

const ROUNDS: usize = 20_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, printed and not judged"]
async fn hot_path_of_a_requestheader_get() {
    let world = World::start().await;
    for protocol in BOTH {
        let mut aggregator = world.connect(protocol, world.aggregator()).await;
        let path = thing("a");
        let mut took = Vec::with_capacity(ROUNDS);
        for round in 0..ROUNDS + 1000 {
            let start = Instant::now();
            let answer = aggregator
                .get(&path, &[("x-remote-user", "bob"), ("x-remote-group", "ops")])
                .await;
            assert_eq!(answer.code, 200);
            if round >= 1000 {
                took.push(start.elapsed());
            }
        }
        took.sort_unstable();
        let at = |share: usize| -> Duration { took[ROUNDS * share / 100] };
        println!("{protocol:?}: p10 {:?} p50 {:?} p99 {:?}", at(10), at(50), at(99));
    }
}
