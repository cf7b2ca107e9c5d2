//! What a push costs: Carillon's parts beside other clients, in one run.
//!
//! ```sh
//! cargo build --release -p carillon
//! cargo run --release -p carillon-benches --bin side_by_side
//! ```
//!
//! All rows push to one bare HTTP/2 server ([`sink`]) over one TLS connection with one cipher suite, with the same fields,
//! bodies of the same length and 100 requests
//! in flight. The client's process is alone on one core, everything else on
//! the other one. What counts is the CPU time of the client's process for each push, and its ratio to that of `h2load`
//! in the same round.

mod cpu;
mod engine_client;
mod figures;
mod h2_client;
mod lane_client;
mod mail;
mod request;
mod service;
mod sink;
mod tls;

use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use carillon_core::limits::SOUND_BYTES_MAX;
use clap::{Parser, Subcommand};

use engine_client::Users;
use figures::{Figures, Row};
use mail::{IN_FLIGHT, MailServer};
use request::BODY_BYTES;
use sink::Counters;
use tls::Certificates;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What a push costs: Carillon's parts beside other clients, in one run.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    client: Option<Client>,
    /// How often each client is measured; the rounds are interleaved.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each client is measured in each round, in seconds.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Measure only these rows, for example `ac`.
    #[arg(long)]
    only: Option<String>,
    /// Where to write the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where to write the chart, as SVG.
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
}

/// The clients that are programs of ours. Started by this program.
#[derive(Debug, Subcommand)]
enum Client {
    #[command(hide = true)]
    H2 { sink: SocketAddr, ca: PathBuf },
    #[command(hide = true)]
    Lane { sink: SocketAddr, ca: PathBuf },
    #[command(hide = true)]
    Engine {
        mail: SocketAddr,
        sink: SocketAddr,
        ca: PathBuf,
        #[arg(long)]
        users: u64,
        #[arg(long)]
        details: bool,
        #[arg(long)]
        sound_bytes: usize,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.client {
        None => compare(&cli),
        Some(Client::H2 { sink, ca }) => h2_client::run(*sink, ca),
        Some(Client::Lane { sink, ca }) => lane_client::run(*sink, ca),
        Some(Client::Engine { mail, sink, ca, users, details, sound_bytes }) => {
            let users = Users { count: *users, details: *details, sound_bytes: *sound_bytes };
            engine_client::run(*mail, *sink, ca, users)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("side_by_side: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is measured, in the order of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    H2load,
    H2,
    Lane,
    Engine,
    EngineWithDetails,
    Service,
}

const KINDS: [(Kind, char, &str); 6] = [
    (Kind::H2load, 'a', "h2load (nghttp2)"),
    (Kind::H2, 'b', "h2 crate, tokio, rustls"),
    (Kind::Lane, 'c', "our lane in our shell"),
    (Kind::Engine, 'd', "engine: EWS event to push"),
    (Kind::EngineWithDetails, 'e', "engine, with GetItem"),
    (Kind::Service, 'f', "service: engine, journal, SQLite"),
];

fn compare(cli: &Cli) -> Result<(), Box<dyn Error>> {
    if std::thread::available_parallelism()?.get() < 2 {
        return Err("two processor cores are needed: one for the client, one for all else".into());
    }
    let folder = tempfile::Builder::new().prefix("side_by_side-").tempdir()?;
    let certificates = Certificates::write(folder.path())?;
    let mut wanted: Vec<_> = KINDS
        .into_iter()
        .filter(|(_, letter, _)| cli.only.as_ref().is_none_or(|only| only.contains(*letter)))
        .collect();
    let mut miss = |kind: Kind, why: &str| {
        let before = wanted.len();
        wanted.retain(|(wanted, ..)| *wanted != kind);
        if wanted.len() < before {
            eprintln!("{why}");
        }
    };
    if Command::new("h2load").arg("--version").stdout(Stdio::null()).status().is_err() {
        miss(
            Kind::H2load,
            "h2load is not installed, so there are no ratios. Debian and Ubuntu have it: apt-get install nghttp2-client",
        );
    }
    let service = service::find();
    if service.is_none() {
        miss(Kind::Service, "carillon is not built: cargo build --release -p carillon. Row (f) is left out.");
    }
    let mut rows: Vec<Row> = wanted
        .iter()
        .map(|(_, letter, name)| Row {
            letter: *letter,
            name,
            cpu_us: Vec::new(),
            ratio: Vec::new(),
            pushes_per_s: Vec::new(),
            body_bytes: 0,
        })
        .collect();
    // What brings a body to its length is found out in the first round.
    let mut padding = Padding { sound_bytes: 7, subject_bytes: 40 };
    let run = Run { certificates, folder: folder.path(), service, seconds: cli.seconds };
    for round in 1..=cli.rounds {
        let mut base = None;
        for ((kind, _, name), row) in wanted.iter().zip(&mut rows) {
            eprint!("\rround {round} of {}: {name:<40}", cli.rounds);
            let measured = run.measure(*kind, &mut padding)?;
            if *kind == Kind::H2load {
                base = Some(measured.cpu_us);
            }
            row.cpu_us.push(measured.cpu_us);
            row.pushes_per_s.push(measured.pushes_per_s);
            row.body_bytes = measured.body_bytes;
            row.ratio.extend(base.map(|base| measured.cpu_us / base));
        }
    }
    eprintln!();
    let figures = Figures {
        rounds: cli.rounds,
        seconds: cli.seconds,
        in_flight: IN_FLIGHT,
        cipher_suite: "TLS_AES_128_GCM_SHA256",
        rows,
    };
    print!("{}", figures.table());
    if let Some(path) = &cli.json {
        std::fs::write(path, serde_json::to_string_pretty(&figures)? + "\n")?;
    }
    if let Some(path) = &cli.chart {
        std::fs::write(path, figures.svg())?;
    }
    folder.close()?;
    Ok(())
}

/// What brings bodies that the engine composes to their length.
#[derive(Clone, Copy)]
struct Padding {
    /// Of the sound's name, where nothing of the mail is shown.
    sound_bytes: usize,
    /// Of the mail's subject.
    subject_bytes: usize,
}

struct Measured {
    cpu_us: f64,
    pushes_per_s: f64,
    body_bytes: u64,
}

struct Run<'a> {
    certificates: Certificates,
    folder: &'a Path,
    service: Option<PathBuf>,
    seconds: f64,
}

/// A process that is ended when nobody needs it any more.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Run<'_> {
    /// Starts a server and a client of their own, measures, and ends the client.
    fn measure(&self, kind: Kind, padding: &mut Padding) -> Result<Measured, Box<dyn Error>> {
        loop {
            let before = *padding;
            let measured = self.try_measure(kind, padding)?;
            if measured.body_bytes == BODY_BYTES as u64 {
                return Ok(measured);
            }
            let missing = BODY_BYTES as i64 - measured.body_bytes as i64;
            let (bytes, most) = match kind {
                Kind::Engine => (&mut padding.sound_bytes, SOUND_BYTES_MAX),
                _ => (&mut padding.subject_bytes, BODY_BYTES),
            };
            *bytes = usize::try_from(*bytes as i64 + missing).unwrap_or(1).clamp(1, most);
            if before.same_as(padding) {
                // The table says how long it is.
                return Ok(measured);
            }
        }
    }

    fn try_measure(&self, kind: Kind, padding: &Padding) -> Result<Measured, Box<dyn Error>> {
        // The servers' threads come to be on the last core, the client on the first one.
        cpu::stay_on(1)?;
        let counters = Arc::new(Counters::default());
        let sink = sink::start(self.certificates.server(b"h2")?, Arc::clone(&counters))?;
        let mail = MailServer::start(self.certificates.server(b"http/1.1")?)?;
        mail.set_subject_bytes(padding.subject_bytes);
        cpu::stay_on(0)?;
        let client = Running(self.start(kind, &mail, sink, padding)?);
        cpu::stay_on(1)?;
        if matches!(kind, Kind::Engine | Kind::EngineWithDetails | Kind::Service) {
            wait("every mailbox is watched", || mail.watched() as u64 == USERS)?;
            mail.play(Arc::clone(&counters));
        }
        wait("pushes arrive", || counters.requests.load(Ordering::Relaxed) > WARM_UP_PUSHES)?;
        let look = || -> Result<(u64, u64, Instant), Box<dyn Error>> {
            let cpu = cpu::time_ns(client.0.id()).ok_or("the client ended while it was measured")?;
            Ok((cpu, counters.requests.load(Ordering::Relaxed), Instant::now()))
        };
        std::thread::sleep(WARM_UP);
        let (cpu, pushes, at) = look()?;
        std::thread::sleep(Duration::from_secs_f64(self.seconds));
        let (cpu_end, pushes_end, at_end) = look()?;
        mail.stop();
        let pushes = (pushes_end - pushes) as f64;
        if pushes < 1.0 {
            return Err("no push arrived while the client was measured".into());
        }
        Ok(Measured {
            cpu_us: (cpu_end - cpu) as f64 / 1e3 / pushes,
            pushes_per_s: pushes / (at_end - at).as_secs_f64(),
            body_bytes: counters.body_bytes.load(Ordering::Relaxed),
        })
    }

    fn start(
        &self,
        kind: Kind,
        mail: &MailServer,
        sink: SocketAddr,
        padding: &Padding,
    ) -> Result<Child, Box<dyn Error>> {
        let ca = &self.certificates.ca;
        let own = |client: &str| -> Result<Command, Box<dyn Error>> {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg(client);
            Ok(command)
        };
        let mut command = match kind {
            Kind::H2load => {
                let body = self.folder.join("body.json");
                std::fs::write(&body, request::body())?;
                let mut command = Command::new("h2load");
                command.args(["-n", "1000000000", "-c", "1", "-t", "1", "-m"]).arg(IN_FLIGHT.to_string());
                command.arg("-d").arg(body);
                for (name, value) in request::fields() {
                    command.arg("-H").arg(format!("{name}: {value}"));
                }
                command.arg(format!("https://localhost:{}/3/device/{}", sink.port(), request::token(1)));
                command
            }
            Kind::H2 => {
                let mut command = own("h2")?;
                command.arg(sink.to_string()).arg(ca);
                command
            }
            Kind::Lane => {
                let mut command = own("lane")?;
                command.arg(sink.to_string()).arg(ca);
                command
            }
            Kind::Engine | Kind::EngineWithDetails => {
                let mut command = own("engine")?;
                command.arg(mail.address.to_string()).arg(sink.to_string()).arg(ca);
                command.args(["--users", &USERS.to_string(), "--sound-bytes"]);
                if kind == Kind::Engine {
                    command.arg(padding.sound_bytes.to_string());
                } else {
                    command.args(["7", "--details"]);
                }
                command
            }
            Kind::Service => {
                let program = self.service.as_deref().ok_or("carillon is not built")?;
                let folder = tempfile::tempdir_in(self.folder)?.keep();
                let users = Users { count: USERS, details: true, sound_bytes: 7 };
                return service::start(program, &folder, &self.certificates, mail.address, sink, users);
            }
        };
        command.stdout(Stdio::null()).spawn().map_err(|error| format!("{command:?}: {error}").into())
    }
}

impl Padding {
    fn same_as(&self, other: &Padding) -> bool {
        (self.sound_bytes, self.subject_bytes) == (other.sound_bytes, other.subject_bytes)
    }
}

fn wait(what: &str, done: impl Fn() -> bool) -> Result<(), String> {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > PATIENCE {
            return Err(format!("waited {} s until {what}", PATIENCE.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Mailboxes of the rows with mail: enough that none gets a second mail before its first is pushed.
const USERS: u64 = 2_000;
/// Pushes before anything is measured: windows open, caches warm up.
const WARM_UP_PUSHES: u64 = 2_000;
/// And so long after them.
const WARM_UP: Duration = Duration::from_millis(500);
/// How long a client may take to begin.
const PATIENCE: Duration = Duration::from_secs(60);
