//! Disks that are full, files that are damaged, files that others could read: the whole process.

#[allow(dead_code, reason = "each of the tests uses a part of it")]
mod process_support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use carillon_harness::exchange::ExchangeConfig;
use process_support::{Process, Site, wait};
use sqlx::{ConnectOptions, Executor, SqliteConnection};

const USERS: usize = 6;

/// How the store is made to fail: by a disk without a free byte, or where nothing may be mounted by somebody who holds the
/// database's lock.
enum Trouble {
    Disk { site: PathBuf, filler: Option<PathBuf> },
    Lock { database: PathBuf, stranger: Option<(tokio::runtime::Runtime, SqliteConnection)> },
}

impl Trouble {
    /// The folder `disk` of the site is where its database is; with room for the journals of two shards and little else.
    fn new(site: &Site) -> Trouble {
        let disk = site.path("disk");
        fs::create_dir(&disk).unwrap();
        let config = site.config().replace("path = \"carillon.db\"", "path = \"disk/carillon.db\"");
        site.write("carillon.toml", &config);
        let mut mount = Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", "size=20m", "tmpfs"]).arg(&disk);
        let mounted = mount.stderr(Stdio::null()).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Trouble::Disk { site: disk, filler: None };
        }
        eprintln!(
            "no file system may be mounted here: the store is made to fail by a lock instead of a full disk"
        );
        Trouble::Lock { database: disk.join("carillon.db"), stranger: None }
    }

    fn begin(&mut self) {
        match self {
            Trouble::Disk { site, filler } => {
                let path = site.join("filler");
                let mut file = File::create(&path).unwrap();
                while file.write_all(&[7; 4_096]).is_ok() {}
                while file.write_all(&[7]).is_ok() {}
                *filler = Some(path);
            }
            Trouble::Lock { database, stranger } => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
                let mut connection = runtime.block_on(options.connect()).unwrap();
                runtime.block_on(connection.execute("BEGIN IMMEDIATE")).unwrap();
                *stranger = Some((runtime, connection));
            }
        }
    }

    fn end(&mut self) {
        match self {
            Trouble::Disk { filler, .. } => fs::remove_file(filler.take().unwrap()).unwrap(),
            Trouble::Lock { stranger, .. } => {
                let (runtime, mut connection) = stranger.take().unwrap();
                runtime.block_on(connection.execute("ROLLBACK")).unwrap();
            }
        }
    }

    /// What the status says of it.
    fn words(&self) -> &'static str {
        match self {
            Trouble::Disk { .. } => "no room on the disk of database",
            Trouble::Lock { .. } => "locked by another process",
        }
    }
}

impl Drop for Trouble {
    fn drop(&mut self) {
        if let Trouble::Disk { site, .. } = self {
            let _ = Command::new("umount").arg("-l").arg(site).status();
        }
    }
}

/// How many mails each user's phone was told of, by the names of the notices.
#[derive(Default)]
struct Told {
    notices: BTreeMap<(u64, u128), u32>,
    items: Vec<(u64, u64)>,
}

impl Told {
    fn hear(&mut self, site: &Site) {
        site.apns.with(|apns, _| {
            while let Some(push) = apns.poll_delivery() {
                if push.payload.is_alert() && !push.duplicate {
                    self.notices.insert((push.tag, push.apns_id), push.payload.n);
                    self.items.extend(push.payload.items.iter().map(|item| (push.tag, *item)));
                }
            }
        });
    }

    /// Waits until every phone was told of so many mails, and sees that none was told of more.
    #[track_caller]
    fn expect(&mut self, site: &Site, mails: u32) {
        let counts = |told: &Told| -> Vec<u32> {
            let of = |user| told.notices.iter().filter(move |((tag, _), _)| *tag == user);
            (0..USERS as u64).map(|user| of(user).map(|(_, n)| n).sum()).collect()
        };
        let told = std::cell::RefCell::new(self);
        let shows = || format!("{:?} instead of {mails}; {}", counts(&told.borrow()), site.log());
        wait("every mail to be told", shows, || {
            told.borrow_mut().hear(site);
            counts(&told.borrow()).iter().all(|told| *told >= mails)
        });
        // What comes too much would come now.
        std::thread::sleep(Duration::from_millis(700));
        let told = told.into_inner();
        told.hear(site);
        assert_eq!(counts(told), [mails; USERS], "{}", site.log());
        let mut items = told.items.clone();
        items.sort_unstable();
        assert!(items.is_sorted_by(|one, other| one < other), "a mail was told in two notices: {items:?}");
    }
}

fn deliver(site: &Site, subject: &str) {
    (0..USERS).for_each(|user| site.deliver(user, subject));
}

/// Mail comes until the store has found out. Returns how many each user got.
fn until_it_is_noticed(site: &Site, process: &Process, told: &mut Told, words: &str) -> u32 {
    for mails in 1..40 {
        deliver(site, &format!("mail {mails} of a bad time"));
        std::thread::sleep(Duration::from_millis(600));
        told.hear(site);
        if process.status()["store"].to_string().contains(words) {
            return mails;
        }
    }
    panic!("{} {}", process.status(), site.log());
}

fn put(process: &Process) -> u16 {
    process.put("u0", r#"{"address":"u0@example.com","token":"00000000000000000000000000000000000000000000000000000000abcd0000"}"#).0
}

#[test]
fn a_full_disk_ends_when_there_is_room_and_a_kill_while_it_is_full_tells_nothing_twice() {
    let site = Site::new(USERS, ExchangeConfig::default());
    let mut trouble = Trouble::new(&site);
    let mut told = Told::default();
    let mut process = site.start();
    process.register(USERS);
    process.live(USERS as u64);
    deliver(&site, "before");
    told.expect(&site, 1);

    // First without a kill: all works again by itself as soon as there is room.
    trouble.begin();
    let mut mails = 1 + until_it_is_noticed(&site, &process, &mut told, trouble.words());
    told.expect(&site, mails);
    let lines = site.logged("the store fails; pushes go on", 1);
    assert!(
        lines[0].contains("waits in memory and, while it has room for it, in the journal"),
        "{}",
        lines[0]
    );
    assert_eq!(process.status()["journal"], serde_json::Value::Null, "its room was taken at the start");
    assert_eq!((put(&process), process.get("/readyz").0), (503, 503));
    trouble.end();
    site.logged("the store works again", 1);
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!((put(&process), process.get("/readyz").0), (200, 200));
    assert_eq!(process.status()["store"], serde_json::Value::Null);

    // Then with one.
    trouble.begin();
    mails += until_it_is_noticed(&site, &process, &mut told, trouble.words());
    deliver(&site, "shortly before the kill");
    mails += 1;
    std::thread::sleep(Duration::from_millis(150));
    process.child.kill().unwrap();
    process.child.wait().unwrap();
    trouble.end();
    process = site.start();
    process.live(USERS as u64);
    told.expect(&site, mails);
    deliver(&site, "with room");
    told.expect(&site, mails + 1);
    assert_eq!(put(&process), 200);
    process.signal("TERM");
    assert_eq!(process.ended(), 0);
    site.exchange.with(|exchange, _| assert_eq!(exchange.violations(), &[] as &[String]));
}

#[test]
fn a_damaged_journal_is_told_and_kept_and_everything_sound_in_it_is_used() {
    let site = Site::new(USERS, ExchangeConfig::default());
    let mut told = Told::default();
    let mut process = site.start();
    process.register(USERS);
    process.live(USERS as u64);
    // From now on all that is told stands in the journal alone.
    let database = site.path("carillon.db");
    std::thread::sleep(Duration::from_millis(600));
    let mut lock = Trouble::Lock { database, stranger: None };
    lock.begin();
    deliver(&site, "while the database is locked");
    told.expect(&site, 1);
    process.child.kill().unwrap();
    process.child.wait().unwrap();
    lock.end();

    let journals = || -> Vec<PathBuf> {
        let mut files: Vec<_> = fs::read_dir(site.path("carillon.db.journal"))
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect();
        files.sort();
        files
    };
    // The first record of each shard's first file.
    let hit: Vec<PathBuf> =
        journals().into_iter().filter(|file| file.to_str().unwrap().ends_with("-0.journal")).collect();
    assert_eq!(hit.len(), 2);
    for file in &hit {
        let mut file = File::options().write(true).open(file).unwrap();
        file.seek(SeekFrom::Start(22 + 8 + 3)).unwrap();
        file.write_all(b"\xff").unwrap();
    }

    process = site.start();
    process.live(USERS as u64);
    told.expect(&site, 1);
    let lines = site.logged("the engine's journal is damaged here", 2);
    for (line, file) in lines.iter().zip(&hit) {
        let file = file.display().to_string();
        assert!(line.contains("WARN") && line.contains(&file) && line.contains("offset=22"), "{line}");
        assert!(PathBuf::from(format!("{file}.damaged")).is_file());
    }
    deliver(&site, "afterwards");
    told.expect(&site, 2);
    // They are kept until a person removes them, and never read again.
    process.signal("TERM");
    assert_eq!(process.ended(), 0);
    process = site.start();
    process.live(USERS as u64);
    site.logged("the engine's journal is damaged here", 2);
    assert_eq!(journals().iter().filter(|file| file.extension().unwrap() == "damaged").count(), 2);
}

#[test]
fn nobody_else_may_read_what_is_stored_whatever_the_umask_says() {
    let site = Site::new(USERS, ExchangeConfig::default());
    let shell = ["sh", "-c", "umask 000; exec \"$0\" \"$@\""];
    let process = site.start_by(&shell);
    process.register(USERS);
    process.live(USERS as u64);
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = site.path("carillon.db.journal");
    assert_eq!(mode(&folder), 0o700);
    let inside = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
    let beside = fs::read_dir(site.dir()).unwrap().map(|file| file.unwrap().path());
    let beside = beside.filter(|path| path.to_str().unwrap().contains("carillon.db") && path.is_file());
    let files: Vec<PathBuf> = inside.chain(beside).collect();
    let modes: Vec<_> = files.iter().map(|path| (path, mode(path))).collect();
    // Four segments of two shards; database, log, index of the log, lock and key.
    assert!(modes.len() == 9 && modes.iter().all(|(_, mode)| *mode == 0o600), "{modes:?}");
}
