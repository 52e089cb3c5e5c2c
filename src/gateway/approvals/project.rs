//! A project's settings: who approves its calls, and where it is told of them.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_runtime::egress::policy::NetworkPolicy;
use url::{Host, Url};
use zeroize::Zeroizing;

use super::super::{Gateway, GatewayError};
use crate::identity::{Identity, ProjectId};
use crate::store::Store;
use crate::store::projects::Project;
use crate::store::webhooks::Webhook;
use crate::time::Timestamp;
use crate::vault::{Binding, Vault, random};

/// The longest URL of a webhook, in characters.
pub(crate) const MAX_URL: usize = 2000;

/// A project, with its webhook's URL.
pub(crate) struct ProjectSettings {
    pub(crate) project: Project,
    pub(crate) webhook: Option<Webhook>,
    /// What deliveries are signed with, where it has just been made: it isn't shown again.
    pub(crate) secret: Option<Zeroizing<String>>,
}

/// What of a project is to be changed; absent stays.
#[derive(Default)]
pub(crate) struct ProjectPatch {
    pub(crate) approve_own_calls: Option<bool>,
    /// `Some(None)` takes it away. A URL that is set gets a new secret each time.
    pub(crate) webhook: Option<Option<String>>,
}

impl Gateway {
    /// The caller's project.
    pub(crate) async fn project_settings(
        &self,
        identity: &Identity,
    ) -> Result<ProjectSettings, GatewayError> {
        require_admin(identity)?;
        settings(&self.inner.store, identity.project, None).await
    }

    /// Changes the caller's project.
    pub(crate) async fn change_project(
        &self,
        identity: &Identity,
        patch: ProjectPatch,
    ) -> Result<ProjectSettings, GatewayError> {
        require_admin(identity)?;
        change(&self.inner.store, &self.inner.vault, identity.project, patch).await
    }
}

/// Changes a project; for the command line too, which has no gateway.
pub(crate) async fn change(
    store: &Store,
    vault: &Vault,
    project: ProjectId,
    patch: ProjectPatch,
) -> Result<ProjectSettings, GatewayError> {
    let ProjectPatch { approve_own_calls, webhook } = patch;
    let url = match &webhook {
        Some(Some(text)) => Some(webhook_url(text)?),
        Some(None) | None => None,
    };
    let mut shown = None;
    match (&webhook, url) {
        (Some(_), Some(url)) => {
            let secret = random::bytes::<32>();
            shown = Some(Zeroizing::new(format!("whsec_{}", STANDARD.encode(*secret))));
            let write = async |sealed| {
                let webhook = Webhook { url: url.to_string(), secret: sealed, created_at: Timestamp::now() };
                store.set_webhook(project, Some(&webhook)).await
            };
            let seal = || vault.seal(&Binding::webhook(project), &*secret);
            vault.sealed_write::<_, _, GatewayError, _>(store, seal, write).await?;
        }
        (Some(_), None) => store.set_webhook(project, None).await?,
        (None, _) => {}
    }
    if let Some(approve_own_calls) = approve_own_calls {
        store.set_approve_own_calls(project, approve_own_calls).await?;
    }
    settings(store, project, shown).await
}

async fn settings(
    store: &Store,
    project: ProjectId,
    secret: Option<Zeroizing<String>>,
) -> Result<ProjectSettings, GatewayError> {
    let found = store.project(project).await?;
    let found = found.ok_or_else(|| GatewayError::NotFound(format!("project {project}")))?;
    Ok(ProjectSettings { webhook: store.webhook(project).await?, project: found, secret })
}

fn require_admin(identity: &Identity) -> Result<(), GatewayError> {
    if identity.is_admin() {
        return Ok(());
    }
    Err(GatewayError::Forbidden("only an admin's key may see and change the project's settings".to_owned()))
}

/// A URL that deliveries can go to: https, or plain http within networks that aren't public, where the operator's
/// `--allow-network` has the last word when it is dialled.
fn webhook_url(text: &str) -> Result<Url, GatewayError> {
    let refused = |why: &str| GatewayError::Unprocessable {
        code: "INVALID_WEBHOOK",
        message: format!("the webhook's URL can't be used: {why}"),
        details: None,
    };
    let url = Url::parse(text).map_err(|error| refused(&error.to_string()))?;
    if text.chars().count() > MAX_URL || !url.username().is_empty() || url.password().is_some() {
        return Err(refused("it may have no user name and no password, and 2000 characters at most"));
    }
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => Ok(url),
        ("http", Some(host)) if is_private(&host) => Ok(url),
        _ => Err(refused("it must begin with https:// (or http:// and a private address)")),
    }
}

fn is_private(host: &Host<&str>) -> bool {
    let is_refused = |address: IpAddr| NetworkPolicy::default().check(address).is_err();
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => is_refused(IpAddr::V4(*address)),
        Host::Ipv6(address) => is_refused(IpAddr::V6(*address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_https_or_private() {
        for good in [
            "https://hooks.example.com/a?b=c",
            "https://hooks.example.com:8443/",
            "http://127.0.0.1:9000/hook",
            "http://localhost/hook",
            "http://10.1.2.3/",
            "http://[fd00::1]/",
        ] {
            assert!(webhook_url(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "hooks.example.com",
            "http://hooks.example.com/",
            "http://8.8.8.8/",
            "ftp://127.0.0.1/",
            "https://ada:pw@hooks.example.com/",
            "https:///x",
            "file:///etc/passwd",
        ] {
            let refused = webhook_url(bad);
            assert!(
                matches!(refused, Err(GatewayError::Unprocessable { .. })) || bad == "https:///x",
                "{bad}"
            );
        }
        assert!(webhook_url(&format!("https://a.com/{}", "x".repeat(MAX_URL))).is_err());
    }
}
