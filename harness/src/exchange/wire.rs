//! HTTP/1.1 from the server's side: cuts requests out of bytes, with every bound, and writes heads.

use super::config::Limits;

/// A whole request.
#[derive(Debug, Default)]
pub(super) struct HttpRequest {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The client wants the connection closed after the answer.
    pub close: bool,
}

/// The bytes are no request that this server takes; the connection closes after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadRequest {
    pub status: u16,
    pub reason: &'static str,
}

/// Bytes on their way to become requests.
#[derive(Debug, Default)]
pub(super) struct Intake {
    bytes: Vec<u8>,
    stage: Stage,
    /// `100 Continue` is owed.
    pub owes_continue: bool,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Head,
    Sized(HttpRequest, usize),
    Chunked(HttpRequest, Chunk),
}

#[derive(Debug, PartialEq, Eq)]
enum Chunk {
    Size,
    Data(usize),
    DataEnd,
    Trailer,
}

const fn bad(status: u16, reason: &'static str) -> BadRequest {
    BadRequest { status, reason }
}

/// A chunk-size or trailer line.
const LINE_BYTES_MAX: usize = 1_024;

impl HttpRequest {
    /// The value of a header, by its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// The value of a cookie.
    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .filter(|(key, _)| key == "cookie")
            .flat_map(|(_, value)| value.split(';'))
            .find_map(|pair| {
                let (key, value) = pair.trim().split_once('=')?;
                (key == name).then_some(value)
            })
    }
}

impl Intake {
    /// Takes bytes in. They are bounded by the next [`Intake::take`].
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len()
    }

    /// The next whole request.
    pub(super) fn take(&mut self, limits: &Limits) -> Result<Option<HttpRequest>, BadRequest> {
        loop {
            match &mut self.stage {
                Stage::Head => match take_head(&mut self.bytes, limits)? {
                    None => return Ok(None),
                    Some((stage, expects)) => {
                        self.stage = stage;
                        self.owes_continue = expects && self.bytes.is_empty();
                    }
                },
                Stage::Sized(request, left) => {
                    let n = (*left).min(self.bytes.len());
                    request.body.extend(self.bytes.drain(..n));
                    *left -= n;
                    if *left > 0 {
                        return Ok(None);
                    }
                    let request = std::mem::take(request);
                    self.stage = Stage::Head;
                    return Ok(Some(request));
                }
                Stage::Chunked(request, chunk) => {
                    if !take_chunks(&mut self.bytes, request, chunk, limits)? {
                        return Ok(None);
                    }
                    let request = std::mem::take(request);
                    self.stage = Stage::Head;
                    return Ok(Some(request));
                }
            }
        }
    }
}

fn take_head(bytes: &mut Vec<u8>, limits: &Limits) -> Result<Option<(Stage, bool)>, BadRequest> {
    // RFC 9112 §2.2: empty lines before a request line are ignored.
    let blank = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    bytes.drain(..blank);
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut lines = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut lines);
    let seen = &bytes[..bytes.len().min(limits.head_bytes_max + 1)];
    let length = match head.parse(seen) {
        Ok(httparse::Status::Complete(length)) if length <= limits.head_bytes_max => length,
        Ok(httparse::Status::Partial) if bytes.len() <= limits.head_bytes_max => return Ok(None),
        Ok(_) => return Err(bad(400, "Bad Request - Request Too Long")),
        Err(_) => return Err(bad(400, "Bad Request")),
    };
    let mut request = HttpRequest {
        method: head.method.unwrap_or_default().to_owned(),
        path: head.path.unwrap_or_default().to_owned(),
        close: head.version == Some(0),
        ..HttpRequest::default()
    };
    for line in head.headers.iter() {
        let value = std::str::from_utf8(line.value).map_err(|_| bad(400, "Bad Request - Invalid Header"))?;
        request.headers.push((line.name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    bytes.drain(..length);
    let has = |name: &str, token: &str| {
        request.header(name).is_some_and(|v| v.split(',').any(|t| t.trim().eq_ignore_ascii_case(token)))
    };
    let close = request.close && !has("connection", "keep-alive") || has("connection", "close");
    if request.header("host").is_none() {
        return Err(bad(400, "Bad Request - Invalid Hostname"));
    }
    let expects = has("expect", "100-continue");
    let mut lengths = request.headers.iter().filter(|(name, _)| name == "content-length").map(|(_, v)| v);
    let length = lengths.next().cloned();
    if lengths.any(|other| Some(other) != length.as_ref()) {
        return Err(bad(400, "Bad Request - Content-Length"));
    }
    let coding = request.header("transfer-encoding").map(str::to_owned);
    request.close = close;
    match (coding, length) {
        (Some(_), Some(_)) => Err(bad(400, "Bad Request - Content-Length and Transfer-Encoding")),
        (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => {
            Ok(Some((Stage::Chunked(request, Chunk::Size), expects)))
        }
        (Some(_), None) => Err(bad(501, "Not Implemented")),
        (None, Some(length)) => {
            let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
            let length: usize =
                length.parse().ok().filter(|_| digits).ok_or(bad(400, "Bad Request - Content-Length"))?;
            if length > limits.body_bytes_max {
                return Err(bad(413, "Request Entity Too Large"));
            }
            Ok(Some((Stage::Sized(request, length), expects)))
        }
        (None, None) if request.method == "POST" => Err(bad(411, "Length Required")),
        (None, None) => Ok(Some((Stage::Sized(request, 0), false))),
    }
}

fn take_line(bytes: &mut Vec<u8>) -> Result<Option<String>, BadRequest> {
    let end = match bytes.iter().position(|&b| b == b'\n') {
        None if bytes.len() <= LINE_BYTES_MAX => return Ok(None),
        Some(end) if end <= LINE_BYTES_MAX => end,
        // However it was cut on the way.
        Some(_) | None => return Err(bad(400, "Bad Request - Chunk")),
    };
    let line: Vec<u8> = bytes.drain(..=end).collect();
    let line = line.strip_suffix(b"\r\n").ok_or(bad(400, "Bad Request - Chunk"))?;
    String::from_utf8(line.to_vec()).map(Some).map_err(|_| bad(400, "Bad Request - Chunk"))
}

/// True when the body is whole.
fn take_chunks(
    bytes: &mut Vec<u8>,
    request: &mut HttpRequest,
    chunk: &mut Chunk,
    limits: &Limits,
) -> Result<bool, BadRequest> {
    loop {
        match chunk {
            Chunk::Size => {
                let Some(line) = take_line(bytes)? else { return Ok(false) };
                let size = line.split(';').next().unwrap_or_default().trim();
                let hex = !size.is_empty() && size.bytes().all(|b| b.is_ascii_hexdigit());
                let size = usize::from_str_radix(size, 16)
                    .ok()
                    .filter(|_| hex)
                    .ok_or(bad(400, "Bad Request - Chunk"))?;
                if request.body.len().saturating_add(size) > limits.body_bytes_max {
                    return Err(bad(413, "Request Entity Too Large"));
                }
                *chunk = if size == 0 { Chunk::Trailer } else { Chunk::Data(size) };
            }
            Chunk::Data(left) => {
                let n = (*left).min(bytes.len());
                request.body.extend(bytes.drain(..n));
                *left -= n;
                if *left > 0 {
                    return Ok(false);
                }
                *chunk = Chunk::DataEnd;
            }
            Chunk::DataEnd => {
                let Some(line) = take_line(bytes)? else { return Ok(false) };
                if !line.is_empty() {
                    return Err(bad(400, "Bad Request - Chunk"));
                }
                *chunk = Chunk::Size;
            }
            Chunk::Trailer => {
                let Some(line) = take_line(bytes)? else { return Ok(false) };
                if line.is_empty() {
                    return Ok(true);
                }
            }
        }
    }
}

/// The reason phrase of a status.
pub(super) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        411 => "Length Required",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "",
    }
}

/// Appends one chunk of a chunked body.
pub(super) fn push_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if !data.is_empty() {
        out.extend_from_slice(format!("{:X}\r\n", data.len()).as_bytes());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
}

/// What ends a chunked body.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<Vec<HttpRequest>, BadRequest> {
        let mut intake = Intake::default();
        let mut requests = Vec::new();
        for byte in text.bytes() {
            intake.feed(&[byte]);
            while let Some(request) = intake.take(&Limits::default())? {
                requests.push(request);
            }
        }
        Ok(requests)
    }

    #[test]
    fn requests_are_cut_at_every_byte() {
        let text = "\r\nPOST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nCookie: a=1; b=2\r\n\r\nabc\
                    POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nde\r\n1\r\nf\r\n0\r\nT: v\r\n\r\n\
                    GET /c HTTP/1.0\r\nHost: h\r\n\r\n";
        let requests = all(text).unwrap();
        let seen: Vec<_> = requests.iter().map(|r| (&*r.path, &*r.body, r.close)).collect();
        assert_eq!(seen, [("/a", &b"abc"[..], false), ("/b", &b"def"[..], false), ("/c", &b""[..], true)]);
        assert_eq!((requests[0].cookie("b"), requests[0].cookie("c")), (Some("2"), None));
    }

    #[test]
    fn a_chunk_line_that_is_too_long_is_refused_whole_or_in_pieces() {
        let long = "x".repeat(LINE_BYTES_MAX);
        let text =
            format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0;{long}\r\n\r\n");
        assert_eq!(all(&text).unwrap_err().status, 400);
        let mut intake = Intake::default();
        intake.feed(text.as_bytes());
        assert_eq!(intake.take(&Limits::default()).unwrap_err().status, 400);
    }

    #[test]
    fn what_is_no_request_is_refused_with_its_status() {
        let post = |lines: &str| format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        for (text, status) in [
            ("nonsense\r\n\r\n".to_owned(), 400),
            ("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n".to_owned(), 400),
            (post(""), 411),
            (post("Content-Length: -1\r\n"), 400),
            (post("Content-Length: +1\r\n"), 400),
            (post("Content-Length: 1\r\nContent-Length: 2\r\n"), 400),
            (post("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), 400),
            (post("Transfer-Encoding: gzip\r\n"), 501),
            (post("Content-Length: 99999999\r\n"), 413),
            (post("Transfer-Encoding: chunked\r\n") + "ZZ\r\n", 400),
            (post("Transfer-Encoding: chunked\r\n") + "FFFFFFF\r\n", 413),
            (post("Transfer-Encoding: chunked\r\n") + "1\r\nabc\r\n", 400),
            (post(&format!("X: {}\r\n", "x".repeat(20_000))), 400),
        ] {
            assert_eq!(all(&text).unwrap_err().status, status, "{}", &text[..text.len().min(80)]);
        }
    }
}
