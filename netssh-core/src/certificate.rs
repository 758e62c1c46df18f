//! Properties of host and user certificates.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use russh::keys::Certificate;

use crate::session_log::timestamp;

/// Rejects deeply nested certificates: a certificate may contain a certificate as its authority's
/// key, and so on, and the parser's recursion has no limit of its own.
pub(crate) fn check_nesting(line: &str) -> Result<(), String> {
    const MARK: &[u8] = b"-cert-v01@";
    const MAX_NESTING: usize = 8;
    let blob = line.split_whitespace().nth(1).unwrap_or_default();
    let bytes = data_encoding::BASE64
        .decode(blob.as_bytes())
        .unwrap_or_default();
    let marks = bytes.windows(MARK.len()).filter(|part| *part == MARK);
    if marks.count() > MAX_NESTING {
        return Err("nested certificates are not allowed".into());
    }
    Ok(())
}

/// Returns whether a certificate is not valid now.
pub(crate) fn is_out_of_date(certificate: &Certificate) -> bool {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = since.unwrap_or_default().as_secs();
    !(certificate.valid_after()..certificate.valid_before()).contains(&now)
}

/// Formats the validity as `from … to …`, in UTC.
pub(crate) fn validity(certificate: &Certificate) -> String {
    // Certificates without a limit have times beyond any calendar.
    let show = |seconds: u64| match UNIX_EPOCH.checked_add(Duration::from_secs(seconds)) {
        Some(time) if seconds < 253_402_300_800 => timestamp(time),
        _ => "ever".into(),
    };
    format!(
        "from {} to {}",
        show(certificate.valid_after()),
        show(certificate.valid_before())
    )
}
