//! Passwords of users of the server: asked for at the terminal, or from stdin or a file.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Failure, secrets};

#[derive(Debug, Default, Args)]
pub(crate) struct PasswordArgs {
    /// Read the password from stdin
    #[arg(long, conflicts_with = "password_file")]
    password_stdin: bool,

    /// Read the password from a file
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl PasswordArgs {
    /// Returns whether a source of the password is given.
    pub(super) fn is_given(&self) -> bool {
        self.password_stdin || self.password_file.is_some()
    }

    /// Reads the password of a user.
    pub(super) fn read(&self, user: &str) -> Result<SecretString, Failure> {
        match self.pipe_or_file()? {
            Some(password) => Ok(password),
            None => ask(&format!("Password of {user}: ")),
        }
    }

    /// Reads a new password; at the terminal, twice.
    pub(super) fn read_new(&self, user: &str) -> Result<SecretString, Failure> {
        if let Some(password) = self.pipe_or_file()? {
            return Ok(password);
        }
        let first = ask(&format!("New password of {user}: "))?;
        let second = ask("The same password again: ")?;
        if first.expose_secret() != second.expose_secret() {
            return Err(Failure::Usage("the two passwords differ".to_owned()));
        }
        Ok(first)
    }

    fn pipe_or_file(&self) -> Result<Option<SecretString>, Failure> {
        if self.password_stdin {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("failed to read the password from stdin")?;
            return Ok(Some(SecretString::from(secrets::without_line_end(text))));
        }
        let file = self.password_file.as_deref();
        let text = file.map(secrets::read).transpose()?;
        Ok(text.map(|text| SecretString::from(secrets::without_line_end(text))))
    }
}

fn ask(prompt: &str) -> Result<SecretString, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "there is no terminal to ask for the password; use --password-stdin or --password-file"
                .to_owned(),
        ));
    }
    let password = rpassword::prompt_password(prompt).context("failed to ask for the password")?;
    Ok(SecretString::from(password))
}
