//! Tables for people: columns without lines, as wide as needed, or as the screen allows. What others have said in them
//! cannot control the terminal.

use std::io;

use bazaar_protocol::text::visible;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use terminal_size::{Height, Width, terminal_size_of};

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
        let (Width(columns), Height(lines)) = terminal_size_of(io::stdout())?;
        Some(Screen { columns: columns.max(1), lines })
    }

    /// How many of its lines a text takes.
    pub fn needs(self, text: &str) -> usize {
        text.lines().map(|line| line.chars().count().div_ceil(self.columns.into()).max(1)).sum()
    }
}

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
        column.set_padding((0, 2));
    }
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
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
}
