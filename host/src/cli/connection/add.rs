use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use crate::api::types::ConnectionAnswer;
use crate::cli::{Failure, OutputFormat, ServerArgs, output};

/// Secrets come from files, stdin or the keyboard, never as arguments: those are in the process
/// list and in the shell's history.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// The name by which jobs ask for it
    name: String,

    /// The device's address
    #[arg(long)]
    host: String,

    /// Its SSH port
    #[arg(long, default_value_t = 22)]
    port: u16,

    /// The user to log in as
    #[arg(long)]
    username: String,

    /// Its platform, as netmiko calls it: `cisco_ios`, `linux`, `frr` …
    #[arg(long, value_name = "PLATFORM")]
    device_type: String,

    /// A tag; can be given more than once
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,

    /// How long one command may take
    #[arg(long, value_name = "SECONDS")]
    timeout_seconds: Option<u32>,

    /// The only host key to accept: SHA256:… or an OpenSSH public key
    #[arg(long, value_name = "KEY")]
    host_key: Option<String>,

    /// Read the password from stdin
    #[arg(long, group = "password_source")]
    password_stdin: bool,

    /// Read the password from a file
    #[arg(long, value_name = "FILE", group = "password_source")]
    password_file: Option<PathBuf>,

    /// Ask for the password at the terminal
    #[arg(long, group = "password_source")]
    ask_password: bool,

    /// A private key to log in with
    #[arg(long, value_name = "FILE")]
    private_key_file: Option<PathBuf>,

    /// The passphrase of that private key
    #[arg(long, value_name = "FILE", requires = "private_key_file")]
    passphrase_file: Option<PathBuf>,

    /// What the device asks for at `enable`
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,

    #[command(flatten)]
    server: ServerArgs,
}

/// The body of `POST /api/connections`. Not Debug: it holds secrets.
#[derive(Serialize)]
struct NewConnection {
    name: String,
    host: String,
    port: u16,
    username: String,
    device_type: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    passphrase: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

pub(super) async fn run(args: AddArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let password = password(&args)?;
    let private_key = args.private_key_file.as_deref().map(read).transpose()?;
    if password.is_none() && private_key.is_none() {
        output::talk(
            "note: no password and no private key is given; the device would have to let anyone in",
        );
    }
    if !client.is_private() {
        output::talk(
            "warning: the server is reached over plain http, so the secrets can be read on the way",
        );
    }
    let connection = NewConnection {
        password,
        private_key,
        passphrase: secret_in(args.passphrase_file.as_deref())?,
        secret: secret_in(args.secret_file.as_deref())?,
        name: args.name,
        host: args.host,
        port: args.port,
        username: args.username,
        device_type: args.device_type,
        tags: args.tags,
        timeout_seconds: args.timeout_seconds,
        host_key: args.host_key,
    };
    let answer = client
        .post::<ConnectionAnswer>(&["connections"], &connection, None)
        .await?;
    match args.server.output {
        OutputFormat::Json => output::json(&answer.text),
        OutputFormat::Table => {
            output::talk(&format!("the connection {} is there", answer.body.name));
            output::data(&format!("{}\n", answer.body.id))
        }
    }
}

fn password(args: &AddArgs) -> Result<Option<String>, Failure> {
    if args.password_stdin {
        if std::io::stdin().is_terminal() {
            return Err(Failure::Usage(
                "--password-stdin takes the password from a pipe; at a terminal, use --ask-password"
                    .to_owned(),
            ));
        }
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("cannot read the password from stdin")?;
        return Ok(Some(without_line_end(text)));
    }
    if args.ask_password {
        let prompt = format!("Password of {} on {}: ", args.username, args.host);
        let password = rpassword::prompt_password(prompt)
            .context("cannot ask for the password, because there is no terminal")?;
        return Ok(Some(password));
    }
    secret_in(args.password_file.as_deref())
}

fn secret_in(path: Option<&Path>) -> Result<Option<String>, Failure> {
    path.map(|path| Ok(without_line_end(read(path)?)))
        .transpose()
}

fn read(path: &Path) -> Result<String, Failure> {
    Ok(std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?)
}

/// Editors and `echo` end a file with a line end that is no part of a password. Only one, since
/// what a password ends with is its owner's business.
fn without_line_end(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_no_part_of_a_password() {
        let password = |text: &str| without_line_end(text.to_owned());
        assert_eq!(password("s3cret\n"), "s3cret");
        assert_eq!(password("s3cret\r\n"), "s3cret");
        assert_eq!(password(" s3cret \n\n"), " s3cret \n");
        assert_eq!(password("s3cret"), "s3cret");
    }
}
