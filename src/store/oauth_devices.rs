//! Codes that people enter on other devices: whose turn it is to ask for their tokens.

use std::time::Duration;

use super::oauth_flows::{Flow, flow_of};
use super::rows::{clean, stored_count};
use super::{Store, StoreError};
use crate::time::Timestamp;

impl Store {
    /// Up to `limit` consents on other devices that are to be asked for now, each of which is this process's alone for so
    /// long.
    pub(crate) async fn take_device_polls(
        &self,
        now: Timestamp,
        patience: Duration,
        limit: u32,
    ) -> Result<Vec<Flow>, StoreError> {
        let due = sqlx::query(
            "SELECT state_hash, project_id, connection_id, user_name, kind, app, scopes, redirect_uri, callback_url, \
             key_id, nonce, ciphertext, browser_hash, poll_at, poll_interval_ms, created_at, expires_at, used_at \
             FROM oauth_flows WHERE kind = 'device' AND used_at IS NULL AND poll_at <= $1 AND expires_at > $2 \
             ORDER BY poll_at LIMIT $3",
        )
        .bind(now.0)
        .bind(now.0)
        .bind(i64::from(limit));
        let rows = self.inner.database.rows("read the device codes to ask for", due).await?;
        let mut taken = Vec::with_capacity(rows.len());
        for row in &rows {
            let flow = flow_of(row)?;
            let claim =
                sqlx::query("UPDATE oauth_flows SET poll_at = $1 WHERE state_hash = $2 AND poll_at = $3")
                    .bind(now.plus(patience).0)
                    .bind(clean(&flow.state_hash))
                    .bind(flow.poll_at.map(|time| time.0));
            if self.claim("take a device code to ask for", claim).await? {
                taken.push(flow);
            }
        }
        Ok(taken)
    }

    /// Notes when a device code is asked for again.
    pub(crate) async fn poll_later(
        &self,
        flow: &Flow,
        poll_at: Timestamp,
        interval: Duration,
    ) -> Result<(), StoreError> {
        let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        let query =
            sqlx::query("UPDATE oauth_flows SET poll_at = $1, poll_interval_ms = $2 WHERE state_hash = $3")
                .bind(poll_at.0)
                .bind(stored_count(interval))
                .bind(clean(&flow.state_hash));
        self.claim("note when a device code is asked for", query).await.map(drop)
    }
}
