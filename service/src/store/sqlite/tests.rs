use carillon_core::names::{DeviceKey, DeviceToken, FolderId, SmtpAddress, SubscriptionId, Topic};
use carillon_core::shard::{
    DeviceSettings, FolderSync, NoticeRecord, ToldMail, UnsettledNotice, VipRules, WatchRecord,
};

use super::*;
use crate::ids::DeviceId;
use crate::store::{RegisterWrite, RegisteredRow, RemovedDevice};

fn user_id(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn device_id(id: &str) -> DeviceId {
    DeviceId::parse(id).unwrap()
}

fn registration(user: &str, device: &str, token: u64) -> RegisterWrite {
    RegisterWrite {
        user: user_id(user),
        device: device_id(device),
        address: SmtpAddress::parse(&format!("{user}@example.com")).unwrap(),
        exchange: Some("main".into()),
        grouping: Some("group".into()),
        vip: None,
        folders: None,
        push: "apns".into(),
        token: DeviceToken::parse(&format!("{token:016x}")).unwrap(),
        topic: Topic::parse("com.example.mail").unwrap(),
        registered: UnixMillis(1_000),
        active: UnixMillis(900),
        revives: true,
        settings: DeviceSettings {
            vip_sound: Some("bell.caf".into()),
            sound: None,
            ..DeviceSettings::default()
        },
    }
}

async fn register(store: &SqliteStore, write: RegisterWrite) -> RegisteredRow {
    let mut wrote = store.write(&[Write::Register(Box::new(write))]).await.unwrap();
    match wrote.remove(0) {
        Wrote::Registered(row) => *row,
        other => panic!("{other:?}"),
    }
}

async fn open(dir: &tempfile::TempDir) -> SqliteStore {
    SqliteStore::open(&dir.path().join("a.db")).await.unwrap()
}

#[tokio::test]
async fn a_registration_comes_back_as_it_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let vip =
        VipRules { high_importance: true, senders: ["boss@example.com".into(), "ä\"@x.de".into()].into() };
    let folders = ["junkemail", "AAMk+/="].map(|id| FolderId::parse(id).unwrap()).to_vec();
    let (chosen, rules) = (Some(folders.clone()), Some(vip.clone()));
    let row =
        register(&store, RegisterWrite { vip: rules, folders: chosen, ..registration("jane", "p1", 1) })
            .await;
    assert!(row.new_user && row.new_device);
    let assign = row.assign.unwrap();
    assert_eq!((assign.devices.len(), &assign.vip), (1, &vip));

    // Over a restart, with all that the engine wanted kept.
    let watch = WatchRecord {
        subscription: Some(SubscriptionId::parse("AbC=").unwrap()),
        anchor: SmtpAddress::parse("anchor@example.com").unwrap(),
        cookie: "X-BackEndOverrideCookie=a~1".into(),
    };
    let notices = NoticeRecord {
        sync_point: UnixMillis(77),
        began: Some(UnixMillis(76)),
        told: vec![
            ToldMail { hash: u64::MAX, received: UnixMillis(78) },
            ToldMail { hash: 2, received: UnixMillis(79) },
        ],
        unread: Some(3),
    };
    let sync = [None, Some(folders[1].clone())]
        .map(|folder| FolderSync { folder, state: "H4sI\"=".into() })
        .to_vec();
    let unsettled = UnsettledNotice { apns_id: u128::MAX - 1, mails: 4, newest: u64::MAX - 2 };
    let keep = Keep {
        watches: vec![(row.user, watch.clone())],
        notices: vec![(row.user, notices.clone())],
        syncs: vec![(row.user, sync.clone())],
        devices: vec![(row.device.key, Some(9), Some(unsettled))],
        ..Keep::default()
    };
    store.save(&keep).await.unwrap();
    store.close().await.unwrap();
    drop(store);

    let store = open(&dir).await;
    let user = store.user(&user_id("jane")).await.unwrap().unwrap();
    assert_eq!((user.watch, user.notices, user.vip), (Some(watch), notices, vip));
    assert_eq!((user.folders, user.sync), (folders, sync));
    assert_eq!(
        (&*user.grouping, user.exchange.as_deref(), user.devices[0].stopped),
        ("group", Some("main"), false)
    );
    let device = &user.devices[0];
    assert_eq!((device.badge, device.unsettled), (Some(9), Some(unsettled)));
    assert_eq!((device.registered, device.active), (UnixMillis(1_000), UnixMillis(900)));
    assert_eq!(device.settings, registration("jane", "p1", 1).settings);
    assert!(store.user(&user_id("nobody")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_refresh_keeps_keys_and_badge_and_a_new_token_forgets_the_badge_but_not_the_notice_on_its_way() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let first = register(&store, registration("jane", "p1", 1)).await;
    let unsettled = UnsettledNotice { apns_id: 7, mails: 2, newest: 9 };
    let keep = Keep { devices: vec![(first.device.key, Some(5), Some(unsettled))], ..Keep::default() };
    store.save(&keep).await.unwrap();

    let again =
        register(&store, RegisterWrite { registered: UnixMillis(2_000), ..registration("jane", "p1", 1) })
            .await;
    assert!(!again.new_user && !again.new_device && again.assign.is_none());
    assert_eq!(
        (again.device.key, again.device.badge, again.device.registered),
        (first.device.key, Some(5), UnixMillis(2_000))
    );

    let moved = register(&store, registration("jane", "p1", 2)).await;
    assert_eq!((moved.device.key, moved.device.badge), (first.device.key, None));
    assert_eq!(moved.device.unsettled, Some(unsettled), "the old token may never have shown it");
    let address = SmtpAddress::parse("doe@example.com").unwrap();
    let renamed =
        register(&store, RegisterWrite { address: address.clone(), ..registration("jane", "p1", 2) }).await;
    assert_eq!((renamed.user, &renamed.assign.unwrap().address), (first.user, &address));
}

#[tokio::test]
async fn a_token_belongs_to_whom_registered_it_last() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let jane = register(&store, registration("jane", "p1", 1)).await;
    let bob = register(&store, registration("bob", "x", 1)).await;
    assert_eq!(bob.removed, [RemovedDevice { user: jane.user, device: jane.device.key, last: true }]);
    assert!(store.user(&user_id("jane")).await.unwrap().is_none());
    // The same phone under another name of the same user: he stays.
    let renamed = register(&store, registration("bob", "y", 1)).await;
    assert_eq!(renamed.removed, [RemovedDevice { user: bob.user, device: bob.device.key, last: false }]);
    assert_eq!(store.user(&user_id("bob")).await.unwrap().unwrap().devices.len(), 1);
}

#[tokio::test]
async fn one_device_too_many_takes_the_place_of_the_one_unused_the_longest() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let max = carillon_core::limits::USER_DEVICES_MAX as u64;
    let mut keys = Vec::new();
    for at in 0..max {
        let active = UnixMillis(if at == 3 { 10 } else { 500 + at });
        keys.push(
            register(&store, RegisterWrite { active, ..registration("jane", &format!("p{at}"), at) })
                .await
                .device
                .key,
        );
    }
    let row = register(&store, registration("jane", "new", 99)).await;
    assert_eq!(row.removed, [RemovedDevice { user: row.user, device: keys[3], last: false }]);
    assert_eq!(store.user(&user_id("jane")).await.unwrap().unwrap().devices.len() as u64, max);
}

#[tokio::test]
async fn touching_only_goes_forward_stopping_holds_until_the_next_registration_and_removing_removes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let row = register(&store, registration("jane", "p1", 1)).await;
    let (user, device) = (user_id("jane"), device_id("p1"));
    let touch = |at| Write::Touch { user: user.clone(), device: device.clone(), at: UnixMillis(at) };
    let wrote = store.write(&[touch(5_000), touch(4_000)]).await.unwrap();
    assert!(matches!(wrote[1], Wrote::Touched { at: UnixMillis(5_000), .. }), "{wrote:?}");

    // A clock that was wrong once does not hide what comes later.
    let future =
        RegisterWrite { active: UnixMillis(crate::clock::now().0 * 2), ..registration("jane", "p1", 1) };
    register(&store, future).await;
    let wrote = store.write(&[touch(6_000)]).await.unwrap();
    assert!(matches!(wrote[0], Wrote::Touched { at: UnixMillis(6_000), .. }), "{wrote:?}");

    let stop = Write::StopUser { user: user.clone() };
    let wrote = store.write(&[stop.clone(), stop]).await.unwrap();
    assert!(matches!(
        wrote[..],
        [Wrote::Stopped { already: false, .. }, Wrote::Stopped { already: true, .. }]
    ));
    let imported = register(&store, RegisterWrite { revives: false, ..registration("jane", "p1", 1) }).await;
    assert!(imported.device.stopped, "not the device's own word");
    register(&store, registration("jane", "p2", 2)).await;
    let stopped = async || {
        let user = store.user(&user).await.unwrap().unwrap();
        (user.is_stopped(), user.devices.iter().map(|device| device.stopped).collect::<Vec<_>>())
    };
    assert_eq!(stopped().await, (false, vec![true, false]), "the other one stays stopped");
    let revived = register(&store, registration("jane", "p1", 1)).await;
    assert!(!revived.device.stopped);
    assert_eq!(stopped().await, (false, vec![false, false]));

    let remove = |device: &str| Write::RemoveDevice { user: user.clone(), device: device_id(device) };
    let wrote = store.write(&[remove("p1"), remove("p1"), remove("p2")]).await.unwrap();
    assert!(
        matches!(
            wrote[..],
            [
                Wrote::DeviceRemoved { last: false, .. },
                Wrote::NotFound,
                Wrote::DeviceRemoved { last: true, .. }
            ]
        ),
        "{wrote:?}"
    );
    assert!(store.user(&user).await.unwrap().is_none());
    let again = register(&store, registration("jane", "p1", 1)).await;
    assert!(again.user > row.user, "keys are never used twice");
    let gone =
        store.write(&[Write::RemoveUser { user: user.clone() }, Write::RemoveUser { user }]).await.unwrap();
    assert!(matches!(gone[..], [Wrote::UserRemoved { devices: 1, .. }, Wrote::NotFound]));
}

#[tokio::test]
async fn a_device_that_is_gone_is_deleted_unless_it_registered_again_since() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let old = register(&store, registration("jane", "p1", 1)).await;
    let fresh =
        register(&store, RegisterWrite { registered: UnixMillis(9_000), ..registration("bob", "p1", 2) })
            .await;
    let gone = vec![
        (old.device.key, UnixMillis(5_000)),
        (fresh.device.key, UnixMillis(5_000)),
        (DeviceKey(999), UnixMillis(5_000)),
    ];
    let keep = Keep { gone, ..Keep::default() };
    let removed = store.save(&keep).await.unwrap();
    assert_eq!(removed, [RemovedDevice { user: old.user, device: old.device.key, last: true }]);
    assert_eq!(store.save(&keep).await.unwrap(), [], "twice is as once");
}

#[tokio::test]
async fn pages_walk_all_users_once_with_their_devices() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let writes: Vec<_> = (0..25)
        .flat_map(|user| (0..user % 3 + 1).map(move |device| (user, device)))
        .map(|(user, device)| {
            Write::Register(Box::new(registration(
                &format!("u{user}"),
                &format!("d{device}"),
                user * 10 + device,
            )))
        })
        .collect();
    store.write(&writes).await.unwrap();
    let (mut after, mut seen) = (UserKey(0), Vec::new());
    loop {
        let page = store.page(after, 10).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.key;
        seen.extend(page.iter().map(|user| (user.id.as_str().to_owned(), user.devices.len())));
    }
    assert_eq!(seen, (0..25).map(|user| (format!("u{user}"), user % 3 + 1)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_failed_batch_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    execute(
        &store,
        "CREATE TRIGGER full BEFORE INSERT ON devices WHEN NEW.id = 'bad' BEGIN SELECT RAISE(ABORT, 'no'); END",
    )
    .await;
    let good = Write::Register(Box::new(registration("jane", "p1", 1)));
    let bad = Write::Register(Box::new(registration("jane", "bad", 2)));
    assert!(matches!(store.write(&[good.clone(), bad]).await, Err(StoreError::Failed(_))));
    assert!(store.user(&user_id("jane")).await.unwrap().is_none());
    store.write(&[good]).await.unwrap();
}

#[tokio::test]
async fn a_second_process_a_damaged_file_and_a_missing_folder_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let text = |error: Option<StoreError>| error.unwrap().to_string();
    let second = SqliteStore::open(&dir.path().join("a.db")).await.err();
    assert!(matches!(second, Some(StoreError::Locked(_))));
    assert!(text(second).contains("in use by another carillon"), "names the reason");
    register(&store, registration("jane", "p1", 1)).await;
    store.close().await.unwrap();
    assert!(matches!(store.probe().await, Err(StoreError::Failed(_))), "closed");
    drop(store);

    let file = dir.path().join("a.db");
    let mut bytes = std::fs::read(&file).unwrap();
    let third = bytes.len() / 3;
    bytes[third..].fill(0x55);
    std::fs::write(&file, &bytes).unwrap();
    let damaged = SqliteStore::open(&file).await.err();
    assert!(matches!(damaged, Some(StoreError::Damaged(_))), "{damaged:?}");
    assert!(!text(damaged).contains('\n'));
    std::fs::write(&file, "this is no database, but long enough to be taken for one ".repeat(40)).unwrap();
    let damaged = SqliteStore::open(&file).await.err();
    assert!(matches!(damaged, Some(StoreError::Damaged(_))), "{damaged:?}");
    let nowhere = SqliteStore::open(&dir.path().join("no/such/a.db")).await.err();
    assert!(matches!(nowhere, Some(StoreError::Failed(_))), "{nowhere:?}");
}

#[tokio::test]
async fn a_database_locked_by_somebody_else_is_told_and_works_again_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let options = SqliteConnectOptions::new().filename(dir.path().join("a.db"));
    let mut stranger = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut stranger).await.unwrap();
    assert!(matches!(store.probe().await, Err(StoreError::Locked(_))));
    sqlx::query("ROLLBACK").execute(&mut stranger).await.unwrap();
    store.probe().await.unwrap();
    register(&store, registration("jane", "p1", 1)).await;
    store.sync().await.unwrap();
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    execute(
        &store,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (999, 'later', 1, x'00', 0)",
    )
    .await;
    store.close().await.unwrap();
    drop(store);
    let text = SqliteStore::open(&dir.path().join("a.db")).await.err().unwrap().to_string();
    assert!(text.contains("newer Carillon"), "{text}");
}

#[tokio::test]
async fn tokens_and_positions_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let token = |issued| TokenRow {
        team_id: "T".into(),
        key_id: "K".into(),
        issued: UnixMillis(issued),
        sealed: vec![1, 2, issued as u8],
    };
    store.put_team_token(&token(1)).await.unwrap();
    store.put_team_token(&token(2)).await.unwrap();
    assert_eq!(store.team_token("T", "K").await.unwrap(), Some(token(2)));
    assert_eq!(store.team_token("T", "L").await.unwrap(), None);

    let position = |shard, seq| Position { epoch: 1_700_000_000_000, shard, seq };
    let keep = |positions| Keep { positions, ..Keep::default() };
    store.save(&keep(vec![position(0, 5), position(1, 7)])).await.unwrap();
    store.save(&keep(vec![position(0, 4)])).await.unwrap();
    assert_eq!(store.positions().await.unwrap(), [position(0, 5), position(1, 7)], "never back");
    store.forget_positions().await.unwrap();
    assert!(store.positions().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_transaction_that_sqlite_ended_by_itself_leaves_a_store_that_writes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    // As a full disk, an I/O error and a lack of memory do: the transaction is gone, and there is nothing to roll back.
    execute(
        &store,
        "CREATE TRIGGER gone BEFORE INSERT ON devices WHEN NEW.id = 'bad' BEGIN SELECT RAISE(ROLLBACK, 'gone'); END",
    )
    .await;
    let register = |user: &str, device: &str| [Write::Register(Box::new(registration(user, device, 1)))];
    for _ in 0..3 {
        let error = store.write(&register("jane", "bad")).await.unwrap_err();
        assert!(error.to_string().ends_with("gone"), "{error}");
        store.probe().await.unwrap();
        store.write(&register("jane", "p1")).await.unwrap();
        store.save(&Keep::default()).await.unwrap();
        store.forget_positions().await.unwrap();
    }
    // The last use of the store is no different.
    store.write(&register("jane", "bad")).await.unwrap_err();
    store.close().await.unwrap();
    assert!(matches!(store.probe().await, Err(StoreError::Failed(_))), "closed");
}

#[tokio::test]
async fn whoever_gives_up_in_the_middle_of_a_transaction_leaves_a_store_that_writes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    for patience_us in [0, 20, 50, 100, 200, 400, 800, 1_600] {
        let many: Vec<_> =
            (0..50).map(|at| Write::Register(Box::new(registration(&format!("u{at}"), "p", at)))).collect();
        let patience = Duration::from_micros(patience_us);
        let _gave_up = tokio::time::timeout(patience, store.write(&many)).await;
        store.probe().await.unwrap();
        register(&store, registration("jane", "p1", 999)).await;
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

    /// Leaves no free byte.
    fn fill(&self) -> PathBuf {
        use std::io::Write as _;
        let path = self.0.path().join("filler");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[7; 4_096]).is_ok() {}
        while file.write_all(&[7]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn many(from: u64) -> Vec<Write> {
    let one = |at: u64| Write::Register(Box::new(registration(&format!("u{at}"), "p", at)));
    (from..from + 200).map(one).collect()
}

#[tokio::test]
async fn a_full_disk_is_told_by_writes_and_probe_alike_and_both_work_again_with_room() {
    // Where nothing may be mounted, the next test is all that there is: SQLite's own bound stands in for the disk's.
    let Some(disk) = SmallDisk::mount(2 << 20) else {
        eprintln!(
            "no file system may be mounted here: a full disk is simulated by SQLite's bound of pages alone"
        );
        return full_by_sqlites_own_bound().await;
    };
    let store = SqliteStore::open(&disk.0.path().join("a.db")).await.unwrap();
    store.write(&many(0)).await.unwrap();
    for round in 1..4 {
        let filler = disk.fill();
        let full = store.write(&many(round * 1_000)).await.unwrap_err();
        assert!(matches!(full, StoreError::Full(_)), "{full:?}");
        assert!(full.to_string().contains("a.db: make some"), "{full}");
        // What is small may still find room in the log that is there; in the end it does not.
        let mut probed = Ok(());
        for _ in 0..2_000 {
            probed = store.probe().await;
            if probed.is_err() {
                break;
            }
        }
        assert!(matches!(probed, Err(StoreError::Full(_))), "{probed:?}");
        assert!(matches!(store.write(&many(round * 1_000)).await, Err(StoreError::Full(_))));
        assert!(
            store.user(&user_id(&format!("u{}", round * 1_000))).await.unwrap().is_none(),
            "all or nothing"
        );
        std::fs::remove_file(filler).unwrap();
        store.probe().await.unwrap();
        store.write(&[Write::Register(Box::new(registration("jane", "p", round)))]).await.unwrap();
        store.save(&Keep::default()).await.unwrap();
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_database_that_may_not_grow_is_told_and_works_again_with_room() {
    full_by_sqlites_own_bound().await;
}

async fn full_by_sqlites_own_bound() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    // It fails with the same code; the bound goes with the connection that it was set for.
    execute(&store, "PRAGMA max_page_count = 1").await;
    let full = store.write(&many(0)).await.unwrap_err();
    assert!(matches!(full, StoreError::Full(_)), "{full:?}");
    assert!(full.to_string().contains("a.db: make some"), "{full}");
    assert!(store.page(UserKey(0), 10).await.unwrap().is_empty(), "all or nothing");
    store.probe().await.unwrap();
    store.write(&many(0)).await.unwrap();
}

#[tokio::test]
async fn nobody_else_may_read_the_database_and_what_lies_beside_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let files = ["a.db", "a.db-wal", "a.db-shm", "a.db.lock"].map(|name| dir.path().join(name));
    let modes = || files.each_ref().map(|file| std::fs::metadata(file).unwrap().permissions().mode() & 0o777);
    let store = open(&dir).await;
    register(&store, registration("jane", "p1", 1)).await;
    assert_eq!(modes(), [0o600; 4]);
    // As an earlier version left them, killed: all of them there, and open to everybody.
    for file in &files {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    let SqliteStore { readers, _lock, .. } = store;
    std::mem::forget(readers);
    drop(_lock);
    let store = open(&dir).await;
    register(&store, registration("jane", "p2", 2)).await;
    assert_eq!(modes(), [0o600; 4]);
}

/// SQL on the writing connection.
async fn execute(store: &SqliteStore, sql: &'static str) {
    let mut writer = store.writer.lock().await;
    let Writer::Open(writer) = &mut *writer else { panic!("no connection that writes") };
    sqlx::query(sql).execute(writer).await.unwrap();
}

/// What is stored, with ids in place of keys, in the order of the users' ids.
async fn stored(store: &SqliteStore) -> Vec<String> {
    let mut rows: Vec<String> = store
        .page(UserKey(0), 10_000)
        .await
        .unwrap()
        .into_iter()
        .map(|mut row| {
            row.key = UserKey(0);
            row.devices.iter_mut().for_each(|device| device.key = DeviceKey(0));
            row.devices.sort_by(|a, b| a.id.as_str().cmp(b.id.as_str()));
            format!("{row:?}")
        })
        .collect();
    rows.sort();
    rows
}

#[tokio::test]
async fn many_registrations_at_once_do_what_they_do_one_by_one() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (at_once, one_by_one) = (open(&one).await, open(&other).await);
    let write = |register: RegisterWrite| Write::Register(Box::new(register));
    let before: Vec<Write> = (0..3).map(|n| write(registration(&format!("old{n}"), "p1", n))).collect();
    let mut batch: Vec<Write> = Vec::new();
    for n in 0..150 {
        let user = format!("new{n:03}");
        batch.push(write(registration(&user, "p1", 1_000 + n)));
        if n % 3 == 0 {
            batch.push(write(RegisterWrite {
                settings: DeviceSettings { alerts: false, ..DeviceSettings::default() },
                ..registration(&user, "p2", 2_000 + n)
            }));
        }
    }
    let vip = VipRules { high_importance: true, senders: ["boss@example.com".into()].into() };
    let folders = Some(vec![FolderId::parse("junkemail").unwrap()]);
    // People who are new and whose second registration says something else.
    type Change = Box<dyn Fn(&mut RegisterWrite)>;
    let changes: [Change; 5] = [
        Box::new(move |register| register.vip = Some(vip.clone())),
        Box::new(move |register| register.folders.clone_from(&folders)),
        Box::new(|register| register.address = SmtpAddress::parse("elsewhere@example.com").unwrap()),
        Box::new(|register| register.grouping = Some("another".into())),
        Box::new(|register| register.exchange = Some("other".into())),
    ];
    for (n, change) in (0..).zip(&changes) {
        let mut register = registration(&format!("changed{n}"), "p2", 5_000 + n);
        change(&mut register);
        batch.push(write(registration(&format!("changed{n}"), "p1", 6_000 + n)));
        batch.push(write(register));
    }
    // Twice the same device; one token for two of them; a token that somebody stored has; somebody who is stored.
    batch.push(write(registration("twice", "p1", 3_002)));
    batch.push(write(registration("twice", "p1", 3_003)));
    batch.push(write(registration("first", "p1", 3_004)));
    batch.push(write(registration("second", "p1", 3_004)));
    batch.push(write(registration("heir", "p1", 0)));
    batch.push(write(registration("old1", "p2", 3_005)));
    // A token of the same name for another app is another phone.
    let topic = Topic::parse("com.example.other").unwrap();
    batch.push(write(RegisterWrite { topic, ..registration("other", "p1", 2) }));
    // Whoever goes again, and whoever has more phones than one may have.
    batch.push(write(registration("gone", "p1", 3_006)));
    batch.push(Write::RemoveUser { user: user_id("gone") });
    for n in 0..20 {
        batch.push(write(registration("many", &format!("p{n}"), 4_000 + n)));
    }
    for store in [&at_once, &one_by_one] {
        store.write(&before).await.unwrap();
    }
    let mut wrote = at_once.write(&batch).await.unwrap().into_iter();
    for (at, write) in batch.iter().enumerate() {
        let alone = one_by_one.write(std::slice::from_ref(write)).await.unwrap().remove(0);
        match (wrote.next().unwrap(), alone) {
            (Wrote::Registered(row), Wrote::Registered(alone)) => {
                let facts = |row: &RegisteredRow| {
                    let assign = row.assign.as_ref().map(|user| {
                        assert_eq!(user.key, row.user);
                        (user.id.clone(), user.vip.clone(), user.folders.clone(), user.devices.len())
                    });
                    let mut device = row.device.clone();
                    device.key = DeviceKey(0);
                    let removed: Vec<bool> = row.removed.iter().map(|removed| removed.last).collect();
                    (format!("{device:?}"), row.new_device, row.new_user, row.moved, assign, removed)
                };
                assert_eq!(facts(&row), facts(&alone), "{at}");
            }
            (row, alone) => {
                assert_eq!(std::mem::discriminant(&row), std::mem::discriminant(&alone), "{at}");
            }
        }
    }
    assert_eq!(stored(&at_once).await, stored(&one_by_one).await);
    // The answers have the keys that are stored.
    let again = at_once.write(&batch[..4]).await.unwrap();
    for (row, page) in again.iter().zip(["new000", "new000", "new001", "new002"]) {
        let Wrote::Registered(row) = row else { panic!("{row:?}") };
        let user = at_once.user(&user_id(page)).await.unwrap().unwrap();
        assert_eq!((row.user, row.new_user, row.new_device), (user.key, false, false));
        assert!(user.devices.iter().any(|device| device.key == row.device.key));
    }
}

#[tokio::test]
async fn what_the_engine_wants_kept_of_many_is_kept_of_each() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let batch: Vec<Write> =
        (0..150).map(|n| Write::Register(Box::new(registration(&format!("user{n:03}"), "p1", n)))).collect();
    store.write(&batch).await.unwrap();
    let rows = store.page(UserKey(0), 1_000).await.unwrap();
    let watch = |n: u64| WatchRecord {
        subscription: n.is_multiple_of(2).then(|| SubscriptionId::parse(&format!("sub{n}")).unwrap()),
        anchor: SmtpAddress::parse(&format!("anchor{n}@example.com")).unwrap(),
        cookie: format!("cookie{n}").into(),
    };
    let notices = |n: u64| NoticeRecord {
        sync_point: UnixMillis(n),
        began: n.is_multiple_of(3).then_some(UnixMillis(n + 7)),
        told: (0..n % 4).map(|at| ToldMail { hash: n + at, received: UnixMillis(at) }).collect(),
        unread: (!n.is_multiple_of(5)).then_some(n as u32),
    };
    let syncs = |n: u64| vec![FolderSync { folder: None, state: format!("state{n}").into() }];
    let unsettled = |n: u64| {
        (n % 2 == 1).then_some(UnsettledNotice { apns_id: u128::from(n) << 70, mails: n as u16, newest: n })
    };
    let mut keep = Keep::default();
    for (n, row) in (0..).zip(&rows) {
        keep.watches.push((row.key, watch(n)));
        keep.notices.push((row.key, notices(n)));
        keep.syncs.push((row.key, syncs(n)));
        keep.devices.push((row.devices[0].key, (n % 7 != 0).then_some(n as u32), unsettled(n)));
    }
    // Somebody who is gone.
    keep.notices.push((UserKey(9_999), notices(1)));
    store.save(&keep).await.unwrap();
    let rows = store.page(UserKey(0), 1_000).await.unwrap();
    assert_eq!(rows.len(), 150);
    for (n, row) in (0..).zip(&rows) {
        assert_eq!(row.id, user_id(&format!("user{n:03}")));
        assert_eq!((row.watch.as_ref(), &row.notices, &row.sync), (Some(&watch(n)), &notices(n), &syncs(n)));
        let device = &row.devices[0];
        assert_eq!((device.badge, device.unsettled), ((n % 7 != 0).then_some(n as u32), unsettled(n)));
    }
}
