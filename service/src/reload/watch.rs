//! Which files have changed since they were last looked at.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files that are looked at again and again.
#[derive(Debug, Default)]
pub struct Watch {
    files: Vec<File>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    stamp: Option<Stamp>,
    /// It has changed, and whoever writes it may not be done yet.
    settling: bool,
}

/// Changes whenever a file is written, replaced, or reached through another link. `None` stands for no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    place: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Watch {
    /// Files as they are now; those that were watched before keep what was seen of them.
    pub fn set(&mut self, paths: impl Iterator<Item = PathBuf>) {
        let mut before = std::mem::take(&mut self.files);
        for path in paths {
            if self.files.iter().any(|file| file.path == path) {
                continue;
            }
            let known = before.iter().position(|file| file.path == path).map(|at| before.swap_remove(at));
            self.files.push(known.unwrap_or_else(|| File { stamp: stamp(&path), path, settling: false }));
        }
    }

    /// Files that have changed since an earlier look and are the same as at the last one. A file that is being written,
    /// or a certificate whose key is not there yet, is not half read so.
    pub fn settled(&mut self) -> Vec<PathBuf> {
        let mut changed = Vec::new();
        for file in &mut self.files {
            let now = stamp(&file.path);
            if now != file.stamp {
                file.stamp = now;
                file.settling = true;
            } else if std::mem::take(&mut file.settling) {
                changed.push(file.path.clone());
            }
        }
        // What belongs together is taken up together.
        if self.files.iter().any(|file| file.settling) {
            for file in &mut self.files {
                file.settling |= changed.contains(&file.path);
            }
            changed.clear();
        }
        changed
    }

    /// Files that have changed in any way since they were last told of.
    pub fn changed(&mut self) -> Vec<PathBuf> {
        let mut changed = Vec::new();
        for file in &mut self.files {
            let now = stamp(&file.path);
            if std::mem::take(&mut file.settling) | (now != file.stamp) {
                changed.push(file.path.clone());
            }
            file.stamp = now;
        }
        changed
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = std::fs::metadata(path).ok()?;
    Some(Stamp {
        place: (file.dev(), file.ino()),
        bytes: file.len(),
        modified: (file.mtime(), file.mtime_nsec()),
        changed: (file.ctime(), file.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once_when_nothing_changes_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
        std::fs::write(&a, "1").unwrap();
        let mut watch = Watch::default();
        watch.set([a.clone(), b.clone(), a.clone()].into_iter());
        assert_eq!(watch.settled(), [] as [PathBuf; 0]);
        std::fs::write(&a, "22").unwrap();
        assert!(watch.settled().is_empty(), "it may be half written");
        std::fs::write(&b, "22").unwrap();
        assert!(watch.settled().is_empty(), "another is being written");
        assert_eq!(watch.settled(), [a.clone(), b.clone()]);
        assert!(watch.settled().is_empty());
        std::fs::remove_file(&b).unwrap();
        watch.settled();
        assert_eq!(watch.settled(), [b]);
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_a_change_and_so_is_the_same_text_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let [old, new, link] = ["old", "new", "link"].map(|name| dir.path().join(name));
        std::fs::write(&old, "same").unwrap();
        std::fs::write(&new, "same").unwrap();
        std::os::unix::fs::symlink(&old, &link).unwrap();
        let mut watch = Watch::default();
        watch.set(std::iter::once(link.clone()));
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&new, &link).unwrap();
        assert_eq!(watch.changed(), std::slice::from_ref(&link));
        assert!(watch.changed().is_empty());
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(&new, "same").unwrap();
        assert_eq!(watch.changed(), [link]);
    }
}
