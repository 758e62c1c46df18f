//! `scheduler serve`: runs the server with its workers.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use rustix::process::{Resource, Signal, getrlimit, setrlimit};
use secrecy::ExposeSecret as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Failure, output};
use crate::app::{self, App};
use crate::config::Config;
use crate::logging;
use crate::registry::Registry;
use crate::server::{self, Address, Listener};

/// Limit of file descriptors to raise to; the server never needs more.
const MAX_DESCRIPTORS: u64 = 65_536;

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address to listen on, or unix:PATH of a socket; overrides server.host
    #[arg(long)]
    host: Option<String>,
    /// Port to listen on, 0 for any free port; overrides server.port
    #[arg(long)]
    port: Option<u16>,
}

/// Runs the server until it is stopped.
///
/// # Errors
/// If the configuration is invalid or a resource cannot be opened.
pub(super) fn run(args: ServeArgs, config_file: Option<PathBuf>) -> Result<(), Failure> {
    let mut overrides = Vec::new();
    overrides.extend(args.host.map(|host| ("server.host".to_owned(), host)));
    overrides.extend(
        args.port
            .map(|port| ("server.port".to_owned(), port.to_string())),
    );
    let config = Config::from_process(config_file, overrides).map_err(anyhow::Error::from)?;
    let _logging = logging::init(&config.logging)?;
    raise_descriptor_limit();
    let runtime = app::runtime(&config.worker)?;
    let served = runtime.block_on(serve(config));
    // A blocked thread, for example in a name lookup, must not delay the exit.
    runtime.shutdown_background();
    Ok(served?)
}

/// Raises the soft limit of file descriptors towards the hard limit. The usual soft limit of 1024 exists
/// for programs that use `select`, which this one does not.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit
        .maximum
        .map_or(MAX_DESCRIPTORS, |hard| hard.min(MAX_DESCRIPTORS));
    if limit.current.is_none_or(|soft| soft >= wanted) {
        return;
    }
    limit.current = Some(wanted);
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "failed to raise the limit of file descriptors");
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    // Resolved before anything is opened, so that an invalid address leaves no trace.
    let address = Address::resolve(&config.server, config.auth_mode()).await?;
    let shutdown = CancellationToken::new();
    stop_on_signals(&shutdown)?;
    // With a handler for SIGXFSZ, writing beyond the file size limit fails instead of killing the
    // process. The handler stays installed when the stream is dropped.
    let _ = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?;
    let app = App::build(config).await?;
    let listener = address.bind().await?;
    let url = listener.url()?;
    let board = &app.config.board;
    let has_page = board.enabled && matches!(listener, Listener::Tcp(..));
    let dashboard = has_page.then(|| format!("{url}{}", board.ui_path));
    tracing::info!(%url, dashboard, worker = app.worker.name(), "listening");
    if let Some(code) = app.auth.begin_setup().await? {
        print_setup(code.expose_secret(), dashboard.as_deref());
    }
    reload_on_signal(Arc::clone(&app.registry))?;
    server::serve(app, listener, shutdown).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Prints how to set up the first user. It goes to the terminal alone: the code must not be in a log.
fn print_setup(code: &str, dashboard: Option<&str>) {
    let page = match dashboard {
        // The part after `#` stays in the browser.
        Some(dashboard) => format!("open {dashboard}/setup#{code}, or "),
        None => String::new(),
    };
    output::talk(&format!(
        "There are no users yet. To set up the first one within 15 minutes, {page}run `scheduler \
         setup` with the code {code}"
    ));
}

/// Rescans the plugins on SIGHUP, for file systems without change notifications.
fn reload_on_signal(registry: Arc<Registry>) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!(signal = "SIGHUP", "scanning the plugin directories");
            registry.scan().await;
        }
    });
    Ok(())
}

/// Drains on SIGTERM or Ctrl-C. A second signal ends the process at once.
fn stop_on_signals(shutdown: &CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        for times in 0.. {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if times > 0 {
                tracing::warn!(signal = name, "second stop signal; exiting immediately");
                std::process::exit(130);
            }
            tracing::info!(
                signal = name,
                "shutting down, no new jobs are started; a second signal exits immediately"
            );
            shutdown.cancel();
        }
    });
    Ok(())
}
