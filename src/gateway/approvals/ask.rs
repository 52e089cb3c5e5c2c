//! Asking for an approval: the call is stored before its caller is answered.

use std::time::Duration;

use portcullis_runtime::manifest::OperationType;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::call::{RequestContext, ToolError, shown_arguments};
use super::super::names::tool_slug;
use super::super::resolve::Target;
use super::super::{Gateway, GatewayError};
use super::hash::{call_hash, fingerprint};
use crate::identity::Identity;
use crate::store::approvals::{Approval, ApprovalField, ApprovalStatus, Asked, AskedConnection, Asker};
use crate::time::Timestamp;
use crate::vault::Binding;

/// How long a person has.
const EXPIRES_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);
/// The largest arguments that a person is shown, in bytes of JSON: nobody reads more, and all of it must be shown.
const MAX_ARGUMENTS: usize = 256 * 1024;
/// Calls of a project that may wait at a time.
const MAX_PENDING: u64 = 10_000;

impl Gateway {
    /// Leaves a call to be approved, or finds the same one waiting. An inner error is one of this call alone.
    pub(in crate::gateway) async fn ask_for_approval(
        &self,
        identity: &Identity,
        context: &RequestContext,
        target: &Target,
        arguments: &Value,
    ) -> Result<Result<Approval, ToolError>, GatewayError> {
        let connection = target.connection.as_ref().ok().and_then(Option::as_ref);
        let text = arguments.to_string();
        if text.len() > MAX_ARGUMENTS {
            return Ok(Err(too_large(text.len())));
        }
        let Some(redactor) = self.redactor_of(target).await else {
            let message = "the connection's credentials can't be read, and so not kept out of what a person is shown: give \
                           them anew";
            return Ok(Err(ToolError::new("CONNECTION_INACTIVE", message)));
        };
        let asker = Asker {
            user: identity.user.clone(),
            key: identity.key,
            role: identity.role,
            agent: context.agent.clone(),
        };
        let (connector, operation) = (&target.served.connector, target.operation());
        let now = Timestamp::now();
        let approval = Approval {
            project: identity.project,
            id: Uuid::now_v7(),
            status: ApprovalStatus::Pending,
            asker,
            integration: connector.slug().to_owned(),
            operation: operation.name.as_str().to_owned(),
            operation_type: match operation.operation_type {
                OperationType::Read => "read".to_owned(),
                OperationType::Write => "write".to_owned(),
            },
            connection: connection.map(|connection| AskedConnection {
                id: connection.id,
                slug: connection.slug.to_string(),
                account: connection.identity.clone(),
            }),
            connector_version: connector.manifest().version,
            connector_digest: connector.digest().to_owned(),
            hash: call_hash(connector, operation.name.as_str(), connection, arguments),
            arguments: shown_arguments(arguments.clone(), &redactor),
            created_at: now,
            expires_at: now.plus(EXPIRES_AFTER),
            decision: None,
            ended_at: None,
            execution: None,
            code: None,
        };
        self.store_asked(approval, &text).await
    }

    async fn store_asked(
        &self,
        approval: Approval,
        arguments: &str,
    ) -> Result<Result<Approval, ToolError>, GatewayError> {
        let fingerprint = fingerprint(&approval.hash, &approval.asker);
        let owner = approval.id.to_string();
        let binding = Binding::approval(approval.project, &owner, ApprovalField::Arguments.as_str());
        let (store, vault) = (&self.inner.store, &self.inner.vault);
        let asked = vault
            .sealed_write::<_, _, GatewayError, _>(
                store,
                || vault.seal(&binding, arguments.as_bytes()),
                async |sealed| store.ask(&approval, &fingerprint, &sealed, MAX_PENDING).await,
            )
            .await?;
        Ok(match asked {
            Asked::New => {
                self.note_approval(&approval);
                Ok(approval)
            }
            Asked::Waiting(waiting) => Ok(*waiting),
            Asked::TooMany => Err(too_many()),
        })
    }
}

/// What a caller is told whose call waits for a person.
pub(crate) fn approval_required(approval: &Approval) -> Value {
    let Approval { integration, operation, .. } = approval;
    let why =
        if approval.operation_type == "write" { "it changes something" } else { "that is required of it" };
    let connection = approval.connection.as_ref();
    json!({
        "status": "approval_required",
        "approval_id": approval.id,
        "tool": tool_slug(integration, operation),
        "connection": connection.map(|connection| &connection.slug),
        "account": connection.and_then(|connection| connection.account.as_ref()),
        "expires_at": approval.expires_at,
        "message": format!(
            "a person must approve this call of {integration}'s operation {operation}, since {why}. Nothing was sent yet. Tell \
             the user that it waits for approval; once approved it runs by itself, once. Don't call it again to make it run: \
             the same call is answered with this same approval as long as it waits"
        ),
    })
}

fn too_large(n_bytes: usize) -> ToolError {
    let message = format!(
        "a person must approve this call, and its arguments have {n_bytes} bytes; a person can be shown {MAX_ARGUMENTS} at \
         most. Call with less at a time"
    );
    ToolError::new("LIMIT_EXCEEDED", message)
        .with(json!({"limit": "approval_arguments", "value": MAX_ARGUMENTS}))
}

fn too_many() -> ToolError {
    let message =
        format!("{MAX_PENDING} calls of the project wait for approval already, its most: decide some first");
    ToolError::new("LIMIT_EXCEEDED", message)
        .with(json!({"limit": "pending_approvals", "value": MAX_PENDING}))
        .passing()
}
