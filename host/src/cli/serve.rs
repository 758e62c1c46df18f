//! `scheduler serve`: the server, with its workers.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::app::{self, App};
use crate::config::Config;
use crate::logging;
use crate::registry::Registry;

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address to listen on, over server.host
    #[arg(long)]
    host: Option<String>,
    /// Port to listen on, over server.port; 0 for any that is free
    #[arg(long)]
    port: Option<u16>,
}

/// # Errors
/// When the configuration is not valid or something cannot be opened.
pub(super) fn run(args: ServeArgs, config_file: Option<PathBuf>) -> Result<(), Failure> {
    let mut overrides = Vec::new();
    overrides.extend(args.host.map(|host| ("server.host".to_owned(), host)));
    overrides.extend(
        args.port
            .map(|port| ("server.port".to_owned(), port.to_string())),
    );
    let config = Config::from_process(config_file, overrides).map_err(anyhow::Error::from)?;
    let _logging = logging::init(&config.logging)?;
    let runtime = app::runtime(&config.worker)?;
    let served = runtime.block_on(serve(config));
    // A blocked thread, such as a name look-up, must not hold the process back.
    runtime.shutdown_background();
    Ok(served?)
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let address = (config.server.host.clone(), config.server.port);
    let shutdown = CancellationToken::new();
    stop_on_signals(&shutdown)?;
    let app = App::build(config).await?;
    let listener = TcpListener::bind(&address).await.with_context(|| {
        format!(
            "cannot listen on {}:{} (server.host, server.port)",
            address.0, address.1
        )
    })?;
    let url = format!("http://{}", listener.local_addr()?);
    let board = &app.config.board;
    let dashboard = board.enabled.then(|| format!("{url}{}", board.ui_path));
    tracing::info!(%url, dashboard, worker = app.worker.name(), "listening");
    reload_on_signal(Arc::clone(&app.registry))?;
    app.serve(listener, shutdown).await?;
    tracing::info!("stopped");
    Ok(())
}

/// SIGHUP looks for changed plugins at once, for file systems that tell nothing of changes.
fn reload_on_signal(registry: Arc<Registry>) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!(signal = "SIGHUP", "looking for changed plugins");
            registry.scan().await;
        }
    });
    Ok(())
}

/// SIGTERM or Ctrl-C drains; the same again ends the process at once.
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
                tracing::warn!(signal = name, "told to stop again; ending at once");
                std::process::exit(130);
            }
            tracing::info!(
                signal = name,
                "stopping: no new jobs; once more to end at once"
            );
            shutdown.cancel();
        }
    });
    Ok(())
}
