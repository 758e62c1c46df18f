//! Truncation of texts.

/// Truncates a text to at most `bytes`, at a character boundary, and appends a mark.
pub(crate) fn cut(text: &mut String, bytes: usize) {
    const MARK: &str = " … [cut]";
    if text.len() <= bytes {
        return;
    }
    let mut end = bytes.saturating_sub(MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str(MARK);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_a_character_boundary() {
        let mut text = "ä".repeat(100);
        cut(&mut text, 51);
        assert!(text.len() <= 51);
        assert!(text.ends_with("[cut]"));

        let mut short = "short".to_owned();
        cut(&mut short, 51);
        assert_eq!(short, "short");
    }
}
