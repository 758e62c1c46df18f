//! Tests that the picture of the floors in ARCHITECTURE.md is true: a module imports from its own floor
//! and from those below, and some crates are used in one place only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Arrows upwards that are allowed, with the reason.
const EXCEPTIONS: [(&str, &str, &str); 2] = [
    ("api", "app", "handlers get the application as their state"),
    (
        "board",
        "app",
        "its handlers get the application as their state",
    ),
];

/// Crates and the only modules that may use them.
const CONFINED: [(&str, &[&str]); 7] = [
    ("sqlx", &["storage", "dispatch"]),
    ("apalis", &["dispatch"]),
    ("apalis_core", &["dispatch"]),
    ("apalis_sqlite", &["dispatch"]),
    ("rhai", &["runtime"]),
    ("wasmtime", &["runtime"]),
    ("clap", &["cli"]),
];

/// A line of code: its module, its file with the line number, and its text without comments.
struct Line {
    module: String,
    place: String,
    code: String,
}

/// Returns the floor of each module, counted from the top.
fn floors() -> BTreeMap<String, usize> {
    let page = include_str!("../ARCHITECTURE.md");
    let (_, section) = page.split_once("## The floors").unwrap();
    let (_, picture) = section.split_once("```text\n").unwrap();
    let (picture, _) = picture.split_once("```").unwrap();
    let mut floors = BTreeMap::new();
    let own = picture.lines().map(str::trim_start);
    // The last floor is a crate of its own.
    let own = own.take_while(|line| !line.starts_with("netssh-core"));
    for (floor, line) in own.enumerate() {
        // The description is set off by more spaces than the names are.
        let names = line.split("   ").next().unwrap();
        for name in names.split_whitespace() {
            floors.insert(name.to_owned(), floor);
        }
    }
    floors
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Returns the lines of the host's library, without unit tests.
fn lines() -> Vec<Line> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut lines = Vec::new();
    for file in files {
        let shown = file.strip_prefix(&root).unwrap().display().to_string();
        let module = shown.split(['/', '.']).next().unwrap().to_owned();
        if ["lib", "main"].contains(&&*module) || shown.ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        lines.extend((1..).zip(text.lines()).map(|(number, line)| Line {
            module: module.clone(),
            place: format!("{shown}:{number}"),
            code: line.split("//").next().unwrap_or_default().to_owned(),
        }));
    }
    lines
}

/// Returns the names after `crate::` in a line, also those in braces.
fn imports(code: &str) -> Vec<&str> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let word = |text: &str| text.find(|letter| !is_word(letter)).unwrap_or(text.len());
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let is_inside = code[..at].ends_with(is_word);
        let path = &code[at + "crate::".len()..];
        if is_inside {
            continue;
        }
        match path.strip_prefix('{') {
            Some(list) => names.extend(list.split([',', '}']).map(str::trim).map(|name| {
                let name: &str = name;
                &name[..word(name)]
            })),
            None => names.push(&path[..word(path)]),
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn no_module_imports_from_a_floor_above() {
    let floors = floors();
    let mut upwards = Vec::new();
    let mut excepted = BTreeSet::new();
    let mut modules = BTreeSet::new();
    for line in lines() {
        let Some(own) = floors.get(&line.module) else {
            panic!(
                "{}: the floors in ARCHITECTURE.md lack `{}`",
                line.place, line.module
            );
        };
        modules.insert(line.module.clone());
        for name in imports(&line.code) {
            let Some(floor) = floors.get(name) else {
                panic!(
                    "{}: the floors in ARCHITECTURE.md lack `{name}`",
                    line.place
                );
            };
            let exception = EXCEPTIONS
                .iter()
                .position(|(from, to, _)| *from == line.module && *to == name);
            match exception {
                Some(exception) => drop(excepted.insert(exception)),
                None if floor < own => {
                    upwards.push(format!("{}: {}", line.place, line.code.trim()));
                }
                None => {}
            }
        }
    }
    assert!(upwards.is_empty(), "{upwards:#?}");
    assert_eq!(
        excepted.len(),
        EXCEPTIONS.len(),
        "an exception is not needed"
    );
    let drawn: BTreeSet<_> = floors.into_keys().collect();
    assert_eq!(drawn, modules);
}

#[test]
fn crates_are_used_where_architecture_says() {
    for line in lines() {
        for (name, modules) in CONFINED {
            let path = format!("{name}::");
            let uses = line.code.match_indices(&path);
            let mut uses = uses.filter(|(at, _)| {
                let before = line.code[..*at].chars().next_back();
                before.is_none_or(|letter| !letter.is_alphanumeric() && !":_".contains(letter))
            });
            assert!(
                uses.next().is_none() || modules.contains(&&*line.module),
                "{}: {name} is for {modules:?}",
                line.place
            );
        }
    }
}

#[test]
fn imports_in_braces_and_in_paths_are_found() {
    assert_eq!(imports("use crate::{json, numbers};"), ["json", "numbers"]);
    assert_eq!(imports("let x = crate::text::cut(&mut y);"), ["text"]);
    assert_eq!(imports("my_crate::thing()"), [""; 0]);
}
