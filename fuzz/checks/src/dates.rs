//! Dates: of EWS, and in the heads of HTTP. Input: how, the parts of a moment, then what is changed in its text.

use carillon_core::ews::{format_date_time, parse_date_time};
use carillon_core::http1::{Head, ResponseReader, Step};

use crate::input::Input;

/// A moment reads as what counting days gives; whatever else is read reads the same when it is written again.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let how = input.u8();
    let (year, month, day) = (
        1_960 + u32::from(input.u16()) % 8_100,
        1 + u32::from(input.u8()) % 13,
        1 + u32::from(input.u8()) % 32,
    );
    let (hour, minute, second) =
        (u32::from(input.u8()) % 25, u32::from(input.u8()) % 61, u32::from(input.u8()) % 61);
    let expected = counted(year, month, day, hour, minute, second);
    let clock = format!("{hour:02}:{minute:02}:{second:02}");
    match how % 4 {
        0 => {
            let (zone_h, zone_m, behind) =
                (u32::from(input.u8()) % 16, u32::from(input.u8()) % 61, input.flag());
            let (digits, fraction) = (input.below(6), input.u32() % 100_000);
            let fraction = &format!("{fraction:05}")[..digits.min(5)];
            let dot = if digits == 0 { "" } else { "." };
            let sign = if behind { '-' } else { '+' };
            let text =
                format!("{year:04}-{month:02}-{day:02}T{clock}{dot}{fraction}{sign}{zone_h:02}:{zone_m:02}");
            let millis = format!("{fraction:0<3}")[..3].parse::<u64>().expect("three digits");
            let zone_s = i64::from(zone_h * 3_600 + zone_m * 60);
            let expected = expected
                .filter(|_| zone_h <= 14 && zone_m <= 59)
                .and_then(|seconds| seconds.checked_add_signed(if behind { zone_s } else { -zone_s }))
                .map(|seconds| seconds * 1_000 + millis);
            assert_eq!(parse_date_time(&text).map(|at| at.0), expected, "{text}");
        }
        1 => {
            let mut text = format!("{year:04}-{month:02}-{day:02}T{clock}Z");
            change(&mut text, &mut input);
            if let Some(at) = parse_date_time(&text) {
                assert!(at.0 / 1_000 <= END_S + 86_400, "{text}");
                let again = parse_date_time(&format_date_time(at));
                assert!(again == Some(at) || at.0 / 1_000 >= END_S, "{text}: {at:?}, then {again:?}");
            }
        }
        2 => {
            let date = http_date(year, month, day, &clock);
            let wait_s = u64::from(input.u16());
            let Some(expected) = expected else {
                assert_eq!(answer(&date, "0").date_s, None, "{date}");
                return;
            };
            let head = answer(&date, &wait_s.to_string());
            assert_eq!(
                (head.date_s, head.retry_after_s.map(u64::from)),
                (Some(expected), Some(wait_s)),
                "{date}"
            );
            // A date to come again at counts from the answer's own.
            let last = counted(year, 12, 31, 23, 59, 59).map(|last| last.saturating_sub(expected));
            let later = http_date(year, 12, 31, "23:59:59");
            assert_eq!(answer(&date, &later).retry_after_s.map(u64::from), last, "{date} to {later}");
        }
        _ => {
            let mut date = http_date(year, month, day, &clock);
            change(&mut date, &mut input);
            let mut wait = String::from_utf8_lossy(input.rest()).into_owned();
            wait.retain(|c| c == ' ' || c.is_ascii_graphic());
            let head = answer(&date, &wait);
            assert!(head.date_s.is_none_or(|at| at <= END_S), "{date}");
            let wait = wait.trim();
            let digits = !wait.is_empty() && wait.bytes().all(|byte| byte.is_ascii_digit());
            assert!(!digits || head.retry_after_s.is_some(), "{wait}");
            assert!(digits || wait.len() == 29 || head.retry_after_s.is_none(), "{wait}");
        }
    }
}

/// 9999-12-31T23:59:60Z.
const END_S: u64 = 253_402_300_800;

/// Seconds since 1970, by counting; `None` for what is no date, or before.
fn counted(year: u32, month: u32, day: u32, hour: u32, minute: u32, second: u32) -> Option<u64> {
    let in_range = (1_970..=9_999).contains(&year) && month <= 12 && hour < 24 && minute < 60 && second <= 60;
    if !in_range || day > days_in(year, month) {
        return None;
    }
    // By centuries of four, so that it stays fast: 146,097 days each.
    let mut days = u64::from((year - 1_970) / 400) * 146_097;
    days +=
        (1_970 + (year - 1_970) / 400 * 400..year).map(|year| 365 + u64::from(is_leap(year))).sum::<u64>();
    days += (1..month).map(|month| u64::from(days_in(year, month))).sum::<u64>() + u64::from(day - 1);
    Some(days * 86_400 + u64::from(hour * 3_600 + minute * 60 + second))
}

fn is_leap(year: u32) -> bool {
    year.is_multiple_of(400) || year.is_multiple_of(4) && !year.is_multiple_of(100)
}

fn days_in(year: u32, month: u32) -> u32 {
    match month {
        2 => 28 + u32::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// RFC 9110 §5.6.7. The day of the week says nothing that the rest does not.
fn http_date(year: u32, month: u32, day: u32, clock: &str) -> String {
    const MONTHS: [&str; 13] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Foo"];
    format!("Sun, {day:02} {} {year:04} {clock} GMT", MONTHS[month as usize - 1])
}

fn answer(date: &str, retry_after: &str) -> Head {
    let bytes = format!("HTTP/1.1 503 Busy\r\nRetry-After: {retry_after}\r\nDate: {date}\r\n\r\n");
    match ResponseReader::new().step(&mut bytes.as_bytes()) {
        Ok(Step::Head(head)) => *head,
        other => panic!("{bytes:?} is no head: {other:?}"),
    }
}

/// Puts up to three printable bytes somewhere, or takes some away.
fn change(text: &mut String, input: &mut Input<'_>) {
    for _ in 0..input.below(4) {
        let (at, byte, how) = (input.below(text.len() + 1), input.u8(), input.u8());
        let byte = char::from(b' ' + byte % 95);
        match how % 3 {
            0 => text.insert(at, byte),
            1 if at < text.len() => drop(text.remove(at)),
            _ if at < text.len() => text.replace_range(at..=at, byte.encode_utf8(&mut [0; 4])),
            _ => {}
        }
        if text.is_empty() {
            return;
        }
    }
}
