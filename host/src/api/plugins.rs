//! `/api/plugins`

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::MethodRouter;

use super::Problem;
use super::types::{PluginAnswer, PluginList, PluginVersionAnswer, PluginVersions};
use crate::app::App;

/// Lists plugins, by name; those that do not load too, with the reason.
#[utoipa::path(get, path = "/plugins", tag = "plugins", responses((status = 200, body = PluginList)))]
pub(super) async fn list(State(app): State<Arc<App>>) -> Json<PluginList> {
    let entries = app.registry.entries().into_iter();
    let plugins = entries.map(|entry| PluginAnswer::of(entry, &app.policy));
    Json(PluginList {
        plugins: plugins.collect(),
    })
}

/// Shows a plugin.
#[utoipa::path(
    get, path = "/plugins/{name}", tag = "plugins", params(("name" = String, Path)),
    responses(
        (status = 200, body = PluginAnswer),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<PluginAnswer>, Problem> {
    match app.registry.entry(&name) {
        Some(entry) => Ok(Json(PluginAnswer::of(entry, &app.policy))),
        None => Err(Problem::not_found(format!("there is no plugin `{name}`"))),
    }
}

/// Lists the versions of a plugin that were loaded, and how many jobs ran each.
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
        return Err(Problem::not_found(format!("there is no plugin `{name}`")));
    }
    let versions = versions.into_iter().map(|version| PluginVersionAnswer {
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

/// Looks for new, changed and removed plugin files at once, and lists what there is then.
#[utoipa::path(post, path = "/plugins/reload", tag = "plugins", responses((status = 200, body = PluginList)))]
pub(super) async fn reload(State(app): State<Arc<App>>) -> Json<PluginList> {
    app.registry.scan().await;
    list(State(app)).await
}

/// What `/plugins/reload` is besides [`reload`]: a plugin that happens to be called so.
pub(super) fn named_reload() -> MethodRouter<Arc<App>> {
    axum::routing::get(|state| get(state, Path("reload".to_owned())))
}
