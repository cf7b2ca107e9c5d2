//! What the journal promises, whatever happens to its files.

use carillon_core::names::{DeviceKey, FolderId, SmtpAddress, SubscriptionId, UserKey};
use carillon_core::shard::{FolderSync, NoticeRecord, ToldMail, UnsettledNotice, WatchRecord};
use carillon_core::time::UnixMillis;
use proptest::option;
use proptest::prelude::*;

use super::*;

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
    let found: Vec<_> =
        read(dir.path()).unwrap().into_iter().map(|e| (e.epoch, e.shard, e.seq, e.report)).collect();
    assert_eq!(found, [(3, 0, 1, gone(10)), (3, 0, 2, gone(11)), (3, 0, 3, gone(12)), (3, 1, 1, gone(20))]);

    clear(dir.path()).unwrap();
    assert_eq!(read(dir.path()).unwrap(), []);
    assert_eq!(read(&dir.path().join("never made")).unwrap(), []);
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
fn segments_take_turns_only_when_the_other_one_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(dir.path(), 1, 0).unwrap();
    let mut seq = 0;
    let mut fill = |stored: u64| {
        let mut bytes = 0;
        while bytes < SEGMENT_BYTES {
            seq += 1;
            journal.add(seq, &long(seq));
            bytes += journal.commit(stored).unwrap() as u64;
        }
        seq
    };
    let kept = || -> Vec<u64> { read(dir.path()).unwrap().into_iter().map(|entry| entry.seq).collect() };

    let first = fill(0);
    let second = fill(0);
    assert_eq!(kept(), (1..=second).collect::<Vec<_>>(), "nothing is stored, so nothing may go");
    let third = fill(first);
    assert_eq!(kept(), (first + 1..=third).collect::<Vec<_>>(), "the first segment is stored and goes");
    let fourth = fill(first);
    assert_eq!(kept(), (first + 1..=fourth).collect::<Vec<_>>(), "the second is not");
    let fifth = fill(fourth);
    assert_eq!(kept().last(), Some(&fifth));
    assert!(kept().first() > Some(&second), "now it is");
}

#[test]
fn a_failed_write_leaves_nothing_that_hides_later_records() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(dir.path(), 1, 0).unwrap();
    journal.add(1, &gone(1));
    journal.commit(0).unwrap();

    // Neither writing nor cutting works: a handle for reading only.
    let path = segments(dir.path()).unwrap().remove(0);
    let good = std::mem::replace(&mut journal.segments[0].file, File::open(&path).unwrap());
    journal.add(2, &gone(2));
    journal.commit(0).unwrap_err();
    // What a write that failed half way leaves behind.
    OpenOptions::new().append(true).open(&path).unwrap().write_all(&[9; 11]).unwrap();

    journal.segments[0].file = good;
    journal.add(3, &gone(3));
    journal.commit(0).unwrap();
    assert_eq!(read(dir.path()).unwrap().iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 3]);
}

fn long(number: u64) -> Report {
    let anchor = SmtpAddress::parse("anchor@example.com").unwrap();
    let watch = WatchRecord { subscription: None, anchor, cookie: "c".repeat(10_000).into() };
    Report::Watched { user: UserKey(number), watch }
}

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
        write_record(&mut bytes, at as u64 + 1, report);
        ends.push(bytes.len());
    }
    (bytes, ends)
}

fn read_all(bytes: &[u8]) -> Vec<Report> {
    let mut entries = Vec::new();
    read_segment(bytes, &mut entries);
    entries.into_iter().map(|entry| entry.report).collect()
}

proptest! {
    #[test]
    fn a_segment_cut_anywhere_gives_all_whole_records(
        reports in prop::collection::vec(any_durable(), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let (bytes, ends) = segment(&reports);
        prop_assert_eq!(&read_all(&bytes), &reports);
        let cut = cut.index(bytes.len());
        let whole = ends.iter().filter(|end| **end <= cut).count();
        prop_assert_eq!(read_all(&bytes[..cut]), &reports[..whole]);
    }

    #[test]
    fn a_damaged_byte_costs_its_record_and_what_follows_but_nothing_before(
        reports in prop::collection::vec(any_durable(), 1..8),
        at in any::<prop::sample::Index>(),
        flip in 1..=255u8,
    ) {
        let (mut bytes, ends) = segment(&reports);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let before = if at < header(7, 2).len() { 0 } else { ends.iter().filter(|end| **end <= at).count() };
        prop_assert_eq!(read_all(&bytes), &reports[..before]);
    }

    #[test]
    fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..400), sound_header in any::<bool>()) {
        let mut segment = if sound_header { header(1, 1) } else { Vec::new() };
        segment.extend(bytes);
        read_all(&segment);
    }
}
