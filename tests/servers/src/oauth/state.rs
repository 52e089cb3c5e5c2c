//! What the provider knows: who consented to what, and the tokens that came of it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

use crate::oauth::behaviour::{Behaviour, Fault, Refresh};
use crate::oauth::device::Device;
use crate::oauth::request::Asked;

/// All of it.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) behaviour: Behaviour,
    pub(crate) faults: VecDeque<Fault>,
    pub(crate) revocation_faults: VecDeque<Fault>,
    pub(crate) n_held: usize,
    pub(crate) n_released: usize,
    pub(crate) requests: Vec<Asked>,
    pub(crate) codes: Vec<Code>,
    pub(crate) consents: Vec<Consent>,
    pub(crate) devices: Vec<Device>,
    pub(crate) n_reuses: usize,
    pub(crate) revoked: Vec<String>,
    pub(crate) given_out: Vec<String>,
    pub(crate) last_access_token: Option<String>,
}

/// An authorization code that wasn't exchanged yet, or was: then a second exchange voids the consent.
pub(crate) struct Code {
    pub(crate) code: String,
    pub(crate) redirect_uri: String,
    pub(crate) challenge: String,
    pub(crate) nonce: Option<String>,
    pub(crate) account: String,
    pub(crate) scopes: Vec<String>,
    /// The consent's place in the list, once the code is exchanged.
    pub(crate) consent: Option<usize>,
}

/// What one person agreed to, and what came of it.
pub(crate) struct Consent {
    /// None for the client's own grant.
    pub(crate) account: Option<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) is_void: bool,
    /// The refresh token that is good.
    pub(crate) refresh_token: Option<String>,
    /// Those that were, before it.
    pub(crate) used: Vec<String>,
    pub(crate) access_tokens: Vec<(String, Instant)>,
}

/// Tokens just made.
pub(crate) struct Issued {
    pub(crate) access_token: String,
    pub(crate) refresh_token: Option<String>,
}

impl State {
    /// A new code.
    pub(crate) fn new_secret(&mut self, kind: &str) -> String {
        let secret = format!("{kind}{}", random_digits());
        self.given_out.push(secret.clone());
        secret
    }

    /// A new consent; its place in the list.
    pub(crate) fn consent(&mut self, account: Option<String>, scopes: Vec<String>) -> usize {
        let consent = Consent {
            account,
            scopes,
            is_void: false,
            refresh_token: None,
            used: Vec::new(),
            access_tokens: Vec::new(),
        };
        self.consents.push(consent);
        self.consents.len() - 1
    }

    /// New tokens of a consent. Their characters are those that a form, a URL or JSON writes in another way.
    pub(crate) fn issue(&mut self, consent: usize, life: Duration) -> Issued {
        let access_token = self.new_secret("at.~Canary/+-");
        let account = self.consents[consent].account.clone();
        let has_one = self.consents[consent].refresh_token.is_some();
        let refresh_token = match self.behaviour.refresh {
            Refresh::Rotating if account.is_some() => Some(self.new_secret("rt \"Canary\\&=+%/")),
            Refresh::Lasting if account.is_some() && !has_one => Some(self.new_secret("rt \"Canary\\&=+%/")),
            _ => None,
        };
        self.last_access_token = Some(access_token.clone());
        let consent = &mut self.consents[consent];
        consent.access_tokens.push((access_token.clone(), Instant::now() + life));
        if let Some(new) = &refresh_token {
            consent.used.extend(consent.refresh_token.replace(new.clone()));
        }
        Issued { access_token, refresh_token }
    }

    /// The consent that this refresh token is good for. One that was good before ends its consent.
    pub(crate) fn take_refresh_token(&mut self, token: &str) -> Option<usize> {
        for (place, consent) in self.consents.iter_mut().enumerate() {
            if consent.used.iter().any(|used| used == token) {
                consent.void();
                self.n_reuses += 1;
            }
            if consent.refresh_token.as_deref() == Some(token) {
                return Some(place);
            }
        }
        None
    }

    /// The consent that this access token is good for.
    pub(crate) fn holder(&self, access_token: &str) -> Option<&Consent> {
        let now = Instant::now();
        self.consents.iter().find(|consent| {
            consent.access_tokens.iter().any(|(own, until)| own == access_token && *until > now)
        })
    }

    /// RFC 7009: a refresh token's end is the consent's; an access token's is its own.
    pub(crate) fn revoke(&mut self, token: &str) {
        self.revoked.push(token.to_owned());
        for consent in &mut self.consents {
            if consent.refresh_token.as_deref() == Some(token) {
                consent.void();
            }
            consent.access_tokens.retain(|(own, _)| own != token);
        }
    }

    pub(crate) fn void_access_tokens(&mut self) {
        for consent in &mut self.consents {
            consent.access_tokens.clear();
        }
    }

    pub(crate) fn void_everything(&mut self) {
        self.consents.iter_mut().for_each(Consent::void);
    }
}

impl Consent {
    pub(crate) fn void(&mut self) {
        self.is_void = true;
        self.access_tokens.clear();
        self.used.extend(self.refresh_token.take());
    }
}

fn random_digits() -> String {
    let mut bytes = [0; 16];
    // Every system that tests run on has it.
    if let Err(error) = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes)) {
        panic!("no random bytes: {error}");
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
