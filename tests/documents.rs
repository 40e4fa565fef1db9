//! What the documents cite exists: files, headings, and the names of functions, types, tests and keys.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap()
}

/// Finds all files below a directory whose names end in one of these, except for what cargo builds.
fn files(below: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if name != "target" && name != ".git" {
                files(&path, endings, found);
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
}

fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&root(), &[".md"], &mut found);
    assert!(found.len() >= 6, "{found:?}");
    found.sort();
    found
}

/// A document's lines outside its code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// Every piece of a line that is between `begin` and `end`.
fn between<'a>(line: &'a str, begin: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    line.split(begin).skip(1).filter_map(move |rest| rest.split_once(end).map(|(inside, _)| inside))
}

/// The anchor by which a heading is linked to.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
    kept.replace(' ', "-")
}

fn anchors(file: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(file).unwrap();
    prose(&text)
        .filter_map(|line| line.strip_prefix('#'))
        .map(|line| anchor(line.trim_start_matches('#').trim()))
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let (mut wrong, mut links) = (Vec::new(), 0);
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for target in prose(&text).flat_map(|line| between(line, "](", ")")) {
            if target.contains("://") {
                continue;
            }
            links += 1;
            let (file, heading) =
                target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
            let place = if file.is_empty() { document.clone() } else { document.parent().unwrap().join(file) };
            let is_there = place.exists() && heading.is_none_or(|heading| anchors(&place).contains(heading));
            if !is_there {
                wrong.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(links > 100, "{links} links");
    assert!(wrong.is_empty(), "these lead nowhere:\n{}", wrong.join("\n"));
}

/// "ElectionWon" as "election_won".
fn snake(word: &str) -> String {
    word.char_indices().fold(String::new(), |mut snake, (at, c)| {
        if at > 0 && c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
        snake
    })
}

#[test]
fn every_name_in_the_documents_exists() {
    let root = root();
    let mut sources = Vec::new();
    files(&root, &[".rs", ".toml", ".sh", "recorded.json", "run"], &mut sources);
    let mut words = BTreeSet::new();
    for source in &sources {
        let Ok(text) = fs::read_to_string(source) else { continue };
        let of_name = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
        // In JSON, a variant is written in lower case: docs/json.md.
        words.extend(text.split(of_name).flat_map(|word| [word.to_owned(), snake(word)]));
        words.extend(source.file_stem().and_then(|name| name.to_str()).map(str::to_owned));
    }
    let is_name = |span: &&str| {
        let span = span.trim_end_matches("()");
        let of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let is_compound =
            span.contains('_') || span.contains("::") || span.starts_with(|c: char| c.is_ascii_uppercase());
        !span.is_empty()
            && is_compound
            && span.chars().all(of_name)
            && span.starts_with(|c: char| c.is_ascii_alphabetic())
    };
    let is_file = |span: &&str| {
        let endings = [".rs", ".toml", ".json", ".md", ".sh", ".png", ".svg"];
        span.contains('/')
            && !span.contains([' ', '*', '<', '$'])
            && endings.iter().any(|ending| span.ends_with(ending))
    };
    let (mut wrong, mut names, mut places) = (Vec::new(), 0, 0);
    for document in documents() {
        if document.ends_with("CHANGELOG.md") {
            // It mentions names that no longer exist.
            continue;
        }
        let text = fs::read_to_string(&document).unwrap();
        for line in prose(&text) {
            let spans: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
            for span in spans.iter().filter(|span| is_name(span)) {
                names += 1;
                let parts = span.trim_end_matches("()").split("::").filter(|part| !part.is_empty());
                if let Some(unknown) = parts.into_iter().find(|part| !words.contains(*part)) {
                    wrong.push(format!("{}: `{span}`: nothing is called {unknown}", document.display()));
                }
            }
            for span in spans.iter().filter(|span| is_file(span)) {
                places += 1;
                if ![&root, document.parent().unwrap()].iter().any(|base| base.join(span).exists()) {
                    wrong.push(format!("{}: `{span}`: there is no such file", document.display()));
                }
            }
        }
    }
    assert!(names > 100 && places > 5, "{names} names, {places} files");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the source cites as `DESIGN X` is a section, a rule or a property of `docs/design.md`.
#[test]
fn every_citation_of_the_design_leads_to_it() {
    let root = root();
    let design = fs::read_to_string(root.join("docs/design.md")).unwrap();
    let mut sources = Vec::new();
    files(&root, &[".rs", ".toml"], &mut sources);
    let (mut wrong, mut citations) = (Vec::new(), 0);
    for source in sources {
        let text = fs::read_to_string(&source).unwrap();
        for cited in text.split("DESIGN ").skip(1) {
            let name: String = cited.chars().take_while(char::is_ascii_alphanumeric).collect();
            let is_named = name.chars().any(|c| c.is_ascii_digit()) && name.len() <= 3;
            if !is_named {
                continue;
            }
            citations += 1;
            let is_there = if name.starts_with(|c: char| c.is_ascii_digit()) {
                design.contains(&format!("\n## {name}. "))
            } else {
                design.contains(&format!("\n| {name} | "))
            };
            if !is_there {
                wrong.push(format!("{}: DESIGN {name}", source.display()));
            }
        }
    }
    assert!(citations > 100, "{citations} citations");
    assert!(wrong.is_empty(), "these lead nowhere:\n{}", wrong.join("\n"));
}
