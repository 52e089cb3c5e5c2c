//! Workspace secrets, for admins: set, masked, deleted; never read back.

#[cfg(test)]
mod tests;

use serde_json::json;

use super::keys::require_admin;
use super::{Gateway, GatewayError};
use crate::identity::Identity;
use crate::store::secrets::SecretRecord;
use crate::vault::Binding;

/// The longest value, in bytes.
const MAX_VALUE: usize = 65_536;

/// What stands for a value's hidden part.
const DOTS: &str = "••••";

/// From this length on, in characters, the last four of a value are shown.
const MIN_SHOWN: usize = 12;

impl Gateway {
    /// Names and masks, by name.
    pub(crate) async fn secrets(&self, identity: &Identity) -> Result<Vec<SecretRecord>, GatewayError> {
        require_admin(identity)?;
        Ok(self.inner.store.secrets(identity.project).await?)
    }

    /// Sets a secret; whether it is new. A name matches `^[A-Za-z][A-Za-z0-9_.-]{0,99}$`, a value has 1 to 65536 bytes.
    pub(crate) async fn put_secret(
        &self,
        identity: &Identity,
        name: &str,
        value: &str,
    ) -> Result<(SecretRecord, bool), GatewayError> {
        require_admin(identity)?;
        check_name(name)?;
        check_value(value)?;
        let (store, vault) = (&self.inner.store, &self.inner.vault);
        let binding = Binding::secret(identity.project, name);
        let mask = &mask(value);
        vault
            .sealed_write(
                store,
                || vault.seal(&binding, value.as_bytes()),
                async |sealed| store.put_secret(identity.project, name, mask, &sealed).await,
            )
            .await
    }

    /// Deletes a secret that no connection refers to; a conflict that names them otherwise.
    pub(crate) async fn delete_secret(&self, identity: &Identity, name: &str) -> Result<(), GatewayError> {
        require_admin(identity)?;
        let store = &self.inner.store;
        let connections = store.users_of_secret(identity.project, name).await?;
        if !connections.is_empty() {
            return Err(GatewayError::Conflict {
                code: "SECRET_IN_USE",
                message: format!("connections read the secret {name:?}: {}", connections.join(", ")),
                details: Some(json!({"connections": connections})),
            });
        }
        let apps = store.oauth_apps_of_secret(identity.project, name).await?;
        if !apps.is_empty() {
            return Err(GatewayError::Conflict {
                code: "SECRET_IN_USE",
                message: format!("OAuth2 apps read the secret {name:?}: {}", apps.join(", ")),
                details: Some(json!({"oauth_apps": apps})),
            });
        }
        if store.delete_secret(identity.project, name).await? {
            Ok(())
        } else {
            Err(GatewayError::NotFound(format!("secret {name:?}")))
        }
    }
}

/// Whether a secret can have this name.
pub(super) fn is_secret_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

fn check_name(name: &str) -> Result<(), GatewayError> {
    if is_secret_name(name) {
        return Ok(());
    }
    Err(GatewayError::Invalid {
        code: "INVALID_REQUEST",
        message: "a secret's name begins with a letter and has 1 to 100 characters: letters, digits, `_`, `.` and `-`"
            .to_owned(),
        details: None,
    })
}

fn check_value(value: &str) -> Result<(), GatewayError> {
    if (1..=MAX_VALUE).contains(&value.len()) {
        return Ok(());
    }
    Err(GatewayError::Unprocessable {
        code: "VALIDATION_FAILED",
        message: format!("a secret's value has 1 to {MAX_VALUE} bytes; this one has {}", value.len()),
        details: None,
    })
}

/// What may be shown of a value: of a short one, nothing.
pub(super) fn mask(value: &str) -> String {
    let n_characters = value.chars().count();
    let n_hidden = if n_characters < MIN_SHOWN { n_characters } else { n_characters - 4 };
    DOTS.chars().chain(value.chars().skip(n_hidden)).collect()
}
