//! What the journal promises, whatever happens to its files.

use carillon_core::names::{DeviceKey, FolderId, SmtpAddress, SubscriptionId, UserKey};
use carillon_core::shard::{FolderSync, NoticeRecord, ToldMail, UnsettledNotice, WatchRecord};
use carillon_core::time::UnixMillis;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use proptest::option;
use proptest::prelude::*;

use super::read::{Fault, Place};
use super::record::{HEADER_BYTES, end_write, header, write_record};
use super::write::{SEGMENT_BYTES, UNWRITTEN_BYTES_MAX};
use super::*;
use crate::crc32::SUMMED;

#[test]
fn what_was_committed_is_read_back_in_order_of_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Journal::create(dir.path(), 3, 0).unwrap();
    let mut second = Journal::create(dir.path(), 3, 1).unwrap();
    first.add(1, &gone(10));
    first.add(2, &gone(11));
    second.add(1, &gone(20));
    assert!(second.commit(0).unwrap() > 0);
    assert!(first.commit(0).unwrap() > 0);
    first.add(3, &gone(12));
    assert!(first.commit(0).unwrap() > 0);

    // Without closing anything: as another process sees it after a kill.
    let found = read(dir.path()).unwrap();
    assert_eq!(found.faults, []);
    let found: Vec<_> = found.entries.into_iter().map(|e| (e.epoch, e.shard, e.seq, e.report)).collect();
    assert_eq!(found, [(3, 0, 1, gone(10)), (3, 0, 2, gone(11)), (3, 0, 3, gone(12)), (3, 1, 1, gone(20))]);

    clear(dir.path()).unwrap();
    assert_eq!(read(dir.path()).unwrap(), Contents::default());
    assert_eq!(read(&dir.path().join("never made")).unwrap(), Contents::default());
}

#[test]
fn what_an_earlier_life_wrote_comes_before_all_that_a_later_one_wrote() {
    let dir = tempfile::tempdir().unwrap();
    // The later one on the lower shard, with lower numbers.
    let mut later = Journal::create(dir.path(), 8, 0).unwrap();
    let mut earlier = Journal::create(dir.path(), 7, 1).unwrap();
    let mut same_shard = Journal::create(dir.path(), 7, 0).unwrap();
    for (journal, seq) in [(&mut later, 1), (&mut earlier, 5), (&mut same_shard, 9)] {
        journal.add(seq, &gone(seq));
        journal.commit(0).unwrap();
    }
    let order: Vec<_> = read(dir.path()).unwrap().entries.iter().map(|e| (e.epoch, e.shard, e.seq)).collect();
    assert_eq!(order, [(7, 0, 9), (7, 1, 5), (8, 0, 1)]);
}

#[test]
fn a_second_run_with_the_same_epoch_is_refused_rather_than_overwriting() {
    let dir = tempfile::tempdir().unwrap();
    Journal::create(dir.path(), 1, 0).unwrap();
    let (path, error) = Journal::create(dir.path(), 1, 0).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert!(path.starts_with(dir.path()));
}

#[test]
fn segments_take_turns_when_the_other_one_is_stored_and_never_grow() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(dir.path(), 1, 0).unwrap();
    let mut seq = 0;
    let lengths = || -> Vec<u64> {
        segments(dir.path()).unwrap().iter().map(|path| path.metadata().unwrap().len()).collect()
    };
    let first = fill(&mut journal, &mut seq, 0);
    assert_eq!(kept(dir.path()), (1..=first + 1).collect::<Vec<_>>(), "there is room for both");
    let mut before = first;
    for _ in 0..3 {
        let last = fill(&mut journal, &mut seq, before);
        // One record at the beginning of a segment, and behind it what that was used for before.
        assert_eq!(kept(dir.path()), (before + 1..=last + 1).collect::<Vec<_>>(), "what is stored goes");
        assert_eq!(read(dir.path()).unwrap().faults, []);
        assert_eq!((journal.given_up_times(), journal.trouble(before)), (0, None));
        assert_eq!(lengths(), [SEGMENT_BYTES; 2]);
        before = last;
    }
}

#[test]
fn a_journal_whose_store_takes_nothing_keeps_what_is_newest_and_says_what_it_gave_up_until_that_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(dir.path(), 1, 0).unwrap();
    let mut seq = 0;
    let mut before = fill(&mut journal, &mut seq, 0);
    assert_eq!((journal.given_up_times(), journal.trouble(0)), (0, None));
    for round in 1..4 {
        let last = fill(&mut journal, &mut seq, 0);
        assert_eq!(journal.given_up_times(), round);
        assert!(journal.trouble(before - 1).unwrap().contains("full"));
        assert_eq!(journal.trouble(before), None, "what was given up is stored");
        assert_eq!(kept(dir.path()), (before + 1..=last + 1).collect::<Vec<_>>(), "the newest is there");
        let bytes: u64 =
            segments(dir.path()).unwrap().iter().map(|path| path.metadata().unwrap().len()).sum();
        assert_eq!(bytes, 2 * SEGMENT_BYTES);
        before = last;
    }
}

#[test]
fn a_turn_longer_than_a_segment_is_written_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(dir.path(), 1, 0).unwrap();
    journal.add(1, &long(1));
    journal.commit(0).unwrap();
    (2..=600).for_each(|seq| journal.add(seq, &long(seq)));
    assert!(journal.commit(0).unwrap() as u64 > SEGMENT_BYTES);
    assert_eq!(kept(dir.path()), (1..=600).collect::<Vec<_>>());
}

#[test]
fn a_write_that_fails_is_made_up_for_by_the_next_one_and_leaves_no_gap() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(dir.path(), 1, 0).unwrap();
    journal.add(1, &gone(1));
    journal.commit(0).unwrap();

    let path = segments(dir.path()).unwrap().remove(0);
    let good = std::mem::replace(&mut journal.segments[0].file, File::open(&path).unwrap());
    for seq in 2..4 {
        journal.add(seq, &gone(seq));
        journal.commit(0).unwrap_err();
        assert!(journal.trouble(0).is_some());
        assert_eq!(journal.commit(0).unwrap(), 0, "nothing new: nothing is tried");
    }
    // What a write that failed half way leaves behind.
    good.write_all_at(&[9; 11], HEADER_BYTES as u64 + GONE_BYTES).unwrap();

    journal.segments[0].file = good;
    journal.add(4, &gone(4));
    journal.commit(0).unwrap();
    assert_eq!(kept(dir.path()), [1, 2, 3, 4]);
    assert_eq!((journal.trouble(0), journal.given_up_times()), (None, 0));
}

#[test]
fn what_could_not_be_written_is_let_go_when_it_is_stored_and_is_bounded_until_then() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(dir.path(), 1, 0).unwrap();
    let path = segments(dir.path()).unwrap().remove(0);
    let good = std::mem::replace(&mut journal.segments[0].file, File::open(&path).unwrap());
    journal.add(1, &gone(1));
    journal.commit(0).unwrap_err();
    assert_eq!(journal.commit(1).unwrap(), 0);
    assert_eq!(journal.trouble(1), None, "the store has it");

    let many = UNWRITTEN_BYTES_MAX as u64 / 10_000 + 3;
    for seq in 2..2 + many {
        journal.add(seq, &long(seq));
        journal.commit(1).unwrap_err();
    }
    assert_eq!(journal.given_up_times(), 1);
    journal.segments[0].file = good;
    journal.add(2 + many, &gone(2 + many));
    journal.commit(1).unwrap();
    let kept = kept(dir.path());
    assert!(kept[0] > 2 && *kept.last().unwrap() == 2 + many, "{kept:?}");
    assert!(journal.trouble(1).is_some() && journal.trouble(2 + many).is_none());
}

#[test]
fn a_journal_has_its_room_on_the_disk_from_the_start_and_nobody_else_may_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::create(dir.path(), 1, 0).unwrap();
    assert_eq!(journal.trouble(0), None);
    for path in segments(dir.path()).unwrap() {
        let file = path.metadata().unwrap();
        // st_blocks counts 512 bytes, whatever the file system's blocks are.
        assert!(file.blocks() * 512 >= SEGMENT_BYTES, "{} of {SEGMENT_BYTES}", file.blocks() * 512);
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }
}

/// A small file system of its own, where this account may mount one; it is gone with this value.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(bytes: u64) -> Option<SmallDisk> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={bytes}");
        let mut mount = std::process::Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path());
        let mounted = mount.stderr(std::process::Stdio::null()).status();
        mounted.is_ok_and(|status| status.success()).then_some(SmallDisk(dir))
    }

    fn fill(&self) -> PathBuf {
        use std::io::Write as _;
        let path = self.0.path().join("filler");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[7; 4_096]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_disk_that_fills_up_does_not_stop_the_journal() {
    let Some(disk) = SmallDisk::mount(2 * SEGMENT_BYTES + (1 << 20)) else {
        // Then what the test before this one sees is all that can be seen: the room is taken.
        eprintln!(
            "no file system may be mounted here: that a full disk changes nothing is shown by its blocks alone"
        );
        return a_journal_has_its_room_on_the_disk_from_the_start_and_nobody_else_may_read_it();
    };
    let dir = disk.0.path();
    let mut journal = Journal::create(dir, 1, 0).unwrap();
    disk.fill();
    let mut seq = 0;
    let mut stored = 0;
    for _ in 0..5 {
        stored = fill(&mut journal, &mut seq, stored);
    }
    assert_eq!((journal.trouble(stored), journal.given_up_times()), (None, 0));
    assert_eq!(kept(dir).last(), Some(&seq));
}

#[test]
fn on_a_disk_that_is_full_already_the_journal_says_so_and_recovers_with_room() {
    let Some(disk) = SmallDisk::mount(1 << 20) else {
        return eprintln!("no file system may be mounted here; failing writes are in the tests above");
    };
    let dir = disk.0.path();
    let filler = disk.fill();
    // Two names find room where not a byte does.
    let mut journal = Journal::create(dir, 1, 0).unwrap();
    assert!(journal.trouble(0).unwrap().contains("no room"));
    journal.add(1, &long(1));
    assert_eq!(journal.commit(0).unwrap_err().kind(), io::ErrorKind::StorageFull);
    std::fs::remove_file(filler).unwrap();
    journal.add(2, &long(2));
    journal.commit(0).unwrap();
    assert_eq!(kept(dir), [1, 2]);
}

#[test]
fn damage_in_the_middle_costs_what_it_hit_and_the_file_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(dir.path(), 1, 0).unwrap();
    for seq in 1..=20 {
        journal.add(seq, &gone(seq));
        journal.commit(0).unwrap();
    }
    let path = segments(dir.path()).unwrap().remove(0);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    // One byte of the first record, and a block that the disk gives as zeros.
    let at = |seq: u64| HEADER_BYTES as u64 + (seq - 1) * GONE_BYTES;
    file.write_all_at(b"!", at(1) + 20).unwrap();
    file.write_all_at(&[0; 60], at(7)).unwrap();
    let found = read(dir.path()).unwrap();
    let seqs: Vec<_> = found.entries.iter().map(|entry| entry.seq).collect();
    assert_eq!(seqs, [2, 3, 4, 5, 6].into_iter().chain(9..=20).collect::<Vec<_>>());
    let fault = |seq, bytes| (path.clone(), Fault { offset: at(seq), bytes, place: Place::Middle });
    assert_eq!(found.faults, [fault(1, GONE_BYTES), fault(7, 2 * GONE_BYTES)]);

    let aside = set_aside(&path).unwrap();
    clear(dir.path()).unwrap();
    assert_eq!(read(dir.path()).unwrap(), Contents::default());
    assert!(aside.is_file() && aside.parent() == Some(dir.path()), "{}", aside.display());
}

#[test]
fn a_turn_is_read_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name(1, 0, 0));
    let write = || {
        clear(dir.path()).unwrap();
        let mut journal = Journal::create(dir.path(), 1, 0).unwrap();
        for turn in [1..2, 2..5, 5..7, 7..8] {
            turn.for_each(|seq| journal.add(seq, &gone(seq)));
            journal.commit(0).unwrap();
        }
    };
    write();
    assert_eq!(kept(dir.path()), (1..8).collect::<Vec<_>>());
    for hit in 1..8 {
        write();
        let at = HEADER_BYTES as u64 + (hit - 1) * GONE_BYTES;
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(b"!!!!", at + 20).unwrap();
        let lost = [1..2, 2..5, 5..7, 7..8].into_iter().find(|turn| turn.contains(&hit)).unwrap();
        let left: Vec<u64> = (1..8).filter(|seq| !lost.contains(seq)).collect();
        assert_eq!(kept(dir.path()), left, "record {hit} is damaged");
    }
    // Cut off in the middle of a turn.
    for cut in 0..7 {
        write();
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..HEADER_BYTES + cut * GONE_BYTES as usize + 30]).unwrap();
        let whole = [1, 4, 6].into_iter().rfind(|last| *last <= cut as u64).unwrap_or(0);
        assert_eq!(kept(dir.path()), (1..=whole).collect::<Vec<_>>());
    }
}

#[test]
fn behind_a_damaged_header_the_name_of_the_file_tells_whose_records_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(dir.path(), 70, 3).unwrap();
    journal.add(1, &gone(1));
    journal.commit(0).unwrap();
    let path = segments(dir.path()).unwrap().remove(0);
    OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"?", 9).unwrap();
    let found = read(dir.path()).unwrap();
    assert_eq!(found.entries, [Entry { epoch: 70, shard: 3, seq: 1, report: gone(1) }]);
    assert_eq!(found.faults[0].1, Fault { offset: 0, bytes: HEADER_BYTES as u64, place: Place::Middle });
    // Under a name that tells nothing, all of it is damaged.
    let nameless = dir.path().join("x.journal");
    fs::rename(&path, &nameless).unwrap();
    let found = read(dir.path()).unwrap();
    assert_eq!((found.entries, found.faults[0].1.bytes), (Vec::new(), SEGMENT_BYTES));
}

#[test]
fn of_damaged_files_only_the_newest_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    for epoch in 1..=12 {
        Journal::create(dir.path(), epoch, 0).unwrap();
        let path = dir.path().join(name(epoch, 0, 0));
        File::create(&path).unwrap();
        set_aside(&path).unwrap();
        clear(dir.path()).unwrap();
    }
    let left = listed(dir.path(), DAMAGED).unwrap();
    assert_eq!(left.len(), DAMAGED_MAX);
    assert!(left[0].ends_with(format!("{}.{DAMAGED}", name(5, 0, 0))), "{left:?}");
}

/// Writes until the other segment takes over, and gives back the last number in the one that is full.
#[test]
fn what_an_earlier_use_left_in_a_file_is_passed_over_without_summing_it_up_again_and_again() {
    // As a start with many users leaves it: subscriptions and first looks, and a few records of a later use in front.
    let reports: Vec<Report> = (0..4_000)
        .map(|n| {
            let subscription = Some(SubscriptionId::parse(&format!("JwBleGNo{n:06}AAAA=")).unwrap());
            let anchor = SmtpAddress::parse(&format!("u{n:06}@example.com")).unwrap();
            let cookie = format!("X-BackEndOverrideCookie={n:010}~1941997{n:06}").into();
            let notices = NoticeRecord { sync_point: UnixMillis(n << 20), ..NoticeRecord::default() };
            match n % 2 {
                0 => {
                    Report::Watched { user: UserKey(n), watch: WatchRecord { subscription, anchor, cookie } }
                }
                _ => Report::Noticed { user: UserKey(n), notices },
            }
        })
        .collect();
    let (mut bytes, _) = segment(&reports);
    let mut later = header(7, 2);
    write_record(&mut later, 10_000, true, &gone(3));
    end_write(&mut later[HEADER_BYTES..]);
    later.extend([0; 8]);
    bytes[..later.len()].copy_from_slice(&later);
    let before = SUMMED.get();
    let (read, faults) = read_all(&bytes);
    assert_eq!((read, faults.len()), (vec![gone(3)], 0));
    let summed = SUMMED.get() - before;
    assert!(summed <= 2 * bytes.len(), "{summed} of {}", bytes.len());
}

fn fill(journal: &mut Journal, seq: &mut u64, stored: u64) -> u64 {
    let before = journal.current;
    while journal.current == before {
        *seq += 1;
        journal.add(*seq, &long(*seq));
        journal.commit(stored).unwrap();
    }
    *seq - 1
}

fn kept(dir: &Path) -> Vec<u64> {
    read(dir).unwrap().entries.into_iter().map(|entry| entry.seq).collect()
}

fn long(number: u64) -> Report {
    let anchor = SmtpAddress::parse("anchor@example.com").unwrap();
    let watch = WatchRecord { subscription: None, anchor, cookie: "c".repeat(10_000).into() };
    Report::Watched { user: UserKey(number), watch }
}

/// Bytes of the record of [`gone`].
const GONE_BYTES: u64 = 42;

fn gone(number: u64) -> Report {
    Report::DeviceGone { user: UserKey(number), device: DeviceKey(number), since: Some(UnixMillis(number)) }
}

fn any_durable() -> impl Strategy<Value = Report> {
    let id = "[A-Za-z0-9+/=]{1,200}";
    let watched = (any::<u64>(), option::of(id), "[a-z]{1,20}", "[ -~]{0,300}").prop_map(
        |(user, subscription, name, cookie)| Report::Watched {
            user: UserKey(user),
            watch: WatchRecord {
                subscription: subscription.map(|id| SubscriptionId::parse(&id).unwrap()),
                anchor: SmtpAddress::parse(&format!("{name}@example.com")).unwrap(),
                cookie: cookie.into(),
            },
        },
    );
    let mail = (any::<u64>(), any::<u64>())
        .prop_map(|(hash, received)| ToldMail { hash, received: UnixMillis(received) });
    let told = prop::collection::vec(mail, 0..20);
    let noticed = (any::<u64>(), any::<u64>(), option::of(any::<u64>()), told, option::of(any::<u32>()))
        .prop_map(|(user, sync_point, began, told, unread)| Report::Noticed {
            user: UserKey(user),
            notices: NoticeRecord {
                sync_point: UnixMillis(sync_point),
                began: began.map(UnixMillis),
                told,
                unread,
            },
        });
    let state = ("[A-Za-z0-9+/=]{1,200}", option::of(id)).prop_map(|(state, folder)| FolderSync {
        folder: folder.map(|id| FolderId::parse(&id).unwrap()),
        state: state.into(),
    });
    let synced = (any::<u64>(), prop::collection::vec(state, 0..4))
        .prop_map(|(user, folders)| Report::Synced { user: UserKey(user), folders });
    let unsettled = (any::<u128>(), any::<u16>(), any::<u64>())
        .prop_map(|(apns_id, mails, newest)| UnsettledNotice { apns_id, mails, newest });
    let device = (any::<u64>(), any::<u64>(), option::of(any::<u32>()), option::of(unsettled)).prop_map(
        |(user, device, badge, unsettled)| Report::Device {
            user: UserKey(user),
            device: DeviceKey(device),
            badge,
            unsettled,
        },
    );
    let gone = (any::<u64>(), any::<u64>(), option::of(any::<u64>())).prop_map(|(user, device, since)| {
        Report::DeviceGone { user: UserKey(user), device: DeviceKey(device), since: since.map(UnixMillis) }
    });
    prop_oneof![watched, noticed, synced, device, gone]
}

/// A segment with these reports, and where each record ends.
fn segment(reports: &[Report]) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = header(7, 2);
    let mut ends = Vec::new();
    for (at, report) in reports.iter().enumerate() {
        let start = bytes.len();
        write_record(&mut bytes, at as u64 + 1, true, report);
        end_write(&mut bytes[start..]);
        ends.push(bytes.len());
    }
    (bytes, ends)
}

fn read_all(bytes: &[u8]) -> (Vec<Report>, Vec<Fault>) {
    let mut entries = Vec::new();
    let faults = read_segment(bytes, Some((7, 2)), &mut entries);
    (entries.into_iter().map(|entry| entry.report).collect(), faults)
}

proptest! {
    #[test]
    fn a_segment_cut_anywhere_gives_all_whole_records_and_is_not_called_damaged(
        reports in prop::collection::vec(any_durable(), 0..8),
        cut in any::<prop::sample::Index>(),
        reserved in prop::bool::ANY,
    ) {
        let (bytes, ends) = segment(&reports);
        prop_assert_eq!(read_all(&bytes), (reports.clone(), vec![]));
        let cut = cut.index(bytes.len());
        // Zeros that were not written, and are there all the same, are as good as written.
        let missing = |end: usize| bytes[cut.min(end)..end].iter().any(|byte| !reserved || *byte != 0);
        let whole = ends.iter().take_while(|end| !missing(**end)).count();
        let mut bytes = bytes[..cut].to_vec();
        if reserved {
            // What was not written is there as zeros.
            bytes.resize(cut + 500, 0);
        }
        let (found, faults) = read_all(&bytes);
        prop_assert_eq!(&found, &reports[..whole]);
        // A header is damaged where it is half there: nothing is written behind it before it is whole.
        let in_header = (1..HEADER_BYTES).contains(&cut) && reserved;
        prop_assert!(in_header || faults.iter().all(|fault| fault.place == Place::Tail), "{:?}", faults);
    }

    #[test]
    fn a_damaged_byte_costs_its_record_and_nothing_else_and_is_told_where_it_is(
        reports in prop::collection::vec(any_durable(), 1..8),
        at in any::<prop::sample::Index>(),
        flip in 1..=255u8,
    ) {
        let (mut bytes, ends) = segment(&reports);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let hit = ends.iter().position(|end| at < *end).filter(|_| at >= HEADER_BYTES);
        let mut left = reports.clone();
        if let Some(hit) = hit {
            left.remove(hit);
        }
        let (found, faults) = read_all(&bytes);
        prop_assert_eq!(found, left);
        let begin = match hit {
            None => 0,
            Some(0) => HEADER_BYTES,
            Some(hit) => ends[hit - 1],
        };
        prop_assert_eq!(faults.len(), 1);
        prop_assert_eq!(faults[0].offset, begin as u64);
        let last = hit == Some(reports.len() - 1);
        prop_assert_eq!(faults[0].place, if last { Place::Tail } else { Place::Middle });
    }

    #[test]
    fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..400), sound_header in any::<bool>()) {
        let mut segment = if sound_header { header(1, 1) } else { Vec::new() };
        segment.extend(bytes);
        read_all(&segment);
    }
}
