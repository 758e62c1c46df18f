//! The configuration of a simulated device: lines, and sections of lines.

use std::time::{Duration, Instant};

use super::platform::{Candidate, Configuration, Definition};
use super::text::expand;
use super::words::{Words, first};

/// Lines in order; a section has lines below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tree(Vec<Line>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    text: String,
    below: Tree,
}

impl Tree {
    /// Parses a text; its indentation defines the sections.
    fn parse(text: &str) -> Self {
        let mut tree = Self::default();
        let mut path: Vec<(usize, String)> = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let indent = line.len() - line.trim_start().len();
            path.retain(|(above, _)| *above < indent);
            let sections: Vec<String> = path.iter().map(|(_, line)| line.clone()).collect();
            tree.section(&sections).push(line.trim());
            path.push((indent, line.trim().to_owned()));
        }
        tree
    }

    fn push(&mut self, text: &str) {
        self.0.push(Line {
            text: text.to_owned(),
            below: Self::default(),
        });
    }

    /// Creates a section unless it exists.
    pub(super) fn open(&mut self, path: &[String]) {
        self.section(path);
    }

    /// Returns the lines of a section, and creates the section if necessary.
    fn section(&mut self, path: &[String]) -> &mut Self {
        path.iter().fold(self, |tree, line| {
            if !tree.0.iter().any(|known| known.text == *line) {
                tree.push(line);
            }
            let at = tree.0.iter().position(|known| known.text == *line);
            &mut tree.0[at.unwrap_or_default()].below
        })
    }

    /// Applies a line typed in a section: adds, replaces or removes a line.
    pub(super) fn apply(&mut self, rules: &Configuration, path: &[String], line: &str) {
        let Self(lines) = self.section(path);
        if let Some(removed) = removes(rules, line) {
            let words: Vec<&str> = removed.split_whitespace().collect();
            let at = lines.iter().position(|known| starts(&known.text, &words));
            lines.retain(|known| !starts(&known.text, &words));
            let kept = rules.kept_removals.iter().any(|kept| kept.fits(line));
            if kept && !lines.iter().any(|known| known.text == line) {
                let at = at.unwrap_or(lines.len());
                let (text, below) = (line.to_owned(), Self::default());
                lines.insert(at, Line { text, below });
            }
            return;
        }
        if lines.iter().any(|known| known.text == line) {
            return;
        }
        let single = rules.single.iter().find(|single| single.fits(line));
        let key = single.map(|single| first(line, single.key_length()));
        let replaced = key.and_then(|key| {
            let removed = [rules.remove.trim()].into_iter().chain(key.iter().copied());
            let removed: Vec<&str> = removed.collect();
            let same = |known: &Line| starts(&known.text, &key) || starts(&known.text, &removed);
            lines.iter_mut().find(|known| same(known))
        });
        match replaced {
            Some(known) => line.clone_into(&mut known.text),
            None => lines.push(Line {
                text: line.to_owned(),
                below: Self::default(),
            }),
        }
    }

    /// Returns every line, prefixed by its sections.
    fn flat(&self) -> Vec<String> {
        let mut flat = Vec::new();
        for line in &self.0 {
            if line.below.0.is_empty() {
                flat.push(line.text.clone());
            }
            let below = line.below.flat().into_iter();
            flat.extend(below.map(|below| format!("{} {below}", line.text)));
        }
        flat
    }

    /// Returns the first line that matches, prefixed by its sections.
    fn find(&self, before: &str, pattern: &Words) -> Option<String> {
        self.0.iter().find_map(|line| {
            let text = format!("{before}{}", line.text);
            if line.below.0.is_empty() && pattern.fits(&text) {
                return Some(text);
            }
            line.below.find(&(text + " "), pattern)
        })
    }

    /// Returns the lines that `other` does not contain, with their sections.
    fn without(&self, other: &Self) -> Self {
        let lines = self.0.iter().filter_map(|line| {
            let Some(same) = other.0.iter().find(|known| known.text == line.text) else {
                return Some(line.clone());
            };
            let below = line.below.without(&same.below);
            let text = line.text.clone();
            (!below.0.is_empty()).then_some(Line { text, below })
        });
        Self(lines.collect())
    }

    fn print(&self, rules: &Configuration, depth: usize) -> String {
        let indent = rules.indent.as_deref().unwrap_or(" ").repeat(depth);
        let mut text = String::new();
        for line in &self.0 {
            text.push_str(&format!("{indent}{}\n", line.text));
            if !line.below.0.is_empty() {
                text.push_str(&line.below.print(rules, depth + 1));
                let mut sections = rules.sections.iter();
                let section = sections.find(|section| section.line.fits(&line.text));
                if let Some(section) = section.filter(|section| !section.end.is_empty()) {
                    text.push_str(&format!("{indent}{}\n", section.end));
                }
            }
        }
        text
    }

    /// Returns the interfaces, each with its lines.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = (&str, Vec<&str>)> {
        self.0.iter().filter_map(|line| {
            let name = line.text.strip_prefix("interface ")?;
            let lines = line.below.0.iter().map(|line| line.text.as_str());
            Some((name, lines.collect()))
        })
    }

    /// Returns whether a commit refuses one of the lines.
    pub(super) fn is_refused(&self, rules: &Configuration) -> bool {
        let refused = |line: &Line| {
            let mut patterns = rules.commit_refuses.iter();
            patterns.any(|pattern| pattern.fits(&line.text)) || line.below.is_refused(rules)
        };
        self.0.iter().any(refused)
    }
}

/// Returns the line that `line` removes, if it is a removal.
pub(super) fn removes(rules: &Configuration, line: &str) -> Option<String> {
    if rules.remove.is_empty() {
        return None;
    }
    let removed = line.strip_prefix(&rules.remove)?;
    Some(format!("{}{removed}", rules.add))
}

fn starts(line: &str, words: &[&str]) -> bool {
    first(line, words.len()) == words
}

/// The state that all sessions of a device share.
#[derive(Debug)]
pub(super) struct Store {
    running: Tree,
    saved: Tree,
    /// The configuration before the last commit.
    previous: Option<Tree>,
    /// The candidate, if all sessions share it.
    shared: Option<Tree>,
    /// The configuration to restore, and when, unless a commit follows.
    unconfirmed: Option<(Instant, Tree)>,
    /// The host name in the running configuration, cached until that changes: every prompt needs
    /// it.
    hostname: Option<Option<String>>,
}

impl Store {
    pub(super) fn new(definition: &Definition, hostname: &str) -> Self {
        let value = |name: &str| (name == "hostname").then(|| hostname.to_owned());
        let running = Tree::parse(&expand(&definition.configuration.initial, value));
        Self {
            saved: running.clone(),
            running,
            previous: None,
            shared: None,
            unconfirmed: None,
            hostname: None,
        }
    }

    pub(super) fn running(&mut self) -> &Tree {
        if let Some((_, before)) = self.unconfirmed.take_if(|(end, _)| Instant::now() >= *end) {
            self.running = before;
            self.hostname = None;
        }
        &self.running
    }

    /// Returns the host name in effect.
    pub(super) fn hostname(&mut self, definition: &Definition) -> Option<String> {
        self.running();
        if let Some(known) = &self.hostname {
            return known.clone();
        }
        let pattern = definition.hostname.line.as_ref()?;
        let line = self.running.find("", pattern);
        let name = line.and_then(|line| {
            let name = line.split_whitespace().last()?;
            let name = name.rsplit_once('=').map_or(name, |(_, name)| name);
            Some(name.trim_matches('"').to_owned())
        });
        self.hostname = Some(name.clone());
        name
    }

    /// Returns the configuration that lines change: the running one, or a candidate.
    pub(super) fn edited<'a>(
        &'a mut self,
        kind: Candidate,
        own: &'a mut Option<Tree>,
    ) -> &'a mut Tree {
        self.running();
        match kind {
            Candidate::None => {
                self.hostname = None;
                &mut self.running
            }
            Candidate::Shared => self.shared.get_or_insert_with(|| self.running.clone()),
            Candidate::Session => own.get_or_insert_with(|| self.running.clone()),
        }
    }

    /// Returns the configuration before and after the pending changes: uncommitted ones, or unsaved
    /// ones on platforms without a commit.
    pub(super) fn pending<'a>(
        &'a mut self,
        kind: Candidate,
        own: &'a Option<Tree>,
    ) -> (&'a Tree, &'a Tree) {
        self.running();
        match kind {
            Candidate::None => (&self.saved, &self.running),
            Candidate::Shared => (&self.running, self.shared.as_ref().unwrap_or(&self.running)),
            Candidate::Session => (&self.running, own.as_ref().unwrap_or(&self.running)),
        }
    }

    pub(super) fn is_saved(&mut self) -> bool {
        self.running();
        self.saved == self.running
    }

    pub(super) fn save(&mut self) {
        self.saved = self.running().clone();
    }

    pub(super) fn commit(
        &mut self,
        kind: Candidate,
        own: &mut Option<Tree>,
        confirm_within: Option<Duration>,
    ) {
        let before = self.running().clone();
        let edited = self.edited(kind, own).clone();
        if edited != before {
            self.previous = Some(before.clone());
        }
        self.running = edited;
        self.hostname = None;
        self.discard(own);
        self.unconfirmed = confirm_within.map(|limit| (Instant::now() + limit, before));
    }

    pub(super) fn discard(&mut self, own: &mut Option<Tree>) {
        self.shared = None;
        *own = None;
    }

    pub(super) fn roll_back(&mut self, kind: Candidate, own: &mut Option<Tree>) {
        let before = self
            .previous
            .clone()
            .unwrap_or_else(|| self.running.clone());
        *self.edited(kind, own) = before;
    }
}

/// Returns the lines, without a header or footer.
pub(super) fn lines(rules: &Configuration, tree: &Tree) -> String {
    tree.print(rules, 0)
}

/// Returns the output of `show running-config`.
pub(super) fn shown(rules: &Configuration, tree: &Tree) -> String {
    let text = rules.text.as_deref().unwrap_or("{lines}");
    let text = expand(text, |name| (name == "lines").then(|| lines(rules, tree)));
    expand(
        rules.shown.as_deref().unwrap_or("{text}"),
        |name| match name {
            "text" => Some(text.clone()),
            "bytes" => Some(text.len().to_string()),
            _ => None,
        },
    )
}

/// Returns the added lines, in their sections.
pub(super) fn added(rules: &Configuration, before: &Tree, after: &Tree) -> String {
    after.without(before).print(rules, 0)
}

/// Returns one line for each removed or added line.
pub(super) fn changes(rules: &Configuration, before: &Tree, after: &Tree) -> String {
    let (old, new) = (before.flat(), after.flat());
    let format = |template: &Option<String>, default: &str, line: &str| {
        let template = template.as_deref().unwrap_or(default);
        expand(template, |name| (name == "line").then(|| line.to_owned()))
    };
    let removed = old.iter().filter(|line| !new.contains(line));
    let removed = removed.map(|line| format(&rules.removed, "- {line}\n", line));
    let added = new.iter().filter(|line| !old.contains(line));
    let added = added.map(|line| format(&rules.added, "+ {line}\n", line));
    removed.chain(added).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Configuration {
        toml::from_str(
            r#"
            remove = "no "
            single = ["ip address ...", "description ..."]
            kept_removals = ["no ip address"]
            sections = [{ line = "interface ...", end = "!" }]
            "#,
        )
        .unwrap()
    }

    fn section(name: &str) -> Vec<String> {
        vec![format!("interface {name}")]
    }

    #[test]
    fn a_second_description_replaces_the_first_in_its_place() {
        let mut tree = Tree::parse("interface a\n description one\n shutdown\n");
        tree.apply(&rules(), &section("a"), "description two words");
        tree.apply(&rules(), &section("a"), "no shutdown");
        assert_eq!(
            lines(&rules(), &tree),
            "interface a\n description two words\n!\n"
        );
    }

    #[test]
    fn removals_that_are_lines_of_their_own_are_kept() {
        let mut tree = Tree::parse("interface a\n ip address 192.0.2.1 255.255.255.0\n");
        tree.apply(&rules(), &section("a"), "no ip address");
        assert_eq!(lines(&rules(), &tree), "interface a\n no ip address\n!\n");
        tree.apply(
            &rules(),
            &section("a"),
            "ip address 192.0.2.2 255.255.255.0",
        );
        assert_eq!(
            lines(&rules(), &tree),
            "interface a\n ip address 192.0.2.2 255.255.255.0\n!\n"
        );
    }

    #[test]
    fn changes_name_the_section_and_additions_stand_in_it() {
        let before = Tree::parse("interface a\n mtu 1500\n description one\n");
        let mut after = before.clone();
        after.apply(&rules(), &section("a"), "description two");
        assert_eq!(
            changes(&rules(), &before, &after),
            "- interface a description one\n+ interface a description two\n"
        );
        assert_eq!(
            added(&rules(), &before, &after),
            "interface a\n description two\n!\n"
        );
    }

    #[test]
    fn a_commit_that_is_not_confirmed_is_taken_back() {
        let definition = crate::platform::Definition::parse(
            "own",
            "extends = \"cisco_ios\"\n[configuration]\ncandidate = \"session\"",
        );
        let mut store = Store::new(&definition.unwrap(), "r1");
        let (kind, mut own) = (Candidate::Session, None);
        let before = store.running().clone();
        let line = "hostname r2";
        store.edited(kind, &mut own).apply(&rules(), &[], line);
        store.commit(kind, &mut own, Some(Duration::from_secs(3600)));
        assert_ne!(*store.running(), before);
        store.commit(kind, &mut own, None);
        assert_ne!(*store.running(), before, "confirmed");

        store.roll_back(kind, &mut own);
        store.commit(kind, &mut own, None);
        store.edited(kind, &mut own).apply(&rules(), &[], line);
        store.commit(kind, &mut own, Some(Duration::ZERO));
        assert_eq!(*store.running(), before, "not confirmed");
    }
}
