//! When tokens are refreshed: a while before they expire, and not all connections' at once.

use std::time::Duration;

use uuid::Uuid;

use crate::time::Timestamp;

/// How long before its end a token is refreshed, where its life is long enough.
const MARGIN: Duration = Duration::from_secs(60);
/// The longest margin of any connection.
pub(super) const LONGEST_MARGIN: Duration = Duration::from_secs(90);
/// The first pause after a refresh that failed, and the longest: it doubles each time.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// The longest pause that a server can ask for.
const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// How long before its end a connection's token is refreshed: 60 seconds, or a tenth of its life where that is less; and up
/// to half as long again, so that connections that were made at once don't ask for tokens at once.
pub(super) fn margin(connection: Uuid, obtained_at: Option<Timestamp>, expires_at: Timestamp) -> Duration {
    let life = obtained_at.and_then(|at| u64::try_from(expires_at.0.saturating_sub(at.0)).ok());
    let base = life.map_or(MARGIN, |ms| MARGIN.min(Duration::from_millis(ms) / 10));
    // The last byte of an id is random.
    let spread = u32::from(connection.as_bytes()[15]);
    base + base * spread / 512
}

/// How long a server is left alone after so many failures in a row; `random` is from 0 to 1.
pub(super) fn pause(failures: u32, retry_after: Option<Duration>, random: f64) -> Duration {
    let backoff = PAUSES.0.saturating_mul(2_u32.saturating_pow(failures)).min(PAUSES.1);
    let jittered = backoff.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
    retry_after.map_or(jittered, |asked| asked.min(MAX_PAUSE).max(jittered))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(spread: u8, life_s: i64) -> Duration {
        let mut bytes = [0; 16];
        bytes[15] = spread;
        margin(Uuid::from_bytes(bytes), Some(Timestamp(0)), Timestamp(life_s * 1000))
    }

    #[test]
    fn the_margin_is_a_minute_or_a_tenth_of_the_life_and_spread() {
        assert_eq!(of(0, 3600), Duration::from_secs(60));
        assert_eq!(of(0, 600), Duration::from_secs(60));
        assert_eq!(of(0, 100), Duration::from_secs(10));
        assert_eq!(of(0, 0), Duration::ZERO);
        assert_eq!(of(128, 3600), Duration::from_secs(75));
        assert!(of(255, 3600) <= LONGEST_MARGIN && of(255, 3600) > Duration::from_secs(89));
        assert_eq!(margin(Uuid::nil(), None, Timestamp(5)), MARGIN);
        assert_eq!(margin(Uuid::nil(), Some(Timestamp(9)), Timestamp(5)), MARGIN);
    }

    #[test]
    fn pauses_double_end_somewhere_and_are_as_long_as_the_server_asks() {
        let seconds =
            |failures, asked: Option<u64>| pause(failures, asked.map(Duration::from_secs), 1.0).as_secs();
        assert_eq!([0, 1, 2, 3].map(|failures| seconds(failures, None)), [1, 2, 4, 8]);
        assert_eq!((seconds(40, None), seconds(u32::MAX, None)), (300, 300));
        assert_eq!((seconds(0, Some(30)), seconds(9, Some(30)), seconds(0, Some(u64::MAX))), (30, 300, 3600));
        assert_eq!(pause(1, None, 0.0), Duration::from_secs(1));
    }
}
