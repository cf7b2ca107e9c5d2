//! Files: the API's certificate, the store.

use std::io::Read;
use std::path::Path;

use super::Findings;
use crate::api::server;
use crate::auth::Role;
use crate::blocking::Failure;
use crate::config::Config;

pub(super) fn check(config: &Config, findings: &mut Findings<'_>) {
    let pair = server::check_files(&config.api).map_err(|error| {
        Failure::new(error.to_string(), "give the PEM files of one certificate and its key")
    });
    findings.step("api certificate", pair, |()| config.api.cert_file.display().to_string());
    if config.api.tokens.is_empty() {
        findings.note("api token", "none is set: no device can register");
    }
    if config.api.token(Role::Admin).is_none() {
        findings.note("api admin token", "is not set: nobody can administer or import");
    }
    let path = &config.store.path;
    findings.step("store", store(path), |found| format!("{} {found}", path.display()));
}

/// Looks without opening the database: the service may be using it.
fn store(path: &Path) -> Result<&'static str, Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let probe = folder.join(format!(".carillon-check-{}", std::process::id()));
    std::fs::write(&probe, b"carillon check").map_err(|error| {
        Failure::new(
            format!("nothing can be written in {} ({error})", folder.display()),
            "make the folder, give the service's account the right to write there, or make room on the disk",
        )
    })?;
    let _ = std::fs::remove_file(&probe);
    let mut start = [0; 16];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    match read {
        Ok(()) if &start == b"SQLite format 3\0" => Ok("is there"),
        Ok(()) => Err(Failure::new(
            format!("{} is not an SQLite database", path.display()),
            "name another file, or put a copy back that you saved",
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok("will be made at the first start"),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok("is empty, and will be filled"),
        Err(error) => Err(Failure::new(
            format!("{}: {error}", path.display()),
            "give the service's account the right to read and write it",
        )),
    }
}
