//! What a payload says, read by someone who did not write it.

use serde::Deserialize;
use serde::de::IgnoredAny;

/// What a push tells the phone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// `aps.badge`; `None` leaves the icon as it is.
    pub badge: Option<u32>,
    /// What the alert says.
    pub alert: AlertKind,
    /// Whether it makes a sound.
    pub sound: bool,
    /// Whether the alert's text is one of the app's own, by its key.
    pub by_key: bool,
    /// Whether it breaks through a Focus (`interruption-level`).
    pub time_sensitive: bool,
    /// `thread-id`, if it is a keyed hash.
    pub thread: Option<u64>,
    /// `m.a`: the account, a keyed hash.
    pub account: Option<u64>,
    /// `m.n`: how many mails it tells of; 0 without alert.
    pub n: u32,
    /// `m.i`: keyed hashes of the newest of them.
    pub items: Vec<u64>,
}

/// What an alert says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AlertKind {
    /// No alert: badge, sound or nothing.
    #[default]
    None,
    /// "New mail", without saying which.
    Generic,
    /// "n new mails", without saying which.
    Several,
    /// Anything that could come from a mail: texts that are not among the generic ones.
    Details {
        /// `title`.
        title: String,
        /// `subtitle`.
        subtitle: String,
        /// `body`.
        body: String,
    },
}

/// What is wrong with a payload. What APNs really does with such a one is unknown, so it is accepted and reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PayloadFault {
    /// Not JSON, or not one object, or not UTF-8.
    NotJson,
    /// A key that is there twice, or whose value has the wrong type, or no `aps`, or an unknown key in `aps`.
    Shape,
    /// `mutable-content` without an alert, or a background push with alert, badge or sound.
    Contradiction,
    /// An alert without `m`, fewer `n` than `i`, or `m` without an alert.
    Mails,
}

/// Words that tell nothing of a mail; what the engine says where the app has no texts of its own.
const GENERIC_TEXTS: [&str; 2] = ["New mail", "New message"];
const SEVERAL_TEXTS: [&str; 2] = [" new mails", " new messages"];
/// Texts of the app.
const GENERIC_KEY: &str = "NEW_MAIL";
const SEVERAL_KEY: &str = "NEW_MAILS";

#[derive(Deserialize)]
struct Body {
    aps: Aps,
    m: Option<Mails>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "some keys are named only so that all others are refused")]
struct Aps {
    alert: Option<Alert>,
    badge: Option<u32>,
    sound: Option<Sound>,
    thread_id: Option<String>,
    category: Option<String>,
    content_available: Option<u8>,
    mutable_content: Option<u8>,
    target_content_id: Option<String>,
    interruption_level: Option<InterruptionLevel>,
    relevance_score: Option<f64>,
    filter_criteria: Option<IgnoredAny>,
    url_args: Option<IgnoredAny>,
    stale_date: Option<IgnoredAny>,
    content_state: Option<IgnoredAny>,
    timestamp: Option<IgnoredAny>,
    event: Option<IgnoredAny>,
    dismissal_date: Option<IgnoredAny>,
    attributes_type: Option<IgnoredAny>,
    attributes: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Alert {
    Text(String),
    Parts(Box<AlertParts>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "some keys are named only so that all others are refused")]
struct AlertParts {
    title: Option<String>,
    subtitle: Option<String>,
    body: Option<String>,
    title_loc_key: Option<String>,
    title_loc_args: Option<Vec<String>>,
    subtitle_loc_key: Option<String>,
    subtitle_loc_args: Option<Vec<String>>,
    loc_key: Option<String>,
    loc_args: Option<Vec<String>>,
    launch_image: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "that it is a name is all that matters")]
enum Sound {
    Name(String),
    Critical { critical: u8, name: String, volume: f64 },
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum InterruptionLevel {
    Passive,
    Active,
    TimeSensitive,
    Critical,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mails {
    a: String,
    n: u32,
    i: Vec<String>,
}

impl Payload {
    /// Reads `bytes`. With a fault, what could still be read is handed out beside it.
    pub fn read(bytes: &[u8], background: bool) -> (Payload, Option<PayloadFault>) {
        match serde_json::from_slice::<Body>(bytes) {
            Ok(body) => Payload::from_body(&body, background),
            Err(error) => {
                let fault = if error.is_data() { PayloadFault::Shape } else { PayloadFault::NotJson };
                (Payload::salvage(bytes), Some(fault))
            }
        }
    }

    /// Looks for texts of a mail in the beginning of a payload that was broken off. `None`: none of them shows yet.
    pub fn read_part(bytes: &[u8]) -> Option<Payload> {
        let text = |key: &str| text_of_part(bytes, key);
        let (title, subtitle, mut body) = (text("title"), text("subtitle"), text("body"));
        // An alert without parts is its body.
        if body.is_empty() {
            body = text("alert");
        }
        let generic = |known: &&str| known.starts_with(&body);
        let counts = body.starts_with(|first: char| first.is_ascii_digit())
            && SEVERAL_TEXTS
                .iter()
                .any(|tail| tail.starts_with(body.trim_start_matches(|digit: char| digit.is_ascii_digit())));
        if counts || GENERIC_TEXTS.iter().any(generic) {
            body = String::new();
        }
        let shows = [&title, &subtitle, &body].iter().any(|text| !text.is_empty());
        let alert = AlertKind::Details { title, subtitle, body };
        shows.then(|| Payload { alert, ..Payload::default() })
    }

    /// Whether it tells of a mail.
    pub fn is_alert(&self) -> bool {
        self.alert != AlertKind::None
    }

    /// Whether texts of a mail stand in it.
    pub fn has_details(&self) -> bool {
        matches!(self.alert, AlertKind::Details { .. })
    }

    fn from_body(body: &Body, background: bool) -> (Payload, Option<PayloadFault>) {
        let aps = &body.aps;
        let mut fault = None;
        let alert = aps.alert.as_ref().map_or(AlertKind::None, Alert::kind);
        let by_key = matches!(
            &aps.alert,
            Some(Alert::Parts(parts)) if parts.loc_key.is_some() || parts.title_loc_key.is_some()
        );
        let mut payload = Payload {
            badge: aps.badge,
            alert,
            sound: aps.sound.is_some(),
            by_key,
            time_sensitive: aps.interruption_level == Some(InterruptionLevel::TimeSensitive),
            thread: aps.thread_id.as_deref().and_then(parse_hash),
            account: None,
            n: 0,
            items: Vec::new(),
        };
        if let Some(mails) = &body.m {
            payload.account = parse_hash(&mails.a);
            payload.n = mails.n;
            payload.items = mails.i.iter().filter_map(|item| parse_hash(item)).collect();
            if payload.account.is_none() || payload.items.len() != mails.i.len() {
                fault = Some(PayloadFault::Shape);
            }
        }
        let mails_fit = match payload.is_alert() {
            true => payload.n >= 1 && payload.items.len() <= payload.n as usize,
            false => body.m.is_none(),
        };
        if !mails_fit {
            fault = Some(PayloadFault::Mails);
        }
        let noticed = payload.is_alert() || payload.badge.is_some() || payload.sound;
        let values_fit = aps.content_available.is_none_or(|value| value == 1)
            && aps.mutable_content.is_none_or(|value| value == 1)
            && aps.relevance_score.is_none_or(|score| (0.0..=1.0).contains(&score))
            && !matches!(&aps.sound, Some(Sound::Critical { critical, volume, .. })
                if *critical > 1 || !(0.0..=1.0).contains(volume));
        if !values_fit {
            fault = Some(PayloadFault::Shape);
        }
        if aps.mutable_content.is_some() && !payload.is_alert() || background && noticed {
            fault = Some(PayloadFault::Contradiction);
        }
        (payload, fault)
    }

    /// The best that can be made of a payload that breaks the rules: texts in it still count as details.
    fn salvage(bytes: &[u8]) -> Payload {
        let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) else {
            return Payload::default();
        };
        let aps = &value["aps"];
        let alert = match &aps["alert"] {
            serde_json::Value::Null => AlertKind::None,
            serde_json::Value::String(text) => text_kind(text),
            other => AlertKind::Details {
                title: other["title"].as_str().unwrap_or_default().to_owned(),
                subtitle: other["subtitle"].as_str().unwrap_or_default().to_owned(),
                body: other["body"].as_str().unwrap_or_default().to_owned(),
            },
        };
        let number = |value: &serde_json::Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
        let items = value["m"]["i"].as_array();
        Payload {
            badge: number(&aps["badge"]),
            alert,
            sound: !aps["sound"].is_null(),
            by_key: !aps["alert"]["loc-key"].is_null(),
            time_sensitive: aps["interruption-level"] == "time-sensitive",
            thread: aps["thread-id"].as_str().and_then(parse_hash),
            account: value["m"]["a"].as_str().and_then(parse_hash),
            n: number(&value["m"]["n"]).unwrap_or(0),
            items: items.into_iter().flatten().filter_map(|item| parse_hash(item.as_str()?)).collect(),
        }
    }
}

/// The text that stands under a key, as far as it came. Escapes stay as they are: whether there is any text is what
/// matters.
fn text_of_part(bytes: &[u8], key: &str) -> String {
    let name = format!("\"{key}\":\"");
    let Some(at) = bytes.windows(name.len()).position(|window| window == name.as_bytes()) else {
        return String::new();
    };
    let rest = &bytes[at + name.len()..];
    let end = rest.iter().position(|byte| *byte == b'"').unwrap_or(rest.len());
    String::from_utf8_lossy(&rest[..end]).into_owned()
}

impl Alert {
    fn kind(&self) -> AlertKind {
        match self {
            Alert::Text(text) => text_kind(text),
            Alert::Parts(parts) => parts.kind(),
        }
    }
}

impl AlertParts {
    /// Only texts known to be generic are generic: whoever words a notice anew has to say so here.
    fn kind(&self) -> AlertKind {
        let text = |part: &Option<String>| part.as_deref().unwrap_or_default().to_owned();
        let details = || AlertKind::Details {
            title: text(&self.title),
            subtitle: text(&self.subtitle),
            body: text(&self.body),
        };
        let plain = self.title.is_none()
            && self.subtitle.is_none()
            && self.title_loc_key.is_none()
            && self.subtitle_loc_key.is_none()
            && self.title_loc_args.is_none()
            && self.subtitle_loc_args.is_none();
        let numbers = self.loc_args.iter().flatten().all(|arg| arg.bytes().all(|b| b.is_ascii_digit()));
        match (self.loc_key.as_deref(), self.body.as_deref()) {
            (Some(GENERIC_KEY), None) if plain && self.loc_args.is_none() => AlertKind::Generic,
            (Some(SEVERAL_KEY), None) if plain && numbers => AlertKind::Several,
            (None, Some(body)) if plain && self.loc_args.is_none() => text_kind(body),
            _ => details(),
        }
    }
}

fn text_kind(text: &str) -> AlertKind {
    let several = SEVERAL_TEXTS.iter().find_map(|tail| text.strip_suffix(tail));
    if GENERIC_TEXTS.contains(&text) {
        AlertKind::Generic
    } else if several.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())) {
        AlertKind::Several
    } else {
        AlertKind::Details { title: String::new(), subtitle: String::new(), body: text.to_owned() }
    }
}

/// Sixteen lower-case hex digits.
fn parse_hash(text: &str) -> Option<u64> {
    let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if text.len() != 16 || !text.bytes().all(lower_hex) {
        return None;
    }
    u64::from_str_radix(text, 16).ok()
}
