//! Checks of the texts in configuration keys. Each returns the reason if the text is invalid.

use tracing_subscriber::EnvFilter;

use crate::model::{OWN_RIGHTS, PluginName, TargetPattern, check_host, is_host_name};

pub(in crate::config) fn pattern(text: &str) -> Result<(), String> {
    if text.trim().is_empty() || text.contains(char::is_control) {
        return Err(
            "invalid pattern: expected a non-empty text without control characters".to_owned(),
        );
    }
    Ok(())
}

pub(super) fn target_pattern(text: &str) -> Result<(), String> {
    TargetPattern::parse(text).map(drop)
}

/// Checks an entry of `queue_submit`: `*` or a plugin's name, with [`OWN_RIGHTS`] or without.
pub(super) fn submitted_plugin(text: &str) -> Result<(), String> {
    let name = text.strip_suffix(OWN_RIGHTS).unwrap_or(text);
    if name == "*" {
        return Ok(());
    }
    match (name.split_once(':'), PluginName::parse(name)) {
        (_, Ok(_)) => Ok(()),
        (Some((_, suffix)), Err(_)) => Err(format!(
            "invalid suffix `:{suffix}`: expected {OWN_RIGHTS} or none"
        )),
        (None, Err(_)) if name.contains('*') => Err(format!(
            "invalid plugin `{name}`: expected a whole name, or * for any"
        )),
        (None, Err(reason)) => Err(reason),
    }
}

pub(super) fn sqlite_url(url: &str) -> Result<(), String> {
    let scheme = url.split(':').next().unwrap_or_default();
    if matches!(scheme, "postgres" | "postgresql") {
        return Err("PostgreSQL is not available in this version".to_owned());
    }
    let Some(path_and_options) = url.strip_prefix("sqlite:") else {
        return Err("it does not start with sqlite:".to_owned());
    };
    let (path, options) = path_and_options
        .split_once('?')
        .unwrap_or((path_and_options, ""));
    let path = path.trim_start_matches("//");
    if path == ":memory:" {
        return Err(
            "an in-memory database is not allowed: accepted jobs would be lost when the server stops"
                .to_owned(),
        );
    }
    if path.is_empty() || path.ends_with('/') {
        return Err("a file name is missing".to_owned());
    }
    for option in options.split('&').filter(|option| !option.is_empty()) {
        if !matches!(option, "mode=rwc" | "mode=rw") {
            return Err(format!("unknown option {option:?}"));
        }
    }
    Ok(())
}

pub(super) fn listen_address(address: &str) -> Result<(), String> {
    // A socket address has 108 bytes, including a final NUL.
    const MAX_SOCKET_PATH_BYTES: usize = 107;
    let Some(path) = address.strip_prefix("unix:") else {
        return check_host(address);
    };
    file_path(path)?;
    if path.len() > MAX_SOCKET_PATH_BYTES {
        return Err(format!(
            "the socket path is too long: at most {MAX_SOCKET_PATH_BYTES} bytes are allowed, got {}",
            path.len()
        ));
    }
    Ok(())
}

pub(super) fn allowed_host(host: &str) -> Result<(), String> {
    if is_host_name(host) {
        return Ok(());
    }
    Err(match host {
        "*" => {
            "* is not allowed: without authentication, any web page that an operator opens could \
                use this server through a name of its own (DNS rebinding); list the names"
                .to_owned()
        }
        _ if host.parse::<std::net::IpAddr>().is_ok() => {
            format!("{host:?} is an address; addresses are always allowed")
        }
        _ => format!("{host:?} is not a host name without scheme and port"),
    })
}

/// Checks an `http://` or `https://` URL. The reason never contains the URL, which may be a secret.
pub(in crate::config) fn http_url(text: &str) -> Result<(), String> {
    let url = reqwest::Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("it starts with neither http:// nor https://".to_owned());
    }
    Ok(())
}

pub(in crate::config) fn mail_address(text: &str) -> Result<(), String> {
    text.parse::<lettre::message::Mailbox>()
        .map(drop)
        .map_err(|_| format!("{text:?} is not a mail address"))
}

pub(super) fn cors_origin(origin: &str) -> Result<(), String> {
    if origin == "*" {
        return Err(
            "* is not allowed: without authentication, any web page that an operator opens could use \
             this server; list the origins"
                .to_owned(),
        );
    }
    let authority = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"))
        .ok_or_else(|| format!("{origin:?} starts with neither http:// nor https://"))?;
    // Browsers send an origin in lower case without a path or trailing slash, and origins are compared
    // byte by byte: no other form would ever match.
    let plain = authority.chars().all(|c| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | ':' | '[' | ']')
    });
    if authority.is_empty() || !plain {
        return Err(format!(
            "{origin:?} is not scheme://host[:port] in lower case, without path or trailing slash"
        ));
    }
    Ok(())
}

pub(super) fn url_path(path: &str) -> Result<(), String> {
    const TAKEN: [&str; 3] = ["/api", "/health", "/metrics"];
    if !path.starts_with('/') {
        return Err("it does not start with /".to_owned());
    }
    if path.ends_with('/') {
        return Err("it ends with /".to_owned());
    }
    let segments_are_plain = path[1..].split('/').all(|segment| {
        !matches!(segment, "" | "." | "..")
            && segment
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~'))
    });
    if !segments_are_plain {
        return Err(
            "only letters, digits, '-', '_', '.' and '~' are allowed in a segment".to_owned(),
        );
    }
    for taken in TAKEN {
        if path == taken || path.starts_with(&format!("{taken}/")) {
            return Err(format!("{taken} is reserved for the server"));
        }
    }
    Ok(())
}

pub(super) fn log_level(directives: &str) -> Result<(), String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    // `EnvFilter` reads a bare word that is not a level as a module name, so that `level = "inof"` would
    // silently disable nearly all logging.
    for directive in directives.split(',') {
        let is_level = LEVELS
            .iter()
            .any(|level| level.eq_ignore_ascii_case(directive));
        if !is_level && !directive.contains('=') {
            return Err(format!("unknown level {directive:?}"));
        }
    }
    EnvFilter::builder()
        .parse(directives)
        .map(drop)
        .map_err(|error| error.to_string())
}

pub(super) fn path(path: &str) -> Result<(), String> {
    if path.trim().is_empty() {
        Err("it is empty".to_owned())
    } else if path.contains('\0') {
        Err("a NUL character is not allowed".to_owned())
    } else {
        Ok(())
    }
}

pub(in crate::config) fn file_path(text: &str) -> Result<(), String> {
    path(text)?;
    if text.ends_with('/') || std::path::Path::new(text).file_name().is_none() {
        return Err("it is a directory".to_owned());
    }
    Ok(())
}
