//! API keys, as hashes.

use sqlx::any::AnyRow;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use super::rows::{Fields, clean, id};
use super::{Store, StoreError};
use crate::api_key::KeyHash;
use crate::identity::{ProjectId, Role, UserName};
use crate::time::Timestamp;

const MINUTE_MS: i64 = 60_000;

/// A key, without the key.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct KeyRecord {
    pub(crate) id: Uuid,
    #[serde(skip)]
    pub(crate) project: ProjectId,
    pub(crate) role: Role,
    /// The person that the key acts for; none for a service key.
    pub(crate) user: Option<UserName>,
    /// What it is for, in its maker's words.
    pub(crate) name: String,
    /// The key's last characters.
    pub(crate) hint: String,
    pub(crate) created_at: Timestamp,
    /// To the minute.
    pub(crate) last_used_at: Option<Timestamp>,
    pub(crate) revoked_at: Option<Timestamp>,
}

impl Store {
    /// Adds a key.
    pub(crate) async fn insert_key(&self, key: &KeyRecord, hash: KeyHash) -> Result<(), StoreError> {
        let query = sqlx::query(
            "INSERT INTO api_keys (id, project_id, hash, role, user_name, name, hint, created_at, last_used_at, revoked_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(id(key.id))
        .bind(id(key.project))
        .bind(hash.0.to_vec())
        .bind(key.role.as_str())
        .bind(key.user.as_ref().map(|user| user.as_str().to_owned()))
        .bind(clean(&key.name))
        .bind(clean(&key.hint))
        .bind(key.created_at.0)
        .bind(key.last_used_at.map(|time| time.0))
        .bind(key.revoked_at.map(|time| time.0));
        let mut change = self.begin_change("store the API key").await?;
        change.insert(query, || format!("API key {}", key.hint)).await?;
        change.commit().await
    }

    /// The project's keys, revoked ones too, newest first.
    pub(crate) async fn keys(&self, project: ProjectId) -> Result<Vec<KeyRecord>, StoreError> {
        let query = sqlx::query(
            "SELECT id, project_id, role, user_name, name, hint, created_at, last_used_at, revoked_at FROM api_keys \
             WHERE project_id = $1 ORDER BY created_at DESC, id DESC",
        )
        .bind(id(project));
        self.inner.database.rows("read the API keys", query).await?.iter().map(key).collect()
    }

    /// The key of this hash unless it is revoked. Cached; the hash is compared once more in constant time.
    pub(crate) async fn key_of_hash(&self, hash: KeyHash) -> Result<Option<KeyRecord>, StoreError> {
        self.inner.epochs.cached(|caches| &caches.keys, hash.0, self.read_key_of_hash(hash)).await
    }

    /// Revokes a key; whether there was one that wasn't revoked.
    pub(crate) async fn revoke_key(&self, project: ProjectId, key: Uuid) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "UPDATE api_keys SET revoked_at = $3 WHERE project_id = $1 AND id = $2 AND revoked_at IS NULL",
        )
        .bind(id(project))
        .bind(id(key))
        .bind(Timestamp::now().0);
        let mut change = self.begin_change("revoke the API key").await?;
        if change.execute(query).await? == 0 {
            return Ok(false);
        }
        change.commit().await?;
        Ok(true)
    }

    /// Whether any project has an admin key that isn't revoked.
    pub(crate) async fn has_admin_key(&self) -> Result<bool, StoreError> {
        let query = sqlx::query("SELECT id FROM api_keys WHERE role = $1 AND revoked_at IS NULL LIMIT 1")
            .bind(Role::Admin.as_str());
        Ok(self.inner.database.row("look for an admin key", query).await?.is_some())
    }

    /// Notes that keys were used. Begins no new epoch.
    pub(crate) async fn touch_keys(&self, used: &[(Uuid, Timestamp)]) -> Result<(), StoreError> {
        if used.is_empty() {
            return Ok(());
        }
        // In one order, so that two processes don't wait for each other crosswise.
        let mut used = used.to_vec();
        used.sort_unstable();
        let mut write = self.inner.database.begin("note the use of API keys").await?;
        for (key_id, time) in used {
            let query = sqlx::query(
                "UPDATE api_keys SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)",
            )
            .bind(id(key_id))
            .bind(time.0 - time.0.rem_euclid(MINUTE_MS));
            write.execute(query).await?;
        }
        write.commit().await
    }

    async fn read_key_of_hash(&self, hash: KeyHash) -> Result<Option<KeyRecord>, StoreError> {
        let query = sqlx::query(
            "SELECT id, project_id, hash, role, user_name, name, hint, created_at, last_used_at, revoked_at FROM api_keys \
             WHERE hash = $1 AND revoked_at IS NULL",
        )
        .bind(hash.0.to_vec());
        let Some(row) = self.inner.database.row("look up the API key", query).await? else { return Ok(None) };
        let stored = Fields::of("API key", &row).bytes("hash")?;
        if bool::from(stored.as_slice().ct_eq(&hash.0)) { key(&row).map(Some) } else { Ok(None) }
    }
}

fn key(row: &AnyRow) -> Result<KeyRecord, StoreError> {
    let fields = Fields::of("API key", row);
    Ok(KeyRecord {
        id: fields.uuid("id")?,
        project: fields.project()?,
        role: fields.parsed("role", Role::from_name)?,
        user: fields.optional_user("user_name")?,
        name: fields.text("name")?,
        hint: fields.text("hint")?,
        created_at: fields.time("created_at")?,
        last_used_at: fields.optional_time("last_used_at")?,
        revoked_at: fields.optional_time("revoked_at")?,
    })
}
