//! The signals that end a process cleanly, and the one that must not end it.

use std::{
    fs, io,
    sync::{Arc, atomic::AtomicBool},
};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
};

/// The signals that ask a process to stop: SIGINT, SIGTERM, and SIGHUP from a terminal that is closed.
#[derive(Debug)]
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    /// `None` if this process was started to outlive its terminal, as `nohup` does.
    hangup: Option<Signal>,
}

impl StopSignals {
    /// Catches them from now on.
    ///
    /// # Errors
    /// When signals cannot be received.
    pub fn catch() -> io::Result<StopSignals> {
        Ok(StopSignals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: if is_ignored(SIGHUP) { None } else { Some(signal(SignalKind::hangup())?) },
        })
    }

    /// Waits for the next of them.
    pub async fn arrived(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }
}

/// Becomes true when this process is told to stop: by a signal or, with `until_stdin_closes`, by the end of its
/// standard input.
///
/// # Errors
/// When signals cannot be received.
pub fn stop_signal(until_stdin_closes: bool) -> io::Result<watch::Receiver<bool>> {
    let mut signals = StopSignals::catch()?;
    let (stop, stopping) = watch::channel(false);
    let (closed, mut input_closed) = mpsc::channel::<()>(1);
    if until_stdin_closes {
        // A thread, since a blocking read of standard input cannot be cancelled.
        std::thread::spawn(move || {
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            drop(closed);
        });
    }
    tokio::spawn(async move {
        tokio::select! {
            () = signals.arrived() => {}
            _ = input_closed.recv(), if until_stdin_closes => {}
        }
        let _ = stop.send(true);
    });
    Ok(stopping)
}

/// A mark that is set once this process is told to stop by a signal, for work that looks now and then whether it should go
/// on.
///
/// # Errors
/// When signals cannot be received.
pub fn stop_mark() -> io::Result<Arc<AtomicBool>> {
    let mark = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if !is_ignored(signal) {
            signal_hook::flag::register(signal, Arc::clone(&mark))?;
        }
    }
    Ok(mark)
}

/// Makes a write beyond the limit for the size of a file fail with an error that can be reported. Otherwise SIGXFSZ ends
/// the process without a word.
///
/// # Errors
/// When the signal cannot be caught.
pub fn survive_file_size_limits() -> io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop)
}

/// Whether this process ignores a signal. Asked of the kernel, since catching the signal is what would change it.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask >> (signal - 1) & 1 == 1
}
