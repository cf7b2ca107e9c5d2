//! CRC-32 as in zlib and Ethernet (reflected polynomial 0xEDB88320): finds torn and damaged records, nothing more.

pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    #[cfg(test)]
    SUMMED.with(|summed| summed.set(summed.get() + bytes.len()));
    !bytes.iter().fold(!0, |crc, byte| (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)])
}

#[cfg(test)]
thread_local! {
    /// Bytes of which sums were made on this thread.
    pub(crate) static SUMMED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut crc = at as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    #[test]
    fn the_check_value_of_the_standard_comes_out() {
        assert_eq!(super::crc32(b"123456789"), 0xcbf4_3926);
    }
}
