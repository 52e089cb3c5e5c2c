//! `portcullis projects set`: who approves a project's calls, and where it is told of them.

use clap::{ArgAction, Args};
use serde_json::json;

use crate::cli::keys::direct::{DirectFlags, project_named};
use crate::cli::output::{Console, plain};
use crate::error::{Failure, FailureKind, chain};
use crate::gateway::GatewayError;
use crate::gateway::approvals::project::{ProjectPatch, change};

/// Change a project's settings; what isn't named stays
#[derive(Args)]
pub(super) struct Set {
    /// Its name
    name: String,
    /// Whether people may approve the calls that were asked for on their own behalf
    #[arg(long, value_name = "BOOL", action = ArgAction::Set)]
    approve_own_calls: Option<bool>,
    /// Where the project is told of its approvals, signed with a new secret that is shown once; `none` takes it away
    #[arg(long, value_name = "URL")]
    approval_webhook: Option<String>,
    #[command(flatten)]
    pub(super) direct: DirectFlags,
}

impl Set {
    pub(super) fn run(&self, console: &mut Console) -> Result<(), Failure> {
        if self.approve_own_calls.is_none() && self.approval_webhook.is_none() {
            return Err(Failure::usage("name what to set: --approve-own-calls or --approval-webhook"));
        }
        let webhook = self.approval_webhook.clone().map(|url| (url != "none").then_some(url));
        let settings = self.direct.with_store(async |store, vault| {
            let project = project_named(store, &self.name).await?;
            let patch = ProjectPatch { approve_own_calls: self.approve_own_calls, webhook: webhook.clone() };
            change(store, vault, project.id, patch).await.map_err(|error| match error {
                GatewayError::Unprocessable { message, .. } => Failure::usage(message),
                error => Failure::new(FailureKind::Store, chain(&error)),
            })
        })?;
        let url = settings.webhook.as_ref().map(|webhook| &webhook.url);
        let secret = settings.secret.as_ref().map(|secret| secret.as_str());
        if self.direct.json {
            let webhook = url.map(|url| json!({"url": url, "secret": secret}));
            console.print_json(&json!({
                "id": settings.project.id,
                "name": settings.project.name,
                "approve_own_calls": settings.project.approve_own_calls,
                "approval_webhook": webhook,
            }));
            return Ok(());
        }
        let who = match settings.project.approve_own_calls {
            true => "admins, and people for calls on their own behalf",
            false => "admins alone",
        };
        console.print(&plain(&format!("Project {:?}: calls are approved by {who}.", self.name)));
        if let Some(url) = url {
            console.print(&plain(&format!("It is told of its approvals at {url}.")));
        }
        if let Some(secret) = secret {
            console.print(&plain(&format!("The webhook's secret is shown this once, so keep it: {secret}")));
        }
        Ok(())
    }
}
