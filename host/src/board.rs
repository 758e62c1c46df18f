//! The dashboard: serves the files of `static/`, which are embedded in the binary.
//!
//! The dashboard itself only uses the public API.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rust_embed::{EmbeddedFile, RustEmbed};
use sha2::{Digest as _, Sha256};

use crate::api::Problem;
use crate::app::App;
use crate::config::BoardConfig;

/// Allows scripts, styles and requests only from this server and no inline code, so that text from
/// devices cannot become code.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'self'; form-action 'self'; \
    frame-ancestors 'none'";

/// For URLs that contain the digest of all files: their content never changes.
const FOREVER: &str = "public, max-age=31536000, immutable";
const CHECKED: &str = "no-cache";
/// Length of the abbreviated digests, in hexadecimal digits.
const DIGEST_DIGITS: usize = 16;
/// Entry module of the page.
const ENTRY: &str = "main.js";

#[derive(RustEmbed)]
#[folder = "../static"]
struct Files;

/// The page, and the digest of all files.
struct Site {
    digest: String,
    html: String,
    tag: String,
}

pub fn router(config: &BoardConfig) -> Router<Arc<App>> {
    let path = config.ui_path.clone();
    let site = Arc::new(Site::new(config));
    let shown = Arc::clone(&site);
    let page = get(move |state, method, uri, headers| page(shown, state, method, uri, headers));
    Router::new()
        .route(&path, page.clone())
        .route(&format!("{path}/"), page.clone())
        .route(
            &format!("{path}/static/{{*file}}"),
            get(move |path, headers| file(site, path, headers)),
        )
        .route(&format!("{path}/{{*page}}"), page)
}

impl Site {
    fn new(config: &BoardConfig) -> Self {
        let mut digest = Sha256::new();
        for path in Files::iter() {
            digest.update(path.as_bytes());
            digest.update([0]);
            if let Some(file) = Files::get(&path) {
                digest.update(file.metadata.sha256_hash());
            }
        }
        let digest = hexadecimal(&digest.finalize());
        let index = Files::get("index.html").map(|file| file.data);
        let html = String::from_utf8_lossy(&index.unwrap_or_default())
            .replace(
                r#"<base href="/board/" />"#,
                &format!(r#"<base href="{}/" />"#, config.ui_path),
            )
            .replace(
                r#"<meta name="api-base" content="/api" />"#,
                &format!(
                    r#"<meta name="api-base" content="{}" />"#,
                    config.api_prefix
                ),
            )
            .replace(
                r#"    <script type="module""#,
                &format!(r#"{}    <script type="module""#, preloads()),
            )
            .replace("=\"static/", &format!("=\"static/{digest}/"));
        let tag = format!("\"{}\"", hexadecimal(&Sha256::digest(&html)));
        Self { digest, html, tag }
    }
}

/// Returns preload links for all modules that the entry imports, so that the browser requests them at
/// once instead of level by level.
fn preloads() -> String {
    let mut found = vec![ENTRY.to_owned()];
    let mut next = 0;
    while let Some(module) = found.get(next) {
        for imported in imports_of(module) {
            if !found.contains(&imported) {
                found.push(imported);
            }
        }
        next += 1;
    }
    let links = found.iter().skip(1);
    links
        .map(|module| format!("    <link rel=\"modulepreload\" href=\"static/{module}\" />\n"))
        .collect()
}

/// Returns the paths of the modules that a module imports statically.
fn imports_of(module: &str) -> Vec<String> {
    let Some(file) = Files::get(module) else {
        return Vec::new();
    };
    let folder = module.rsplit_once('/').map_or("", |(folder, _)| folder);
    let source = String::from_utf8_lossy(&file.data);
    let lines = source.lines();
    let imports = lines.filter(|line| line.starts_with("import ") || line.starts_with("} from "));
    imports
        .filter_map(|line| {
            let (_, path) = line.split_once("from \"")?;
            Some(joined(folder, path.split('"').next()?))
        })
        .collect()
}

fn joined(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Serves the page, which selects the view from the URL.
async fn page(
    site: Arc<Site>,
    State(app): State<Arc<App>>,
    method: Method,
    uri: Uri,
    request: HeaderMap,
) -> Response {
    let board = &app.config.board;
    let path = uri.path();
    let of_api = path.strip_prefix(&board.api_prefix);
    let is_file = path
        .rsplit('/')
        .next()
        .is_some_and(|name| name.contains('.'));
    if is_file || of_api.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        return Problem::no_such_url(method, uri).await.into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::CACHE_CONTROL, CHECKED),
        (header::REFERRER_POLICY, "same-origin"),
        (header::ETAG, site.tag.as_str()),
    ];
    if has(&request, &site.tag) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, site.html.clone()).into_response()
}

/// Serves a file, also under the digest of all files. A different digest belongs to a page of another
/// version, which must not get files of this one.
async fn file(site: Arc<Site>, Path(path): Path<String>, request: HeaderMap) -> Response {
    let (path, caching) = match path.split_once('/') {
        Some((digest, rest)) if digest == site.digest => (rest, FOREVER),
        _ => (path.as_str(), CHECKED),
    };
    let Some(file) = Files::get(path) else {
        return (StatusCode::NOT_FOUND, "file not found").into_response();
    };
    let tag = tag_of(&file);
    let headers = [
        (header::CONTENT_TYPE, content_type(path).to_owned()),
        (header::ETAG, tag.clone()),
        (header::CACHE_CONTROL, caching.to_owned()),
    ];
    if has(&request, &tag) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, file.data).into_response()
}

/// Returns whether the client has the version with this tag. Compressing proxies mark tags as weak.
fn has(request: &HeaderMap, tag: &str) -> bool {
    let tags = request.get_all(header::IF_NONE_MATCH).into_iter();
    let tags = tags.filter_map(|tags| tags.to_str().ok());
    tags.flat_map(|tags| tags.split(','))
        .any(|one| one.trim().trim_start_matches("W/") == tag)
}

fn hexadecimal(digest: &[u8]) -> String {
    let digits = digest.iter().map(|byte| format!("{byte:02x}"));
    digits.take(DIGEST_DIGITS / 2).collect()
}

fn tag_of(file: &EmbeddedFile) -> String {
    format!("\"{}\"", hexadecimal(&file.metadata.sha256_hash()))
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("html") => "text/html; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_preloads_what_its_entry_imports() {
        let links = preloads();
        for module in ["api.js", "json.js", "components/table.js", "views/jobs.js"] {
            let link = format!("href=\"static/{module}\"");
            assert_eq!(links.matches(&link).count(), 1, "{module}: {links}");
        }
        assert!(!links.contains("main.js"), "{links}");
        for line in links.lines() {
            let path = line
                .split("static/")
                .nth(1)
                .and_then(|rest| rest.split('"').next());
            assert!(
                path.is_some_and(|path| Files::get(path).is_some()),
                "{line}"
            );
        }
    }
}
