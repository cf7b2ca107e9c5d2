//! `loadgen peers`: the simulated Exchange and APNs on real sockets, the people who write and read the mail, and the
//! account of it all. A process of its own, so that the engine's process is measured alone.

mod act;
mod history;
mod latency;
mod schedule;
mod server;
mod world;

use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::Duration;

use carillon_core::time::{Span, Time};
use carillon_engine::Clock;
use mio::{Events, Poll, Token, Waker};

use crate::control::{Note, Order};
use crate::process;
use crate::tls::{PEER_CERT, PEER_KEY, server_config};
use world::World;

/// Runs until the order to finish, or until `loadgen run` is gone.
pub(crate) fn run() -> Result<(), String> {
    let mut poll = Poll::new().map_err(|error| format!("cannot poll: {error}"))?;
    let waker = Waker::new(poll.registry(), WAKER).map_err(|error| format!("cannot poll: {error}"))?;
    let (sender, orders) = channel();
    std::thread::spawn(move || read_orders(&sender, &waker));
    let Ok(Order::Setup(setup)) = orders.recv() else {
        return Err("this command is started by `loadgen run`, not by hand".to_owned());
    };
    let mut guard = Guard { folder: setup.folder.clone(), service: None };
    let clock = Clock::start();
    let tls = |alpn: &[u8]| -> Result<_, String> {
        server_config(&setup.folder.join(PEER_CERT), &setup.folder.join(PEER_KEY), alpn).map(Arc::new)
    };
    let (http1, h2) = (tls(b"http/1.1")?, tls(b"h2")?);
    let mut world = World::new(clock, &setup, http1, h2, poll.registry())
        .map_err(|error| format!("the peers cannot listen: {error}"))?;
    let (exchange_port, apns_port) =
        world.ports().map_err(|error| format!("the peers cannot listen: {error}"))?;
    if say(&Note::Ready { exchange_port, apns_port }).is_err() {
        guard.clean_up();
        return Ok(());
    }
    let mut events = Events::with_capacity(1_024);
    let mut tick_at = Time(0);
    loop {
        match take_orders(&orders, &mut world, &mut guard) {
            Heard::GoOn => {}
            Heard::Finish => {
                let outcome = world.finish();
                return say(&Note::Result(Box::new(outcome)))
                    .map_err(|error| format!("loadgen run is gone: {error}"));
            }
            Heard::Orphaned => {
                guard.clean_up();
                return Ok(());
            }
        }
        let mut notes = world.turn();
        let now = clock.time();
        if tick_at <= now {
            tick_at = now + TICK;
            notes.push(Note::Tick(world.tick()));
        }
        if notes.iter().any(|note| say(note).is_err()) {
            guard.clean_up();
            return Ok(());
        }
        let deadline = world.next_deadline().min(tick_at);
        let timeout = Duration::from_micros(deadline.since(clock.time()).0);
        match poll.poll(&mut events, Some(timeout)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(format!("cannot poll: {error}")),
        }
        for event in events.iter().filter(|event| event.token() != WAKER) {
            world.on_event(event, poll.registry());
        }
    }
}

enum Heard {
    GoOn,
    Finish,
    Orphaned,
}

fn take_orders(orders: &Receiver<Order>, world: &mut World, guard: &mut Guard) -> Heard {
    loop {
        match orders.try_recv() {
            Ok(Order::Finish) => return Heard::Finish,
            Ok(Order::Service { pid, started }) => guard.service = Some((pid, started)),
            Ok(Order::ItemKey(key)) => world.set_item_key(&key),
            Ok(Order::Play) => world.play(),
            Ok(Order::Step { mails_per_s, seconds }) => world.step(mails_per_s, seconds),
            Ok(Order::Setup(_)) => {}
            Err(TryRecvError::Empty) => return Heard::GoOn,
            Err(TryRecvError::Disconnected) => return Heard::Orphaned,
        }
    }
}

/// Reads orders until `loadgen run` closes its end.
fn read_orders(sender: &Sender<Order>, waker: &Waker) {
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        match serde_json::from_str(&line) {
            Ok(order) => {
                if sender.send(order).is_err() {
                    return;
                }
            }
            Err(error) => eprintln!("loadgen peers: an order that is none: {error}"),
        }
        // Fails only when the poll is gone, and with it the process.
        let _ = waker.wake();
    }
    // The loop sees the closed channel when it looks next: at its tick at the latest.
}

fn say(note: &Note) -> io::Result<()> {
    let mut line = serde_json::to_vec(note).map_err(io::Error::other)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}

/// What is left to clean up when `loadgen run` dies without doing it.
struct Guard {
    folder: PathBuf,
    service: Option<(u32, u64)>,
}

impl Guard {
    fn clean_up(&mut self) {
        if let Some((pid, started)) = self.service.take()
            && process::started(pid) == Some(started)
        {
            process::kill(pid);
        }
        // It may be gone already.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

const WAKER: Token = Token(0);

/// Between two [`Note::Tick`]s.
const TICK: Span = Span::from_millis(500);
