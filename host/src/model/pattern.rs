//! Patterns in which `*` matches any text.

/// Returns whether a pattern matches a whole text; `*` matches any text. Takes linear time.
#[must_use]
pub fn matches_pattern(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut left) = text.strip_prefix(first) else {
        return false;
    };
    let mut pieces = rest.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return left.ends_with(piece);
        }
        match left.find(piece) {
            Some(at) => left = &left[at + piece.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_whole_texts() {
        assert!(matches_pattern("show *", "show version"));
        assert!(matches_pattern("show * brief", "show ip interface brief"));
        assert!(matches_pattern("a*b*c", "a-b-b-c"));
        assert!(matches_pattern("*", ""));
        assert!(!matches_pattern("show *", "show"));
        assert!(!matches_pattern("show *", "no show version"));
        assert!(!matches_pattern("show version", "show version detail"));
        assert!(!matches_pattern("ab*ba", "aba"));
    }
}
