//! `bestbox bench`: figures of this machine, each beside a peer measured in the same run. Medians over repetitions,
//! engines taking turns, because a shared machine is never equally fast for long.

mod clips;
mod dictate;
mod memory;
mod peer;
mod speech;
mod text;
mod texts;
mod tiers;

use super::progress::Progress;
use crate::cli::{BenchArgs, BenchPart, Global};
use crate::config::Loaded;
use crate::error::Error;
use comfy_table::{Table, presets};

/// One line of the report.
#[derive(Clone, Debug, serde::Serialize)]
struct Figure {
    /// What was measured.
    what: String,
    /// The value with its unit.
    value: String,
    /// How it was measured, and what it is compared with.
    note: String,
}

impl Figure {
    fn new(what: impl Into<String>, value: impl Into<String>, note: impl Into<String>) -> Self {
        Figure { what: what.into(), value: value.into(), note: note.into() }
    }
}

/// What every part gets.
struct Bench<'a> {
    loaded: &'a Loaded,
    args: &'a BenchArgs,
    progress: &'a Progress,
}

/// Runs the parts asked for, all but dictation and tiers by default, and prints tables.
pub(super) async fn run(loaded: Loaded, global: Global, args: BenchArgs) -> Result<(), Error> {
    if let Some(file) = &args.wer {
        return texts::run(file);
    }
    let progress = Progress::new(&global);
    let bench = Bench { loaded: &loaded, args: &args, progress: &progress };
    let wanted = |part| args.parts.is_empty() || args.parts.contains(&part);
    let mut figures = Vec::new();
    if wanted(BenchPart::Speech) {
        figures.extend(speech::run(&bench).await?);
    }
    if wanted(BenchPart::Text) {
        figures.extend(text::run(&bench).await?);
    }
    if wanted(BenchPart::Memory) {
        figures.extend(memory::run(&bench).await?);
    }
    // Spoken in real time: only where it is asked for.
    if args.parts.contains(&BenchPart::Dictate) {
        figures.extend(dictate::run(&bench).await?);
    }
    // Minutes as well.
    let tiers = match args.parts.contains(&BenchPart::Tiers) {
        true => Some(tiers::run(&bench).await?),
        false => None,
    };
    progress.end();
    if args.json {
        let text = match &tiers {
            None => serde_json::to_string_pretty(&figures),
            Some(tiers) => serde_json::to_string_pretty(&serde_json::json!({ "figures": figures, "tiers": tiers })),
        };
        println!("{}", text.map_err(|error| Error::Usage(error.to_string()))?);
        return Ok(());
    }
    if let Some(tiers) = &tiers {
        println!("{}", tiers.table());
    }
    if figures.is_empty() {
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["FIGURE", "VALUE", "HOW"]);
    for figure in figures {
        table.add_row([figure.what, figure.value, figure.note]);
    }
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 2));
    });
    println!("{}", table.trim_fmt());
    Ok(())
}

/// The middle value; the mean of the two middle ones for an even count. 0 of nothing.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// The value that 95 % do not exceed (nearest rank).
fn p95(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * 0.95).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_percentiles() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(p95(&hundred), 95.0);
    }
}
