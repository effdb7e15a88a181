//! Power cuts: what was written since the last wait for the disk may be there or not, in part, in any order.
//!
//! A store runs on a file that remembers every operation. Then, for many moments of that life, files are made as a power cut at that moment
//! may leave them: everything up to the last wait, and of the rest some writes and not others, some of them torn at a sector. Each must
//! open, with all that was acknowledged by then, and with a moment that really was.

use super::medium::Op;
use super::*;

/// The least that a disk writes wholly or not.
const SECTOR: usize = 512;

struct Dice(u64);

impl Dice {
    /// splitmix64: the same cuts in every run.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn of(&mut self, sides: u64) -> u64 {
        self.next() % sides
    }
}

fn apply(bytes: &mut [u8], offset: u64, data: &[u8]) {
    // A write never makes a file longer here: what is beyond its end was beyond a length that did not come to be.
    let from = (offset as usize).min(bytes.len());
    let to = (offset as usize + data.len()).min(bytes.len());
    bytes[from..to].copy_from_slice(&data[..to - from]);
}

/// A file as a cut may leave it.
fn cut(whole: &[u8], unsynced: &[Op], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    let lengths = unsynced.iter().filter(|op| matches!(op, Op::Length(_))).count() as u64;
    let mut lengths = dice.of(lengths + 1);
    // All of them, none, the last alone, or each by chance.
    let manner = dice.of(5);
    let last = unsynced.len().saturating_sub(1);
    for (n, op) in unsynced.iter().enumerate() {
        match op {
            // Lengths come in their order: they are the file system's own and are in its journal.
            Op::Length(length) if lengths > 0 => {
                lengths -= 1;
                bytes.resize(*length as usize, 0);
            }
            Op::Write(offset, data) => {
                let kept = match manner {
                    0 => true,
                    1 => n == last,
                    2 => n != last,
                    _ => dice.of(2) == 0,
                };
                if manner == 4 && dice.of(4) == 0 {
                    for (s, sector) in data.chunks(SECTOR).enumerate() {
                        if dice.of(2) == 0 {
                            apply(&mut bytes, offset + (s * SECTOR) as u64, sector);
                        }
                    }
                } else if kept {
                    apply(&mut bytes, *offset, data);
                }
            }
            _ => {}
        }
    }
    bytes
}

/// The power goes while a file is made smaller at the start.
#[tokio::test]
async fn power_cuts_while_a_file_is_made_smaller_lose_nothing() {
    let (mem, store) = made();
    let big = "x".repeat(300_000);
    for n in 0..30 {
        put(&store, &format!("s{n}"), &big).await.unwrap();
    }
    for n in 1..30 {
        remove(&store, &format!("s{n}")).await.unwrap();
    }
    live(&store, 2).await;
    let model = model(&store).await;
    let revision = store.revision(&of()).await.unwrap();
    store.compact(revision - 1).await.unwrap();
    store.close();
    let large = mem.copy();
    *mem.log.lock().unwrap() = Some(vec![Op::Acknowledged(revision)]);
    over(&mem).unwrap().close();
    assert!(mem.copy().len() < large.len() / 2);
    let log = mem.log.lock().unwrap().take().unwrap();
    cuts(large, &log, &model, 60, 7).await;
}

async fn power_cuts(moments: usize, seed: u64) {
    let (mem, store) = made();
    *mem.log.lock().unwrap() = Some(Vec::new());
    let start = mem.copy();
    // Alone at first, then several at once, so that transactions have many writes.
    for round in 0..6 {
        for n in 0..5 {
            let revision = put(&store, &format!("s{n}"), &"a".repeat(10 << (round + n))).await.unwrap();
            mem.note(Op::Acknowledged(revision));
        }
        let revision = remove(&store, "s3").await.unwrap();
        mem.note(Op::Acknowledged(revision));
    }
    let writers = (0..4).map(|w| {
        let (store, mem) = (&store, &mem);
        async move {
            for n in 0..12 {
                let value = format!("{w}-{n}-{}", "b".repeat(100 * (w + n)));
                let revision = put(store, &format!("w{w}-{}", n % 4), &value).await.unwrap();
                mem.note(Op::Acknowledged(revision));
            }
        }
    });
    futures::future::join_all(writers).await;
    let model = model(&store).await;
    let log = mem.log.lock().unwrap().take().unwrap();
    drop(store);
    let ahead = cuts(start, &log, &model, moments, seed).await;
    assert!(ahead > 0, "cuts came before and after acknowledgements");
}

/// Cuts a life at many moments. How often there was more than what had been acknowledged.
async fn cuts(start: Vec<u8>, log: &[Op], model: &Model, moments: usize, seed: u64) -> u64 {
    let mut dice = Dice(seed);
    let mut points: Vec<usize> = (0..moments).map(|_| dice.of(log.len() as u64 + 1) as usize).collect();
    points.push(log.len());
    points.sort_unstable();
    let (mut whole, mut unsynced, mut acknowledged) = (start, Vec::new(), 1_u64);
    let (mut ahead, mut done) = (0, 0);
    for point in points {
        for op in &log[done..point] {
            match op {
                Op::Sync => {
                    for op in std::mem::take(&mut unsynced) {
                        match op {
                            Op::Write(offset, data) => apply(&mut whole, offset, &data),
                            Op::Length(length) => whole.resize(length as usize, 0),
                            Op::Sync | Op::Acknowledged(_) => {}
                        }
                    }
                }
                Op::Acknowledged(revision) => acknowledged = acknowledged.max(*revision),
                op => unsynced.push(op.clone()),
            }
        }
        done = point;
        for _ in 0..2 {
            let image = cut(&whole, &unsynced, &mut dice);
            let mem = Arc::new(Mem::of(image));
            let store = over(&mem).unwrap_or_else(|e| panic!("cut at {point} of {}: {e}", log.len()));
            let revision = is_of(&store, model).unwrap_or_else(|e| panic!("cut at {point}: {e}"));
            assert!(
                revision >= acknowledged,
                "cut at {point}: {acknowledged} was acknowledged, {revision} is there"
            );
            ahead += u64::from(revision > acknowledged);
            // And it goes on.
            assert_eq!(put(&store, "next", "1").await.unwrap(), revision + 1);
        }
    }
    assert_eq!(acknowledged as usize, model.len() - 1);
    ahead
}

#[tokio::test]
async fn power_cuts_lose_nothing_that_was_acknowledged() {
    power_cuts(150, 1).await;
}

#[tokio::test]
#[ignore = "a soak: as above, for longer"]
async fn power_cuts_lose_nothing_for_long() {
    for seed in 2..22 {
        power_cuts(400, seed).await;
    }
}
