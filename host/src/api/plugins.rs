//! `/api/plugins`: loaded plugins, their versions, and reloading.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::MethodRouter;

use super::Problem;
use super::extract::QueryParams;
use super::page::{MAX_ENTRIES, PageQuery, fitting};
use crate::app::App;
use crate::wire::{PluginList, PluginResponse, PluginVersionResponse, PluginVersions};

/// Lists plugins by name, including broken ones with their error.
#[utoipa::path(
    get, path = "/plugins", tag = "plugins", params(PageQuery),
    responses(
        (status = 200, body = PluginList),
        (status = 422, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    QueryParams(query): QueryParams<PageQuery>,
) -> Result<Json<PluginList>, Problem> {
    let page = query.page()?;
    Ok(Json(listed(&app, query.cursor.as_deref(), page.limit)))
}

/// Returns a page of the plugins. Several files may claim one name, so the cursor also has the index
/// among them; the serving one comes first.
fn listed(app: &App, cursor: Option<&str>, limit: u32) -> PluginList {
    let after = cursor.map(|cursor| {
        let split = cursor.rsplit_once('/');
        let (name, number) = split.unwrap_or((cursor, ""));
        (name.to_owned(), number.parse::<usize>().unwrap_or_default())
    });
    let mut places = Vec::new();
    let mut entries = app.registry.entries();
    entries.retain(|entry| {
        let number = match places.last() {
            Some((name, number)) if *name == entry.name => number + 1,
            _ => 0,
        };
        let place = (entry.name.clone(), number);
        let is_after = after.as_ref().is_none_or(|after| place > *after);
        places.push(place);
        is_after
    });
    let skipped = places.len() - entries.len();
    let answers = entries
        .into_iter()
        .map(|entry| PluginResponse::of(entry, &app.policy).listed());
    let (plugins, more) = fitting(answers, limit);
    let last = (skipped + plugins.len()).checked_sub(1).filter(|_| more);
    let last = last.and_then(|last| places.get(last));
    PluginList {
        next_cursor: last.map(|(name, number)| format!("{name}/{number}")),
        plugins,
    }
}

/// Returns a plugin.
#[utoipa::path(
    get, path = "/plugins/{name}", tag = "plugins", params(("name" = String, Path)),
    responses(
        (status = 200, body = PluginResponse),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<PluginResponse>, Problem> {
    match app.registry.entry(&name) {
        Some(entry) => Ok(Json(PluginResponse::of(entry, &app.policy))),
        None => Err(Problem::not_found(format!("plugin `{name}` not found"))),
    }
}

/// Lists the loaded versions of a plugin, with the number of their jobs.
#[utoipa::path(
    get, path = "/plugins/{name}/versions", tag = "plugins", params(("name" = String, Path)),
    responses(
        (status = 200, body = PluginVersions),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn versions(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<PluginVersions>, Problem> {
    let serving = app.registry.get(&name).map(|plugin| plugin.digest.clone());
    let versions = app.registry.versions(&name).await?;
    if versions.is_empty() && app.registry.entry(&name).is_none() {
        return Err(Problem::not_found(format!("plugin `{name}` not found")));
    }
    let versions = versions.into_iter().map(|version| PluginVersionResponse {
        serving: serving.as_ref() == Some(&version.digest),
        digest: version.digest,
        kind: version.kind,
        first_seen: version.first_seen,
        last_seen: version.last_seen,
        jobs: version.jobs,
    });
    Ok(Json(PluginVersions {
        versions: versions.collect(),
    }))
}

/// How long a reload waits for changed components to compile.
const RELOAD_PATIENCE: Duration = Duration::from_secs(2);

/// Scans the plugin directories now and returns the first page of the plugins. A component that takes
/// long to compile is listed as `compiling`.
#[utoipa::path(post, path = "/plugins/reload", tag = "plugins", responses((status = 200, body = PluginList)))]
pub(super) async fn reload(State(app): State<Arc<App>>) -> Json<PluginList> {
    app.registry.scan().await;
    let _ = tokio::time::timeout(RELOAD_PATIENCE, app.registry.settled()).await;
    Json(listed(&app, None, MAX_ENTRIES))
}

/// Routes the other methods of `/plugins/reload`, beside [`reload`], to a plugin named `reload`.
pub(super) fn named_reload() -> MethodRouter<Arc<App>> {
    axum::routing::get(|state| get(state, Path("reload".to_owned())))
}
