//! Rules, and the result of checking a configuration against one.

use plugin_sdk::prelude::*;
use regex_lite::Regex;

use crate::blocks::{Block, blocks};

/// Maximum number of violations that a report lists for one rule; the rest are counted.
const NAMED: usize = 20;

/// One rule. Patterns are regular expressions that match anywhere in a line.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(crate) struct Rule {
    /// Name of the rule in the report
    #[schemars(length(min = 1))]
    name: String,
    /// Check only blocks with a first line that matches this pattern; each of them has to comply
    block: Option<String>,
    /// Each pattern has to match a line
    #[serde(default)]
    must_match: Vec<String>,
    /// No pattern may match a line
    #[serde(default)]
    must_not_match: Vec<String>,
    /// Without such a block, the rule is violated; by default, it is not
    #[serde(default)]
    block_required: bool,
}

/// A rule with compiled patterns.
pub(crate) struct Compiled {
    name: String,
    block: Option<Regex>,
    must_match: Vec<Regex>,
    must_not_match: Vec<Regex>,
    block_required: bool,
}

/// The result of one rule.
#[derive(Debug, Serialize)]
pub(crate) struct Checked {
    pub(crate) name: String,
    pub(crate) passed: bool,
    pub(crate) violations: Vec<String>,
}

impl Rule {
    pub(crate) fn compile(self) -> Result<Compiled> {
        if self.must_match.is_empty() && self.must_not_match.is_empty() && !self.block_required {
            let message = format!("the rule `{}` asks for nothing", self.name);
            return Err(Error::new("invalid", message));
        }
        let read = |pattern: &String| {
            Regex::new(pattern).map_err(|error| {
                let message = format!("the rule `{}`: `{pattern}`: {error}", self.name);
                Error::new("invalid", message)
            })
        };
        Ok(Compiled {
            block: self.block.as_ref().map(read).transpose()?,
            must_match: self.must_match.iter().map(read).collect::<Result<_>>()?,
            must_not_match: self
                .must_not_match
                .iter()
                .map(read)
                .collect::<Result<_>>()?,
            block_required: self.block_required,
            name: self.name,
        })
    }
}

impl Compiled {
    pub(crate) fn check(&self, config: &str) -> Checked {
        let mut violations = match &self.block {
            None => self.check_lines("", config.lines()),
            Some(pattern) => self.check_blocks(pattern, &blocks(config)),
        };
        let passed = violations.is_empty();
        if violations.len() > NAMED {
            let more = violations.len() - NAMED;
            violations.truncate(NAMED);
            violations.push(format!("and {more} more"));
        }
        Checked {
            name: self.name.clone(),
            passed,
            violations,
        }
    }

    fn check_blocks(&self, pattern: &Regex, blocks: &[Block<'_>]) -> Vec<String> {
        let fitting: Vec<_> = blocks
            .iter()
            .filter(|block| pattern.is_match(block.head))
            .collect();
        if fitting.is_empty() && self.block_required {
            return vec![format!("there is no block `{pattern}`")];
        }
        fitting
            .into_iter()
            .flat_map(|block| {
                let place = format!("{}: ", block.head);
                self.check_lines(&place, block.lines.iter().copied())
            })
            .collect()
    }

    fn check_lines<'a>(
        &self,
        place: &str,
        lines: impl Iterator<Item = &'a str> + Clone,
    ) -> Vec<String> {
        let missing = self
            .must_match
            .iter()
            .filter(|pattern| !lines.clone().any(|line| pattern.is_match(line)))
            .map(|pattern| format!("{place}no line matches `{pattern}`"));
        let mut violations: Vec<String> = missing.collect();
        for line in lines {
            let forbidden = self.must_not_match.iter().find(|one| one.is_match(line));
            if let Some(pattern) = forbidden {
                let line = line.trim();
                violations.push(format!(
                    "{place}`{line}` matches `{pattern}`, which it must not"
                ));
            }
        }
        violations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "hostname r1\nservice password-encryption\ninterface eth0\n description uplink\n ip address 10.0.0.1/24\n!\ninterface eth1\n shutdown\n!\nline vty 0 4\n transport input telnet ssh\n";

    fn check(written: Value) -> Checked {
        let rule = rule(written).compile();
        rule.unwrap_or_else(|error| panic!("{error}")).check(CONFIG)
    }

    fn rule(written: Value) -> Rule {
        Rule::deserialize(written).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn lines_that_must_be_there() {
        let checked = check(json!({ "name": "x", "must_match": ["^hostname r", "^ntp server"] }));
        assert_eq!(checked.violations, ["no line matches `^ntp server`"]);
        assert!(check(json!({ "name": "x", "must_match": ["^hostname"] })).passed);
    }

    #[test]
    fn lines_that_must_not_be_there() {
        let checked = check(json!({ "name": "x", "must_not_match": ["telnet"] }));
        assert_eq!(
            checked.violations,
            ["`transport input telnet ssh` matches `telnet`, which it must not"]
        );
    }

    #[test]
    fn every_block_has_to_comply() {
        let rule = json!({ "name": "x", "block": "^interface ", "must_match": ["^description "] });
        let checked = check(rule);
        assert_eq!(
            checked.violations,
            ["interface eth1: no line matches `^description `"]
        );
    }

    #[test]
    fn a_block_that_is_not_there() {
        let rule = |required| json!({ "name": "x", "block": "^router bgp", "must_match": ["x"], "block_required": required });
        assert!(check(rule(false)).passed);
        assert_eq!(
            check(rule(true)).violations,
            ["there is no block `^router bgp`"]
        );
    }

    #[test]
    fn a_rule_that_cannot_be_read_is_named() {
        for wrong in [
            json!({ "name": "odd", "must_match": ["("] }),
            json!({ "name": "odd" }),
        ] {
            let error = rule(wrong).compile().err();
            assert!(error.is_some_and(|error| error.message.contains("`odd`")));
        }
    }
}
