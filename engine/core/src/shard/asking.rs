//! What is asked in a call: the request for a job.

use super::core::ShardCore;
use super::fetch::wants_fetch;
use super::server::{Ask, Behind, Job};
use super::{CatchUp, MailServerId};
use crate::ews::{Caller, Route, request};
use crate::limits::{CATCH_UP_PAGE, SYNC_PAGE};
use crate::names::{ItemId, SmtpAddress};
use crate::user::{IdForm, Item, Needs};

impl ShardCore {
    /// The bytes of a call. `None` if nothing is left to ask.
    pub(super) fn encode_job(&mut self, job: &mut Job) -> Option<Vec<u8>> {
        let (user_id, ask) = match job {
            Job::Unsubscribe(farewell) => {
                let server = farewell.server;
                let caller = self.caller(server, &farewell.address);
                let body = request::unsubscribe(&caller, &farewell.subscription);
                let route = Route::Cohort { anchor: &farewell.anchor, cookies: &farewell.cookie };
                return self.encode_call(server, route, &body);
            }
            Job::OfUser { user, ask, .. } => (*user, ask),
        };
        let user = self.users.get(user_id)?;
        let server = user.server?;
        let caller = self.caller(server, &user.address);
        match ask {
            Ask::Subscribe(behind) => {
                let cohort = self.cohorts.get(user.cohort?)?;
                let body = request::subscribe(&caller, &user.folder_ids());
                let Behind { anchor, cookies } = behind.insert(Behind {
                    anchor: cohort.anchor.clone()?,
                    cookies: cohort.cookies.as_str().into(),
                });
                let own = user.address.clone();
                let anchor = if planted!(AnchorOfMember) { &own } else { &*anchor };
                self.encode_call(server, Route::Cohort { anchor, cookies }, &body)
            }
            Ask::Fetch(_) | Ask::Convert(_) => {
                let most = if user.fetch_alone { 1 } else { usize::MAX };
                let items: Vec<&Item> =
                    user.pending.items().iter().filter(|item| wants_fetch(item)).take(most).collect();
                if items.is_empty() {
                    let user = self.users.get_mut(user_id)?;
                    user.needs.remove(Needs::FETCH);
                    user.fetch_alone = false;
                    return None;
                }
                let old: Vec<&Item> =
                    items.iter().copied().filter(|item| item.id_form == IdForm::Old).collect();
                let asked = if old.is_empty() { items } else { old };
                let hashes = asked.iter().map(|item| item.hash).collect();
                let ids: Vec<&ItemId> = asked.iter().map(|item| &item.id).collect();
                let convert = asked.iter().all(|item| item.id_form == IdForm::Old);
                let (body, asks) = match convert {
                    true => (request::convert_id(&caller, &ids), Ask::Convert(hashes)),
                    false => (request::get_item(&caller, &ids), Ask::Fetch(hashes)),
                };
                *ask = asks;
                let address = user.address.clone();
                self.encode_call(server, Route::Mailbox(&address), &body)
            }
            Ask::CatchUp { ids_alone } => {
                let folder = user.folder_now().map(|folder| &folder.id);
                let body = match self.mail_server(server).catch_up {
                    CatchUp::Find => {
                        let offset = user.catch_up_offset;
                        request::find_item_newest(&caller, folder, CATCH_UP_PAGE, offset, *ids_alone)
                    }
                    CatchUp::Sync => request::sync_folder_items(&caller, folder, user.sync_now(), SYNC_PAGE),
                };
                let address = user.address.clone();
                self.encode_call(server, Route::Mailbox(&address), &body)
            }
            Ask::Badge => {
                let body = request::get_folder(&caller, &user.folder_ids());
                let address = user.address.clone();
                self.encode_call(server, Route::Mailbox(&address), &body)
            }
        }
    }

    fn caller<'a>(&self, server: MailServerId, mailbox: &'a SmtpAddress) -> Caller<'a> {
        Caller {
            version: self.servers[usize::from(server.0)].version,
            mailbox,
            impersonate: self.mail_server(server).impersonate,
        }
    }
}
