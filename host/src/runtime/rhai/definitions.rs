//! The reference of playbook functions, for people and editors, generated from the registered
//! functions and their doc comments.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use rhai::Engine;

use super::{Modules, RhaiRuntime};

/// One function, with one list of parameters.
struct Function {
    namespace: String,
    name: String,
    /// Names and types, in the words of playbooks.
    parameters: Vec<(String, String)>,
    answer: String,
    docs: String,
}

/// The section of a function: methods of devices are separate from global functions.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Global,
    Device,
    Module(String),
}

impl Function {
    fn group(&self) -> Group {
        if !self.namespace.is_empty() {
            return Group::Module(self.namespace.clone());
        }
        match self.parameters.first() {
            Some((_, kind)) if kind == "device" => Group::Device,
            _ => Group::Global,
        }
    }

    /// Returns the full name: `ssh::open`, `device.exec`, `sleep`.
    fn full_name(&self) -> String {
        let name = self.name.trim_start_matches("get$");
        match self.group() {
            Group::Global => name.to_owned(),
            Group::Device => format!("device.{name}"),
            Group::Module(module) => format!("{module}::{name}"),
        }
    }

    fn signature(&self) -> String {
        let own = match self.group() {
            Group::Device => 1,
            _ => 0,
        };
        let parameters: Vec<_> = self.parameters[own..]
            .iter()
            .map(|(name, kind)| format!("{name}: {kind}"))
            .collect();
        let call = if self.name.starts_with("get$") {
            self.full_name()
        } else {
            format!("{}({})", self.full_name(), parameters.join(", "))
        };
        match self.answer.as_str() {
            "()" => call,
            answer => format!("{call} → {answer}"),
        }
    }
}

impl RhaiRuntime {
    /// Returns the names of the host's functions, without overloads: `ssh::open`, `device.exec`,
    /// `sleep`.
    #[must_use]
    pub fn functions() -> BTreeSet<String> {
        let functions = functions(&engine());
        functions.iter().map(Function::full_name).collect()
    }

    /// Returns the reference of the host's functions as Markdown.
    #[must_use]
    pub fn reference() -> String {
        let mut groups: BTreeMap<Group, BTreeMap<String, Vec<Function>>> = BTreeMap::new();
        for function in functions(&engine()) {
            let group = groups.entry(function.group()).or_default();
            group
                .entry(function.full_name())
                .or_default()
                .push(function);
        }
        let mut text = INTRODUCTION.to_owned();
        for (group, functions) in groups {
            let title = match group {
                Group::Global => "Everywhere".to_owned(),
                Group::Device => "A device".to_owned(),
                Group::Module(name) => format!("`{name}`"),
            };
            let _ = write!(text, "\n## {title}\n");
            for (name, mut overloads) in functions {
                overloads.sort_by_key(|one| (one.parameters.len(), one.signature()));
                let _ = write!(text, "\n### `{name}`\n\n```text\n");
                for function in &overloads {
                    let _ = writeln!(text, "{}", function.signature());
                }
                text.push_str("```\n");
                let docs = overloads.iter().filter(|one| !one.docs.is_empty());
                for function in docs {
                    let _ = write!(text, "\n{}\n", function.docs);
                }
            }
        }
        text
    }

    /// Writes `.d.rhai` files for editors.
    ///
    /// # Errors
    /// The directory cannot be created or written to.
    pub fn write_definitions(directory: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::create_dir_all(directory)?;
        let engine = engine();
        let definitions = engine.definitions().include_standard_packages(true);
        let mut written = Vec::new();
        for (name, text) in definitions.iter_files() {
            let file = directory.join(name);
            std::fs::write(&file, text)?;
            written.push(file);
        }
        Ok(written)
    }
}

/// Functions of Rhai that the host redefines (`texts.rs`) or extends with types (`numbers.rs`).
const OF_THE_LANGUAGE: [&str; 14] = [
    "abs",
    "blob",
    "pad",
    "parse_int",
    "parse_json",
    "replace",
    "split",
    "split_rev",
    "to_array",
    "to_chars",
    "to_debug",
    "to_float",
    "to_json",
    "to_string",
];

const INTRODUCTION: &str = "\
# Host API

The functions that a playbook can call in addition to those of the [Rhai language](https://rhai.rs/book/). This page
is generated from their definitions; `scheduler plugin definitions DIR` writes the same for editors. A component calls
the same functions under the same names; its contract is [plugin-sdk/wit](../plugin-sdk/wit/plugin.wit).

A function that fails throws `#{ code, message, retryable }`, which `try … catch` catches; see
[playbooks.md](playbooks.md#errors).
";

fn engine() -> Engine {
    Modules::new().engine()
}

fn functions(engine: &Engine) -> Vec<Function> {
    engine.collect_fn_metadata(
        None,
        |function| {
            let metadata = function.metadata;
            let is_operator = !metadata.name.starts_with(char::is_alphabetic);
            if is_operator || OF_THE_LANGUAGE.contains(&metadata.name.as_str()) {
                return None;
            }
            let parameters = metadata.params_info.iter().map(|parameter| {
                let (name, kind) = parameter.split_once(':').unwrap_or(("value", parameter));
                (name.trim().to_owned(), kind_of(kind))
            });
            let docs = metadata.comments.iter().flat_map(|text| text.lines());
            let docs = docs.map(|line| line.trim().trim_start_matches("///").trim().to_owned());
            Some(Function {
                namespace: function.namespace.to_string(),
                name: metadata.name.to_string(),
                parameters: parameters.collect(),
                answer: kind_of(&metadata.return_type),
                docs: docs.collect::<Vec<_>>().join("\n"),
            })
        },
        false,
    )
}

/// Returns the name of a Rust type in playbooks.
fn kind_of(rust: &str) -> String {
    let rust: String = rust.split_whitespace().collect();
    let rust = rust.trim_start_matches("&mut").trim_start_matches('&');
    let wrapped = ["Thrown<", "Result<"];
    let inner = wrapped.iter().find_map(|start| rust.strip_prefix(start));
    let rust = match inner {
        Some(inner) => inner.split([',', '>']).next().unwrap_or(inner),
        None => rust,
    };
    let rust = rust.rsplit("::").next().unwrap_or(rust);
    match rust {
        "str" | "String" | "ImmutableString" => "text",
        "INT" | "i64" | "int" => "whole number",
        "FLOAT" | "f64" | "float" => "number",
        "char" => "character",
        "BigInteger" | "integer" => "integer",
        "Map" | "map" => "map",
        "Blob" | "blob" => "blob",
        "Array" | "array" => "array",
        "Device" => "device",
        "Dynamic" | "?" => "any value",
        "" | "()" => "()",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_in_the_book_is_what_is_registered() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/host-api.md");
        let reference = RhaiRuntime::reference();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(file, &reference).unwrap();
        }
        let written = std::fs::read_to_string(file).unwrap_or_default();
        assert!(
            written == reference,
            "docs/host-api.md is not what is registered; UPDATE_DOCS=1 writes it anew"
        );
    }

    #[test]
    fn every_function_is_explained() {
        let mut explained: BTreeMap<String, bool> = BTreeMap::new();
        for function in functions(&engine()) {
            let known = explained.entry(function.full_name()).or_default();
            *known |= !function.docs.is_empty();
        }
        let silent: Vec<_> = explained.iter().filter(|(_, told)| !**told).collect();
        assert!(silent.is_empty(), "{silent:?}");
    }

    #[test]
    fn definitions_are_files_that_name_what_there_is() {
        let directory = tempfile::tempdir().unwrap();
        let files = RhaiRuntime::write_definitions(directory.path()).unwrap();
        let read = |name: &str| {
            let file = files.iter().find(|file| file.ends_with(name)).unwrap();
            std::fs::read_to_string(file).unwrap()
        };
        assert!(read("ssh.d.rhai").contains("fn open("));
        let everywhere = read("__static__.d.rhai");
        assert!(everywhere.contains("fn exec(") && everywhere.contains("fn sleep("));
    }
}
