//! Processes of this machine by more than their number, which passes to another when they are gone (SPEC I9).

use std::{fs, io, path::Path};

use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};

pub use rustix::process::Signal;

/// One process of this machine, which no other is taken for: its number, when it began, and since which start of the
/// machine that is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessMark {
    pid: u32,
    /// In ticks since the machine was started.
    began: u64,
    boot: String,
}

impl ProcessMark {
    /// This process.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn of_this() -> io::Result<ProcessMark> {
        let pid = std::process::id();
        let stat = Stat::of(pid)?;
        Ok(ProcessMark { pid, began: stat.began, boot: boot()? })
    }

    /// Writes it into a file, for [`ProcessMark::read`].
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn leave(&self, file: &Path) -> io::Result<()> {
        fs::write(file, format!("{} {} {}\n", self.pid, self.began, self.boot))
    }

    /// The process that has left this file; `None` if none has.
    #[must_use]
    pub fn read(file: &Path) -> Option<ProcessMark> {
        let text = fs::read_to_string(file).ok()?;
        let mut words = text.split_whitespace();
        let (pid, began, boot) = (words.next()?, words.next()?, words.next()?);
        Some(ProcessMark { pid: pid.parse().ok()?, began: began.parse().ok()?, boot: boot.to_owned() })
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it still runs, or has at least not let go of everything yet.
    #[must_use]
    pub fn is_living(&self) -> bool {
        let same = |stat: Stat| stat.began == self.began && stat.has_threads;
        Stat::of(self.pid).is_ok_and(same) && boot().is_ok_and(|boot| boot == self.boot)
    }

    /// Whether it is stopped, by SIGSTOP or a terminal.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        Stat::of(self.pid).is_ok_and(|stat| stat.began == self.began && stat.is_paused)
    }

    /// Sends it a signal, and to no other that has got its number meanwhile.
    ///
    /// # Errors
    /// When it is gone ([`io::ErrorKind::NotFound`]), or may not be sent signals.
    pub fn send(&self, signal: Signal) -> io::Result<()> {
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        // The descriptor stands for one process, whichever has the number now; it is asked which only then.
        let held = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| match error {
            rustix::io::Errno::SRCH => gone(),
            other => other.into(),
        })?;
        if !self.is_living() {
            return Err(gone());
        }
        Ok(pidfd_send_signal(held, signal)?)
    }
}

/// Which start of the machine this is.
fn boot() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned())
}

/// What the kernel says about a process.
struct Stat {
    began: u64,
    is_paused: bool,
    /// Not so once all that is left of it is an entry that its parent has not collected.
    has_threads: bool,
}

impl Stat {
    fn of(pid: u32) -> io::Result<Stat> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Stat::parse(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Reads `/proc/PID/stat` (proc(5)). The name in parentheses may contain anything, so that only what follows is
    /// counted.
    fn parse(text: &str) -> Option<Stat> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // The first of these is field 3, the state.
        let field = |number: usize| fields.get(number - 3);
        let threads: u32 = field(20)?.parse().ok()?;
        let state = *field(3)?;
        let is_gone = matches!(state, "Z" | "X");
        Some(Stat { began: field(22)?.parse().ok()?, is_paused: state == "T", has_threads: !is_gone || threads > 1 })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_known_by_its_beginning_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let this = ProcessMark::of_this().unwrap();
        this.leave(&file).unwrap();
        assert_eq!(ProcessMark::read(&file), Some(this.clone()));
        assert!(this.is_living());
        // The number of a process that began at another time, or before the machine was started again.
        let earlier = ProcessMark { began: this.began - 1, ..this.clone() };
        let rebooted = ProcessMark { boot: "another".to_owned(), ..this };
        for stale in [earlier, rebooted] {
            assert!(!stale.is_living());
            assert_eq!(stale.send(Signal::KILL).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
        for nothing in ["", "17", "17 0", "x y z"] {
            fs::write(&file, nothing).unwrap();
            assert_eq!(ProcessMark::read(&file), None, "{nothing:?}");
        }
    }

    #[test]
    fn the_process_that_is_meant_is_killed() {
        let mut child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        let pid = child.id();
        let mark = ProcessMark { pid, began: Stat::of(pid).unwrap().began, boot: boot().unwrap() };
        assert!(mark.is_living());
        mark.send(Signal::KILL).unwrap();
        child.wait().unwrap();
        assert!(!mark.is_living());
        assert_eq!(mark.send(Signal::KILL).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_name_with_parentheses_is_no_field() {
        let fields = "S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 7 0 4242 0 0";
        let stat = Stat::parse(&format!("17 (a) b (c)) {fields}")).unwrap();
        assert_eq!((stat.began, stat.has_threads), (4_242, true));
        let zombie = fields.replacen('S', "Z", 1);
        assert!(Stat::parse(&format!("17 (a) {zombie}")).unwrap().has_threads, "its threads still run");
        assert!(!Stat::parse(&format!("17 (a) {}", zombie.replace(" 7 0 4242", " 1 0 4242"))).unwrap().has_threads);
        assert!(Stat::parse("17 (a").is_none());
    }
}
