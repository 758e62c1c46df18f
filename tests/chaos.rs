//! The fault campaign: the real binary under load, with random faults.
//!
//! `cargo xtask chaos` runs it for any length of time; as a test it runs for half a minute. The
//! campaign kills, stops and continues the server, deletes its queue, locks its database from
//! another process, takes devices down and cuts their connections. The receiver of notifications
//! refuses messages, and clients repeat requests that got no answer. Afterwards the campaign
//! removes all faults and checks the promises in `chaos/promises.rs`.
//!
//! A seed, which is printed, determines the faults, but not what they hit, so the same seed gives
//! the same faults and not the same run. `CHAOS_SECONDS` and `CHAOS_SEED` select both.

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

/// Duration of the faults in the test suite.
const SECONDS: u64 = 25;

#[test]
fn promises_hold_whatever_fails() {
    let seconds = from_environment("CHAOS_SECONDS").unwrap_or(SECONDS);
    let seed = from_environment("CHAOS_SEED").unwrap_or_else(Random::seed);
    // The directory is kept if a promise is broken.
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
