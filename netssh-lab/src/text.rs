//! Placeholders in a platform's texts: `{hostname}`.

/// Replaces the placeholders that `value` knows; other braces are text.
pub(super) fn expand(template: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        let (before, from) = rest.split_at(start);
        text.push_str(before);
        let name = from[1..].split(|c: char| !c.is_ascii_lowercase() && c != '_');
        let name = name.into_iter().next().unwrap_or_default();
        let end = 1 + name.len();
        let known = from[end..].starts_with('}').then(|| value(name)).flatten();
        if let Some(value) = known {
            text.push_str(&value);
            rest = &from[end + 1..];
        } else {
            text.push('{');
            rest = &from[1..];
        }
    }
    text.push_str(rest);
    text
}

/// Returns the last line of a text, without colours and cursor movements.
pub(super) fn on_screen(text: &str) -> String {
    let shown = netssh_core::clean(text.as_bytes());
    shown.lines().last().unwrap_or_default().to_owned()
}

/// Returns the columns that the last line of a text occupies.
pub(super) fn width(text: &str) -> usize {
    on_screen(text).chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_placeholders_are_replaced() {
        let value = |name: &str| (name == "hostname").then(|| "r1".to_owned());
        assert_eq!(
            expand("{hostname} {other} { hostname} {hostname", value),
            "r1 {other} { hostname} {hostname"
        );
    }

    #[test]
    fn colours_take_no_columns() {
        assert_eq!(width("above\n\x1b[32mr1\x1b[0m# "), 4);
    }
}
