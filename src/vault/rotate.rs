//! Rotation of the master key: every step can be the last one before a crash, and the next run goes on from there.
//!
//! 1. A new key joins the ring's file ([`add_key`]). Values are still sealed under the old one.
//! 2. The store makes it the one in force. Writers of other processes are turned away with [`StoreError::KeyRotated`], read
//!    the file again, and seal under the new key ([`Vault::sealed_write`]).
//! 3. All that is sealed under other keys is sealed anew ([`reseal_batch`]).
//! 4. When nothing is left under them, the other keys leave the file ([`drop_other_keys`]).

#[cfg(test)]
mod tests;

use tracing::warn;

use super::ring::{self, RingKey, RingLock};
use super::{Binding, Sealed, Vault, VaultError};
use crate::store::sealed::SealedRow;
use crate::store::{Store, StoreError};

/// How many values are read at once to be sealed anew.
const BATCH: u32 = 256;

/// What a rotation did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// The key now in force.
    pub(crate) key_id: String,
    /// How many values were sealed anew.
    pub(crate) n_resealed: u64,
    /// How many keys were dropped from the ring.
    pub(crate) n_dropped: usize,
}

/// Why a rotation stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RotationError {
    /// Another process is at it.
    #[error("another rotation of the master key file {path} is under way; wait for its end")]
    UnderWay {
        /// The ring's file.
        path: String,
    },
    /// Values that can't be opened, which would be lost for good with the old key. All others are under the new one.
    #[error(
        "{} can't be opened, so the old master key stays in the ring: they were changed, or copied from elsewhere. Set \
         or delete them, then rotate again: {}", count(.0.len()), .0.join(", ")
    )]
    Refused(Vec<String>),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn count(n_values: usize) -> String {
    if n_values == 1 { "a stored value".to_owned() } else { format!("{n_values} stored values") }
}

/// Makes the vault's newest key the one in force in a store that has none yet, or checks that the ring holds the store's.
/// Called at each start.
pub(crate) async fn settle_active_key(vault: &Vault, store: &Store) -> Result<(), RotationError> {
    let in_force = match store.active_master_key().await? {
        Some(key_id) => key_id,
        None => {
            store.set_active_master_key(&vault.active_key()).await?;
            // Another process may have been quicker, with the same ring or with another.
            store.active_master_key().await?.unwrap_or_else(|| vault.active_key())
        }
    };
    vault.use_key(&in_force)?;
    if vault.key_ids() != [in_force] {
        warn!(
            "a rotation of the master key isn't complete; all keys keep working. To complete it, run: portcullis keys \
             rotate-master"
        );
    }
    Ok(())
}

/// Rotates to a new key, or goes on with a rotation that was interrupted.
pub(crate) async fn rotate(vault: &Vault, store: &Store) -> Result<Rotation, RotationError> {
    let lock = lock(vault)?;
    let key_id = begin(vault, store, &lock).await?;
    store.set_active_master_key(&key_id).await?;
    vault.use_key(&key_id)?;
    let mut n_resealed = 0;
    while let Some(n) = reseal_batch(vault, store, &key_id).await? {
        n_resealed += n;
    }
    let n_dropped = drop_other_keys(vault, &key_id, &lock)?;
    Ok(Rotation { key_id, n_resealed, n_dropped })
}

/// Only puts the key into the ring that the next [`rotate`] goes over to, so that the file can first be copied to the hosts of
/// other gateways. The key's id.
pub(crate) async fn prepare(vault: &Vault, store: &Store) -> Result<String, RotationError> {
    let lock = lock(vault)?;
    begin(vault, store, &lock).await
}

fn lock(vault: &Vault) -> Result<RingLock, RotationError> {
    let path = &vault.inner.path;
    ring::lock(path)?.ok_or_else(|| RotationError::UnderWay { path: path.display().to_string() })
}

/// The key to go over to: the ring's newest where a rotation to it isn't complete, otherwise a new one.
async fn begin(vault: &Vault, store: &Store, lock: &RingLock) -> Result<String, RotationError> {
    settle_in_force(vault, store).await?;
    let ids = vault.key_ids();
    if let [.., newest] = ids.as_slice() {
        let is_unfinished = ids.len() > 1 || !store.sealed_under_other_keys(newest, 1).await?.is_empty();
        if is_unfinished {
            return Ok(newest.clone());
        }
    }
    Ok(add_key(vault, lock)?)
}

/// The ring must hold the store's key: it may be another database's.
async fn settle_in_force(vault: &Vault, store: &Store) -> Result<(), RotationError> {
    match store.active_master_key().await? {
        Some(key_id) => Ok(vault.use_key(&key_id)?),
        None => Ok(vault.reload()?),
    }
}

/// Step 1: a new key joins the ring. Its id.
fn add_key(vault: &Vault, _lock: &RingLock) -> Result<String, VaultError> {
    let path = &vault.inner.path;
    let mut keys = ring::read(path)?;
    let mut key = RingKey::generate();
    // Ids are short.
    while keys.iter().any(|other| other.id == key.id) {
        key = RingKey::generate();
    }
    let key_id = key.id.clone();
    keys.push(key);
    ring::replace(path, &keys)?;
    vault.reload()?;
    Ok(key_id)
}

/// Step 3, a part of it: how many of up to [`BATCH`] values were sealed anew; none when no value is left under another key.
async fn reseal_batch(vault: &Vault, store: &Store, key_id: &str) -> Result<Option<u64>, RotationError> {
    let rows = store.sealed_under_other_keys(key_id, BATCH).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let (mut n_resealed, mut refused) = (0, Vec::new());
    for row in &rows {
        match sealed_anew(vault, row) {
            // A row that has changed meanwhile was sealed under the new key by whoever changed it.
            Ok(sealed) => n_resealed += u64::from(store.reseal(row, &sealed).await?),
            Err(VaultError::Refused { .. }) => refused.push(place(row)),
            Err(error) => return Err(error.into()),
        }
    }
    // Once nothing else is left.
    if refused.len() == rows.len() { Err(RotationError::Refused(refused)) } else { Ok(Some(n_resealed)) }
}

fn sealed_anew(vault: &Vault, row: &SealedRow) -> Result<Sealed, VaultError> {
    let binding = Binding { project: row.project, kind: &row.kind, owner: &row.owner, field: &row.field };
    let value = vault.open(&binding, &row.sealed)?;
    vault.seal(&binding, &value)
}

/// Where a value stands, in words.
fn place(row: &SealedRow) -> String {
    let SealedRow { project, kind, owner, field, .. } = row;
    match kind.as_str() {
        "secret" => format!("the secret {field:?} of project {project}"),
        "config" => format!("the config of connection {owner} of project {project}"),
        "oauth_app" => format!("the client secret of the OAuth2 app {owner}/{field} of project {project}"),
        "oauth_flow" => format!("the consent under way for connection {owner} of project {project}"),
        "oauth_revocation" => {
            format!("the tokens of {owner} that project {project} is to revoke (id {field})")
        }
        kind => format!("the {kind} {field:?} of connection {owner} of project {project}"),
    }
}

/// Step 4: all keys but this one leave the ring. How many.
fn drop_other_keys(vault: &Vault, key_id: &str, _lock: &RingLock) -> Result<usize, VaultError> {
    let path = &vault.inner.path;
    let keys = ring::read(path)?;
    let n_keys = keys.len();
    let kept: Vec<RingKey> = keys.into_iter().filter(|key| key.id == key_id).collect();
    if kept.is_empty() {
        return Err(vault.unknown(key_id));
    }
    if kept.len() < n_keys {
        ring::replace(path, &kept)?;
        vault.reload()?;
    }
    Ok(n_keys - kept.len())
}
