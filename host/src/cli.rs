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
mod login;
mod logout;
mod notification;
mod output;
mod params;
mod password;
mod pause;
mod plugin;
mod run;
mod schedule;
mod secrets;
mod serve;
mod session;
mod setup;
mod token;
mod tokens_file;
mod user;
mod whoami;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use client::{Client, ServerUrl};
pub use failure::Failure;

const EXIT_CODES: &str = "\
Exit codes:
  0  success; with --wait and `job watch`: the job has completed
  1  failure; with --wait and `job watch`: the job has failed or was cancelled
  2  invalid command line
  3  the server is unreachable
  4  job, schedule, pause, connection, plugin or channel not found
  5  the server rejected the request as invalid or conflicting
  6  authentication is required, or a permission is missing
  130  --wait or `job watch` was interrupted by Ctrl-C; the job continues";

/// Runs jobs (Rhai playbooks, WASM components) on network devices.
#[derive(Debug, Parser)]
#[command(name = "scheduler", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    /// The configuration file of `serve`, `run`, `db` and `key` [default: the file named by
    /// `SCHEDULER_CONFIG`, or `./config.toml` if it exists]
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
    /// Manage the schedules of recurring jobs
    #[command(subcommand)]
    Schedule(schedule::ScheduleCommand),
    /// Manage pauses: maintenance, freezes, blackout windows
    #[command(subcommand)]
    Pause(pause::PauseCommand),
    /// Manage the connections to devices
    #[command(subcommand)]
    Connection(connection::ConnectionCommand),
    /// Open a terminal on a device through the server
    Connect(connect::ConnectArgs),
    /// List the notifications of ended jobs, test the channels
    #[command(subcommand)]
    Notification(notification::NotificationCommand),
    /// Show the plugins
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// Log in to a server with authentication
    Login(login::LoginArgs),
    /// Log out: revoke and remove the stored token
    Logout(logout::LogoutArgs),
    /// Show the user of the requests, and what they may do
    Whoami(whoami::WhoamiArgs),
    /// Create the first user of a server
    Setup(setup::SetupArgs),
    /// Manage the users of a server
    #[command(subcommand)]
    User(user::UserCommand),
    /// Manage API tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// List and end logins in browsers
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// Check, back up and restore the database
    #[command(subcommand)]
    Db(db::DbCommand),
    /// Manage the master key, which seals the connections' secrets
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Run a playbook or component file without a server
    Run(run::RunArgs),
    #[command(hide = true)]
    CompileComponent(compile_component::CompileComponentArgs),
}

/// Options of all client commands.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// The server: http://HOST:PORT, https://HOST:PORT or unix:PATH
    #[arg(
        long,
        env = crate::config::URL_VARIABLE,
        hide_env_values = true,
        default_value = "http://127.0.0.1:8080"
    )]
    url: ServerUrl,

    /// Output format: a table, or the API's response as JSON
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
            Command::Login(args) => one_thread()?.block_on(login::run(args)),
            Command::Logout(args) => one_thread()?.block_on(logout::run(args)),
            Command::Whoami(args) => one_thread()?.block_on(whoami::run(args)),
            Command::Setup(args) => one_thread()?.block_on(setup::run(args)),
            Command::User(command) => one_thread()?.block_on(command.run()),
            Command::Token(command) => one_thread()?.block_on(command.run()),
            Command::Session(command) => one_thread()?.block_on(command.run()),
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
        Client::new(&self.url)?.with_token()
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
