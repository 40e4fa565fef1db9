//! The gallery of defeats: what happens when a line is taken out, as a page with pictures.

use std::{fmt::Write as _, fs, io, path::Path};

use bazaar_model_mutants::protocol::mutant::{self, Mutant};
use bazaar_model_mutants::search::mutants::Finding;

use super::{about, write};

/// One picture's text: what the defeat teaches, and who suffered it.
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
        story: "A trader is slow, not dead. Another one claims the next epoch and serves; then the first one's batch \
                arrives, and nobody looks at its epoch or its place. What it planned on books of before stands behind \
                what was written since. No election prevents this: both did as they should.",
        real: Some(
            "MongoDB's first election protocol (version 0) let two primaries acknowledge writes, and rolled back those \
             of one; version 1 put a term into every write. Elasticsearch's Zen discovery lost acknowledged writes in \
             the same way until it was replaced by a quorum with terms. The reference of this project had two traders \
             at once and was seen running two loops in one of them.",
        ),
    },
    Defeat {
        mutant: Mutant::AnnouncesOnWinning,
        title: "Bully, as it stands in the book",
        story: "Who wins says so, and is believed. Under a late message two peers win; each is right by all it knows.",
        real: Some(
            "Bully is safe only where messages and processes keep their time (Garcia-Molina 1982). Checks of published \
             and of widely used implementations found violations every time; two in an Erlang library's election \
             (FATES 2004).",
        ),
    },
    Defeat {
        mutant: Mutant::ClaimsUnread,
        title: "Read, then claim",
        story: "A claimant has read the books up to a head, and claims at another, since it was told that the head has \
                moved. What was written in between it has never seen. Fencing and having read everything must be one \
                compare-and-set.",
        real: None,
    },
    Defeat {
        mutant: Mutant::SettledByPosition,
        title: "The wrong receipt",
        story: "A renewal is an append of nothing, so it does not move the head, and the next batch has the same epoch \
                and the same place. A late copy of the renewal's answer is taken for the batch's: the buyer has a \
                receipt for what is in no book. It took a model to find this; it stood in the first design of this \
                protocol.",
        real: None,
    },
    Defeat {
        mutant: Mutant::AcknowledgedBeforeDurable,
        title: "Written is not durable",
        story: "The ledger answers when it has written, power fails before the sync, and what was acknowledged never \
            was.",
        real: Some(
            "The reference saved its queue late and not at once. On the very store used here, `flush` stops short of \
             an fsync (sled #1452); it is followed by one.",
        ),
    },
    Defeat {
        mutant: Mutant::UnsyncedReads,
        title: "Read before it was there",
        story: "A claimant is shown what is written and not yet durable; the ledger crashes, and the claimant knows \
                records that never were. Reads and refusals too must come from the durable prefix.",
        real: None,
    },
    Defeat {
        mutant: Mutant::TermResumedAfterRestart,
        title: "Back from the dead, in office",
        story: "A trader crashes, comes back, finds its term still open and goes on with it. What its former life had \
                sent is still on its way: two processes in one epoch.",
        real: None,
    },
    Defeat {
        mutant: Mutant::DepositNumberReused,
        title: "The same number, twice",
        story: "A seller restarts and numbers its deposits from 1 again. Two different deposits have one name, and \
                which of them counts depends on which comes first.",
        real: None,
    },
    Defeat {
        mutant: Mutant::DepositPredecessorUnchecked,
        title: "Asked, and asked again",
        story: "A seller restarts, asks, hears that nothing of its is in the books, and deposits; then what its former \
                life sent arrives as well. Each was admitted by a rule that looked at it alone.",
        real: None,
    },
    Defeat {
        mutant: Mutant::StockUnchecked,
        title: "The fish that were not there",
        story: "Two buyers, one fish. Both are served.",
        real: Some("The reference sold 16 of 105 units that did not exist, in its own log."),
    },
    Defeat {
        mutant: Mutant::LargestStampFirst,
        title: "Served out of turn",
        story: "Of two requests in the queue the later stamp is served first.",
        real: Some("5 of 159 requests in the reference's own log were served after one that was stamped later."),
    },
    Defeat {
        mutant: Mutant::CommissionRoundedTwice,
        title: "A cent in between",
        story: "Commission and earnings are each rounded down. Once in a while a cent belongs to nobody.",
        real: Some("The reference computed money in floating point, and booked the commission nowhere."),
    },
    Defeat {
        mutant: Mutant::ClockResetOnStepDown,
        title: "The clock that went back",
        story: "A peer steps down and starts counting at 0. What it stamps from now on is older than what it stamped \
            before.",
        real: Some("So did the reference, at every resignation."),
    },
    Defeat {
        mutant: Mutant::IdsComparedByLastDigit,
        title: "Peer 9 is higher than peer 10",
        story: "Ids are compared by their last digit.",
        real: Some("So did the reference: its elections were wrong from eleven peers on."),
    },
    Defeat {
        mutant: Mutant::SilenceForgotten,
        title: "The winner that can never claim",
        story: "The highest peer is cut off from the ledger only. It wins, cannot claim, gives up, and wins again, for \
                ever: nobody else gets a turn.",
        real: None,
    },
    Defeat {
        mutant: Mutant::ContestedAndIsolatedStays,
        title: "The trader that nobody hears",
        story: "A trader is cut off from all its neighbours and not from the ledger. It renews its term for ever, and \
                serves nobody; the others claim in vain.",
        real: None,
    },
    Defeat {
        mutant: Mutant::HearsayPassedOn,
        title: "Two peers keep a dead trader alive",
        story: "Each asks the other whether it hears the trader. Each has it from the other.",
        real: None,
    },
    Defeat {
        mutant: Mutant::ToldOnArrival,
        title: "A promise from memory",
        story: "A buyer is told that its request waits, as soon as it arrives. The trader dies; the request is in no \
            book.",
        real: None,
    },
];

/// Whether the gallery shows this mutant.
pub fn shows(mutant: Mutant) -> bool {
    DEFEATS.iter().any(|defeat| defeat.mutant == mutant)
}

/// Writes the page, and for each defeat a picture and a history.
pub fn hang(directory: &Path, findings: &[Finding]) -> io::Result<()> {
    let mut page = String::from(
        "# Gallery of defeats\n\nEach picture is the shortest history in which a property fails once one line of the \
         protocol is taken out or weakened; the model finds it by breadth-first search. The unmutated protocol passes \
         the same scenario (`bazaar-model mutants` checks both).\n\nMade by `cargo run --release --bin bazaar-model -- \
         mutants --gallery docs/defeats`; each history can be followed step by step with `bazaar-model replay \
         docs/defeats/NAME.json`.\n",
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
            let _ =
                write!(page, "`protocol/src/{}`, what is right last:\n\n```rust\n{}\n```\n\n", site.file, site.text);
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
            let _ = write!(page, "\nAnd then, though no more faults happen:\n\n");
            for words in &trace.afterwards {
                let _ = writeln!(page, "- {words}");
            }
        }
        write(&directory.join(format!("{name}.json")), trace)?;
        let picture = directory.join(format!("{name}.svg"));
        mutant::switch(Some(*broken));
        let show = bazaar_model_mutants::search::replay::Show { svg: Some(&picture), step: None };
        let drawn = bazaar_model_mutants::search::replay::replay(trace, show, &mut io::sink());
        mutant::switch(None);
        drawn.map_err(io::Error::other)?;
    }
    let index = directory.join("README.md");
    fs::write(&index, page).map_err(|error| about(&index, &error))
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(char::to_uppercase);
    format!("{}{}.", first.map(String::from_iter).unwrap_or_default(), letters.as_str())
}

/// A place in the protocol where a mutant takes something out.
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

/// The places of a mutant, as they stand in the protocol.
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

/// How long a macro's call is, up to its closing parenthesis.
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
