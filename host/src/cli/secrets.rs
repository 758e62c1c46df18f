//! Secrets on the command line, from files, stdin or the keyboard. Never from arguments, which the
//! process list and the shell history show.

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::{Failure, output};

#[derive(Debug, Args)]
pub(crate) struct SecretArgs {
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

    /// The secret for `enable`
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

/// The secret fields of a connection in the API's form. Not `Debug`.
#[derive(Serialize)]
pub(super) struct Secrets {
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    passphrase: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl SecretArgs {
    /// Reads the secrets. `user` names the account in the password prompt, as in `admin on core-1`.
    pub(super) fn read(&self, user: &str) -> Result<Secrets, Failure> {
        let password = self.password(user)?;
        let private_key = self.private_key_file.as_deref().map(read).transpose()?;
        Ok(Secrets {
            password,
            private_key,
            passphrase: secret_in(self.passphrase_file.as_deref())?,
            secret: secret_in(self.secret_file.as_deref())?,
        })
    }

    /// Returns whether any secret was given.
    pub(super) fn any(&self) -> bool {
        self.password_stdin
            || self.ask_password
            || self.password_file.is_some()
            || self.private_key_file.is_some()
            || self.passphrase_file.is_some()
            || self.secret_file.is_some()
    }

    fn password(&self, user: &str) -> Result<Option<String>, Failure> {
        if self.password_stdin {
            if std::io::stdin().is_terminal() {
                return Err(Failure::Usage(
                "--password-stdin reads the password from a pipe; at a terminal, use --ask-password"
                    .to_owned(),
            ));
            }
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("failed to read the password from stdin")?;
            return Ok(Some(without_line_end(text)));
        }
        if self.ask_password {
            let prompt = format!("Password of {user}: ");
            let password = rpassword::prompt_password(prompt)
                .context("failed to ask for the password: no terminal")?;
            return Ok(Some(password));
        }
        secret_in(self.password_file.as_deref())
    }
}

impl Secrets {
    /// Returns whether the secrets allow a login.
    pub(super) fn can_log_in(&self) -> bool {
        self.password.is_some() || self.private_key.is_some()
    }
}

/// Notes that a connection has no credentials, which few devices accept.
pub(super) fn note_nothing_to_log_in_with() {
    output::talk(
        "note: no password or private key given; the login works only if the device requires neither",
    );
}

fn secret_in(path: Option<&Path>) -> Result<Option<String>, Failure> {
    path.map(|path| Ok(without_line_end(read(path)?)))
        .transpose()
}

pub(super) fn read(path: &Path) -> Result<String, Failure> {
    Ok(std::fs::read_to_string(path)
        .with_context(|| format!("failed to read {}", path.display()))?)
}

/// Removes the line ending that editors and `echo` append to a password. Only one is removed, because a
/// password may itself end in one.
pub(super) fn without_line_end(mut text: String) -> String {
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
