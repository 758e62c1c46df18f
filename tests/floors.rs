//! Tests that the picture of the floors in ARCHITECTURE.md is true: a module imports from its own floor
//! and from those below, and some crates are used in one place only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};

/// Crates and the only files that may use them, by the start of their path in `src`.
const CONFINED: [(&str, &[&str]); 7] = [
    ("sqlx", &["storage", "dispatch/queue"]),
    ("apalis", &["dispatch/queue"]),
    ("apalis_core", &["dispatch/queue"]),
    ("apalis_sqlite", &["dispatch/queue"]),
    ("rhai", &["runtime/rhai"]),
    ("wasmtime", &["runtime/wasm"]),
    ("clap", &["cli"]),
];

/// A use of a module or of a crate.
#[derive(Debug, PartialEq)]
struct Use {
    /// The module after `crate::`, or the first word of any other path.
    name: String,
    of_this_crate: bool,
    line: usize,
}

/// A file of the host's library.
struct Source {
    /// Its path in `src`.
    path: String,
    /// Its module, the first word of the path.
    module: String,
    uses: Vec<Use>,
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

/// Returns the files of the host's library, without their unit tests.
fn files() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut read = Vec::new();
    for file in files {
        let path = file.strip_prefix(&root).unwrap().display().to_string();
        let module = path.split(['/', '.']).next().unwrap().to_owned();
        if ["lib", "main"].contains(&&*module) || path.ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        // `super` in `jobs.rs` is the crate's root, in `jobs/targets.rs` it is `jobs`.
        let depth = path.matches('/').count();
        let uses = uses(&text, depth);
        read.push(Source { path, module, uses });
    }
    read
}

fn uses(text: &str, depth: usize) -> Vec<Use> {
    let mut uses = Vec::new();
    collect(text.parse().unwrap(), depth, &mut uses);
    uses
}

/// Collects the beginnings of all paths. `depth` is the number of modules around the tokens, besides
/// the file's own.
fn collect(tokens: TokenStream, depth: usize, uses: &mut Vec<Use>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let is_path = |at: usize| {
        let colon =
            |at| matches!(tokens.get(at), Some(TokenTree::Punct(it)) if it.as_char() == ':');
        colon(at) && colon(at + 1)
    };
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Ident(word) if word == "mod" => {
                if let Some(TokenTree::Group(body)) = tokens.get(at + 1) {
                    if tokens[at].to_string() != "tests" {
                        collect(body.stream(), depth + 1, uses);
                    }
                    at += 2;
                }
            }
            TokenTree::Ident(first) if is_path(at) && (at < 3 || !is_path(at - 3)) => {
                let mut end = at + 2;
                let is_super =
                    |at: usize| tokens.get(at).is_some_and(|it| it.to_string() == "super");
                let mut supers = usize::from(first == "super");
                while supers > 0 && is_super(end) && is_path(end + 1) {
                    supers += 1;
                    end += 3;
                }
                let is_root = first == "crate" || supers > depth;
                let line = first.span().start().line;
                if !is_root {
                    let (name, of_this_crate) = (first.to_string(), false);
                    uses.push(Use {
                        name,
                        of_this_crate,
                        line,
                    });
                    continue;
                }
                let of_this_crate = true;
                match tokens.get(end) {
                    Some(TokenTree::Group(list)) => {
                        let list: Vec<_> = list.stream().into_iter().collect();
                        let items = list.split(|it| it.to_string() == ",");
                        let names = items.filter_map(|item| item.first());
                        uses.extend(names.map(|name| Use {
                            name: name.to_string(),
                            of_this_crate,
                            line: name.span().start().line,
                        }));
                    }
                    Some(name) => uses.push(Use {
                        name: name.to_string(),
                        of_this_crate,
                        line,
                    }),
                    None => {}
                }
            }
            TokenTree::Group(group) => collect(group.stream(), depth, uses),
            _ => {}
        }
    }
}

#[test]
fn no_module_imports_from_a_floor_above() {
    let floors = floors();
    let mut upwards = Vec::new();
    let mut modules = BTreeSet::new();
    let floor_of = |path: &str, name: &str| {
        let floor = floors.get(name);
        *floor.unwrap_or_else(|| panic!("{path}: the floors in ARCHITECTURE.md lack `{name}`"))
    };
    for Source { path, module, uses } in files() {
        let own = floor_of(&path, &module);
        modules.insert(module.clone());
        for Use { name, line, .. } in uses.iter().filter(|it| it.of_this_crate) {
            if floor_of(&path, name) < own {
                upwards.push(format!("{path}:{line}: {module} uses {name}"));
            }
        }
    }
    assert!(upwards.is_empty(), "{upwards:#?}");
    let drawn: BTreeSet<_> = floors.into_keys().collect();
    assert_eq!(drawn, modules);
}

#[test]
fn crates_are_used_where_architecture_says() {
    let mut used = BTreeSet::new();
    for Source { path, uses, .. } in files() {
        for Use { name, line, .. } in uses.iter().filter(|it| !it.of_this_crate) {
            let Some((name, places)) = CONFINED.iter().find(|(confined, _)| confined == name)
            else {
                continue;
            };
            used.insert(*name);
            let is_allowed = places.iter().any(|place| path.starts_with(place));
            assert!(is_allowed, "{path}:{line}: {name} is for {places:?}");
        }
    }
    assert_eq!(used.len(), CONFINED.len(), "found {used:?} only");
}

#[test]
fn uses_are_found_in_every_form() {
    let names = |text: &str, depth| {
        let uses = uses(text, depth).into_iter();
        let uses = uses.filter(|it| it.of_this_crate);
        uses.map(|it| it.name).collect::<Vec<_>>()
    };
    assert_eq!(
        names("use crate::{\n json::{a, b},\n numbers,\n};", 0),
        ["json", "numbers"]
    );
    assert_eq!(names("let x = crate::text::cut(&mut y);", 0), ["text"]);
    assert_eq!(names("info!(a = %crate::text::cut(b));", 0), ["text"]);
    assert_eq!(names("// crate::api::x\nmy_crate::thing()", 0), [""; 0]);
    assert_eq!(names("use super::jobs::Jobs;", 0), ["jobs"]);
    assert_eq!(names("use super::targets::Target;", 1), [""; 0]);
    assert_eq!(names("use super::super::jobs::Jobs;", 1), ["jobs"]);
    assert_eq!(
        names("use super::super::{jobs, api::x};", 1),
        ["jobs", "api"]
    );
    assert_eq!(names("mod tests { use crate::api::x; }", 1), [""; 0]);
    assert_eq!(
        names("mod inner { use super::super::jobs::Jobs; }", 0),
        ["jobs"]
    );
}
