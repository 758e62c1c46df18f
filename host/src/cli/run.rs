//! `scheduler run`: runs one plugin locally, without a server.
//!
//! The whole host runs in this process, without a port and in a temporary directory, so the playbook
//! runs as it would on a server. Nothing remains afterwards except compiled components, in the user's
//! cache.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::job::watch;
use super::params::ParamArgs;
use super::secrets::{SecretArgs, Secrets, note_nothing_to_log_in_with};
use super::{Failure, OutputFormat, output};
use crate::api;
use crate::app::{self, App};
use crate::config::{Config, NotificationsConfig};
use crate::logging;
use crate::model::{PluginName, TargetMode};
use crate::wire::{JobAccepted, PluginResponse, PluginStatus};

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The playbook (*.rhai) or component (*.wasm)
    file: PathBuf,

    /// The device's address, for a plugin with a target
    #[arg(long, requires_all = ["username", "device_type"])]
    host: Option<String>,

    /// The device's SSH port
    #[arg(long, default_value_t = 22, requires = "host")]
    port: u16,

    /// The user to log in as
    #[arg(long, requires = "host")]
    username: Option<String>,

    /// The device's platform, by its netmiko name: `cisco_ios`, `linux`, `frr` …
    #[arg(long, value_name = "PLATFORM", requires = "host")]
    device_type: Option<String>,

    /// The only host key to accept: SHA256:… or an OpenSSH public key
    #[arg(long, value_name = "KEY", requires = "host")]
    host_key: Option<String>,

    #[command(flatten)]
    secrets: SecretArgs,

    #[command(flatten)]
    params: ParamArgs,

    /// Timeout of the job
    #[arg(long, value_name = "SECONDS")]
    timeout_seconds: Option<u32>,

    /// Output format: text, or the ended job as JSON
    #[arg(long, short, value_enum, default_value_t)]
    output: OutputFormat,
}

/// The body of `POST /api/jobs`. Not Debug: it holds secrets.
#[derive(Serialize)]
struct Submission {
    plugin: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<InlineConnection>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_seconds: Option<u32>,
}

#[derive(Serialize)]
struct InlineConnection {
    /// The name by which the playbook addresses the device.
    name: &'static str,
    host: String,
    port: u16,
    username: String,
    device_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_key: Option<String>,
    #[serde(flatten)]
    secrets: Secrets,
}

pub(super) fn run(args: RunArgs, config_file: Option<PathBuf>) -> Result<(), Failure> {
    let mut config = Config::from_process(config_file, Vec::new()).map_err(anyhow::Error::from)?;
    // The command itself shows the job's log and load errors of the plugin.
    "error,job=off".clone_into(&mut config.logging.level);
    config.logging.file = None;
    let _logging = logging::init(&config.logging)?;
    let scratch = tempfile::tempdir().context("failed to create a temporary directory")?;
    let format = args.output;
    let plugin = put_alone(&args.file, scratch.path())?;
    live_in(&mut config, scratch.path());
    config.plugins.cache_dir = config.plugins.cache_dir.or_else(cache_of_user);
    let submission = submission(args, plugin)?;
    let runtime = app::runtime(&config.worker)?;
    let ended = runtime.block_on(run_to_end(config, submission, format));
    runtime.shutdown_background();
    ended
}

async fn run_to_end(
    config: Config,
    submission: Submission,
    format: OutputFormat,
) -> Result<(), Failure> {
    let app = App::build(config).await?;
    let client = Client::in_process(api::router(&app))?;
    let shutdown = CancellationToken::new();
    let working = tokio::spawn(Arc::clone(&app).work(shutdown.clone()));
    let ended = submit_and_follow(&app, &client, &submission, format).await;
    shutdown.cancel();
    working.await.context("the worker failed")?;
    ended
}

async fn submit_and_follow(
    app: &App,
    client: &Client,
    submission: &Submission,
    format: OutputFormat,
) -> Result<(), Failure> {
    app.registry.settled().await;
    let plugin: PluginResponse = client.get(&["plugins", &submission.plugin]).await?.body;
    if let (PluginStatus::Broken, Some(error)) = (plugin.status, plugin.error) {
        return Err(anyhow::anyhow!("{error}").into());
    }
    if submission.connection.is_none()
        && plugin.targets.is_some_and(|mode| mode != TargetMode::None)
    {
        let name = &submission.plugin;
        return Err(Failure::Usage(format!(
            "plugin `{name}` needs a target; give --host, --username and --device-type"
        )));
    }
    let accepted = client
        .post::<JobAccepted>(&["jobs"], submission, None)
        .await?;
    let id = accepted.body.id.to_string();
    let following = watch::follow(client, &id, format);
    tokio::pin!(following);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(anyhow::Error::from)?;
    tokio::select! {
        ended = &mut following => return ended,
        _ = interrupt.recv() => output::talk("stopping the job"),
    }
    client.post_empty(&["jobs", &id, "cancel"]).await?;
    following.await
}

/// Copies the plugin into a directory of its own and returns its name.
fn put_alone(file: &Path, scratch: &Path) -> Result<String, Failure> {
    let name = file.file_stem().and_then(|stem| stem.to_str());
    let end = file.extension().and_then(|end| end.to_str());
    let directory = match end {
        Some("rhai") => "scripts",
        Some("wasm") => "plugins",
        _ => "",
    };
    let (Some(name), Some(end), false) = (name, end, directory.is_empty()) else {
        let text = format!(
            "invalid plugin file {}: expected .rhai (a playbook) or .wasm (a component)",
            file.display()
        );
        return Err(Failure::Usage(text));
    };
    let name = PluginName::parse(name).map_err(Failure::Usage)?.to_string();
    let directory = scratch.join(directory);
    std::fs::create_dir(&directory).context("failed to create a temporary directory")?;
    std::fs::copy(file, directory.join(format!("{name}.{end}")))
        .with_context(|| format!("failed to read {}", file.display()))?;
    let modules = file.with_file_name("lib");
    if end == "rhai" && modules.is_dir() {
        copy_modules(&modules, &directory.join("lib"), MODULE_DEPTH)
            .with_context(|| format!("failed to copy {}", modules.display()))?;
    }
    Ok(name)
}

/// Maximum depth of the directories that are copied with a playbook.
const MODULE_DEPTH: usize = 8;

fn copy_modules(from: &Path, to: &Path, depth: usize) -> std::io::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let place = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() && depth > 0 {
            copy_modules(&path, &place, depth - 1)?;
        } else if path.extension().is_some_and(|end| end == "rhai") {
            std::fs::copy(&path, place)?;
        }
    }
    Ok(())
}

/// Moves everything that the host writes or loads into the run's own directory.
fn live_in(config: &mut Config, scratch: &Path) {
    config.database.url = format!("sqlite:{}", scratch.join("scheduler.db").display());
    config.queue.url = None;
    // The scratch directory may be on a small disk.
    config.database.min_free_mb = 0;
    config.security.master_key_file = scratch.join("scheduler.key");
    config.plugins.scripts_dir = scratch.join("scripts");
    config.plugins.components_dir = scratch.join("plugins");
    config.plugins.watch = false;
    config.worker.shutdown_grace_seconds = 0;
    // The user sees the outcome directly.
    config.notifications = NotificationsConfig::default();
}

/// Returns the directory where compiled components are cached across runs, or `None` if the user has no
/// cache directory.
fn cache_of_user() -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    let directory = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    let caches = directory("XDG_CACHE_HOME").or_else(|| Some(directory("HOME")?.join(".cache")))?;
    let metadata = std::fs::metadata(&caches).ok()?;
    let mine = metadata.uid() == rustix::process::geteuid().as_raw();
    (caches.is_absolute() && metadata.is_dir() && mine)
        .then(|| caches.join("job-scheduler/compiled-components"))
}

fn submission(args: RunArgs, plugin: String) -> Result<Submission, Failure> {
    let connection = match (args.host, args.username, args.device_type) {
        (Some(host), Some(username), Some(device_type)) => {
            let secrets = args.secrets.read(&format!("{username} on {host}"))?;
            if !secrets.can_log_in() {
                note_nothing_to_log_in_with();
            }
            Some(InlineConnection {
                name: "device",
                secrets,
                host,
                port: args.port,
                username,
                device_type,
                host_key: args.host_key,
            })
        }
        _ => None,
    };
    Ok(Submission {
        plugin,
        params: args.params.read()?,
        connection,
        timeout_seconds: args.timeout_seconds,
    })
}
