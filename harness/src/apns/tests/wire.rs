//! The service behind its face, spoken to by an HTTP/2 client.
