//! A text that must not be seen.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The longest file of a secret, in bytes. Tokens of Microsoft have some 4,000; more is a file named by mistake, or one
/// without end.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// A password or token. It shows itself only to who asks for it by name.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Takes a text.
    pub fn new(text: String) -> Secret {
        Secret(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// The secret in a file: one line, without the blanks around it.
///
/// # Errors
/// What is wrong with the file, which is named, or with what stands in it, which is not.
pub fn read_secret(file: &Path) -> Result<String, String> {
    let named = |what: &dyn fmt::Display| format!("{}: {what}", file.display());
    let mut text = String::new();
    let read = File::open(file).and_then(|open| open.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text));
    let len = read.map_err(|error| named(&error))?;
    if len as u64 > SECRET_BYTES_MAX {
        return Err(named(&format_args!("longer than {SECRET_BYTES_MAX} bytes, so no secret")));
    }
    one_line(&text)
}

/// What is left of a text when the blanks around it are taken off; it must be one line.
pub(super) fn one_line(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("the secret is empty".to_owned()),
        secret if secret.contains(['\n', '\r', '\0']) => {
            Err("the secret has several lines: it must be one".to_owned())
        }
        secret => Ok(secret.to_owned()),
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
