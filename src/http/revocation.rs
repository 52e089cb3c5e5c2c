//! Revoking OAuth2 tokens: of all connections of an integration, and of one that is deleted.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::App;
use super::extract::PathSlug;
use super::respond::{Answer, Json};
use crate::gateway::oauth::revoke::{Revoked, RevokedConnection};
use crate::identity::Identity;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(revoke_all))
}

/// What became of tokens at the service.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum RevocationStatus {
    /// The service has revoked them.
    Revoked,
    /// There were none, or the integration names no `revocationUrl`. They are gone from here.
    NotNeeded,
    /// The service hasn't revoked them yet; it is asked again for a day.
    Retrying,
    /// The service can't be asked.
    Impossible,
}

/// What became of tokens at the service, and why.
#[derive(Serialize, ToSchema)]
pub(super) struct RevocationBody {
    #[schema(inline)]
    status: RevocationStatus,
    /// Why they aren't revoked, where they aren't.
    message: Option<String>,
}

impl From<Revoked> for RevocationBody {
    fn from(revoked: Revoked) -> Self {
        let (status, message) = match revoked {
            Revoked::Done => (RevocationStatus::Revoked, None),
            Revoked::NotNeeded => (RevocationStatus::NotNeeded, None),
            Revoked::Retrying(why) => (RevocationStatus::Retrying, Some(why)),
            Revoked::Impossible(why) => (RevocationStatus::Impossible, Some(why)),
        };
        Self { status, message }
    }
}

/// A connection is deleted; its tokens still work at the service.
#[derive(Serialize, ToSchema)]
pub(super) struct Deleted {
    revocation: RevocationBody,
}

impl Deleted {
    /// None where nothing is left to say.
    pub(super) fn of(revoked: Revoked) -> Option<Self> {
        match revoked {
            Revoked::Done | Revoked::NotNeeded => None,
            revoked => Some(Self { revocation: revoked.into() }),
        }
    }
}

/// What became of each connection.
#[derive(Serialize, ToSchema)]
struct RevokedList {
    /// How many there are in this answer.
    count: usize,
    connections: Vec<RevokedBody>,
}

/// What became of one connection.
#[derive(Serialize, ToSchema)]
struct RevokedBody {
    #[schema(value_type = String, format = "uuid")]
    connection_id: Uuid,
    connection_slug: String,
    /// Whose it is.
    owner: String,
    /// `EXPIRED`, or `DISABLED` if it was switched off.
    status: &'static str,
    revocation: RevocationBody,
}

impl From<RevokedConnection> for RevokedBody {
    fn from(RevokedConnection { connection, revoked }: RevokedConnection) -> Self {
        Self {
            connection_id: connection.id,
            connection_slug: connection.slug.to_string(),
            owner: connection.owner.to_string(),
            status: connection.status.as_str(),
            revocation: revoked.into(),
        }
    }
}

/// Revoke all tokens of an integration
///
/// For admins, and for the day of a breach: every OAuth2 connection of the integration loses its tokens at once and is
/// `EXPIRED`; its user has to connect it again. The tokens are then revoked at the service, where the integration says how.
#[utoipa::path(post, path = "/api/integrations/{slug}/revoke-all", tag = "Integrations", operation_id = "revoke_all_tokens",
    params(PathSlug),
    responses((status = 200, description = "What became of each connection, by slug.", body = RevokedList)))]
async fn revoke_all(
    identity: Identity,
    State(app): State<Arc<App>>,
    PathSlug(slug): PathSlug,
) -> Answer<Json<RevokedList>> {
    let connections: Vec<RevokedBody> =
        app.gateway.revoke_all(&identity, &slug).await?.into_iter().map(Into::into).collect();
    Ok(Json(RevokedList { count: connections.len(), connections }))
}
