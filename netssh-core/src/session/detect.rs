//! Detects the platform of an unknown device.

use std::collections::BTreeMap;

use super::Session;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::platform::{Platform, Platforms};

/// The result of a detection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detection {
    /// The matching platforms, most likely first, each with a certainty of 1 to 100.
    pub candidates: Vec<(String, u8)>,
    /// The SSH server's identification: `SSH-2.0-Cisco-1.25`.
    pub server: String,
    /// The device's prompt.
    pub prompt: String,
}

impl Detection {
    /// Returns the most likely platform, if any matches.
    #[must_use]
    pub fn platform(&self) -> Option<&str> {
        self.candidates.first().map(|(name, _)| name.as_str())
    }
}

/// Detects the platform of a device: logs in as to a `generic` device, and matches the platforms'
/// evidence with the SSH server's identification and the output of a few harmless commands (`show
/// version`, …). The endpoint's own platform is ignored.
///
/// # Errors
/// As [`Session::connect`] and [`Session::exec`].
pub async fn detect(endpoint: &Endpoint, platforms: &Platforms) -> Result<Detection, Error> {
    let generic = platforms
        .named("generic")
        .ok_or_else(|| Error::invalid("platform `generic` not found"))?;
    let endpoint = Endpoint {
        platform: generic,
        enable_secret: None,
        ..endpoint.clone()
    };
    let mut session = Session::connect(&endpoint).await?;
    let found = look(&mut session, platforms).await;
    session.close().await;
    found
}

async fn look(session: &mut Session, platforms: &Platforms) -> Result<Detection, Error> {
    let server = session.shell.server_identification();
    let mut certainty: BTreeMap<String, u8> = BTreeMap::new();
    let mut outputs: BTreeMap<String, String> = BTreeMap::new();
    let platforms: Vec<_> = platforms.iter().collect();
    // Commands that are evidence for most platforms are run first; the others only if those do not
    // decide.
    let mut commands: Vec<(&str, u8)> = Vec::new();
    for evidence in platforms.iter().flat_map(|platform| &platform.detect) {
        let Some(command) = evidence.command.as_deref() else {
            continue;
        };
        match commands.iter_mut().find(|(known, _)| *known == command) {
            Some((_, weight)) => *weight = weight.saturating_add(1),
            None => commands.push((command, 1)),
        }
    }
    commands.sort_by_key(|&(_, weight)| std::cmp::Reverse(weight));
    weigh(&platforms, None, &server, &mut certainty);
    for (command, _) in commands {
        if certainty.values().any(|&certainty| certainty >= CERTAIN) {
            break;
        }
        let reply = session.exec(command).await?;
        weigh(&platforms, Some(command), &reply.output, &mut certainty);
        outputs.insert(command.to_owned(), reply.output);
    }
    let mut candidates: Vec<_> = certainty.into_iter().collect();
    candidates.sort_by_key(|(_, certainty)| std::cmp::Reverse(*certainty));
    Ok(Detection {
        candidates,
        server,
        prompt: session.prompt().to_owned(),
    })
}

/// A certainty at which no further commands are run.
const CERTAIN: u8 = 80;

fn weigh(
    platforms: &[std::sync::Arc<Platform>],
    command: Option<&str>,
    text: &str,
    certainty: &mut BTreeMap<String, u8>,
) {
    for platform in platforms {
        let fitting = platform
            .detect
            .iter()
            .filter(|evidence| evidence.command.as_deref() == command)
            .filter(|evidence| evidence.pattern.matches(text))
            .map(|evidence| evidence.certainty);
        if let Some(most) = fitting.max() {
            let known = certainty.entry(platform.name.clone()).or_default();
            *known = most.max(*known);
        }
    }
}
