//! APNs as a value: takes every push.

use carillon_core::h2pump::{Answer, ServerConfig, ServerEvent, ServerPump};

/// One connection of the provider.
#[derive(Debug)]
pub struct Provider {
    pump: ServerPump,
    waiting: Vec<u32>,
}

impl Provider {
    /// A connection whose SETTINGS wait.
    pub fn new() -> Provider {
        Provider { pump: ServerPump::new(ServerConfig::default()), waiting: Vec::new() }
    }

    /// Takes bytes in, and answers every push that is whole with 200. The answers are appended to `out`.
    pub fn exchange(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        const ACCEPTED: Answer<'_> =
            Answer { status: 200, headers: &[], body: b"", data_bytes_max: 0, empty_tail: false };
        self.pump.feed(bytes);
        while let Some(event) = self.pump.poll() {
            match event {
                ServerEvent::Request(request) => self.waiting.push(request.stream),
                ServerEvent::Closed { error: Some(error) } => panic!("the provider broke off: {error}"),
                other => drop(other),
            }
        }
        for stream in self.waiting.drain(..) {
            self.pump.respond(stream, &ACCEPTED).expect("the stream is open");
        }
        while self.pump.drain(out, usize::MAX) {}
    }
}

impl Default for Provider {
    fn default() -> Provider {
        Provider::new()
    }
}
