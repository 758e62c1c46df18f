//! The command line: `scheduler serve`, and client commands that talk to a running server.
//!
//! One file per subcommand. Data goes to stdout, messages to stderr; `EXIT_CODES` lists the exit codes.
//! Start reading at `Command`.

mod batch;
mod client;
mod compile_component;
mod connect;
mod connection;
mod db;
mod events;
mod failure;
mod job;
mod key;
mod notification;
mod output;
mod params;
mod pause;
mod plugin;
mod run;
mod schedule;
mod secrets;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use client::{Client, ServerUrl};
pub use failure::Failure;

const EXIT_CODES: &str = "\
Exit codes:
  0  it worked; with --wait and `job watch`: the job has completed
  1  it failed; with --wait and `job watch`: the job has failed or was cancelled
  2  the command line is wrong
  3  the server cannot be reached
  4  there is no such job, schedule, pause, connection, plugin or channel
  5  the server refused the request as invalid, or as in conflict with what is there
  130  Ctrl-C ended --wait or `job watch`; the job continues";

/// Runs jobs (Rhai playbooks, WASM components) on network devices.
#[derive(Debug, Parser)]
#[command(name = "scheduler", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    /// The configuration file of `serve`, `run`, `db` and `key` [default: the one that
    /// `SCHEDULER_CONFIG` names, or `./config.toml` if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server: API, dashboard, workers
    Serve(serve::ServeArgs),
    /// Submit jobs and follow them
    #[command(subcommand)]
    Job(job::JobCommand),
    /// Manage the schedules: what is submitted again and again
    #[command(subcommand)]
    Schedule(schedule::ScheduleCommand),
    /// Hold jobs back: maintenance, freezes, blackout windows
    #[command(subcommand)]
    Pause(pause::PauseCommand),
    /// Manage the connections: how to reach which device
    #[command(subcommand)]
    Connection(connection::ConnectionCommand),
    /// Open a device's terminal here, through the server
    Connect(connect::ConnectArgs),
    /// See what people were told of ended jobs, and try the channels
    #[command(subcommand)]
    Notification(notification::NotificationCommand),
    /// See what can be run
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// Look after the database's files: check, back up, restore
    #[command(subcommand)]
    Db(db::DbCommand),
    /// Look after the master key, which seals the connections' secrets
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Run one playbook file here and now, without a server
    Run(run::RunArgs),
    #[command(hide = true)]
    CompileComponent(compile_component::CompileComponentArgs),
}

/// What every client command takes.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// Where the server is: http://HOST:PORT, https://HOST:PORT or unix:PATH
    #[arg(
        long,
        env = crate::config::URL_VARIABLE,
        hide_env_values = true,
        default_value = "http://127.0.0.1:8080"
    )]
    url: ServerUrl,

    /// How to print: a table for people, or the API's answer for programs
    #[arg(long, short, value_enum, default_value_t)]
    output: OutputFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    #[default]
    Table,
    Json,
}

impl Cli {
    /// Runs the command. Failures have been printed when it returns.
    pub fn run(self) -> ExitCode {
        match self.dispatch() {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                failure.print();
                failure.exit_code()
            }
        }
    }

    fn dispatch(self) -> Result<(), Failure> {
        if self.command.opens_the_database() {
            // The database, logs, downloads and keys hold secrets: nothing that this process creates
            // is readable by other users, whatever the umask of the shell or the service.
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        }
        match self.command {
            Command::Serve(args) => serve::run(args, self.config),
            Command::Run(args) => run::run(args, self.config),
            Command::CompileComponent(args) => compile_component::run(&args),
            Command::Job(command) => one_thread()?.block_on(command.run()),
            Command::Schedule(command) => one_thread()?.block_on(command.run()),
            Command::Pause(command) => one_thread()?.block_on(command.run()),
            Command::Connection(command) => one_thread()?.block_on(command.run()),
            Command::Notification(command) => one_thread()?.block_on(command.run()),
            Command::Db(command) => one_thread()?.block_on(command.run(self.config)),
            Command::Key(command) => one_thread()?.block_on(command.run(self.config)),
            Command::Connect(args) => one_thread()?.block_on(connect::run(args)),
            Command::Plugin(command) => one_thread()?.block_on(command.run()),
        }
    }
}

impl Command {
    const fn opens_the_database(&self) -> bool {
        matches!(
            self,
            Self::Serve(_) | Self::Run(_) | Self::Db(_) | Self::Key(_)
        )
    }
}

impl ServerArgs {
    fn client(&self) -> Result<Client, Failure> {
        Client::new(&self.url)
    }
}

/// Builds a single-threaded runtime: a client makes one request at a time.
fn one_thread() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_book_names_every_command_and_exit_code() {
        let book = include_str!("../../docs/cli.md");
        let command = Cli::command();
        for group in command.get_subcommands().filter(|one| !one.is_hide_set()) {
            let name = group.get_name();
            assert!(book.contains(&format!("`{name}")), "{name}");
            for command in group.get_subcommands() {
                let name = format!("`{name} {}", command.get_name());
                assert!(book.contains(&name), "{name}");
            }
        }
        for line in EXIT_CODES.lines().skip(1) {
            let (code, meaning) = line.trim().split_once("  ").unwrap();
            let row = format!("| {code} | {meaning} |");
            let without_markup = |text: &str| text.replace('`', "");
            assert!(
                without_markup(book).contains(&without_markup(&row)),
                "{row}"
            );
        }
    }
}
