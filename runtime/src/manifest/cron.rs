//! Checks that a `syncFrequency` is a cron schedule of five fields. Running schedules is not done here.

use std::ops::RangeInclusive;

struct Field {
    name: &'static str,
    range: RangeInclusive<u32>,
    names: &'static [&'static str],
    /// The number that the first of `names` stands for.
    first_name: u32,
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const FIELDS: [Field; 5] = [
    Field { name: "minute", range: 0..=59, names: &[], first_name: 0 },
    Field { name: "hour", range: 0..=23, names: &[], first_name: 0 },
    Field { name: "day of month", range: 1..=31, names: &[], first_name: 0 },
    Field { name: "month", range: 1..=12, names: MONTHS, first_name: 1 },
    Field { name: "day of week", range: 0..=7, names: DAYS, first_name: 0 },
];

/// Checks a schedule such as `*/15 8-18 * * mon-fri`; the error says which field is wrong and what it may hold.
pub(crate) fn check(schedule: &str) -> Result<(), String> {
    let written: Vec<_> = schedule.split_whitespace().collect();
    if written.len() != FIELDS.len() {
        return Err(format!(
            "a cron schedule has five fields (minute, hour, day of month, month, day of week), found {}",
            written.len()
        ));
    }
    FIELDS.iter().zip(written).try_for_each(|(field, text)| {
        text.split(',').try_for_each(|part| check_part(field, part)).map_err(|()| {
            let (first, last) = (field.range.start(), field.range.end());
            let text = super::words::quote(text);
            format!("{text} is no {}: write *, numbers from {first} to {last}, ranges a-b, steps */n, or a list of these", field.name)
        })
    })
}

/// `*`, `n`, `a-b`, each with an optional `/step`.
fn check_part(field: &Field, part: &str) -> Result<(), ()> {
    let (span, step) = part.split_once('/').map_or((part, None), |(span, step)| (span, Some(step)));
    if let Some(step) = step {
        let step = number(step).ok_or(())?;
        if step == 0 || step > *field.range.end() {
            return Err(());
        }
    }
    if span == "*" {
        return Ok(());
    }
    let (first, last) = span.split_once('-').unwrap_or((span, span));
    let (first, last) = (value(field, first).ok_or(())?, value(field, last).ok_or(())?);
    if first <= last { Ok(()) } else { Err(()) }
}

fn value(field: &Field, text: &str) -> Option<u32> {
    let named = field.names.iter().position(|name| text.eq_ignore_ascii_case(name));
    let value = match named {
        Some(index) => u32::try_from(index).ok()? + field.first_name,
        None => number(text)?,
    };
    field.range.contains(&value).then_some(value)
}

/// Digits alone: `str::parse` would take a sign as well.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_of_five_fields_in_range() {
        for good in [
            "* * * * *",
            "*/15 * * * *",
            "0 0,12 1-15 * *",
            "5 4 * * sun",
            "0 22 * * 1-5",
            "0 0 1 JAN,jul *",
            "0-30/5 8-18 * * mon-fri",
            " 0  0 * * 7 ",
        ] {
            assert_eq!(check(good), Ok(()), "{good:?}");
        }
        for bad in [
            "",
            "hourly",
            "@daily",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "*/0 * * * *",
            "*/99 * * * *",
            "5-1 * * * *",
            "a * * * *",
            "-1 * * * *",
            "+1 * * * *",
            "1,, * * * *",
            "1- * * * *",
            "* * * * mon-",
            "99999999999 * * * *",
        ] {
            assert!(check(bad).is_err(), "{bad:?} passed");
        }
    }
}
