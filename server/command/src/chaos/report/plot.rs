//! Plots as SVG.

use std::fmt::Display;

/// The size of a plot, and the space for the labels at its left.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 120.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 24.0;

/// The height of a row of events.
const ROW: f64 = 16.0;

/// Values over time, a value for each second.
pub(super) struct Plot {
    pub(super) title: &'static str,
    pub(super) lines: Vec<Line>,
}

/// The values of one line.
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) values: Vec<f64>,
}

impl Plot {
    pub(super) fn svg(&self) -> String {
        let values = self.lines.iter().flat_map(|line| line.values.iter().copied());
        let top = round_up(values.fold(1.0, f64::max));
        let count = self.lines.first().map_or(0, |line| line.values.len());
        let y = |value: f64| TOP + (HEIGHT - TOP) * (1.0 - value / top);
        let grid = [0.0, top / 2.0, top].map(|value| {
            let (y, label) = (y(value), value);
            format!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                LEFT - 6.0,
                y + 4.0
            )
        });
        let lines = self.lines.iter().zip(["one", "two"]).enumerate();
        let lines = lines.map(|(at, (line, class))| {
            let point =
                |(at, value): (usize, &f64)| format!("{:.1},{:.1}", x(at as f64, count), y(*value));
            let points: Vec<_> = line.values.iter().enumerate().map(point).collect();
            let right = WIDTH - 90.0 * at as f64;
            format!(
                "<polyline class=\"line {class}\" points=\"{}\"/>\
                 <text class=\"{class}-text\" x=\"{right}\" y=\"12\" text-anchor=\"end\">{}</text>",
                points.join(" "),
                line.name
            )
        });
        frame(self.title, HEIGHT, count, &(grid.concat() + &lines.collect::<String>()))
    }
}

/// Returns a row of marks for each kind of event. The times are in seconds.
pub(super) fn events<E: Display + PartialEq>(
    kinds: &[E],
    events: &[(f64, E)],
    count: usize,
) -> String {
    let row = |(at, kind): (usize, &E)| {
        let y = TOP + ROW * at as f64;
        let of_kind = events.iter().filter(|(_, other)| other == kind);
        let mark = |(time, _): &(f64, E)| {
            let (x, end) = (x(*time, count), y + ROW - 5.0);
            format!("<line class=\"tick\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{y}\" y2=\"{end}\"/>")
        };
        let marks: String = of_kind.map(mark).collect();
        let (label, base) = (LEFT - 6.0, y + 10.0);
        format!("<text x=\"{label}\" y=\"{base}\" text-anchor=\"end\">{kind}</text>{marks}")
    };
    let rows: String = kinds.iter().enumerate().map(row).collect();
    frame("Faults", TOP + ROW * kinds.len() as f64, count, &rows)
}

fn frame(title: &str, height: f64, count: usize, content: &str) -> String {
    let labels = (0..=4).map(|at| {
        let second = (count.saturating_sub(1) * at) as f64 / 4.0;
        let (x, y) = (x(second, count), height + 14.0);
        format!("<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{second:.0}</text>")
    });
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{title}\">\
         <text x=\"0\" y=\"12\">{title}</text>{content}{}</svg>\n",
        height + 24.0,
        labels.collect::<String>()
    )
}

fn x(second: f64, count: usize) -> f64 {
    let last = count.saturating_sub(1).max(1) as f64;
    LEFT + (WIDTH - LEFT) * (second / last).min(1.0)
}

/// Returns the next larger one of 1, 2, 5, 10, 20, …
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= value).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axis_ends_at_a_round_number() {
        for (value, rounded) in [(1.0, 1.0), (3.0, 5.0), (10.0, 10.0), (120.0, 200.0), (5.1, 10.0)]
        {
            assert!((round_up(value) - rounded).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn line_has_a_point_for_each_second() {
        let line = Line { name: "writes", values: vec![1.0, 2.0, 3.0] };
        let svg = Plot { title: "Per second", lines: vec![line] }.svg();
        let points = svg.split("points=\"").nth(1).and_then(|it| it.split('"').next()).unwrap();
        assert_eq!(points.split(' ').count(), 3);
    }
}
