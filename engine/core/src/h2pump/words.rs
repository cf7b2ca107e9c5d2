//! What is told of a connection that failed.

/// What went wrong, in words of `h2`. Not its whole text: that quotes the peer's debug data, in which a peer may have put
/// anything, our own requests included.
pub(super) fn words(error: &h2::Error) -> Box<str> {
    let side = match (error.is_remote(), error.is_library()) {
        (true, _) => "the peer reports",
        (false, true) => "found in what the peer sent",
        (false, false) => "the connection failed",
    };
    match (error.reason(), error.get_io()) {
        (Some(reason), _) => format!("{side}: {reason:?} ({reason})").into(),
        (None, Some(io)) => format!("{side}: {}", io.kind()).into(),
        (None, None) => side.into(),
    }
}
