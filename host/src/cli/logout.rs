//! `scheduler logout`: revokes and removes the token that `scheduler login` stored.

use clap::Args;

use super::{Failure, ServerArgs, output, tokens_file};
use crate::wire::MeResponse;

#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: LogoutArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    if !client.has_token() {
        output::talk("not logged in");
        return Ok(());
    }
    // The token is removed from this machine, whether or not the server can revoke it.
    let revoked = async {
        let me = client.get::<MeResponse>(&["me"]).await?;
        match me.body.proof_id {
            Some(id) => client.delete(&["tokens", &id.to_string()]).await.map(drop),
            None => Ok(()),
        }
    };
    let revoked = revoked.await;
    tokens_file::store(&client.server(), None)?;
    match revoked {
        Ok(()) => output::talk("logged out"),
        Err(Failure::Refused(problem)) if problem.status == 401 => {
            output::talk("logged out; the token was not valid any more");
        }
        Err(failure) => {
            output::talk("the token was removed from this machine, but not revoked");
            return Err(failure);
        }
    }
    Ok(())
}
