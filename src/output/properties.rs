//! What must hold for every outcome, whatever its text and times.

use super::atoms::{atoms, flat, width};
use super::parse::{parse_srt, parse_vtt};
use super::{Format, RenderSettings, SubtitleLimits, TextChoice, WordTimes, render, samples};
use crate::language::Lang;
use crate::outcome::{Cleaned, Cue, Outcome, Track};
use crate::speech::{Segment, Word};
use proptest::prelude::*;

/// Text as people speak it, and text as nobody does.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "([A-Za-z']{1,12}[,.?!]? ){0,60}",
        1 => "[\u{4e00}-\u{4e40}。，、「」a-c ]{0,120}",
        1 => "[ก-ฮะ-ู เ-ๆ]{0,90}",
        1 => "(--> ?|<i>|</b>|&amp;|\\{\\\\an8\\}|[0-9]{1,3}|00:00:01,000|\\[00:01.00\\]|WEBVTT|NOTE|=1|\n|\r\n|\t|\"|,){0,20}",
        1 => ".{0,120}",
        1 => any::<String>(),
    ]
}

fn any_time() -> impl Strategy<Value = f64> {
    prop_oneof![
        12 => (0u32..120_000).prop_map(|ms| f64::from(ms) / 1000.0),
        1 => Just(0.0),
        1 => Just(-3.5),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => any::<f64>(),
    ]
}

fn segment(in_order: bool) -> impl Strategy<Value = (f64, f64, String)> {
    (any_time(), prop_oneof![Just(0.0), 0.0..30.0], any_text()).prop_map(move |(start, length, text)| {
        let start = if in_order && !start.is_finite() { 1.0 } else { start };
        (start, start + length, text)
    })
}

/// Overlapping, unsorted, empty, outside of the recording: no promise of the other stages is relied on.
fn any_outcome() -> impl Strategy<Value = Outcome> {
    let langs = prop_oneof![Just("en"), Just("de"), Just("fr"), Just("zh"), Just("ja"), Just("th"), Just("ru")];
    let duration = prop_oneof![Just(None), (1u32..200_000).prop_map(|ms| Some(f64::from(ms) / 1000.0))];
    (prop::collection::vec((segment(false), any::<bool>()), 0..12), duration, langs, any::<bool>()).prop_map(
        |(segments, duration, lang, with_words)| {
            let mut outcome = samples::spoken(&[], 1.0);
            outcome.source.duration = duration;
            let lang: Lang = lang.parse().expect("a language");
            outcome.transcript.language = Some(lang);
            outcome.transcript.segments = segments
                .iter()
                .map(|((start, end, text), _)| {
                    let words = if with_words { evenly(text, *start, *end) } else { vec![] };
                    Segment { start: *start, end: *end, text: text.clone(), words, ..Segment::default() }
                })
                .collect();
            let cues = segments
                .iter()
                .map(|((start, end, text), paragraph)| Cue {
                    start: *start,
                    end: *end,
                    text: text.to_uppercase(),
                    paragraph: *paragraph,
                    ..Cue::default()
                })
                .collect();
            outcome.cleaned = Some(Cleaned {
                style: Default::default(),
                engine: crate::outcome::CleanEngine::Rules,
                track: Track::new(lang, cues),
            });
            outcome
        },
    )
}

fn evenly(text: &str, start: f64, end: f64) -> Vec<Word> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let step = (end - start) / words.len().max(1) as f64;
    let word = |(i, word): (usize, &&str)| {
        let start = start + step * i as f64;
        Word { start, end: start + step, word: (*word).into(), probability: 0.5 }
    };
    words.iter().enumerate().map(word).collect()
}

fn settings(text: TextChoice) -> RenderSettings {
    RenderSettings { text, ..RenderSettings::default() }
}

/// Letters in order: what no layout may lose. White space and what SRT cannot express are left out of it.
fn letters(text: &str) -> String {
    flat(text).chars().filter(|c| !c.is_whitespace() && *c != '\u{2060}').collect::<String>().replace("-->", "->")
}

/// The raw texts in the order of time, as every timed format has them.
fn expected(outcome: &Outcome, choice: TextChoice) -> Vec<String> {
    super::passages::choose(outcome, choice).passages.into_iter().map(|p| p.text).collect()
}

fn check_cues(cues: &[Cue], outcome: &Outcome) -> Result<(), TestCaseError> {
    let limit = outcome.source.duration.unwrap_or(f64::INFINITY);
    let crowded = cues.len() as f64 > limit * 1000.0;
    for cue in cues {
        prop_assert!(cue.start < cue.end, "{cue:?}");
        prop_assert!(cue.end - cue.start <= 7.0005, "{cue:?}");
        prop_assert!(crowded || cue.end <= limit + 1e-9, "{cue:?} ends after {limit}");
    }
    for pair in cues.windows(2) {
        prop_assert!(pair[0].end <= pair[1].start + 1e-9, "{pair:?}");
    }
    Ok(())
}

fn check_lines(cues: &[Cue]) -> Result<(), TestCaseError> {
    for cue in cues {
        prop_assert!(cue.text.lines().count() <= 2, "{cue:?}");
        for line in cue.text.lines() {
            let one_piece = atoms(line, 42).len() <= 1;
            prop_assert!(width(&line.replace('\u{2060}', "")) <= 42 || one_piece, "{line:?}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var_os("BESTBOX_LONG").is_some() { 5000 } else { 250 }))]

    #[test]
    fn srt_reads_back_and_keeps_the_conventions(outcome in any_outcome(), cleaned in any::<bool>()) {
        let choice = if cleaned { TextChoice::Cleaned } else { TextChoice::Raw };
        let Ok(srt) = render(&outcome, Format::Srt, &settings(choice)) else { return Ok(()) };
        let cues = parse_srt(&srt).unwrap();
        check_cues(&cues, &outcome)?;
        check_lines(&cues)?;
        let read: String = cues.iter().map(|c| letters(&c.text)).collect();
        let meant: String = expected(&outcome, choice).iter().map(|t| letters(t)).collect();
        // Where two pieces meet, an arrow may come together that was none before: compare without arrows.
        prop_assert_eq!(read.replace('-', ""), meant.replace('-', ""));
        prop_assert_eq!(srt.lines().filter(|l| l.contains("-->")).count(), cues.len());
    }

    #[test]
    fn vtt_reads_back_word_for_word(outcome in any_outcome(), inline in any::<bool>()) {
        let word_times = if inline { WordTimes::Inline } else { WordTimes::Plain };
        let settings = RenderSettings { word_times, ..settings(TextChoice::Raw) };
        let Ok(vtt) = render(&outcome, Format::Vtt, &settings) else { return Ok(()) };
        let cues = parse_vtt(&vtt).unwrap();
        check_cues(&cues, &outcome)?;
        check_lines(&cues)?;
        let strip = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        let read: String = cues.iter().map(|c| strip(&c.text)).collect();
        let meant: String = expected(&outcome, TextChoice::Raw).iter().map(|t| strip(t)).collect();
        prop_assert_eq!(read, meant);
        prop_assert_eq!(vtt.lines().filter(|l| l.contains("-->")).count(), cues.len());
    }

    #[test]
    fn words_of_spaced_languages_stay_whole(texts in prop::collection::vec("([a-zé']{1,11}[,.]? ){1,40}", 1..6)) {
        let segments: Vec<(f64, f64, &str)> =
            texts.iter().enumerate().map(|(i, t)| (i as f64 * 10.0, i as f64 * 10.0 + 9.0, t.as_str())).collect();
        let outcome = samples::spoken(&segments, 100.0);
        let cues = parse_srt(&render(&outcome, Format::Srt, &settings(TextChoice::Raw)).unwrap()).unwrap();
        let read: Vec<&str> = cues.iter().flat_map(|c| c.text.split_whitespace()).collect();
        let meant: Vec<&str> = texts.iter().flat_map(|t| t.split_whitespace()).collect();
        prop_assert_eq!(read, meant);
    }

    #[test]
    fn limits_of_any_size_are_obeyed(outcome in any_outcome(), columns in 0usize..60, lines in 0usize..4) {
        let limits = SubtitleLimits { columns, lines, ..SubtitleLimits::default() };
        let settings = RenderSettings { subtitles: limits, ..settings(TextChoice::Raw) };
        let Ok(vtt) = render(&outcome, Format::Vtt, &settings) else { return Ok(()) };
        for cue in parse_vtt(&vtt).unwrap() {
            prop_assert!(cue.text.lines().count() <= lines.max(1));
            for line in cue.text.lines() {
                prop_assert!(width(line) <= columns.max(2) || atoms(line, columns.max(2)).len() <= 1, "{line:?}");
            }
        }
    }

    #[test]
    fn tables_read_back(outcome in any_outcome()) {
        let meant = expected(&outcome, TextChoice::Raw);
        let tsv = render(&outcome, Format::Tsv, &settings(TextChoice::Raw)).unwrap();
        let rows: Vec<Vec<&str>> = tsv.lines().skip(1).map(|line| line.split('\t').collect()).collect();
        prop_assert!(rows.iter().all(|row| row.len() == 3 && row[0].parse::<u64>().unwrap() <= row[1].parse::<u64>().unwrap()));
        prop_assert_eq!(rows.iter().map(|row| row[2].to_owned()).collect::<Vec<_>>(), meant.clone());

        let csv = read_csv(&render(&outcome, Format::Csv, &settings(TextChoice::Raw)).unwrap());
        prop_assert!(csv.iter().all(|row| row.len() == 3 && !row[2].starts_with(['=', '+', '-', '@'])));
        let texts: Vec<&str> = csv[1..].iter().map(|row| row[2].as_str()).collect();
        let guarded = |t: &String| if t.starts_with(['=', '+', '-', '@']) { format!("'{t}") } else { t.clone() };
        prop_assert_eq!(texts, meant.iter().map(guarded).collect::<Vec<_>>());
    }

    #[test]
    fn lyrics_read_back_in_order(outcome in any_outcome()) {
        let Ok(lrc) = render(&outcome, Format::Lrc, &settings(TextChoice::Raw)) else { return Ok(()) };
        let lines: Vec<(u64, &str)> = lrc.lines().filter_map(read_lyric).collect();
        prop_assert!(lines.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        let strip = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        let read: String = lines.iter().map(|(_, text)| strip(text)).collect();
        let meant: String = expected(&outcome, TextChoice::Raw).iter().map(|t| strip(t)).collect();
        prop_assert_eq!(read, meant);
    }

    #[test]
    fn json_reads_back_as_the_outcome(outcome in any_outcome()) {
        // JSON has no NaN; the other stages only hand out finite times.
        let mut outcome = outcome;
        for segment in &mut outcome.transcript.segments {
            (segment.start, segment.end) = (1.25, 2.5);
            segment.words.clear();
        }
        for cue in &mut outcome.cleaned.as_mut().unwrap().track.cues {
            (cue.start, cue.end) = (1.25, 2.5);
        }
        for format in [Format::Json, Format::Jsonl] {
            let json = render(&outcome, format, &RenderSettings::default()).unwrap();
            prop_assert!(format == Format::Json || json.lines().count() == 1);
            prop_assert_eq!(&serde_json::from_str::<Outcome>(&json).unwrap(), &outcome);
        }
    }

    #[test]
    fn nothing_panics_and_nothing_controls_the_terminal(outcome in any_outcome(), columns in 0usize..120) {
        for format in [Format::Terminal, Format::Text, Format::Md] {
            let settings = RenderSettings { columns, ..RenderSettings::default() };
            let written = render(&outcome, format, &settings).unwrap();
            prop_assert!(written.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t')));
        }
    }

    #[test]
    fn parsers_take_any_text(text in any_text(), prefix in prop_oneof![Just(""), Just("WEBVTT\n\n"), Just("1\n00:00:01,000 --> 00:00:02,000\n")]) {
        let _ = parse_srt(&format!("{prefix}{text}"));
        let _ = parse_vtt(&format!("{prefix}{text}"));
    }
}

/// RFC 4180, as far as these tests need it.
fn read_csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut field, mut quoted) = (vec![], vec![], String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quoted) {
            ('"', true) if chars.peek() == Some(&'"') => field.extend(chars.next()),
            ('"', _) => quoted = !quoted,
            (',', false) => row.push(std::mem::take(&mut field)),
            ('\n', false) => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            (c, _) => field.push(c),
        }
    }
    rows
}

/// `[mm:ss.xx]text`; tags such as `[length:…]` are no lyrics.
fn read_lyric(line: &str) -> Option<(u64, &str)> {
    let (stamp, text) = line.strip_prefix('[')?.split_once(']')?;
    let (minutes, seconds) = stamp.split_once(':')?;
    let (seconds, hundredths) = seconds.split_once('.')?;
    let number = |digits: &str| digits.parse::<u64>().ok();
    Some((number(minutes)? * 6000 + number(seconds)? * 100 + number(hundredths)?, text))
}
