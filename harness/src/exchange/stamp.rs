//! Dates as text: ISO 8601 for XML, IMF-fixdate for HTTP.

use carillon_core::time::UnixMillis;

/// Year, month, day of a count of days since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month as u32, (doy - (153 * mp + 2) / 5 + 1) as u32)
}

fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

/// Appends `2013-09-16T04:31:29Z`: Exchange gives whole seconds.
pub(super) fn push_iso(out: &mut String, at: UnixMillis) {
    let secs = at.as_secs();
    let (year, month, day) = civil((secs / 86_400) as i64);
    let of_day = secs % 86_400;
    let mut text = *b"0000-00-00T00:00:00Z";
    let mut put = |at: usize, digits: usize, mut value: u64| {
        for i in (at..at + digits).rev() {
            text[i] = b'0' + (value % 10) as u8;
            value /= 10;
        }
    };
    put(0, 4, year as u64);
    put(5, 2, u64::from(month));
    put(8, 2, u64::from(day));
    put(11, 2, of_day / 3_600);
    put(14, 2, of_day / 60 % 60);
    put(17, 2, of_day % 60);
    out.extend(text.iter().map(|&b| char::from(b)));
}

/// `Mon, 16 Sep 2013 04:31:29 GMT` (RFC 9110 §5.6.7).
pub(super) fn http_date(at: UnixMillis) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let secs = at.as_secs();
    let days = secs / 86_400;
    let (year, month, day) = civil(days as i64);
    let of_day = secs % 86_400;
    format!(
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        DAYS[(days % 7) as usize],
        MONTHS[month as usize - 1],
        of_day / 3_600,
        of_day / 60 % 60,
        of_day % 60
    )
}

/// Reads an `xs:dateTime` with a zone (`Z` or `±hh:mm`), fractions of a second allowed.
pub(super) fn parse_iso(text: &str) -> Option<UnixMillis> {
    let bytes = text.as_bytes();
    if bytes.len() < 20 || !text.is_ascii() {
        return None;
    }
    for (at, want) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')] {
        if bytes[at] != want {
            return None;
        }
    }
    let number = |from: usize, to: usize| -> Option<i64> {
        let part = text.get(from..to)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut rest = &text[19..];
    let mut millis = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        let three: String = fraction[..digits].chars().chain("000".chars()).take(3).collect();
        millis = three.parse::<i64>().ok()?;
        rest = &fraction[digits..];
    }
    let offset_min = match rest.as_bytes() {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let digit = |b: &u8| b.is_ascii_digit().then(|| i64::from(b - b'0'));
            let minutes = (digit(h1)? * 10 + digit(h2)?) * 60 + digit(m1)? * 10 + digit(m2)?;
            if *sign == b'+' { minutes } else { -minutes }
        }
        _ => return None,
    };
    let secs = days_of(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset_min * 60;
    u64::try_from(secs * 1_000 + millis).ok().map(UnixMillis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_and_read_back() {
        for secs in [0, 951_782_400, 1_379_305_889, 1_709_164_800, 4_102_444_799] {
            let mut text = String::new();
            push_iso(&mut text, UnixMillis(secs * 1_000));
            assert_eq!(parse_iso(&text), Some(UnixMillis(secs * 1_000)), "{text}");
        }
        let mut text = String::new();
        push_iso(&mut text, UnixMillis(1_379_305_889_000));
        assert_eq!(text, "2013-09-16T04:31:29Z");
        assert_eq!(http_date(UnixMillis(1_379_305_889_000)), "Mon, 16 Sep 2013 04:31:29 GMT");
        assert_eq!(parse_iso("2013-09-16T06:31:29.25+02:00"), Some(UnixMillis(1_379_305_889_250)));
        for bad in ["", "2013-09-16", "2013-09-16T04:31:29", "2013-13-16T04:31:29Z", "2013-09-16T04:31:29.Z"]
        {
            assert_eq!(parse_iso(bad), None, "{bad}");
        }
    }
}
