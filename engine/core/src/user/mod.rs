//! One row per mailbox: what waits, what was told, which phones.

/// Keyed hash (SipHash-2-4) that names a mail or a user outside: in payloads, collapse ids and stored records.
pub fn item_hash(key: &[u8; 16], id: &str) -> u64 {
    use std::hash::Hasher;
    let mut hasher = siphasher::sip::SipHasher24::new_with_key(key);
    hasher.write(id.as_bytes());
    hasher.finish()
}
