//! The authorization endpoint: it asks nobody, and answers at once as the behaviour says.

use url::Url;

use crate::http1::Message;
use crate::oauth::Provider;
use crate::oauth::answer::{plain, redirect};
use crate::oauth::request::Asked;
use crate::oauth::state::{Code, State};

pub(crate) fn authorize(state: &mut State, asked: &Asked) -> Message {
    match answer(state, asked) {
        Ok(location) => redirect(&location),
        Err(complaint) => plain(400, "text/plain", complaint),
    }
}

fn answer(state: &mut State, asked: &Asked) -> Result<String, String> {
    let need = |name: &str| asked.param(name).ok_or_else(|| format!("no {name}"));
    let is = |name: &str, right: &str| match asked.param(name) {
        Some(value) if value == right => Ok(()),
        other => Err(format!("{name} is {other:?} in place of {right:?}")),
    };
    is("client_id", Provider::CLIENT_ID)?;
    is("response_type", "code")?;
    is("code_challenge_method", "S256")?;
    let (redirect_uri, challenge, sent_state) =
        (need("redirect_uri")?, need("code_challenge")?, need("state")?);
    let mut location = Url::parse(redirect_uri).map_err(|error| format!("redirect_uri: {error}"))?;
    location.query_pairs_mut().append_pair("state", sent_state);
    if let Some(iss) = &state.behaviour.iss {
        location.query_pairs_mut().append_pair("iss", iss);
    }
    if let Some(error) = &state.behaviour.denial {
        location.query_pairs_mut().append_pair("error", error);
        location.query_pairs_mut().append_pair("error_description", "the person said no");
        return Ok(location.into());
    }
    let code = state.new_secret("code/+Canary=");
    location.query_pairs_mut().append_pair("code", &code);
    let asked_scopes = asked.param("scope").unwrap_or_default().split(' ').filter(|scope| !scope.is_empty());
    let scopes = state.behaviour.granted.clone().unwrap_or_else(|| asked_scopes.map(str::to_owned).collect());
    state.codes.push(Code {
        code,
        redirect_uri: redirect_uri.to_owned(),
        challenge: challenge.to_owned(),
        nonce: asked.param("nonce").map(str::to_owned),
        account: state.behaviour.account.clone(),
        scopes,
        consent: None,
    });
    Ok(location.into())
}
