//! The cookies of one cohort: what leads its calls to the server that holds its subscriptions.

use crate::http1::Head;
use crate::limits::COOKIES_BYTES_MAX;

/// A small jar for one host and path, so neither domains nor paths are kept. In the order in which cookies first came.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Cookies {
    text: String,
}

impl Cookies {
    /// From what [`Cookies::as_str`] gave: `name=value; name=value`. Parts that are no cookies, or none that can be sent,
    /// are left out: a header with a line break in it would fail every call.
    pub fn from_text(text: &str) -> Cookies {
        let mut cookies = Cookies::default();
        for pair in text.split(';').map(str::trim) {
            if pair.split_once('=').is_some_and(|(name, value)| can_be_sent(name, value)) {
                cookies.set(pair);
            }
        }
        cookies
    }

    /// The value of the `Cookie` header; empty where there are none.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// As [`Cookies::as_str`], only what leads to a server: this may be written to a disk. Anything else may be the session of
    /// a log-on page or proxy, and lasts as long as the process.
    pub fn affinity(&self) -> Box<str> {
        let leads = |pair: &&str| pair.split_once('=').is_some_and(|(name, _)| is_affinity(name));
        self.text.split("; ").filter(leads).collect::<Vec<_>>().join("; ").into()
    }

    /// Takes in what an answer sets and takes back. True if that changed anything.
    pub fn absorb(&mut self, head: &Head) -> bool {
        let before = self.text.clone();
        for pair in &head.set_cookies {
            self.set(pair);
        }
        self.text != before
    }

    /// Sets one cookie; one with an empty value is removed. A jar that would grow over [`COOKIES_BYTES_MAX`] stays as
    /// it is: a head that the server refuses helps nobody.
    fn set(&mut self, pair: &str) {
        let Some((name, value)) = pair.split_once('=') else { return };
        let same = |old: &str| old.split_once('=').is_some_and(|(old_name, _)| old_name == name);
        let mut kept: Vec<&str> = self.text.split("; ").filter(|old| !old.is_empty()).collect();
        match (kept.iter().position(|old| same(old)), value.is_empty()) {
            (Some(at), true) => drop(kept.remove(at)),
            (Some(at), false) => kept[at] = pair,
            (None, true) => {}
            (None, false) => kept.push(pair),
        }
        let text = kept.join("; ");
        if text.len() <= COOKIES_BYTES_MAX {
            self.text = text;
        }
    }
}

/// Whether a cookie of this name chooses a server, and does nothing else: those of Exchange, and of load balancers that stand
/// before it (F5, Microsoft's ARR, Amazon's, HAProxy's usual name).
fn is_affinity(name: &str) -> bool {
    let is = |known: &&str| name.eq_ignore_ascii_case(known);
    let begins =
        |known: &&str| name.get(..known.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(known));
    ["X-BackEndOverrideCookie", "X-BackEndCookie", "exchangecookie", "SERVERID"].iter().any(is)
        || ["BIGipServer", "ARRAffinity", "AWSALB", "AWSELB"].iter().any(begins)
}

/// Whether `name=value` can stand in a `Cookie` header.
pub(super) fn can_be_sent(name: &str, value: &str) -> bool {
    let printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    !name.is_empty() && !name.contains(' ') && printable(name) && printable(value)
}

impl std::fmt::Debug for Cookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Names tell enough; a value may be a session.
        f.debug_list()
            .entries(self.text.split("; ").map(|pair| pair.split_once('=').map_or("", |(name, _)| name)))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(set: &[&str]) -> Head {
        Head { set_cookies: set.iter().map(|pair| Box::from(*pair)).collect(), ..Head::default() }
    }

    #[test]
    fn a_cookie_is_added_replaced_and_taken_back() {
        let mut cookies = Cookies::from_text("exchangecookie=1; X-BackEndOverrideCookie=be1~19");
        assert!(cookies.absorb(&head(&["X-BackEndCookie=jane@example.com=u56Lnp2e==", "exchangecookie=2"])));
        assert_eq!(
            cookies.as_str(),
            "exchangecookie=2; X-BackEndOverrideCookie=be1~19; X-BackEndCookie=jane@example.com=u56Lnp2e=="
        );
        assert!(!cookies.absorb(&head(&["exchangecookie=2"])));
        assert!(cookies.absorb(&head(&["exchangecookie=", "X-BackEndCookie="])));
        assert_eq!(cookies.as_str(), "X-BackEndOverrideCookie=be1~19");
        assert_eq!(Cookies::from_text(cookies.as_str()), cookies);
    }

    #[test]
    fn what_cannot_be_sent_is_not_taken_from_a_store() {
        let text = "a=1; b=\r\nX: y; =c; d e=f; g=\u{e9}; h; i=2";
        assert_eq!(Cookies::from_text(text).as_str(), "a=1; i=2");
    }

    #[test]
    fn what_leads_to_a_server_may_be_kept_on_a_disk_and_a_session_may_not() {
        let session = "cadata=abc; MRHSession=1; X-BackEndOverrideCookie=be1~19; NSC_AAAC=2; BIGipServerpool_ews=3.4; \
                       MSISAuth=5; ExchangeCookie=6; X-BackEndCookie=7; AWSALBCORS=8; x\u{e4}=9; ARR=10";
        let cookies = Cookies::from_text(session);
        let kept = "X-BackEndOverrideCookie=be1~19; BIGipServerpool_ews=3.4; ExchangeCookie=6; X-BackEndCookie=7; AWSALBCORS=8";
        assert_eq!(&*cookies.affinity(), kept);
        assert!(cookies.as_str().contains("cadata=abc"), "as long as the process lives, all go along");
        assert_eq!(&*Cookies::default().affinity(), "");
    }

    #[test]
    fn the_jar_has_a_bound_and_hides_values() {
        let mut cookies = Cookies::from_text("a=secret");
        assert!(!cookies.absorb(&head(&[&format!("b={}", "x".repeat(COOKIES_BYTES_MAX))])));
        assert_eq!(cookies.as_str(), "a=secret");
        assert_eq!(format!("{cookies:?}"), "[\"a\"]");
    }
}
