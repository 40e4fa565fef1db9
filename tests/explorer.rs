//! The Explorer as people use it: in a browser, from its first page to a history, its picture and the violation in it;
//! and how it starts and ends.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod browser;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use bazaar_model::{catalogue, subject::scenario::Extent};
use browser::{BOUND, Browser, ended};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use thirtyfour::{
    By,
    error::{WebDriverErrorInner, WebDriverResult},
};

/// The scenario that is explored; it is small enough to be searched completely in a second or two.
const SCENARIO: &str = "renewals";

/// What the tests expect to see of it.
struct Explored {
    lanes: &'static [&'static str],
    /// Parts of the portrait of the first state.
    at_first: &'static [&'static str],
    /// Part of the sentence of a step that can be taken at first, and part of the portrait after it.
    step: (&'static str, &'static str),
    /// The beginning of a line with a link; and parts of the last sentence, of the portrait and of the picture there.
    link: (&'static str, &'static str, &'static str, &'static str),
    /// A mutant, and the property it breaks first.
    mutant: (&'static str, &'static str),
}

const EXPLORED: Explored = Explored {
    lanes: &["trader 0", "trader 1", "buyer 2", "ledger"],
    at_first: &["trader 0: clock 1", "ledger: no term yet, head 0", "holds here: S1 S2 "],
    step: ("trader 0 is made to stand for office", "trader 0: clock 1, reads the books"),
    link: (
        "a trader is fenced (",
        "trader 0 hears from the ledger \"fenced: ",
        "ledger: epoch 2 of peer 1 (live), head 2",
        "trader of epoch 1",
    ),
    mutant: ("settled-by-position", "S12: the books are the fold of the log"),
};

/// The command `bazaar-model explore`, with or without a mutant.
fn explorer(mutant: Option<&str>, address: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bazaar-model"));
    command.args(["explore", SCENARIO, "--address", address]);
    command.args(mutant.iter().flat_map(|mutant| ["--mutant", mutant]));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A running Explorer, in a process of its own.
struct Running {
    child: Child,
    /// The address of its page.
    page: String,
    /// The lines it printed before that address.
    said: Vec<String>,
}

impl Running {
    fn start(mut command: Command) -> Running {
        let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
        let out = child.stdout.take().unwrap();
        let mut running = Running { child, page: String::new(), said: Vec::new() };
        let (lines, line) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        let begun = Instant::now();
        while running.page.is_empty() {
            match line.recv_timeout(BOUND.saturating_sub(begun.elapsed())) {
                Ok(line) => match line.strip_prefix("Explorer: ") {
                    Some(page) => running.page = page.to_owned(),
                    None => running.said.push(line),
                },
                Err(error) => panic!("the Explorer does not start ({error}); it said {:#?}", running.said),
            }
        }
        running
    }

    fn tell(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command that must soon end; returns its exit code and what it printed on both streams.
fn refused(mut command: Command) -> (Option<i32>, String) {
    let mut child = command.spawn().unwrap();
    let code = ended(&mut child, BOUND);
    if code.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (code.unwrap_or_else(|| panic!("it does not end: {said}")), said)
}

/// The Explorer's page in the browser.
struct Page<'a>(&'a Browser);

impl Page<'_> {
    /// Waits until a visible element of this kind contains this text, and returns all of its text. The page replaces
    /// its elements whenever it hears from the Explorer, so a single script reads them all.
    async fn sees(&self, css: &str, text: &str) -> WebDriverResult<String> {
        let begun = Instant::now();
        loop {
            let seen = self.seen(css).await?;
            if let Some(found) = seen.iter().find(|seen| seen.contains(text)) {
                return Ok(found.clone());
            }
            assert!(begun.elapsed() < BOUND, "no visible {css} contains {text:?}: {seen:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The texts of all visible elements of this kind.
    async fn seen(&self, css: &str) -> WebDriverResult<Vec<String>> {
        let script = "return [...document.querySelectorAll(arguments[0])]
            .filter(element => element.checkVisibility() && element.getBoundingClientRect().height > 0)
            .map(element => element.textContent)";
        self.0.session.execute(script, vec![css.into()]).await?.convert()
    }

    /// Clicks the first element of this kind that contains this text, once there is one.
    async fn press(&self, css: &str, text: &str) -> WebDriverResult<()> {
        let begun = Instant::now();
        loop {
            self.sees(css, text).await?;
            match self.try_press(css, text).await {
                Ok(true) => return Ok(()),
                // The page has replaced it meanwhile.
                Ok(false) => {}
                Err(error) if matches!(*error, WebDriverErrorInner::StaleElementReference(_)) => {}
                Err(error) => return Err(error),
            }
            assert!(begun.elapsed() < BOUND, "{css} with {text:?} never holds still");
        }
    }

    async fn try_press(&self, css: &str, text: &str) -> WebDriverResult<bool> {
        for element in self.0.session.find_all(By::Css(css)).await? {
            if element.prop("textContent").await?.is_some_and(|content| content.contains(text)) {
                element.click().await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Saves a screenshot as `NAME.png` in cargo's directory for files of tests (`target/tmp`).
    ///
    /// `docs/explorer.png` is the one that `a_history_can_be_followed_in_a_browser` takes; copy it when the page has
    /// changed: `cp target/tmp/explorer.png docs/`.
    async fn shoot(&self, name: &str) -> WebDriverResult<()> {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
        self.0.session.screenshot(&path).await
    }
}

const STATUS: &str = "nav > ul li";
const CHOICE: &str = "nav > ul a";
const STATE: &str = "section > div.font-small";
const PICTURE: &str = "section svg";
const RED: &str = "section svg text[fill='#cf222e']";

#[tokio::test]
async fn a_history_can_be_followed_in_a_browser() -> WebDriverResult<()> {
    let Some(installed) = browser::installed("a_history_can_be_followed_in_a_browser") else { return Ok(()) };
    let running = Running::start(explorer(None, "127.0.0.1:0"));
    let browser = installed.start().await;
    let page = Page(&browser);

    browser.session.goto(&running.page).await?;
    page.press("button", "Run to completion").await?;
    page.sees(STATUS, "Done").await?;
    page.sees(STATUS, "Safety holds").await?;
    let states = catalogue::named(SCENARIO).and_then(|scenario| scenario.recorded(Extent::Default)).unwrap();
    assert!(states > 1000, "{SCENARIO} shows nothing");
    let unique = page.sees(STATUS, "Unique States:").await?;
    let shown: String = unique.chars().filter(char::is_ascii_digit).collect();
    assert_eq!(shown, states.to_string(), "unique states, found and recorded");

    // The page opens on the first state, and says what it is about.
    for expected in EXPLORED.at_first {
        page.sees(STATE, expected).await?;
    }
    page.press(CHOICE, EXPLORED.step.0).await?;
    let new = format!("\n» {}", EXPLORED.step.1);
    page.sees(STATE, &new).await?;
    page.sees(".path-list a", EXPLORED.step.0).await?;
    let picture = page.sees(PICTURE, "").await?;
    for lane in EXPLORED.lanes {
        assert!(picture.contains(lane), "{lane} has no lane in: {picture}");
    }

    let (line, sentence, portrait, drawn) = EXPLORED.link;
    page.sees("#bazaar", &format!("Scenario {SCENARIO}: ")).await?;
    page.press("#bazaar a", line).await?;
    page.sees(".path-list a.is-selected-state", sentence).await?;
    page.sees(STATE, portrait).await?;
    page.sees(PICTURE, drawn).await?;
    // As much of the page as the README has room for.
    browser.session.set_window_rect(0, 0, 1400, 1043).await?;
    browser.session.execute("document.body.style.zoom = 0.76", vec![]).await?;
    page.shoot("explorer").await?;
    browser.session.execute("document.body.style.zoom = 1", vec![]).await?;

    // The portrait alone, line by line.
    page.press("label", "Complete State?").await?;
    page.sees(STATE, &format!("\n{portrait}\n")).await?;
    browser.session.clone().quit().await
}

#[tokio::test]
async fn the_violation_of_a_mutant_is_marked_in_a_browser() -> WebDriverResult<()> {
    let Some(installed) = browser::installed("the_violation_of_a_mutant_is_marked_in_a_browser") else { return Ok(()) };
    let running = Running::start(explorer(Some(EXPLORED.mutant.0), "127.0.0.1:0"));
    let browser = installed.start().await;
    let page = Page(&browser);

    let (mutant, breaks) = EXPLORED.mutant;
    // The page opens on the violation.
    browser.session.goto(&running.page).await?;
    page.sees("#bazaar", &format!("Mutant {mutant}: ")).await?;
    page.sees(RED, "Violated").await?;
    page.sees(STATE, "VIOLATED HERE: ").await?;
    page.press("button", "Run to completion").await?;
    page.sees(STATUS, &format!("Always {breaks}")).await?;
    page.shoot("explorer-violation").await?;

    page.press(CHOICE, breaks).await?;
    page.sees(RED, "Violated").await?;
    browser.session.clone().quit().await
}

#[test]
fn it_ends_on_an_interrupt_or_a_termination_signal() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut running = Running::start(explorer(None, "127.0.0.1:0"));
        running.tell(signal);
        assert_eq!(ended(&mut running.child, BOUND), Some(Some(0)), "{signal}");
    }
}

#[test]
fn it_listens_only_on_a_loopback_address() {
    let (code, said) = refused(explorer(None, "0.0.0.0:0"));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("0.0.0.0:0: not a loopback address"), "{said}");
}

#[test]
fn it_refuses_a_taken_port() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let (code, said) = refused(explorer(None, &address));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(&format!("{address}: nothing can listen there")), "{said}");
}

#[test]
fn it_serves_its_own_page_in_any_working_directory() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("ui")).unwrap();
    std::fs::write(folder.path().join("ui/index.htm"), "somebody else's").unwrap();
    let mut command = explorer(None, "127.0.0.1:0");
    command.current_dir(folder.path());
    let running = Running::start(command);
    let page = get(&running.page);
    assert!(page.contains("Stateright Explorer") && !page.contains("somebody else's"), "{page}");
}

/// The complete response from this address.
fn get(page: &str) -> String {
    let address = page.strip_prefix("http://").unwrap().trim_end_matches('/');
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
