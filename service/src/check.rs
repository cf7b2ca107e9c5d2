//! `carillon check`: tries everything that has to work, a line for each: what is well, or what is wrong and what to do.

mod exchange;
mod files;
mod push;

use std::io::{self, Write};
use std::net::SocketAddr;

use carillon_core::names::SmtpAddress;

use crate::blocking::Failure;
use crate::config::Config;

/// Where the lines go, and how many told of something wrong.
pub struct Findings<'a> {
    out: &'a mut dyn Write,
    wrong: u32,
}

impl<'a> Findings<'a> {
    /// Lines go to `out`.
    pub fn new(out: &'a mut dyn Write) -> Findings<'a> {
        Findings { out, wrong: 0 }
    }

    /// `what` was tried and is well.
    pub fn well(&mut self, what: &str, text: &str) {
        self.line("ok", what, text);
    }

    /// Something to know about `what`, which is not wrong.
    pub fn note(&mut self, what: &str, text: &str) {
        self.line("note", what, text);
    }

    /// `what` was tried and is wrong.
    pub fn wrong(&mut self, what: &str, failure: &Failure) {
        self.wrong += 1;
        self.line("WRONG", what, &failure.what);
        self.line("", "", &format!("→ {}", failure.advice));
    }

    /// The value, after a line that it is well; or a line that it is wrong.
    fn step<T>(
        &mut self,
        what: &str,
        result: Result<T, Failure>,
        text: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        match result {
            Ok(value) => {
                self.well(what, &text(&value));
                Some(value)
            }
            Err(failure) => {
                self.wrong(what, &failure);
                None
            }
        }
    }

    /// How many were wrong.
    pub fn wrong_count(&self) -> u32 {
        self.wrong
    }

    fn line(&mut self, verdict: &str, what: &str, text: &str) {
        let result: io::Result<()> = writeln!(self.out, "{verdict:<5}  {what:<28}  {text}");
        // Nobody reads any more: the exit status still tells.
        drop(result);
    }
}

/// Tries everything that `config` names. True: all is well.
///
/// `user` is a mailbox to try impersonation with. What the service account is asked for is little and harmless: the size
/// of one inbox, and a subscription that is ended at once. After a refused log-on nothing more is tried with that
/// account: accounts get locked.
pub fn run(config: &Config, user: Option<&SmtpAddress>, out: &mut dyn Write) -> bool {
    let mut findings = Findings::new(out);
    let parts =
        format!("{}: {} Exchange, {} push", config.file.display(), config.exchange.len(), config.push.len());
    findings.well("configuration", &parts);
    files::check(config, &mut findings);
    for exchange in &config.exchange {
        exchange::check(exchange, user, &mut findings);
    }
    for push in &config.push {
        push::check(config, push, &mut findings);
    }
    findings.wrong_count() == 0
}

/// What a name resolves to, for a person.
fn addresses(host: &str, found: &[SocketAddr]) -> String {
    const SHOWN_MAX: usize = 4;
    let shown: Vec<String> = found.iter().take(SHOWN_MAX).map(|address| address.ip().to_string()).collect();
    let more = found.len().saturating_sub(SHOWN_MAX);
    match more {
        0 => format!("{host} is {}", shown.join(", ")),
        more => format!("{host} is {} and {more} more", shown.join(", ")),
    }
}
