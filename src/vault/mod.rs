//! The vault: seals credentials with AES-256-GCM under a ring of master keys that is kept in a file.
//!
//! Every writer of sealed values goes through [`Vault::sealed_write`], so that a rotation of the master key in another
//! process is never in its way:
//!
//! ```ignore
//! let (record, is_new) = vault
//!     .sealed_write::<_, _, GatewayError, _>(
//!         &store,
//!         || vault.seal(&binding, value),
//!         async |sealed| store.put_secret(project, name, &mask, &sealed).await,
//!     )
//!     .await?;
//! ```
//!
//! Invariant: a value is sealed under the key that the store has in force, which the ring's file holds; so whatever the
//! store has committed can be opened after a crash at any moment of a rotation.

pub(crate) mod random;
mod ring;
pub(crate) mod rotate;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit, Nonce};
use zeroize::Zeroizing;

use crate::identity::ProjectId;
use crate::store::{Store, StoreError};

/// How often a write is tried while the master key is being rotated.
const WRITE_ATTEMPTS: usize = 3;

/// The length of an AES-GCM tag, in bytes.
const TAG_LENGTH: usize = 16;

/// A value that only the vault can open, and only for the place that it was sealed for.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// The master key's id.
    pub(crate) key_id: String,
    /// Fresh for each sealing.
    pub(crate) nonce: [u8; 12],
    /// With the tag at its end.
    pub(crate) ciphertext: Vec<u8>,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealed").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// The place of a sealed value: its associated data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding<'a> {
    pub(crate) project: ProjectId,
    /// `credential`, `config` or `token` of a connection, `secret`, `oauth_app`, `oauth_flow`, `oauth_revocation`,
    /// `approval` or `webhook`.
    pub(crate) kind: &'a str,
    /// The connection's or the approval's id, or the integration's slug; empty for a workspace secret and a webhook.
    pub(crate) owner: &'a str,
    /// The credential's key, the secret's or the app's name, the hash of the flow's state, the revocation's id, what of an
    /// approval it is.
    pub(crate) field: &'a str,
}

impl<'a> Binding<'a> {
    /// The place of a workspace secret.
    pub(crate) fn secret(project: ProjectId, name: &'a str) -> Self {
        Self { project, kind: "secret", owner: "", field: name }
    }

    /// The place of an OAuth2 app's client secret.
    pub(crate) fn oauth_app(project: ProjectId, integration: &'a str, name: &'a str) -> Self {
        Self { project, kind: "oauth_app", owner: integration, field: name }
    }

    /// The place of what is secret about a consent under way.
    pub(crate) fn oauth_flow(project: ProjectId, connection: &'a str, state_hash: &'a str) -> Self {
        Self { project, kind: "oauth_flow", owner: connection, field: state_hash }
    }

    /// The place of what is secret about an approval.
    pub(crate) fn approval(project: ProjectId, approval: &'a str, field: &'a str) -> Self {
        Self { project, kind: "approval", owner: approval, field }
    }

    /// The place of what a project's webhook is signed with.
    pub(crate) fn webhook(project: ProjectId) -> Self {
        Self { project, kind: "webhook", owner: "", field: "" }
    }

    /// The associated data: a version, then each part behind its length, so that no two places have the same.
    fn associated_data(&self) -> Vec<u8> {
        let mut data = b"portcullis sealed value, version 1\0".to_vec();
        let parts = [self.project.0.as_bytes().as_slice(), self.kind.as_bytes(), self.owner.as_bytes()];
        for part in parts.into_iter().chain([self.field.as_bytes()]) {
            data.extend_from_slice(&(part.len() as u64).to_be_bytes());
            data.extend_from_slice(part);
        }
        data
    }
}

/// Why a value can't be sealed or opened, or the ring not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VaultError {
    /// The ring's file can't be read or written, isn't a ring, or others can read it.
    #[error("the master key file {path}: {problem}")]
    Ring { path: String, problem: String },
    /// The store's values are sealed under a key that the ring doesn't hold.
    #[error(
        "the master key file {path} doesn't hold the key {key_id:?} that this database's values are sealed under: the database \
         belongs to another master key file; name that one (--master-key-file), or restore it from a backup"
    )]
    UnknownKey { key_id: String, path: String },
    /// The value was changed, or belongs elsewhere.
    #[error("a stored {kind} can't be opened: it was changed, or belongs to another place")]
    Refused { kind: String },
}

/// Seals and opens; clones share the ring.
#[derive(Clone)]
pub(crate) struct Vault {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    state: RwLock<State>,
}

struct State {
    /// Every key that this process has read, those too that a rotation has dropped from the file meanwhile: a row that was
    /// read before it can still be opened.
    known: Vec<Arc<MasterKey>>,
    /// The ids in the file, in its order; at least one.
    ring: Vec<String>,
    /// The key that the store has in force, once that is known.
    in_force: Option<String>,
}

/// A key in memory; wiped when dropped.
struct MasterKey {
    id: String,
    cipher: Aes256Gcm,
}

impl Vault {
    /// The ring in this file, made with one key and mode 0600 where there is none.
    pub(crate) fn open_or_create(path: &Path) -> Result<Self, VaultError> {
        if !ring::exists(path)? {
            ring::create(path)?;
        }
        let state = State { known: Vec::new(), ring: Vec::new(), in_force: None };
        let vault = Self { inner: Arc::new(Inner { path: path.to_owned(), state: RwLock::new(state) }) };
        vault.reload()?;
        Ok(vault)
    }

    /// The id of the key that values are sealed under: the one that the store has in force as far as is known, otherwise the
    /// ring's newest.
    pub(crate) fn active_key(&self) -> String {
        self.state().sealing_id().to_owned()
    }

    /// The ids of the keys in the ring's file as it was last read, the newest last.
    pub(crate) fn key_ids(&self) -> Vec<String> {
        self.state().ring.clone()
    }

    /// Reads the ring's file again: another process may have rotated it.
    pub(crate) fn reload(&self) -> Result<(), VaultError> {
        let keys = ring::read(&self.inner.path)?;
        let mut state = self.state_mut();
        state.ring = keys.iter().map(|key| key.id.clone()).collect();
        for key in keys {
            if state.known(&key.id).is_none() {
                state.known.push(Arc::new(MasterKey::new(&key)));
            }
        }
        Ok(())
    }

    /// Seals under this key from now on: the one that the store has in force. The ring's file must hold it.
    pub(crate) fn use_key(&self, key_id: &str) -> Result<(), VaultError> {
        self.reload()?;
        let mut state = self.state_mut();
        if !state.ring.iter().any(|id| id == key_id) {
            return Err(self.unknown(key_id));
        }
        state.in_force = Some(key_id.to_owned());
        Ok(())
    }

    /// Seals a value for its place, under the active key.
    pub(crate) fn seal(&self, binding: &Binding<'_>, value: &[u8]) -> Result<Sealed, VaultError> {
        let key = self.state().sealing_key();
        let key = key.ok_or_else(|| self.unknown(&self.active_key()))?;
        Ok(key.seal(binding, value))
    }

    /// Opens a value at its place; reads the ring again if it was sealed under a key that isn't known.
    pub(crate) fn open(
        &self,
        binding: &Binding<'_>,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let known = self.state().known(&sealed.key_id);
        let key = match known {
            Some(key) => key,
            None => {
                self.reload()?;
                let known = self.state().known(&sealed.key_id);
                known.ok_or_else(|| self.unknown(&sealed.key_id))?
            }
        };
        key.open(binding, sealed).ok_or_else(|| VaultError::Refused { kind: binding.kind.to_owned() })
    }

    /// Seals values and writes them to the store. Where the master key was rotated in between ([`StoreError::KeyRotated`]:
    /// nothing was written), reads the ring again and does both anew, under the key that the store has in force by then.
    ///
    /// `seal` makes what is to be written with [`Vault::seal`]; `write` writes it.
    pub(crate) async fn sealed_write<S, T, E, Writing>(
        &self,
        store: &Store,
        seal: impl Fn() -> Result<S, VaultError>,
        write: impl Fn(S) -> Writing,
    ) -> Result<T, E>
    where
        Writing: Future<Output = Result<T, StoreError>>,
        E: From<VaultError> + From<StoreError>,
    {
        for _ in 1..WRITE_ATTEMPTS {
            match write(seal()?).await {
                Err(StoreError::KeyRotated) => self.follow::<E>(store).await?,
                written => return Ok(written?),
            }
        }
        Ok(write(seal()?).await?)
    }

    /// Goes over to the key that the store has in force.
    async fn follow<E: From<VaultError> + From<StoreError>>(&self, store: &Store) -> Result<(), E> {
        match store.active_master_key().await? {
            Some(key_id) => Ok(self.use_key(&key_id)?),
            None => self.reload().map_err(E::from),
        }
    }

    fn unknown(&self, key_id: &str) -> VaultError {
        VaultError::UnknownKey { key_id: key_id.to_owned(), path: self.inner.path.display().to_string() }
    }

    // Nothing that holds the lock can leave the state half changed, so a panic elsewhere doesn't spoil it.

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.inner.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.inner.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn sealing_id(&self) -> &str {
        let newest = || self.ring.last().map_or("", String::as_str);
        self.in_force.as_deref().unwrap_or_else(newest)
    }

    fn sealing_key(&self) -> Option<Arc<MasterKey>> {
        self.known(self.sealing_id())
    }

    fn known(&self, key_id: &str) -> Option<Arc<MasterKey>> {
        self.known.iter().find(|key| key.id == key_id).cloned()
    }
}

impl MasterKey {
    fn new(key: &ring::RingKey) -> Self {
        Self { id: key.id.clone(), cipher: Aes256Gcm::new((&*key.bytes).into()) }
    }

    fn seal(&self, binding: &Binding<'_>, value: &[u8]) -> Sealed {
        let nonce = random::bytes::<12>();
        // With room for the tag, so that no copy of the value is left behind by growing.
        let mut ciphertext = Vec::with_capacity(value.len() + TAG_LENGTH);
        ciphertext.extend_from_slice(value);
        self.cipher
            .encrypt_in_place(&Nonce::from(*nonce), &binding.associated_data(), &mut ciphertext)
            .expect("AES-GCM seals all that is shorter than 64 GiB");
        Sealed { key_id: self.id.clone(), nonce: *nonce, ciphertext }
    }

    fn open(&self, binding: &Binding<'_>, sealed: &Sealed) -> Option<Zeroizing<Vec<u8>>> {
        let mut value = Zeroizing::new(sealed.ciphertext.clone());
        self.cipher
            .decrypt_in_place(&Nonce::from(sealed.nonce), &binding.associated_data(), &mut *value)
            .ok()?;
        Some(value)
    }
}
