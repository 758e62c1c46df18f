//! Suggestions for mistyped names.

/// Returns the most similar known name, unless none is similar enough.
pub(crate) fn nearest(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    closest(name, known)
        .filter(|(_, distance)| *distance <= 1 + name.chars().count() / 3)
        .map(|(known, _)| known)
}

pub(crate) fn closest(name: &str, known: impl Iterator<Item = String>) -> Option<(String, usize)> {
    known
        .map(|known| {
            let distance = edit_distance(name, &known);
            (known, distance)
        })
        .min_by_key(|(_, distance)| *distance)
}

/// Returns the Levenshtein distance of two texts.
fn edit_distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}
