//! The month as a picture: one line for each part of the data folder, in a plain SVG that any
//! browser shows. Nothing is read from it again.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::Sizes;

const COLOURS: [&str; 10] = [
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#555555", "#994455", "#117733",
    "#332288",
];
const LEFT: f64 = 70.0;
const TOP: f64 = 50.0;
const WIDTH: f64 = 620.0;
const HEIGHT: f64 = 320.0;
/// Lines across, besides the axis.
const GRID: usize = 4;

/// Sizes over the days, MiB.
pub(super) fn draw(days: &[Sizes]) -> String {
    let parts: BTreeSet<_> = days.iter().flat_map(Sizes::keys).collect();
    let most = days.iter().flat_map(Sizes::values).max().copied().unwrap_or(0);
    let top = mib(most).max(0.1) * 1.1;
    let (right, bottom) = (LEFT + WIDTH, TOP + HEIGHT);
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 860 430\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"860\" height=\"430\" fill=\"white\"/>\n",
    );
    let title = "Size of the data folder's parts over a simulated month (lives and retention: 3 days)";
    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"25\" font-size=\"15\">{title}</text>");
    for line in 0..=GRID {
        let share = line as f64 / GRID as f64;
        let (y, value) = (bottom - share * HEIGHT, share * top);
        let _ = writeln!(svg, "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#dddddd\"/>");
        let at = y + 4.0;
        let _ = writeln!(svg, "<text x=\"62\" y=\"{at:.1}\" text-anchor=\"end\">{value:.1}</text>");
    }
    let _ = writeln!(svg, "<path d=\"M{LEFT} {TOP}V{bottom}H{right}\" fill=\"none\" stroke=\"black\"/>");
    let x = |day: usize| LEFT + (day + 1) as f64 / days.len().max(1) as f64 * WIDTH;
    for day in (4..days.len()).step_by(5) {
        let (at, y, number) = (x(day), bottom + 18.0, day + 1);
        let _ = writeln!(svg, "<text x=\"{at:.1}\" y=\"{y}\" text-anchor=\"middle\">{number}</text>");
    }
    let _ = writeln!(svg, "<text x=\"380\" y=\"412\" text-anchor=\"middle\">day</text>");
    let _ =
        writeln!(svg, "<text transform=\"translate(20 210) rotate(-90)\" text-anchor=\"middle\">MiB</text>");
    for (at, (part, colour)) in parts.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let size = |sizes: &Sizes| sizes.get(*part).copied().unwrap_or(0);
        let points: Vec<_> = days
            .iter()
            .enumerate()
            .map(|(day, sizes)| format!("{:.1},{:.1}", x(day), bottom - mib(size(sizes)) / top * HEIGHT))
            .collect();
        let points = points.join(" ");
        let _ = writeln!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        );
        let (y, text) = (TOP + 10.0 + 22.0 * at as f64, TOP + 14.0 + 22.0 * at as f64);
        let _ = writeln!(svg, "<path d=\"M705 {y}h20\" stroke=\"{colour}\" stroke-width=\"3\"/>");
        let _ = writeln!(svg, "<text x=\"731\" y=\"{text}\">{part}</text>");
    }
    svg + "</svg>\n"
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
