//! What handlers take from a request's head: who is calling, and names and ids from the path.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{ObjectBuilder, Required, SchemaFormat, Type};
use uuid::Uuid;

use super::App;
use super::error::ApiError;
use super::limiter::{ClientNetwork, client_address};
use crate::api_key::ApiKey;
use crate::gateway::keys::AuthenticationError;
use crate::identity::{Identity, ProjectId, Role, UserName};

/// The header that names the person whom a request acts for.
const ACTING_USER: &str = "portcullis-user";
/// What slugs look like, for the document.
pub(super) const SLUG_PATTERN: &str = "^[a-z0-9]+([_-][a-z0-9]+)*$";
/// What names of workspace secrets look like, for the document.
pub(super) const SECRET_PATTERN: &str = "^[A-Za-z][A-Za-z0-9_.-]{0,99}$";

/// The address of a connection's other end; the server loop leaves it with each request.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// What the middleware and the extractors share about a request.
pub(super) struct RequestInfo {
    /// The request's id, as the answer's `x-request-id` names it.
    pub(super) id: String,
    /// The connection's other end.
    pub(super) peer: IpAddr,
    /// Whose key it was, once that is known.
    pub(super) caller: OnceLock<(ProjectId, Role)>,
}

impl RequestInfo {
    fn of(parts: &Parts) -> Arc<Self> {
        // The middleware has always left one; without it a request only loses its name in the log.
        parts.extensions.get::<Arc<Self>>().cloned().unwrap_or_else(|| {
            let peer = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            Arc::new(Self { id: String::new(), peer, caller: OnceLock::new() })
        })
    }
}

/// The request's id.
pub(super) struct RequestId(pub(super) String);

impl FromRequestParts<Arc<App>> for RequestId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, ApiError> {
        Ok(Self(RequestInfo::of(parts).id.clone()))
    }
}

/// The first parameter of every handler that needs a key, so that nothing else is looked at before.
impl FromRequestParts<Arc<App>> for Identity {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let text = presented_key(&parts.headers)?;
        let key = ApiKey::parse(text);
        let info = RequestInfo::of(parts);
        let address = client_address(info.peer, &parts.headers, app.config.behind_proxy);
        let client = ClientNetwork::of(address);
        let acting_for = acting_user(&parts.headers);
        let outcome = match key {
            Some(key) => app.gateway.authenticate(&key, acting_for.clone().unwrap_or_default()).await,
            None => Err(AuthenticationError::UnknownKey),
        };
        if matches!(outcome, Err(AuthenticationError::UnknownKey)) {
            let now = Instant::now();
            app.limiter.check(client, now).map_err(|wait| {
                ApiError::rate_limited(
                    "too many wrong API keys came from this address; wait before the next one",
                    wait,
                )
            })?;
            app.limiter.failed(client, text.starts_with("pc_"), now);
        }
        let identity = outcome?;
        // Set once for each request: there is one identity.
        let _ = info.caller.set((identity.project, identity.role));
        acting_for?;
        Ok(identity)
    }
}

/// The key in `Authorization: Bearer <key>` or `ApiKey <key>`.
fn presented_key(headers: &HeaderMap) -> Result<&str, ApiError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let missing = || ApiError::unauthorized("send an API key: Authorization: Bearer pc_…");
    let (value, None) = (values.next().ok_or_else(missing)?, values.next()) else {
        return Err(ApiError::unauthorized("send one Authorization header, not several"));
    };
    let (scheme, key) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(missing)?;
    let is_known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("apikey");
    if is_known { Ok(key.trim_matches(' ')) } else { Err(missing()) }
}

/// The user whom the request names; the header is UTF-8.
fn acting_user(headers: &HeaderMap) -> Result<Option<UserName>, ApiError> {
    let mut values = headers.get_all(ACTING_USER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::invalid("send one header Portcullis-User, not several"));
    }
    let name = std::str::from_utf8(value.as_bytes()).ok().and_then(|text| UserName::new(text).ok());
    name.map(Some).ok_or_else(|| {
        ApiError::invalid(
            "the header Portcullis-User must be a user's name in UTF-8: 1 to 200 characters, no control characters \
             and no white space around it",
        )
    })
}

/// An identity that may administer its project.
pub(super) struct Admin(pub(super) Identity);

impl FromRequestParts<Arc<App>> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let identity = Identity::from_request_parts(parts, app).await?;
        if identity.is_admin() {
            Ok(Self(identity))
        } else {
            Err(ApiError::forbidden("this needs a key with the role admin"))
        }
    }
}

/// The path's one parameter, as text.
async fn path_text(parts: &mut Parts) -> Result<String, ApiError> {
    let nothing = || ApiError::not_found("there is nothing at this path");
    let parameters = RawPathParams::from_request_parts(parts, &()).await.map_err(|_| nothing())?;
    let (_, value) = parameters.iter().next().ok_or_else(nothing)?;
    // Nothing has such a name, and not every database would take it in a question.
    if value.contains('\0') { Err(nothing()) } else { Ok(value.to_owned()) }
}

fn path_parameter(name: &str, description: &str, schema: ObjectBuilder) -> Vec<Parameter> {
    let parameter = ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(description))
        .schema(Some(schema.schema_type(Type::String).build()));
    vec![parameter.build()]
}

/// The path's one parameter, an integration's slug.
pub(super) struct PathSlug(pub(super) String);

impl FromRequestParts<Arc<App>> for PathSlug {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, ApiError> {
        path_text(parts).await.map(Self)
    }
}

impl IntoParams for PathSlug {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema =
            ObjectBuilder::new().pattern(Some(SLUG_PATTERN)).min_length(Some(1)).max_length(Some(40));
        path_parameter("slug", "The integration's slug.", schema)
    }
}

/// The path's two parameters, an integration's slug and the name of one of its OAuth2 apps.
pub(super) struct PathApp {
    pub(super) slug: String,
    pub(super) name: String,
}

impl FromRequestParts<Arc<App>> for PathApp {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, ApiError> {
        let nothing = || ApiError::not_found("there is nothing at this path");
        let parameters = RawPathParams::from_request_parts(parts, &()).await.map_err(|_| nothing())?;
        let text = |name: &str| {
            let found = parameters.iter().find(|(own, _)| *own == name);
            found.map(|(_, value)| value.to_owned()).filter(|value| !value.contains('\0')).ok_or_else(nothing)
        };
        Ok(Self { slug: text("slug")?, name: text("name")? })
    }
}

impl IntoParams for PathApp {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let slug =
            || ObjectBuilder::new().pattern(Some(SLUG_PATTERN)).min_length(Some(1)).max_length(Some(40));
        let mut parameters = path_parameter("slug", "The integration's slug.", slug());
        parameters.extend(path_parameter("name", "The app's name.", slug()));
        parameters
    }
}

/// The path's one parameter, an agent's name.
pub(super) struct PathAgent(pub(super) String);

impl FromRequestParts<Arc<App>> for PathAgent {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, ApiError> {
        path_text(parts).await.map(Self)
    }
}

impl IntoParams for PathAgent {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema =
            ObjectBuilder::new().pattern(Some(SLUG_PATTERN)).min_length(Some(1)).max_length(Some(40));
        path_parameter("agent", "The agent's name.", schema)
    }
}

/// The path's one parameter, a workspace secret's name.
pub(super) struct PathSecret(pub(super) String);

impl FromRequestParts<Arc<App>> for PathSecret {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, ApiError> {
        path_text(parts).await.map(Self)
    }
}

impl IntoParams for PathSecret {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new().pattern(Some(SECRET_PATTERN));
        path_parameter("name", "The secret's name.", schema)
    }
}

/// The path's one parameter, an id. What is no UUID names nothing, so that it is a 404.
pub(super) struct PathId(pub(super) Uuid);

impl FromRequestParts<Arc<App>> for PathId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, ApiError> {
        let id = Uuid::try_parse(&path_text(parts).await?);
        id.map(Self).map_err(|_| ApiError::not_found("there is nothing with this id; ids are UUIDs"))
    }
}

impl IntoParams for PathId {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new().format(Some(SchemaFormat::Custom("uuid".to_owned())));
        path_parameter("id", "Its id.", schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, axum::http::HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_key_comes_as_bearer_or_apikey_in_any_case() {
        let key = |values: &[&[u8]]| {
            presented_key(&headers("authorization", values))
                .map(str::to_owned)
                .map_err(|error| error.status.as_u16())
        };
        for good in ["Bearer pc_x", "bearer pc_x", "APIKEY pc_x", "ApiKey  pc_x"] {
            assert_eq!(key(&[good.as_bytes()]), Ok("pc_x".to_owned()), "{good}");
        }
        for bad in ["", "pc_x", "Basic cGNfeA==", "Bearer", "Bearer:pc_x"] {
            assert_eq!(key(&[bad.as_bytes()]), Err(401), "{bad:?}");
        }
        assert_eq!(key(&[]), Err(401));
        assert_eq!(key(&[b"Bearer a", b"Bearer b"]), Err(401));
        assert_eq!(key(&[b"Bearer \xff"]), Err(401));
    }

    #[test]
    fn the_acting_user_is_one_well_formed_name() {
        let user = |values: &[&[u8]]| {
            acting_user(&headers(ACTING_USER, values))
                .map(|user| user.map(|user| user.as_str().to_owned()))
                .map_err(|error| error.status.as_u16())
        };
        assert_eq!(user(&[]), Ok(None));
        assert_eq!(user(&["zoë@example.com".as_bytes()]), Ok(Some("zoë@example.com".to_owned())));
        assert_eq!(user(&[b""]), Err(400));
        assert_eq!(user(&[b"\xff"]), Err(400));
        assert_eq!(user(&[b"a", b"b"]), Err(400));
    }
}
