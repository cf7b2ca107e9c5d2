//! Passwords, certificates and settings that change while the service runs.
//!
//! The files that hold secrets and certificates are looked at every second. SIGHUP has the configuration itself read
//! again: what can be taken up is, and the log names what needs a restart. Whatever is wrong with a new file, the old
//! content stays in use.

mod advice;
mod compare;
mod watch;

pub use advice::{after_refusal, after_trouble};
pub use watch::Watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use carillon_core::shard::{Command, EndpointId, MailCredential, MailServerId, Trouble};
use carillon_engine::{EngineHandle, TlsSettings};
use tokio::signal::unix::Signal;

use crate::api::server::Certificate;
use crate::bridge;
use crate::config::{ClientCertificate, Config, Exchange, PushCredential, read_secret};
use crate::directory::{Directory, Health};
use crate::engine::Engine;
use crate::files::FileError;
use crate::serve::LogLevel;
use crate::writer;

/// Between two looks at the files. A change is taken up at the second look that finds it the same.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What runs, and what it can be changed by.
pub struct Reloader {
    running: Config,
    engine: EngineHandle,
    directory: Arc<Directory>,
    certificate: Certificate,
    log: LogLevel,
    watch: Watch,
    /// Each Exchange's certificates are others than those in use, which could not be replaced yet.
    certificates_due: Vec<bool>,
}

impl Reloader {
    /// `watch` has [`watched`] since before the files were read.
    pub fn new(
        running: Config,
        engine: EngineHandle,
        directory: Arc<Directory>,
        certificate: Certificate,
        log: LogLevel,
        watch: Watch,
    ) -> Reloader {
        let certificates_due = vec![false; running.exchange.len()];
        Reloader { running, engine, directory, certificate, log, watch, certificates_due }
    }

    /// Takes up what changes, as long as the service runs.
    pub async fn run(mut self, mut hangup: Signal) {
        loop {
            tokio::select! {
                Some(()) = hangup.recv() => self.reread().await,
                () = tokio::time::sleep(LOOK_EVERY) => {
                    let changed = self.watch.settled();
                    if !changed.is_empty() {
                        self.files_changed(&changed).await;
                    }
                }
            }
        }
    }

    /// SIGHUP: everything is read again.
    async fn reread(&mut self) {
        let file = self.running.file.display().to_string();
        tracing::info!(file, "SIGHUP: reading the configuration again");
        let new = match Config::load(&self.running.file) {
            Ok(new) => new,
            Err(error) => {
                let complaints = error.complaints.join("; ");
                tracing::error!("the configuration is not taken up, all stays as it was: {complaints}");
                return;
            }
        };
        for part in compare::needs_restart(&self.running, &new) {
            tracing::warn!("{part} has changed: restart to take it up");
        }
        if new.timing != self.running.timing {
            writer::command(&self.engine as &dyn Engine, Command::SetTiming(new.timing)).await;
            self.running.timing = new.timing;
            tracing::info!("[timing] taken up");
        }
        if new.log.level != self.running.log.level {
            match self.log.set(&new.log.level) {
                Ok(()) => tracing::info!(level = new.log.level, "[log] level taken up"),
                Err(error) => tracing::error!("[log] level is not taken up: {error}"),
            }
            self.running.log = compare::with_level(&self.running.log, &new.log.level);
        }
        let changed = self.watch.changed();
        let api_paths = |config: &Config| (config.api.cert_file.clone(), config.api.key_file.clone());
        let elsewhere = api_paths(&self.running) != api_paths(&new);
        (self.running.api.cert_file, self.running.api.key_file) = api_paths(&new);
        if elsewhere || changed.iter().any(|file| self.is_of_api(file)) {
            self.renew_api();
        }
        for at in 0..self.running.exchange.len() {
            let old = &self.running.exchange[at];
            let same = |one: &&Exchange| one.name == old.name && compare::same_exchange(old, one);
            if let Some(new) = new.exchange.iter().find(same) {
                self.renew_exchange(at, new.clone(), &changed, true).await;
            }
        }
        for at in 0..self.running.push.len() {
            let old = &self.running.push[at];
            let same = new
                .push
                .iter()
                .find(|one| one.name == old.name && compare::same_push((&self.running, old), (&new, one)));
            if let Some(renewed) = same {
                let elsewhere = old.ca_file != renewed.ca_file || client(&old.auth) != client(&renewed.auth);
                self.running.push[at].ca_file = renewed.ca_file.clone();
                if let PushCredential::Certificate(_) = &renewed.auth {
                    self.running.push[at].auth = renewed.auth.clone();
                }
                self.renew_push(at, &changed, elsewhere);
            }
        }
        self.watch.set(watched(&self.running));
        tracing::info!("the configuration has been read again");
    }

    /// Some files that were watched have changed.
    async fn files_changed(&mut self, changed: &[PathBuf]) {
        if changed.iter().any(|file| self.is_of_api(file)) {
            self.renew_api();
        }
        for at in 0..self.running.exchange.len() {
            let mut new = self.running.exchange[at].clone();
            if !files_of(&new).any(|file| changed.contains(&file)) {
                continue;
            }
            let (what, secret) = match &mut new.credential {
                MailCredential::Basic { password, .. } => ("password", Some(password)),
                MailCredential::Bearer { token } => ("token", Some(token)),
                MailCredential::ClientCertificate => ("certificate", None),
            };
            if let (Some(file), Some(secret)) = (&new.secret_file, secret) {
                match read_secret(file) {
                    Ok(text) => *secret = text.into(),
                    Err(error) => {
                        let (exchange, file) = (&*new.name, file.display());
                        tracing::error!(exchange, %file, "the new {what} is not taken up, the old stays: {error}");
                        self.certificates_due[at] |=
                            certificate_files(&new).any(|file| changed.contains(file));
                        continue;
                    }
                }
            }
            self.renew_exchange(at, new, changed, false).await;
        }
        for at in 0..self.running.push.len() {
            self.renew_push(at, changed, false);
        }
    }

    /// Who we are to an Exchange, and whom we trust. `insist`: a person asked for it, so that even what was refused is
    /// tried once more.
    async fn renew_exchange(&mut self, at: usize, new: Exchange, changed: &[PathBuf], insist: bool) {
        let old = &self.running.exchange[at];
        let name = &*new.name;
        let renewed = self.certificates_due[at]
            || (&old.ca_file, &old.client) != (&new.ca_file, &new.client)
            || certificate_files(&new).any(|file| changed.contains(file));
        if renewed {
            let endpoint = bridge::exchange_endpoint(at);
            let taken = self.set_tls(endpoint, bridge::exchange_tls(&new));
            self.certificates_due[at] = taken.is_err();
            if let Err(error) = taken {
                tracing::error!(exchange = name, "certificates are not taken up, the old stay: {error}");
                // The files that were asked for are watched: whoever puts them right need not say so. The credential
                // goes with its certificates.
                let credential = old.credential.clone();
                self.running.exchange[at] = Exchange { credential, ..new };
                return;
            }
            tracing::info!(exchange = name, "certificates taken up, for new connections");
        }
        let server = MailServerId(at as u16);
        let health = self.directory.mail_server(server);
        let other = old.credential != new.credential;
        let again = match health {
            Health::Well => insist && self.directory.counts().unwatched > 0,
            // Rights may have been given meanwhile: that harms no account.
            Health::Trouble(_) => true,
            // Whoever writes the same password again, every minute perhaps, must not lock the account.
            Health::Refused(_) => insist || renewed,
        };
        if other || again {
            let what = if other { "a new credential is" } else { "the credential is" };
            tracing::info!(exchange = name, "{what} tried now, with one request at first");
            if health != Health::Well {
                let text = "the credential is being tried; until it is accepted nothing else is sent";
                let trying = Trouble { code: "credential_tried".into(), text: text.into() };
                self.directory.trying_mail_server(server, &Arc::new(trying));
            }
            let credential = new.credential.clone();
            writer::command(&self.engine as &dyn Engine, Command::SetMailCredential { server, credential })
                .await;
        } else if health != Health::Well {
            tracing::warn!(
                exchange = name,
                "the file with the password or token was written, but says what Exchange has refused: it is not tried"
            );
        }
        self.running.exchange[at] = new;
    }

    /// The certificates for a push service.
    fn renew_push(&self, at: usize, changed: &[PathBuf], elsewhere: bool) {
        let push = &self.running.push[at];
        let mut files = push.ca_file.iter().chain(client(&push.auth).into_iter().flat_map(pair));
        if !elsewhere && !files.any(|file| changed.contains(file)) {
            return;
        }
        let name = &*push.name;
        match self.set_tls(bridge::push_endpoint(&self.running, at), bridge::push_tls(push)) {
            Ok(()) => tracing::info!(push = name, "certificates taken up, for new connections"),
            Err(error) => {
                tracing::error!(push = name, "certificates are not taken up, the old stay: {error}")
            }
        }
    }

    fn renew_api(&self) {
        match self.certificate.renew(&self.running.api) {
            Ok(()) => tracing::info!("the API's certificate taken up, for new connections"),
            Err(error) => tracing::error!("the API's certificate is not taken up, the old stays: {error}"),
        }
    }

    fn set_tls(&self, endpoint: EndpointId, settings: Result<TlsSettings, FileError>) -> Result<(), String> {
        let settings = settings.map_err(|error| error.to_string())?;
        self.engine.set_tls(endpoint, &settings).map_err(|error| error.to_string())
    }

    fn is_of_api(&self, file: &PathBuf) -> bool {
        *file == self.running.api.cert_file || *file == self.running.api.key_file
    }
}

/// The files whose content is taken up when it changes.
pub fn watched(config: &Config) -> impl Iterator<Item = PathBuf> {
    let api = [&config.api.cert_file, &config.api.key_file].into_iter().cloned();
    let push = config
        .push
        .iter()
        .flat_map(|push| push.ca_file.iter().chain(client(&push.auth).into_iter().flat_map(pair)).cloned());
    api.chain(config.exchange.iter().flat_map(files_of)).chain(push)
}

fn files_of(exchange: &Exchange) -> impl Iterator<Item = PathBuf> {
    exchange.secret_file.iter().chain(certificate_files(exchange)).cloned()
}

fn certificate_files(exchange: &Exchange) -> impl Iterator<Item = &PathBuf> {
    exchange.ca_file.iter().chain(exchange.client.iter().flat_map(pair))
}

fn client(auth: &PushCredential) -> Option<&ClientCertificate> {
    match auth {
        PushCredential::Team(_) => None,
        PushCredential::Certificate(client) => Some(client),
    }
}

fn pair(client: &ClientCertificate) -> [&PathBuf; 2] {
    [&client.cert_file, &client.key_file]
}
