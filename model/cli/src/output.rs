//! Where `bazaar-model` writes. What cannot be written is noted here, whatever the error becomes on its way up, so that
//! no input is blamed for it and the exit code says it. Only a reader that has gone away is no error.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{Mutex, PoisonError},
};

use bazaar_model::protocol::text::{decode, visible};
use serde::Serialize;

/// The first output that could not be written, and why.
static LOST: Mutex<Option<String>> = Mutex::new(None);

/// Notes that an output cannot be written.
pub fn lose(name: &str, error: &io::Error) -> io::Error {
    let said = format!("cannot write {name}: {error}");
    LOST.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(said.clone());
    io::Error::new(error.kind(), said)
}

/// Whether an output could not be written, so that an error that comes of it needs no words of its own.
pub fn has_lost() -> bool {
    LOST.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// The first output that could not be written, and why, once everything has been written that could be.
pub fn lost() -> Option<String> {
    // Whatever fails notes itself.
    let _ = stdout().flush();
    LOST.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Standard output. The reader may have closed it early: that stops no check and changes no verdict.
pub fn stdout() -> impl Write {
    struct Output(io::Stdout);
    impl Write for Output {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            forgive(self.0.write(text), text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            forgive(self.0.flush(), ())
        }
    }
    Output(io::stdout())
}

fn forgive<T>(result: io::Result<T>, otherwise: T) -> io::Result<T> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(otherwise),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
        result => result.map_err(|error| lose("standard output", &error)),
    }
}

/// Writes a line to standard error, harmless to the terminal. If that fails, there is nobody left to tell.
pub fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{}", visible(line));
}

/// Reads a file of text.
pub fn read_text(file: &Path) -> io::Result<String> {
    let bytes = fs::read(file)?;
    decode(&bytes).map(str::to_owned).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes a value as JSON: all of it, in place of what was there, or nothing. Creates the directory if it does not exist.
pub fn write_json(file: &Path, what: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string_pretty(what).map_err(io::Error::other)?;
    write_whole(file, &(text + "\n"))
}

/// Writes a file: all of it, in place of what was there, or nothing; what is no file, such as a device, is just written
/// to. Creates the directory if it does not exist.
pub fn write_whole(file: &Path, text: &str) -> io::Result<()> {
    try_write_whole(file, text).map_err(|error: io::Error| lose(&file.display().to_string(), &error))
}

fn try_write_whole(file: &Path, text: &str) -> io::Result<()> {
    // The file that a link leads to; the link stays.
    let file = &fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let there = fs::metadata(file).ok();
    if there.as_ref().is_some_and(|there| !there.is_file() && !there.is_dir()) {
        return fs::OpenOptions::new().write(true).open(file)?.write_all(text.as_bytes());
    }
    let directory = file.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    // As readable as the one that was there, or as any new file.
    let mut fresh = tempfile::Builder::new();
    fresh.prefix(".bazaar-").permissions(fs::Permissions::from_mode(0o666));
    let mut written = fresh.tempfile_in(directory)?;
    if let Some(there) = there {
        written.as_file().set_permissions(there.permissions())?;
    }
    written.as_file_mut().write_all(text.as_bytes())?;
    written.as_file().sync_all()?;
    written.persist(file)?;
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_is_replaced_where_it_is_and_a_device_is_written_to() {
        let home = tempfile::tempdir().unwrap();
        let (file, link, new) = (home.path().join("file"), home.path().join("link"), home.path().join("there/new"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        write_whole(&link, "one").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "one");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        write_whole(&new, "two").unwrap();
        fs::write(home.path().join("any"), "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&new), mode(&home.path().join("any")), "as any new file");
        write_whole(Path::new("/dev/null"), "three").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        assert!(try_write_whole(Path::new("/dev/full"), "four").is_err());
    }
}
