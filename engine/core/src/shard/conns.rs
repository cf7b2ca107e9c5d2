//! What happens on connections, and which machine it is for.

use super::conn::{Conn, Kind};
use super::core::{ShardCore, TimerKey};
use super::input::CloseReason;
use super::{ConnId, Effect, Effects, EndpointId, Trouble};
use crate::time::Now;

impl ShardCore {
    /// Asks the shell for a connection.
    pub(super) fn open_conn(&mut self, endpoint: EndpointId, kind: Kind, fx: &mut Effects) -> ConnId {
        let wheel = &mut self.wheel;
        let conn = self.conns.insert_with(|id| Conn {
            kind,
            timer: wheel.slot(TimerKey::Conn(id)),
            open: false,
            flush_asked: false,
            more: false,
        });
        self.stats.connects += 1;
        fx.push(Effect::Open { conn, endpoint });
        conn
    }

    /// After anything that may have given a machine bytes to send or a new deadline.
    pub(super) fn touch_conn(&mut self, conn_id: ConnId, fx: &mut Effects) {
        let Some(conn) = self.conns.get_mut(conn_id) else { return };
        match conn.next_deadline() {
            Some(at) => self.wheel.arm(&conn.timer, at),
            None => self.wheel.cancel(&conn.timer),
        }
        if conn.open && !std::mem::replace(&mut conn.flush_asked, true) {
            fx.push(Effect::Flush { conn: conn_id });
        }
    }

    /// Closes a connection and forgets it.
    pub(super) fn close_conn(&mut self, conn_id: ConnId, fx: &mut Effects) {
        if self.forget_conn(conn_id) {
            fx.push(Effect::Close { conn: conn_id });
        }
    }

    /// Forgets a connection that the shell has closed already.
    pub(super) fn forget_conn(&mut self, conn_id: ConnId) -> bool {
        let Some(conn) = self.conns.remove(conn_id) else { return false };
        self.wheel.release(conn.timer);
        match conn.kind {
            Kind::Call { server, .. } => self.servers[usize::from(server.0)].forget_conn(conn_id),
            Kind::Lane { service, .. } => self.services[usize::from(service.0)].forget_lane(conn_id),
            Kind::Stream { .. } => {}
        }
        true
    }

    pub(super) fn conn_opened(&mut self, now: Now, conn_id: ConnId, fx: &mut Effects) {
        let Some(conn) = self.conns.get_mut(conn_id) else { return };
        conn.open = true;
        match &conn.kind {
            Kind::Stream { cohort, .. } => {
                let cohort = *cohort;
                self.stream_connected(now, conn_id, cohort, fx);
            }
            Kind::Call { .. } => self.call_connected(now, conn_id, fx),
            Kind::Lane { service, .. } => {
                let service = *service;
                self.lane_connected(now, conn_id, service, fx);
            }
        }
    }

    pub(super) fn conn_bytes(&mut self, now: Now, conn_id: ConnId, data: &[u8], fx: &mut Effects) {
        let Some(conn) = self.conns.get_mut(conn_id) else { return };
        match &mut conn.kind {
            Kind::Stream { machine, .. } => {
                if let Some(machine) = machine {
                    machine.feed(now.time, data);
                }
                self.pump_stream(now, conn_id, fx);
            }
            Kind::Call { machine, .. } => {
                let fed = machine.feed(now.time, data);
                self.pump_call(now, conn_id, fed.err(), fx);
            }
            Kind::Lane { machine, .. } => {
                if let Some(machine) = machine {
                    machine.feed(now.time, data);
                }
                self.pump_lane(now, conn_id, fx);
            }
        }
        self.touch_conn(conn_id, fx);
    }

    pub(super) fn conn_room(&mut self, conn_id: ConnId, fx: &mut Effects) {
        let Some(conn) = self.conns.get_mut(conn_id) else { return };
        if conn.more && !std::mem::replace(&mut conn.flush_asked, true) {
            fx.push(Effect::Flush { conn: conn_id });
        }
    }

    pub(super) fn conn_closed(&mut self, now: Now, conn_id: ConnId, reason: &CloseReason, fx: &mut Effects) {
        let Some(conn) = self.conns.get_mut(conn_id) else { return };
        match &mut conn.kind {
            Kind::Stream { cohort, machine, .. } => {
                let cohort = *cohort;
                match machine {
                    Some(machine) if *reason == CloseReason::Eof => {
                        machine.feed_eof();
                        self.pump_stream(now, conn_id, fx);
                    }
                    Some(_) => {}
                    None => {
                        let server = self.cohorts.get(cohort).map(|cohort| cohort.server);
                        if let Some(server) = server {
                            self.server_unreachable(now, server, reason.trouble(), fx);
                        }
                    }
                }
                // The machine has dealt with an end in good order; anything else is a break.
                if self.conns.get(conn_id).is_some() {
                    self.stream_broken(now, conn_id, cohort, &reason.trouble(), fx);
                }
            }
            Kind::Call { machine, .. } => {
                if machine.may_be_stale() {
                    return self.call_conn_stale(now, conn_id, fx);
                }
                let ended = if *reason == CloseReason::Eof { machine.feed_eof().err() } else { None };
                self.call_conn_closed(now, conn_id, ended, reason, fx);
            }
            Kind::Lane { service, .. } => {
                let service = *service;
                self.lane_closed(now, conn_id, service, reason, fx);
            }
        }
    }

    pub(super) fn conn_timer(&mut self, now: Now, conn_id: ConnId, fx: &mut Effects) {
        let Some(conn) = self.conns.get_mut(conn_id) else { return };
        match &mut conn.kind {
            Kind::Stream { machine, .. } => {
                if let Some(machine) = machine {
                    machine.on_deadline(now.time);
                }
                self.pump_stream(now, conn_id, fx);
            }
            Kind::Call { .. } => self.call_overdue(now, conn_id, fx),
            Kind::Lane { machine, .. } => {
                if let Some(machine) = machine {
                    machine.on_deadline(now.time);
                }
                self.pump_lane(now, conn_id, fx);
            }
        }
        self.touch_conn(conn_id, fx);
    }
}

impl CloseReason {
    /// The same as a message for a person.
    pub fn trouble(&self) -> Trouble {
        let (code, text): (&str, String) = match self {
            CloseReason::Eof => ("closed", "The server closed the connection.".into()),
            CloseReason::Reset => {
                ("reset", "The connection was reset, by the server or by something between.".into())
            }
            CloseReason::Refused => {
                ("refused", "Nobody listens there: check host and port, and whether the server runs.".into())
            }
            CloseReason::ConnectTimeout => {
                ("connect_timeout", "No connection within 10 s: check host, port and firewall.".into())
            }
            CloseReason::NameNotFound(words) => (
                "name_not_found",
                format!("The host name does not resolve ({words}): check the name and the DNS."),
            ),
            CloseReason::Untrusted(words) => {
                ("tls_untrusted", format!("The server's certificate does not verify: {words}."))
            }
            CloseReason::Tls(words) => ("tls", format!("TLS failed ({words}).")),
            CloseReason::Io(words) => ("io", format!("The connection failed ({words}).")),
        };
        Trouble { code: code.into(), text: text.into() }
    }
}
