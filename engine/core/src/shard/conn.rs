//! The shard's connections: which machine speaks on each.

use super::cohort::CohortId;
use super::config::{MailServerId, PushServiceId};
use super::server::Job;
use crate::ews::{SchemaVersion, StreamConn};
use crate::http1::CallConn;
use crate::push::Lane;
use crate::time::Time;
use crate::user::UserId;
use crate::wheel::TimerSlot;

/// One connection, from the moment that it was asked for.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) kind: Kind,
    /// The machine's next deadline, in the shard's wheel.
    pub(super) timer: TimerSlot,
    /// The shell has said that it stands.
    pub(super) open: bool,
    /// A [`super::Effect::Flush`] is on its way to the shell.
    pub(super) flush_asked: bool,
    /// The last drain left bytes behind.
    pub(super) more: bool,
}

/// What a connection is for.
#[derive(Debug)]
pub(super) enum Kind {
    /// A streaming connection of a cohort; the machine stands once the connection is open. `users` are those
    /// whose subscriptions were asked for. `credential` is the number of the one that it was opened with, `version` what the
    /// request was written in, `closes` when it ends if the server keeps to it.
    Stream {
        cohort: CohortId,
        machine: Option<Box<StreamConn>>,
        users: Vec<UserId>,
        credential: u32,
        version: SchemaVersion,
        closes: Time,
    },
    /// Ordinary calls to a mail server.
    Call { server: MailServerId, machine: Box<CallConn>, job: Option<Job>, version: SchemaVersion },
    /// A lane to a provider; the machine stands once the connection is open.
    Lane { service: PushServiceId, machine: Option<Box<Lane>> },
}

impl Conn {
    pub(super) fn next_deadline(&self) -> Option<Time> {
        match &self.kind {
            Kind::Stream { machine, .. } => machine.as_ref()?.next_deadline(),
            Kind::Call { machine, .. } => machine.next_deadline(),
            Kind::Lane { machine, .. } => machine.as_ref()?.next_deadline(),
        }
    }

    /// Bytes that its machine has ready for the shell.
    pub(super) fn unsent_bytes(&self) -> usize {
        match &self.kind {
            Kind::Stream { machine: Some(machine), .. } => machine.unsent_bytes(),
            Kind::Call { machine, .. } => machine.unsent_bytes(),
            Kind::Lane { machine: Some(machine), .. } => machine.unsent_bytes(),
            Kind::Stream { machine: None, .. } | Kind::Lane { machine: None, .. } => 0,
        }
    }

    pub(super) fn drain(&mut self, out: &mut Vec<u8>, bytes_max: usize) -> bool {
        match &mut self.kind {
            Kind::Stream { machine: Some(machine), .. } => machine.drain(out, bytes_max),
            Kind::Call { machine, .. } => machine.drain(out, bytes_max),
            Kind::Lane { machine: Some(machine), .. } => machine.drain(out, bytes_max),
            Kind::Stream { machine: None, .. } | Kind::Lane { machine: None, .. } => false,
        }
    }
}
