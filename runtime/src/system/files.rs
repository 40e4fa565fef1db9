//! Files that are there whole or not at all, and that only their owner can read: many hold a run's key. They are durable
//! on return, with their names.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, OFlags, linkat},
    io::Errno,
};
use tempfile::{Builder, NamedTempFile};

/// Writes a file that must not exist yet. If that fails, or the process is killed, nothing is left of it.
///
/// # Errors
/// When there is such a file already ([`io::ErrorKind::AlreadyExists`]), or it cannot be written.
pub fn create_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    create_whole_of(path, &[bytes])
}

/// The same, of bytes that are in several places.
///
/// # Errors
/// As for [`create_whole`].
pub fn create_whole_of(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let dir = dir_of(path);
    match nameless(dir)? {
        Some(file) => link(&fill(file, parts)?, path)?,
        None => named(dir, parts, None)?.into_temp_path().persist_noclobber(path).map_err(|error| error.error)?,
    }
    sync_dir(dir)
}

/// Writes a file in place of the one that may be there. A reader finds either, whole.
///
/// # Errors
/// When it cannot be written; then what was there is still there.
pub fn replace_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = dir_of(path);
    let file = nameless(dir)?.map(|file| fill(file, &[bytes])).transpose()?;
    named(dir, &[bytes], file.as_ref())?.into_temp_path().persist(path).map_err(|error| error.error)?;
    sync_dir(dir)
}

/// Writes several files in place of those that may be there. All are on the disk under other names before the first
/// takes its place: where there is no room for one of them, what was there is still there.
///
/// # Errors
/// When one cannot be written.
pub fn replace_together(files: &[(&Path, &[u8])]) -> io::Result<()> {
    let written = files.iter().map(|(path, bytes)| {
        let dir = dir_of(path);
        let file = nameless(dir)?.map(|file| fill(file, &[*bytes])).transpose()?;
        Ok((path, named(dir, &[*bytes], file.as_ref())?))
    });
    for (path, file) in written.collect::<io::Result<Vec<_>>>()? {
        file.into_temp_path().persist(path).map_err(|error| error.error)?;
    }
    files.iter().try_for_each(|(path, _)| sync_dir(dir_of(path)))
}

/// The directory that a file is in.
#[must_use]
pub fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the entries of a directory durable.
///
/// # Errors
/// When it cannot be synced.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Whether this is still the file that has this name.
///
/// # Errors
/// When the system does not tell.
pub fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let id = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    match std::fs::metadata(path) {
        Ok(named) => Ok(id(named) == id(file.metadata()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn for_owner() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// A file without a name, of which nothing is left when the process is killed. Some file systems, such as those of memory
/// sticks, have none.
fn nameless(dir: &Path) -> io::Result<Option<File>> {
    match for_owner().custom_flags(OFlags::TMPFILE.bits() as i32).open(dir) {
        Ok(file) => Ok(Some(file)),
        Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Ok(None),
            _ => Err(error),
        },
    }
}

/// The file, or else a new one with these bytes, under some name in the directory.
fn named(dir: &Path, parts: &[&[u8]], file: Option<&File>) -> io::Result<NamedTempFile<()>> {
    let make = |name: &Path| match file {
        Some(file) => link(file, name),
        None => {
            let file = for_owner().create_new(true).open(name)?;
            fill(file, parts).map(drop).inspect_err(|_| drop(std::fs::remove_file(name)))
        }
    };
    let made = Builder::new().prefix(".bazaar-").make_in(dir, make);
    // The crate's own errors name the temporary file, which helps nobody.
    made.map_err(|error| error.raw_os_error().map_or(error.kind().into(), io::Error::from_raw_os_error))
}

fn link(file: &File, path: &Path) -> io::Result<()> {
    let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(linkat(CWD, nameless.as_str(), CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

fn fill(mut file: File, parts: &[&[u8]]) -> io::Result<File> {
    parts.iter().try_for_each(|part| file.write_all(part))?;
    file.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_file_is_created_once_and_replaced_whole_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        create_whole(&file, b"one").unwrap();
        assert_eq!(create_whole(&file, b"two").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&file).unwrap(), b"one");
        let first = File::open(&file).unwrap();
        assert!(is_named(&first, &file).unwrap());
        replace_whole(&file, b"three").unwrap();
        assert!(!is_named(&first, &file).unwrap() && !is_named(&first, &dir.path().join("none")).unwrap());
        assert_eq!(fs::read(&file).unwrap(), b"three");
        let other = dir.path().join("other");
        replace_together(&[(&file, b"a"), (&other, b"b")]).unwrap();
        assert_eq!((fs::read(&file).unwrap(), fs::read(&other).unwrap()), (b"a".to_vec(), b"b".to_vec()));
        replace_together(&[(&file, b"c"), (&dir.path().join("nowhere/other"), b"d")]).unwrap_err();
        assert_eq!(fs::read(&file).unwrap(), b"a");
        replace_whole(&file, b"three").unwrap();
        fs::remove_file(other).unwrap();
        // As on a memory stick.
        let by_name = || named(dir.path(), &[b"four"], None).unwrap().into_temp_path();
        assert!(by_name().persist_noclobber(&file).is_err());
        assert_eq!(fs::read(&file).unwrap(), b"three");
        by_name().persist(&file).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"four");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
