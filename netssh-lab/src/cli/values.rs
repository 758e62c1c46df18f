//! Values of the placeholders in a platform's texts.

use super::Cli;
use crate::configuration::{self, Tree};
use crate::platform::{Configuration, Definition, When};
use crate::text::expand;
use crate::{Shared, lock, texts};

impl Cli<'_> {
    pub(super) fn text(&self, template: &str, rest: &str) -> String {
        expand(template, |name| self.value(name, rest))
    }

    pub(super) fn value(&self, name: &str, rest: &str) -> Option<String> {
        let definition = &self.definition;
        let rules = &definition.configuration;
        let labels = || self.sections.iter().map(|section| section.label.as_str());
        let with_changes = |print: fn(&Configuration, &Tree, &Tree) -> String| {
            let mut store = lock(&self.shared.configuration);
            let (before, after) = store.pending(rules.candidate, &self.candidate);
            print(rules, before, after)
        };
        Some(match name {
            "rest" => rest.to_owned(),
            "number" => self.number.to_string(),
            "section" => labels().next_back().unwrap_or_default().to_owned(),
            "sections" => labels().collect::<Vec<_>>().join(" "),
            "dirty" if self.is(When::Changed) => definition.hostname.dirty.clone(),
            "dirty" => definition.hostname.clean.clone(),
            "candidate" => with_changes(|rules, _, after| configuration::lines(rules, after)),
            "added" => with_changes(configuration::added),
            "changes" => with_changes(configuration::changes),
            name => return value(self.shared, definition, name),
        })
    }
}

/// Returns the output of a command, from the first mode that defines one.
pub(crate) fn said(shared: &Shared, command: &str) -> Option<String> {
    let definition = shared.device.platform.definition();
    let known = definition.commands.iter().find(|known| {
        !known.action.print.is_empty() && known.typed.iter().any(|typed| typed.fits(command))
    })?;
    let text = expand(&known.action.print, |name| value(shared, &definition, name));
    Some(text)
}

/// Returns the value of a placeholder that is the same in all sessions.
fn value(shared: &Shared, definition: &Definition, name: &str) -> Option<String> {
    let rules = &definition.configuration;
    let mut store = lock(&shared.configuration);
    let hostname = store.hostname(definition);
    let hostname = hostname.unwrap_or_else(|| shared.device.hostname.clone());
    Some(match name {
        "hostname" => hostname,
        "short" => short(&hostname, definition),
        "username" => shared.device.username.clone(),
        "running" => configuration::shown(rules, store.running()),
        "running_lines" => configuration::lines(rules, store.running()),
        "serial" => texts::serial(&hostname),
        "uptime" => texts::uptime(shared.started.elapsed()),
        "ip_interface_brief" => texts::ip_interface_brief(store.running()),
        _ => return None,
    })
}

fn short(hostname: &str, definition: &Definition) -> String {
    match definition.hostname.length {
        Some(length) if hostname.chars().count() > length => {
            let cut: String = hostname.chars().take(length).collect();
            cut + &definition.hostname.mark
        }
        _ => hostname.to_owned(),
    }
}
