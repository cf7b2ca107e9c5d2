//! The swarm: days drawn from seeds, lived through and judged.

mod disk;
mod exam;
mod folders;
mod mailboxes;
#[cfg(feature = "planted")]
pub mod mutants;
mod oddities;
mod owner;
mod phones;
mod plan;
mod profile;
mod registrations;
mod run;
mod scenes;
mod shrink;
mod strays;
mod struck;

pub use disk::DiskAct;
pub use folders::FolderAct;
pub use mailboxes::{Garbage, MailboxAct, Manner};
pub use oddities::OddAct;
pub use owner::OwnerAct;
pub use phones::{PhoneAct, Turned};
pub use plan::{Act, Manners, NetTrouble, Plan};
pub use profile::{BUILTIN, Profile};
pub use registrations::RegistrationAct;
pub use run::{Verdict, run, tell};
pub use shrink::{Without, shrink};
pub use strays::StrayAct;
