//! The fault campaign: the real binary under load, and whatever can fail does, at random.
//!
//! `cargo xtask chaos` runs it for as long as one likes; as a test it runs for half a minute. The
//! server is killed, ended, stopped and continued, its queue is deleted, its database is locked by
//! another process, devices go down and cut their connections, the receiver of notifications refuses
//! them, clients repeat what they got no answer to. Afterwards everything is put right, and the
//! promises are held against what is there: they stand in `chaos/promises.rs`.
//!
//! The faults come from a seed, which is printed; what meets them is a matter of time, so a seed
//! gives the same faults, not the same run. `CHAOS_SECONDS` and `CHAOS_SEED` choose.

mod campaign;
mod devices;
mod evidence;
mod load;
mod notified;
mod promises;
mod random;

use std::time::Duration;

use self::campaign::Campaign;
use self::random::Random;

/// How long there are faults, in the test suite.
const SECONDS: u64 = 25;

#[test]
fn promises_hold_whatever_fails() {
    let seconds = from_environment("CHAOS_SECONDS").unwrap_or(SECONDS);
    let seed = from_environment("CHAOS_SEED").unwrap_or_else(Random::seed);
    // Kept, unless all goes well.
    let directory = tempfile::Builder::new().prefix("chaos-").tempdir();
    let directory = directory.unwrap().keep();
    let shown = directory.display();
    println!("chaos: seed {seed}, {seconds} s of faults, in {shown}");
    let runtime = host::app::runtime(&host::config::WorkerConfig::default()).unwrap();
    let broken = runtime.block_on(async {
        let campaign = Campaign::start(&directory, seed).await;
        campaign.run(Duration::from_secs(seconds)).await
    });
    runtime.shutdown_background();
    for broken in &broken {
        println!("chaos: BROKEN: {broken}");
    }
    assert!(
        broken.is_empty(),
        "{} promises were broken; seed {seed}, directory {shown}",
        broken.len()
    );
    std::fs::remove_dir_all(&directory).unwrap();
}

fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}: {value:?} is no number")),
    )
}
