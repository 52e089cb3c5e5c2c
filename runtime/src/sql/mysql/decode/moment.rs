//! MySQL's dates and times, from the binary protocol's bytes or the text protocol's text.

use std::fmt;

use super::super::super::text;

/// A date, or a date with a time; each part may be zero, as MySQL's "zero dates" are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Moment {
    year: u16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
    microsecond: u32,
}

impl Moment {
    /// Reads a length, and as many bytes; those that are left out are zero.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut moment = Self::default();
        let [length, rest @ ..] = bytes else { return None };
        if usize::from(*length) != rest.len() {
            return None;
        }
        if let [y0, y1, month, day, time @ ..] = rest {
            (moment.year, moment.month, moment.day) = (u16::from_le_bytes([*y0, *y1]), *month, *day);
            if let [hour, minute, second, micros @ ..] = time {
                (moment.hour, moment.minute, moment.second) = (*hour, *minute, *second);
                moment.microsecond = microsecond(micros)?;
            } else if !time.is_empty() {
                return None;
            }
        } else if !rest.is_empty() {
            return None;
        }
        Some(moment)
    }

    /// The date alone.
    pub(super) fn date(&self) -> String {
        text::date(self.year.into(), self.month.into(), self.day.into())
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hour, minute, second) = (self.hour.into(), self.minute.into(), self.second.into());
        write!(f, "{}T{}", self.date(), text::time(hour, minute, second, self.microsecond * 1000))
    }
}

/// A TIME: a time of day, or a span of up to 838 hours either way.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    is_negative: bool,
    n_hours: u64,
    minute: u8,
    second: u8,
    microsecond: u32,
}

impl Span {
    /// Reads a length, and as many bytes: none for zero.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0] => Some(Self::default()),
            [8 | 12, sign, d0, d1, d2, d3, hour, minute, second, micros @ ..] => Some(Self {
                is_negative: *sign != 0,
                n_hours: u64::from(u32::from_le_bytes([*d0, *d1, *d2, *d3])) * 24 + u64::from(*hour),
                minute: *minute,
                second: *second,
                microsecond: microsecond(micros)?,
            }),
            _ => None,
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.is_negative { "-" } else { "" };
        let in_hour = text::time(0, self.minute.into(), self.second.into(), self.microsecond * 1000);
        // What `text::time` writes begins with the hour, "00".
        write!(f, "{sign}{:02}{}", self.n_hours, &in_hour[2..])
    }
}

/// The rest of a time: nothing, or microseconds of less than a second.
fn microsecond(bytes: &[u8]) -> Option<u32> {
    match *bytes {
        [] => Some(0),
        [a, b, c, d] => Some(u32::from_le_bytes([a, b, c, d])).filter(|micros| *micros < 1_000_000),
        _ => None,
    }
}

/// `2026-11-20 12:30:00.500000` as `2026-11-20T12:30:00.5`.
pub(super) fn iso(text: &str) -> String {
    without_zeros(text).replacen(' ', "T", 1)
}

/// A time without zeros at the end of its fraction.
pub(super) fn without_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(bytes: &[u8]) -> Option<String> {
        Moment::read(bytes).map(|moment| moment.to_string())
    }

    #[test]
    fn moments_leave_out_what_is_zero() {
        assert_eq!(moment(&[4, 234, 7, 11, 20]).as_deref(), Some("2026-11-20T00:00:00"));
        assert_eq!(moment(&[7, 234, 7, 11, 20, 12, 30, 0]).as_deref(), Some("2026-11-20T12:30:00"));
        let with_fraction = [11, 234, 7, 11, 20, 12, 30, 0, 32, 161, 7, 0];
        assert_eq!(moment(&with_fraction).as_deref(), Some("2026-11-20T12:30:00.5"));
        assert_eq!(Moment::read(&[0]).map(|zero| zero.date()).as_deref(), Some("0000-00-00"));
        for broken in [
            &[][..],
            &[4, 1],
            &[3, 1, 1, 1],
            &[5, 1, 1, 1, 1, 1],
            &[11, 234, 7, 11, 20, 12, 30, 0, 255, 255, 255, 255],
        ] {
            assert_eq!(moment(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn times_may_be_spans() {
        let span = |bytes: &[u8]| Span::read(bytes).map(|span| span.to_string());
        assert_eq!(span(&[0]).as_deref(), Some("00:00:00"));
        assert_eq!(span(&[12, 0, 0, 0, 0, 0, 12, 30, 0, 144, 208, 3, 0]).as_deref(), Some("12:30:00.25"));
        assert_eq!(span(&[8, 1, 34, 0, 0, 0, 22, 59, 59]).as_deref(), Some("-838:59:59"));
        assert_eq!(span(&[8, 1, 34]), None);
    }

    #[test]
    fn texts_become_iso_8601() {
        assert_eq!(iso("2026-11-20 12:30:00.500000"), "2026-11-20T12:30:00.5");
        assert_eq!(iso("2026-11-20 12:30:00"), "2026-11-20T12:30:00");
        assert_eq!(without_zeros("12:30:00.000"), "12:30:00");
    }
}
