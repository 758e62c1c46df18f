//! The API tokens that `scheduler login` stored, by server, in a file that only its user can read.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use secrecy::SecretString;

/// The variable with an API token.
pub(super) const TOKEN_VARIABLE: &str = "SCHEDULER_TOKEN";
/// The variable with the path of a file that contains an API token.
pub(super) const TOKEN_FILE_VARIABLE: &str = "SCHEDULER_TOKEN_FILE";

/// Tokens by the URL of their server.
type Tokens = BTreeMap<String, String>;

/// Returns the token for a server: that of `SCHEDULER_TOKEN`, of the file in `SCHEDULER_TOKEN_FILE`, or
/// the one that `scheduler login` stored.
pub(super) fn token_for(server: &str) -> anyhow::Result<Option<SecretString>> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(token) = variable(TOKEN_VARIABLE) {
        return Ok(Some(SecretString::from(token.trim().to_owned())));
    }
    if let Some(file) = variable(TOKEN_FILE_VARIABLE) {
        let token = std::fs::read_to_string(&file)
            .with_context(|| format!("failed to read {file} ({TOKEN_FILE_VARIABLE})"))?;
        return Ok(Some(SecretString::from(token.trim().to_owned())));
    }
    let Some(path) = path() else { return Ok(None) };
    Ok(load(&path)?.remove(server).map(SecretString::from))
}

/// Stores a token for a server, or removes it. Returns the path of the file.
pub(super) fn store(server: &str, token: Option<String>) -> anyhow::Result<PathBuf> {
    let path = path().context("set HOME or XDG_STATE_HOME: the token is stored below it")?;
    let mut tokens = load(&path)?;
    match token {
        Some(token) => tokens.insert(server.to_owned(), token),
        None => tokens.remove(server),
    };
    let directory = path.parent().context("the path has no directory")?;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("failed to create {}", directory.display()))?;
    let aside = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = || -> std::io::Result<()> {
        let _ = std::fs::remove_file(&aside);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&aside)?;
        file.write_all(serde_json::json!(tokens).to_string().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&aside, &path)
    };
    written().with_context(|| format!("failed to write {}", path.display()))?;
    Ok(path)
}

fn path() -> Option<PathBuf> {
    let directory = |name| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let state =
        directory("XDG_STATE_HOME").or_else(|| Some(directory("HOME")?.join(".local/state")));
    Some(state?.join("scheduler").join("tokens.json"))
}

fn load(path: &PathBuf) -> anyhow::Result<Tokens> {
    let shown = path.display();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Tokens::new());
        }
        Err(error) => return Err(error).with_context(|| format!("failed to read {shown}")),
    };
    let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
    ensure!(
        mode & 0o077 == 0,
        "other users can read the tokens in {shown} (mode {mode:o}); make it private with chmod 600"
    );
    // The cause is left out: it may quote a token.
    serde_json::from_str(&text)
        .ok()
        .with_context(|| format!("{shown} is damaged; remove it and log in again"))
}
