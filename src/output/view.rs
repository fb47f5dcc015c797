//! What a person reads in a terminal: every text, the decision, the answer, and where the time went.

use super::TextChoice;
use super::atoms::{atoms, width};
use super::document::{clock, percent, printable, title, words};
use crate::outcome::{Action, CleanEngine, DecidedBy, Finish, Intent, Outcome, Reply, Style, Timings};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// Whether to write ANSI colours. Whoever owns the terminal decides (NO_COLOR, not a terminal).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Color {
    /// Plain text.
    #[default]
    Never,
    /// ANSI escape codes.
    Always,
}

/// Columns of the labels on the left.
const LABELS: usize = 10;

/// The outcome for a person, wrapped at `columns` (at least 30). Control characters in any text are left out, so that
/// neither a recording's name nor a model can send escape codes to the terminal.
pub fn render_text_view(outcome: &Outcome, columns: usize, color: Color) -> String {
    let mut view = View { out: String::new(), columns: columns.max(30), color };
    view.heading(outcome);
    let raw = words(outcome, TextChoice::Raw);
    view.entry("Raw", if raw.trim().is_empty() { "(no speech)" } else { &raw }, None);
    if let Some(cleaned) = &outcome.cleaned {
        view.entry("Cleaned", &words(outcome, TextChoice::Cleaned), Some(&how_cleaned(cleaned.style, cleaned.engine)));
    }
    if let Some(translated) = &outcome.translated {
        view.entry(&translated.language.title(), &words(outcome, TextChoice::Translated), None);
    }
    if let Some(intent) = &outcome.intent {
        view.entry("Intent", &decision(intent), Some(&alternatives(intent)));
    }
    if let Some(reply) = &outcome.reply {
        view.entry("Answer", &reply.text, Some(&provenance(reply)));
    }
    for warning in &outcome.warnings {
        view.warning(&warning.message);
    }
    view.timings(&outcome.timings);
    view.out
}

struct View {
    out: String,
    columns: usize,
    color: Color,
}

impl View {
    fn paint(&self, code: &str, text: &str) -> String {
        match self.color {
            Color::Always if !text.is_empty() => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }

    fn heading(&mut self, outcome: &Outcome) {
        let mut facts = Vec::new();
        facts.extend(outcome.source.duration.map(|d| if d < 60.0 { format!("{d:.1} s") } else { clock(d) }));
        facts.extend(outcome.source.format.as_deref().map(printable));
        facts.extend(outcome.transcript.language.map(|l| l.title()));
        let heading = self.paint("1", &title(outcome));
        self.out.push_str(&heading);
        if !facts.is_empty() {
            let facts = self.paint("2", &facts.join(", "));
            self.out.push_str(&format!("  {facts}"));
        }
        self.out.push_str("\n\n");
    }

    /// A label, the text beside it with a hanging indent, and a remark under it.
    fn entry(&mut self, label: &str, text: &str, remark: Option<&str>) {
        let mut label = Some(label);
        for line in printable(text).lines() {
            self.lines(&mut label, line, None);
        }
        if let Some(name) = label.take() {
            let name = self.paint("1;36", name);
            self.out.push_str(&format!("{name}\n"));
        }
        if let Some(remark) = remark.filter(|remark| !remark.is_empty()) {
            self.lines(&mut None, remark, Some("2"));
        }
    }

    fn warning(&mut self, message: &str) {
        self.lines(&mut Some("Warning"), &printable(message), Some("33"));
    }

    fn lines(&mut self, label: &mut Option<&str>, text: &str, code: Option<&str>) {
        for line in wrap(text, self.columns - LABELS) {
            let name = label.take().unwrap_or_default();
            let pad = " ".repeat(LABELS.saturating_sub(width(name)).max(1));
            let line = code.map_or_else(|| line.clone(), |code| self.paint(code, &line));
            let row = format!("{}{pad}{line}", self.paint("1;36", name));
            self.out.push_str(row.trim_end());
            self.out.push('\n');
        }
    }

    fn timings(&mut self, timings: &Timings) {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        for (stage, ms) in stages(timings) {
            let speed = match stage {
                "recognise" | "total" if timings.audio_s > 0.0 && ms > 0.0 => {
                    format!("{:.1}x real time", timings.audio_s * 1000.0 / ms)
                }
                _ => String::new(),
            };
            table.add_row([stage.to_owned(), format!("{ms:.0} ms"), speed]);
        }
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        self.out.push('\n');
        for line in table.to_string().lines() {
            // The preset pads each cell by one blank on both sides.
            let line = self.paint("2", line.strip_prefix(' ').unwrap_or(line).trim_end());
            self.out.push_str(&line);
            self.out.push('\n');
        }
    }
}

/// Every stage that ran, in the order of the pipeline.
fn stages(timings: &Timings) -> impl Iterator<Item = (&'static str, f64)> {
    [
        ("decode", timings.decode_ms),
        ("vad", timings.vad_ms),
        ("recognise", timings.recognize_ms),
        ("clean", timings.clean_ms),
        ("translate", timings.translate_ms),
        ("intent", timings.intent_ms),
        ("first word of answer", timings.reply_first_ms),
        ("answer", timings.reply_ms),
        ("total", Some(timings.total_ms)),
    ]
    .into_iter()
    .filter_map(|(stage, ms)| ms.map(|ms| (stage, ms)))
}

fn how_cleaned(style: Style, engine: CleanEngine) -> String {
    let style = match style {
        Style::Verbatim => "verbatim",
        Style::Punctuate => "punctuate",
        Style::Tidy => "tidy",
        Style::Rewrite => "rewrite",
    };
    match engine {
        CleanEngine::None => style.to_owned(),
        CleanEngine::Grammar => format!("{style}, model held to the words by a grammar"),
        CleanEngine::Checked => format!("{style}, model checked against the words"),
        CleanEngine::Rules => format!("{style}, by rules"),
    }
}

fn decision(intent: &Intent) -> String {
    let then = match intent.action {
        Action::Text => "text is the result",
        Action::Light => "light model answers",
        Action::Heavy => "heavy model answers",
    };
    let by = match (intent.by, intent.undecided) {
        (DecidedBy::Forced, _) => ", as asked",
        (_, true) => ", undecided: the default",
        (DecidedBy::Default, false) => ", the default",
        (DecidedBy::Rule, false) if intent.attention => ", wake phrase: listening",
        (DecidedBy::Rule, false) => ", by a rule",
        (DecidedBy::SecondOpinion, false) => ", second opinion",
        (DecidedBy::Model, false) => "",
    };
    let then = if intent.attention { "nobody answers yet" } else { then };
    let label = if intent.path.is_empty() { intent.label.clone() } else { intent.path.join("/") };
    format!("{label} {}{by} -> {then}", percent(intent.probability))
}

/// The labels that were not taken, the likeliest first.
fn alternatives(intent: &Intent) -> String {
    let mut others: Vec<_> = intent.probabilities.iter().filter(|(label, _)| **label != intent.label).collect();
    others.sort_by(|a, b| b.1.total_cmp(a.1));
    others.iter().take(4).map(|(label, p)| format!("{label} {}", percent(**p))).collect::<Vec<_>>().join(", ")
}

fn provenance(reply: &Reply) -> String {
    let mut parts = vec![format!("{} model {}", reply.tier.name(), reply.model)];
    parts.extend(reply.tokens.map(|tokens| format!("{tokens} tokens")));
    parts.extend(match reply.finish {
        Finish::Stop => None,
        Finish::Length => Some("cut at the token limit".to_owned()),
        Finish::Timeout => Some("cut at the time limit".to_owned()),
        Finish::Broken => Some("the connection broke".to_owned()),
    });
    parts.join(", ")
}

/// Greedy wrapping; keeps the indentation of a line (code in an answer) and blank lines.
fn wrap(line: &str, columns: usize) -> Vec<String> {
    let indent: String = line.chars().take_while(|c| *c == ' ').take(columns / 2).collect();
    let mut lines = vec![indent.clone()];
    let mut used = indent.len();
    for atom in atoms(line, columns) {
        let (space, columns_of_atom) = (usize::from(atom.space_before && used > indent.len()), width(&atom.text));
        if used > indent.len() && used + space + columns_of_atom > columns {
            lines.push(indent.clone());
            used = indent.len();
        } else if space == 1 {
            used += 1;
            lines.last_mut().expect("never empty").push(' ');
        }
        lines.last_mut().expect("never empty").push_str(&atom.text);
        used += columns_of_atom;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_person_sees_every_part() {
        let view = render_text_view(&samples::full(), 80, Color::Never);
        for part in [
            "talk.wav  6.0 s, wav/pcm_s16le, English",
            "Raw       um what is the capital of france thank you",
            "Cleaned   What is the capital of France?",
            "German    Was ist",
            "Intent    quick 88 % -> light model answers",
            "note 12 %",
            "Answer    Paris.",
            "Warning   the last sentence",
            "recognise",
            "800 ms",
            "2200 ms",
        ] {
            assert!(view.contains(part), "'{part}' is missing from\n{view}");
        }
        assert!(!view.contains('\x1b'));
    }

    #[test]
    fn long_lines_wrap_with_a_hanging_indent() {
        let outcome = samples::spoken(&[(0.0, 9.0, &"word ".repeat(60)), (9.0, 20.0, &"汉字。".repeat(60))], 20.0);
        let view = render_text_view(&outcome, 60, Color::Never);
        assert!(view.lines().all(|line| width(line) <= 60), "{view}");
        assert!(view.lines().filter(|line| line.starts_with("          word")).count() >= 4, "{view}");
    }

    #[test]
    fn escape_codes_of_others_never_reach_the_terminal() {
        let mut outcome = samples::full();
        outcome.source.name = "evil\x1b]0;title\x07.wav".into();
        outcome.transcript.segments[0].text = "\x1b[2Jgone".into();
        outcome.reply.as_mut().unwrap().text = "\x1b[31mred\u{9b}31m".into();
        outcome.reply.as_mut().unwrap().model = "m\x1b[1m".into();
        let view = render_text_view(&outcome, 80, Color::Never);
        assert!(view.chars().all(|c| c == '\n' || !c.is_control()), "{view:?}");
        assert!(render_text_view(&samples::full(), 80, Color::Always).contains("\x1b[1;36mRaw\x1b[0m"));
    }

    #[test]
    fn code_in_an_answer_keeps_its_indentation() {
        assert_eq!(wrap("    let x = 1;", 40), ["    let x = 1;"]);
        assert_eq!(wrap("", 40), [""]);
    }
}
