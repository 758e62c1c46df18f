use clap::Args;
use serde_json::json;

use crate::cli::client::Answer;
use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::HostKeyList;

#[derive(Debug, Args)]
pub(crate) struct HostKeysArgs {
    /// The connection's name or id
    name: String,

    /// Pin a verified host key, such as after a replacement of the device: SHA256:… or an OpenSSH public
    /// key. The connection then accepts no other key, and keeps its secrets
    #[arg(long, value_name = "KEY", conflicts_with = "forget")]
    trust: Option<String>,

    /// Forget the known host keys; the next session learns the device's key
    #[arg(long)]
    forget: bool,

    /// Also clear the secrets that are bound to these keys
    #[arg(long, requires = "forget")]
    forget_secrets: bool,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: HostKeysArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let path = ["connections", &args.name, "host-keys"];
    let answer: Answer<HostKeyList> = match &args.trust {
        Some(key) => {
            let body = json!({ "fingerprint": key });
            client.post(&path, &body, None).await?
        }
        None => client.get(&path).await?,
    };
    if args.forget {
        let query: &[(&str, &str)] = match args.forget_secrets {
            true => &[("forget_secrets", "true")],
            false => &[],
        };
        let forgotten = client.delete_with(&path, query).await;
        forgotten.map_err(|failure| with_options(failure, &args.name))?;
    }
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    let known = answer.body;
    let address = format!("{}:{}", known.host, known.port);
    if let Some(pinned) = &known.pinned {
        output::talk(&format!(
            "the connection accepts only the pinned host key {pinned}"
        ));
    }
    if known.host_keys.is_empty() {
        if known.pinned.is_none() {
            output::talk(&format!("no host keys of {address} known"));
        }
        return Ok(());
    }
    if args.forget {
        output::talk(&format!("removed host keys of {address}:"));
    } else if known.pinned.is_some() {
        output::talk("known host keys, ignored because of the pin:");
    }
    output::table(
        ["ALGORITHM", "FINGERPRINT", "FIRST SEEN"],
        known
            .host_keys
            .into_iter()
            .map(|key| [key.algorithm, key.fingerprint, output::time(key.first_seen)]),
    )
}

/// Rewrites the API's advice on keeping or forgetting secrets as command-line options.
fn with_options(failure: Failure, name: &str) -> Failure {
    let Failure::Refused(mut problem) = failure else {
        return failure;
    };
    if let Some((reason, _)) = problem.detail.split_once(": if the device has a new key") {
        problem.detail = format!(
            "{reason}: if the device has a new key, compare its fingerprint with the device and use \
             `scheduler connection host-keys {name} --trust FINGERPRINT`; or clear the secrets as well \
             with --forget-secrets and give them again"
        );
    }
    Failure::Refused(problem)
}
