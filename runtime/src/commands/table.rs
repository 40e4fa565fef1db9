//! Tables for people: columns without lines, as wide as needed, or as the screen allows. What others have said in them
//! cannot control the terminal.

use std::io;

use bazaar_protocol::text::visible;
use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};
use terminal_size::{Height, terminal_size_of};

/// The size of the screen.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// How many characters a line has; at least 1.
    pub columns: u16,
    /// How many lines it has.
    pub lines: u16,
}

impl Screen {
    /// The screen that standard output goes to, if it goes to one.
    pub fn here() -> Option<Screen> {
        let (terminal_size::Width(columns), Height(lines)) = terminal_size_of(io::stdout())?;
        Some(Screen { columns: columns.max(1), lines })
    }

    /// How many of its lines a text takes.
    pub fn needs(self, text: &str) -> usize {
        text.lines().map(|line| line.chars().count().div_ceil(self.columns.into()).max(1)).sum()
    }
}

/// How many columns of the screen are between two columns of a table.
const GAP: u16 = 2;

/// Lays out a table, with numbers aligned to the right. On a screen, cells that do not fit go on below.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    within(Screen::here().map(|screen| screen.columns), head, rows)
}

fn within(width: Option<u16>, head: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head.iter().map(|name| cell(name)));
    for row in rows {
        table.add_row(row.iter().map(|text| cell(text)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        // Lines break between words, and not in an address, if there is room for each of them; or at least not in a cell,
        // but for its column's name.
        for (gap, with_names) in [(GAP, true), (1, true), (1, false)] {
            let widest = |(nth, name): (usize, &&str)| {
                let cells = rows.iter().filter_map(|row| row.get(nth)).map(String::as_str);
                let words = cells.chain(with_names.then_some(*name)).flat_map(str::split_whitespace);
                let longest = words.map(|word| word.chars().count()).max();
                gap.saturating_add(longest.unwrap_or_default().try_into().unwrap_or(u16::MAX))
            };
            let words: Vec<u16> = head.iter().enumerate().map(widest).collect();
            if words.iter().map(|word| u32::from(*word)).sum::<u32>() <= u32::from(width) {
                for (column, word) in table.column_iter_mut().zip(words) {
                    column.set_padding((0, gap)).set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(word)));
                }
                break;
            }
        }
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn cell(text: &str) -> Cell {
    let is_number = text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains(' ');
    let cell = Cell::new(visible(text));
    if is_number { cell.set_alignment(CellAlignment::Right) } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_aligned_right_and_words_left() {
        let rows = [vec!["1".to_owned(), "a".to_owned()], vec!["20".to_owned(), "bb".to_owned()]];
        assert_eq!(within(None, &["n", "word"], &rows), "n   word\n 1  a\n20  bb\n");
    }

    #[test]
    fn a_table_keeps_to_the_width_of_the_screen() {
        let rows = [vec!["1".to_owned(), "buys fish, salt, boar; sells boar, fish, salt".to_owned()]];
        let narrow = within(Some(40), &["id", "role"], &rows);
        assert!(narrow.lines().count() > 2 && narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
    }

    #[test]
    fn a_line_breaks_between_words_if_it_can() {
        let row = ["12", "127.0.0.1:37303", "1, 15 (down), 19 (down)", "buys and sells fish, salt, boar"];
        let rows = [row.map(str::to_owned).to_vec()];
        let narrow = within(Some(48), &["id", "address", "neighbours", "role"], &rows);
        assert!(
            narrow.lines().count() > 2
                && row[1].split(' ').chain(["(down)", "sells"]).all(|word| narrow.contains(word)),
            "{narrow}"
        );
        assert!(narrow.lines().all(|line| line.chars().count() <= 48), "{narrow}");
        let narrower = within(Some(40), &["id", "address", "neighbours", "role"], &rows);
        assert!(row[1].split(' ').chain(["(down)", "sells"]).all(|word| narrower.contains(word)), "{narrower}");
        let tiny = within(Some(20), &["id", "address", "neighbours", "role"], &rows);
        assert!(tiny.lines().all(|line| line.chars().count() <= 20), "{tiny}");
    }
}
