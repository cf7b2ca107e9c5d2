//! Folders in days: chosen, taken back, made, renamed and deleted while mail comes into them and moves between them.

use carillon_core::rng::Rng;
use carillon_core::shard::BadgeCount;
use carillon_core::time::{Span, Time};

use super::plan::{Act, Plan, below, chance};
use super::profile;
use super::run::Life;

/// Folders have a generator of their own: the rest of a day is what it would be without them.
const FOLDERS: u64 = 0xf01d_e250_0000_0003;

/// So many of his own folders a user makes at most.
const OWN_FOLDERS: u64 = 3;

/// Things do harm where they meet: mail comes, moves and is read so shortly before and after folders change.
const AROUND: Span = Span::from_secs(10);

/// One thing that happens to folders. Users are taken modulo what there is; folders are a user's own, by number.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names of the parts say it")]
pub enum FolderAct {
    /// These folders of a user are watched from now on, and no others: a bit for each.
    Choose { user: usize, folders: u8 },
    /// A rule puts a user's mail into a folder as it arrives.
    Mail { user: usize, folder: usize },
    /// A user moves one of his mails into a folder.
    Move { user: usize, mail: usize, folder: usize },
    /// A user deletes a folder with all that lies in it. It is made again when something is to lie in it.
    Delete { user: usize, folder: usize },
    /// A user gives a folder another name.
    Rename { user: usize, folder: usize },
}

impl FolderAct {
    /// Whether the engine may not hear, from then on, what happens in mailboxes.
    pub(super) fn deafens(&self) -> bool {
        match self {
            FolderAct::Choose { .. } => true,
            FolderAct::Mail { .. }
            | FolderAct::Move { .. }
            | FolderAct::Delete { .. }
            | FolderAct::Rename { .. } => false,
        }
    }
}

impl Plan {
    /// On some days a few people tidy their mail up.
    pub(super) fn draw_own_folders(&mut self, profile: &profile::Folders) {
        let mut rng = Rng::new(!self.seed ^ FOLDERS);
        let rng = &mut rng;
        if !chance(rng, &profile.percent) {
            return;
        }
        if self.choosers.is_empty() && rng.chance(1, 2) {
            self.badge = BadgeCount::Watched;
        }
        for _ in 0..1 + rng.below(3) {
            let user = rng.below(self.users as u64) as usize;
            let times = profile.per_hour.draw(rng) * self.length.0 / 3_600_000_000;
            (0..times.max(2)).for_each(|_| self.draw_tidying(rng, user));
        }
    }

    fn draw_tidying(&mut self, rng: &mut Rng, user: usize) {
        let at = self.moment(rng);
        let folder = rng.below(OWN_FOLDERS) as usize;
        let choice = |rng: &mut Rng| FolderAct::Choose { user, folders: rng.below(1 << OWN_FOLDERS) as u8 };
        let act = match rng.below(8) {
            0..=3 => choice(rng),
            4 => FolderAct::Rename { user, folder },
            5 | 6 => {
                if rng.chance(3, 4) {
                    // Somebody notices, and chooses anew.
                    let then = at + below(rng, NOTICED_MAX);
                    self.acts.push((then, Act::Folders(choice(rng))));
                }
                FolderAct::Delete { user, folder }
            }
            _ => FolderAct::Move { user, mail: rng.below(1 << 20) as usize, folder },
        };
        self.acts.push((at, Act::Folders(act)));
        let around = Time(at.0.saturating_sub(AROUND.0 / 2));
        for _ in 0..rng.below(6) {
            let at = around + below(rng, AROUND);
            let (mail, folder) = (rng.below(1 << 20) as usize, rng.below(OWN_FOLDERS) as usize);
            let act = match rng.below(8) {
                0..=3 => Act::Folders(FolderAct::Mail { user, folder }),
                4 | 5 => Act::Folders(FolderAct::Move { user, mail, folder }),
                6 => Act::Read { user, mail },
                _ => Act::Mail { user, mails: 1, vip: false },
            };
            self.acts.push((at, act));
        }
    }
}

/// Until somebody notices that a folder of his choice is gone.
const NOTICED_MAX: Span = Span::from_secs(300);

impl Life {
    pub(super) fn folder_act(&mut self, act: &FolderAct) {
        let people = self.town.people.len();
        match act {
            FolderAct::Choose { user, folders } => {
                let chosen = (0..OWN_FOLDERS as usize).filter(|folder| folders >> folder & 1 == 1);
                self.town.choose_folders(user % people, chosen);
            }
            FolderAct::Mail { user, folder } => {
                let mut mail = self.town.mail();
                mail.folder = self.town.own_folder(user % people, *folder);
                self.town.deliver_mail(user % people, mail);
                self.mails += 1;
            }
            FolderAct::Move { user, mail, folder } => {
                let mails = self.town.people[user % people].mails.len();
                if mails > 0 {
                    let folder = self.town.own_folder(user % people, *folder);
                    self.town.move_mail(user % people, mail % mails, folder);
                }
            }
            FolderAct::Delete { user, folder } => self.town.delete_folder(user % people, *folder),
            FolderAct::Rename { user, folder } => {
                self.town.rename_folder(user % people, *folder, "Renamed");
            }
        }
    }
}
