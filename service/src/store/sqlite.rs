//! SQLite behind the store's face.
