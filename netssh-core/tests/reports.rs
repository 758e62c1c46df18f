//! Tests device behaviour from public bug reports of other tools. Each case replays the output of a
//! device from a report, named in the case (`netmiko#152` is issue 152 of that project), and
//! asserts the session's reaction.
//!
//! The devices are scripted: see [`crate::scripted`].

mod leaving;
mod login;
mod output;
mod prompts;
mod questions;
mod recordings;
mod shells;
mod text;

use futures::StreamExt as _;

/// Runs cases concurrently, and fails with all their errors.
async fn all<C, F>(cases: Vec<C>, play: impl Fn(C) -> F)
where
    F: Future<Output = Result<(), String>>,
{
    /// More at once would only wait for each other.
    const AT_ONCE: usize = 16;
    let count = cases.len();
    let outcomes: Vec<_> = futures::stream::iter(cases)
        .map(play)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let failures: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(
        failures.is_empty(),
        "{} of {count} cases failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// Fails with the expected and the actual value.
#[expect(
    clippy::needless_pass_by_value,
    reason = "a literal or a value, as in `assert_eq!`"
)]
fn same<T: PartialEq + std::fmt::Debug>(name: &str, came: T, expected: T) -> Result<(), String> {
    if came == expected {
        return Ok(());
    }
    Err(format!("{name}: expected {expected:?}, got {came:?}"))
}
