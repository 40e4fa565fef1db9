//! The Explorer's page, with what stateright cannot know on it: which scenario it is, which mutant is on, and links to
//! what is worth seeing. stateright takes its page from a directory `ui` in the working directory, if there is one; so
//! this one is its own page, with a panel, in a directory of ours.

use std::{
    env, fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use tempfile::TempDir;

/// How long the page may take to come.
const DEADLINE: Duration = Duration::from_secs(10);

/// What is on the panel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Panel {
    /// The scenario and what runs in it.
    pub scenario: String,
    /// The mutant that is on and what it breaks, if one is.
    pub mutant: Option<String>,
    /// What the links lead to, and where; the page opens on the first.
    pub links: Vec<(String, String)>,
    /// What there is no link to, and why.
    pub notes: Vec<String>,
}

/// A working directory for stateright in which nobody else puts a page. It is removed with this.
#[derive(Debug)]
pub struct Place(TempDir);

impl Place {
    /// Makes the directory and goes there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn enter() -> io::Result<Place> {
        let place = tempfile::Builder::new().prefix("bazaar-explorer-").tempdir()?;
        env::set_current_dir(place.path())?;
        Ok(Place(place))
    }

    /// Puts the panel on the page that is served at this address.
    ///
    /// # Errors
    /// When the page does not come, or is not the page that is known.
    pub fn put(&self, panel: &Panel, address: SocketAddr) -> io::Result<()> {
        let page = get(address)?;
        let with_panel = panel
            .on(&page)
            .ok_or_else(|| io::Error::other("stateright's page has changed, so it has no links: take those above"))?;
        let ui = self.0.path().join("ui");
        fs::create_dir(&ui)?;
        fs::write(ui.join("index.htm"), with_panel)
    }
}

impl Panel {
    /// The page with this panel; `None` if it has no place for it.
    fn on(&self, page: &str) -> Option<String> {
        const TITLE: &str = "<title>Stateright Explorer</title>";
        const PLACE: &str = "<main ";
        if !page.contains(TITLE) || !page.contains(PLACE) {
            return None;
        }
        let name = self.scenario.split(':').next().unwrap_or_default();
        let title = format!("<title>{} – Stateright Explorer</title>", escaped(name));
        let mut panel = format!(
            "<section id=\"bazaar\" style=\"padding: 0.5em 1em\">\n<div><b>Scenario {}</b></div>\n",
            escaped(&self.scenario)
        );
        if let Some(mutant) = &self.mutant {
            panel.push_str(&format!("<div><b>Mutant {}</b></div>\n", escaped(mutant)));
        }
        let link =
            |(words, fragment): &(String, String)| format!("<a href=\"{}\">{}</a>", escaped(fragment), escaped(words));
        let links = self.links.iter().map(link).collect::<Vec<_>>().join(" · ");
        panel.push_str(&format!("<div>Worth seeing: {links}</div>\n"));
        for note in &self.notes {
            panel.push_str(&format!("<div>{}</div>\n", escaped(note)));
        }
        if let Some((_, first)) = self.links.first() {
            // Before stateright's script looks where it is.
            let first = escaped(first);
            panel.push_str(&format!("<script>if (!location.hash) location.replace(\"{first}\");</script>\n"));
        }
        panel.push_str("</section>\n");
        Some(page.replacen(TITLE, &title, 1).replacen(PLACE, &(panel + PLACE), 1))
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The page that is served at this address.
fn get(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    // Of HTTP 1.0 the body is all that comes after the empty line, up to the end.
    write!(stream, "GET / HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (_, page) = text.split_once("\r\n\r\n").ok_or_else(|| io::Error::other("no page"))?;
    Ok(page.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_gets_a_panel_with_what_people_wrote_escaped() {
        let page = "<head><title>Stateright Explorer</title></head><body><main class=\"x\"></main></body>";
        let panel = Panel {
            scenario: "renewals: a <b> & more".to_owned(),
            mutant: Some("unfenced: no fence".to_owned()),
            links: vec![("a sale (2 steps)".to_owned(), "#/steps/0/1".to_owned())],
            notes: vec!["nothing else".to_owned()],
        };
        let with = panel.on(page).unwrap();
        for part in [
            "<title>renewals – Stateright Explorer</title>",
            "Scenario renewals: a &lt;b&gt; &amp; more",
            "Mutant unfenced: no fence",
            "<a href=\"#/steps/0/1\">a sale (2 steps)</a>",
            "location.replace(\"#/steps/0/1\")",
            "nothing else",
            "</section>\n<main class=\"x\">",
        ] {
            assert!(with.contains(part), "{part} is not in {with}");
        }
        assert_eq!(Panel::default().on("another page"), None);
    }
}
