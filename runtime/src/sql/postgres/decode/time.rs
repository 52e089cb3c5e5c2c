//! Dates, times and intervals: days, months and microseconds, counted from 2000-01-01.

use std::fmt::Write as _;

use super::{Malformed, fixed, take};
use crate::sql::text;

/// Days from 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i64 = 10_957;
const DAY_MICROS: i64 = 86_400_000_000;
const HOUR_MICROS: i64 = 3_600_000_000;
const MINUTE_MICROS: i64 = 60_000_000;
const SECOND_MICROS: i64 = 1_000_000;

/// `date`: days.
pub(super) fn date(days: i32) -> String {
    match days {
        i32::MAX => "infinity".to_owned(),
        i32::MIN => "-infinity".to_owned(),
        days => {
            let (year, month, day) = text::civil_from_days(i64::from(days) + EPOCH_DAYS);
            text::date(year, month, day)
        }
    }
}

/// `timestamp` and `timestamptz`: microseconds; `zone` is what stands after the time.
pub(super) fn timestamp(micros: i64, zone: &str) -> String {
    match micros {
        i64::MAX => "infinity".to_owned(),
        i64::MIN => "-infinity".to_owned(),
        micros => {
            // Split before the epoch is moved: the last years that there are would overflow otherwise.
            let days = micros.div_euclid(DAY_MICROS) + EPOCH_DAYS;
            let (year, month, day) = text::civil_from_days(days);
            let time = text::time_micros(micros.rem_euclid(DAY_MICROS));
            format!("{}T{time}{zone}", text::date(year, month, day))
        }
    }
}

/// `timetz`: microseconds from midnight, and the zone in seconds west of Greenwich.
pub(super) fn time_with_zone(mut bytes: &[u8]) -> Result<String, Malformed> {
    let mut time = text::time_micros(i64::from_be_bytes(take(&mut bytes)?));
    let west = i32::from_be_bytes(fixed(bytes)?);
    if west == 0 {
        time.push('Z');
        return Ok(time);
    }
    let sign = if west > 0 { '-' } else { '+' };
    let seconds = west.unsigned_abs();
    // Writing into a String can't fail.
    let _ = write!(time, "{sign}{:02}:{:02}", seconds / 3600, seconds / 60 % 60);
    if seconds % 60 > 0 {
        let _ = write!(time, ":{:02}", seconds % 60);
    }
    Ok(time)
}

/// `interval` as an ISO 8601 duration, the way the server writes one under `IntervalStyle = iso_8601`: each part has its
/// own sign.
pub(super) fn interval(mut bytes: &[u8]) -> Result<String, Malformed> {
    let micros = i64::from_be_bytes(take(&mut bytes)?);
    let days = i32::from_be_bytes(take(&mut bytes)?);
    let months = i32::from_be_bytes(fixed(bytes)?);
    match (micros, days, months) {
        (i64::MAX, i32::MAX, i32::MAX) => return Ok("infinity".to_owned()),
        (i64::MIN, i32::MIN, i32::MIN) => return Ok("-infinity".to_owned()),
        (0, 0, 0) => return Ok("PT0S".to_owned()),
        _ => {}
    }
    let mut text = String::from("P");
    let part = |text: &mut String, value: i64, unit: char| {
        if value != 0 {
            let _ = write!(text, "{value}{unit}");
        }
    };
    part(&mut text, i64::from(months / 12), 'Y');
    part(&mut text, i64::from(months % 12), 'M');
    part(&mut text, i64::from(days), 'D');
    if micros != 0 {
        text.push('T');
        part(&mut text, micros / HOUR_MICROS, 'H');
        part(&mut text, micros % HOUR_MICROS / MINUTE_MICROS, 'M');
        push_seconds(&mut text, micros % MINUTE_MICROS);
    }
    Ok(text)
}

fn push_seconds(text: &mut String, micros: i64) {
    if micros == 0 {
        return;
    }
    let sign = if micros < 0 { "-" } else { "" };
    let (seconds, fraction) = (micros.abs() / SECOND_MICROS, micros.abs() % SECOND_MICROS);
    let _ = write!(text, "{sign}{seconds}");
    if fraction > 0 {
        let digits = format!("{fraction:06}");
        let _ = write!(text, ".{}", digits.trim_end_matches('0'));
    }
    text.push('S');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_counted_from_the_year_2000() {
        assert_eq!(date(0), "2000-01-01");
        assert_eq!(date(-10_958), "1969-12-31");
        assert_eq!(date(i32::MAX), "infinity");
        assert_eq!(timestamp(0, ""), "2000-01-01T00:00:00");
        assert_eq!(timestamp(-1, "Z"), "1999-12-31T23:59:59.999999Z");
        assert_eq!(timestamp(i64::MIN, "Z"), "-infinity");
        // The last moment that there is: 294276-12-31 24:00 is past it.
        assert_eq!(timestamp(9_223_371_331_199_999_999, ""), "+294276-12-31T23:59:59.999999");
    }

    #[test]
    fn zones_count_eastwards_in_text() {
        let time = |zone: i32| {
            let bytes = [&45_000_500_000_i64.to_be_bytes()[..], &zone.to_be_bytes()].concat();
            time_with_zone(&bytes).unwrap()
        };
        assert_eq!(time(0), "12:30:00.5Z");
        assert_eq!(time(-19_800), "12:30:00.5+05:30");
        assert_eq!(time(28_800), "12:30:00.5-08:00");
        assert_eq!(time(-3601), "12:30:00.5+01:00:01");
    }

    #[test]
    fn intervals_are_iso_8601_durations() {
        let text = |months: i32, days: i32, micros: i64| {
            let parts = [&micros.to_be_bytes()[..], &days.to_be_bytes(), &months.to_be_bytes()];
            interval(&parts.concat()).unwrap()
        };
        assert_eq!(text(0, 0, 0), "PT0S");
        assert_eq!(text(14, 3, 14_706_789_000), "P1Y2M3DT4H5M6.789S");
        assert_eq!(text(-14, 3, -14_706_789_000), "P-1Y-2M3DT-4H-5M-6.789S");
        assert_eq!(text(0, 0, -500_000), "PT-0.5S");
        assert_eq!(text(0, 1, 0), "P1D");
        assert_eq!(text(0, 0, 3_600_000_000), "PT1H");
        assert_eq!(text(i32::MAX, i32::MAX, i64::MAX), "infinity");
    }
}
