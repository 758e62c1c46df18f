//! Resolves the targets of a submission to connections.

use std::collections::HashSet;

use super::Jobs;
use crate::connections::ConnectionError;
use crate::model::{Connection, FieldError, MAX_TARGETS, Target, TargetExpression, TargetMode};
use crate::registry::Plugin;
use crate::storage::StorageError;

/// The resolved targets of a submission.
pub(super) struct Resolved {
    pub(super) targets: Vec<Target>,
    /// Whether the submission names several connections or uses an expression.
    pub(super) several: bool,
}

impl Jobs {
    /// Resolves names and expressions to connections, and checks their number against the plugin's
    /// target mode.
    pub(super) async fn resolve(
        &self,
        plugin: &Plugin,
        said: &[String],
        inline: Option<&Connection>,
        errors: &mut Vec<FieldError>,
    ) -> Result<Resolved, StorageError> {
        let rights = self.rights(plugin);
        let mut targets: Vec<Target> = Vec::new();
        let mut seen = HashSet::new();
        let mut several = said.len() + usize::from(inline.is_some()) > 1;
        for (index, text) in said.iter().enumerate() {
            let pointer = format!("/targets/{index}");
            let found = match self.read(text).await? {
                Ok(expression) => {
                    several |= expression.as_name().is_none();
                    self.find(&expression).await?
                }
                Err(wrong) => Err(wrong),
            };
            let (found, by_name) = match found {
                Ok(found) => found,
                Err(wrong) => {
                    errors.push(FieldError::new(&pointer, wrong));
                    continue;
                }
            };
            for connection in found {
                if !seen.insert(connection.id) {
                    if by_name {
                        errors.push(duplicate(&connection));
                    }
                    continue;
                }
                let reached = rights.may_reach(&connection.name, &connection);
                errors.extend(
                    reached
                        .err()
                        .map(|error| FieldError::new(&pointer, error.message)),
                );
                targets.push(target(&connection));
            }
        }
        if let Some(connection) = inline {
            let reached = rights.may_reach(&connection.name, connection);
            let refused = reached.err();
            errors.extend(refused.map(|error| FieldError::new("/connection", error.message)));
            if targets.iter().any(|target| target.name == connection.name) {
                errors.push(duplicate(connection));
            }
            if several && plugin.description.targets == TargetMode::Each {
                let message = "an inline connection is not allowed together with other targets; store \
                               the connection first";
                errors.push(FieldError::new("/connection", message.to_owned()));
            }
            targets.push(target(connection));
        }
        // Rejected names and a rejected inline connection count as well.
        let count = targets.len().max(said.len());
        let wrong = wrong_count(plugin.description.targets, count);
        let nothing_said = errors
            .iter()
            .all(|error| !error.pointer.starts_with("/connection"));
        if let (Some(wrong), true) = (wrong, nothing_said) {
            errors.push(FieldError::new(
                "/targets",
                format!("`{}` {wrong}", plugin.name),
            ));
        }
        Ok(Resolved { targets, several })
    }

    /// Parses an expression. The exact name of a connection takes precedence over expression syntax.
    async fn read(&self, text: &str) -> Result<Result<TargetExpression, String>, StorageError> {
        let named = self.deps.storage.connection_named(text).await?;
        Ok(match named {
            Some(_) => Ok(TargetExpression::Name(text.to_owned())),
            None => TargetExpression::parse(text),
        })
    }

    /// Returns the matching connections, and whether they were named explicitly. The inner `Err` says
    /// what is wrong with the expression.
    async fn find(
        &self,
        expression: &TargetExpression,
    ) -> Result<Result<(Vec<Connection>, bool), String>, StorageError> {
        if let Some(name) = expression.as_name() {
            return match self.deps.connections.find(name).await {
                Ok(connection) => Ok(Ok((vec![connection], true))),
                Err(ConnectionError::Storage(error)) => Err(error),
                Err(error) => Ok(Err(error.to_string())),
            };
        }
        let all = self.deps.storage.connections().await?;
        let names = expression.names();
        let unknown = names.into_iter().find(|name| {
            let name = TargetExpression::Name((*name).to_owned());
            !all.iter().any(|connection| name.matches(connection))
        });
        if let Some(name) = unknown {
            return Ok(Err(ConnectionError::NotFound(name.to_owned()).to_string()));
        }
        let found: Vec<_> = all
            .into_iter()
            .filter(|connection| expression.matches(connection))
            .collect();
        Ok(if found.is_empty() {
            Err("no connection matches".to_owned())
        } else {
            Ok((found, false))
        })
    }
}

/// Returns what is wrong with the number of targets.
fn wrong_count(mode: TargetMode, count: usize) -> Option<String> {
    match mode {
        TargetMode::None if count > 0 => Some("takes no target".to_owned()),
        TargetMode::Each if count == 0 => {
            Some("needs a target: the name of a connection, or an expression".to_owned())
        }
        TargetMode::All if count == 0 => {
            Some("needs at least one target: the name of a connection, or an expression".to_owned())
        }
        _ if count > MAX_TARGETS => {
            Some(format!("takes at most {MAX_TARGETS} targets, got {count}"))
        }
        _ => None,
    }
}

fn duplicate(connection: &Connection) -> FieldError {
    let message = format!("duplicate target `{}`", connection.name);
    FieldError::new("/targets", message)
}

fn target(connection: &Connection) -> Target {
    Target {
        connection_id: connection.id,
        name: connection.name.clone(),
    }
}
