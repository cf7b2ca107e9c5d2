//! Provider tokens for APNs: one for each signing key, shared by all shards and kept over restarts.

mod policy;
mod signer;

pub use policy::{Due, MINT_GAP_MS, Minting, RENEW_AFTER_MS, RENEW_JITTER_MS, Refusal};
pub use signer::{Signer, SignerError};

use std::sync::Arc;
use std::time::Duration;

use carillon_core::shard::{Command, TeamId};
use carillon_core::time::UnixMillis;
use tokio::sync::mpsc;

use crate::clock;
use crate::engine::Engine;
use crate::seal::Vault;
use crate::store::{Store, StoreError, TokenRow};
use crate::writer;

/// Refusals that may wait to be looked at; more say nothing new.
const REFUSALS_WAITING_MAX: usize = 64;

/// However far the next renewal is, the wall clock is looked at this often: it may be set.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// A token that the store would not take is offered again as often.
const STORE_AGAIN: Duration = Duration::from_secs(5);

/// News of a token that the provider refused.
pub type Refused = (TeamId, UnixMillis);

/// The keeper of all tokens.
pub struct TokenKeeper {
    teams: Vec<Keeping>,
    store: Arc<dyn Store>,
    engine: Arc<dyn Engine>,
    vault: Arc<Vault>,
}

struct Keeping {
    signer: Signer,
    minting: Minting,
    /// The token is used, and the store would not take it.
    unstored: Option<TokenRow>,
}

impl TokenKeeper {
    /// Hands the engine the stored tokens that are young enough, and new ones for the rest.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(
        signers: Vec<Signer>,
        store: Arc<dyn Store>,
        engine: Arc<dyn Engine>,
        vault: Arc<Vault>,
    ) -> Result<TokenKeeper, StoreError> {
        let mut keeper = TokenKeeper { teams: Vec::new(), store, engine, vault };
        for (at, signer) in signers.into_iter().enumerate() {
            let stored = keeper.stored(&signer).await?;
            let jitter = clock::random_u64();
            let minting = Minting::new(stored.as_ref().map(|(_, issued)| *issued), jitter);
            keeper.teams.push(Keeping { signer, minting, unstored: None });
            match stored {
                Some((jwt, issued)) if minting.due(clock::now()) != Due::Now => {
                    keeper.hand_over(at, jwt, issued).await;
                }
                Some(_) | None => keeper.mint(at).await,
            }
        }
        Ok(keeper)
    }

    /// Where news of refused tokens are sent to, and where [`TokenKeeper::run`] takes them from.
    pub fn refusals() -> (mpsc::Sender<Refused>, mpsc::Receiver<Refused>) {
        mpsc::channel(REFUSALS_WAITING_MAX)
    }

    /// Renews tokens as they grow old or are refused, until the other end of `refusals` is dropped.
    pub async fn run(mut self, mut refusals: mpsc::Receiver<Refused>) {
        loop {
            for at in 0..self.teams.len() {
                if self.teams[at].minting.due(clock::now()) == Due::Now {
                    self.mint(at).await;
                }
                self.store_again(at).await;
            }
            match tokio::time::timeout(self.rest(), refusals.recv()).await {
                Ok(Some((team, issued))) => self.refused(team, issued),
                Ok(None) => return,
                Err(_elapsed) => {}
            }
        }
    }

    fn rest(&self) -> Duration {
        let now = clock::now();
        let rest = self.teams.iter().map(|team| match team.minting.due(now) {
            Due::Now => Duration::ZERO,
            Due::At(at) => Duration::from_millis(at.millis_since(now)),
        });
        let unstored = self.teams.iter().any(|team| team.unstored.is_some());
        rest.min().unwrap_or(LOOK_AGAIN).min(if unstored { STORE_AGAIN } else { LOOK_AGAIN })
    }

    fn refused(&mut self, team: TeamId, issued: UnixMillis) {
        let Some(Keeping { signer, minting, .. }) = self.teams.get_mut(usize::from(team.0)) else { return };
        let now = clock::now();
        let (team_id, key_id) = (signer.team_id(), signer.key_id());
        match minting.refused(issued, now) {
            Refusal::Old => {}
            Refusal::Replace => tracing::info!(team_id, key_id, "APNs wants a new provider token"),
            Refusal::Suspicious(at) => tracing::error!(
                team_id,
                key_id,
                age_s = now.millis_since(issued) / 1_000,
                next_in_s = at.millis_since(now) / 1_000,
                "APNs refuses a provider token that is still young: check this host's clock, and that key_file, key_id \
                 and team_id belong together and the key was not revoked; pushes wait for the next token"
            ),
        }
    }

    async fn mint(&mut self, at: usize) {
        let Keeping { signer, minting, unstored } = &mut self.teams[at];
        // `iat` has whole seconds; so has what is compared with it later.
        let issued = UnixMillis(clock::now().as_secs() * 1_000);
        let jwt = signer.mint(issued);
        minting.minted(issued);
        let row = TokenRow {
            team_id: signer.team_id().into(),
            key_id: signer.key_id().into(),
            issued,
            sealed: self.vault.seal(&purpose(signer), jwt.as_bytes()),
        };
        tracing::info!(team_id = signer.team_id(), key_id = signer.key_id(), "minted a provider token");
        // Stored before it is used: a restart must not mint another. Without a store pushes go on all the same.
        if let Err(error) = self.store.put_team_token(&row).await {
            tracing::error!(
                %error,
                "a provider token could not be stored, which is tried again; a restart before that mints another, and within 20 \
                 minutes may exceed Apple's budget"
            );
            *unstored = Some(row);
        } else {
            *unstored = None;
        }
        self.hand_over(at, jwt, issued).await;
    }

    async fn store_again(&mut self, at: usize) {
        let Some(row) = &self.teams[at].unstored else { return };
        if self.store.put_team_token(row).await.is_ok() {
            tracing::info!(team_id = &*row.team_id, key_id = &*row.key_id, "the provider token is stored");
            self.teams[at].unstored = None;
        }
    }

    async fn hand_over(&self, at: usize, jwt: String, issued: UnixMillis) {
        let team = TeamId(at as u16);
        writer::command(&*self.engine, Command::SetTeamToken { team, jwt: jwt.into(), issued }).await;
    }

    async fn stored(&self, signer: &Signer) -> Result<Option<(String, UnixMillis)>, StoreError> {
        let Some(row) = self.store.team_token(signer.team_id(), signer.key_id()).await? else {
            return Ok(None);
        };
        let jwt = self.vault.open_sealed(&purpose(signer), &row.sealed);
        let jwt = jwt.and_then(|jwt| String::from_utf8(jwt).ok());
        if jwt.is_none() {
            tracing::warn!("the stored provider token was sealed with another key file; minting a new one");
        }
        Ok(jwt.map(|jwt| (jwt, row.issued)))
    }
}

fn purpose(signer: &Signer) -> String {
    format!("provider token {}/{}", signer.team_id(), signer.key_id())
}

#[cfg(test)]
mod tests;
