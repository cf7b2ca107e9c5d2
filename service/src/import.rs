//! `carillon devices import FILE`: hands a file of registrations to the running service.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use carillon_core::http1::{Method, Request, Response};
use indicatif::{ProgressBar, ProgressStyle};

use crate::api::types::{ErrorAnswer, ImportAnswer};
use crate::auth::Role;
use crate::blocking::{self, Broken, Calls, Failure};
use crate::config::Config;

/// Lines that are sent in one request: the bar moves, memory is bounded, and a failure says how far it came.
const LINES_PER_REQUEST: u64 = 5_000;

/// Bytes after which a request is sent, however few lines they are.
const BYTES_PER_REQUEST: usize = 4 * 1024 * 1024;

/// The longest line that is read at all, in bytes; the service's own bound is lower.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// How long the service may take for one request.
const REQUEST_TIME: Duration = Duration::from_secs(120);

/// How often a part is sent when the service is busy, or its connections break.
const TRIES_MAX: u32 = 5;

/// Before the second try over another connection; longer before each further one.
const BROKEN_PAUSE: Duration = Duration::from_millis(500);

/// Sends `file` to the service that runs with `config`, and prints each refused line on `out`. Stops at the first
/// failure that is not a line's own; what was sent before it is stored, and sending it again does no harm.
pub fn run(config: &Config, file: &Path, out: &mut dyn Write) -> Result<ImportAnswer, Failure> {
    let address = blocking::local(config.api.listen);
    run_at(config, address, file, out)
}

/// As [`run`], for a service that listens at `address`.
pub fn run_at(
    config: &Config,
    address: SocketAddr,
    file: &Path,
    out: &mut dyn Write,
) -> Result<ImportAnswer, Failure> {
    if address.port() == 0 {
        return Err(Failure::new(
            "[api] listen has port 0, so the running service cannot be found",
            "give it a fixed port",
        ));
    }
    let token = config.api.token(Role::Admin).ok_or_else(|| {
        Failure::new(
            "no administrators' token is configured",
            "set [api] admin_token_file or admin_token_env, or an [[api.token]] with role = \"admin\"",
        )
    })?;
    let unreadable = |error: io::Error| {
        Failure::new(format!("{}: {error}", file.display()), "give a readable file, one JSON object a line")
    };
    let opened = File::open(file).map_err(unreadable)?;
    let bytes_total = opened.metadata().map_err(unreadable)?.len();
    let mut link =
        Link { config, address, authorization: format!("Bearer {}", token.secret.expose()), calls: None };
    let bar = progress_bar(bytes_total);
    let mut parts = Parts::new(BufReader::with_capacity(256 * 1024, opened), PartBounds::default());
    let mut total = ImportAnswer::default();
    while let Some((lines_before, part)) = parts.next_part().map_err(unreadable)? {
        let bytes = part.len() as u64;
        let answer = link.send(&part).map_err(|failure| {
            bar.abandon();
            Failure::new(format!("after line {lines_before}: {}", failure.what), failure.advice)
        })?;
        total.lines += answer.lines;
        total.created += answer.created;
        total.refreshed += answer.refreshed;
        total.refused += answer.refused;
        total.errors_left_out += answer.errors_left_out;
        bar.suspend(|| {
            for error in &answer.errors {
                let field = error.field.as_deref().map(|field| format!("{field} ")).unwrap_or_default();
                let line = lines_before + error.line;
                // Nobody reads: the sums at the end and the exit status still tell.
                let _ = writeln!(out, "{}:{line}: {field}{}", file.display(), error.message);
            }
        });
        bar.inc(bytes);
        bar.set_message(format!("{} devices, {} refused", total.created + total.refreshed, total.refused));
    }
    bar.finish_and_clear();
    Ok(total)
}

/// The one line that sums an import up.
pub fn summary(answer: &ImportAnswer) -> String {
    format!(
        "{} lines: {} devices new, {} refreshed, {} refused",
        answer.lines, answer.created, answer.refreshed, answer.refused
    )
}

fn progress_bar(bytes_total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {bytes_per_sec}  {msg}");
    let bar = ProgressBar::new(bytes_total);
    match style {
        Ok(style) => bar.with_style(style),
        // The template is ours; the default one serves as well.
        Err(_) => bar,
    }
}

/// How a file is cut into parts.
#[derive(Clone, Copy, Debug)]
pub struct PartBounds {
    /// Lines in one part.
    pub lines_max: u64,
    /// Bytes from which on a part takes no further line.
    pub bytes_enough: usize,
    /// The longest line, in bytes without its end.
    pub line_bytes_max: usize,
}

impl Default for PartBounds {
    fn default() -> PartBounds {
        PartBounds {
            lines_max: LINES_PER_REQUEST,
            bytes_enough: BYTES_PER_REQUEST,
            line_bytes_max: LINE_BYTES_MAX,
        }
    }
}

/// A file in parts of whole lines.
#[derive(Debug)]
pub struct Parts<R> {
    reader: R,
    bounds: PartBounds,
    lines: u64,
}

impl<R: BufRead> Parts<R> {
    /// The parts of what `reader` reads.
    pub fn new(reader: R, bounds: PartBounds) -> Parts<R> {
        Parts { reader, bounds, lines: 0 }
    }

    /// The next part, with the number of lines before it; `None` at the end.
    ///
    /// # Errors
    /// The reader's; `InvalidData` for a line that is too long.
    pub fn next_part(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        let PartBounds { lines_max, bytes_enough, line_bytes_max } = self.bounds;
        let before = self.lines;
        let mut part = Vec::new();
        while self.lines - before < lines_max && part.len() < bytes_enough {
            let start = part.len();
            // With its end, a line of the greatest length is one byte longer.
            let mut limited = io::Read::take(&mut self.reader, line_bytes_max as u64 + 1);
            if limited.read_until(b'\n', &mut part)? == 0 {
                break;
            }
            if !part.ends_with(b"\n") && part.len() - start > line_bytes_max {
                let line = self.lines + 1;
                let message = format!("line {line} is longer than {line_bytes_max} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            self.lines += 1;
        }
        Ok((!part.is_empty()).then_some((before, part)))
    }
}

/// The way to the service.
struct Link<'a> {
    config: &'a Config,
    address: SocketAddr,
    authorization: String,
    calls: Option<Calls>,
}

impl Link<'_> {
    fn send(&mut self, part: &[u8]) -> Result<ImportAnswer, Failure> {
        let mut tries = 1;
        loop {
            let response = match self.call(part) {
                Ok(response) => response,
                // What is stored already is stored again without harm.
                Err(broken) if broken.may_be_repeated && tries < TRIES_MAX => {
                    std::thread::sleep(BROKEN_PAUSE * tries);
                    tries += 1;
                    continue;
                }
                Err(broken) => return Err(broken.failure),
            };
            match response.head.status {
                200 => {
                    return serde_json::from_slice(&response.body).map_err(|_| {
                        Failure::new("the answer is none of ours", "see what listens at [api] listen")
                    });
                }
                409 | 429 | 503 if tries < TRIES_MAX => {
                    let pause_s = response.head.retry_after_s.unwrap_or(1).clamp(1, 10);
                    std::thread::sleep(Duration::from_secs(u64::from(pause_s)));
                    tries += 1;
                }
                status => return Err(refused(status, &response)),
            }
        }
    }

    fn call(&mut self, part: &[u8]) -> Result<Response, Broken> {
        let malformed =
            |error| Failure::new(format!("the request cannot be made ({error})"), "correct the token");
        let mut request =
            Request::new(Method::Post, "/v1/devices/import", &self.address.to_string()).map_err(malformed)?;
        request.header("Authorization", &self.authorization).map_err(malformed)?;
        request.header("Content-Type", "application/x-ndjson").map_err(malformed)?;
        let mut calls = match self.calls.take().filter(Calls::reusable) {
            Some(calls) => calls,
            None => Calls::new(blocking::handshake(
                blocking::connect(&[self.address]).map_err(|failure| {
                    Failure::new(failure.what, "start the service first: carillon serve")
                })?,
                blocking::pinned_config(&self.config.api.cert_file)?,
                &self.address.ip().to_string(),
                false,
            )?),
        };
        let response = calls.call(request.encode(part), REQUEST_TIME)?;
        self.calls = Some(calls);
        Ok(response)
    }
}

fn refused(status: u16, response: &Response) -> Failure {
    let message = serde_json::from_slice::<ErrorAnswer>(&response.body)
        .map_or_else(|_| "no reason was given".to_owned(), |answer| answer.error.message);
    let advice = match status {
        401 | 403 => {
            "the running service has another administrators' token: restart it, or correct the token"
        }
        503 => "look at the service's log and import again",
        _ => "import again when that is mended; what is stored already does no harm",
    };
    Failure::new(format!("the service refused ({status}: {message})"), advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_may_be_as_long_as_the_bound_says_with_or_without_an_end() {
        let bounds = PartBounds { lines_max: 2, bytes_enough: 100, line_bytes_max: 4 };
        let mut parts = Parts::new(&b"1234\n\n1234"[..], bounds);
        assert_eq!(parts.next_part().unwrap(), Some((0, b"1234\n\n".to_vec())));
        assert_eq!(parts.next_part().unwrap(), Some((2, b"1234".to_vec())));
        assert_eq!(parts.next_part().unwrap(), None);
        for long in [&b"12345"[..], b"12345\n"] {
            let error = Parts::new(long, bounds).next_part().unwrap_err();
            assert_eq!(error.to_string(), "line 1 is longer than 4 bytes");
        }
    }
}
