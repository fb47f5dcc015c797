//! The steps before the model. They may change words, because the user asked for it: corrections towards the
//! vocabulary, the replacement table, spoken punctuation, numbers. In this order: a corrected name can be replaced, and
//! a replacement may say "new line".

mod english;
mod number_words;
mod numbers;
mod replace;
mod spoken;
mod vocabulary;

use super::units::{Unit, join, parse_cues};
use super::{CleanSettings, Numbers, SpokenPunctuation, cues_of};
use crate::language::Lang;
use crate::outcome::Cue;
use crate::speech::Segment;

/// Segments to cues, one each, times kept. `vocabulary` adds to the settings'. Where nothing is to be done the text
/// stays byte for byte.
pub fn prepare(settings: &CleanSettings, segments: &[Segment], lang: Lang, vocabulary: &[String]) -> Vec<Cue> {
    let given: Vec<Cue> = segments
        .iter()
        .map(|segment| Cue {
            start: segment.start,
            end: segment.end,
            text: segment.text.trim().to_owned(),
            paragraph: segment.paragraph,
            speaker: segment.speaker.clone(),
        })
        .collect();
    let before = parse_cues(&given);
    let mut units = before.clone();
    let mut last_break = None;
    let entries: Vec<&str> = settings.vocabulary.iter().chain(vocabulary).map(String::as_str).collect();
    if !entries.is_empty() {
        let doubtful = vocabulary::doubtful_units(segments, &units);
        units = vocabulary::correct(&units, &entries, &doubtful);
    }
    if !settings.replacements.is_empty() {
        units = replace::replace(&units, &settings.replacements);
    }
    if settings.spoken_punctuation != SpokenPunctuation::Off {
        (units, last_break) = spoken::write_marks(&units, lang, settings.spoken_punctuation);
    }
    let mut cues = if units == before { given } else { cues_of(&given, &units) };
    if settings.numbers == Numbers::Digits {
        for cue in &mut cues {
            cue.text = numbers::write_digits(&cue.text, lang);
        }
    }
    // A break spoken last belongs to whatever is said next, perhaps in the next utterance.
    let last_said = cues.iter().rposition(|cue| !cue.text.is_empty()).unwrap_or(cues.len().saturating_sub(1));
    if let (Some(gap), Some(cue)) = (last_break, cues.get_mut(last_said)) {
        cue.text.push_str(gap.text());
    }
    cues
}

/// Puts `new` in the place of `old` (not empty): the marks around the old words and their cue stay.
fn put(out: &mut Vec<Unit>, old: &[Unit], mut new: Vec<Unit>) {
    let (Some(first), Some(last)) = (old.first(), old.last()) else { return };
    if let Some(unit) = new.first_mut() {
        unit.gap = first.gap;
        unit.lead = format!("{}{}", first.lead, unit.lead);
    }
    if let Some(unit) = new.last_mut()
        && !unit.trail.ends_with(|c| last.trail.starts_with(c))
    {
        unit.trail.push_str(&last.trail);
    }
    for unit in &mut new {
        unit.cue = first.cue;
    }
    out.extend(new);
}

/// Whether `units` are one phrase: no sentence ends between them.
fn is_phrase(units: &[Unit]) -> bool {
    units.split_last().is_some_and(|(_, inner)| inner.iter().all(|unit| !unit.ends_sentence() || unit.trail.is_empty()))
}

/// The text of units as one string without marks around it.
fn plain(units: &[Unit]) -> String {
    let mut units = units.to_vec();
    if let Some(first) = units.first_mut() {
        first.lead.clear();
    }
    if let Some(last) = units.last_mut() {
        last.trail.clear();
    }
    join(&units)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speech::Word;

    fn segment(text: &str) -> Segment {
        Segment { start: 1.0, end: 2.0, text: text.into(), ..Segment::default() }
    }

    fn prepared(settings: &CleanSettings, texts: &[&str], lang: &str) -> Vec<Cue> {
        let segments: Vec<Segment> = texts.iter().map(|text| segment(text)).collect();
        prepare(settings, &segments, lang.parse().unwrap(), &[])
    }

    #[test]
    fn nothing_to_do_leaves_the_text_byte_for_byte() {
        let odd = "Odd  spacing , \u{200b} e\u{301} ...";
        assert_eq!(prepared(&CleanSettings::default(), &[odd], "en")[0].text, odd);
    }

    #[test]
    fn spoken_marks_at_the_start_of_a_segment_belong_to_the_one_before() {
        let cues =
            prepared(&CleanSettings::default(), &["dear john", "comma new line thank you", "new paragraph bye"], "en");
        assert_eq!(cues[0].text, "dear john,\n");
        assert_eq!(cues[1].text, "Thank you");
        assert_eq!((cues[2].text.as_str(), cues[2].paragraph), ("Bye", true));
        let track = crate::outcome::Track::new(Lang::ENGLISH, cues);
        assert_eq!(track.text, "dear john,\nThank you\n\nBye");
    }

    #[test]
    fn a_break_spoken_last_is_kept_for_what_comes_next() {
        let cues = prepared(&CleanSettings::default(), &["dear john comma new line"], "en");
        assert_eq!(cues[0].text, "dear john,\n");
        assert_eq!(prepared(&CleanSettings::default(), &["new paragraph"], "en")[0].text, "\n\n");
    }

    #[test]
    fn a_word_that_whisper_doubted_is_corrected_to_the_vocabulary() {
        let word = |word: &str, probability| Word { start: 0.0, end: 1.0, word: word.into(), probability };
        let mut said = segment("ask marten today");
        said.words = vec![word("ask", 0.99), word("marten", 0.3), word("today", 0.99)];
        let cues = prepare(&CleanSettings::default(), &[said.clone()], Lang::ENGLISH, &["Martin".into()]);
        assert_eq!(cues[0].text, "ask Martin today");
        said.words[1].probability = 0.95;
        let cues = prepare(&CleanSettings::default(), &[said], Lang::ENGLISH, &["Martin".into()]);
        assert_eq!(cues[0].text, "ask marten today");
    }
}
