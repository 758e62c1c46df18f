use clap::Args;

use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::PauseResponse;

#[derive(Debug, Args)]
pub(crate) struct EndArgs {
    /// The pause's name or id
    name: String,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: EndArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let answer = client
        .post_empty_for::<PauseResponse>(&["pauses", &args.name, "end"])
        .await?;
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    let pause = answer.body;
    let next = match pause.next_starts.first() {
        Some(start) => format!("in force again from {}", output::time(*start)),
        None => format!("remove it with `scheduler pause rm {}`", pause.name),
    };
    output::talk(&format!("pause {} ended; {next}", pause.name));
    Ok(())
}
