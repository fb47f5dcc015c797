//! From an [`Outcome`] to what leaves the program: pure renderings, and sinks that deliver them.
//!
//! Renderings are functions of the outcome alone. Text that a model or a recording brought in is treated as data: it
//! can neither send escape codes to a terminal nor start a cue, a row or a formula in a file.

mod atoms;
mod document;
mod formats;
pub mod insert;
pub mod parse;
mod passages;
mod phrasing;
mod sink;
mod subtitles;
mod timing;
mod view;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod schema;

pub use passages::{TimedText, timed_texts};
pub use sink::{Delivered, Destination, Existing, Inputs, OutputError, Sink, write_whole};
pub(crate) use sink::{sync_folder, temporary};
pub use subtitles::{Caption, SubtitleLimits};
pub use view::{Color, render_text_view};

use crate::outcome::Outcome;
use std::fmt;
use std::str::FromStr;
use subtitles::Names;

/// What an outcome can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
#[value(rename_all = "lowercase")]
pub enum Format {
    /// Everything, for a person at a terminal.
    Terminal,
    /// The text, and the answer where there is one.
    #[value(alias = "txt")]
    Text,
    /// The whole outcome, indented (docs/outcome.md).
    Json,
    /// The whole outcome on one line.
    Jsonl,
    /// SubRip subtitles.
    Srt,
    /// WebVTT subtitles.
    Vtt,
    /// Whisper's table: start and end in milliseconds, text.
    Tsv,
    /// Lyrics: a time before each line.
    Lrc,
    /// Start and end in seconds, text; RFC 4180.
    Csv,
    /// A Markdown page: what, when, translation, answer.
    Md,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 10] = [
        Format::Terminal,
        Format::Text,
        Format::Json,
        Format::Jsonl,
        Format::Srt,
        Format::Vtt,
        Format::Tsv,
        Format::Lrc,
        Format::Csv,
        Format::Md,
    ];

    /// As `--format` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Terminal => "terminal",
            Format::Text => "text",
            Format::Json => "json",
            Format::Jsonl => "jsonl",
            Format::Srt => "srt",
            Format::Vtt => "vtt",
            Format::Tsv => "tsv",
            Format::Lrc => "lrc",
            Format::Csv => "csv",
            Format::Md => "md",
        }
    }

    /// File name extension, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Terminal | Format::Text => "txt",
            other => other.name(),
        }
    }

    /// The format that a file name asks for by its extension, if one does.
    pub fn of_path(path: &std::path::Path) -> Option<Format> {
        let extension = path.extension()?.to_str()?.to_lowercase();
        match extension.as_str() {
            "markdown" => Some(Format::Md),
            "ndjson" => Some(Format::Jsonl),
            other => Format::ALL.into_iter().find(|f| *f != Format::Terminal && f.extension() == other),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = RenderError;
    fn from_str(given: &str) -> Result<Self, RenderError> {
        let lower = given.trim().to_lowercase();
        Format::ALL
            .into_iter()
            .find(|f| f.name() == lower || (lower == "txt" && *f == Format::Text))
            .ok_or_else(|| RenderError::UnknownFormat { given: given.to_owned() })
    }
}

/// Which text of the outcome. What is missing gives way to the next best (translated, cleaned, raw): the outcome's
/// warnings say why it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
#[value(rename_all = "lowercase")]
pub enum TextChoice {
    /// Translated, else cleaned, else raw.
    #[default]
    Best,
    /// As recognised.
    Raw,
    /// Cleaned, else raw.
    Cleaned,
    /// Translated, else cleaned, else raw.
    Translated,
}

/// What the text format does with a model's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
#[value(rename_all = "lowercase")]
pub enum Answer {
    /// After the text and a blank line.
    #[default]
    Append,
    /// In place of the text, where there is one.
    Only,
    /// Left out.
    Omit,
}

/// Whether VTT and LRC carry the time of each word inside the line (players highlight them as they are spoken).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
#[value(rename_all = "lowercase")]
pub enum WordTimes {
    /// Plain lines.
    #[default]
    Plain,
    /// `<00:00:01.000>` before a word whose time was measured.
    Inline,
}

/// How to render.
#[derive(Clone, Debug, PartialEq)]
pub struct RenderSettings {
    /// Which text; JSON carries all of them regardless.
    pub text: TextChoice,
    /// The answer in the text format.
    pub answer: Answer,
    /// Layout of SRT, VTT and LRC.
    pub subtitles: SubtitleLimits,
    /// Times inside lines of VTT and LRC.
    pub word_times: WordTimes,
    /// Columns of the terminal view.
    pub columns: usize,
    /// Colours of the terminal view.
    pub color: Color,
}

impl Default for RenderSettings {
    fn default() -> Self {
        RenderSettings {
            text: TextChoice::default(),
            answer: Answer::default(),
            subtitles: SubtitleLimits::default(),
            word_times: WordTimes::default(),
            columns: 100,
            color: Color::Never,
        }
    }
}

/// Why an outcome cannot be written in a format.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// Subtitles of text that never was a recording.
    #[error("{format} needs times and '{name}' has none; choose text, json, jsonl or md")]
    NoTimes {
        /// What was asked for.
        format: Format,
        /// What was read.
        name: String,
    },
    /// The outcome cannot be written as JSON.
    #[error("the outcome cannot be written as {format}: {source}")]
    Json {
        /// `json` or `jsonl`.
        format: Format,
        /// What serde says.
        source: serde_json::Error,
    },
    /// `--format` with a name that nobody knows.
    #[error("unknown format '{given}'; use one of terminal, text, json, jsonl, srt, vtt, tsv, lrc, csv, md")]
    UnknownFormat {
        /// What was given.
        given: String,
    },
}

/// The outcome as `format`: UTF-8, line feeds, a line feed at the end unless empty.
pub fn render(outcome: &Outcome, format: Format, settings: &RenderSettings) -> Result<String, RenderError> {
    let json_error = |source| RenderError::Json { format, source };
    Ok(match format {
        Format::Terminal => render_text_view(outcome, settings.columns, settings.color),
        Format::Text => document::text(outcome, settings),
        Format::Json => serde_json::to_string_pretty(outcome).map_err(json_error)? + "\n",
        Format::Jsonl => serde_json::to_string(outcome).map_err(json_error)? + "\n",
        Format::Md => document::markdown(outcome, settings),
        Format::Srt | Format::Vtt | Format::Lrc => {
            let chosen = passages::choose(outcome, settings.text);
            let untimed = outcome.source.duration.is_none() && chosen.passages.iter().all(|p| p.end == 0.0);
            if untimed && !chosen.passages.is_empty() {
                return Err(RenderError::NoTimes { format, name: outcome.source.name.clone() });
            }
            let names = if format == Format::Vtt { Names::Beside } else { Names::InText };
            let captions = subtitles::captions(&chosen, outcome.source.duration, &settings.subtitles, names);
            match format {
                Format::Srt => formats::srt(&captions),
                Format::Vtt => formats::vtt(&captions, chosen.language, settings.word_times),
                _ => formats::lrc(&captions, &outcome.source, settings.word_times),
            }
        }
        Format::Tsv => formats::tsv(&passages::choose(outcome, settings.text)),
        Format::Csv => formats::csv(&passages::choose(outcome, settings.text)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn names_extensions_and_clap_agree() {
        assert_eq!(Format::ALL.len(), Format::value_variants().len());
        for format in Format::ALL {
            assert_eq!(format.to_string().parse::<Format>().ok(), Some(format));
            let clap_name = format.to_possible_value().map(|v| v.get_name().to_owned());
            assert_eq!(clap_name.as_deref(), Some(format.name()));
        }
        assert_eq!(Format::of_path("a/talk.SRT".as_ref()), Some(Format::Srt));
        assert_eq!(Format::of_path("talk.txt".as_ref()), Some(Format::Text));
        assert_eq!(Format::of_path("talk".as_ref()), None);
        assert!("doc".parse::<Format>().unwrap_err().to_string().contains("'doc'"));
    }

    #[test]
    fn text_without_times_gives_no_subtitles_but_everything_else() {
        let mut outcome = samples::full();
        outcome.source.duration = None;
        outcome.translated = None;
        for segment in &mut outcome.transcript.segments {
            (segment.start, segment.end, segment.words) = (0.0, 0.0, vec![]);
        }
        let settings = RenderSettings { text: TextChoice::Raw, ..RenderSettings::default() };
        for format in Format::ALL {
            let timed = matches!(format, Format::Srt | Format::Vtt | Format::Lrc);
            assert_eq!(render(&outcome, format, &settings).is_err(), timed, "{format}");
        }
    }

    #[test]
    fn silence_renders_in_every_format() {
        for format in Format::ALL {
            let written = render(&samples::silence(), format, &RenderSettings::default()).unwrap();
            assert!(written.is_empty() || written.ends_with('\n'), "{format}");
        }
    }

    /// Two people, of whom one says something while the other goes on.
    fn call() -> Outcome {
        let long = "I wanted to ask about the bill that came last week, because it seems to be far too high, and I think \
                    somebody made a mistake there.";
        let mut outcome = samples::spoken(
            &[(0.0, 2.0, "Good morning."), (3.0, 13.0, long), (6.0, 7.0, "Yes."), (14.0, 15.0, "=1+1?")],
            20.0,
        );
        for (segment, name) in outcome.transcript.segments.iter_mut().zip(["Agent <1>", "Ann", "Agent <1>", "Ann"]) {
            segment.speaker = Some(name.into());
        }
        outcome
    }

    #[test]
    fn who_speaks_is_named_at_each_change_in_every_format() {
        let outcome = call();
        let rendered = |format| render(&outcome, format, &RenderSettings::default()).unwrap();
        let text = rendered(Format::Text);
        assert!(text.starts_with("Agent <1>: Good morning.\n\nAnn: I wanted to ask"), "{text}");
        assert!(text.contains("\n\nAgent <1>: Yes.\n\nAnn: =1+1?\n"), "{text}");
        assert!(
            rendered(Format::Terminal).contains("Raw       Agent <1>: Good morning.\n"),
            "{}",
            rendered(Format::Terminal)
        );
        let md = rendered(Format::Md);
        assert!(
            md.contains("**0:00** **Agent \\<1\\>:** Good morning.") && md.contains("**0:03** **Ann:** I wanted"),
            "{md}"
        );
        let tsv = rendered(Format::Tsv);
        assert!(tsv.starts_with("start\tend\ttext\tspeaker\n0\t2000\tGood morning.\tAgent <1>\n"), "{tsv}");
        let csv = rendered(Format::Csv);
        assert!(csv.starts_with("start,end,text,speaker\n0.000,2.000,\"Good morning.\",\"Agent <1>\"\n"), "{csv}");
        let lrc = rendered(Format::Lrc);
        assert!(lrc.contains("[00:00.00]Agent <1>: Good morning.\n"), "{lrc}");
        let vtt = rendered(Format::Vtt);
        assert!(vtt.contains("<v Agent &lt;1&gt;>Good morning.\n") && vtt.contains("<v Ann>I wanted"), "{vtt}");
        let cues = parse::parse_vtt(&vtt).unwrap();
        assert!(cues.iter().all(|cue| cue.speaker.is_some()), "{cues:?}");
        assert_eq!(cues[0].speaker.as_deref(), Some("Agent <1>"));
    }

    #[test]
    fn captions_of_two_who_speak_at_once_say_who_goes_on() {
        let srt = render(&call(), Format::Srt, &RenderSettings::default()).unwrap();
        let cues = parse::parse_srt(&srt).unwrap();
        assert!(cues.windows(2).all(|pair| pair[0].end <= pair[1].start), "{srt}");
        let said: Vec<&str> = cues.iter().map(|cue| cue.text.as_str()).collect();
        let yes = said.iter().position(|text| *text == "Agent <1>: Yes.").expect(&srt);
        assert!(said[1].starts_with("Ann: ") && yes > 1, "{srt}");
        assert!(said[yes + 1].starts_with("Ann: ") && yes + 2 < said.len(), "she goes on: {srt}");
        assert!(said.last().is_some_and(|text| !text.starts_with("Agent")), "{srt}");
    }

    #[test]
    fn nobody_is_named_where_nobody_is_known() {
        let outcome = samples::full();
        let rendered = |format| render(&outcome, format, &RenderSettings::default()).unwrap();
        assert!(
            rendered(Format::Csv).starts_with("start,end,text\n")
                && rendered(Format::Tsv).starts_with("start\tend\ttext\n")
        );
        assert!(!rendered(Format::Vtt).contains("<v "));
    }
}
