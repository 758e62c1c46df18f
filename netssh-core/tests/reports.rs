//! Devices as the users of other tools met them: each case plays a device's words from a public
//! report, named in the case (`netmiko#152` is issue 152 of that project), and says what a session
//! has to do about it.
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

/// Plays cases, some at a time, and fails with all that went wrong.
async fn all<C, F>(cases: Vec<C>, play: impl Fn(C) -> F)
where
    F: Future<Output = Result<(), String>>,
{
    /// More would only wait for each other.
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

/// Fails with what was expected and what came.
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
