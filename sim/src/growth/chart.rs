//! Draws a figure as an SVG picture: both scales are logarithmic, so that growth shows as a slope.
//!
//! A line that stays level costs the same however much there is; one that falls as steeply as the
//! grid's diagonal costs in proportion.

use super::figure::Figure;
use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
/// What is kept free around the lines: left, right, top, bottom.
const MARGINS: (f64, f64, f64, f64) = (80.0, 24.0, 48.0, 60.0);
/// The colours of the lines, to be told apart by whoever sees few colours too (Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// One scale: from what to what it goes, and over which pixels.
struct Scale {
    from: f64,
    to: f64,
    pixels: (f64, f64),
}

impl Scale {
    /// A scale over these values, which begins and ends at a power of ten or at a half or a fifth
    /// of one.
    fn over(values: impl Iterator<Item = f64> + Clone, pixels: (f64, f64)) -> Self {
        let least = values.clone().filter(|it| *it > 0.0).fold(f64::INFINITY, f64::min);
        let most = values.fold(0.0, f64::max);
        if least > most {
            return Self { from: 1.0, to: 10.0, pixels };
        }
        let steps = round_numbers(least / 5.0, most * 5.0);
        let from = steps.iter().rev().find(|it| **it <= least).copied().unwrap_or(least);
        let to = steps.iter().find(|it| **it >= most && **it > from).copied().unwrap_or(most);
        Self { from, to, pixels }
    }

    /// Where a value stands. What is nothing stands at the beginning.
    fn place(&self, value: f64) -> f64 {
        let share = (value.max(self.from) / self.from).ln() / (self.to / self.from).ln();
        self.pixels.0 + share * (self.pixels.1 - self.pixels.0)
    }

    /// The values that are written at it.
    fn ticks(&self) -> Vec<f64> {
        round_numbers(self.from, self.to)
    }
}

/// One, two and five times the powers of ten, from and to these.
fn round_numbers(from: f64, to: f64) -> Vec<f64> {
    let first = from.log10().floor();
    let mut all = Vec::new();
    let mut power = 10.0_f64.powf(first);
    while power <= to * 1.001 {
        let near = [1.0, 2.0, 5.0].map(|step| step * power);
        all.extend(near.into_iter().filter(|it| *it >= from * 0.999 && *it <= to * 1.001));
        power *= 10.0;
    }
    all
}

/// The picture.
#[must_use]
pub fn draw(figure: &Figure) -> String {
    let (left, right, top, bottom) = MARGINS;
    let places = figure.rows.iter().map(|(place, _)| *place);
    let values = figure.rows.iter().flat_map(|(_, values)| values.iter().copied());
    let across = Scale::over(places, (left, WIDTH - right));
    let up = Scale::over(values, (HEIGHT - bottom, top));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         role=\"img\" aria-label=\"{title}\">\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n\
         <text class=\"title\" x=\"{left}\" y=\"24\">{title}</text>\n",
        title = escape(&figure.title),
    );
    grid(&mut svg, figure, &across, &up);
    for (number, name) in figure.lines.iter().enumerate() {
        let points = figure.rows.iter().filter_map(|(place, values)| {
            let value = *values.get(number)?;
            Some((across.place(*place), up.place(value), *place, value))
        });
        let points: Vec<(f64, f64, f64, f64)> = points.collect();
        line(&mut svg, name, COLOURS[number % COLOURS.len()], &points);
    }
    legend(&mut svg, figure);
    svg + "</svg>\n"
}

const STYLE: &str = "
text { font: 13px system-ui, sans-serif; fill: #222 } .title { font-size: 16px; font-weight: 600 }
.paper { fill: #fff } .grid { stroke: #ddd } .tick { fill: #555; font-size: 12px }
.line { fill: none; stroke-width: 2.5 }
";

fn grid(svg: &mut String, figure: &Figure, across: &Scale, up: &Scale) {
    let ((x0, x1), (y0, y1)) = (across.pixels, up.pixels);
    for tick in across.ticks() {
        let (x, said) = (across.place(tick), number(tick));
        let _ = writeln!(svg, "<path class=\"grid\" d=\"M{x:.1} {y0:.1}V{y1:.1}\"/>");
        let _ = writeln!(
            svg,
            "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{said}</text>",
            y0 + 18.0
        );
    }
    for tick in up.ticks() {
        let (y, said) = (up.place(tick), number(tick));
        let _ = writeln!(svg, "<path class=\"grid\" d=\"M{x0:.1} {y:.1}H{x1:.1}\"/>");
        let _ = writeln!(
            svg,
            "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{said}</text>",
            x0 - 8.0,
            y + 4.0
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n\
         <text transform=\"translate(18 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        f64::midpoint(x0, x1),
        y0 + 42.0,
        escape(&figure.across),
        f64::midpoint(y0, y1),
        escape(&figure.up),
    );
}

/// A line through its points, each of which says what it stands for.
fn line(svg: &mut String, name: &str, colour: &str, points: &[(f64, f64, f64, f64)]) {
    let path: Vec<String> = points.iter().map(|(x, y, ..)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(
        svg,
        "<polyline class=\"line\" stroke=\"{colour}\" points=\"{}\"/>",
        path.join(" ")
    );
    for (x, y, place, value) in points {
        let said = escape(&format!("{name}: {} at {}", number(*value), number(*place)));
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\">\
             <title>{said}</title></circle>"
        );
        let _ = writeln!(
            svg,
            "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            y - 9.0,
            number(*value)
        );
    }
}

/// Which line is which, where there are several.
fn legend(svg: &mut String, figure: &Figure) {
    if figure.lines.len() < 2 {
        return;
    }
    let mut x = MARGINS.0;
    for (number, name) in figure.lines.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let _ = writeln!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"38\" r=\"4\" fill=\"{colour}\"/>\
             <text class=\"tick\" x=\"{:.1}\" y=\"42\">{}</text>",
            x + 4.0,
            x + 13.0,
            escape(name)
        );
        let letters = u32::try_from(name.chars().count()).unwrap_or(0);
        x += 30.0 + 7.0 * f64::from(letters);
    }
}

/// A number for people: 12,345, 7.5 or 0.25.
fn number(value: f64) -> String {
    if value < 10.0 && value.fract() != 0.0 {
        let text = format!("{value:.2}");
        return text.trim_end_matches('0').to_owned();
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::{Scale, draw, number};
    use crate::growth::figure::Figure;

    #[test]
    fn numbers_are_written_for_people() {
        for (value, text) in
            [(1.0, "1"), (12345.0, "12,345"), (0.25, "0.25"), (7.5, "7.5"), (123.4, "123")]
        {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn scales_begin_and_end_at_round_numbers() {
        let check = |values: &[f64], from: f64, to: f64, ticks: usize| {
            let scale = Scale::over(values.iter().copied(), (0.0, 100.0));
            let near = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-9;
            assert!(near(scale.from, from) && near(scale.to, to), "{} {}", scale.from, scale.to);
            assert_eq!(scale.ticks().len(), ticks, "{:?}", scale.ticks());
            assert!(scale.place(from).abs() < 1e-9 && (scale.place(to) - 100.0).abs() < 1e-9);
        };
        check(&[1.0, 1000.0], 1.0, 1000.0, 10);
        check(&[3.0, 70.0], 2.0, 100.0, 6);
        check(&[7.0], 5.0, 10.0, 2);
        check(&[0.0, 4.0], 2.0, 5.0, 2);
        check(&[], 1.0, 10.0, 4);
    }

    #[test]
    fn a_picture_has_a_point_for_each_value_and_escapes_what_it_says() {
        let figure = Figure {
            title: "a <b> & \"c\"".to_owned(),
            across: "size".to_owned(),
            up: "rate".to_owned(),
            lines: vec!["one".to_owned(), "two".to_owned()],
            rows: vec![(1.0, vec![2.0, 3.0]), (10.0, vec![4.0, 5.0]), (100.0, vec![6.0, 7.0])],
        };
        let svg = draw(&figure);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(svg.matches("<title>").count(), 6);
        assert!(svg.contains("a &lt;b&gt; &amp; &quot;c&quot;") && !svg.contains("<b>"), "{svg}");
    }
}
