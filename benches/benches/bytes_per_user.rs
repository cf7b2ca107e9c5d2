//! Memory of an idle user with one device: what the allocator hands out, and what is resident.
//!
//! The aim is 1 KiB resident for a user with a subscription.

use std::alloc::{GlobalAlloc, Layout};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use carillon_benches::users::{Town, mailbox_user, signal_user};
use carillon_core::shard::AssignUser;
use carillon_core::time::Span;
use tikv_jemallocator::Jemalloc;

/// Enough that a table that has just doubled does not decide the figure alone.
const USERS: u64 = 200_000;

/// For those who had mail; it takes longer.
const BUSY_USERS: u64 = 100_000;

/// More than an idle row remembers.
const MAILS: u64 = 12;

const AIM_BYTES: usize = 1_024;

/// Counts what is handed out, and leaves the work to the allocator of our binaries.
struct Counting;

static HEAP_BYTES: AtomicUsize = AtomicUsize::new(0);

#[expect(
    unsafe_code,
    reason = "an allocator cannot be written without; every call goes on to jemalloc's as it is"
)]
// SAFETY: jemalloc keeps the contract, and counting changes nothing about the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HEAP_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { Jemalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HEAP_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { Jemalloc.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    println!("bytes per idle user with one device (heap handed out / resident):");
    // All stay until the end, so that none moves into the memory of one before.
    let (signals, _) = measure("told of by signals", USERS, 0, signal_user);
    let (mailboxes, resident) = measure("on Exchange, with a subscription", USERS, 0, mailbox_user);
    let (busy, _) = measure("told of by signals, after a day of mail", BUSY_USERS, MAILS, signal_user);
    let kept = [signals, mailboxes, busy].map(|town| town.core.stats().users);
    assert_eq!(kept, [USERS, USERS, BUSY_USERS]);
    if resident > AIM_BYTES {
        println!("over the aim of {AIM_BYTES} resident bytes with a subscription");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn measure(what: &str, users: u64, mails: u64, user: fn(u64) -> AssignUser) -> (Town, usize) {
    let (heap, resident) = (HEAP_BYTES.load(Ordering::Relaxed), resident_bytes());
    let mut town = Town::new();
    for number in 0..users {
        town.assign(user(number));
        // Effects are taken out as a shell does, so that only the rows remain.
        if number % 200 == 0 {
            town.turn();
        }
    }
    town.turn();
    for _ in 0..mails {
        for number in 0..users {
            town.mail(number);
            if number % 200 == 0 {
                town.turn();
            }
        }
        town.pass(Span::from_secs(600));
        town.turn();
    }
    assert_eq!(town.core.stats().ledger.accepted, users * mails);
    let heap = (HEAP_BYTES.load(Ordering::Relaxed) - heap) / users as usize;
    let resident = resident_bytes().saturating_sub(resident) / users as usize;
    println!("  {what:<36} {heap:>6} / {resident:>6}");
    (town, resident)
}

/// Linux says it in pages of 4 KiB.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4_096
}
