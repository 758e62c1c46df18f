use clap::Args;

use crate::api::types::HostKeyList;
use crate::cli::{Failure, OutputFormat, ServerArgs, output};

#[derive(Debug, Args)]
pub(crate) struct HostKeysArgs {
    /// The connection's name or id
    name: String,

    /// Forget them, so that the next session learns the device's key anew
    #[arg(long)]
    forget: bool,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: HostKeysArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let path = ["connections", &args.name, "host-keys"];
    let answer = client.get::<HostKeyList>(&path).await?;
    if args.forget {
        client.delete(&path).await?;
    }
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    let known = answer.body;
    let address = format!("{}:{}", known.host, known.port);
    if known.host_keys.is_empty() {
        output::talk(&format!("no host key of {address} is known"));
        return Ok(());
    }
    if args.forget {
        output::talk(&format!("these host keys of {address} are forgotten:"));
    }
    output::table(
        ["ALGORITHM", "FINGERPRINT", "FIRST SEEN"],
        known
            .host_keys
            .into_iter()
            .map(|key| [key.algorithm, key.fingerprint, output::time(key.first_seen)]),
    )
}
