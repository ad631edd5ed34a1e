//! A figure of the book: a small table of what was measured, as text that lies beside its picture.
//!
//! ```text
//!     # Submissions a second, by runs stored
//!     # across: runs stored
//!     # up: submissions a second
//!     across,1 client,64 clients
//!     1000,1400,13000
//! ```
//!
//! Whoever measures writes these tables; the pictures are drawn from them alone, so that a picture
//! never shows what was not measured.

use super::chart;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A figure.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Figure {
    /// What it shows.
    pub title: String,
    /// What grows from left to right.
    pub across: String,
    /// What is shown of it.
    pub up: String,
    /// The names of its lines.
    pub lines: Vec<String>,
    /// For each place from left to right a value of each line.
    pub rows: Vec<(f64, Vec<f64>)>,
}

impl Figure {
    /// The figure as text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { title, across, up, lines, rows } = self;
        let mut text = format!("# {title}\n# across: {across}\n# up: {up}\n");
        let _ = writeln!(text, "across,{}", lines.join(","));
        for (place, values) in rows {
            let values: Vec<String> = values.iter().map(|value| short(*value)).collect();
            let _ = writeln!(text, "{},{}", short(*place), values.join(","));
        }
        text
    }

    /// Reads a figure.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn from_text(text: &str) -> Result<Self, String> {
        let mut figure = Self::default();
        let mut rows = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            match line.strip_prefix('#').map(str::trim) {
                Some(said) => {
                    if let Some(across) = said.strip_prefix("across:") {
                        across.trim().clone_into(&mut figure.across);
                    } else if let Some(up) = said.strip_prefix("up:") {
                        up.trim().clone_into(&mut figure.up);
                    } else if figure.title.is_empty() {
                        said.clone_into(&mut figure.title);
                    }
                }
                None => rows.push(line),
            }
        }
        let (head, rows) = rows.split_first().ok_or("it has no table")?;
        figure.lines = head.split(',').skip(1).map(|name| name.trim().to_owned()).collect();
        for row in rows {
            let cells = row.split(',').map(|cell| cell.trim().parse::<f64>());
            let cells = cells.collect::<Result<Vec<f64>, _>>();
            let cells = cells.map_err(|error| format!("the row '{row}': {error}"))?;
            if cells.len() != figure.lines.len() + 1 || cells.iter().any(|it| !it.is_finite()) {
                return Err(format!("the row '{row}' does not fit the head '{head}'"));
            }
            figure.rows.push((cells[0], cells[1..].to_vec()));
        }
        Ok(figure)
    }
}

/// A number with as many places as are worth telling.
fn short(value: f64) -> String {
    let places = if value.abs() >= 100.0 || value.fract() == 0.0 { 0 } else { 2 };
    format!("{value:.places$}")
}

/// Writes a figure's table into a folder, and its picture beside it.
///
/// # Errors
/// When a file cannot be written.
pub fn write(figure: &Figure, folder: &Path, name: &str) -> Result<(), String> {
    let table = folder.join(format!("{name}.csv"));
    put(&table, &figure.to_text())?;
    put(&table.with_extension("svg"), &chart::draw(figure))
}

/// Draws every figure of a folder anew; answers which.
///
/// # Errors
/// When a table cannot be read, or a picture cannot be written.
pub fn draw_all(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let told = |error: std::io::Error| format!("read {}: {error}", folder.display());
    let mut tables = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(told)? {
        let path = entry.map_err(told)?.path();
        if path.extension().is_some_and(|it| it == "csv") {
            tables.push(path);
        }
    }
    tables.sort();
    for table in &tables {
        let text = std::fs::read_to_string(table);
        let text = text.map_err(|error| format!("read {}: {error}", table.display()))?;
        let figure = Figure::from_text(&text);
        let figure = figure.map_err(|error| format!("read {}: {error}", table.display()))?;
        put(&table.with_extension("svg"), &chart::draw(&figure))?;
    }
    Ok(tables)
}

fn put(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{Figure, draw_all, write};

    fn figure() -> Figure {
        Figure {
            title: "Rates <now>, by size".to_owned(),
            across: "size".to_owned(),
            up: "rate".to_owned(),
            lines: vec!["one".to_owned(), "two & more".to_owned()],
            rows: vec![(1.0, vec![2.5, 7.0]), (1000.0, vec![12345.0, 0.25])],
        }
    }

    #[test]
    fn a_figure_is_read_as_it_was_written() {
        let text = figure().to_text();
        assert_eq!(Figure::from_text(&text), Ok(figure()), "{text}");
        for (broken, why) in [
            ("# only words\n", "it has no table"),
            ("across,a\n1,2,3\n", "the row '1,2,3' does not fit the head 'across,a'"),
            ("across,a\n1,x\n", "the row '1,x': invalid float literal"),
            ("across,a\n1,inf\n", "the row '1,inf' does not fit the head 'across,a'"),
        ] {
            assert_eq!(Figure::from_text(broken), Err(why.to_owned()));
        }
    }

    #[test]
    fn pictures_are_drawn_from_the_tables_that_lie_there() {
        let folder = tempfile::tempdir().unwrap();
        write(&figure(), folder.path(), "rates").unwrap();
        let picture = folder.path().join("rates.svg");
        let drawn = std::fs::read_to_string(&picture).unwrap();
        std::fs::remove_file(&picture).unwrap();
        assert_eq!(draw_all(folder.path()).unwrap(), [folder.path().join("rates.csv")]);
        assert_eq!(std::fs::read_to_string(&picture).unwrap(), drawn);
    }
}
