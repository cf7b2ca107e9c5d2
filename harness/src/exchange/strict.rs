//! The list of what a client must never do, and did.

/// Entries that are kept; the rest is counted.
const KEPT_MAX: usize = 200;

#[derive(Debug, Default)]
pub(super) struct Violations {
    pub list: Vec<String>,
    pub total: u64,
}

impl Violations {
    pub(super) fn add(&mut self, what: String) {
        self.total += 1;
        if self.list.len() < KEPT_MAX {
            self.list.push(what);
        }
    }
}
