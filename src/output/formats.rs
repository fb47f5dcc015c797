//! Timed formats: SRT, VTT, LRC from captions; TSV and CSV from passages.

use super::WordTimes;
use super::passages::{Chosen, TimedAtom};
use super::subtitles::Caption;
use crate::language::Lang;
use crate::outcome::SourceInfo;
use std::fmt::Write;

/// SubRip: number, `00:00:01,000 --> 00:00:02,000`, lines, blank line. Line feeds, as every player accepts them.
pub(super) fn srt(captions: &[Caption]) -> String {
    let mut out = String::new();
    for (i, caption) in captions.iter().enumerate() {
        let (start, end) = (clock(caption.start_ms, ','), clock(caption.end_ms, ','));
        let _ = writeln!(out, "{}\n{start} --> {end}", i + 1);
        for line in caption.lines() {
            let _ = writeln!(out, "{}", srt_line(&line));
        }
        out.push('\n');
    }
    out
}

/// SRT knows no escapes. An arrow is shortened as Whisper does it, and a word joiner (invisible) keeps `<i>` and
/// `{\an8}` from being read as markup.
fn srt_line(line: &str) -> String {
    let mut line = line.to_owned();
    while line.contains("-->") {
        line = line.replace("-->", "->");
    }
    let mut safe = String::with_capacity(line.len());
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        safe.push(c);
        let markup = match (c, rest.peek()) {
            ('<', Some(next)) => next.is_ascii_alphabetic() || *next == '/',
            ('{', Some(next)) => *next == '\\',
            _ => false,
        };
        if markup {
            safe.push('\u{2060}');
        }
    }
    safe
}

/// WebVTT (W3C): `&`, `<` and `>` escaped, so that `-->` cannot stand in a cue.
pub(super) fn vtt(captions: &[Caption], language: Option<Lang>, word_times: WordTimes) -> String {
    let mut out = "WEBVTT\n\n".to_owned();
    if let Some(language) = language {
        let _ = write!(out, "NOTE language: {language}\n\n");
    }
    for caption in captions {
        let _ = writeln!(out, "{} --> {}", clock(caption.start_ms, '.'), clock(caption.end_ms, '.'));
        let mut latest = caption.start_ms;
        // A voice without an end tag is that of the whole cue.
        if let Some(name) = &caption.speaker {
            let _ = write!(out, "<v {}>", vtt_escape(name));
        }
        for line in &caption.lines {
            let written = write_line(line, |atom| {
                let inside = inline_ms(atom, &mut latest, caption.end_ms, word_times);
                let tag = inside.map_or_else(String::new, |ms| format!("<{}>", clock(ms, '.')));
                tag + &vtt_escape(&atom.atom.text)
            });
            out.push_str(&written);
            out.push('\n');
        }
        out.push('\n');
    }
    out
}

fn vtt_escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Lyrics: `[mm:ss.xx]text`, one line a caption, and an empty line where the text should leave the display.
pub(super) fn lrc(captions: &[Caption], source: &SourceInfo, word_times: WordTimes) -> String {
    /// A pause after which the display is cleared, milliseconds.
    const CLEAR_AFTER: u64 = 2000;
    let mut out = String::new();
    if let Some(seconds) = source.duration.filter(|d| d.is_finite() && *d > 0.0) {
        let seconds = seconds.round() as u64;
        let _ = writeln!(out, "[length:{:02}:{:02}]", seconds / 60, seconds % 60);
    }
    for (i, caption) in captions.iter().enumerate() {
        let mut latest = caption.start_ms;
        let lines: Vec<String> = caption
            .lines
            .iter()
            .map(|line| {
                write_line(line, |atom| {
                    let inside = inline_ms(atom, &mut latest, caption.end_ms, word_times);
                    inside.map_or_else(String::new, |ms| format!("<{}>", lrc_clock(ms))) + &atom.atom.text
                })
            })
            .collect();
        let mut text = String::new();
        for (line, atoms) in lines.iter().zip(&caption.lines) {
            let spaced = atoms.first().is_none_or(|first| first.atom.space_before);
            text.push_str(if spaced && !text.is_empty() { " " } else { "" });
            text.push_str(line);
        }
        // A text that starts with a bracket would be read as one more time tag.
        let guard = if text.starts_with('[') { " " } else { "" };
        let _ = writeln!(out, "[{}]{guard}{text}", lrc_clock(caption.start_ms));
        if captions.get(i + 1).is_none_or(|next| next.start_ms >= caption.end_ms + CLEAR_AFTER) {
            let _ = writeln!(out, "[{}]", lrc_clock(caption.end_ms));
        }
    }
    out
}

/// Whisper's own table: `start`, `end` (milliseconds) and `text`, tabs between, none inside; then `speaker`, where
/// anybody is named.
pub(super) fn tsv(chosen: &Chosen) -> String {
    let speakers = chosen.has_speakers();
    let mut out = format!("start\tend\ttext{}\n", if speakers { "\tspeaker" } else { "" });
    for passage in &chosen.passages {
        let _ = write!(out, "{}\t{}\t{}", milliseconds(passage.start), milliseconds(passage.end), passage.text);
        if speakers {
            let _ = write!(out, "\t{}", passage.speaker.as_deref().unwrap_or_default());
        }
        out.push('\n');
    }
    out
}

/// RFC 4180: `start,end,text`, seconds with three decimals, and `speaker` where anybody is named. A text that a
/// spreadsheet would take for a formula (it starts with `=`, `+`, `-` or `@`) gets an apostrophe before it, because
/// anybody may speak into the microphone and CSV files are opened in spreadsheets; TSV and JSON carry the text untouched.
pub(super) fn csv(chosen: &Chosen) -> String {
    let speakers = chosen.has_speakers();
    let cell = |text: &str| {
        let guard = if text.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
        format!("\"{guard}{}\"", text.replace('"', "\"\""))
    };
    let mut out = format!("start,end,text{}\n", if speakers { ",speaker" } else { "" });
    for passage in &chosen.passages {
        let _ = write!(out, "{},{},{}", seconds(passage.start), seconds(passage.end), cell(&passage.text));
        if speakers {
            let _ = write!(out, ",{}", cell(passage.speaker.as_deref().unwrap_or_default()));
        }
        out.push('\n');
    }
    out
}

fn write_line(line: &[TimedAtom], mut write: impl FnMut(&TimedAtom) -> String) -> String {
    let mut out = String::new();
    for (i, atom) in line.iter().enumerate() {
        out.push_str(if i > 0 && atom.atom.space_before { " " } else { "" });
        out.push_str(&write(atom));
    }
    out
}

/// The time to write before a word: measured, after the one before it, and inside the caption (WebVTT 4.2.2).
fn inline_ms(atom: &TimedAtom, latest: &mut u64, end: u64, word_times: WordTimes) -> Option<u64> {
    let ms = milliseconds(atom.start);
    let fits = word_times == WordTimes::Inline && atom.exact && ms > *latest && ms < end;
    fits.then(|| {
        *latest = ms;
        ms
    })
}

pub(super) fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1000.0).round() as u64
}

fn seconds(seconds: f64) -> String {
    let ms = milliseconds(seconds);
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// `01:02:03,004`.
fn clock(ms: u64, point: char) -> String {
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}{point}{:03}", ms % 1000)
}

/// `62:03.45`; hundredths rounded down, so that lines never change their order.
fn lrc_clock(ms: u64) -> String {
    format!("{:02}:{:02}.{:02}", ms / 60_000, ms / 1000 % 60, ms / 10 % 100)
}

#[cfg(test)]
mod tests {
    use super::super::{Format, RenderSettings, TextChoice, render, samples};
    use super::*;

    fn raw(outcome: &crate::outcome::Outcome, format: Format) -> String {
        let settings = RenderSettings { text: TextChoice::Raw, ..RenderSettings::default() };
        render(outcome, format, &settings).unwrap()
    }

    #[test]
    fn clocks_carry_over_and_never_lose_a_digit() {
        assert_eq!(clock(3_599_999, ','), "00:59:59,999");
        assert_eq!(clock(360_000_000, '.'), "100:00:00.000");
        assert_eq!(lrc_clock(3_723_456), "62:03.45");
        assert_eq!(seconds(1.9996), "2.000");
    }

    #[test]
    fn srt_of_two_segments() {
        let outcome = samples::spoken(&[(0.0, 2.5, "Hello there."), (3.0, 5.0, "How are you?")], 6.0);
        let expected = "1\n00:00:00,000 --> 00:00:02,500\nHello there.\n\n\
                        2\n00:00:03,000 --> 00:00:05,000\nHow are you?\n\n";
        assert_eq!(raw(&outcome, Format::Srt), expected);
    }

    #[test]
    fn markup_and_arrows_in_the_text_stay_text() {
        let outcome = samples::spoken(&[(0.0, 3.0, "a --> b <i>c</i> & {\\an8} --->d")], 6.0);
        let srt = raw(&outcome, Format::Srt);
        assert_eq!(srt.matches("-->").count(), 1);
        assert!(srt.contains("a -> b <\u{2060}i>c<\u{2060}/i> & {\u{2060}\\an8} ->d"), "{srt}");
        let vtt = raw(&outcome, Format::Vtt);
        assert!(vtt.starts_with("WEBVTT\n\nNOTE language: en\n\n"));
        assert!(vtt.contains("a --&gt; b &lt;i&gt;c&lt;/i&gt; &amp; {\\an8} ---&gt;d"), "{vtt}");
    }

    #[test]
    fn tables_quote_and_guard() {
        let outcome = samples::spoken(&[(0.0, 1.0, "=1+1,\t\"quoted\"\nline"), (1.0, 2.0, "-5 degrees")], 6.0);
        assert_eq!(
            raw(&outcome, Format::Csv),
            "start,end,text\n0.000,1.000,\"'=1+1, \"\"quoted\"\" line\"\n1.000,2.000,\"'-5 degrees\"\n"
        );
        assert_eq!(
            raw(&outcome, Format::Tsv),
            "start\tend\ttext\n0\t1000\t=1+1, \"quoted\" line\n1000\t2000\t-5 degrees\n"
        );
    }

    #[test]
    fn lyrics_clear_the_display_in_long_pauses() {
        let outcome = samples::spoken(&[(0.0, 2.0, "First line."), (60.0, 62.0, "[second]")], 70.0);
        assert_eq!(
            raw(&outcome, Format::Lrc),
            "[length:01:10]\n[00:00.00]First line.\n[00:02.00]\n[01:00.00] [second]\n[01:02.00]\n"
        );
    }

    #[test]
    fn word_times_stand_inside_the_line() {
        let mut outcome = samples::spoken(&[(0.0, 3.0, "one two three")], 6.0);
        outcome.transcript.segments[0].words = samples::words(&[("one", 0.0), ("two", 1.0), ("three", 2.0)]);
        let settings =
            RenderSettings { text: TextChoice::Raw, word_times: WordTimes::Inline, ..RenderSettings::default() };
        let vtt = render(&outcome, Format::Vtt, &settings).unwrap();
        assert!(vtt.contains("one <00:00:01.000>two <00:00:02.000>three"), "{vtt}");
        let lrc = render(&outcome, Format::Lrc, &settings).unwrap();
        assert!(lrc.contains("[00:00.00]one <00:01.00>two <00:02.00>three"), "{lrc}");
    }
}
