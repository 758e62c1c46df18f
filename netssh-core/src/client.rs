//! The client's side of an SSH connection: checks the host key, and records why the connection
//! ended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use russh::client::{self, DisconnectReason};
use russh::keys::PublicKeyOrCertificate;
use russh::keys::ssh_key::public::RsaPublicKey;

use crate::algorithms::{Algorithms, HINT};
use crate::host_keys::{HostKey, HostKeyMarks, HostKeyPolicy, Pin, Verdict, judge};
use crate::visible::printable;

/// Checks the host key.
pub(crate) struct Client {
    pub(crate) host: String,
    pub(crate) algorithms: Algorithms,
    pub(crate) policy: HostKeyPolicy,
    pub(crate) pin: Option<Pin>,
    pub(crate) known: Vec<HostKey>,
    pub(crate) marks: HostKeyMarks,
    pub(crate) info: Arc<Mutex<HandshakeInfo>>,
}

/// The results of the key exchange, for the code that waits for it.
#[derive(Debug, Default)]
pub(crate) struct HandshakeInfo {
    pub(crate) new_key: Option<HostKey>,
    /// The server's identification.
    pub(crate) server: String,
}

pub(crate) fn lock(info: &Mutex<HandshakeInfo>) -> MutexGuard<'_, HandshakeInfo> {
    info.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The reason why a connection's task ended.
#[derive(Debug)]
pub(crate) enum ConnectError {
    HostKey(String),
    NotPinned {
        message: String,
        /// The type of the key that the device showed.
        shown: String,
    },
    /// The device disconnected with this message.
    Disconnected(String),
    Ssh(russh::Error),
}

impl From<russh::Error> for ConnectError {
    fn from(error: russh::Error) -> Self {
        Self::Ssh(error)
    }
}

impl client::Handler for Client {
    type Error = ConnectError;

    async fn check_server_key(
        &mut self,
        offered: &PublicKeyOrCertificate,
    ) -> Result<bool, ConnectError> {
        let public = offered.public_key();
        let key = HostKey::from_public_key(&public).map_err(|error| {
            ConnectError::HostKey(format!("failed to read the host key: {error}"))
        })?;
        if let Some(pin) = &self.pin {
            pin.check(&key).map_err(|message| ConnectError::NotPinned {
                message,
                shown: key.algorithm.clone(),
            })?;
        }
        let bits = public.key_data().rsa().map(RsaPublicKey::key_size);
        check_size(bits, self.algorithms)?;
        if self.pin.is_some() {
            return Ok(true);
        }
        if let Some(certificate) = offered.certificate()
            && !self.known.contains(&key)
        {
            self.marks
                .check_certificate(certificate, &self.host)
                .map_err(ConnectError::HostKey)?;
            return Ok(true);
        }
        match judge(self.policy, &self.known, &self.marks, &key).map_err(ConnectError::HostKey)? {
            Verdict::Accept => {}
            Verdict::AcceptAndRemember => lock(&self.info).new_key = Some(key),
        }
        Ok(true)
    }

    async fn kex_done(
        &mut self,
        _shared_secret: Option<&[u8]>,
        _names: &russh::Names,
        session: &mut client::Session,
    ) -> Result<(), ConnectError> {
        let server = String::from_utf8_lossy(session.remote_sshid());
        lock(&self.info).server = printable(&server);
        Ok(())
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<ConnectError>,
    ) -> Result<(), ConnectError> {
        match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                Err(ConnectError::Disconnected(info.message))
            }
            DisconnectReason::Error(error) => Err(error),
        }
    }
}

/// Rejects RSA keys that are too short: they can be broken and the host impersonated.
fn check_size(bits: Option<u32>, algorithms: Algorithms) -> Result<(), ConnectError> {
    let Some(bits) = bits.filter(|bits| *bits < algorithms.shortest_rsa()) else {
        return Ok(());
    };
    let hint = if bits >= Algorithms::Legacy.shortest_rsa() {
        format!("generate a longer one on the device, or {HINT}")
    } else {
        "generate a longer one on the device".into()
    };
    Err(ConnectError::HostKey(format!(
        "the RSA host key is too short: {bits} bits; {hint}"
    )))
}
