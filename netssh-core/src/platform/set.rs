//! A set of platforms: the built-in ones and an operator's own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock, OnceLock};

use toml::{Table, Value};

use super::Platform;

/// Maximum size of a platform file.
const FILE_BYTES: u64 = 256 * 1024;
/// Maximum number of files in a directory of platforms; more indicate a wrong directory.
const FILES: usize = 512;

/// A built-in platform: its name, its file, and the parsed value once it was used.
struct BuiltIn {
    name: &'static str,
    aliases: &'static [&'static str],
    text: &'static str,
    read: OnceLock<Arc<Platform>>,
}

macro_rules! built_in {
    ($($name:literal $(| $alias:literal)*),* $(,)?) => {
        [$(BuiltIn {
            name: $name,
            aliases: &[$($alias),*],
            text: include_str!(concat!("../../platforms/", $name, ".toml")),
            read: OnceLock::new(),
        }),*]
    };
}

static BUILT_IN: [BuiltIn; 22] = built_in![
    "arista_eos",
    "aruba_aoscx",
    "cisco_asa",
    "cisco_ios",
    "cisco_nxos",
    "cisco_xe",
    "cisco_xr",
    "dell_os10",
    "extreme_exos" | "extreme",
    "fortinet" | "fortios",
    "frr",
    "generic",
    "hp_comware" | "h3c_comware",
    "hp_procurve",
    "huawei_vrp" | "huawei" | "huawei_vrpv8",
    "juniper_junos" | "juniper",
    "linux",
    "mikrotik_routeros",
    "nokia_sros" | "alcatel_sros",
    "paloalto_panos" | "panos",
    "ubiquiti_edgerouter" | "ubiquiti_edgeos",
    "vyos" | "vyatta_vyos",
];

/// Returns the names of the built-in platforms, without their aliases.
pub(super) fn built_in_names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|platform| platform.name)
}

fn built_in(name: &str) -> Option<&'static BuiltIn> {
    BUILT_IN
        .iter()
        .find(|platform| platform.name == name || platform.aliases.contains(&name))
}

impl BuiltIn {
    fn platform(&self) -> Arc<Platform> {
        let read = || {
            let read = Platforms::parse(self.text);
            Arc::new(read.expect("the tests read every built-in platform"))
        };
        Arc::clone(self.read.get_or_init(read))
    }

    fn table(&self) -> Table {
        let table = self.text.parse();
        table.expect("the tests read every built-in platform")
    }
}

/// An error in an operator's platform file.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {message}")]
pub struct PlatformError {
    /// The file or directory.
    pub file: String,
    /// The key (`prompts.any`) or the line of the error, and the reason.
    pub message: String,
}

/// A set of platforms by name.
#[derive(Debug, Clone, Default)]
pub struct Platforms {
    own: BTreeMap<String, Arc<Platform>>,
}

impl Platforms {
    /// Returns the built-in platforms.
    #[must_use]
    pub fn built_in() -> &'static Self {
        static SET: LazyLock<Platforms> = LazyLock::new(Platforms::default);
        &SET
    }

    /// Returns the built-in platforms and those of a directory. Every `*.toml` in it is one
    /// platform with the file's name. A file may contain `extends = "cisco_ios"` and only the
    /// differences: tables are merged key by key, other values are replaced. A file with a built-in
    /// platform's name replaces that platform.
    ///
    /// # Errors
    /// The first invalid file, with the key and the reason.
    pub fn load(directory: &Path) -> Result<Self, PlatformError> {
        let mut tables = BTreeMap::new();
        for path in toml_files(directory)? {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let table = read_table(&path).map_err(|message| at(&path, &message))?;
            tables.insert(name.into_owned(), (path, table));
        }
        let mut own = BTreeMap::new();
        for (name, (path, table)) in &tables {
            let parent = |child: &str, parent: &str| match tables.get(parent) {
                // A file that extends its own name extends the built-in platform.
                Some((_, table)) if parent != child => Some(table.clone()),
                _ => built_in(parent).map(BuiltIn::table),
            };
            let platform = from_table(name, table.clone(), &parent)
                .and_then(|platform| named_as(platform, name))
                .map_err(|message| at(path, &message))?;
            own.insert(name.clone(), Arc::new(platform));
        }
        Ok(Self { own })
    }

    /// Parses a platform from the text of a file, which may extend a built-in one.
    ///
    /// # Errors
    /// The key and the reason.
    pub fn parse(text: &str) -> Result<Platform, String> {
        let table = text.parse::<Table>().map_err(|error| error.to_string())?;
        from_table("", table, &|_, name| built_in(name).map(BuiltIn::table))
    }

    /// Returns a platform by its name or an alias.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Arc<Platform>> {
        if let Some(platform) = self.own.get(name) {
            return Some(Arc::clone(platform));
        }
        let by_alias = |platform: &&Arc<Platform>| platform.aliases.iter().any(|a| a == name);
        match built_in(name) {
            Some(platform) => Some(platform.platform()),
            None => self.own.values().find(by_alias).cloned(),
        }
    }

    /// Returns all names, without aliases, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.own.keys().cloned().collect();
        names.extend(built_in_names().map(str::to_owned));
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Returns every platform, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = Arc<Platform>> {
        self.names()
            .into_iter()
            .filter_map(|name| self.named(&name))
    }
}

fn toml_files(directory: &Path) -> Result<Vec<std::path::PathBuf>, PlatformError> {
    let entries = std::fs::read_dir(directory).map_err(|error| at(directory, &error))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| at(directory, &error))?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.push(path);
        }
    }
    if files.len() > FILES {
        let message = format!(
            "too many platforms: {}, at most {FILES} are allowed",
            files.len()
        );
        return Err(at(directory, &message));
    }
    files.sort();
    Ok(files)
}

fn read_table(path: &Path) -> Result<Table, String> {
    let bytes = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if bytes.len() > FILE_BYTES {
        return Err(format!("too large: at most {FILE_BYTES} bytes are allowed"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    text.parse::<Table>().map_err(|error| error.to_string())
}

fn at(path: &Path, message: &dyn std::fmt::Display) -> PlatformError {
    PlatformError {
        file: path.display().to_string(),
        message: message.to_string(),
    }
}

fn named_as(platform: Platform, file: &str) -> Result<Platform, String> {
    if platform.name == file {
        Ok(platform)
    } else {
        Err(format!(
            "invalid name `{}`: expected `{file}`, as the file is named",
            platform.name
        ))
    }
}

fn from_table(
    name: &str,
    mut table: Table,
    parent: &dyn Fn(&str, &str) -> Option<Table>,
) -> Result<Platform, String> {
    /// Maximum length of a chain of parents; a longer one is a cycle.
    const GENERATIONS: usize = 8;
    let mut child = name.to_owned();
    for _ in 0..GENERATIONS {
        match table.remove("extends") {
            None => return check(table),
            Some(Value::String(name)) => {
                let mut merged = parent(&child, &name)
                    .ok_or_else(|| format!("extends: platform `{name}` not found"))?;
                child = name;
                // A parent's aliases do not name the child.
                merged.remove("aliases");
                merge(&mut merged, table);
                table = merged;
            }
            Some(_) => return Err("extends: expected the name of a platform".into()),
        }
    }
    Err(format!(
        "extends: chain of more than {GENERATIONS} platforms; check for a cycle"
    ))
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(value)) => merge(inner, value),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn check(table: Table) -> Result<Platform, String> {
    let platform: Platform = serde_path_to_error::deserialize(Value::Table(table))
        .map_err(|error| format!("{}: {}", error.path(), error.inner().message()))?;
    let single_lines = [("exit", &platform.exit), ("name", &platform.name)];
    for (key, text) in single_lines {
        if text.is_empty() || text.contains(char::is_control) {
            return Err(format!(
                "invalid {key}: expected one non-empty line of text"
            ));
        }
    }
    if platform.terminal.newline.is_empty() {
        return Err("invalid terminal.newline: expected a line ending such as \"\\n\"".into());
    }
    for (key, pattern) in [
        ("prompts.any", Some(&platform.prompts.any)),
        ("prompts.user", platform.prompts.user.as_ref()),
        (
            "prompts.configuration",
            platform.prompts.configuration.as_ref(),
        ),
        ("prompts.above", platform.prompts.above.as_ref()),
        ("header", platform.header.as_ref()),
    ] {
        if pattern.is_some_and(|pattern| pattern.matches("")) {
            return Err(format!("invalid {key}: the pattern matches an empty line"));
        }
    }
    if platform.pagers.iter().any(|pager| pager.mark.matches("")) {
        return Err(
            "invalid pagers: the pattern matches an empty line, so it would be answered forever"
                .into(),
        );
    }
    Ok(platform)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_platform_can_be_read_and_is_found_by_its_names() {
        for platform in &BUILT_IN {
            let read = Platforms::parse(platform.text)
                .unwrap_or_else(|error| panic!("{}: {error}", platform.name));
            assert_eq!(read.name, platform.name);
            assert_eq!(read.aliases, platform.aliases);
            for name in platform.aliases.iter().chain([&platform.name]) {
                assert_eq!(Platform::named(name).unwrap().name, platform.name);
            }
        }
        assert!(Platform::named("nonesuch").is_none());
    }

    fn error_of(text: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("own.toml"), text).unwrap();
        let error = Platforms::load(directory.path()).unwrap_err();
        assert!(error.file.ends_with("own.toml"), "{error}");
        error.message
    }

    #[test]
    fn an_error_names_the_key_and_the_reason() {
        let own = "name = \"own\"\nextends = \"cisco_ios\"\n";
        let message = error_of(&format!("{own}[prompts]\nany = '('\n"));
        assert!(
            message.starts_with("prompts.any: regex parse error"),
            "{message}"
        );
        let message = error_of(&format!("{own}[prompts]\nanny = 'x'\n"));
        assert!(
            message.contains("prompts") && message.contains("anny"),
            "{message}"
        );
        let message = error_of(&format!("{own}[[pagers]]\nmark = '^.*$'\nanswer = ' '\n"));
        assert!(message.starts_with("invalid pagers: "), "{message}");
        assert!(error_of("name = \"own\"\n").contains("ending"));
        assert!(error_of("name = \n").contains("line 1"));
        assert!(error_of("extends = \"nonesuch\"").contains("platform `nonesuch` not found"));
        assert!(error_of("name = \"other\"\nextends = \"frr\"").contains("`other`"));
    }

    #[test]
    fn a_file_holds_only_what_differs_from_what_it_extends() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).unwrap();
        };
        write(
            "acme.toml",
            "name = \"acme\"\nextends = \"cisco_ios\"\naliases = [\"acme_os\"]\n[login]\ncommands = [\"no page\"]\n",
        );
        write(
            "acme2.toml",
            "name = \"acme2\"\nextends = \"acme\"\nexit = \"bye\"\n",
        );
        write(
            "frr.toml",
            "name = \"frr\"\nextends = \"frr\"\nexit = \"quit\"\n",
        );
        write("note.txt", "not a platform");
        let platforms = Platforms::load(directory.path()).unwrap();
        let acme2 = platforms.named("acme2").unwrap();
        assert_eq!(acme2.login.commands, ["no page"]);
        assert_eq!(acme2.exit, "bye");
        assert_eq!(acme2.save, Platform::named("cisco_ios").unwrap().save);
        assert_eq!(platforms.named("acme_os").unwrap().name, "acme");
        assert_eq!(platforms.named("frr").unwrap().exit, "quit");
        assert!(platforms.names().contains(&"linux".to_owned()));
    }

    #[test]
    fn platforms_that_extend_each_other_are_an_error() {
        let directory = tempfile::tempdir().unwrap();
        for (name, parent) in [("a", "b"), ("b", "a")] {
            let text = format!("name = \"{name}\"\nextends = \"{parent}\"\n");
            std::fs::write(directory.path().join(format!("{name}.toml")), text).unwrap();
        }
        let error = Platforms::load(directory.path()).unwrap_err();
        assert!(error.message.contains("check for a cycle"), "{error}");
    }
}
