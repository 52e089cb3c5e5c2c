//! OAuth2 apps: the clients that a project has at integrations' authorization servers.

use std::collections::BTreeMap;

use portcullis_runtime::manifest::name::Slug;
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;

use super::connections::FieldContent;
use super::database::Query;
use super::rows::{Fields, Statement, clean, clean_optional, id};
use super::{Store, StoreError};
use crate::identity::ProjectId;
use crate::time::Timestamp;
use crate::vault::Sealed;

/// How a client proves to the token endpoint which one it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TokenAuth {
    /// By HTTP's basic authentication.
    #[default]
    Basic,
    /// By fields of the request's body.
    Post,
    /// Not at all: a public client.
    None,
}

impl TokenAuth {
    /// The way as it is stored and shown.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Post => "post",
            Self::None => "none",
        }
    }
}

/// A text of an app's that may be kept elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AppText {
    /// The text itself.
    Plain(String),
    /// The name of the workspace secret that holds it.
    Secret(String),
}

/// A client of an authorization server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OAuthApp {
    pub(crate) project: ProjectId,
    pub(crate) integration: Slug,
    /// Unique among the integration's.
    pub(crate) name: String,
    pub(crate) client_id: AppText,
    /// None for a public client.
    pub(crate) client_secret: Option<FieldContent>,
    /// What may be shown of the secret, where it is kept here.
    pub(crate) mask: Option<String>,
    pub(crate) token_auth: TokenAuth,
    /// Parameters that each authorization request has besides ours.
    pub(crate) authorize_params: BTreeMap<String, String>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

const SELECT: &str = "SELECT project_id, integration, name, client_id, client_id_secret_name, token_auth, authorize_params, mask, \
                      key_id, nonce, ciphertext, secret_name, created_at, updated_at FROM oauth_apps \
                      WHERE project_id = ";

impl Store {
    /// Sets an app; as it is stored, and whether it is new. [`StoreError::KeyRotated`] if its secret is sealed under a
    /// replaced key.
    pub(crate) async fn put_oauth_app(&self, app: &OAuthApp) -> Result<(OAuthApp, bool), StoreError> {
        let mut change = self.begin_change("store the OAuth2 app").await?;
        change.check_master_key(sealed_of(app)).await?;
        let found = sqlx::query(
            "SELECT created_at FROM oauth_apps WHERE project_id = $1 AND integration = $2 AND name = $3",
        )
        .bind(id(app.project))
        .bind(app.integration.as_str().to_owned())
        .bind(clean(&app.name));
        let found = change.row(found).await?;
        let created_at =
            found.as_ref().map(|row| Fields::of("OAuth2 app", row).time("created_at")).transpose()?;
        let stored = OAuthApp { created_at: created_at.unwrap_or(app.created_at), ..app.clone() };
        change.execute(upsert(&stored)).await?;
        change.commit().await?;
        Ok((stored, found.is_none()))
    }

    /// An integration's apps, by name.
    pub(crate) async fn oauth_apps(
        &self,
        project: ProjectId,
        integration: &str,
    ) -> Result<Vec<OAuthApp>, StoreError> {
        let mut select = Statement::new(SELECT);
        select.bind(id(project)).push(" AND integration = ").bind(clean(integration)).push(" ORDER BY name");
        self.inner.database.rows("read the OAuth2 apps", select.query()).await?.iter().map(app_of).collect()
    }

    /// One of them.
    pub(crate) async fn oauth_app(
        &self,
        project: ProjectId,
        integration: &str,
        name: &str,
    ) -> Result<Option<OAuthApp>, StoreError> {
        let mut select = Statement::new(SELECT);
        select.bind(id(project)).push(" AND integration = ").bind(clean(integration));
        select.push(" AND name = ").bind(clean(name));
        let row = self.inner.database.row("read the OAuth2 app", select.query()).await?;
        row.as_ref().map(app_of).transpose()
    }

    /// Deletes an app; whether there was one.
    pub(crate) async fn delete_oauth_app(
        &self,
        project: ProjectId,
        integration: &str,
        name: &str,
    ) -> Result<bool, StoreError> {
        let query =
            sqlx::query("DELETE FROM oauth_apps WHERE project_id = $1 AND integration = $2 AND name = $3")
                .bind(id(project))
                .bind(clean(integration))
                .bind(clean(name));
        let mut change = self.begin_change("delete the OAuth2 app").await?;
        if change.execute(query).await? == 0 {
            return Ok(false);
        }
        change.commit().await?;
        Ok(true)
    }

    /// The apps, as `integration/name`, that read a workspace secret.
    pub(crate) async fn oauth_apps_of_secret(
        &self,
        project: ProjectId,
        secret: &str,
    ) -> Result<Vec<String>, StoreError> {
        let query = sqlx::query(
            "SELECT integration, name FROM oauth_apps \
             WHERE project_id = $1 AND (secret_name = $2 OR client_id_secret_name = $3) ORDER BY integration, name",
        )
        .bind(id(project))
        .bind(clean(secret))
        .bind(clean(secret));
        let rows = self.inner.database.rows("look for users of the secret", query).await?;
        let place = |row: &AnyRow| {
            let fields = Fields::of("OAuth2 app", row);
            Ok(format!("{}/{}", fields.text("integration")?, fields.text("name")?))
        };
        rows.iter().map(place).collect()
    }
}

fn sealed_of(app: &OAuthApp) -> Option<&Sealed> {
    match &app.client_secret {
        Some(FieldContent::Sealed(sealed)) => Some(sealed),
        _ => None,
    }
}

fn upsert(app: &OAuthApp) -> Query {
    let (client_id, client_id_secret) = match &app.client_id {
        AppText::Plain(text) => (Some(clean(text)), None),
        AppText::Secret(name) => (None, Some(clean(name))),
    };
    let secret_name = match &app.client_secret {
        Some(FieldContent::Secret(name)) => Some(clean(name)),
        _ => None,
    };
    let sealed = sealed_of(app);
    // An object of texts can always be written.
    let params = serde_json::to_string(&app.authorize_params).unwrap_or_default();
    sqlx::query(
        "INSERT INTO oauth_apps (project_id, integration, name, client_id, client_id_secret_name, token_auth, \
         authorize_params, mask, key_id, nonce, ciphertext, secret_name, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
         ON CONFLICT (project_id, integration, name) DO UPDATE SET client_id = excluded.client_id, \
         client_id_secret_name = excluded.client_id_secret_name, token_auth = excluded.token_auth, \
         authorize_params = excluded.authorize_params, mask = excluded.mask, key_id = excluded.key_id, \
         nonce = excluded.nonce, ciphertext = excluded.ciphertext, secret_name = excluded.secret_name, \
         updated_at = excluded.updated_at",
    )
    .bind(id(app.project))
    .bind(app.integration.as_str().to_owned())
    .bind(clean(&app.name))
    .bind(client_id)
    .bind(client_id_secret)
    .bind(app.token_auth.as_str())
    .bind(clean(&params))
    .bind(clean_optional(app.mask.as_deref()))
    .bind(sealed.map(|sealed| clean(&sealed.key_id)))
    .bind(sealed.map(|sealed| sealed.nonce.to_vec()))
    .bind(sealed.map(|sealed| sealed.ciphertext.clone()))
    .bind(secret_name)
    .bind(app.created_at.0)
    .bind(app.updated_at.0)
}

fn app_of(row: &AnyRow) -> Result<OAuthApp, StoreError> {
    let fields = Fields::of("OAuth2 app", row);
    let client_id = match fields.optional_text("client_id_secret_name")? {
        Some(name) => AppText::Secret(name),
        None => AppText::Plain(fields.text("client_id")?),
    };
    let client_secret = match (fields.optional_text("secret_name")?, fields.optional_text("key_id")?) {
        (Some(name), _) => Some(FieldContent::Secret(name)),
        (None, Some(_)) => Some(FieldContent::Sealed(fields.sealed()?)),
        (None, None) => None,
    };
    Ok(OAuthApp {
        project: fields.project()?,
        integration: fields.slug("integration")?,
        name: fields.text("name")?,
        client_id,
        client_secret,
        mask: fields.optional_text("mask")?,
        token_auth: fields.word("token_auth")?,
        authorize_params: fields.json("authorize_params")?,
        created_at: fields.time("created_at")?,
        updated_at: fields.time("updated_at")?,
    })
}
