//! Changing connections: what calls depend on is tested first, and a test that fails changes nothing.

use portcullis_runtime::manifest::AuthMethod;
use portcullis_runtime::manifest::name::Slug;
use uuid::Uuid;

use super::super::credentials::{ACCESS_TOKEN, Opened};
use super::super::oauth::consent::refuse_foreign_endpoint;
use super::create::{given_slug, refuse_references};
use super::test::Passed;
use super::validate::Problems;
use super::{ConnectionPatch, Gateway, GatewayError, no_connection};
use crate::identity::Identity;
use crate::store::connections::{
    Connection, ConnectionChange, ConnectionStatus, FieldContent, FieldKind, StoredField,
};
use crate::vault::VaultError;

/// The kinds of fields that are replaced, and by what.
type NewFields = (Vec<FieldKind>, Vec<StoredField>);

impl Gateway {
    /// Changes a connection; its owner or an admin may.
    pub(crate) async fn change_connection(
        &self,
        identity: &Identity,
        id: Uuid,
        patch: ConnectionPatch,
    ) -> Result<Connection, GatewayError> {
        let connection = self.managed(identity, id).await?;
        self.refuse_foreign_secrets(identity, &connection, &patch).await?;
        let mut problems = Problems::default();
        let slug = given_slug(&mut problems, patch.slug.as_deref()).filter(|slug| *slug != connection.slug);
        check_texts(&mut problems, &patch);
        let passed = if needs_test(&patch) {
            self.refuse_moving_endpoints(identity, &connection, &patch).await?;
            self.try_patch(&connection, &patch, problems).await?
        } else {
            problems.into_result()?;
            None
        };
        if let Some(slug) = &slug {
            self.check_slug(connection.project, slug, &connection.integration).await?;
        }
        // Read again: it may have been switched off while it was tested.
        let connection = self.managed(identity, id).await?;
        let change = change_of(&connection, &patch, slug, passed);
        let changed = self.store_change(&connection, &patch, &change).await?;
        self.shown(changed.ok_or_else(|| no_connection(id))?).await
    }

    /// Refuses to anyone but an admin to give references to workspace secrets, and to give a new config (with the hosts that
    /// come from it) to credentials that hold some.
    async fn refuse_foreign_secrets(
        &self,
        identity: &Identity,
        connection: &Connection,
        patch: &ConnectionPatch,
    ) -> Result<(), GatewayError> {
        if let Some(credentials) = &patch.credentials {
            return refuse_references(identity, credentials);
        }
        if identity.is_admin() || patch.config.is_none() {
            return Ok(());
        }
        let fields = self.inner.store.connection_fields(connection.project, connection.id).await?;
        if !fields.iter().any(|field| matches!(field.content, FieldContent::Secret(_))) {
            return Ok(());
        }
        Err(GatewayError::Forbidden(
            "only an admin's key may change the config of a connection that reads a workspace secret"
                .to_owned(),
        ))
    }

    /// Refuses to anyone but an admin a config by which an OAuth2 app's secret would be sent to another host.
    async fn refuse_moving_endpoints(
        &self,
        identity: &Identity,
        connection: &Connection,
        patch: &ConnectionPatch,
    ) -> Result<(), GatewayError> {
        let (AuthMethod::OAuth2, Some(config)) = (connection.mode, &patch.config) else { return Ok(()) };
        let store = &self.inner.store;
        let grant = store.oauth_grant(connection.project, connection.id).await?;
        let Some(app) = grant.and_then(|grant| grant.app) else { return Ok(()) };
        let integration = connection.integration.as_str();
        let Some(app) = store.oauth_app(connection.project, integration, &app).await? else { return Ok(()) };
        let served = self.served(connection.project, integration).await?;
        let mut opened = Opened::default();
        opened.config = config.clone();
        refuse_foreign_endpoint(identity, served.connector.manifest(), &app, &opened)
    }

    /// Validates the connection as it would be, and tests it.
    async fn try_patch(
        &self,
        connection: &Connection,
        patch: &ConnectionPatch,
        mut problems: Problems,
    ) -> Result<Option<Passed>, GatewayError> {
        let project = connection.project;
        let served = match self.served(project, connection.integration.as_str()).await {
            Err(GatewayError::NotFound(what)) => {
                return Err(GatewayError::Conflict {
                    code: "INTEGRATION_GONE",
                    message: format!("{what} is not installed: the connection can't be tested"),
                    details: None,
                });
            }
            other => other?,
        };
        let manifest = served.connector.manifest();
        patch.credentials.iter().for_each(|given| problems.credentials(manifest, given));
        patch.config.iter().for_each(|config| problems.config(config));
        let has_token = connection.mode == AuthMethod::OAuth2;
        let mut opened = match (&patch.credentials, &patch.config) {
            // Nothing of the old is needed, which might not even open.
            (Some(_), Some(_)) if !has_token => Opened::default(),
            _ => self.open_credentials(connection).await?,
        };
        if let Some(given) = &patch.credentials {
            let mut new = self.opened(project, given, &mut problems).await?;
            // Tokens are no credentials that anyone gives: they stay.
            if let Some(token) = opened.secrets.remove(ACCESS_TOKEN).filter(|_| has_token) {
                new.secrets.insert(ACCESS_TOKEN.to_owned(), token);
            }
            // What stood there is wiped with `new`.
            std::mem::swap(&mut opened.secrets, &mut new.secrets);
        }
        if let Some(config) = &patch.config {
            opened.config = config.clone();
        }
        problems.missing(manifest, connection.mode, &opened, patch.credentials.as_ref());
        problems.settings(manifest, &opened);
        problems.into_result()?;
        Ok(Some(self.try_out(project, served, opened).await?.into_passed()?))
    }

    /// Stores a change, with newly sealed fields where the patch has any, in one transaction.
    async fn store_change(
        &self,
        connection: &Connection,
        patch: &ConnectionPatch,
        change: &ConnectionChange,
    ) -> Result<Option<Connection>, GatewayError> {
        let store = &self.inner.store;
        let seal = || self.seal_patch(connection, patch);
        let write = async |fields| {
            let change = ConnectionChange { fields, ..change.clone() };
            store.change_connection(connection.project, connection.id, &change).await
        };
        self.inner.vault.sealed_write(store, seal, write).await
    }

    fn seal_patch(
        &self,
        connection: &Connection,
        patch: &ConnectionPatch,
    ) -> Result<Option<NewFields>, VaultError> {
        let (mut kinds, mut fields) = (Vec::new(), Vec::new());
        if let Some(credentials) = &patch.credentials {
            kinds.push(FieldKind::Credential);
            fields.extend(self.seal_credentials(connection.project, connection.id, credentials)?);
        }
        if let Some(config) = &patch.config {
            kinds.push(FieldKind::Config);
            fields.extend(self.seal_config(connection.project, connection.id, config)?);
        }
        Ok((!kinds.is_empty()).then_some((kinds, fields)))
    }
}

/// Whether the patch changes what calls depend on.
fn needs_test(patch: &ConnectionPatch) -> bool {
    let is_activated = patch.status == Some(ConnectionStatus::Active);
    patch.credentials.is_some() || patch.config.is_some() || is_activated
}

fn check_texts(problems: &mut Problems, patch: &ConnectionPatch) {
    patch.name.iter().for_each(|name| problems.name(name));
    patch.description.iter().flatten().for_each(|text| problems.description(text));
    let may_be_set =
        |status: &ConnectionStatus| matches!(status, ConnectionStatus::Active | ConnectionStatus::Disabled);
    if !patch.status.as_ref().is_none_or(may_be_set) {
        problems.push(&["status"], "the status can be set to ACTIVE or DISABLED only");
    }
}

/// What of the connection's row changes. One that is switched off stays so unless the patch switches it on.
fn change_of(
    connection: &Connection,
    patch: &ConnectionPatch,
    slug: Option<Slug>,
    passed: Option<Passed>,
) -> ConnectionChange {
    let stays_off = connection.status == ConnectionStatus::Disabled;
    let status = match (patch.status, &passed) {
        (Some(asked), _) => Some(asked),
        (None, Some(_)) if !stays_off => Some(ConnectionStatus::Active),
        (None, _) => None,
    };
    ConnectionChange {
        slug,
        name: patch.name.clone(),
        description: patch.description.clone(),
        mode: None,
        status: status.filter(|status| *status != connection.status),
        last_error: passed.is_some().then_some(None),
        identity: passed.map(|passed| passed.identity),
        visibility: patch.visibility,
        ..ConnectionChange::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{ProjectId, UserName};
    use crate::store::connections::Visibility;
    use crate::time::Timestamp;

    fn connection(status: ConnectionStatus) -> Connection {
        Connection {
            id: Uuid::now_v7(),
            project: ProjectId(Uuid::now_v7()),
            owner: UserName::new("ada").expect("a name"),
            integration: Slug::parse("shop").expect("a slug"),
            slug: Slug::parse("shop").expect("a slug"),
            mode: AuthMethod::ApiKey,
            status,
            name: "Shop".to_owned(),
            description: None,
            last_error: None,
            identity: None,
            scopes: None,
            expires_at: None,
            visibility: Visibility::User,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
        }
    }

    #[test]
    fn a_status_changes_by_word_or_by_a_passed_test_unless_it_is_switched_off() {
        use ConnectionStatus::{Active, Disabled, Expired, Failed};
        for (stored, asked, is_tested, expected) in [
            (Active, None, false, None),
            (Active, None, true, None),
            (Active, Some(Disabled), false, Some(Disabled)),
            (Failed, None, true, Some(Active)),
            (Failed, None, false, None),
            (Expired, None, true, Some(Active)),
            (Disabled, None, true, None),
            (Disabled, Some(Active), true, Some(Active)),
            (Disabled, Some(Disabled), true, None),
            (Failed, Some(Disabled), true, Some(Disabled)),
        ] {
            let patch = ConnectionPatch { status: asked, ..ConnectionPatch::default() };
            let passed = is_tested.then(|| Passed { message: String::new(), identity: None });
            let change = change_of(&connection(stored), &patch, None, passed);
            assert_eq!(change.status, expected, "{stored:?} {asked:?} {is_tested}");
            assert_eq!(change.last_error, is_tested.then_some(None));
        }
    }
}
