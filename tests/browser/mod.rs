//! A headless browser, driven through chromedriver, that leaves nothing behind.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use thirtyfour::{ChromiumLikeCapabilities, DesiredCapabilities, WebDriver};

/// The longest that anything here may take.
pub const BOUND: Duration = Duration::from_secs(60);

/// The installed browser and driver. If either is missing, `None`, with a message that bypasses libtest's capture, or a
/// failure if `BAZAAR_BROWSER_REQUIRED` is set.
pub fn installed(test: &str) -> Option<Installed> {
    let driver = on_the_path(&["chromedriver"]);
    let browser = on_the_path(&["chromium", "chromium-browser", "google-chrome", "chrome"]);
    if let (Some(driver), Some(browser)) = (driver.clone(), browser.clone()) {
        return Some(Installed { driver, browser });
    }
    let missing = format!("chromedriver: {driver:?}, chromium: {browser:?}");
    assert!(env::var_os("BAZAAR_BROWSER_REQUIRED").is_none(), "a browser is required here; {missing}");
    // libtest captures the output of the printing macros but not this.
    let _ = writeln!(std::io::stderr().lock(), "SKIPPED {test}: no browser here ({missing})");
    None
}

fn on_the_path(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let places = names.iter().flat_map(|name| env::split_paths(&path).map(move |folder| folder.join(name)));
    places.into_iter().find(|place| place.is_file())
}

/// The paths of a browser and its driver.
pub struct Installed {
    driver: PathBuf,
    browser: PathBuf,
}

impl Installed {
    /// Starts both, with an empty profile.
    pub async fn start(&self) -> Browser {
        let profile = TempDir::new().unwrap();
        let mut command = Command::new(&self.driver);
        // Port 0: it takes a free port and says which.
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let said = child.stdout.take().unwrap();
        let mut driver = Driver { child, port: None, profile };
        let (lines, line) = mpsc::channel();
        thread::spawn(move || {
            // Read to the end, so that the driver never waits for a reader.
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        let begun = Instant::now();
        let port = loop {
            let line = line.recv_timeout(BOUND.saturating_sub(begun.elapsed())).expect("chromedriver says its port");
            let port = line.strip_prefix("ChromeDriver was started successfully on port ");
            if let Some(port) = port.and_then(|port| port.trim_end_matches('.').parse::<u16>().ok()) {
                break port;
            }
        };
        driver.port = Some(port);

        let mut capabilities = DesiredCapabilities::chrome();
        capabilities.set_binary(self.browser.to_str().unwrap()).unwrap();
        let profile = format!("--user-data-dir={}", driver.profile.path().display());
        for flag in [
            "--headless",
            // Safe, since only pages of this machine are opened.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--no-proxy-server",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--window-size=1600,1200",
            &profile,
        ] {
            capabilities.add_arg(flag).unwrap();
        }
        // No proxy: everything is on this machine.
        let client = reqwest::Client::builder().no_proxy().timeout(BOUND).build().unwrap();
        let session =
            WebDriver::builder(format!("http://127.0.0.1:{port}"), capabilities).client(client).await.unwrap();
        Browser { session, _driver: driver }
    }
}

/// A running browser. Fields are dropped in this order.
pub struct Browser {
    /// The session through which it is driven.
    pub session: WebDriver,
    _driver: Driver,
}

/// The driver's process.
struct Driver {
    child: Child,
    port: Option<u16>,
    profile: TempDir,
}

impl Drop for Driver {
    fn drop(&mut self) {
        // When asked to shut down, the driver also ends its browser.
        if let Some(port) = self.port {
            let _ = shut_down(port);
            let _ = ended(&mut self.child, Duration::from_secs(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // If the driver was slow, the browser is still running. No other process uses this profile.
        for process in users_of(self.profile.path()) {
            let _ = kill(process, Signal::SIGKILL);
        }
    }
}

fn shut_down(port: u16) -> std::io::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /shutdown HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    let _ = stream.read(&mut [0; 64])?;
    Ok(())
}

/// The processes that were started with this profile.
fn users_of(profile: &Path) -> Vec<Pid> {
    let profile = format!("--user-data-dir={}", profile.display());
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let uses = |number: &i32| {
        let words = fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).any(|word| word == profile.as_bytes())
    };
    numbers.filter(uses).map(Pid::from_raw).collect()
}

/// Waits up to `bound` for a process to end: `None` if it did not, otherwise its exit code unless a signal ended it.
pub fn ended(child: &mut Child, bound: Duration) -> Option<Option<i32>> {
    let begun = Instant::now();
    while begun.elapsed() < bound {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status.code());
        }
        thread::sleep(Duration::from_millis(10));
    }
    None
}
