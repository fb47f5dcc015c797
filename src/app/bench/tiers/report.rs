//! What was measured, as figures, ratios and a table.

use super::held_out::{ENOUGH, Right};
use super::setups::{Sample, Setup};
use crate::app::bench::{median, p95};
use crate::text::llm::Usage;
use comfy_table::{Table, presets};
use serde::Serialize;
use std::collections::BTreeMap;

/// The aims of the two-tier design: the route as many times faster, and this share of the time to the end.
const ROUTE_AGAINST_JSON: f64 = 10.0;
const ROUTE_AGAINST_SINGLE: f64 = 2.0;
const END_SHARE: f64 = 0.8;

/// Everything of one set-up at one number of speakers.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    /// By repetition, one an utterance.
    rounds: Vec<Vec<Sample>>,
    usage: Usage,
}

impl Cell {
    pub fn add(&mut self, samples: Vec<Sample>, usage: Usage) {
        self.rounds.push(samples);
        self.usage = self.usage + usage;
    }
}

/// What goes into a report.
pub(super) struct Measured {
    pub heavy: String,
    pub light: String,
    /// Highest resident size of the heavy and of the light server, bytes.
    pub memory: [Option<u64>; 2],
    pub accuracy: Accuracy,
    pub utterances: usize,
    pub same_routes: bool,
    pub repeat: usize,
    pub answer_tokens: u32,
    pub cells: BTreeMap<(Setup, usize), Cell>,
}

/// The routers on held-out utterances.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Accuracy {
    pub held_out: usize,
    /// Largest share of words in common with an example of the prompt, 0 to 1.
    pub nearest_to_prompt: f64,
    /// JSON (on a part of them), one token by the heavy model, one token by the light one.
    pub routers: [Right; 3],
}

/// Figures of one set-up at one number of speakers; milliseconds from the recognised words on.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub setup: &'static str,
    pub speakers: usize,
    /// Median and the value that 95 % do not exceed.
    pub route_ms: f64,
    pub route_p95_ms: f64,
    /// Medians; `first_ms` over the utterances that got an answer.
    pub cleaned_ms: f64,
    pub first_ms: f64,
    /// Mean over the utterances of each one's median: the work of the whole set.
    pub end_ms: f64,
    /// The median of those that got no answer: notes.
    pub note_end_ms: f64,
    /// Tokens an utterance: read (with those from the cache), from the cache, generated.
    pub prompt_tokens: f64,
    pub cached_tokens: f64,
    pub generated_tokens: f64,
    /// Resident memory of the servers that the set-up needs, MB.
    pub memory_mb: Option<f64>,
}

/// One aim, and whether it was met.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Aim {
    pub what: String,
    pub value: String,
    pub met: bool,
}

/// The whole comparison.
#[derive(Clone, Debug, Serialize)]
pub(in crate::app::bench) struct Report {
    pub(super) heavy: String,
    pub(super) light: String,
    /// How it was measured.
    pub(super) notes: Vec<String>,
    pub(super) accuracy: Accuracy,
    pub(super) rows: Vec<Row>,
    pub(super) aims: Vec<Aim>,
}

impl Report {
    pub(super) fn new(measured: Measured) -> Self {
        let rows: Vec<Row> =
            measured.cells.iter().map(|((setup, speakers), cell)| row(&measured, *setup, *speakers, cell)).collect();
        let aims = aims(&rows, &measured.accuracy);
        let notes = notes(&measured);
        let Measured { heavy, light, accuracy, .. } = measured;
        Report { heavy, light, notes, accuracy, rows, aims }
    }

    /// For a terminal.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        let head = std::iter::once("FIGURE").chain(Setup::ALL.map(Setup::name));
        table.load_style(presets::NOTHING).set_header(head);
        for (what, values) in self.lines() {
            table.add_row(std::iter::once(what).chain(values));
        }
        table.column_iter_mut().for_each(|column| {
            column.set_padding((0, 2));
        });
        let mut text = table.trim_fmt();
        text.push_str("\n\n");
        for aim in &self.aims {
            text.push_str(&format!("{}  {}: {}\n", if aim.met { "met   " } else { "MISSED" }, aim.what, aim.value));
        }
        text.push('\n');
        text.push_str(&self.notes.join("\n"));
        text
    }

    /// A line a figure, a value a set-up.
    pub(super) fn lines(&self) -> Vec<(String, Vec<String>)> {
        let mut lines = Vec::new();
        let speakers: Vec<usize> =
            self.rows.iter().map(|row| row.speakers).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
        type Shown<'a> = &'a dyn Fn(&Row) -> String;
        let per_speakers: [(&str, Shown); 5] = [
            ("route", &|row| format!("{:.0} ms (p95 {:.0})", row.route_ms, row.route_p95_ms)),
            ("cleaned text", &|row| format!("{:.0} ms", row.cleaned_ms)),
            ("first answer token", &|row| shown_or_none(row.first_ms)),
            ("end to end, mean", &|row| format!("{:.0} ms", row.end_ms)),
            ("end to end, a note", &|row| shown_or_none(row.note_end_ms)),
        ];
        for (what, shown) in per_speakers {
            for count in &speakers {
                let name = format!("{what}, {count} {}", if *count == 1 { "speaker" } else { "speakers" });
                lines.push((name, self.of(*count).map(shown).collect()));
            }
        }
        let first = speakers.first().copied().unwrap_or(1);
        let once: [(&str, Shown); 4] = [
            ("tokens read, an utterance", &|row| format!("{:.0}", row.prompt_tokens)),
            ("of them from the cache", &|row| {
                let share = row.cached_tokens / row.prompt_tokens.max(1.0) * 100.0;
                format!("{:.0} ({share:.0} %)", row.cached_tokens)
            }),
            ("tokens generated, an utterance", &|row| format!("{:.0}", row.generated_tokens)),
            ("memory of the servers", &|row| row.memory_mb.map_or("unknown".into(), |mb| format!("{mb:.0} MB"))),
        ];
        lines.extend(once.into_iter().map(|(what, shown)| (what.to_owned(), self.of(first).map(shown).collect())));
        let right = |right: &Right| {
            let (low, high) = right.interval;
            format!(
                "{:.1} % ({:.1} to {:.1}; {} of {})",
                right.accuracy * 100.0,
                low * 100.0,
                high * 100.0,
                right.right,
                right.of
            )
        };
        // The head start decides as the two tiers do.
        let routers = self.accuracy.routers.iter().chain(self.accuracy.routers.last());
        lines.push(("intent accuracy, held out".into(), routers.map(right).collect()));
        lines
    }

    fn of(&self, speakers: usize) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.speakers == speakers)
    }
}

/// Nothing was measured where there is no time.
fn shown_or_none(ms: f64) -> String {
    if ms > 0.0 { format!("{ms:.0} ms") } else { "–".to_owned() }
}

fn row(measured: &Measured, setup: Setup, speakers: usize, cell: &Cell) -> Row {
    let all: Vec<&Sample> = cell.rounds.iter().flatten().collect();
    let values = |of: &dyn Fn(&Sample) -> Option<f64>| all.iter().filter_map(|sample| of(sample)).collect::<Vec<f64>>();
    let route = values(&|sample| Some(sample.route));
    let utterances = cell.rounds.first().map_or(0, Vec::len);
    let ends = (0..utterances).map(|at| {
        let of_one: Vec<f64> = cell.rounds.iter().filter_map(|round| Some(round.get(at)?.end)).collect();
        median(&of_one)
    });
    let each = |tokens: u64| tokens as f64 / all.len().max(1) as f64;
    let [heavy, light] = measured.memory;
    let bytes = if matches!(setup, Setup::Two | Setup::Ahead) {
        heavy.zip(light).map(|(heavy, light)| heavy + light)
    } else {
        heavy
    };
    Row {
        setup: setup.name(),
        speakers,
        route_ms: median(&route),
        route_p95_ms: p95(&route),
        cleaned_ms: median(&values(&|sample| Some(sample.cleaned))),
        first_ms: median(&values(&|sample| sample.first)),
        end_ms: ends.sum::<f64>() / utterances.max(1) as f64,
        note_end_ms: median(&values(&|sample| sample.first.is_none().then_some(sample.end))),
        prompt_tokens: each(cell.usage.prompt_tokens),
        cached_tokens: each(cell.usage.cached_tokens),
        generated_tokens: each(cell.usage.generated_tokens),
        memory_mb: bytes.map(|bytes| bytes as f64 / 1e6),
    }
}

fn aims(rows: &[Row], accuracy: &Accuracy) -> Vec<Aim> {
    let of = |setup: Setup| rows.iter().filter(move |row| row.setup == setup.name()).min_by_key(|row| row.speakers);
    let (Some(json), Some(single), Some(two)) = (of(Setup::Json), of(Setup::Single), of(Setup::Two)) else {
        return Vec::new();
    };
    let ratio = |a: f64, b: f64| a / b.max(0.001);
    let (to_json, to_single) = (ratio(json.route_ms, two.route_ms), ratio(single.route_ms, two.route_ms));
    let share = ratio(two.end_ms, json.end_ms);
    let [_, heavy, light] = &accuracy.routers;
    vec![
        Aim {
            what: format!("route, (a) over (c), at least {ROUTE_AGAINST_JSON:.0} times"),
            value: format!("{to_json:.1} times"),
            met: to_json >= ROUTE_AGAINST_JSON,
        },
        Aim {
            what: format!("route, (b) over (c), at least {ROUTE_AGAINST_SINGLE:.0} times"),
            value: format!("{to_single:.1} times"),
            met: to_single >= ROUTE_AGAINST_SINGLE,
        },
        Aim {
            what: format!("end to end, (c) at least {:.0} % less than (a)", (1.0 - END_SHARE) * 100.0),
            value: format!("{:.0} % less", (1.0 - share) * 100.0),
            met: share <= END_SHARE,
        },
        Aim {
            what: format!("intent accuracy of light not below heavy's, on at least {ENOUGH} held-out utterances"),
            value: format!(
                "{:.1} % against {:.1} %, on {}",
                light.accuracy * 100.0,
                heavy.accuracy * 100.0,
                accuracy.held_out
            ),
            met: light.accuracy >= heavy.accuracy && accuracy.held_out >= ENOUGH,
        },
    ]
}

fn notes(measured: &Measured) -> Vec<String> {
    let Measured { heavy, light, accuracy, utterances, same_routes, repeat, answer_tokens, .. } = measured;
    let routed = if *same_routes {
        "all of them routed rightly, so that the work is the same"
    } else {
        "not all of them routed rightly, so that end to end compares different work"
    };
    let json = &accuracy.routers[0];
    vec![
        format!("Heavy {heavy}, light {light}; {utterances} utterances, {routed}; medians of {repeat}, after a warm-up \
                 of one utterance each; set-ups take turns. Milliseconds from the recognised words on."),
        "(a) cleans, routes and answers one after the other, and its route is the routing call alone; the others clean \
         and route at once. All share one heavy server with a slot for each kind of prompt."
            .to_owned(),
        format!("Answers end after {answer_tokens} tokens: longer ones take as long in every set-up and make the \
                 difference end to end smaller."),
        format!(
            "None of the {} held-out utterances is in the prompt: the nearest shares {:.0} % of its words with an \
             example. JSON was asked about {} of them.",
            accuracy.held_out,
            accuracy.nearest_to_prompt * 100.0,
            json.of
        ),
    ]
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A report on two utterances (a note and a request), measured twice.
    pub(in super::super) fn example(light_right: usize) -> Report {
        let sample = |route: f64, first: Option<f64>, end: f64| Sample { route, cleaned: end / 2.0, first, end };
        let mut cells: BTreeMap<(Setup, usize), Cell> = BTreeMap::new();
        let setups = [(3000.0, 9000.0), (500.0, 7000.0), (200.0, 6000.0), (210.0, 5900.0)];
        for (setup, (route, end)) in Setup::ALL.into_iter().zip(setups) {
            for speakers in [1, 2, 4] {
                let cell = cells.entry((setup, speakers)).or_default();
                for noise in [0.0, 10.0] {
                    let note = sample(route + noise, None, end / 10.0);
                    let request = sample(route + noise, Some(end / 2.0), end * speakers as f64);
                    let usage = Usage { requests: 4, prompt_tokens: 1000, cached_tokens: 900, generated_tokens: 60 };
                    cell.add(vec![note, request], usage);
                }
            }
        }
        let routers = [Right::new("a", 20, 24), Right::new("b", 190, 216), Right::new("c", light_right, 216)];
        Report::new(Measured {
            heavy: "big <one>".into(),
            light: "small".into(),
            memory: [Some(2_000_000_000), Some(500_000_000)],
            accuracy: Accuracy { held_out: 216, nearest_to_prompt: 0.5, routers },
            utterances: 2,
            same_routes: true,
            repeat: 2,
            answer_tokens: 64,
            cells,
        })
    }

    #[test]
    fn ratios_are_of_medians_at_one_speaker_and_aims_say_whether_they_are_met() {
        let report = example(190);
        let met: Vec<bool> = report.aims.iter().map(|aim| aim.met).collect();
        assert_eq!(met, [true, true, true, true], "{:?}", report.aims);
        assert_eq!(report.aims[0].value, "14.7 times");
        assert_eq!(report.aims[2].value, "33 % less");
        let missed = example(189);
        assert!(!missed.aims[3].met && missed.table().contains("MISSED"), "{}", missed.table());
    }

    #[test]
    fn end_to_end_is_the_mean_of_the_set_and_the_first_token_only_of_answers() {
        let report = example(190);
        let two: Vec<&Row> = report.of(1).filter(|row| row.setup == Setup::Two.name()).collect();
        assert_eq!((two[0].end_ms, two[0].first_ms), ((600.0 + 6000.0) / 2.0, 3000.0));
        assert_eq!((two[0].prompt_tokens, two[0].memory_mb), (500.0, Some(2500.0)));
        let table = report.table();
        for text in ["route, 4 speakers", "450 (90 %)", "2500 MB", "None of the 216", "88.0 % ("] {
            assert!(table.contains(text), "{text} in\n{table}");
        }
    }
}
