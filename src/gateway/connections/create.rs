//! Making connections: validated as a whole, tested, and only then stored.

use std::collections::{BTreeMap, HashSet};

use portcullis_runtime::manifest::AuthMethod;
use portcullis_runtime::manifest::name::Slug;
use uuid::Uuid;

use super::super::credentials::Opened;
use super::super::oauth::connect::OAuthStart;
use super::validate::Problems;
use super::{Connected, Gateway, GatewayError, GivenCredential, NewConnection, conflict, slug};
use crate::identity::{Identity, ProjectId, UserName};
use crate::store::StoreError;
use crate::store::connections::{Connection, ConnectionStatus, Viewer};
use crate::store::oauth_flows::Flow;
use crate::store::oauth_grants::Grant;
use crate::time::Timestamp;

/// How often a derived slug is tried anew after others took it at the same moment.
const SLUG_ATTEMPTS: usize = 100;

impl Gateway {
    /// Tests and stores a connection; where the test fails nothing is stored. One of mode oauth that somebody must consent to is
    /// stored as PENDING, with the consent that it waits for.
    pub(crate) async fn create_connection(
        &self,
        identity: &Identity,
        new: NewConnection,
    ) -> Result<Connected, GatewayError> {
        let owner = acting_user(identity)?;
        let served = self.served(identity.project, &new.integration).await?;
        refuse_references(identity, &new.credentials)?;
        let integration = Slug::parse(&new.integration)
            .map_err(|_| GatewayError::NotFound(format!("integration {}", new.integration)))?;

        let mut problems = Problems::default();
        let manifest = served.connector.manifest();
        problems.provider(new.provider.as_deref());
        problems.mode(manifest, new.mode);
        let slug = given_slug(&mut problems, new.slug.as_deref());
        problems.name(&new.name);
        new.description.iter().for_each(|text| problems.description(text));
        new.callback_url.iter().for_each(|url| problems.callback(&self.inner.config, url));
        problems.oauth(&new);
        problems.credentials(manifest, &new.credentials);
        problems.config(&new.config);
        let mut opened = self.opened(identity.project, &new.credentials, &mut problems).await?;
        opened.config = new.config.clone();
        if new.mode != AuthMethod::OAuth2 && manifest.supported_auth_methods.contains(&new.mode) {
            problems.missing(manifest, new.mode, &opened, Some(&new.credentials));
        }
        problems.settings(manifest, &opened);
        problems.into_result()?;
        if let Some(slug) = &slug {
            self.check_slug(identity.project, slug, &integration).await?;
        }

        let now = Timestamp::now();
        let mut connection = Connection {
            id: Uuid::now_v7(),
            project: identity.project,
            owner,
            slug: slug.clone().unwrap_or_else(|| integration.clone()),
            integration,
            mode: new.mode,
            status: ConnectionStatus::Pending,
            name: new.name.clone(),
            description: new.description.clone(),
            last_error: None,
            identity: None,
            scopes: None,
            expires_at: None,
            visibility: new.visibility,
            created_at: now,
            updated_at: now,
        };
        let oauth = if new.mode == AuthMethod::OAuth2 {
            Some(self.oauth_start(identity, &mut connection, served, opened, &new).await?)
        } else {
            let passed = self.try_out(identity.project, served, opened).await?.into_passed()?;
            connection.status = ConnectionStatus::Active;
            connection.identity = passed.identity;
            None
        };
        let connection = match slug {
            Some(_) if self.insert(&connection, &new, oauth.as_ref()).await? => connection,
            Some(slug) => return Err(slug_taken(&slug)),
            None => self.insert_with_derived_slug(connection, &new, oauth.as_ref()).await?,
        };
        Ok(Connected {
            connection,
            redirect_url: oauth.as_ref().and_then(OAuthStart::redirect_url).map(str::to_owned),
            device: oauth.as_ref().and_then(OAuthStart::device).cloned(),
        })
    }

    /// The values of given credentials; references to secrets that there aren't become problems.
    pub(super) async fn opened(
        &self,
        project: ProjectId,
        credentials: &BTreeMap<String, GivenCredential>,
        problems: &mut Problems,
    ) -> Result<Opened, GatewayError> {
        let mut opened = Opened::default();
        for (key, given) in credentials {
            match (self.given_value(project, given).await?, given) {
                (Some(value), _) => drop(opened.secrets.insert(key.clone(), value)),
                (None, GivenCredential::Secret { secret }) => {
                    problems.push(&["credentials", key], format!("there is no workspace secret {secret:?}"));
                }
                (None, GivenCredential::Value(_)) => {}
            }
        }
        Ok(opened)
    }

    /// Refuses a slug that is another connection's, or that of an integration other than the connection's.
    pub(super) async fn check_slug(
        &self,
        project: ProjectId,
        slug: &Slug,
        integration: &Slug,
    ) -> Result<(), GatewayError> {
        if slug != integration && self.inner.registry.integration(project, slug.as_str()).await?.is_some() {
            return Err(conflict(format!(
                "connection slug {:?} is the slug of an integration: choose another",
                slug.as_str()
            )));
        }
        match self.inner.store.is_slug_taken(project, slug.as_str()).await? {
            true => Err(slug_taken(slug)),
            false => Ok(()),
        }
    }

    async fn insert_with_derived_slug(
        &self,
        mut connection: Connection,
        new: &NewConnection,
        oauth: Option<&OAuthStart>,
    ) -> Result<Connection, GatewayError> {
        let project = connection.project;
        let integrations = self.inner.registry.integrations(project).await?;
        let mut taken: HashSet<Slug> = integrations
            .iter()
            .map(|integration| integration.slug.clone())
            .filter(|slug| *slug != connection.integration)
            .collect();
        for _ in 0..SLUG_ATTEMPTS {
            let others = self.inner.store.visible_connections(project, &Viewer::All).await?;
            taken.extend(others.iter().map(|other| other.slug.clone()));
            connection.slug =
                slug::derive(&connection.name, &connection.integration, |slug| taken.contains(slug));
            if self.insert(&connection, new, oauth).await? {
                return Ok(connection);
            }
            taken.insert(connection.slug.clone());
        }
        Err(slug_taken(&connection.slug))
    }

    /// Stores a connection with its sealed fields; false, and nothing stored, if its slug is taken.
    async fn insert(
        &self,
        connection: &Connection,
        new: &NewConnection,
        oauth: Option<&OAuthStart>,
    ) -> Result<bool, GatewayError> {
        let (project, id) = (connection.project, connection.id);
        let store = &self.inner.store;
        let seal = || {
            let mut fields = self.seal_credentials(project, id, &new.credentials)?;
            fields.extend(self.seal_config(project, id, &new.config)?);
            let Some(oauth) = oauth else { return Ok((fields, None)) };
            let (tokens, flow) = oauth.sealed(self)?;
            fields.extend(tokens);
            Ok((fields, Some((&oauth.grant, flow))))
        };
        let write = async |(fields, oauth): (Vec<_>, Option<(&Grant, Option<Flow>)>)| {
            let inserted = match oauth {
                None => store.insert_connection(connection, &fields).await,
                Some((grant, None)) => store.insert_granted_connection(connection, &fields, grant).await,
                Some((grant, Some(flow))) => {
                    store.insert_pending_connection(connection, &fields, grant, &flow).await
                }
            };
            match inserted {
                Ok(()) => Ok(true),
                Err(StoreError::Taken { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        };
        self.inner.vault.sealed_write(store, seal, write).await
    }
}

/// Whose a new connection is.
fn acting_user(identity: &Identity) -> Result<UserName, GatewayError> {
    identity.user.clone().ok_or_else(|| GatewayError::Invalid {
        code: "INVALID_REQUEST",
        message: "a connection belongs to a user: send the header Portcullis-User with the user's name"
            .to_owned(),
        details: None,
    })
}

/// Refuses references to workspace secrets to all but admins: who could refer to one could have it sent to a server of
/// their own, where the integration's hosts come from the connection's config.
pub(super) fn refuse_references(
    identity: &Identity,
    credentials: &BTreeMap<String, GivenCredential>,
) -> Result<(), GatewayError> {
    let is_reference = |given: &GivenCredential| matches!(given, GivenCredential::Secret { .. });
    if identity.is_admin() || !credentials.values().any(is_reference) {
        return Ok(());
    }
    Err(GatewayError::Forbidden(
        "only an admin's key may have a connection read a workspace secret: give the credential's value instead".to_owned(),
    ))
}

/// The slug, if one is given and it is one.
pub(super) fn given_slug(problems: &mut Problems, slug: Option<&str>) -> Option<Slug> {
    match Slug::parse(slug?) {
        Ok(slug) => Some(slug),
        Err(error) => {
            problems.push(&["connection_slug"], format!("connection_slug {error}"));
            None
        }
    }
}

pub(super) fn slug_taken(slug: &Slug) -> GatewayError {
    conflict(format!("connection slug {:?} is taken", slug.as_str()))
}
