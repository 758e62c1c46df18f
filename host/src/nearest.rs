//! Suggestions for mistyped names.

use strsim::levenshtein;

/// Returns the most similar known name, unless none is similar enough.
pub(crate) fn nearest(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    closest(name, known)
        .filter(|(_, distance)| *distance <= 1 + name.chars().count() / 3)
        .map(|(known, _)| known)
}

/// Returns the most similar known name, and its Levenshtein distance.
pub(crate) fn closest(name: &str, known: impl Iterator<Item = String>) -> Option<(String, usize)> {
    known
        .map(|known| {
            let distance = levenshtein(name, &known);
            (known, distance)
        })
        .min_by_key(|(_, distance)| *distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_suggests_a_name_up_to_a_third_and_one_character_away() {
        let suggested = |name, known: &[&str]| {
            nearest(name, known.iter().map(|known| (*known).to_owned())).unwrap_or_default()
        };
        assert_eq!(
            suggested("concurency", &["port", "concurrency"]),
            "concurrency"
        );
        assert_eq!(suggested("abcxyz", &["abcdef"]), "abcdef");
        assert_eq!(suggested("abwxyz", &["abcdef"]), "");
        assert_eq!(suggested("äöüxyz", &["äöüdef"]), "äöüdef", "in characters");
        assert_eq!(
            suggested("ab", &["abd", "abc"]),
            "abd",
            "the first of equals"
        );
    }
}
