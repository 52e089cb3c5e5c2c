//! Where projects are told of their approvals, and what is still to be told: an outbox, filled with what it tells of.

use std::time::Duration;

use serde_json::json;
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::approvals::Approval;
use super::database::{Query, Write};
use super::rows::{Fields, clean, id};
use super::{Store, StoreError};
use crate::identity::ProjectId;
use crate::time::Timestamp;
use crate::vault::Sealed;

/// Where a project is told of its approvals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Webhook {
    pub(crate) url: String,
    /// What deliveries are signed with.
    pub(crate) secret: Sealed,
    pub(crate) created_at: Timestamp,
}

/// What a project is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A call waits for a person.
    Created,
    /// An approval has its final status.
    Decided,
}

impl Event {
    fn as_str(self) -> &'static str {
        match self {
            Self::Created => "approval.created",
            Self::Decided => "approval.decided",
        }
    }
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) project: ProjectId,
    pub(crate) id: Uuid,
    /// The body, as it is sent and signed each time.
    pub(crate) payload: String,
    pub(crate) attempts: u32,
    /// When the next attempt is due.
    pub(crate) next_at: Timestamp,
    pub(crate) created_at: Timestamp,
}

/// Leaves an event to be told, as a part of the transaction that it tells of; nothing where the project has no webhook.
pub(super) async fn leave(
    write: &mut Write<'_>,
    event: Event,
    approval: &Approval,
    now: Timestamp,
) -> Result<(), StoreError> {
    let query = sqlx::query(
        "INSERT INTO webhook_deliveries (project_id, id, payload, attempts, next_at, created_at) \
         SELECT project_id, $1, $2, 0, $3, $4 FROM approval_webhooks WHERE project_id = $5",
    )
    .bind(id(Uuid::now_v7()))
    .bind(clean(&payload(event, approval, now)))
    .bind(now.0)
    .bind(now.0)
    .bind(id(approval.project));
    write.execute(query).await.map(drop)
}

/// What an event says. Neither arguments nor results: whoever may see them gets the approval by its id.
fn payload(event: Event, approval: &Approval, now: Timestamp) -> String {
    let connection = approval.connection.as_ref();
    json!({
        "type": event.as_str(),
        "timestamp": now,
        "data": {
            "id": approval.id,
            "status": approval.status,
            "integration": approval.integration,
            "operation": approval.operation,
            "operation_type": approval.operation_type,
            "connection": connection.map(|connection| &connection.slug),
            "account": connection.and_then(|connection| connection.account.as_ref()),
            "user": approval.asker.user,
            "agent": approval.asker.agent,
            "created_at": approval.created_at,
            "expires_at": approval.expires_at,
            "decided_at": approval.decision.as_ref().map(|decision| decision.at),
            "decided_by": approval.decision.as_ref().and_then(|decision| decision.user.as_ref()),
            "reason": approval.decision.as_ref().and_then(|decision| decision.reason.as_ref()),
        },
    })
    .to_string()
}

impl Store {
    /// The project's webhook.
    pub(crate) async fn webhook(&self, project: ProjectId) -> Result<Option<Webhook>, StoreError> {
        let query = sqlx::query(
            "SELECT url, key_id, nonce, ciphertext, created_at FROM approval_webhooks WHERE project_id = $1",
        )
        .bind(id(project));
        let row = self.inner.database.row("read the webhook", query).await?;
        row.map(|row| {
            let fields = Fields::of("webhook", &row);
            Ok(Webhook {
                url: fields.text("url")?,
                secret: fields.sealed()?,
                created_at: fields.time("created_at")?,
            })
        })
        .transpose()
    }

    /// Sets the project's webhook, or takes it away, and with it what was still to be told. [`StoreError::KeyRotated`] if its
    /// secret is under a replaced key.
    pub(crate) async fn set_webhook(
        &self,
        project: ProjectId,
        webhook: Option<&Webhook>,
    ) -> Result<(), StoreError> {
        let mut write = self.inner.database.begin("store the webhook").await?;
        write.lock_master_key(webhook.map(|webhook| &webhook.secret)).await?;
        match webhook {
            Some(webhook) => drop(write.execute(replacement(project, webhook)).await?),
            None => {
                for table in [
                    "DELETE FROM approval_webhooks WHERE project_id = $1",
                    "DELETE FROM webhook_deliveries WHERE project_id = $1",
                ] {
                    write.execute(sqlx::query(table).bind(id(project))).await?;
                }
            }
        }
        write.commit().await
    }

    /// Up to `limit` deliveries that are due, each of which is then this process's for so long.
    pub(crate) async fn take_deliveries(
        &self,
        now: Timestamp,
        patience: Duration,
        limit: u32,
    ) -> Result<Vec<Delivery>, StoreError> {
        let due = sqlx::query(
            "SELECT project_id, id, payload, attempts, next_at, created_at FROM webhook_deliveries \
             WHERE next_at <= $1 ORDER BY next_at LIMIT $2",
        )
        .bind(now.0)
        .bind(i64::from(limit));
        let rows = self.inner.database.rows("read what webhooks are to be told", due).await?;
        let mut taken = Vec::with_capacity(rows.len());
        for row in &rows {
            let delivery = delivery_of(row)?;
            let next_at = now.plus(patience);
            let claim = sqlx::query(
                "UPDATE webhook_deliveries SET next_at = $1 WHERE project_id = $2 AND id = $3 AND next_at = $4",
            )
            .bind(next_at.0)
            .bind(id(delivery.project))
            .bind(id(delivery.id))
            .bind(delivery.next_at.0);
            if self.write_delivery("take what a webhook is to be told", claim).await? {
                taken.push(Delivery { next_at, ..delivery });
            }
        }
        Ok(taken)
    }

    /// Notes an attempt that failed.
    pub(crate) async fn postpone_delivery(
        &self,
        delivery: &Delivery,
        next_at: Timestamp,
        error: &str,
    ) -> Result<(), StoreError> {
        let query = sqlx::query(
            "UPDATE webhook_deliveries SET attempts = attempts + 1, next_at = $1, last_error = $2 \
             WHERE project_id = $3 AND id = $4",
        )
        .bind(next_at.0)
        .bind(clean(error))
        .bind(id(delivery.project))
        .bind(id(delivery.id));
        self.write_delivery("note that a webhook wasn't told", query).await.map(drop)
    }

    /// Forgets what was told, or given up.
    pub(crate) async fn delete_delivery(&self, delivery: &Delivery) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM webhook_deliveries WHERE project_id = $1 AND id = $2")
            .bind(id(delivery.project))
            .bind(id(delivery.id));
        self.write_delivery("forget what a webhook was told", query).await.map(drop)
    }

    /// Runs a statement on one row; whether it changed it.
    async fn write_delivery(&self, operation: &'static str, query: Query) -> Result<bool, StoreError> {
        let mut write = self.inner.database.begin(operation).await?;
        let n_changed = write.execute(query).await?;
        write.commit().await?;
        Ok(n_changed == 1)
    }
}

fn replacement(project: ProjectId, webhook: &Webhook) -> Query {
    sqlx::query(
        "INSERT INTO approval_webhooks (project_id, url, key_id, nonce, ciphertext, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (project_id) DO UPDATE SET url = excluded.url, \
         key_id = excluded.key_id, nonce = excluded.nonce, ciphertext = excluded.ciphertext, \
         created_at = excluded.created_at",
    )
    .bind(id(project))
    .bind(clean(&webhook.url))
    .bind(clean(&webhook.secret.key_id))
    .bind(webhook.secret.nonce.to_vec())
    .bind(webhook.secret.ciphertext.clone())
    .bind(webhook.created_at.0)
}

fn delivery_of(row: &AnyRow) -> Result<Delivery, StoreError> {
    let fields = Fields::of("delivery", row);
    Ok(Delivery {
        project: fields.project()?,
        id: fields.uuid("id")?,
        payload: fields.text("payload")?,
        attempts: fields.count("attempts")?,
        next_at: fields.time("next_at")?,
        created_at: fields.time("created_at")?,
    })
}
