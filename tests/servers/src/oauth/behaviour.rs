//! How the provider behaves: what a test may change.

use std::time::Duration;

use serde_json::{Map, Value};

/// For good, or until the test changes it again.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// Who approves at the authorization endpoint.
    pub account: String,
    /// The error that the authorization endpoint answers with in place of a code.
    pub denial: Option<String>,
    /// `iss` in the authorization endpoint's answer.
    pub iss: Option<String>,
    /// The scopes that are granted, where they aren't those asked for.
    pub granted: Option<Vec<String>>,
    /// How the token endpoint says which.
    pub scope_list: ScopeList,
    /// How the client proves who it is.
    pub token_auth: TokenAuth,
    /// `expires_in`.
    pub life: Life,
    /// How long access tokens live in truth, where that isn't what `life` says.
    pub true_life: Option<Duration>,
    /// Which answers have a refresh token.
    pub refresh: Refresh,
    /// What the token endpoint's answers are written in.
    pub encoding: Encoding,
    /// `Date` of the token endpoint's answers.
    pub date: Option<String>,
    /// Claims of id tokens, over the right ones. A null leaves one out.
    pub claims: Map<String, Value>,
    /// `interval` of device authorizations, in seconds.
    pub interval: u64,
    /// `expires_in` of device authorizations, in seconds.
    pub device_life: u64,
    /// Made of each request to the token endpoint that no other fault is set for.
    pub always: Option<Fault>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            account: "ada".to_owned(),
            denial: None,
            iss: None,
            granted: None,
            scope_list: ScopeList::Spaces,
            token_auth: TokenAuth::Basic,
            life: Life::Seconds(3600),
            true_life: None,
            refresh: Refresh::Rotating,
            encoding: Encoding::Json,
            date: None,
            claims: Map::new(),
            interval: 1,
            device_life: 600,
            always: None,
        }
    }
}

/// How a client proves who it is at the token endpoint. Any other way is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenAuth {
    /// In the header.
    Basic,
    /// In the form.
    Post,
    /// Not at all: its id is in the form.
    None,
}

/// `expires_in`, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Life {
    /// Not there.
    Unsaid,
    /// A number.
    Seconds(u64),
    /// A string.
    Text(u64),
    /// A number with a fraction.
    Fraction(f64),
}

/// Which answers have a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// All, and each is good once.
    Rotating,
    /// The first, and it stays good.
    Lasting,
    /// None.
    Never,
}

/// How scopes are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeList {
    /// As the standard has it.
    Spaces,
    /// `a,b`.
    Commas,
    /// A JSON array.
    Array,
    /// Not at all.
    Unsaid,
}

/// What the token endpoint's answers are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As the standard has it.
    Json,
    /// As a form.
    Form,
    /// As a form that says it is `text/plain`.
    UnmarkedForm,
}

/// What is made of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A status and some HTML; nothing is done.
    Status(u16),
    /// An OAuth2 error with this status; nothing is done.
    Refusal(u16, String),
    /// HTML in a 200; nothing is done.
    Garbage,
    /// The connection is closed once the request is in; nothing is done.
    CloseBefore,
    /// All is done, and the connection is closed in place of the answer.
    CloseAfter,
    /// All is done, and the answer goes so much later.
    Delay(Duration),
    /// All is done, and the answer goes when the test releases it.
    Hold,
    /// Nothing special.
    None,
}
