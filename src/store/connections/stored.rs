//! Connections and their fields as rows.

use sqlx::any::AnyRow;
use uuid::Uuid;

use super::{Connection, FieldContent, FieldKind, StoredField};
use crate::identity::ProjectId;
use crate::store::StoreError;
use crate::store::database::Query;
use crate::store::epochs::Change;
use crate::store::rows::{Fields, clean, clean_optional, id};
use crate::vault::Sealed;

/// The columns by name: a newer version of the program may have added some while this one runs.
pub(super) const SELECT: &str = "SELECT project_id, id, owner, integration, slug, mode, status, name, description, last_error, \
                                 identity, scopes, expires_at, visibility, created_at, updated_at \
                                 FROM connections WHERE project_id = ";
pub(super) const INSERT: &str = "INSERT INTO connections (project_id, id, owner, integration, slug, mode, status, name, description, \
                      last_error, identity, scopes, expires_at, visibility, created_at, updated_at) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
/// With the values of [`INSERT`].
pub(super) const UPDATE: &str = "UPDATE connections SET owner = $3, integration = $4, slug = $5, mode = $6, status = $7, name = $8, \
                      description = $9, last_error = $10, identity = $11, scopes = $12, expires_at = $13, \
                      visibility = $14, created_at = $15, updated_at = $16 WHERE project_id = $1 AND id = $2";

/// Binds the values of [`INSERT`] and [`UPDATE`].
pub(super) fn with_values(query: Query, connection: &Connection) -> Query {
    query
        .bind(id(connection.project))
        .bind(id(connection.id))
        .bind(connection.owner.as_str().to_owned())
        .bind(connection.integration.as_str().to_owned())
        .bind(connection.slug.as_str().to_owned())
        .bind(connection.mode.as_str())
        .bind(connection.status.as_str())
        .bind(clean(&connection.name))
        .bind(clean_optional(connection.description.as_deref()))
        .bind(clean_optional(connection.last_error.as_deref()))
        .bind(clean_optional(connection.identity.as_deref()))
        .bind(connection.scopes.as_ref().map(|scopes| serde_json::Value::from(scopes.clone()).to_string()))
        .bind(connection.expires_at.map(|time| time.0))
        .bind(connection.visibility.as_str())
        .bind(connection.created_at.0)
        .bind(connection.updated_at.0)
}

pub(super) fn connection_of(row: &AnyRow) -> Result<Connection, StoreError> {
    let fields = Fields::of("connection", row);
    Ok(Connection {
        id: fields.uuid("id")?,
        project: fields.project()?,
        owner: fields.user("owner")?,
        integration: fields.slug("integration")?,
        slug: fields.slug("slug")?,
        mode: fields.word("mode")?,
        status: fields.word("status")?,
        name: fields.text("name")?,
        description: fields.optional_text("description")?,
        last_error: fields.optional_text("last_error")?,
        identity: fields.optional_text("identity")?,
        scopes: fields.optionally_parsed("scopes", |text| serde_json::from_str(text).ok())?,
        expires_at: fields.optional_time("expires_at")?,
        visibility: fields.word("visibility")?,
        created_at: fields.time("created_at")?,
        updated_at: fields.time("updated_at")?,
    })
}

pub(super) fn sealed_values(fields: &[StoredField]) -> impl Iterator<Item = &Sealed> {
    fields.iter().filter_map(|field| match &field.content {
        FieldContent::Sealed(sealed) => Some(sealed),
        FieldContent::Secret(_) => None,
    })
}

pub(super) async fn insert_fields(
    change: &mut Change<'_>,
    project: ProjectId,
    connection: Uuid,
    fields: &[StoredField],
) -> Result<(), StoreError> {
    for field in fields {
        let (sealed, secret) = match &field.content {
            FieldContent::Sealed(sealed) => (Some(sealed), None),
            FieldContent::Secret(name) => (None, Some(clean(name))),
        };
        let query = sqlx::query(
            "INSERT INTO connection_fields \
             (project_id, connection_id, kind, field, key_id, nonce, ciphertext, secret_name) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(id(project))
        .bind(id(connection))
        .bind(field.kind.as_str())
        .bind(clean(&field.field))
        .bind(sealed.map(|sealed| clean(&sealed.key_id)))
        .bind(sealed.map(|sealed| sealed.nonce.to_vec()))
        .bind(sealed.map(|sealed| sealed.ciphertext.clone()))
        .bind(secret);
        change.insert(query, || format!("{} {:?}", field.kind.as_str(), field.field)).await?;
    }
    Ok(())
}

pub(super) async fn delete_fields(
    change: &mut Change<'_>,
    project: ProjectId,
    connection: Uuid,
    kinds: &[FieldKind],
) -> Result<(), StoreError> {
    for kind in kinds {
        let query = sqlx::query(
            "DELETE FROM connection_fields WHERE project_id = $1 AND connection_id = $2 AND kind = $3",
        )
        .bind(id(project))
        .bind(id(connection))
        .bind(kind.as_str());
        change.execute(query).await?;
    }
    Ok(())
}

pub(super) fn field_of(row: &AnyRow) -> Result<StoredField, StoreError> {
    let fields = Fields::of("connection field", row);
    let content = match fields.optional_text("secret_name")? {
        Some(name) => FieldContent::Secret(name),
        None => FieldContent::Sealed(fields.sealed()?),
    };
    Ok(StoredField {
        kind: fields.parsed("kind", FieldKind::from_name)?,
        field: fields.text("name")?,
        content,
    })
}
