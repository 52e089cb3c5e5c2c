//! Dates as counts of days, times as counts of 100 ns, and both as ISO 8601 text.

/// 100 ns in one second.
pub(crate) const TICKS_PER_SECOND: u64 = 10_000_000;

/// 100 ns in one day.
pub(crate) const TICKS_PER_DAY: u64 = 86_400 * TICKS_PER_SECOND;

/// Days from 0001-01-01 to 1900-01-01, where `datetime` counts from.
pub(crate) const DAYS_TO_1900: u32 = 693_595;

/// Days from 0000-03-01, where years end with their leap day, to 0001-01-01.
const DAYS_TO_YEAR_1: u32 = 306;

/// Days since 0001-01-01 of a day of the proleptic Gregorian calendar.
pub(crate) fn days(year: u32, month: u32, day: u32) -> u32 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - DAYS_TO_YEAR_1
}

/// The year, month and day that are this many days after 0001-01-01.
fn civil(days: u32) -> (u32, u32, u32) {
    let days = days + DAYS_TO_YEAR_1;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year_of_era;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

/// Reads `YYYY-MM-DD`.
pub(crate) fn parse_date(text: &str) -> Option<u32> {
    let mut parts = text.splitn(3, '-').map(|part| part.parse::<u32>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let parsed = days(year.max(1), month, day);
    (civil(parsed) == (year, month, day)).then_some(parsed)
}

/// Reads `HH:MM`, `HH:MM:SS` and `HH:MM:SS.fffffff` as 100 ns since midnight.
pub(crate) fn parse_time(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 7 {
        return None;
    }
    let mut parts = whole.split(':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes) = (parts.next()??, parts.next()??);
    let seconds = parts.next().unwrap_or(Some(0))?;
    let ticks: u64 = format!("{fraction:0<7}").parse().ok()?;
    let in_range = hours < 24 && minutes < 60 && seconds < 60 && parts.next().is_none();
    in_range.then_some(((hours * 60 + minutes) * 60 + seconds) * TICKS_PER_SECOND + ticks)
}

/// Reads a date and a time with a space or a `T` between.
pub(crate) fn parse_datetime(text: &str) -> Option<(u32, u64)> {
    let (date, time) = text.split_once([' ', 'T'])?;
    Some((parse_date(date)?, parse_time(time)?))
}

/// Reads `Z`, `+HH:MM` or `-HH:MM` as minutes.
pub(crate) fn parse_offset(text: &str) -> Option<i16> {
    if text == "Z" {
        return Some(0);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    Some(sign * (hours.parse::<i16>().ok()? * 60 + minutes.parse::<i16>().ok()?))
}

/// Moves a day and a time by minutes. `None` before 0001-01-01.
pub(crate) fn shift(days: u32, ticks: u64, minutes: i16) -> Option<(u32, u64)> {
    let total = i128::from(days) * i128::from(TICKS_PER_DAY) + i128::from(ticks);
    let moved = total + i128::from(minutes) * 60 * i128::from(TICKS_PER_SECOND);
    let per_day = i128::from(TICKS_PER_DAY);
    let days = u32::try_from(moved.div_euclid(per_day)).ok()?;
    Some((days, u64::try_from(moved.rem_euclid(per_day)).ok()?))
}

/// `YYYY-MM-DD`.
pub(crate) fn date_text(days: u32) -> String {
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `HH:MM:SS`, with the fraction where there is one.
pub(crate) fn time_text(ticks: u64) -> String {
    let (seconds, fraction) = (ticks / TICKS_PER_SECOND, ticks % TICKS_PER_SECOND);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let whole = format!("{hours:02}:{minutes:02}:{:02}", seconds % 60);
    match format!("{fraction:07}").trim_end_matches('0') {
        "" => whole,
        fraction => format!("{whole}.{fraction}"),
    }
}

/// `+HH:MM` or `-HH:MM`.
pub(crate) fn offset_text(minutes: i16) -> String {
    let sign = if minutes < 0 { '-' } else { '+' };
    let minutes = minutes.unsigned_abs();
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_the_year_1() {
        let cases = [
            ("0001-01-01", 0),
            ("1900-01-01", DAYS_TO_1900),
            ("1970-01-01", 719_162),
            ("2000-02-29", 730_178),
            ("9999-12-31", 3_652_058),
        ];
        for (text, days) in cases {
            assert_eq!(parse_date(text), Some(days), "{text}");
            assert_eq!(date_text(days), text);
        }
        assert_eq!(parse_date("1900-02-29"), None);
    }

    #[test]
    fn an_offset_moves_the_day() {
        let (days, ticks) = parse_datetime("2024-03-01T01:00:00").unwrap();
        let (days, ticks) = shift(days, ticks, -330).unwrap();
        assert_eq!((date_text(days), time_text(ticks)), ("2024-02-29".into(), "19:30:00".into()));
    }
}
