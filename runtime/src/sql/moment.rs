//! Dates and times in texts, as people and SQLite's own functions write them, as ISO 8601.
//!
//! The forms are ISO 8601's and those of <https://www.sqlite.org/lang_datefunc.html>: `YYYY-MM-DD`, `HH:MM[:SS[.SSS]]`, and both with a
//! space or `T` between, perhaps followed by `Z` or an offset from UTC.

use crate::sql::text;

const MINUTES_A_DAY: i64 = 24 * 60;

/// What a text is meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// `DATE`.
    Date,
    /// `TIME`.
    Time,
    /// `DATETIME`, `TIMESTAMP` and the like.
    Timestamp,
}

/// The text as ISO 8601, in UTC if it names a zone; or none if it isn't in one of the forms.
pub(super) fn iso(written: &str, moment: Moment) -> Option<String> {
    let written = written.trim();
    if let Some(time) = clock(written).filter(|_| moment != Moment::Timestamp) {
        return time.zone.is_none().then(|| time.to_string());
    }
    let date = date(written.get(..10)?)?;
    let rest = &written[10..];
    if rest.is_empty() {
        let midnight = if moment == Moment::Timestamp { "T00:00:00" } else { "" };
        return Some(format!("{written}{midnight}"));
    }
    let time = clock(rest.strip_prefix(['T', 't', ' '])?.trim_start())?;
    Some(join(date, &time))
}

/// A date's year, month and day.
type Date = (i32, u32, u32);

/// A time of day. The second's fraction keeps its digits.
struct Clock<'t> {
    hour: u32,
    minute: u32,
    second: u32,
    fraction: &'t str,
    /// Minutes east of UTC, if the text names a zone.
    zone: Option<i64>,
}

impl std::fmt::Display for Clock<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { hour, minute, second, fraction, .. } = self;
        let point = if fraction.is_empty() { "" } else { "." };
        write!(f, "{hour:02}:{minute:02}:{second:02}{point}{fraction}")
    }
}

fn join((year, month, day): Date, time: &Clock<'_>) -> String {
    let Some(offset) = time.zone else {
        return format!("{}T{time}", text::date(year, month, day));
    };
    let minutes = days(year, month, day) * MINUTES_A_DAY + i64::from(time.hour * 60 + time.minute) - offset;
    let (year, month, day) = text::civil_from_days(minutes.div_euclid(MINUTES_A_DAY));
    let in_day = u32::try_from(minutes.rem_euclid(MINUTES_A_DAY)).unwrap_or_default();
    let time = Clock { hour: in_day / 60, minute: in_day % 60, zone: None, ..*time };
    format!("{}T{time}Z", text::date(year, month, day))
}

fn date(written: &str) -> Option<Date> {
    let (year, rest) = written.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    let (year, month, day) = (number(year, 4, 9999)?, number(month, 2, 12)?, number(day, 2, 31)?);
    (month >= 1 && day >= 1).then_some((i32::try_from(year).ok()?, month, day))
}

fn clock(written: &str) -> Option<Clock<'_>> {
    let n_time = written.find(|c: char| !c.is_ascii_digit() && c != ':' && c != '.').unwrap_or(written.len());
    let (time, zone) = written.split_at(n_time);
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut parts = time.split(':');
    let (hour, minute) = (number(parts.next()?, 2, 23)?, number(parts.next()?, 2, 59)?);
    let second = parts.next();
    if parts.next().is_some() || fraction.contains([':', '.']) || (second.is_none() && !fraction.is_empty()) {
        return None;
    }
    let second = second.map_or(Some(0), |second| number(second, 2, 59))?;
    let zone = match zone.trim_start() {
        "" => None,
        "Z" | "z" => Some(0),
        zone => Some(offset(zone)?),
    };
    Some(Clock { hour, minute, second, fraction: fraction.trim_end_matches('0'), zone })
}

/// Minutes east of UTC, from `+HH:MM` or `-HH:MM`.
fn offset(zone: &str) -> Option<i64> {
    let (hours, minutes) = zone.strip_prefix(['+', '-'])?.split_once(':')?;
    let minutes = i64::from(number(hours, 2, 14)? * 60 + number(minutes, 2, 59)?);
    Some(if zone.starts_with('-') { -minutes } else { minutes })
}

/// A number of exactly so many digits.
fn number(digits: &str, n_digits: usize, max: u32) -> Option<u32> {
    let is_number = digits.len() == n_digits && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|number| is_number && *number <= max)
}

/// Days from 1970-01-01: the inverse of [`text::civil_from_days`].
fn days(year: i32, month: u32, day: u32) -> i64 {
    let year = i64::from(year) - i64::from(month <= 2);
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let year_of_era = year.rem_euclid(400);
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    year.div_euclid(400) * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlites_forms_become_iso_8601() {
        for (written, expected) in [
            ("2026-11-20 12:30:00", "2026-11-20T12:30:00"),
            ("2026-11-20T12:30:00", "2026-11-20T12:30:00"),
            ("2026-11-20 12:30", "2026-11-20T12:30:00"),
            ("2026-11-20 12:30:00.500", "2026-11-20T12:30:00.5"),
            ("2026-11-20 12:30:00.000", "2026-11-20T12:30:00"),
            ("2026-11-20 12:30:00.123456789012", "2026-11-20T12:30:00.123456789012"),
            ("2026-11-20 12:30:00Z", "2026-11-20T12:30:00Z"),
            ("2026-11-20 12:30:00 +02:00", "2026-11-20T10:30:00Z"),
            ("2026-11-20T23:30:15.250-05:30", "2026-11-21T05:00:15.25Z"),
            ("2026-01-01 00:30:00+01:00", "2025-12-31T23:30:00Z"),
            ("2024-02-29 23:59:00-00:01", "2024-03-01T00:00:00Z"),
            ("0000-03-01 00:00:00Z", "0000-03-01T00:00:00Z"),
            ("2026-11-20", "2026-11-20T00:00:00"),
        ] {
            assert_eq!(iso(written, Moment::Timestamp).as_deref(), Some(expected), "{written}");
        }
    }

    #[test]
    fn dates_and_times_stay_what_they_are() {
        assert_eq!(iso("2026-11-20", Moment::Date).as_deref(), Some("2026-11-20"));
        assert_eq!(iso("2026-11-20 08:00:00", Moment::Date).as_deref(), Some("2026-11-20T08:00:00"));
        assert_eq!(iso("08:05", Moment::Time).as_deref(), Some("08:05:00"));
        assert_eq!(iso("08:05:09.120", Moment::Time).as_deref(), Some("08:05:09.12"));
    }

    #[test]
    fn what_is_none_of_them_is_left_alone() {
        for written in [
            "",
            "tomorrow",
            "2026-13-01 00:00:00",
            "2026-00-10",
            "2026-11-20 24:00:00",
            "2026-11-20 12",
            "2026-11-20 12:30:00 CET",
            "2026-11-20 12:30:00+2:00",
            "2026-11-20 12:30.5",
            "2026-11-20x12:30:00",
            "20261120",
            "2026-11-2é 10:00",
            "+026-11-20",
        ] {
            assert_eq!(iso(written, Moment::Timestamp), None, "{written}");
        }
        assert_eq!(iso("08:05:00Z", Moment::Time), None);
    }

    #[test]
    fn days_are_the_inverse_of_dates() {
        for day in (-719_528..2_932_896).step_by(97) {
            let (year, month, day_of_month) = text::civil_from_days(day);
            assert_eq!(days(year, month, day_of_month), day);
        }
    }
}
