//! Correction towards the user's names and jargon. Without a dictionary of the language nobody can know which words are
//! right, so a word is only touched when it is very close to an entry *and* something speaks against it.

use super::super::fidelity::words;
use super::super::units::{Unit, parse};
use super::{is_phrase, plain, put};
use crate::speech::Segment;

/// Below this mean token probability a word of Whisper's counts as doubtful.
const DOUBT: f32 = 0.6;
/// Words of the text that may together be one entry ("cooper netties" for "Kubernetes").
const MOST_WORDS: usize = 3;

/// For each unit, whether Whisper was unsure of it. All false where the segments carry no word probabilities.
pub fn doubtful_units(segments: &[Segment], units: &[Unit]) -> Vec<bool> {
    let mut doubtful = vec![false; units.len()];
    for (cue, segment) in segments.iter().enumerate() {
        let mut heard = segment.words.iter();
        for (at, unit) in units.iter().enumerate().filter(|(_, unit)| unit.cue == cue) {
            let core = words(&unit.core).concat();
            for word in heard.by_ref() {
                if words(&word.word).concat() == core {
                    doubtful[at] = word.probability < DOUBT;
                    break;
                }
            }
        }
    }
    doubtful
}

/// `units` with near misses of `entries` written as the entries are.
pub fn correct(units: &[Unit], entries: &[&str], doubtful: &[bool]) -> Vec<Unit> {
    let entries: Vec<Entry> = entries.iter().filter_map(|entry| Entry::new(entry)).collect();
    let mut out = Vec::with_capacity(units.len());
    let mut at = 0;
    while at < units.len() {
        let hit = (1..=MOST_WORDS.min(units.len() - at))
            .rev()
            .filter(|length| is_phrase(&units[at..at + length]))
            .find_map(|length| Some((length, best(&entries, units, at..at + length, doubtful)?)));
        match hit {
            Some((length, entry)) => {
                put(&mut out, &units[at..at + length], parse(entry.written));
                at += length;
            }
            None => {
                out.push(units[at].clone());
                at += 1;
            }
        }
    }
    out
}

struct Entry<'a> {
    written: &'a str,
    words: Vec<String>,
    letters: String,
}

impl<'a> Entry<'a> {
    fn new(written: &'a str) -> Option<Self> {
        let written = written.trim();
        let words = words(written);
        (!words.is_empty()).then(|| Entry { written, letters: letters(&words.concat()), words })
    }
}

fn best<'a, 'b>(
    entries: &'a [Entry<'b>],
    units: &[Unit],
    range: std::ops::Range<usize>,
    doubtful: &[bool],
) -> Option<&'a Entry<'b>> {
    let said: Vec<String> = units[range.clone()].iter().flat_map(|unit| words(&unit.core)).collect();
    if let Some(exact) = entries.iter().find(|entry| entry.words == said) {
        return Some(exact).filter(|entry| plain(&units[range.clone()]) != entry.written);
    }
    // A part of the stretch that is an entry already must not be swallowed.
    let holds_entry = |entry: &Entry| said.windows(entry.words.len()).any(|part| part == entry.words);
    if units[range.clone()].iter().any(Unit::is_unspaced) || entries.iter().any(holds_entry) {
        return None;
    }
    let named = range.clone().any(|at| at > 0 && !units[at - 1].ends_sentence() && is_capitalised(&units[at].core));
    let doubted = range.clone().any(|at| doubtful[at]) || named;
    let heard = letters(&said.concat());
    let near = |entry: &&Entry| is_near(&heard, said.len(), entry, doubted);
    entries.iter().filter(near).min_by_key(|entry| strsim::damerau_levenshtein(&heard, &entry.letters))
}

/// Whether `heard` (letters of `count` words) is a near miss of `entry`.
///
/// Distance at most 1 up to 7 letters, 2 up to 11, 3 above; same first sound; not just another ending (plural,
/// possessive, participle). Then either the recogniser doubted the word or wrote it as a name, or it is long and sounds
/// the same.
fn is_near(heard: &str, count: usize, entry: &Entry, doubted: bool) -> bool {
    let length = entry.letters.chars().count();
    if length < 5
        || first_sound(heard) != first_sound(&entry.letters)
        || heard == entry.letters && count == entry.words.len()
    {
        return false;
    }
    let inflected = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|ending| ending.chars().count() <= 3);
    if heard != entry.letters && (inflected(heard, &entry.letters) || inflected(&entry.letters, heard)) {
        return false;
    }
    let same_sound = skeleton(heard) == skeleton(&entry.letters);
    let allowed = match length {
        0..=7 => 1,
        8..=11 => 2,
        _ => 3,
    };
    let distance = strsim::damerau_levenshtein(heard, &entry.letters);
    if count != entry.words.len() {
        // Words run together or torn apart: only where the letters or the sound say so plainly.
        return length >= 7 && (distance <= 1 || (same_sound && distance <= allowed + 1));
    }
    distance <= allowed && (doubted || (length >= 8 && same_sound))
}

fn is_capitalised(core: &str) -> bool {
    core.chars().next().is_some_and(char::is_uppercase)
}

fn letters(folded: &str) -> String {
    folded.chars().filter(|c| c.is_alphanumeric()).collect()
}

/// The first letter, with letters that sound alike made one.
fn first_sound(word: &str) -> Option<char> {
    sounds(word).chars().next()
}

/// The consonants, with spellings that sound alike made one: enough to tell "kubernetis" from "kubernetes" no more.
fn skeleton(word: &str) -> String {
    let mut out = String::new();
    for c in sounds(word).chars() {
        if !matches!(c, 'a' | 'e' | 'i' | 'o' | 'u' | 'h' | 'w') && !out.ends_with(c) {
            out.push(c);
        }
    }
    out
}

fn sounds(word: &str) -> String {
    let mut out = word.to_owned();
    for (written, sound) in [
        ("ph", "f"),
        ("ck", "k"),
        ("qu", "kw"),
        ("sch", "s"),
        ("sh", "s"),
        ("ce", "se"),
        ("ci", "si"),
        ("cy", "si"),
        ("c", "k"),
        ("q", "k"),
        ("x", "ks"),
        ("z", "s"),
        ("y", "i"),
        ("j", "i"),
        ("dg", "g"),
        ("ä", "e"),
        ("ö", "o"),
        ("ü", "u"),
        ("é", "e"),
        ("è", "e"),
        ("á", "a"),
        ("í", "i"),
        ("ó", "o"),
        ("ú", "u"),
        ("ñ", "n"),
        ("ç", "s"),
        ("ß", "s"),
    ] {
        out = out.replace(written, sound);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::super::units::join;
    use super::*;

    fn corrected(text: &str, entries: &[&str]) -> String {
        let units = parse(text);
        join(&correct(&units, entries, &vec![false; units.len()]))
    }

    #[test]
    fn near_misses_become_the_entry() {
        let entries = ["Kubernetes", "BestBox", "Grafana", "Anna Kowalska"];
        assert_eq!(corrected("deploy it on kubernetis, please", &entries), "deploy it on Kubernetes, please");
        assert_eq!(corrected("run cuber netes now", &entries), "run Kubernetes now");
        assert_eq!(corrected("start best box.", &entries), "start BestBox.");
        assert_eq!(corrected("open Grafanna and call anna kowalska", &entries), "open Grafana and call Anna Kowalska");
    }

    #[test]
    fn right_words_stay() {
        let entries = ["Kubernetes", "Martin", "Marten", "Carter", "Stations", "interest"];
        for text in [
            "the market is open",
            "a cart or a card",
            "carts are here",
            "the station",
            "interested people",
            "matrix",
            "Marten is here",
        ] {
            assert_eq!(corrected(text, &entries), text);
        }
    }
}
