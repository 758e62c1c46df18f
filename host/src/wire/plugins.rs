//! Wire types of plugins.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::capabilities::Policy;
use crate::json::length;
use crate::model::{LoadError, Needs, PluginKind, TargetMode};
use crate::registry::Entry;

/// Maximum length of a schema or of the needs in a list, in bytes.
const LISTED_BYTES: usize = 4 << 10;
/// Maximum length of a text in a list, in characters.
const LISTED_CHARS: usize = 1_000;
/// Maximum number of needs without a grant in a list, if they are long.
const LISTED_NEEDS: usize = 4;

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PluginList {
    /// The plugins, by name.
    pub plugins: Vec<PluginResponse>,
    /// For the next page: `?cursor=`; null on the last.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PluginResponse {
    pub name: String,
    pub kind: PluginKind,
    /// SHA-256 of the version in use; null if none was ever loaded.
    pub digest: Option<String>,
    pub summary: Option<String>,
    /// JSON Schema of the parameters.
    pub params_schema: Option<Value>,
    pub needs: Option<Needs>,
    pub targets: Option<TargetMode>,
    pub loaded_at: Option<DateTime<Utc>>,
    pub status: PluginStatus,
    /// The needs of the plugin that the operator's policy does not grant; its jobs are rejected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_granted: Vec<String>,
    /// Another file with the same plugin name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict: Option<String>,
    /// Why the current file failed to load; the last loaded version stays in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<LoadError>,
    /// Whether a field was too long for the list and is null or truncated; the plugin itself has all of
    /// it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PluginVersions {
    /// The versions, last loaded first.
    pub versions: Vec<PluginVersionResponse>,
}

/// A loaded version of a plugin.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PluginVersionResponse {
    /// SHA-256 of the version's files.
    pub digest: String,
    pub kind: PluginKind,
    pub first_seen: DateTime<Utc>,
    /// When the version was last loaded.
    pub last_seen: DateTime<Utc>,
    /// Number of jobs that ran the version, not counting removed jobs.
    pub jobs: u64,
    /// Whether new jobs run this version.
    pub serving: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PluginStatus {
    Ready,
    /// The current file is being compiled; the last loaded version stays in use meanwhile.
    Compiling,
    Broken,
}

impl PluginResponse {
    pub(crate) fn of(entry: Entry, policy: &Policy) -> Self {
        let compiling = entry.is_compiling();
        let plugin = entry.plugin.as_deref();
        let description = plugin.map(|plugin| &plugin.description);
        Self {
            name: entry.name.clone(),
            kind: entry.kind,
            digest: plugin.map(|plugin| plugin.digest.clone()),
            summary: description.map(|description| description.summary.clone()),
            params_schema: description.map(|description| description.params.clone()),
            needs: description.map(|description| description.needs.clone()),
            targets: description.map(|description| description.targets),
            loaded_at: plugin.map(|plugin| plugin.loaded_at),
            not_granted: description.map_or_else(Vec::new, |description| {
                let rights = policy.rights(&entry.name, &description.needs);
                rights.missing()
            }),
            conflict: entry.conflict,
            status: match entry.error {
                None if compiling => PluginStatus::Compiling,
                None => PluginStatus::Ready,
                Some(_) => PluginStatus::Broken,
            },
            error: entry.error,
            cut: false,
        }
    }

    /// Shortens fields that are too long for a list.
    pub(crate) fn listed(mut self) -> Self {
        let mut cut = false;
        if self.params_schema.as_ref().map_or(0, length) > LISTED_BYTES {
            self.params_schema = None;
            cut = true;
        }
        if self.needs.as_ref().map_or(0, length) > LISTED_BYTES {
            self.needs = None;
            cut = true;
        }
        if length(&self.not_granted) > LISTED_BYTES {
            self.not_granted.truncate(LISTED_NEEDS);
            cut = true;
        }
        let summary = self.summary.as_mut();
        let error = self.error.as_mut().map(|error| &mut error.message);
        let needs = self.not_granted.iter_mut();
        for text in summary.into_iter().chain(error).chain(needs) {
            if let Some((end, _)) = text.char_indices().nth(LISTED_CHARS) {
                text.truncate(end);
                text.push('…');
                cut = true;
            }
        }
        self.cut = cut;
        self
    }
}
