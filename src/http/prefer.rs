//! The header `Prefer: wait=N` (RFC 7240): how long a caller would rather wait for a person than be told that one is asked.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::header::{HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderMap as Headers};
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{ObjectBuilder, Required, Type};

use super::App;
use super::error::ApiError;
use crate::gateway::approvals::MAX_WAIT;

const PREFER: &str = "prefer";
const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// How long to wait, in whole seconds; none if the caller doesn't ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait(Option<u64>);

impl Wait {
    /// How long; none if the caller doesn't ask for it.
    pub(super) fn duration(self) -> Option<Duration> {
        self.0.map(Duration::from_secs)
    }

    /// The answer's header that says what was done.
    pub(super) fn applied(self) -> Headers {
        let value = self.0.and_then(|seconds| HeaderValue::try_from(format!("wait={seconds}")).ok());
        value.map(|value| (APPLIED, value)).into_iter().collect()
    }
}

impl FromRequestParts<Arc<App>> for Wait {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, ApiError> {
        Ok(wait(&parts.headers))
    }
}

impl IntoParams for Wait {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new().schema_type(Type::String).build();
        let parameter = ParameterBuilder::new()
            .name("Prefer")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "`wait=N`: wait up to N seconds (60 at most) for a person to decide about calls that need it, and answer as if \
                 they had run at once.",
            ))
            .schema(Some(schema));
        vec![parameter.build()]
    }
}

/// The first `wait` of the headers; a preference that can't be read is none, as the standard has it.
fn wait(headers: &HeaderMap) -> Wait {
    let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| value.split(','));
    let seconds = preferences.find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        let value = value.trim().trim_matches('"');
        let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        (name.trim().eq_ignore_ascii_case("wait") && is_number).then(|| value.parse().unwrap_or(u64::MAX))
    });
    Wait(seconds.map(|seconds| seconds.min(MAX_WAIT.as_secs())).filter(|seconds| *seconds > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_found_among_other_preferences_and_has_a_limit() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(PREFER, HeaderValue::from_str(value).unwrap());
            }
            wait(&headers).0
        };
        assert_eq!(read(&["wait=30"]), Some(30));
        assert_eq!(read(&["respond-async, Wait = \"5\"; x=y"]), Some(5));
        assert_eq!(read(&["return=minimal", "wait=7, wait=8"]), Some(7));
        assert_eq!(read(&["wait=61"]), Some(60));
        assert_eq!(read(&["wait=99999999999999999999"]), Some(60));
        for none in ["", "wait", "wait=", "wait=-1", "wait=1.5", "wait=0", "waits=3"] {
            assert_eq!(read(&[none]), None, "{none}");
        }
        assert_eq!(Wait(Some(7)).applied()[APPLIED], "wait=7");
        assert!(Wait(None).applied().is_empty());
    }
}
