//! Text that comes from outside: from files in whatever encoding, and to terminals that obey what they are shown
//! (SPEC I1).

use alloc::{format, string::String};
use core::{fmt, ops::RangeInclusive, str::FromStr};

/// A file's bytes are not text, with where and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotText {
    /// The line, from 1.
    pub line: usize,
    /// The byte in that line, from 1.
    pub byte: usize,
    /// What is there instead, in words.
    what: String,
}

impl fmt::Display for NotText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NotText { line, byte, what } = self;
        write!(f, "line {line}, byte {byte}: {what}; save the file as UTF-8")
    }
}

impl core::error::Error for NotText {}

/// Reads a file's bytes as UTF-8, with or without a byte order mark.
///
/// # Errors
/// Says where it is no text, and what to do.
pub fn decode(bytes: &[u8]) -> Result<&str, NotText> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(NotText { line: 1, byte: 1, what: "this is UTF-16".into() });
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let wrong = |at: usize, what: String| {
        let before = bytes.get(..at).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let byte = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        Err(NotText { line, byte, what })
    };
    let text = match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.valid_up_to();
            let what = match bytes.get(at) {
                Some(byte) if error.error_len().is_some() => format!("the byte 0x{byte:02X} is not UTF-8"),
                Some(_) | None => "the file ends within a character".into(),
            };
            return wrong(at, what);
        }
    };
    match text.find('\0') {
        // UTF-16 of plain English is valid UTF-8.
        Some(at) => wrong(at, "there is a zero byte, as in UTF-16".into()),
        None => Ok(text),
    }
}

/// A text as it may be shown on a terminal, which obeys control characters: they are written out, except for line breaks
/// and tabs. So are characters that change the direction of what follows.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if (c.is_control() && !matches!(c, '\n' | '\t')) || turns {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Reads a whole number within a range.
///
/// # Errors
/// Says what would be right.
pub fn number<T: FromStr + PartialOrd + fmt::Display>(text: &str, range: &RangeInclusive<T>) -> Result<T, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("must be a whole number from {} to {}", range.start(), range.end()))
}

/// A number of things in words: "1 peer", "3 peers", "2 processes".
#[must_use]
pub fn counted<N: fmt::Display + PartialEq + From<u8>>(number: N, one: &str) -> String {
    if number == N::from(1) { format!("1 {one}") } else { format!("{number} {}", many(one)) }
}

fn many(one: &str) -> String {
    let hisses = ["s", "x", "ch", "sh"].iter().any(|end| one.ends_with(end));
    format!("{one}{}", if hisses { "es" } else { "s" })
}

/// "is" or "are", "was" or "were": the word for one if there is one.
#[must_use]
pub fn agreeing<'a, N: PartialEq + From<u8>>(number: N, one: &'a str, many: &'a str) -> &'a str {
    if number == N::from(1) { one } else { many }
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString, vec, vec::Vec};

    use super::*;

    #[test]
    fn one_is_not_many() {
        assert_eq!(
            [counted(0_u64, "peer"), counted(1_u64, "peer"), counted(2_u64, "peer")],
            ["0 peers", "1 peer", "2 peers"]
        );
        assert_eq!([counted(1_usize, "process"), counted(2_usize, "process")], ["1 process", "2 processes"]);
        assert_eq!([agreeing(1_u32, "was", "were"), agreeing(0_u32, "was", "were")], ["was", "were"]);
    }

    fn refused(bytes: &[u8]) -> String {
        decode(bytes).expect_err("it is no text").to_string()
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_text() {
        assert_eq!(decode(b"\xef\xbb\xbfpeers = 3\r\n"), Ok("peers = 3\r\n"));
        assert_eq!(decode("für 3".as_bytes()), Ok("für 3"));
        assert_eq!(decode(b""), Ok(""));
    }

    #[test]
    fn other_encodings_are_refused_with_place_and_remedy() {
        assert_eq!(
            refused(b"a\nname = \"f\xfcr\""),
            "line 2, byte 10: the byte 0xFC is not UTF-8; save the file as UTF-8"
        );
        assert_eq!(refused(b"\xff\xfep\0"), "line 1, byte 1: this is UTF-16; save the file as UTF-8");
        assert_eq!(refused(b"p\0e\0"), "line 1, byte 2: there is a zero byte, as in UTF-16; save the file as UTF-8");
        assert_eq!(refused(b"f\xc3"), "line 1, byte 2: the file ends within a character; save the file as UTF-8");
    }

    #[test]
    fn nothing_that_is_shown_controls_a_terminal() {
        assert_eq!(visible("fish\tand\nchips: größer"), "fish\tand\nchips: größer");
        assert_eq!(visible("\u{1b}[31m\r\u{7f}\u{9b}2J"), "\\u{1b}[31m\\u{d}\\u{7f}\\u{9b}2J");
        assert_eq!(visible("\u{202e}evil"), "\\u{202e}evil");
        let all: Vec<char> = (0..0x11_0000).filter_map(char::from_u32).collect();
        let controls: Vec<char> = visible(&all.iter().collect::<String>()).chars().filter(|c| c.is_control()).collect();
        assert_eq!(controls, vec!['\t', '\n']);
    }
}
