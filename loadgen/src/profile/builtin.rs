//! The profiles that come with the program.

/// Name and text, from quick to long.
pub(crate) const BUILTIN: [(&str, &str); 6] = [
    ("smoke", include_str!("../../../profiles/smoke.toml")),
    ("node-10k", include_str!("../../../profiles/node-10k.toml")),
    ("storm-10k", include_str!("../../../profiles/storm-10k.toml")),
    ("rough-10k", include_str!("../../../profiles/rough-10k.toml")),
    ("node-100k", include_str!("../../../profiles/node-100k.toml")),
    ("node-1m", include_str!("../../../profiles/node-1m.toml")),
];
