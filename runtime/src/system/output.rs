//! Standard output and logs: a text is written, or there is an error that says where it should have gone. Only a reader
//! that has gone away is no error: it has seen what it wanted (SPEC I2).

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
    thread,
    time::Duration,
};

use anstream::{AutoStream, ColorChoice, adapter::strip_str};
use anstyle::{AnsiColor, Style};
use bazaar_protocol::text::visible;

/// An output cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {name}: {error}")]
pub struct OutputError {
    /// The output, as people know it: `standard output`, or a file's path.
    pub name: String,
    /// The operating system's error.
    pub error: io::Error,
}

/// Whether somebody still reads an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// As far as can be told.
    There,
    /// It has closed its end.
    Gone,
}

/// Writes a text to standard output, all of it. Escape sequences for colours are removed unless colours are wanted.
///
/// # Errors
/// When it cannot be written, for another reason than that its reader has gone away.
pub fn print(text: &str) -> Result<Reader, OutputError> {
    static OUT: OnceLock<Mutex<WholeLines<Standard>>> = OnceLock::new();
    let out = OUT.get_or_init(|| Mutex::new(WholeLines::new(Standard(standard_output()), false)));
    let written = match AutoStream::choice(&io::stdout()) {
        ColorChoice::Never => out.lock().unwrap_or_else(PoisonError::into_inner).write(&strip_str(text).to_string()),
        ColorChoice::Auto | ColorChoice::Always | ColorChoice::AlwaysAnsi => {
            out.lock().unwrap_or_else(PoisonError::into_inner).write(text)
        }
    };
    match written {
        Ok(()) => Ok(Reader::There),
        Err(CutShort { error, .. }) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(CutShort { error, .. }) => Err(OutputError { name: "standard output".to_owned(), error }),
    }
}

/// Writes a line to standard error, harmless to the terminal. If that fails, there is nobody left to tell.
pub fn complain(line: &str) {
    let _ = writeln!(anstream::stderr(), "{}", visible(line));
}

/// Says why a command fails, on standard error.
pub fn fail(why: &str) {
    let red = Style::new().fg_color(Some(AnsiColor::Red.into())).bold();
    let _ = writeln!(anstream::stderr(), "{red}error:{red:#} {}", visible(why));
}

/// A path as it is shown to people: harmless to their terminal, and told apart from others if it is not text.
#[must_use]
pub fn shown(path: &Path) -> String {
    path.to_str().map_or_else(|| format!("{path:?}"), visible)
}

/// The descriptor itself: the library's buffer would not say how much of a text was written.
fn standard_output() -> io::Result<File> {
    io::stdout().as_fd().try_clone_to_owned().map(File::from)
}

/// Standard output; an error if there is no descriptor left for it.
struct Standard(io::Result<File>);

impl Write for Standard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        const PAUSE: Duration = Duration::from_millis(5);
        let file = self.0.as_mut().map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
        loop {
            match file.write(bytes) {
                // Whoever shares it has made it non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A text was not written to its end.
#[derive(Debug)]
struct CutShort {
    /// How many of its lines are not there, or not whole.
    lost: u64,
    error: io::Error,
}

/// Writes texts of whole lines. After one that was cut short, because the disk was full for a while, the next begins on
/// a line of its own.
#[derive(Debug)]
struct WholeLines<W> {
    out: W,
    is_torn: bool,
}

impl<W: Write> WholeLines<W> {
    fn new(out: W, is_torn: bool) -> WholeLines<W> {
        WholeLines { out, is_torn }
    }

    fn write(&mut self, text: &str) -> Result<(), CutShort> {
        let mut rest = text.as_bytes();
        self.write_from(&mut rest).map_err(|error| CutShort { lost: newlines(rest), error })
    }

    /// Leaves in `rest` what was not written.
    fn write_from(&mut self, rest: &mut &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.out.write_all(b"\n")?;
            self.is_torn = false;
        }
        while !rest.is_empty() {
            match self.out.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    let (done, left) = rest.split_at(written.min(rest.len()));
                    self.is_torn = done.last() != Some(&b'\n');
                    *rest = left;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.flush()
    }
}

/// A log that its process can do without: what cannot be written is counted, said on standard error when it begins,
/// and noted in the log itself once it can be written again (SPEC I3).
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    /// Whose it is, in words.
    whose: String,
    lines: WholeLines<File>,
    /// How many lines were lost since the last one that was written.
    lost: u64,
    /// How many lines were lost in all, and why the last of them was.
    trouble: Option<(u64, String)>,
}

impl LogFile {
    /// Opens the log at `path` to append to it, or creates it.
    ///
    /// # Errors
    /// When the file cannot be opened for writing.
    pub fn open(path: &Path, whose: String) -> io::Result<LogFile> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let is_torn = is_torn(&mut file)?;
        Ok(LogFile { path: path.to_owned(), whose, lines: WholeLines::new(file, is_torn), lost: 0, trouble: None })
    }

    /// Appends lines, each with its line break, or counts them as lost; so many are lost already that should have come
    /// before them. At the first that is lost this is said on standard error.
    pub fn append(&mut self, lines: &str, skipped: u64) {
        if skipped > 0 {
            self.lose(skipped, "too many at once for the disk");
        }
        let gap = match self.lost {
            0 => String::new(),
            lost => format!("(lines are missing here, which could not be written: {lost})\n"),
        };
        // The gap's line is none of those that can be lost.
        let written = self.lines.write(&gap).map_err(|error| CutShort { lost: newlines(lines.as_bytes()), ..error });
        let written = written.and_then(|()| {
            self.lost = 0;
            self.lines.write(lines)
        });
        if let Err(CutShort { lost, error }) = written {
            self.lose(lost, &error.to_string());
        }
    }

    fn lose(&mut self, lines: u64, why: &str) {
        if self.lost == 0 {
            complain(&format!(
                "warning: {} cannot write {}: {why}; it goes on without until it can",
                self.whose,
                self.path.display()
            ));
        }
        self.lost += lines;
        let lost = self.trouble.as_ref().map_or(0, |(lost, _)| *lost) + lines;
        self.trouble = Some((lost, why.to_owned()));
    }

    /// What is wrong with it, in words: how many lines are missing and why.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let (lost, why) = self.trouble.as_ref()?;
        Some(format!("lines missing from {}, which could not be written: {lost} ({why})", self.path.display()))
    }
}

fn newlines(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Whether a file ends in mid-line.
fn is_torn(file: &mut File) -> io::Result<bool> {
    let mut last = [b'\n'];
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    Ok(last != [b'\n'])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A disk with room for so many bytes.
    struct Disk {
        written: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            let fits = bytes.len().min(self.room);
            self.written.extend_from_slice(&bytes[..fits]);
            self.room -= fits;
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn wherever_a_line_was_torn_the_next_has_a_line_of_its_own() {
        for room in 0..=10 {
            let mut lines = WholeLines::new(Disk { written: Vec::new(), room }, false);
            let fits = lines.write("one\n").is_ok() as usize + lines.write("two\n").is_ok() as usize;
            assert_eq!(fits, room / 4);
            lines.out.room = 100;
            lines.write("three\n").unwrap();
            let written = String::from_utf8(lines.out.written).unwrap();
            assert!(written.lines().any(|line| line == "three") && written.ends_with("three\n"), "{room}: {written:?}");
            assert!(written.lines().filter(|line| ["one", "two"].contains(line)).count() >= fits, "{written:?}");
        }
    }

    #[test]
    fn a_log_that_was_left_torn_goes_on_with_a_line_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        for (before, after) in [("", "new\n"), ("old\n", "old\nnew\n"), ("ol", "ol\nnew\n")] {
            std::fs::write(&path, before).unwrap();
            LogFile::open(&path, "it".to_owned()).unwrap().append("new\n", 0);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
        }
    }

    #[test]
    fn a_log_says_how_many_lines_it_lacks() {
        let full = || LogFile {
            path: "/dev/full".into(),
            whose: "it".to_owned(),
            lines: WholeLines::new(OpenOptions::new().append(true).open("/dev/full").unwrap(), false),
            lost: 0,
            trouble: None,
        };
        let mut log = full();
        assert_eq!(log.trouble(), None);
        log.append("one\n", 0);
        log.append("two\n", 0);
        let trouble = log.trouble().unwrap();
        assert!(trouble.contains("/dev/full") && trouble.contains(": 2 (No space left"), "{trouble}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        log.lines = LogFile::open(&path, "it".to_owned()).unwrap().lines;
        log.append("three\n", 0);
        log.append("four\n", 0);
        let written = std::fs::read_to_string(&path).unwrap();
        assert_eq!(written, "(lines are missing here, which could not be written: 2)\nthree\nfour\n");
        assert!(log.trouble().is_some(), "they are still missing");
    }
}
