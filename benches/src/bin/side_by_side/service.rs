//! `carillon serve` with its journal and SQLite store, set up as an administrator would.

use std::error::Error;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};

use crate::engine_client::{Users, address};
use crate::mail::IN_FLIGHT;
use crate::request::{TOPIC, token};
use crate::tls::Certificates;

/// `carillon` beside this program.
pub(crate) fn find() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.with_file_name("carillon");
    path.is_file().then_some(path)
}

/// Starts it and registers the users.
pub(crate) fn start(
    program: &Path,
    folder: &Path,
    certificates: &Certificates,
    mail: SocketAddr,
    sink: SocketAddr,
    users: Users,
) -> Result<Child, Box<dyn Error>> {
    write_files(folder, certificates, mail, sink)?;
    let config = folder.join("carillon.toml");
    let mut child = Command::new(program)
        .args(["serve", "--config"])
        .arg(&config)
        .stdout(Stdio::piped())
        .stderr(File::create(folder.join("carillon.log"))?)
        .spawn()?;
    let mut line = String::new();
    let stdout = child.stdout.take().ok_or("no standard output")?;
    BufReader::new(stdout).read_line(&mut line)?;
    let Some(at) = line.trim().strip_prefix("ready https://") else {
        let log = std::fs::read_to_string(folder.join("carillon.log"))?;
        return Err(format!("carillon serve did not start: {log}").into());
    };
    // The import takes the service's address from the configuration.
    let text = std::fs::read_to_string(&config)?.replace("127.0.0.1:0", at);
    std::fs::write(&config, text)?;
    let devices = folder.join("devices.ndjson");
    std::fs::write(&devices, registrations(users))?;
    let import = Command::new(program)
        .args(["devices", "import"])
        .arg(&devices)
        .arg("--config")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if !import.success() {
        // The child is not to outlive a failure; it may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
        return Err("carillon devices import failed".into());
    }
    Ok(child)
}

fn write_files(
    folder: &Path,
    certificates: &Certificates,
    mail: SocketAddr,
    sink: SocketAddr,
) -> Result<(), Box<dyn Error>> {
    let secret = |name: &str, text: &str| -> std::io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = folder.join(name);
        let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(path)?;
        std::io::Write::write_all(&mut file, text.as_bytes())
    };
    secret("gateway.token", &"g".repeat(32))?;
    secret("admin.token", &"a".repeat(32))?;
    secret("exchange.password", "a password")?;
    secret("push.p8", &KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?.serialize_pem())?;
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    let (ca, cert, key) = (quoted(&certificates.ca), quoted(&certificates.cert), quoted(&certificates.key));
    let config = format!(
        "[api]\nlisten = \"127.0.0.1:0\"\ncert_file = {cert}\nkey_file = {key}\n\
         gateway_token_file = \"gateway.token\"\nadmin_token_file = \"admin.token\"\n\
         [store]\npath = \"carillon.db\"\n[engine]\nshards = 1\n\
         [timing]\nsettle_ms = 0\nvip_settle_ms = 0\nmin_interval_ms = 0\n\
         [[exchange]]\nname = \"main\"\nurl = \"https://localhost:{mail}/EWS/Exchange.asmx\"\nuser = 'X\\carillon'\n\
         password_file = \"exchange.password\"\nca_file = {ca}\nsubscribes_per_s = 10000\n\
         [[push]]\nname = \"apns\"\nenvironment = \"production\"\nurl = \"https://localhost:{sink}\"\nca_file = {ca}\n\
         topics = [\"{TOPIC}\"]\nkey_file = \"push.p8\"\nkey_id = \"KEYKEYKEY1\"\nteam_id = \"TEAM123456\"\n\
         lanes = 1\nlane_window_max = {IN_FLIGHT}\n",
        mail = mail.port(),
        sink = sink.port(),
    );
    std::fs::write(folder.join("carillon.toml"), config)?;
    Ok(())
}

fn registrations(users: Users) -> String {
    let mut text = String::new();
    for user in 0..users.count {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{{\"user\":\"u{user}\",\"device\":\"phone\",\"address\":\"{}\",\"token\":\"{}\",\"topic\":\"{TOPIC}\"}}",
            address(user),
            token(user)
        );
    }
    text
}
