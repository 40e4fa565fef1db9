//! The logs of a process: what happened to each of its peers, or to its ledger, as lines of text in their own
//! directories. One thread writes them all, so that neither a disk nor the making of a line is in the way of a purchase.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use anstream::adapter::strip_str;

use super::report::{Event, Names};
use crate::system::output::LogFile;

/// How long what happens is gathered before it is written. A process that is killed loses at most this much of its log.
const GATHERED: Duration = Duration::from_millis(10);

/// How many lines of a process may wait for a slow disk. Further ones are counted as lost.
const WAITING: usize = 65_536;

/// The log of one peer or of the ledger.
#[derive(Debug)]
pub struct Log(Arc<File>);

#[derive(Debug)]
struct File {
    file: Mutex<LogFile>,
    /// Lines that found no room to wait in, and are not noted in the file yet.
    skipped: AtomicU64,
    /// What is wrong with it: whoever asks does not wait for a disk.
    trouble: Mutex<Option<String>>,
}

impl Log {
    /// Opens the log at `path` to append to it, or creates it. `whose` it is, in words, is said if it cannot be written.
    ///
    /// # Errors
    /// When the file cannot be opened for writing.
    pub fn open(path: &Path, whose: String) -> io::Result<Log> {
        let file = Mutex::new(LogFile::open(path, whose)?);
        Ok(Log(Arc::new(File { file, skipped: AtomicU64::new(0), trouble: Mutex::default() })))
    }

    /// Appends an event as one line a moment later, or counts it as lost.
    pub fn write(&self, names: &Arc<Names>, event: Event) {
        let writer = WRITER.get_or_init(Writer::start);
        if writer.waiting.fetch_add(1, Ordering::Relaxed) < WAITING {
            let line = Line { file: Arc::clone(&self.0), names: Arc::clone(names), event };
            writer.send(Said::Line(Box::new(line)));
        } else {
            writer.waiting.fetch_sub(1, Ordering::Relaxed);
            if self.0.skipped.fetch_add(1, Ordering::Relaxed) == 0 {
                writer.send(Said::Skipped(Arc::clone(&self.0)));
            }
        }
    }

    /// What is wrong with it, in words.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Calls `then` once everything that was to be written before is written, or lost.
pub fn once_written(then: impl FnOnce() + Send + 'static) {
    WRITER.get_or_init(Writer::start).send(Said::Then(Box::new(then)));
}

/// Flushes the logs when it is dropped, however its process ends: the last lines matter most after a panic.
#[derive(Debug)]
pub struct Flushed(pub Duration);

impl Drop for Flushed {
    fn drop(&mut self) {
        flush(self.0);
    }
}

/// Waits until everything is written, but no longer than `at_most`.
fn flush(at_most: Duration) {
    if WRITER.get().is_some() {
        let (tell, told) = channel();
        once_written(move || {
            let _ = tell.send(());
        });
        // If the disk is that slow, its process does not wait for it; what is lost is only the log's end.
        let _ = told.recv_timeout(at_most);
    }
}

/// The thread that writes the logs of this process.
static WRITER: OnceLock<Writer> = OnceLock::new();

struct Writer {
    said: Sender<Said>,
    /// How many lines wait.
    waiting: AtomicUsize,
}

struct Line {
    file: Arc<File>,
    names: Arc<Names>,
    event: Event,
}

enum Said {
    Line(Box<Line>),
    /// Here, lines of this file are missing.
    Skipped(Arc<File>),
    Then(Box<dyn FnOnce() + Send>),
}

impl Writer {
    fn start() -> Writer {
        let (said, lines) = channel();
        thread::spawn(move || write_all(&lines));
        Writer { said, waiting: AtomicUsize::new(0) }
    }

    fn send(&self, said: Said) {
        // The thread lives as long as the process.
        let _ = self.said.send(said);
    }
}

/// Writes what comes. It wakes up for the first line after a pause, and then looks only now and then, so that whoever
/// has something to say rarely has to wake it.
fn write_all(said: &Receiver<Said>) {
    let mut pages = Vec::new();
    while let Ok(first) = said.recv() {
        take(first, &mut pages);
        loop {
            said.try_iter().for_each(|next| take(next, &mut pages));
            if pages.is_empty() {
                break;
            }
            write(&mut pages);
            thread::sleep(GATHERED);
        }
    }
}

/// The lines for one file that have been gathered.
struct Page {
    file: Arc<File>,
    text: String,
}

fn take(said: Said, pages: &mut Vec<Page>) {
    match said {
        Said::Line(line) => {
            if let Some(writer) = WRITER.get() {
                writer.waiting.fetch_sub(1, Ordering::Relaxed);
            }
            let Line { file, names, event } = *line;
            let text = strip_str(&names.line(&event)).to_string() + "\n";
            match pages.iter_mut().find(|page| Arc::ptr_eq(&page.file, &file)) {
                Some(page) => page.text.push_str(&text),
                None => pages.push(Page { file, text }),
            }
        }
        Said::Skipped(file) => {
            write(pages);
            pages.push(Page { file, text: String::new() });
        }
        Said::Then(then) => {
            write(pages);
            then();
        }
    }
}

fn write(pages: &mut Vec<Page>) {
    for Page { file, text } in pages.drain(..) {
        let skipped = file.skipped.swap(0, Ordering::Relaxed);
        let mut log = file.file.lock().unwrap_or_else(PoisonError::into_inner);
        log.append(&text, skipped);
        *file.trouble.lock().unwrap_or_else(PoisonError::into_inner) = log.trouble();
    }
}
