//! The ids that Exchange gives out, with their real layout: clients must treat them as opaque, this server reads its own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::mailbox::FolderKey;

/// An item or a folder, as its id names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoreId {
    /// The mailbox.
    pub mailbox: u128,
    /// The folder; for an item, the one in which it lies.
    pub folder: FolderKey,
    /// The item's counter; `None` in the id of a folder.
    pub item: Option<u64>,
}

/// Length of an entry id of a folder, and of a message (MS-OXCDATA §2.2.4.1, §2.2.4.2).
const FOLDER_ENTRY_BYTES: usize = 46;
const ITEM_ENTRY_BYTES: usize = 70;
/// Compression, kind, length of the mailbox GUID's text, its 36 characters, instruction, length of the entry id.
const HEAD_BYTES: usize = 1 + 1 + 2 + 36 + 1 + 2;
/// What says which replica counted an object; the same all over one simulated organisation.
const REPLICA: u128 = 0x8f1c_2ab0_93d4_4e5f_a1b2_77c3_d09e_5b64;

/// `8-4-4-4-12` hex digits in lower case.
pub(super) fn guid_text(guid: u128) -> [u8; 36] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; 36];
    let mut shift = 128;
    for (at, byte) in text.iter_mut().enumerate() {
        if !matches!(at, 8 | 13 | 18 | 23) {
            shift -= 4;
            *byte = HEX[(guid >> shift) as usize & 0xf];
        }
    }
    text
}

fn parse_guid(text: &[u8]) -> Option<u128> {
    let mut guid = 0;
    for (at, &byte) in text.iter().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if byte != b'-' {
                return None;
            }
        } else {
            guid = guid << 4 | u128::from(char::from(byte).to_digit(16)?);
        }
    }
    Some(guid)
}

impl StoreId {
    /// Appends the base64 text: 152 characters for an item, 120 for a folder.
    pub(super) fn push(self, out: &mut String) {
        self.push_as(out, 0);
    }

    /// Appends the id in the format before `EwsId`, which Exchange Online sent in events of 2023 and GetItem refused:
    /// its first byte is 1.
    pub(super) fn push_legacy(self, out: &mut String) {
        self.push_as(out, 1);
    }

    fn push_as(self, out: &mut String, first: u8) {
        let mut bytes = [0_u8; HEAD_BYTES + ITEM_ENTRY_BYTES];
        let entry = if self.item.is_some() { ITEM_ENTRY_BYTES } else { FOLDER_ENTRY_BYTES };
        bytes[0] = first;
        bytes[1] = 3;
        bytes[2] = 36;
        bytes[4..40].copy_from_slice(&guid_text(self.mailbox));
        bytes[41] = entry as u8;
        let body = &mut bytes[HEAD_BYTES..HEAD_BYTES + entry];
        body[4..20].copy_from_slice(&self.mailbox.to_le_bytes());
        body[20] = if self.item.is_some() { 7 } else { 1 };
        body[22..38].copy_from_slice(&REPLICA.to_le_bytes());
        body[38..44].copy_from_slice(&u64::from(self.folder.0).to_be_bytes()[2..]);
        if let Some(counter) = self.item {
            body[46..62].copy_from_slice(&REPLICA.to_le_bytes());
            body[62..68].copy_from_slice(&counter.to_be_bytes()[2..]);
        }
        STANDARD.encode_string(&bytes[..HEAD_BYTES + entry], out);
    }

    /// The base64 text.
    pub(super) fn text(self) -> String {
        let mut out = String::with_capacity(152);
        self.push(&mut out);
        out
    }

    /// Reads one of our own ids; `None` for everything else.
    pub(super) fn parse(text: &str) -> Option<StoreId> {
        Self::parse_as(text, 0)
    }

    /// Reads one of our own ids in the old format.
    pub(super) fn parse_legacy(text: &str) -> Option<StoreId> {
        Self::parse_as(text, 1)
    }

    fn parse_as(text: &str, first: u8) -> Option<StoreId> {
        if text.len() != 152 && text.len() != 120 {
            return None;
        }
        let bytes = STANDARD.decode(text).ok()?;
        let guid = parse_guid(bytes.get(4..40)?)?;
        let body = bytes.get(HEAD_BYTES..)?;
        let counter = |from: usize| -> Option<u64> {
            let mut wide = [0; 8];
            wide[2..].copy_from_slice(body.get(from..from + 6)?);
            Some(u64::from_be_bytes(wide))
        };
        let item = match body.len() {
            ITEM_ENTRY_BYTES => Some(counter(62)?),
            FOLDER_ENTRY_BYTES => None,
            _ => return None,
        };
        let id = StoreId { mailbox: guid, folder: FolderKey(u16::try_from(counter(38)?).ok()?), item };
        let mut again = String::with_capacity(text.len());
        id.push_as(&mut again, first);
        (again == text).then_some(id)
    }
}

/// A subscription id: back end, GUID, 100-ns time stamp, mailbox GUID, as decoded from published ones.
pub(super) fn subscription_id(back_end: &str, guid: u128, unix_ms: u64, mailbox: u128) -> String {
    let mut bytes = Vec::with_capacity(64 + back_end.len());
    bytes.extend_from_slice(&(back_end.len() as u16).to_le_bytes());
    bytes.extend_from_slice(back_end.as_bytes());
    bytes.extend_from_slice(&16_u32.to_le_bytes());
    bytes.extend_from_slice(&guid.to_le_bytes());
    bytes.extend_from_slice(&(unix_ms.wrapping_mul(10_000)).to_le_bytes());
    bytes.extend_from_slice(&16_u32.to_le_bytes());
    bytes.extend_from_slice(&mailbox.to_le_bytes());
    STANDARD.encode(bytes)
}

/// The id of a numbered subscription: number and life in minutes, with padding to the length of Exchange's ids if wanted.
pub(super) fn numbered_subscription_id(number: u32, minutes: u32, long: bool) -> String {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend(minutes.to_le_bytes());
    if long {
        bytes.resize(66, 0);
    }
    STANDARD.encode(bytes)
}

/// Whether `text` has the layout of a subscription id, ours or another server's.
pub(super) fn looks_like_subscription(text: &str) -> bool {
    let Ok(bytes) = STANDARD.decode(text) else { return false };
    let Some(length) = bytes.first_chunk::<2>() else { return false };
    bytes.len() == 2 + usize::from(u16::from_le_bytes(*length)) + 48
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_ids_look_like_real_ones_and_are_read_back() {
        let item = StoreId { mailbox: 0x1234 << 64 | 7, folder: FolderKey(3), item: Some(99) };
        assert_eq!(item.text().len(), 152);
        assert!(item.text().starts_with("AAMk"));
        assert_eq!(StoreId::parse(&item.text()), Some(item));
        let folder = StoreId { item: None, ..item };
        assert_eq!(folder.text().len(), 120);
        assert_eq!(StoreId::parse(&folder.text()), Some(folder));
        for bad in ["", "AAMk", &item.text().to_lowercase(), &"A".repeat(152)] {
            assert_eq!(StoreId::parse(bad), None);
        }
    }

    #[test]
    fn a_subscription_id_names_its_back_end() {
        let id = subscription_id("ex1.example.com", 5, 1_700_000_000_000, 6);
        assert!(looks_like_subscription(&id));
        assert!(!looks_like_subscription("AAAA"));
        assert!(!looks_like_subscription("not base64!"));
    }
}
