//! Cleanup without any language model: sentence case, "I", sure fillers and repetitions, final marks, question marks.
//!
//! Whisper's text mostly has marks and capitals already, so rules only add what is missing: they never lower a letter
//! and never change a mark that stands.

use super::disfluency::Deletion;
use super::questions::is_question;
use super::script::{Marks, attaches, capitalised, is_mark, is_quote_or_bracket, is_terminal};
use super::units::{Gap, Unit, lead_for};
use crate::language::Lang;

/// Whether the text to be cleaned begins a sentence or goes on with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Start {
    /// First word of a sentence.
    #[default]
    Sentence,
    /// In the middle of one.
    Middle,
}

/// Whether the text to be cleaned ends here or goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Ending {
    /// Nothing follows: the last sentence gets its mark.
    #[default]
    Closed,
    /// More follows, which may go on with the last sentence.
    Open,
}

/// Where a stretch of text stands in the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Place {
    /// What comes before.
    pub start: Start,
    /// What comes after.
    pub ending: Ending,
}

/// Sentences of more words than this without any mark inside are not written text.
const LONGEST_UNMARKED: usize = 30;

/// Whether the text is written already: its last sentence has a mark, rules would change nothing, and no stretch
/// without marks is long.
pub fn is_written(units: &[Unit], lang: Lang) -> bool {
    let mut ruled = units.to_vec();
    apply(&mut ruled, lang, Place::default());
    let mut unmarked = 0;
    let marked = units.iter().all(|unit| {
        unmarked = if unit.trail.is_empty() { unmarked + 1 } else { 0 };
        unmarked <= LONGEST_UNMARKED
    });
    ruled == units && marked && units.last().is_some_and(|unit| unit.trail.chars().any(is_terminal))
}

/// Adds sentence case and missing final marks.
pub fn apply(units: &mut [Unit], lang: Lang, place: Place) {
    sentence_case(units, lang, place.start);
    if place.ending == Ending::Closed {
        close(units, lang);
    }
    pair_opening_marks(units, lang);
}

/// Units without the sure deletions.
pub struct Reduced {
    /// What stays.
    pub units: Vec<Unit>,
    /// The deletions that are still open, over `units`.
    pub deletions: Vec<Deletion>,
}

/// Leaves out the sure deletions, from the start on: after one, only what its end leads to counts, so that of
/// overlapping repetitions ("a b a b a") one copy always stays.
pub fn delete_sure(units: &[Unit], deletions: &[Deletion]) -> Reduced {
    let mut stay: Vec<Unit> = Vec::with_capacity(units.len());
    // For each unit and the end: its index among those that stay, if the walk comes to it.
    let mut visited: Vec<Option<usize>> = vec![None; units.len() + 1];
    let (mut lead, mut gap) = (String::new(), Gap::None);
    let mut at = 0;
    while at < units.len() {
        visited[at] = Some(stay.len());
        let leap = deletions.iter().filter(|d| d.sure && d.start == at).map(|d| d.end).max();
        let Some(end) = leap else {
            let mut unit = units[at].clone();
            unit.lead.insert_str(0, &std::mem::take(&mut lead));
            unit.lead = lead_for(unit.lead, &unit.core);
            unit.gap = unit.gap.max(std::mem::replace(&mut gap, Gap::None));
            stay.push(unit);
            at += 1;
            continue;
        };
        for unit in &units[at..end] {
            gap = gap.max(unit.gap);
            hand_over_marks(unit, stay.last_mut(), &mut lead);
        }
        at = end;
    }
    visited[units.len()] = Some(stay.len());
    let open = deletions.iter().filter_map(|d| {
        let (start, end) = (visited[d.start]?, visited[d.end]?);
        (start < end).then_some(Deletion { start, end, sure: d.sure })
    });
    let mut deletions: Vec<Deletion> = open.collect();
    deletions.sort_by_key(|d| (d.start, d.end));
    deletions.dedup_by_key(|d| (d.start, d.end));
    Reduced { units: stay, deletions }
}

/// Quotes and brackets stay though their word goes; a sentence that ended with it still ends.
fn hand_over_marks(gone: &Unit, before: Option<&mut Unit>, lead: &mut String) {
    let kept = |c: &char| is_quote_or_bracket(*c) && !is_mark(*c);
    lead.extend(gone.lead.chars().filter(kept));
    let Some(before) = before else { return };
    if gone.ends_sentence() && !before.ends_sentence() {
        before.trail = before.trail.chars().filter(|c| !is_mark(*c)).collect::<String>().trim_end().to_owned();
        before.trail.push_str(&gone.trail);
    } else {
        before.trail.extend(gone.trail.chars().filter(kept));
    }
}

/// Raises the first letter of each sentence, and the English "I".
pub fn sentence_case(units: &mut [Unit], lang: Lang, start: Start) {
    let mut begins = start == Start::Sentence;
    for unit in units {
        let english_i = lang == Lang::ENGLISH
            && matches!(unit.core.as_str(), "i" | "i'm" | "i'll" | "i've" | "i'd" | "i’m" | "i’ll" | "i’ve" | "i’d");
        if (begins || unit.gap == Gap::Paragraph || english_i)
            && is_plain_word(&unit.core)
            && let Some(raised) = capitalised(&unit.core)
        {
            unit.core = raised;
        }
        begins = begins_after(unit);
    }
}

/// Whether a sentence begins after `unit`: a full stop, question or exclamation mark that is not an abbreviation's
/// point and not part of an ellipsis.
pub fn begins_after(unit: &Unit) -> bool {
    let marks: String = unit.trail.chars().filter(|c| is_mark(*c)).collect();
    if !marks.chars().any(is_terminal) || marks.contains('…') || marks.contains("..") {
        return false;
    }
    // `"Really?" he said`: inside quotes the mark need not end the sentence.
    if marks != "." && unit.trail.ends_with(is_quote_or_bracket) {
        return false;
    }
    marks != "." || !(ABBREVIATIONS.contains(&unit.core.to_lowercase().as_str()) || is_initial(&unit.core))
}

/// A word that may get a capital: letters, apostrophes and hyphens, no capital yet. Not code, URLs, `iPhone`, `x2`.
pub fn is_plain_word(core: &str) -> bool {
    core.chars().all(|c| (c.is_alphabetic() && !c.is_uppercase()) || matches!(c, '\'' | '’' | '-'))
}

/// URLs, e-mail addresses, paths, code: nothing is set against them that would be copied with them.
pub fn is_code(core: &str) -> bool {
    let inner_point = core.char_indices().any(|(at, c)| c == '.' && at + 1 < core.len());
    core.chars()
        .any(|c| matches!(c, '/' | '\\' | '@' | '_' | '=' | '<' | '>' | '{' | '}' | '|' | '`' | '~' | '^' | '#'))
        || core.starts_with('-')
        || (inner_point && core.chars().any(char::is_alphabetic) && !core.ends_with('.'))
}

/// Sets the final mark of the last sentence, if it has none.
fn close(units: &mut [Unit], lang: Lang) {
    let marks = Marks::of(lang);
    let Some((last, before)) = units.split_last() else { return };
    let lone_number = before.is_empty() && last.core.chars().any(char::is_numeric);
    if last.trail.chars().any(is_mark) || last.core.ends_with('.') || is_code(&last.core) || lone_number {
        return;
    }
    let from = before.iter().rposition(begins_after).map_or(0, |at| at + 1);
    // In Spanish a question may start inside the sentence: "hola, ¿qué hora es?"
    let clause = before.iter().rposition(|unit| unit.trail.contains(',')).map_or(from, |comma| from.max(comma + 1));
    let asks = is_question(&units[from..], lang) || (!marks.opening.is_empty() && is_question(&units[clause..], lang));
    let mark = if asks { marks.question() } else { marks.full_stop() };
    if let Some(last) = units.last_mut() {
        last.trail.push_str(mark);
    }
}

/// Spanish: every question and exclamation has its opening mark, and no opening mark stands alone.
pub fn pair_opening_marks(units: &mut [Unit], lang: Lang) {
    let marks = Marks::of(lang);
    for (opening, closing) in marks.opening.iter().zip(['?', '!']) {
        let mut from = 0;
        for at in 0..units.len() {
            if !(begins_after(&units[at]) || units[at].trail.contains(closing) || at + 1 == units.len()) {
                continue;
            }
            let sentence = &mut units[from..=at];
            let closed = sentence.last().is_some_and(|unit| unit.trail.contains(closing));
            let opened = sentence.iter().filter(|unit| unit.lead.contains(opening)).count();
            if closed && opened == 0 {
                let clause = sentence.iter().rposition(|unit| unit.trail.contains(',')).map_or(0, |comma| comma + 1);
                let place = if is_question(&sentence[clause..], lang) { clause } else { 0 };
                let first = &mut sentence[place];
                if !first.core.starts_with(attaches) && (place + from == 0 || first.gap != Gap::None) {
                    first.lead.push_str(opening);
                }
            } else if opened > usize::from(closed) {
                let mut keep = usize::from(closed);
                for unit in sentence.iter_mut().rev().filter(|unit| unit.lead.contains(opening)) {
                    if keep == 0 {
                        unit.lead = unit.lead.replace(opening, "");
                    }
                    keep = keep.saturating_sub(1);
                }
            }
            from = at + 1;
        }
    }
}

fn is_initial(core: &str) -> bool {
    let mut chars = core.chars();
    chars.next().is_some_and(char::is_uppercase) && chars.next().is_none() && core != "I"
}

/// Abbreviations after which a sentence goes on, over the languages whose spelling has them.
#[rustfmt::skip]
const ABBREVIATIONS: &[&str] = &[
    "mr", "mrs", "ms", "dr", "prof", "st", "vs", "approx", "e.g.", "i.e.", "cf", "fig", "jr", "sr", "gen", "sgt",
    "hr", "fr", "bzw", "ca", "z.b.", "d.h.", "u.a.", "nr", "evtl", "ggf", "usw", "mme", "mlle", "sra", "srta", "ud", "av",
];

#[cfg(test)]
mod tests {
    use super::super::disfluency::Fillers;
    use super::super::units::{join, parse};
    use super::*;

    fn ruled(text: &str, lang: &str) -> String {
        let mut units = parse(text);
        apply(&mut units, lang.parse().unwrap(), Place::default());
        join(&units)
    }

    fn tidied(text: &str, lang: &str) -> String {
        let lang = lang.parse().unwrap();
        let units = parse(text);
        let mut units = delete_sure(&units, &Fillers::new(lang, &[]).deletions(&units)).units;
        apply(&mut units, lang, Place::default());
        join(&units)
    }

    #[test]
    fn bare_text_gets_case_and_marks() {
        assert_eq!(ruled("i think i'm late", "en"), "I think I'm late.");
        assert_eq!(ruled("what time is it", "en"), "What time is it?");
        assert_eq!(ruled("kannst du kommen", "de"), "Kannst du kommen?");
        assert_eq!(ruled("où est la gare", "fr"), "Où est la gare ?");
        assert_eq!(ruled("hola, qué hora es", "es"), "Hola, ¿qué hora es?");
        assert_eq!(ruled("今天天气很好", "zh"), "今天天气很好。");
        assert_eq!(ruled("你好吗", "zh"), "你好吗？");
        assert_eq!(ruled("สวัสดี", "th"), "สวัสดี");
    }

    #[test]
    fn good_text_is_left_alone() {
        for text in [
            "Mr. Dashwood had then leisure. \"Really?\" he said...",
            "See https://a.b/c",
            "Use iPhone 15, e.g. the U.S. model.",
            "42",
            "Dear John,",
        ] {
            assert_eq!(ruled(text, "en"), text);
        }
        assert_eq!(ruled("¿Qué hora es? Son las dos.", "es"), "¿Qué hora es? Son las dos.");
        assert_eq!(ruled("¿Que hora. Vamos.", "es"), "Que hora. Vamos.");
    }

    #[test]
    fn sure_fillers_leave_no_stray_marks() {
        assert_eq!(tidied("Um, I think, uh, we should go.", "en"), "I think, we should go.");
        assert_eq!(tidied("we go there, um.", "en"), "We go there.");
        assert_eq!(tidied("\"Uh, hello\" he said", "en"), "\"Hello\" he said.");
        assert_eq!(tidied("the the th- this is it", "en"), "The this is it.");
        assert_eq!(tidied("嗯，我们走吧", "zh"), "我们走吧。");
        assert_eq!(tidied("um", "en"), "");
        assert_eq!(tidied("i think the i think the i think", "en"), "I think the I think.");
    }
}
