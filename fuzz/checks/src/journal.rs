//! The journal's reader. Input: as it is (first byte even), or as header and records whose sums are put right, so that
//! what stands inside of records is reached.

use carillon_engine::journal::read_segment;

use crate::input::Input;

/// Whatever stands in a segment: what is wrong with it lies within it, in order, and what is appended to it costs nothing.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let segment = if input.flag() { sound_segment(&mut input) } else { input.rest().to_vec() };

    let mut entries = Vec::new();
    let faults = read_segment(&segment, None, &mut entries);
    assert!(entries.len() * RECORD_BYTES_MIN <= segment.len(), "each entry has some bytes");
    assert!(entries.is_sorted_by(|one, other| one.seq < other.seq), "numbers rise");
    let mut end = 0;
    for fault in &faults {
        assert!(fault.bytes > 0 && fault.offset >= end);
        end = fault.offset + fault.bytes;
        assert!(end <= segment.len() as u64);
    }

    let mut torn = segment;
    torn.extend_from_slice(b"\xff\xff\xff\xff half a record");
    let mut same = Vec::new();
    read_segment(&torn, None, &mut same);
    assert_eq!(entries, same);
}

/// Length, CRC, sequence number, tag, user.
const RECORD_BYTES_MIN: usize = 4 + 4 + 8 + 1 + 8;

fn sound_segment(input: &mut Input<'_>) -> Vec<u8> {
    let mut segment = b"CARJRNL1".to_vec();
    segment.extend(input.u64().to_le_bytes());
    segment.extend(input.u16().to_le_bytes());
    segment.extend(crc32(&segment).to_le_bytes());
    while !input.is_empty() {
        let len = usize::from(input.u8());
        let body = input.bytes(len);
        segment.extend((body.len() as u32).to_le_bytes());
        segment.extend(crc32(body).to_le_bytes());
        segment.extend(body);
    }
    segment
}

/// CRC-32 as in ISO 3309 and zlib, bit by bit: not the engine's own.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}
