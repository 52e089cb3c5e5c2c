//! How dates, times and bytes read in results: ISO 8601 and base64, the same from every database.

use std::fmt::Write;

use base64::Engine as _;
use serde_json::{Number, Value};

/// The largest integer that JavaScript's numbers hold exactly: 2^53 − 1.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// An integer: a number up to 2^53 − 1 either way, a string past that.
pub(super) fn integer(value: i128) -> Value {
    match i64::try_from(value) {
        Ok(small) if small.unsigned_abs() <= MAX_SAFE_INTEGER => Value::from(small),
        _ => Value::String(value.to_string()),
    }
}

/// A floating-point number; those that JSON can't express are `"NaN"`, `"Infinity"` and `"-Infinity"`.
pub(super) fn float(value: f64) -> Value {
    match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => Value::from("NaN"),
        None if value > 0.0 => Value::from("Infinity"),
        None => Value::from("-Infinity"),
    }
}

/// A single-precision number, with as few digits as name it.
pub(super) fn float32(value: f32) -> Value {
    // Through its text: 0.1_f32 widened to an f64 reads 0.10000000149011612.
    value.to_string().parse().map_or_else(|_| float(f64::from(value)), float)
}

/// Bytes, as base64.
pub(super) fn bytes(bytes: &[u8]) -> Value {
    Value::String(base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// A date of the proleptic Gregorian calendar: `2026-11-20`. Years before 1 and past 9999 have a sign, as ISO 8601 says.
pub(super) fn date(year: i32, month: u32, day: u32) -> String {
    if (0..=9999).contains(&year) {
        format!("{year:04}-{month:02}-{day:02}")
    } else {
        format!("{year:+05}-{month:02}-{day:02}")
    }
}

/// A time of day: `12:30:00`, with as many digits of the second's fraction as say something.
pub(super) fn time(hour: u32, minute: u32, second: u32, nanosecond: u32) -> String {
    let mut text = format!("{hour:02}:{minute:02}:{second:02}");
    if nanosecond > 0 {
        let digits = format!("{nanosecond:09}");
        // Writing into a String can't fail.
        let _ = write!(text, ".{}", digits.trim_end_matches('0'));
    }
    text
}

/// The date that is so many days after 1970-01-01 (before, if negative), as year, month and day.
pub(super) fn civil_from_days(days: i64) -> (i32, u32, u32) {
    // Howard Hinnant's algorithm, in eras of 400 years that begin in March.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    // Months and days are small by construction, and the days of every database's dates make years that fit.
    let small = |value: i64| u32::try_from(value).unwrap_or(0);
    (i32::try_from(year).unwrap_or(i32::MAX), small(month), small(day))
}

/// A time of day, as microseconds from midnight.
pub(super) fn time_micros(micros: i64) -> String {
    let part = |value: i64| u32::try_from(value).unwrap_or(0);
    let seconds = micros / 1_000_000;
    time(part(seconds / 3600), part(seconds / 60 % 60), part(seconds % 60), part(micros % 1_000_000 * 1000))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn integers_are_numbers_as_far_as_those_are_exact() {
        assert_eq!(integer(9_007_199_254_740_991), json!(9_007_199_254_740_991_i64));
        assert_eq!(integer(-9_007_199_254_740_991), json!(-9_007_199_254_740_991_i64));
        assert_eq!(integer(9_007_199_254_740_992), json!("9007199254740992"));
        assert_eq!(integer(i128::from(i64::MIN)), json!("-9223372036854775808"));
        assert_eq!(integer(i128::from(u64::MAX)), json!("18446744073709551615"));
    }

    #[test]
    fn what_json_has_no_number_for_is_a_text() {
        assert_eq!(float(f64::NAN), json!("NaN"));
        assert_eq!(float(f64::NEG_INFINITY), json!("-Infinity"));
        assert_eq!(float32(0.1), json!(0.1));
        assert_eq!(float32(f32::INFINITY), json!("Infinity"));
    }

    #[test]
    fn dates_and_times_are_iso_8601() {
        assert_eq!(date(2026, 11, 20), "2026-11-20");
        assert_eq!(date(12_026, 1, 2), "+12026-01-02");
        assert_eq!(date(-44, 3, 15), "-0044-03-15");
        assert_eq!(time(1, 2, 3, 0), "01:02:03");
        assert_eq!(time(1, 2, 3, 120_000_000), "01:02:03.12");
        assert_eq!(time(1, 2, 3, 1), "01:02:03.000000001");
    }

    #[test]
    fn days_become_dates() {
        for (days, expected) in [
            (0, (1970, 1, 1)),
            (-1, (1969, 12, 31)),
            (19_782, (2024, 2, 29)),
            (19_783, (2024, 3, 1)),
            (-719_162, (1, 1, 1)),
            (-719_529, (-1, 12, 31)),
            (2_932_896, (9999, 12, 31)),
        ] {
            assert_eq!(civil_from_days(days), expected, "{days}");
        }
    }

    #[test]
    fn microseconds_become_times() {
        assert_eq!(time_micros(0), "00:00:00");
        assert_eq!(time_micros(86_399_999_999), "23:59:59.999999");
        assert_eq!(time_micros(3_600_500_000), "01:00:00.5");
    }
}
