//! Values sealed by version 1: `1 ‖ nonce ‖ ciphertext and tag`, bound only to the row and the field.
//! They are opened only to be sealed again.

use secrecy::SecretString;
use uuid::Uuid;

use super::{MasterKey, UnsealError};
use crate::model::SealedField;

const VERSION: u8 = 1;

impl MasterKey {
    /// Opens a value of version 1.
    ///
    /// # Errors
    /// If the value was not sealed in version 1 for this row and field with this key.
    pub(crate) fn open_secret_version1(
        &self,
        row: Uuid,
        field: SealedField<'_>,
        sealed: &[u8],
    ) -> Result<SecretString, UnsealError> {
        let place = match field {
            SealedField::Secret(field) => format!("ssh_connections/{row}/{}", field.as_str()),
            SealedField::Answer { question, .. } => {
                format!("ssh_connections/{row}/{}/{question}", field.kind())
            }
        };
        self.open_version1(sealed, &place).map(SecretString::from)
    }

    pub(super) fn open_version1(&self, sealed: &[u8], place: &str) -> Result<String, UnsealError> {
        match sealed.split_first() {
            Some((&VERSION, rest)) => self.decrypt(rest, place.as_bytes()),
            _ => Err(UnsealError::OtherVersion),
        }
    }
}

/// Returns whether a value, such as the check value of the master key, was sealed in version 1.
pub(crate) fn is_version1(sealed: &[u8]) -> bool {
    sealed.first() == Some(&VERSION)
}
