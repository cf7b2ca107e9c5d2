//! A registration as it came, into one that needs no second look.

use carillon_core::limits::USER_FOLDERS_MAX;
use carillon_core::names::{DeviceToken, FolderId, NameError, SmtpAddress, Topic};
use carillon_core::shard::{DeviceSettings, VipRules};
use carillon_core::time::UnixMillis;

use super::error::Complaint;
use super::types::{RegisterRequest, SettingsRequest, VipRequest};
use crate::config::{Config, Exchange, Push};
use crate::ids::{DeviceId, UserId};
use crate::store::RegisterWrite;

/// The longest `grouping`, in bytes. Exchange's values are names of sites and forests.
const GROUPING_BYTES_MAX: usize = 256;

/// The longest name of a sound file, in bytes.
const SOUND_BYTES_MAX: usize = 64;

/// VIP senders of one user: each costs memory in the engine, and a look at each mail.
const VIP_SENDERS_MAX: usize = 100;

/// How far a caller's clock may be ahead, in milliseconds. More is a mistake (perhaps microseconds).
const CLOCK_AHEAD_MS_MAX: u64 = 10 * 60 * 1_000;

/// Times before this are no times of a phone's use (perhaps seconds): 2001-09-09.
const TIME_MS_MIN: u64 = 1_000_000_000_000;

/// Checks a registration. `at` are the ids from the path, where they stand there.
pub fn check(
    config: &Config,
    now: UnixMillis,
    at: Option<(UserId, DeviceId)>,
    request: RegisterRequest,
) -> Result<RegisterWrite, Complaint> {
    // In an import somebody else speaks for the device.
    let revives = at.is_some();
    let (user, device) = match at {
        Some((user, device)) => {
            same("user", request.user.as_deref(), user.as_str())?;
            same("device", request.device.as_deref(), device.as_str())?;
            (user, device)
        }
        None => (
            name("user", request.user.as_deref().ok_or_else(|| missing("user"))?, UserId::parse)?,
            name("device", request.device.as_deref().ok_or_else(|| missing("device"))?, DeviceId::parse)?,
        ),
    };
    let push = push(config, request.push.as_deref())?;
    let exchange = exchange(config, request.exchange.as_deref())?;
    Ok(RegisterWrite {
        user,
        device,
        address: address(exchange, &request.address)?,
        exchange: exchange.map(|exchange| exchange.name.clone()),
        grouping: request.grouping.map(grouping).transpose()?,
        vip: request.vip.map(vip).transpose()?,
        folders: request.folders.map(folders).transpose()?,
        push: push.name.clone(),
        token: name("token", &request.token, DeviceToken::parse)?,
        topic: topic(push, request.topic.as_deref())?,
        registered: now,
        active: time("active_at_ms", now, request.active_at_ms)?,
        settings: settings(request.settings.unwrap_or_default())?,
        revives,
    })
}

/// Checks the time of a use of the app. A clock that is a little ahead is taken for now.
pub fn time(field: &str, now: UnixMillis, at_ms: Option<u64>) -> Result<UnixMillis, Complaint> {
    match at_ms {
        None => Ok(now),
        Some(ms) if ms < TIME_MS_MIN => {
            Err(Complaint::field(field, "is too small: milliseconds since 1970 are expected"))
        }
        Some(ms) if ms > now.0 + CLOCK_AHEAD_MS_MAX => {
            Err(Complaint::field(field, "lies in the future: milliseconds since 1970 are expected"))
        }
        Some(ms) => Ok(UnixMillis(ms.min(now.0))),
    }
}

/// Parses a name of `field`.
pub fn name<T>(
    field: &str,
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, NameError>,
) -> Result<T, Complaint> {
    parse(text).map_err(|error| Complaint::field(field, error.to_string()))
}

fn missing(field: &str) -> Complaint {
    Complaint::field(field, "is missing")
}

fn same(field: &str, given: Option<&str>, path: &str) -> Result<(), Complaint> {
    match given {
        Some(given) if given != path => Err(Complaint::field(field, "is not the one in the path")),
        Some(_) | None => Ok(()),
    }
}

fn push<'a>(config: &'a Config, given: Option<&str>) -> Result<&'a Push, Complaint> {
    match (given, config.push.as_slice()) {
        (Some(given), all) => all
            .iter()
            .find(|push| &*push.name == given)
            .ok_or_else(|| Complaint::field("push", "is not the name of a configured push service")),
        (None, [only]) => Ok(only),
        (None, _) => Err(Complaint::field("push", "is missing: not exactly one push service is configured")),
    }
}

fn address(exchange: Option<&Exchange>, text: &str) -> Result<SmtpAddress, Complaint> {
    let address = name("address", text, SmtpAddress::parse)?;
    let domain = address.as_str().rsplit_once('@').map_or("", |(_, domain)| domain);
    match exchange {
        Some(exchange)
            if !exchange.domains.is_empty() && !exchange.domains.iter().any(|one| **one == *domain) =>
        {
            Err(Complaint::field("address", "is of a domain that this Exchange does not serve"))
        }
        Some(_) | None => Ok(address),
    }
}

fn exchange<'a>(config: &'a Config, given: Option<&str>) -> Result<Option<&'a Exchange>, Complaint> {
    match (given, config.exchange.as_slice()) {
        (Some(given), all) => all
            .iter()
            .find(|exchange| &*exchange.name == given)
            .map(Some)
            .ok_or_else(|| Complaint::field("exchange", "is not the name of a configured Exchange")),
        (None, []) => Ok(None),
        (None, [only]) => Ok(Some(only)),
        (None, _) => Err(Complaint::field("exchange", "is missing: more than one Exchange is configured")),
    }
}

fn topic(push: &Push, given: Option<&str>) -> Result<Topic, Complaint> {
    match (given, push.topics.as_slice()) {
        (Some(given), all) => {
            let topic = name("topic", given, Topic::parse)?;
            if !all.contains(&topic) {
                return Err(Complaint::field("topic", "is not one of the push service's configured topics"));
            }
            Ok(topic)
        }
        (None, [only]) => Ok(only.clone()),
        (None, _) => Err(Complaint::field("topic", "is missing: the push service has not exactly one")),
    }
}

fn grouping(text: String) -> Result<Box<str>, Complaint> {
    if text.len() > GROUPING_BYTES_MAX {
        return Err(Complaint::field("grouping", format!("is longer than {GROUPING_BYTES_MAX} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(Complaint::field("grouping", "has control characters"));
    }
    Ok(text.into())
}

fn settings(request: SettingsRequest) -> Result<DeviceSettings, Complaint> {
    let default = DeviceSettings::default();
    let sound = |field: &str, name: Option<String>| match name {
        None => Ok(None),
        Some(name) if is_sound(&name) => Ok(Some(Box::from(name))),
        Some(_) => Err(Complaint::field(
            field,
            format!(
                "is not the name of a sound: 1 to {SOUND_BYTES_MAX} letters, digits, blanks and . _ - are expected"
            ),
        )),
    };
    Ok(DeviceSettings {
        alerts: request.alerts.unwrap_or(default.alerts),
        details: request.details.unwrap_or(default.details),
        badge: request.badge.unwrap_or(default.badge),
        localized: request.localized.unwrap_or(default.localized),
        sound: match request.sound {
            None => default.sound,
            Some(given) => sound("settings.sound", given)?,
        },
        vip_sound: sound("settings.vip_sound", request.vip_sound)?,
    })
}

fn is_sound(name: &str) -> bool {
    !name.trim().is_empty()
        && name.len() <= SOUND_BYTES_MAX
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b" ._-".contains(&b))
}

fn folders(ids: Vec<String>) -> Result<Vec<FolderId>, Complaint> {
    if ids.len() > USER_FOLDERS_MAX {
        return Err(Complaint::field("folders", format!("has more than {USER_FOLDERS_MAX} folders")));
    }
    let folder = |(at, text): (usize, &String)| name(&format!("folders[{at}]"), text, FolderId::parse);
    ids.iter().enumerate().map(folder).collect()
}

fn vip(request: VipRequest) -> Result<VipRules, Complaint> {
    if request.senders.len() > VIP_SENDERS_MAX {
        return Err(Complaint::field("vip.senders", format!("has more than {VIP_SENDERS_MAX} addresses")));
    }
    let sender = |(at, text): (usize, &String)| {
        let address = SmtpAddress::parse(text)
            .map_err(|error| Complaint::field(format!("vip.senders[{at}]"), error.to_string()))?;
        Ok(address.as_str().to_lowercase().into())
    };
    Ok(VipRules {
        high_importance: request.high_importance,
        senders: request.senders.iter().enumerate().map(sender).collect::<Result<_, Complaint>>()?,
    })
}
