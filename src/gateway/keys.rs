//! API keys: who comes in with one, and keys for admins to make and revoke.

#[cfg(test)]
pub(super) mod tests;

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;
use uuid::Uuid;

use super::{Gateway, GatewayError};
use crate::api_key::ApiKey;
use crate::identity::{Identity, ProjectId, Role, UserName};
use crate::store::keys::KeyRecord;
use crate::store::{Store, StoreError};
use crate::time::Timestamp;

/// Of the uses of a key within this time, one is written down.
const TOUCH_INTERVAL: Duration = Duration::from_secs(60);

/// The person of an admin's key that names none.
const DEFAULT_ADMIN: &str = "admin";

/// Why a request has no identity.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthenticationError {
    /// No such key, or it is revoked: 401.
    #[error("the API key isn't valid: it is unknown or was revoked")]
    UnknownKey,
    /// A user's key, with a header that names another user: 403.
    #[error("this key acts for its own user only; leave the header Portcullis-User out")]
    OtherUser,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Gateway {
    /// The identity of a key. `acting_for` is the header `Portcullis-User`: a service key acts for that user, an admin's key
    /// as well, and a user's key only if it is its own.
    pub(crate) async fn authenticate(
        &self,
        key: &ApiKey,
        acting_for: Option<UserName>,
    ) -> Result<Identity, AuthenticationError> {
        let store = &self.inner.store;
        let record = store.key_of_hash(key.hash()).await?.ok_or(AuthenticationError::UnknownKey)?;
        KEY_USES.note(store, record.id);
        identify(record, acting_for)
    }

    /// The project's keys, newest first.
    pub(crate) async fn keys(&self, identity: &Identity) -> Result<Vec<KeyRecord>, GatewayError> {
        require_admin(identity)?;
        Ok(self.inner.store.keys(identity.project).await?)
    }

    /// Makes a key in the caller's project; the key itself is shown this once. `user` is required for a user's key, `admin`
    /// if absent for an admin's, and not allowed for a service's.
    pub(crate) async fn create_key(
        &self,
        identity: &Identity,
        role: Role,
        user: Option<UserName>,
        name: &str,
    ) -> Result<(ApiKey, KeyRecord), GatewayError> {
        require_admin(identity)?;
        let (key, record) = new_key(identity.project, role, user, name)?;
        self.inner.store.insert_key(&record, key.hash()).await?;
        Ok((key, record))
    }

    /// Revokes a key; one that is revoked already stays so. A conflict if it is the caller's own, or the project's last
    /// admin key: nobody could make another one.
    pub(crate) async fn revoke_key(&self, identity: &Identity, id: Uuid) -> Result<(), GatewayError> {
        require_admin(identity)?;
        let keys = self.inner.store.keys(identity.project).await?;
        let key = keys
            .iter()
            .find(|key| key.id == id)
            .ok_or_else(|| GatewayError::NotFound(format!("key {id}")))?;
        if key.revoked_at.is_some() {
            return Ok(());
        }
        if id == identity.key {
            return Err(conflict("this is the key that you are using: revoke it with another admin key"));
        }
        if is_last_admin_key(key, &keys) {
            return Err(conflict("this is the project's last admin key: make another one first"));
        }
        self.inner.store.revoke_key(identity.project, id).await?;
        Ok(())
    }
}

/// Refuses whoever isn't an admin.
pub(super) fn require_admin(identity: &Identity) -> Result<(), GatewayError> {
    if identity.is_admin() {
        return Ok(());
    }
    let role = identity.role.as_str();
    Err(GatewayError::Forbidden(format!("this needs an admin key; yours has the role {role}")))
}

/// Whether revoking this key of these would leave the project without an admin.
pub(crate) fn is_last_admin_key(key: &KeyRecord, keys: &[KeyRecord]) -> bool {
    let is_admin = |key: &KeyRecord| key.role == Role::Admin && key.revoked_at.is_none();
    is_admin(key) && !keys.iter().any(|other| other.id != key.id && is_admin(other))
}

/// A new key and its record, not stored yet. `user` as for [`Gateway::create_key`]; `name` is what the key is for: 1 to 200
/// characters, no control characters.
pub(crate) fn new_key(
    project: ProjectId,
    role: Role,
    user: Option<UserName>,
    name: &str,
) -> Result<(ApiKey, KeyRecord), GatewayError> {
    let user = key_user(role, user)?;
    let is_name = (1..=200).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if !is_name || name.trim().is_empty() {
        return Err(unprocessable("a key's name has 1 to 200 characters, no control characters among them"));
    }
    let key = ApiKey::generate();
    let record = KeyRecord {
        id: Uuid::now_v7(),
        project,
        role,
        user,
        name: name.to_owned(),
        hint: key.hint(),
        created_at: Timestamp::now(),
        last_used_at: None,
        revoked_at: None,
    };
    Ok((key, record))
}

fn key_user(role: Role, user: Option<UserName>) -> Result<Option<UserName>, GatewayError> {
    match (role, user) {
        (Role::Service, None) => Ok(None),
        (Role::Service, Some(_)) => Err(invalid(
            "a service key has no user: it acts for whom each request names in the header Portcullis-User",
        )),
        (Role::User, None) => Err(invalid("a key of the role user needs the user whom it acts for")),
        (Role::Admin, None) => Ok(UserName::new(DEFAULT_ADMIN).ok()),
        (_, user) => Ok(user),
    }
}

/// Whom a key acts for.
fn identify(key: KeyRecord, acting_for: Option<UserName>) -> Result<Identity, AuthenticationError> {
    let on_behalf = acting_for.is_some();
    let user = match (key.role, acting_for) {
        (Role::User, Some(other)) if key.user.as_ref() != Some(&other) => {
            return Err(AuthenticationError::OtherUser);
        }
        (Role::User, _) | (_, None) => key.user,
        (Role::Admin | Role::Service, other) => other,
    };
    Ok(Identity { project: key.project, key: key.id, role: key.role, user, on_behalf })
}

fn conflict(message: &str) -> GatewayError {
    GatewayError::Conflict { code: "CONFLICT", message: message.to_owned(), details: None }
}

fn invalid(message: &str) -> GatewayError {
    GatewayError::Invalid { code: "INVALID_REQUEST", message: message.to_owned(), details: None }
}

fn unprocessable(message: &str) -> GatewayError {
    GatewayError::Unprocessable { code: "VALIDATION_FAILED", message: message.to_owned(), details: None }
}

/// The last uses of this process's keys. Ids are unique, whichever store a key is in.
static KEY_USES: LazyLock<KeyUses> = LazyLock::new(KeyUses::default);

/// When a use of each key was last handed on to be written.
#[derive(Default)]
struct KeyUses {
    written: Mutex<HashMap<Uuid, Instant>>,
}

impl KeyUses {
    /// Notes a use; where it is time to, it is written in the background. Never waits for the store.
    fn note(&self, store: &Store, key: Uuid) {
        if !self.is_due(key, Instant::now()) {
            return;
        }
        let store = store.clone();
        tokio::spawn(async move {
            if let Err(error) = store.touch_keys(&[(key, Timestamp::now())]).await {
                warn!(%key, error = &error as &dyn std::error::Error, "an API key's last use isn't written");
            }
        });
    }

    /// Whether a use now is to be written; it then counts as written.
    fn is_due(&self, key: Uuid, now: Instant) -> bool {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent =
            written.get(&key).is_some_and(|at| now.saturating_duration_since(*at) < TOUCH_INTERVAL);
        if !is_recent {
            written.insert(key, now);
        }
        !is_recent
    }
}
