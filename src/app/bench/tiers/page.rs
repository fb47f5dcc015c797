//! The comparison as one HTML file that asks nobody for anything: plots as SVG, the table, the aims.

use super::report::{Report, Row};
use crate::app::eval::escaped;
use std::fmt::Write;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--weak:#777;--a:#d0542f;--b:#c99a1c;--c:#2f6fd0;--d:#3a9a5b}\
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem}\
table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}\
th,td{padding:.3rem .8rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}\
figure{margin:1rem 0}figcaption{font-weight:600}.weak{color:var(--weak)}.missed{color:var(--a);font-weight:600}\
svg{max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:currentColor}";

/// SVG units: the whole width, where bars begin, their longest, height of a bar, gap between groups.
const WIDTH: f64 = 760.0;
const LEFT: f64 = 90.0;
const LONGEST: f64 = 560.0;
const BAR: f64 = 16.0;
const GAP: f64 = 14.0;

/// The whole page.
pub(super) fn html(report: &Report) -> String {
    let mut page = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.push_str(
        "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>bestbox bench tiers</title>",
    );
    // Writing to a string cannot fail.
    let _ = write!(page, "<style>{STYLE}</style></head><body><h1>One model or two tiers</h1>");
    page.push_str("<ul>");
    for aim in &report.aims {
        let (class, word) = if aim.met { ("", "met") } else { (" class=\"missed\"", "missed") };
        let _ = write!(page, "<li{class}>{word}: {}: {}</li>", escaped(&aim.what), escaped(&aim.value));
    }
    page.push_str("</ul>");
    type Plot = (&'static str, fn(&Row) -> f64);
    let plots: [Plot; 4] = [
        ("Until the route is known (median)", |row| row.route_ms),
        ("Until the clean text is there (median)", |row| row.cleaned_ms),
        ("Until the first token of an answer (median)", |row| row.first_ms),
        ("Until everything is there (mean)", |row| row.end_ms),
    ];
    for (title, value) in plots {
        page.push_str(&plot(title, &report.rows, value));
    }
    page.push_str("<table><thead><tr><th>Figure</th>");
    let mut setups: Vec<&str> = report.rows.iter().map(|row| row.setup).collect();
    setups.dedup();
    for setup in setups {
        let _ = write!(page, "<th>{}</th>", escaped(setup));
    }
    page.push_str("</tr></thead><tbody>");
    for (what, values) in report.lines() {
        let _ = write!(page, "<tr><td>{}</td>", escaped(&what));
        for value in values {
            let _ = write!(page, "<td>{}</td>", escaped(&value));
        }
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table>");
    for note in &report.notes {
        let _ = write!(page, "<p class=\"weak\">{}</p>", escaped(note));
    }
    page.push_str("</body></html>\n");
    page
}

/// Bars in groups of one number of speakers, a bar a set-up, all on one scale.
fn plot(title: &str, rows: &[Row], value: fn(&Row) -> f64) -> String {
    let most = rows.iter().map(value).fold(0.0, f64::max);
    let mut groups: Vec<usize> = rows.iter().map(|row| row.speakers).collect();
    groups.sort_unstable();
    groups.dedup();
    if most <= 0.0 {
        return String::new();
    }
    let height = rows.len() as f64 * (BAR + 2.0) + groups.len() as f64 * GAP;
    let said: Vec<String> =
        rows.iter().map(|row| format!("{} at {}: {:.0} ms", row.setup, row.speakers, value(row))).collect();
    let mut svg = format!(
        "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" role=\"img\" \
         aria-label=\"{}\">",
        escaped(title),
        escaped(&said.join("; "))
    );
    let mut y = 0.0;
    for speakers in groups {
        y += GAP;
        for (at, row) in rows.iter().filter(|row| row.speakers == speakers).enumerate() {
            let length = (value(row) / most * LONGEST).max(1.0);
            if at == 0 {
                let people = if speakers == 1 { "speaker" } else { "speakers" };
                let _ = write!(
                    svg,
                    "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{speakers} {people}</text>",
                    LEFT - 8.0,
                    y + BAR - 4.0
                );
            }
            let letter = row.setup.chars().find(|c| matches!(c, 'a' | 'b' | 'c' | 'd')).unwrap_or('a');
            let _ = write!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"3\" fill=\"var(--{letter})\">\
                 <title>{}</title></rect><text x=\"{:.1}\" y=\"{:.1}\">({letter}) {:.0} ms</text>",
                escaped(row.setup),
                LEFT + length + 6.0,
                y + BAR - 4.0,
                value(row)
            );
            y += BAR + 2.0;
        }
    }
    svg + "</svg></figure>"
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::example;
    use super::*;

    #[test]
    fn the_page_has_a_bar_for_every_cell_and_no_markup_of_others() {
        let page = html(&example(189));
        assert_eq!(page.matches("<rect").count(), 4 * 12, "{page}");
        assert!(page.matches("width=\"560.0\"").count() >= 4, "the longest bar of each plot\n{page}");
        assert!(page.contains("big &lt;one&gt;") && !page.contains("<one>"), "{page}");
        assert!(page.contains("class=\"missed\"") && !page.contains("http"), "{page}");
    }
}
