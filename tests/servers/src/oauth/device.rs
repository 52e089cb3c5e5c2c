//! The device grant: user codes, and what people do with them.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::http1::Message;
use crate::oauth::answer;
use crate::oauth::request::Asked;
use crate::oauth::state::State;

/// A device authorization.
pub(crate) struct Device {
    pub(crate) code: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) expires: Instant,
    /// When it was asked for last, and how long the next must wait.
    pub(crate) last: Option<Instant>,
    pub(crate) interval: Duration,
    pub(crate) decision: Decision,
}

/// What a person did with the user code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Pending,
    Approved(String),
    Denied,
    /// The tokens are given out.
    Done,
}

impl State {
    pub(crate) fn decide_devices(&mut self, account: Option<&str>) {
        for device in &mut self.devices {
            if device.decision == Decision::Pending {
                device.decision =
                    account.map_or(Decision::Denied, |account| Decision::Approved(account.to_owned()));
            }
        }
    }
}

/// RFC 8628, 3.2.
pub(crate) fn authorize(state: &mut State, asked: &Asked, base: &str) -> Message {
    let (code, n_devices) = (state.new_secret("dc/+Canary="), state.devices.len());
    let user_code = format!("WDJB-{:04}", n_devices + 1);
    let scopes = asked.param("scope").unwrap_or_default().split(' ').map(str::to_owned).collect();
    let (interval, life) = (state.behaviour.interval, state.behaviour.device_life);
    state.devices.push(Device {
        code: code.clone(),
        scopes,
        expires: Instant::now() + Duration::from_secs(life),
        last: None,
        interval: Duration::from_secs(interval),
        decision: Decision::Pending,
    });
    answer::json(
        200,
        &json!({
            "device_code": code,
            "user_code": user_code,
            "verification_uri": format!("{base}/device"),
            "verification_uri_complete": format!("{base}/device?user_code={user_code}"),
            "expires_in": life,
            "interval": interval,
        }),
    )
}

/// The consent of a device code that was approved, or the error to answer with.
pub(crate) fn redeem(state: &mut State, code: &str) -> Result<usize, &'static str> {
    let now = Instant::now();
    let device = state.devices.iter_mut().find(|device| device.code == code).ok_or("invalid_grant")?;
    // A little early is no offence: clocks differ.
    let is_early = device.last.is_some_and(|last| now + Duration::from_millis(50) < last + device.interval);
    device.last = Some(now);
    if now > device.expires {
        return Err("expired_token");
    }
    if is_early {
        device.interval += Duration::from_secs(5);
        return Err("slow_down");
    }
    match std::mem::replace(&mut device.decision, Decision::Done) {
        Decision::Pending => {
            device.decision = Decision::Pending;
            Err("authorization_pending")
        }
        Decision::Denied => Err("access_denied"),
        Decision::Done => Err("invalid_grant"),
        Decision::Approved(account) => {
            let scopes = device.scopes.clone();
            Ok(state.consent(Some(account), scopes))
        }
    }
}
