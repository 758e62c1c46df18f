//! The project's own commands, as `cargo xtask NAME`.

mod bench;
mod chaos;
mod demo;
mod examples;
mod fuzz;
mod plugins;
mod process;
mod prose;
mod setup;
mod test;

use std::process::ExitCode;

const HELP: &str = "\
The project's own commands.

Usage: cargo xtask COMMAND

  setup              install what the tests need (Debian packages; asks sudo for it)
  plugins            build the bundled WASM plugins into plugins/*.wasm; adds the compiler's
                     target wasm32-wasip2 if it is missing
  demo [--once]      show the product: simulated devices, the server, two jobs on each device;
                     stays up until Ctrl-C, or with --once ends after showing the results
  test [ARGS]        setup, then all tests; ARGS go to `cargo test`
  bench [NAME]       measure, in a release build: batch, history, jobs, runtimes, sessions; all of
                     them without a name
  chaos [--minutes N] [--seed N]
                     run the server under load while everything fails that can, for 5 minutes, then
                     hold what it promises against what is there; a seed gives the same faults
  fuzz [TARGET] [--seconds N]
                     look for bytes of a device that break the reading of them: terminal, mask,
                     platform, reader; all of them without a name, 60 s each
  prose              check comments, pages and messages for unidiomatic English
  help               this text";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", [].as_slice()),
    };
    let done = match (command, rest) {
        ("setup", []) => setup::run(),
        ("plugins", []) => plugins::run(),
        ("demo", []) => demo::run(demo::Ending::OnInterrupt),
        ("demo", [flag]) if flag == "--once" => demo::run(demo::Ending::AfterTheResults),
        ("test", arguments) => test::run(arguments),
        ("bench", arguments) => bench::run(arguments),
        ("chaos", arguments) => chaos::run(arguments),
        ("fuzz", arguments) => fuzz::run(arguments),
        ("prose", []) => prose::run(),
        ("help" | "-h" | "--help", _) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!(
                "error: `cargo xtask {}` is not known\n\n{HELP}",
                arguments.join(" ")
            );
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
