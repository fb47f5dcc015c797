//! Bar charts as inline SVG: text that is text, colours of the page, nothing to load.

use super::html::esc;
use std::fmt::Write;

/// One bar.
pub(super) struct Bar {
    pub label: String,
    pub value: f64,
    /// The value as a person reads it.
    pub shown: String,
}

/// SVG units: the whole, where bars begin, their longest, and the height of a row.
const WIDTH: u32 = 360;
const LEFT: u32 = 104;
const LONGEST: f64 = 176.0;
const ROW: u32 = 26;

/// Rows that a chart has at most.
const MOST: usize = 10;

/// Horizontal bars on one scale; nothing where there are none.
pub(super) fn bars(title: &str, bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    if most <= 0.0 {
        return String::new();
    }
    let rows = bars.iter().take(MOST);
    let height = rows.len() as u32 * ROW;
    let said: Vec<String> = rows.clone().map(|bar| format!("{} {}", bar.label, bar.shown)).collect();
    let mut svg = format!(
        "<figure class=\"chart\"><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"{}\">",
        esc(title),
        esc(&format!("{title}: {}", said.join(", ")))
    );
    for (row, bar) in rows.enumerate() {
        let y = row as u32 * ROW;
        let length = (bar.value / most * LONGEST).max(2.0);
        let label: String = if bar.label.chars().count() > 15 {
            bar.label.chars().take(14).chain(['…']).collect()
        } else {
            bar.label.clone()
        };
        // Writing to a string cannot fail.
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text><rect x=\"{LEFT}\" y=\"{}\" width=\"{length:.1}\" \
             height=\"14\" rx=\"4\"/><text class=\"value\" x=\"{:.1}\" y=\"{}\">{}</text>",
            LEFT - 8,
            y + 17,
            esc(&label),
            y + 6,
            f64::from(LEFT) + length + 7.0,
            y + 17,
            esc(&bar.shown)
        );
    }
    svg + "</svg></figure>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_is_the_largest_value_and_labels_are_text() {
        let bar = |label: &str, value| Bar { label: label.into(), value, shown: format!("{value} h") };
        let svg = bars("Hours", &[bar("<b>", 4.0), bar("de", 1.0)]);
        assert!(svg.contains("width=\"176.0\"") && svg.contains("width=\"44.0\""), "{svg}");
        assert!(svg.contains("&lt;b&gt;") && !svg.contains("<b>"), "{svg}");
        assert_eq!(bars("Hours", &[]), "");
    }
}
