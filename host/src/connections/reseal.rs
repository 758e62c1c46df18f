//! Reseals stored secrets: for another route, from an earlier version, or with another key.

use super::Connections;
use crate::model::{Connection, SavedConnections, SealedField, SealedRow, Way};
use crate::sealing::{UnsealError, is_version1};
use crate::storage::{ConnectionChange, ConnectionStore, MASTER_KEY_CHECK, StorageError};

impl Connections {
    /// Reseals one secret for another route.
    pub(super) fn reseal(
        &self,
        connection: &Connection,
        field: SealedField<'_>,
        from: &Way,
        to: &Way,
        sealed: &[u8],
    ) -> Result<Vec<u8>, UnsealError> {
        let (key, row) = (&self.master_key, connection.id);
        let secret = key.open_secret(row, field, from, sealed)?;
        Ok(key.seal_secret(row, field, to, &secret))
    }

    /// Reseals all secrets of a connection for another route. A secret that does not open is left
    /// unchanged, because no route can use it.
    pub(super) fn resealed_or_kept(
        &self,
        connection: &Connection,
        from: &Way,
        to: &Way,
    ) -> SealedRow {
        let kept = connection.resealed(|field, sealed| {
            let resealed = self.reseal(connection, field, from, to, sealed);
            Ok::<_, std::convert::Infallible>(resealed.unwrap_or_else(|_| sealed.to_vec()))
        });
        match kept {
            Ok(row) => row,
            Err(never) => match never {},
        }
    }

    /// Binds the secrets sealed by an earlier version to the routes of their connections, in one
    /// transaction. Afterwards, no value of that version opens.
    ///
    /// # Errors
    /// If the database is not available.
    pub async fn bind_secrets(&self) -> Result<(), StorageError> {
        let check = self.meta.meta(MASTER_KEY_CHECK).await?;
        if !check.as_deref().is_some_and(is_version1) {
            return Ok(());
        }
        let key = &self.master_key;
        let (sealed, left) = resealed_with(&*self.storage, |connection, field, way, sealed| {
            let secret = key.open_secret_version1(connection.id, field, sealed)?;
            Ok(key.seal_secret(connection.id, field, way, &secret))
        })
        .await?;
        for left in &left {
            tracing::warn!("{left}; give it again");
        }
        let connections = sealed.len();
        let change = ConnectionChange {
            sealed,
            master_key_check: Some(key.seal_check()),
            ..ConnectionChange::default()
        };
        self.storage.change_connections(change).await?;
        tracing::info!(
            connections,
            "stored secrets are now bound to the address, route and host key of their connection"
        );
        Ok(())
    }
}

/// Reseals every secret in the database. Returns the rows and a message for each value that does not
/// open; those values are unchanged.
pub(crate) async fn resealed_with(
    storage: &dyn ConnectionStore,
    reseal: impl Fn(&Connection, SealedField<'_>, &Way, &[u8]) -> Result<Vec<u8>, UnsealError>,
) -> Result<(Vec<SealedRow>, Vec<String>), StorageError> {
    let saved = SavedConnections::new(storage.connections().await?);
    let inline = storage.sealed_inline_connections().await?;
    let (mut rows, mut left) = (Vec::new(), Vec::new());
    let all = saved.all().into_iter().chain(&inline);
    for connection in all.filter(|connection| !connection.sealed().is_empty()) {
        let name = &connection.name;
        let way = match saved.way(connection) {
            Ok(way) => way,
            Err(error) => {
                left.push(format!("there is no route to `{name}`: {error}"));
                continue;
            }
        };
        let row = connection.resealed(|field, sealed| {
            let resealed = reseal(connection, field, &way, sealed);
            let kept = resealed.unwrap_or_else(|error| {
                left.push(format!(
                    "failed to decrypt the {field} of connection `{name}`: {error}"
                ));
                sealed.to_vec()
            });
            Ok::<_, std::convert::Infallible>(kept)
        });
        match row {
            Ok(row) => rows.push(row),
            Err(never) => match never {},
        }
    }
    Ok((rows, left))
}
