//! `bestbox route --shadow-report`: what another setting would have changed, from the log of decisions.

use crate::engine::{Entry, Shadow};
use crate::error::Error;
use crate::outcome::Action;
use crate::text::intent::Level;
use comfy_table::Table;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// All that is reported of one setting.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Report {
    /// Decisions in the log that had this shadow.
    decisions: usize,
    /// Of those, how many it was asked for.
    compared: usize,
    /// Why it was not asked for the others.
    dropped: BTreeMap<String, usize>,
    /// Same route down to the department.
    same_route: usize,
    /// Same first level.
    same_first: usize,
    /// Same action: nothing else would have happened.
    same_action: usize,
    /// What was done → what the shadow would have done → how often.
    confusion: BTreeMap<String, BTreeMap<String, usize>>,
    done: Cost,
    shadow: Cost,
}

/// What the compared decisions cost.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Cost {
    /// Calls of the heavy model for an answer.
    heavy_answers: usize,
    /// Decisions left to the default.
    undecided: usize,
    /// Milliseconds of a decision.
    median_ms: f64,
    /// Prompt tokens that were not cached.
    tokens_read: u64,
    #[serde(skip)]
    times: Vec<f64>,
}

impl Cost {
    fn add(&mut self, action: Option<Action>, undecided: bool, ms: f64, levels: &[Level]) {
        self.heavy_answers += usize::from(action == Some(Action::Heavy));
        self.undecided += usize::from(undecided);
        self.times.push(ms);
        let read = |level: &Level| Some(level.prompt_tokens?.saturating_sub(level.cached_tokens?));
        self.tokens_read += levels.iter().filter_map(read).map(u64::from).sum::<u64>();
    }

    fn finish(&mut self) {
        self.times.sort_by(f64::total_cmp);
        self.median_ms = self.times.get(self.times.len() / 2).copied().unwrap_or(0.0);
    }
}

/// Reads the log and what was moved aside of it, and prints a report for each setting.
pub(super) fn run(log: &Path, json: bool) -> Result<(), Error> {
    let mut old = log.as_os_str().to_owned();
    old.push(".1");
    let (mut reports, mut unreadable) = (BTreeMap::new(), 0);
    for (path, required) in [(Path::new(&old), false), (log, true)] {
        match std::fs::File::open(path) {
            Ok(file) => {
                let read = |source| Error::Read { path: path.to_owned(), source };
                unreadable += add(&mut reports, BufReader::new(file)).map_err(read)?;
            }
            Err(source) if required => return Err(Error::Read { path: path.to_owned(), source }),
            Err(_) => {}
        }
    }
    for report in reports.values_mut() {
        report.done.finish();
        report.shadow.finish();
    }
    if json {
        let text = serde_json::to_string_pretty(&reports).map_err(|error| Error::Usage(error.to_string()))?;
        println!("{text}");
    } else if reports.is_empty() {
        println!("no decision in {} has a shadow; set intent.shadow", log.display());
    } else {
        for (setting, report) in &reports {
            println!("{}", shown(setting, report));
        }
    }
    if unreadable > 0 {
        eprintln!("{unreadable} lines of the log cannot be read");
    }
    Ok(())
}

/// Counts the lines of a log; returns how many are none.
fn add(reports: &mut BTreeMap<String, Report>, log: impl BufRead) -> std::io::Result<usize> {
    let mut unreadable = 0;
    for line in log.split(b'\n') {
        let line = line?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice::<Entry>(&line) {
            Ok(entry) => {
                if let Some(shadow) = &entry.shadow {
                    count(reports.entry(shadow.setting.clone()).or_default(), &entry, shadow);
                }
            }
            Err(_) => unreadable += 1,
        }
    }
    Ok(unreadable)
}

fn count(report: &mut Report, entry: &Entry, shadow: &Shadow) {
    report.decisions += 1;
    let Some(route) = shadow.route.as_ref().filter(|_| shadow.dropped.is_none()) else {
        *report.dropped.entry(shadow.dropped.clone().unwrap_or_default()).or_default() += 1;
        return;
    };
    let first = |route: &str| route.split('/').next().unwrap_or_default().to_owned();
    report.compared += 1;
    report.same_route += usize::from(entry.route == *route);
    report.same_first += usize::from(first(&entry.route) == first(route));
    report.same_action += usize::from(Some(entry.action) == shadow.action);
    *report.confusion.entry(entry.route.clone()).or_default().entry(route.clone()).or_default() += 1;
    let second = entry.trace.second_opinion.as_ref().and_then(|second| second.level.clone());
    let levels: Vec<Level> = entry.trace.levels.iter().cloned().chain(second).collect();
    report.done.add(Some(entry.action), entry.undecided, entry.trace.ms, &levels);
    report.shadow.add(shadow.action, shadow.undecided, shadow.ms, &shadow.levels);
}

fn shown(setting: &str, report: &Report) -> String {
    let share = |part: usize| format!("{part} ({:.1} %)", 100.0 * part as f64 / report.compared.max(1) as f64);
    let mut text = format!("shadow {setting}: {} decisions, {} compared\n", report.decisions, report.compared);
    for (why, count) in &report.dropped {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  not asked {count} times: {why}");
    }
    if report.compared == 0 {
        return text;
    }
    let _ = writeln!(
        text,
        "  same route {}, same first level {}, same action {}",
        share(report.same_route),
        share(report.same_first),
        share(report.same_action)
    );
    let mut costs = Table::new();
    costs.set_header(["", "as done", "shadow"]);
    let (done, shadow) = (&report.done, &report.shadow);
    costs.add_row(["heavy model answers".to_owned(), share(done.heavy_answers), share(shadow.heavy_answers)]);
    costs.add_row(["undecided".to_owned(), share(done.undecided), share(shadow.undecided)]);
    costs.add_row([
        "median decision, ms".to_owned(),
        format!("{:.0}", done.median_ms),
        format!("{:.0}", shadow.median_ms),
    ]);
    costs.add_row(["prompt tokens read".to_owned(), done.tokens_read.to_string(), shadow.tokens_read.to_string()]);
    let _ = writeln!(text, "{costs}");
    let columns: std::collections::BTreeSet<&String> = report.confusion.values().flat_map(BTreeMap::keys).collect();
    let mut confusion = Table::new();
    confusion
        .set_header(std::iter::once("done \\ shadow".to_owned()).chain(columns.iter().map(|name| (*name).clone())));
    for (done, row) in &report.confusion {
        let cells = columns.iter().map(|name| row.get(*name).copied().unwrap_or(0).to_string());
        confusion.add_row(std::iter::once(done.clone()).chain(cells));
    }
    let _ = write!(text, "{confusion}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(route: &str, action: &str, shadow: &str) -> String {
        format!(
            r#"{{"time":1.0,"route":"{route}","action":"{action}","by":"model","undecided":false,"probability":0.9,
            "context":0,"levels":[{{"tier":"light","model":null,"probabilities":{{}},"best":"","threshold":0.5,
            "label_mass":1.0,"min_label_mass":0.0,"taken":null,"calibration":null,"prompt_tokens":100,"cached_tokens":90,
            "ms":4.0}}],"ms":5.0,"shadow":{shadow}}}"#
        )
        .replace('\n', "")
    }

    #[test]
    fn agreement_confusion_and_cost_are_summed() {
        let asked = |route: &str, action: &str| {
            format!(r#"{{"setting":"heavy","route":"{route}","action":"{action}","undecided":false,"ms":50.0}}"#)
        };
        let log = [
            line("agent/mail", "heavy", &asked("agent/mail", "heavy")),
            line("agent/mail", "heavy", &asked("agent/files", "heavy")),
            line("note", "text", &asked("agent/files", "heavy")),
            line("note", "text", r#"{"setting":"heavy","dropped":"busy"}"#),
            "{\"time\": 1.0, \"rou".to_owned(),
            String::new(),
        ]
        .join("\n");
        let mut reports = BTreeMap::new();
        assert_eq!(add(&mut reports, log.as_bytes()).unwrap(), 1);
        let report = reports.get_mut("heavy").unwrap();
        report.done.finish();
        report.shadow.finish();
        assert_eq!((report.decisions, report.compared, report.dropped["busy"]), (4, 3, 1));
        assert_eq!((report.same_route, report.same_first, report.same_action), (1, 2, 2));
        assert_eq!((report.done.heavy_answers, report.shadow.heavy_answers), (2, 3));
        assert_eq!((report.done.median_ms, report.shadow.median_ms, report.done.tokens_read), (5.0, 50.0, 30));
        assert_eq!(report.confusion["note"]["agent/files"], 1);
        let text = shown("heavy", report);
        assert!(text.contains("same route 1 (33.3 %)") && text.contains("not asked 1 times: busy"), "{text}");
    }
}
