//! The gallery of defeats: what happens when a safety line is removed, as a page with pictures.

use std::{fmt::Write as _, io, path::Path};

use bazaar_model_mutants::protocol::mutant::{self, Mutant};
use bazaar_model_mutants::search::mutants::Finding;

use super::output::{write_json, write_whole};

/// The text beside one picture: what the defeat teaches, and which real systems suffered it.
struct Defeat {
    mutant: Mutant,
    title: &'static str,
    story: &'static str,
    real: Option<&'static str>,
}

const DEFEATS: &[Defeat] = &[
    Defeat {
        mutant: Mutant::NoFence,
        title: "The trader that did not know it was deposed",
        story: "A trader is slow, not dead. Another one claims the next epoch and serves; then the first trader's \
                batch arrives, and nobody checks its epoch or its position. Records planned from outdated books end up \
                in the log after newer ones. No election prevents this: both traders did as they should.",
        real: Some(
            "MongoDB's first election protocol (version 0) let two primaries acknowledge writes, and rolled back those \
             of one; version 1 put a term into every write. Elasticsearch's Zen discovery lost acknowledged writes in \
             the same way until it was replaced by a quorum with terms. This project's reference implementation had \
             two traders at once, one of which was seen running two loops.",
        ),
    },
    Defeat {
        mutant: Mutant::AnnouncesOnWinning,
        title: "The textbook Bully algorithm",
        story: "A winner announces itself and is believed. When a message is late, two peers win, and each is right by \
                everything it knows.",
        real: Some(
            "Bully is safe only where messages and processes meet their deadlines (Garcia-Molina 1982). Every check of \
             a published or widely used implementation has found violations, two of them in an Erlang library's \
             election (FATES 2004).",
        ),
    },
    Defeat {
        mutant: Mutant::ClaimsUnread,
        title: "Read, then claim",
        story: "A claimant has read the books up to one head and claims at another, because it was told that the head \
                has moved. It has never seen what was written in between. Fencing and having read everything must be \
                one compare-and-set.",
        real: None,
    },
    Defeat {
        mutant: Mutant::SettledByPosition,
        title: "The wrong receipt",
        story: "A renewal is an empty append, so it does not move the head, and the next batch has the same epoch and \
                the same position. A late copy of the renewal's answer is taken for the answer to the batch, and the \
                buyer gets a receipt for a sale that is in no book. The first design of this protocol had this fault, \
                and it took a model to find it.",
        real: None,
    },
    Defeat {
        mutant: Mutant::AcknowledgedBeforeDurable,
        title: "Written is not durable",
        story: "The ledger answers once it has written, power fails before the sync, and the acknowledged batch is \
                gone.",
        real: Some(
            "The reference implementation saved its queue late and not atomically. In the store used here, `flush` \
             stops short of an fsync (sled #1452), so this project adds one.",
        ),
    },
    Defeat {
        mutant: Mutant::UnsyncedReads,
        title: "Read before it was durable",
        story: "A claimant is shown records that are written and not yet durable; the ledger crashes, and the claimant \
                knows records that no longer exist. Reads and refusals, too, must come from the durable prefix.",
        real: None,
    },
    Defeat {
        mutant: Mutant::TermResumedAfterRestart,
        title: "Back from the dead, in office",
        story: "A trader crashes, comes back, finds its term still open and resumes it. What its former life sent is \
                still under way: two processes share one epoch.",
        real: None,
    },
    Defeat {
        mutant: Mutant::DepositNumberReused,
        title: "The same number, twice",
        story: "A seller restarts and numbers its deposits from 1 again. Two different deposits share one name, and \
                which of them counts depends on which arrives first.",
        real: None,
    },
    Defeat {
        mutant: Mutant::DepositPredecessorUnchecked,
        title: "Asked, and asked again",
        story: "A seller restarts, asks, hears that it has nothing in the books, and deposits; then the deposit of its \
                former life arrives as well. Each was admitted by a rule that looked at it in isolation.",
        real: None,
    },
    Defeat {
        mutant: Mutant::StockUnchecked,
        title: "The fish that were not there",
        story: "Two buyers, one fish. Both are served.",
        real: Some("According to its own log, the reference implementation sold 105 units, 16 of which did not exist."),
    },
    Defeat {
        mutant: Mutant::LargestStampFirst,
        title: "Served out of turn",
        story: "Of two requests in the queue, the one with the later stamp is served first.",
        real: Some(
            "In the reference implementation's own log, 5 of 159 requests were served after one that was \
                    stamped later.",
        ),
    },
    Defeat {
        mutant: Mutant::CommissionRoundedTwice,
        title: "A cent in between",
        story: "Commission and earnings are each rounded down. Now and then a cent belongs to nobody.",
        real: Some("The reference implementation computed money in floating point and never booked the commission."),
    },
    Defeat {
        mutant: Mutant::ClockResetOnStepDown,
        title: "The clock that went back",
        story: "A peer steps down and restarts its clock at 0. What it stamps from now on looks older than what it \
                stamped before.",
        real: Some("The reference implementation did this at every resignation."),
    },
    Defeat {
        mutant: Mutant::IdsComparedByLastDigit,
        title: "Peer 9 is higher than peer 10",
        story: "Ids are compared by their last digit.",
        real: Some("The reference implementation did this: its elections were wrong with eleven or more peers."),
    },
    Defeat {
        mutant: Mutant::SilenceForgotten,
        title: "The winner that can never claim",
        story: "Only the highest peer is cut off from the ledger. It wins, cannot claim, gives up, and wins again, for \
                ever: nobody else gets a turn.",
        real: None,
    },
    Defeat {
        mutant: Mutant::ContestedAndIsolatedStays,
        title: "The trader that nobody hears",
        story: "A trader is cut off from all its neighbours but not from the ledger. It renews its term for ever and \
                serves nobody; the others claim in vain.",
        real: None,
    },
    Defeat {
        mutant: Mutant::HearsayPassedOn,
        title: "Two peers keep a dead trader alive",
        story: "Each asks the other whether it hears the trader, and each says yes because the other said so.",
        real: None,
    },
    Defeat {
        mutant: Mutant::ToldOnArrival,
        title: "A promise from memory",
        story: "A buyer is told that its request waits as soon as the request arrives. The trader dies, and the \
                request is in no book.",
        real: None,
    },
];

/// Whether the gallery shows this mutant.
pub fn shows(mutant: Mutant) -> bool {
    DEFEATS.iter().any(|defeat| defeat.mutant == mutant)
}

/// Writes the page, and for each defeat a picture and a history.
pub fn write_page(directory: &Path, findings: &[Finding]) -> io::Result<()> {
    let mut page = String::from(
        "# Gallery of defeats\n\nEach picture is the shortest history in which a property fails once one safety line \
         of the protocol is removed or weakened; the model finds it by breadth-first search. The unmutated protocol \
         passes the same scenario (`bazaar-model mutants` checks both).\n\nMade by `cargo run --release --bin \
         bazaar-model -- mutants --gallery docs/defeats`; each history can be followed step by step with `bazaar-model \
         replay docs/defeats/NAME.json`.\n",
    );
    for Defeat { mutant: broken, title, story, real } in DEFEATS {
        let finding = findings.iter().find(|finding| finding.mutant == broken.name());
        let Some((finding, trace)) = finding.and_then(|finding| Some((finding, finding.trace.as_ref()?))) else {
            continue;
        };
        let name = broken.name();
        // Writing to a string does not fail.
        let _ = write!(page, "\n## {title}\n\n{}\n\n", sentence(finding.sentence));
        let _ = write!(page, "{story}\n\n");
        if let Some(real) = real {
            let _ = write!(page, "**In the field.** {real}\n\n");
        }
        for site in sites(*broken) {
            let _ = write!(
                page,
                "`protocol/src/{}`, the right branch \
                              first:\n\n```rust\n{}\n```\n\n",
                site.file, site.text
            );
        }
        let _ = write!(
            page,
            "Fails: {} ({}), in scenario `{}` after {} steps.\n\n![{title}]({name}.svg)\n\n",
            finding.property,
            finding.property.sentence(),
            finding.scenario,
            trace.steps.len()
        );
        for (nth, words) in (1..).zip(&trace.words) {
            let _ = writeln!(page, "{nth}. {words}");
        }
        if !trace.afterwards.is_empty() {
            let _ = write!(page, "\nAnd then, although no more faults happen:\n\n");
            for words in &trace.afterwards {
                let _ = writeln!(page, "- {words}");
            }
        }
        write_json(&directory.join(format!("{name}.json")), trace)?;
        let picture = directory.join(format!("{name}.svg"));
        mutant::switch(Some(*broken));
        let show = bazaar_model_mutants::pictures::replay::Show { svg: Some(&picture), step: None };
        let drawn = bazaar_model_mutants::pictures::replay::replay(trace, show, &mut io::sink());
        mutant::switch(None);
        drawn.map_err(io::Error::other)?;
    }
    let index = directory.join("README.md");
    write_whole(&index, &page)
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(char::to_uppercase);
    format!("{}{}.", first.map(String::from_iter).unwrap_or_default(), letters.as_str())
}

/// A place in the protocol that a mutant changes.
struct Site {
    file: &'static str,
    text: String,
}

macro_rules! sources {
    ($($file:literal)*) => {
        &[$(($file, include_str!(concat!("../../../protocol/src/", $file))),)*]
    };
}

const SOURCES: &[(&str, &str)] = sources! {
    "id.rs" "money.rs" "clock.rs" "books.rs" "trader.rs" "ledger.rs" "office.rs" "buyer.rs" "seller.rs" "election.rs"
    "overlay.rs" "peer.rs"
};

/// The places that a mutant changes, with their source text.
fn sites(mutant: Mutant) -> Vec<Site> {
    let name = format!("{mutant:?}");
    let mut sites = Vec::new();
    for (file, source) in SOURCES {
        let mut rest = *source;
        while let Some(at) = rest.find("mutant!(") {
            let before = &rest[..at];
            let from_line = before.rfind('\n').map_or(0, |line| line + 1);
            let len = closed(&rest[at..]);
            let end = rest[at + len..].find('\n').map_or(rest.len(), |line| at + len + line);
            let text = &rest[from_line..end];
            let arms = text.split("=>").next().unwrap_or_default();
            let names = |text: &str| text.split(|c: char| !c.is_alphanumeric()).any(|word| word == name);
            if names(arms) || text.split("=>").any(|arm| names(arm.rsplit(',').next().unwrap_or_default())) {
                sites.push(Site { file, text: outdented(text) });
            }
            rest = &rest[at + len..];
        }
    }
    sites
}

/// The length of a macro call, up to its closing parenthesis.
fn closed(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

fn outdented(text: &str) -> String {
    let indent = text.lines().filter(|line| !line.trim().is_empty()).map(|line| line.len() - line.trim_start().len());
    let indent = indent.min().unwrap_or(0);
    text.lines().map(|line| line.get(indent..).unwrap_or_default()).collect::<Vec<_>>().join("\n")
}
