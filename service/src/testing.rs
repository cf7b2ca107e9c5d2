//! What tests of several parts share.

use std::path::Path;
use std::sync::Mutex;

use carillon_core::names::{DeviceToken, SmtpAddress, Topic};
use carillon_core::shard::{Command, DeviceSettings};
use carillon_core::time::UnixMillis;

use crate::config::Config;
use crate::engine::{Engine, Numbers, Refused};
use crate::ids::{DeviceId, UserId};
use crate::store::{RegisterWrite, Write};

/// When [`register`] registers.
pub(crate) const REGISTERED: UnixMillis = UnixMillis(1_700_000_000_000);

/// An engine that only remembers what it was told.
#[derive(Default)]
pub(crate) struct FakeEngine {
    taken: Mutex<Vec<Command>>,
    busy: Mutex<u32>,
}

impl FakeEngine {
    /// It is busy for so many commands first.
    pub(crate) fn busy(times: u32) -> FakeEngine {
        FakeEngine { busy: Mutex::new(times), ..FakeEngine::default() }
    }

    pub(crate) fn taken(&self) -> Vec<Command> {
        self.taken.lock().unwrap().clone()
    }
}

impl Engine for FakeEngine {
    fn command(&self, command: Command) -> Result<(), Refused> {
        let mut busy = self.busy.lock().unwrap();
        if *busy > 0 {
            *busy -= 1;
            return Err(Refused::Busy);
        }
        self.taken.lock().unwrap().push(command);
        Ok(())
    }

    fn numbers(&self) -> Numbers {
        Numbers::default()
    }

    fn is_running(&self) -> bool {
        true
    }
}

/// A registration with the push service and Exchange of [`config`].
pub(crate) fn register(user: &str, device: &str, token: u64) -> Write {
    Write::Register(Box::new(RegisterWrite {
        user: UserId::parse(user).unwrap(),
        device: DeviceId::parse(device).unwrap(),
        address: SmtpAddress::parse(&format!("{user}@example.com")).unwrap(),
        exchange: Some("main".into()),
        grouping: "".into(),
        vip: None,
        folders: None,
        push: "apns".into(),
        token: DeviceToken::parse(&format!("{token:016x}")).unwrap(),
        topic: Topic::parse("com.example.mail").unwrap(),
        registered: REGISTERED,
        active: REGISTERED,
        settings: DeviceSettings::default(),
    }))
}

/// One Exchange and one push service, in `dir`.
pub(crate) fn config(dir: &Path) -> Config {
    let text = r#"
        [api]
        cert_file = "api.crt"
        key_file = "api.key"
        gateway_token_env = "GATEWAY"
        admin_token_env = "ADMIN"
        [store]
        path = "a.db"
        [[exchange]]
        name = "main"
        url = "https://127.0.0.1:9"
        user = "svc"
        password_env = "PASSWORD"
        [[push]]
        name = "apns"
        url = "https://127.0.0.1:9"
        topics = ["com.example.mail"]
        key_file = "key.p8"
        key_id = "ABCDE12345"
        team_id = "TEAM123456"
    "#;
    Config::parse(&dir.join("carillon.toml"), text, &|name| Some(format!("{name}-0123456789abcdef"))).unwrap()
}
