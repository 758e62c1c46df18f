//! Pagination: pages bounded in entries and in bytes.

use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::Problem;
use crate::storage::Page;

/// Maximum number of entries in a page.
pub(super) const MAX_ENTRIES: u32 = 500;
/// A page ends when its entries reach this length as JSON. It always contains at least one entry.
const MAX_BYTES: u64 = 1 << 20;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// Maximum number of entries, 1 to 500; 500 if absent. A page ends earlier when it reaches 1 MiB.
    limit: Option<u32>,
    /// `next_cursor` of the previous page.
    pub(super) cursor: Option<String>,
}

impl PageQuery {
    pub(super) fn page(&self) -> Result<Page, Problem> {
        Ok(Page {
            limit: checked(self.limit, MAX_ENTRIES)?,
            bytes: MAX_BYTES,
        })
    }
}

/// Returns the page limit or the default.
pub(super) fn checked(limit: Option<u32>, default: u32) -> Result<u32, Problem> {
    let limit = limit.unwrap_or(default);
    if (1..=MAX_ENTRIES).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::invalid_field(
        "/limit",
        format!("expected 1 to {MAX_ENTRIES}, got {limit}"),
    ))
}

/// Takes the entries that fit into a page, at least one. Returns them and whether entries remain.
pub(super) fn fitting<T: Serialize>(
    entries: impl IntoIterator<Item = T>,
    limit: u32,
) -> (Vec<T>, bool) {
    let mut page = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        bytes += crate::json::length(&entry) as u64;
        let is_full = page.len() >= limit as usize || bytes > MAX_BYTES;
        if is_full && !page.is_empty() {
            return (page, true);
        }
        page.push(entry);
    }
    (page, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_at_its_limit_or_its_length() {
        let (page, more) = fitting([1, 2, 3], 2);
        assert_eq!((page, more), (vec![1, 2], true));
        assert_eq!(fitting([1, 2], 2), (vec![1, 2], false));
        let half = "x".repeat(1 << 19);
        let (page, more) = fitting([&half, &half, &half], 10);
        assert_eq!((page.len(), more), (1, true));
        let large = half.repeat(4);
        let (page, more) = fitting([&large, &half], 10);
        assert_eq!((page.len(), more), (1, true), "one entry is always in it");
    }
}
