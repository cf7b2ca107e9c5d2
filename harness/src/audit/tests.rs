//! Each kind of fault is found, and nothing else is.
