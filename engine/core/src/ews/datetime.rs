//! `xs:dateTime` to milliseconds since the epoch.

use crate::http1::date::{digits, unix_seconds};
use crate::time::UnixMillis;

/// Reads `2013-09-16T04:31:29Z`, with an optional fraction and `Z` or `±hh:mm` (XML Schema part 2, §3.2.7). A time
/// without zone is taken for UTC, in which Exchange gives all times unless asked otherwise. Digits beyond the millisecond
/// are dropped. Nothing for what is no time, or one before 1970.
pub fn parse_date_time(text: &str) -> Option<UnixMillis> {
    let text = text.trim_ascii().as_bytes();
    let (moment, mut rest) = text.split_at_checked(19)?;
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if marks.iter().any(|(at, mark)| moment[*at] != *mark) {
        return None;
    }
    let number = |from: usize, to: usize| digits(&moment[from..to]);
    let seconds = unix_seconds(
        number(0, 4)?,
        number(5, 7)?,
        number(8, 10)?,
        number(11, 13)?,
        number(14, 16)?,
        number(17, 19)?,
    )?;

    let mut millis = 0;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let len = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (fraction, after) = fraction.split_at(len);
        millis = match fraction {
            [] => return None,
            [a] => u64::from(digits(&[*a])?) * 100,
            [a, b] => u64::from(digits(&[*a, *b])?) * 10,
            [a, b, c, ..] => u64::from(digits(&[*a, *b, *c])?),
        };
        rest = after;
    }
    let zone_s = match rest {
        [] | b"Z" => 0,
        [sign @ (b'+' | b'-'), hours @ .., b':', m1, m2] if hours.len() == 2 => {
            let (hours, minutes) = (digits(hours)?, digits(&[*m1, *m2])?);
            if hours > 14 || minutes > 59 {
                return None;
            }
            let offset = i64::from(hours * 3_600 + minutes * 60);
            if *sign == b'+' { -offset } else { offset }
        }
        _ => return None,
    };
    Some(UnixMillis(seconds.checked_add_signed(zone_s)? * 1_000 + millis))
}

/// Writes a moment as Exchange writes it, for tests and simulated servers: `2013-09-16T04:31:29Z`, with three digits of
/// fraction where there is one.
pub fn format_date_time(at: UnixMillis) -> String {
    // Civil from days (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let (days, second) = (at.0 / 86_400_000, at.0 / 1_000 % 86_400);
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let fraction = match at.0 % 1_000 {
        0 => String::new(),
        millis => format!(".{millis:03}"),
    };
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}{fraction}Z",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zones_and_fractions_are_read() {
        let base = 1_379_305_889_000;
        for (text, millis) in [
            ("2013-09-16T04:31:29Z", base),
            ("2013-09-16T04:31:29", base),
            (" 2013-09-16T04:31:29Z\n", base),
            ("2013-09-16T04:31:29.5Z", base + 500),
            ("2013-09-16T04:31:29.12Z", base + 120),
            ("2013-09-16T04:31:29.1239999Z", base + 123),
            ("2013-09-16T06:31:29+02:00", base),
            ("2013-09-15T23:01:29.001-05:30", base + 1),
            ("1970-01-01T00:00:00Z", 0),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ] {
            assert_eq!(parse_date_time(text), Some(UnixMillis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "2013-09-16",
            "2013-09-16T04:31:29z",
            "2013-09-16 04:31:29Z",
            "2013-02-29T04:31:29Z",
            "2013-13-01T04:31:29Z",
            "2013-09-16T24:31:29Z",
            "2013-09-16T04:31:29.Z",
            "2013-09-16T04:31:29+2:00",
            "2013-09-16T04:31:29+15:00",
            "2013-09-16T04:31:29+02:00Z",
            "-013-09-16T04:31:29Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "99999-09-16T04:31:29Z",
            "２013-09-16T04:31:29Z",
        ] {
            assert_eq!(parse_date_time(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(millis in 0u64..253_402_300_799_999) {
            let text = format_date_time(UnixMillis(millis));
            prop_assert_eq!(parse_date_time(&text), Some(UnixMillis(millis)), "{}", text);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}") {
            let _ = parse_date_time(&text);
        }
    }
}
