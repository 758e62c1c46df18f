//! `cargo xtask prose`: counts habits of unidiomatic English in comments, pages and messages.

mod habits;
mod text;

use std::path::Path;
use std::process::Command;
use std::{fs, str};

use anyhow::{Context as _, bail};

use crate::process::repository;
use habits::{HABITS, Habit};
use text::Kind;

/// Text that is held to the same bounds together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Comments,
    Tests,
    Pages,
    Messages,
}

impl Room {
    const ALL: [Self; 4] = [Self::Comments, Self::Tests, Self::Pages, Self::Messages];

    const fn name(self) -> &'static str {
        match self {
            Self::Comments => "comments",
            Self::Tests => "comments of tests",
            Self::Pages => "pages",
            Self::Messages => "messages and descriptions",
        }
    }
}

struct Hit<'a> {
    file: &'a str,
    line: usize,
    text: String,
}

/// Checks every file under version control, and prints where a habit is more frequent than allowed.
pub(crate) fn run() -> anyhow::Result<()> {
    let files = files(&repository())?;
    let mut passages = Vec::new();
    for file in &files {
        let content =
            fs::read(repository().join(file)).with_context(|| format!("failed to read {file}"))?;
        // Pictures and recordings of devices.
        let Ok(content) = String::from_utf8(content) else {
            continue;
        };
        let found = text::passages(file, &content).into_iter();
        passages
            .extend(found.filter_map(|passage| {
                Some((room_of(file, passage.kind)?, file.as_str(), passage))
            }));
    }
    let mut exceeded = 0;
    for room in Room::ALL {
        let own: Vec<_> = passages.iter().filter(|(of, ..)| *of == room).collect();
        println!("prose: {}: {} lines", room.name(), own.len());
        for habit in &HABITS {
            let mut hits = Vec::new();
            for (_, file, passage) in &own {
                hits.extend(habit.find(passage).map(|text| Hit {
                    file,
                    line: passage.line,
                    text,
                }));
            }
            exceeded += usize::from(report(room, habit, own.len(), &hits));
        }
    }
    if exceeded > 0 {
        bail!(
            "{exceeded} habits are more frequent than allowed; CONTRIBUTING.md says what to write instead"
        );
    }
    Ok(())
}

/// Prints the hits of a habit that is more frequent than allowed, and returns whether it is.
fn report(room: Room, habit: &Habit, lines: usize, hits: &[Hit<'_>]) -> bool {
    let allowed = match room {
        Room::Messages => 0,
        _ => habit.allowed(lines),
    };
    if hits.len() <= allowed {
        return false;
    }
    println!(
        "\n{}: {}: {} found, {allowed} allowed; {}",
        room.name(),
        habit.name,
        hits.len(),
        habit.instead
    );
    for Hit { file, line, text } in hits {
        println!("  {file}:{line}: {text}");
    }
    true
}

/// Returns the files under version control, and new ones that are not ignored, relative to the
/// repository.
fn files(repository: &Path) -> anyhow::Result<Vec<String>> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
        ])
        .current_dir(repository)
        .output()
        .context("failed to run git")?;
    if !output.status.success() {
        bail!("git ls-files failed ({})", output.status);
    }
    let listed = str::from_utf8(&output.stdout).context("git ls-files printed invalid UTF-8")?;
    let exists = |file: &&str| repository.join(file).is_file();
    let files = listed.split_terminator('\0').filter(exists);
    Ok(files.map(str::to_owned).collect())
}

/// Returns where a passage of a file belongs; `None` for text that nobody reads as prose.
fn room_of(file: &str, kind: Kind) -> Option<Room> {
    let is_test =
        file.starts_with("tests/") || file.contains("/tests/") || file.ends_with("/tests.rs");
    let is_shown = ["host/src/cli/", "host/src/api/", "host/src/config/keys"]
        .iter()
        .any(|start| file.starts_with(start));
    // The list of habits names each of them; a migration that has run must not change, not even its
    // comments, because the database stores its checksum.
    let is_fixed = file.starts_with("migrations/");
    if is_fixed || file.starts_with("xtask/src/prose/") || file == "CONTRIBUTING.md" {
        return None;
    }
    match kind {
        Kind::String if is_test => None,
        Kind::String => Some(Room::Messages),
        Kind::Comment if is_test => Some(Room::Tests),
        // Help texts of the command line, and the descriptions of the HTTP API.
        Kind::Doc if is_shown => Some(Room::Messages),
        Kind::Comment | Kind::Doc if is_test => Some(Room::Tests),
        Kind::Comment | Kind::Doc => Some(Room::Comments),
        Kind::Page => Some(Room::Pages),
    }
}

#[cfg(test)]
mod tests {
    use super::text::Passage;
    use super::*;

    #[test]
    fn text_is_sorted_by_its_reader() {
        let rooms = [
            ("host/src/app.rs", Kind::Doc, Some(Room::Comments)),
            ("host/src/cli/job.rs", Kind::Doc, Some(Room::Messages)),
            ("host/src/cli/job.rs", Kind::Comment, Some(Room::Comments)),
            ("host/src/app.rs", Kind::String, Some(Room::Messages)),
            ("tests/api.rs", Kind::Comment, Some(Room::Tests)),
            ("netssh-core/tests/pool.rs", Kind::Doc, Some(Room::Tests)),
            ("tests/api.rs", Kind::String, None),
            ("docs/api.md", Kind::Page, Some(Room::Pages)),
            ("CONTRIBUTING.md", Kind::Page, None),
        ];
        for (file, kind, room) in rooms {
            assert_eq!(room_of(file, kind), room, "{file}");
        }
    }

    #[test]
    fn every_habit_is_found_in_its_example_and_not_in_plain_english() {
        let passage = |text: &str| Passage {
            kind: Kind::Comment,
            line: 1,
            begins: true,
            text: text.to_owned(),
        };
        for habit in &HABITS {
            let found = habit.find(&passage(habit.example));
            assert!(found.is_some(), "{}", habit.name);
            let plain =
                "Returns the lease of a device. There is no limit, and it is no longer used.";
            assert_eq!(habit.find(&passage(plain)), None, "{}", habit.name);
        }
    }
}
