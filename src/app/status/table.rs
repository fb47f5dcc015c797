//! The same for people.

use super::{Report, Source};
use crate::app::up::plan::size;
use comfy_table::Table;
use std::time::{SystemTime, UNIX_EPOCH};

/// One line a server, and below it why one ended.
pub(super) fn table(reports: &[Report]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header([
        "tier",
        "state",
        "since",
        "model",
        "port",
        "slots",
        "read t/s",
        "write t/s",
        "cache hits",
        "restarts",
        "RSS",
        "VRAM",
    ]);
    for report in reports {
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
        let bytes = |value: Option<u64>| value.map_or("-".to_owned(), size);
        let by = match report.run_by {
            Source::Up => "",
            Source::Shared => " (shared)",
            Source::External => " (external)",
        };
        table.add_row([
            format!("{}{by}", report.tier),
            report.state.clone(),
            report.since.map_or("-".to_owned(), ago),
            report.model.clone().unwrap_or_else(|| "-".to_owned()),
            report.port.map_or("-".to_owned(), |port| port.to_string()),
            pair(report.slots_busy, report.slots_total),
            number(report.prompt_tokens_per_second),
            number(report.generated_tokens_per_second),
            pair(report.prompt_tokens_cached, report.prompt_tokens_total),
            report.restarts.map_or("-".to_owned(), |restarts| restarts.to_string()),
            bytes(report.rss_bytes),
            bytes(report.vram_bytes),
        ]);
    }
    let mut text = format!("{}\n", table.trim_fmt());
    for report in reports {
        if let Some(exit) = &report.last_exit {
            text.push_str(&format!("{}: last ended: {exit}\n", report.tier));
        }
    }
    text
}

fn pair(part: Option<u64>, whole: Option<u64>) -> String {
    part.zip(whole).map_or("-".to_owned(), |(part, whole)| format!("{part}/{whole}"))
}

fn ago(since: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match now.saturating_sub(since) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}
