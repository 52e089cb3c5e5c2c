//! Integrations, as a project's people see and change them.

use std::sync::Arc;

use serde_json::json;

use super::{Gateway, GatewayError};
use crate::identity::Identity;
use crate::integrations::registry::{CheckReport, InstallError, UninstallError};
use crate::integrations::upload::Upload;
use crate::integrations::{Integration, Problem};

impl Gateway {
    /// The project's integrations, by slug; broken ones too. For every role.
    pub(crate) async fn integrations(
        &self,
        identity: &Identity,
    ) -> Result<Arc<Vec<Arc<Integration>>>, GatewayError> {
        Ok(self.inner.registry.integrations(identity.project).await?)
    }

    /// One of them.
    pub(crate) async fn integration(
        &self,
        identity: &Identity,
        slug: &str,
    ) -> Result<Arc<Integration>, GatewayError> {
        let found = self.inner.registry.integration(identity.project, slug).await?;
        found.ok_or_else(|| GatewayError::NotFound(format!("integration {slug:?}")))
    }

    /// Validates an upload. For every role.
    pub(crate) async fn check_upload(
        &self,
        _identity: &Identity,
        upload: Upload,
    ) -> Result<CheckReport, GatewayError> {
        Ok(self.inner.registry.check(upload).await?)
    }

    /// Installs an upload. For admins.
    pub(crate) async fn install(
        &self,
        identity: &Identity,
        upload: Upload,
        force: bool,
    ) -> Result<Arc<Integration>, GatewayError> {
        must_be_admin(identity)?;
        Ok(self.inner.registry.install(identity.project, upload, force).await?)
    }

    /// Removes an upload. For admins.
    pub(crate) async fn uninstall(&self, identity: &Identity, slug: &str) -> Result<(), GatewayError> {
        must_be_admin(identity)?;
        Ok(self.inner.registry.uninstall(identity.project, slug).await?)
    }
}

fn must_be_admin(identity: &Identity) -> Result<(), GatewayError> {
    match identity.is_admin() {
        true => Ok(()),
        false => Err(GatewayError::Forbidden(
            "integrations are installed and removed with an admin key".to_owned(),
        )),
    }
}

impl From<InstallError> for GatewayError {
    fn from(error: InstallError) -> Self {
        let message = error.to_string();
        match error {
            InstallError::Invalid { problem: Problem { diagnostics, .. }, is_too_large } => {
                let details = Some(json!({"diagnostics": diagnostics}));
                match is_too_large {
                    true => Self::TooLarge { message, details: None },
                    false => Self::Unprocessable { code: "INVALID_PACKAGE", message, details },
                }
            }
            InstallError::Drift(_) => Self::Conflict { code: "VERSION_DRIFT", message, details: None },
            InstallError::Clash(_) => Self::Conflict { code: "SLUG_CLASH", message, details: None },
            InstallError::Store(error) => error.into(),
            InstallError::Sandbox(_) => Self::Unavailable(message),
        }
    }
}

impl From<UninstallError> for GatewayError {
    fn from(error: UninstallError) -> Self {
        match error {
            UninstallError::NotFound(slug) => Self::NotFound(format!("integration {slug:?}")),
            UninstallError::Folder(message) => Self::Conflict { code: "CONFLICT", message, details: None },
            UninstallError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::identity::{ProjectId, Role};

    #[test]
    fn only_admins_install_and_remove() {
        for role in [Role::Admin, Role::User, Role::Service] {
            let identity = Identity {
                project: ProjectId(Uuid::nil()),
                key: Uuid::nil(),
                role,
                user: None,
                on_behalf: false,
            };
            let allowed = must_be_admin(&identity);
            assert_eq!(allowed.is_ok(), role == Role::Admin, "{role:?}: {allowed:?}");
        }
    }

    #[test]
    fn each_refusal_of_an_upload_has_its_kind() {
        let invalid = |is_too_large| {
            let problem = Problem { message: "no".to_owned(), diagnostics: Vec::new() };
            GatewayError::from(InstallError::Invalid { problem, is_too_large })
        };
        assert!(matches!(
            invalid(false),
            GatewayError::Unprocessable { code: "INVALID_PACKAGE", details: Some(_), .. }
        ));
        assert!(matches!(invalid(true), GatewayError::TooLarge { .. }));
        let drift = InstallError::Drift("d".to_owned()).into();
        assert!(matches!(drift, GatewayError::Conflict { code: "VERSION_DRIFT", .. }));
        let clash = InstallError::Clash("c".to_owned()).into();
        assert!(matches!(clash, GatewayError::Conflict { code: "SLUG_CLASH", .. }));
        let sandbox = InstallError::Sandbox("s".to_owned()).into();
        assert!(matches!(sandbox, GatewayError::Unavailable(_)));
        let folder = UninstallError::Folder("f".to_owned()).into();
        assert!(matches!(folder, GatewayError::Conflict { code: "CONFLICT", .. }));
    }
}
