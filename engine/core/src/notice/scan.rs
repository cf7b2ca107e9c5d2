//! An independent look at finished payloads: do they show anything of a mail?
//!
//! Nothing here is shared with the composer. The scan knows each thing that a payload without details may hold, and takes
//! everything else for details: a mistake in either place delays a push, and shows nobody's mail.

use crate::limits::SOUND_BYTES_MAX;

/// Whether a payload for APNs carries sender, subject or text of a mail, or anything that could be one.
pub fn carries_details(payload: &[u8]) -> bool {
    let mut scan = Scan { rest: payload };
    let harmless = scan.object(|scan, key| match key {
        b"aps" => scan.object(Scan::aps_member),
        b"m" => scan.object(Scan::app_member),
        _ => None,
    });
    harmless.is_none() || !scan.rest.is_empty()
}

/// What is left of the payload. Every step answers `None` to what it does not know.
struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    fn aps_member(&mut self, key: &[u8]) -> Option<()> {
        match key {
            b"badge" => self.number(),
            b"sound" => (self.string()?.len() <= SOUND_BYTES_MAX).then_some(()),
            b"thread-id" => self.hash(),
            b"category" => self.string_of(&[b"MAIL"]),
            b"interruption-level" => self.string_of(&[b"time-sensitive"]),
            b"alert" if self.rest.starts_with(b"{") => self.object(Scan::alert_member),
            b"alert" => {
                let text = self.string()?;
                let number = text.strip_suffix(b" new messages");
                (text == b"New mail" || number.is_some_and(is_number)).then_some(())
            }
            _ => None,
        }
    }

    fn alert_member(&mut self, key: &[u8]) -> Option<()> {
        match key {
            b"loc-key" => self.string_of(&[b"NEW_MAIL", b"NEW_MAILS"]),
            b"loc-args" => self.array(|scan| is_number(scan.string()?).then_some(())),
            _ => None,
        }
    }

    fn app_member(&mut self, key: &[u8]) -> Option<()> {
        match key {
            b"a" => self.hash(),
            b"n" => self.number(),
            b"i" => self.array(Scan::hash),
            _ => None,
        }
    }

    fn object(&mut self, mut member: impl FnMut(&mut Self, &[u8]) -> Option<()>) -> Option<()> {
        self.list(b"{", b"}", |scan| {
            let key = scan.string()?;
            scan.eat(b":")?;
            member(scan, key)
        })
    }

    fn array(&mut self, element: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.list(b"[", b"]", element)
    }

    fn list(
        &mut self,
        open: &[u8],
        close: &[u8],
        mut each: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.eat(open)?;
        if self.eat(close).is_some() {
            return Some(());
        }
        loop {
            each(self)?;
            if self.eat(close).is_some() {
                return Some(());
            }
            self.eat(b",")?;
        }
    }

    fn hash(&mut self) -> Option<()> {
        let text = self.string()?;
        (text.len() == 16 && text.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')))
            .then_some(())
    }

    fn number(&mut self) -> Option<()> {
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = self.rest.split_at(digits);
        self.rest = rest;
        is_number(number).then_some(())
    }

    fn string_of(&mut self, known: &[&[u8]]) -> Option<()> {
        let text = self.string()?;
        known.contains(&text).then_some(())
    }

    /// A string without escapes: no harmless one needs any.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.eat(b"\"")?;
        let end = self.rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.eat(b"\"")?;
        Some(text)
    }

    fn eat(&mut self, expected: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(expected)?;
        Some(())
    }
}

/// One to ten digits.
fn is_number(text: &[u8]) -> bool {
    (1..=10).contains(&text.len()) && text.iter().all(u8::is_ascii_digit)
}
