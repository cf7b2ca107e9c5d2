//! Memory of an idle user with one device: what the allocator hands out, and what is resident.
//!
//! The aim is 1 KiB resident for a user with a subscription.

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use carillon_benches::users::{Town, mailbox_user, signal_user};
use carillon_core::shard::AssignUser;

/// Enough that a table that has just doubled does not decide the figure alone.
const USERS: u64 = 200_000;

const AIM_BYTES: usize = 1_024;

/// Counts what is handed out, and leaves the work to the system.
struct Counting;

static HEAP_BYTES: AtomicUsize = AtomicUsize::new(0);

#[expect(
    unsafe_code,
    reason = "an allocator cannot be written without; every call goes on to the system's as it is"
)]
// SAFETY: `System` keeps the contract, and counting changes nothing about the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HEAP_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HEAP_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    println!("bytes per idle user with one device ({USERS} users, heap handed out / resident):");
    measure("told of by signals", signal_user);
    let resident = measure("on Exchange, with a subscription", mailbox_user);
    if resident > AIM_BYTES {
        println!("over the aim of {AIM_BYTES} bytes");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn measure(what: &str, user: fn(u64) -> AssignUser) -> usize {
    let (heap, resident) = (HEAP_BYTES.load(Ordering::Relaxed), resident_bytes());
    let mut town = Town::new();
    for number in 0..USERS {
        town.assign(user(number));
        // Effects are taken out as a shell does, so that only the rows remain.
        if number % 200 == 0 {
            town.turn();
        }
    }
    town.turn();
    assert_eq!(town.core.stats().users, USERS);
    let users = USERS as usize;
    let heap = (HEAP_BYTES.load(Ordering::Relaxed) - heap) / users;
    let resident = resident_bytes().saturating_sub(resident) / users;
    println!("  {what:<34} {heap:>6} / {resident:>6}");
    resident
}

/// Linux says it in pages of 4 KiB.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4_096
}
