//! The project's own commands, as `cargo xtask NAME`.

mod bench;
mod chaos;
mod dashboard;
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
Development tasks of this project.

Usage: cargo xtask COMMAND

  setup              install the packages that the tests need (Debian packages; asks sudo for it)
  plugins            build the bundled WASM plugins into plugins/*.wasm; adds the rustc target
                     wasm32-wasip2 if it is missing
  demo [--once]      run a demo: simulated devices, the server, three jobs on each device; stays up
                     until Ctrl-C, or with --once exits after showing the results
  test [ARGS]        run setup, then all tests; ARGS are passed to `cargo test`
  bench [NAME]       run a benchmark in a release build: batch, history, jobs, memory, records,
                     runtimes, sessions; without a name, all of them
  chaos [--minutes N] [--seed N]
                     run the server under load while injecting faults, for 5 minutes by default, then
                     verify its guarantees; the same seed injects the same faults
  fuzz [TARGET] [--seconds N]
                     fuzz the parsing of device output: terminal, mask, platform, reader; without
                     a target, all of them, 60 s each
  dashboard          check the formatting, style and types of the dashboard: prettier, eslint, tsc
  prose              check comments, pages and messages for unidiomatic English
  help               print this help";

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
        ("dashboard", []) => dashboard::run(),
        ("prose", []) => prose::run(),
        ("help" | "-h" | "--help", _) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!(
                "error: unknown command `cargo xtask {}`\n\n{HELP}",
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
