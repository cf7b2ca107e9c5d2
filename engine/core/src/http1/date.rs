//! Calendar dates as seconds, without a library: two fixed forms are all that Exchange sends.

/// Seconds since 1970-01-01T00:00:00Z of a moment in UTC, or nothing for a date that is none or before 1970.
///
/// A leap second (`second` 60) counts as the next second, as POSIX time does.
pub(crate) fn unix_seconds(
    year: u32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
) -> Option<u64> {
    const DAYS: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let month_index = usize::try_from(month.checked_sub(1)?).ok()?;
    let days = DAYS.get(month_index)? + u32::from(month == 2 && leap);
    if !(1970..=9999).contains(&year) || day == 0 || day > days || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days from civil (Howard Hinnant, "chrono-compatible low-level date algorithms"): years begin in March, so that
    // the leap day is the last of its year.
    let year = u64::from(if month <= 2 { year - 1 } else { year });
    let day_of_year =
        (153 * u64::from(if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + u64::from(day) - 1;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    Some(days * 86_400 + u64::from(hour) * 3_600 + u64::from(minute) * 60 + u64::from(second))
}

/// A number of exactly `text.len()` decimal digits.
pub(crate) fn digits(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 9 {
        return None;
    }
    text.iter().try_fold(0u32, |sum, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| sum * 10 + u32::from(digit))
    })
}

/// Seconds since the epoch of an IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7). The two obsolete forms
/// are not read: no server of this century sends them.
pub(crate) fn imf_fixdate(text: &str) -> Option<u64> {
    const MONTHS: [&[u8]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let text = text.as_bytes();
    if text.len() != 29 || &text[3..5] != b", " || &text[25..] != b" GMT" {
        return None;
    }
    let blanks = [7, 11, 16].iter().all(|&at| text[at] == b' ');
    if !blanks || text[19] != b':' || text[22] != b':' {
        return None;
    }
    let month = MONTHS.iter().position(|name| *name == &text[8..11])? as u32 + 1;
    unix_seconds(
        digits(&text[12..16])?,
        month,
        digits(&text[5..7])?,
        digits(&text[17..19])?,
        digits(&text[20..22])?,
        digits(&text[23..25])?,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_have_their_known_seconds() {
        assert_eq!(imf_fixdate("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(imf_fixdate("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(imf_fixdate("Thu, 29 Feb 2024 12:00:00 GMT"), Some(1_709_208_000));
        for bad in [
            "",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Wed, 29 Feb 2023 12:00:00 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 CET",
        ] {
            assert_eq!(imf_fixdate(bad), None, "{bad}");
        }
    }

    #[test]
    fn days_follow_one_another() {
        let mut expected = 0;
        for year in 1970..2101 {
            for month in 1..=12 {
                for day in 1..=31 {
                    if let Some(at) = unix_seconds(year, month, day, 0, 0, 0) {
                        assert_eq!(at, expected, "{year}-{month}-{day}");
                        expected += 86_400;
                    }
                }
            }
        }
        assert_eq!(expected / 86_400, 47_847, "1970 to 2100 has so many days");
    }
}
