//! Files that nobody but this account may read, whatever the umask says.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Permissions of everything that is stored.
const MODE: u32 = 0o600;

/// Makes an empty file if there is none, and takes away what others may do with one that is there.
///
/// # Errors
/// The operating system's.
pub fn make(path: &Path) -> io::Result<File> {
    let file = File::options().create(true).append(true).mode(MODE).open(path)?;
    tighten(path);
    Ok(file)
}

/// Takes away what others may do with a file, if it is there. One that belongs to another account stays as it is; the log
/// says so.
pub fn tighten(path: &Path) {
    let Ok(found) = fs::metadata(path) else { return };
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return;
    }
    if let Err(error) = fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o700)) {
        let file = path.display();
        tracing::warn!(%file, "others may read it (mode {mode:o}), and that cannot be changed ({error}): chmod 600");
    }
}

/// Writes a file that is there whole or not at all, also after a kill or a loss of power: aside, onto the disk, then under
/// its name.
///
/// # Errors
/// The operating system's. Then what stood under the name still does.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let aside = PathBuf::from(aside);
    let written = (|| {
        let mut file = File::options().write(true).create(true).truncate(true).mode(MODE).open(&aside)?;
        // What an earlier attempt left may have other permissions.
        file.set_permissions(fs::Permissions::from_mode(MODE))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&aside);
        return written;
    }
    // The name is an entry of the folder, and that has to reach the disk, too.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_that_others_could_read_is_closed_to_them_and_keeps_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "kept").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
        make(&path).unwrap();
        assert_eq!((mode(&path), fs::read(&path).unwrap()), (0o600, b"kept".to_vec()));
        make(&dir.path().join("b")).unwrap();
        assert_eq!(mode(&dir.path().join("b")), 0o600);
        tighten(&dir.path().join("not there"));
    }

    #[test]
    fn a_file_is_replaced_whole_and_one_that_cannot_be_written_stays_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let aside = dir.path().join("a.new");
        fs::write(&aside, "half of an earlier atte").unwrap();
        write_whole(&path, b"first").unwrap();
        assert_eq!(
            (mode(&path), fs::read(&path).unwrap(), aside.exists()),
            (0o600, b"first".to_vec(), false)
        );
        // What stands in the way of the second attempt.
        fs::create_dir(&aside).unwrap();
        write_whole(&path, b"second").unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"first");
    }
}
