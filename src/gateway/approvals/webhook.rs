//! Telling projects of their approvals, as Standard Webhooks has it: signed, and again until it was heard, for a day.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use portcullis_runtime::egress::{Body, Budget, Client, Method, Request};
use portcullis_runtime::manifest::host::{AllowedHosts, HostPattern};
use sha2::Sha256;
use tokio::task::JoinSet;
use url::Url;
use zeroize::Zeroizing;

use super::super::retry::random;
use super::super::{Gateway, GatewayError};
use crate::error::chain;
use crate::store::webhooks::Delivery;
use crate::time::Timestamp;
use crate::vault::Binding;

/// The longest that one attempt takes, and how long it is this process's alone.
const DEADLINE: Duration = Duration::from_secs(15);
const ALONE: Duration = Duration::from_secs(60);
/// The first pause after an attempt that failed, and the longest: it doubles each time.
const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(3600));
/// When it is given up.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Attempts side by side.
const MAX_AT_ONCE: u32 = 8;
/// The largest answer that is read, in bytes; what it says doesn't matter.
const MAX_ANSWER: u64 = 64 * 1024;

impl Gateway {
    /// Tells what is due, as far as this process gets to it.
    pub(super) async fn tell_webhooks(&self) -> Result<(), GatewayError> {
        let due = self.inner.store.take_deliveries(Timestamp::now(), ALONE, MAX_AT_ONCE).await?;
        let mut running = JoinSet::new();
        for delivery in due {
            let gateway = self.clone();
            running.spawn(async move { gateway.tell(&delivery).await });
        }
        while let Some(told) = running.join_next().await {
            if let Ok(Err(error)) = told {
                tracing::warn!(error = chain(&error), "what came of telling a webhook can't be stored");
            }
        }
        Ok(())
    }

    async fn tell(&self, delivery: &Delivery) -> Result<(), GatewayError> {
        let store = &self.inner.store;
        let outcome = match store.webhook(delivery.project).await? {
            // It was taken away meanwhile.
            None => return Ok(store.delete_delivery(delivery).await?),
            Some(webhook) => {
                match self.inner.vault.open(&Binding::webhook(delivery.project), &webhook.secret) {
                    Ok(secret) => send(self.inner.engine.egress(), &webhook.url, secret, delivery).await,
                    Err(error) => Err(chain(&error)),
                }
            }
        };
        let outcome_name = if outcome.is_ok() { "ok" } else { "failed" };
        metrics::counter!("portcullis_webhook_attempts_total", "outcome" => outcome_name).increment(1);
        let Err(problem) = outcome else { return Ok(store.delete_delivery(delivery).await?) };
        let now = Timestamp::now();
        if now > delivery.created_at.plus(GIVEN_UP_AFTER) {
            tracing::warn!(project = %delivery.project, problem, "a webhook wasn't to be told for a day; it is given up");
            return Ok(store.delete_delivery(delivery).await?);
        }
        tracing::debug!(project = %delivery.project, problem, "a webhook wasn't told; it will be tried again");
        let backoff = PAUSES.0.saturating_mul(2_u32.saturating_pow(delivery.attempts)).min(PAUSES.1);
        let pause = backoff.mul_f64(0.5 + random() / 2.0);
        Ok(store.postpone_delivery(delivery, now.plus(pause), &problem).await?)
    }
}

/// One attempt; why it failed, in words.
async fn send(
    egress: &Client,
    url: &str,
    secret: Zeroizing<Vec<u8>>,
    delivery: &Delivery,
) -> Result<(), String> {
    let allowed = Url::parse(url).ok().as_ref().and_then(only_host_of);
    let allowed = allowed.ok_or_else(|| format!("{url} can't be reached"))?;
    let (id, timestamp) = (format!("msg_{}", delivery.id.simple()), Timestamp::now().0 / 1000);
    let signature = sign(&secret, &id, timestamp, &delivery.payload);
    let request = Request::new(Method::Post, url)
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp.to_string())
        .header("webhook-signature", signature);
    let request = Request {
        body: Body::Bytes(delivery.payload.clone().into_bytes()),
        default_content_type: Some("application/json"),
        ..request
    };
    let egress = egress.clone();
    let work = move || {
        let budget = Budget { deadline: Instant::now() + DEADLINE, max_body_bytes: MAX_ANSWER };
        egress.send(&request, &allowed, budget, &mut |_| ())
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(response)) if (200..300).contains(&response.status) => Ok(()),
        Ok(Ok(response)) => Err(format!("it answered {}", response.status)),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err("the attempt broke off inside this server".to_owned()),
    }
}

/// The header of an attempt: HMAC-SHA256 over id, time and body.
fn sign(secret: &[u8], id: &str, timestamp: i64, payload: &str) -> String {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key of any length");
    mac.update(format!("{id}.{timestamp}.{payload}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// The hosts that a delivery may go to: the URL's own.
fn only_host_of(url: &Url) -> Option<AllowedHosts> {
    let scheme = if url.scheme() == "http" { "http://" } else { "" };
    let entry = format!("{scheme}{}:{}", url.host_str()?, url.port_or_known_default()?);
    Some(AllowedHosts::resolve(&[HostPattern::parse(&entry).ok()?], |_| None))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification, https://github.com/standard-webhooks/standard-webhooks.
    #[test]
    fn the_signature_is_that_of_the_standard() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature =
            sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_delivery_goes_to_its_own_host_alone() {
        let allows = |of: &str, url: &str| {
            only_host_of(&Url::parse(of).unwrap()).unwrap().allows(&Url::parse(url).unwrap())
        };
        assert!(allows("https://a.com/x", "https://a.com/y"));
        assert!(allows("http://127.0.0.1:8080/x", "http://127.0.0.1:8080/x"));
        assert!(allows("https://[2001:db8::1]:8443/x", "https://[2001:db8::1]:8443/x"));
        for other in ["http://a.com/x", "https://b.com/x", "https://a.com:8443/x"] {
            assert!(!allows("https://a.com/x", other), "{other}");
        }
    }
}
