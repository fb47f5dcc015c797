//! Fillers, stutters and repeated words: what `tidy` may leave out, decided from the text and the language alone.
//!
//! A deletion is *sure* when leaving it out cannot change what is said ("um", "the the"); rules delete it. The others
//! ("that that", ", you know,") may be grammar or meaning, so only a model that reads the sentence may leave them out.

use super::fidelity::words;
use super::script::is_terminal;
use super::units::Unit;
use crate::language::Lang;

/// Words `start..end` (over the units of one text) that may be left out together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// First word.
    pub start: usize,
    /// One past the last word; the word at `end` or another copy before it stays.
    pub end: usize,
    /// Whether rules may delete it without a model.
    pub sure: bool,
}

/// What counts as filler: the language's own table and the user's words.
#[derive(Clone, Debug)]
pub struct Fillers {
    sure: Vec<Vec<String>>,
    set_off: Vec<Vec<String>>,
    function_words: &'static [&'static str],
    numbers: &'static [&'static str],
}

impl Fillers {
    /// The table of `lang` with `extra` fillers (words or phrases) of the user's.
    pub fn new(lang: Lang, extra: &[String]) -> Self {
        let table = table(lang);
        let phrases = |list: &[&str]| list.iter().map(|phrase| words(phrase)).collect::<Vec<_>>();
        let mut sure = phrases(table.sure);
        sure.extend(extra.iter().map(|phrase| words(phrase)).filter(|phrase| !phrase.is_empty()));
        Fillers { sure, set_off: phrases(table.set_off), function_words: table.function_words, numbers: table.numbers }
    }

    /// All deletions that `tidy` may make in `units`, in order of `start`.
    pub fn deletions(&self, units: &[Unit]) -> Vec<Deletion> {
        let text = Text { units, words: units.iter().map(|unit| words(&unit.core).concat()).collect() };
        let mut found = self.fillers(&text);
        // Stutters and repetitions are looked for with the sure fillers out of the way: "the um the".
        let visible: Vec<usize> =
            (0..units.len()).filter(|at| !found.iter().any(|d| d.sure && d.start <= *at && *at < d.end)).collect();
        for (start, end, sure) in stutters(&text, &visible).into_iter().chain(self.repetitions(&text, &visible)) {
            found.push(Deletion { start: visible[start], end: visible[end - 1] + 1, sure });
        }
        // What may begin with words that go ("th- the" of "the th- the th- the") may also begin after them.
        for sure in found.clone().into_iter().filter(|d| d.sure) {
            let longer = found.iter().filter(|d| d.start == sure.start && d.end > sure.end);
            let rest: Vec<Deletion> = longer.map(|d| Deletion { start: sure.end, end: d.end, sure: false }).collect();
            found.extend(rest);
        }
        found.sort_by_key(|d| (d.start, d.end, !d.sure));
        found.dedup_by_key(|d| (d.start, d.end));
        found
    }

    fn fillers(&self, text: &Text) -> Vec<Deletion> {
        let mut found = Vec::new();
        for start in 0..text.words.len() {
            let matching = |list: &[Vec<String>]| {
                list.iter().filter(|phrase| text.words[start..].starts_with(phrase)).map(Vec::len).max()
            };
            if let Some(length) = matching(&self.sure)
                && text.may_be_filler(start, start + length)
            {
                found.push(Deletion { start, end: start + length, sure: true });
            } else if let Some(length) = matching(&self.set_off)
                && text.set_off(start, start + length)
            {
                found.push(Deletion { start, end: start + length, sure: false });
            }
        }
        found
    }

    /// Phrases of one to four words said twice: the first goes. Ranges over `visible`.
    fn repetitions(&self, text: &Text, visible: &[usize]) -> Vec<(usize, usize, bool)> {
        let word = |at: usize| text.words[visible[at]].as_str();
        let mut found = Vec::new();
        for length in 1..=4 {
            for start in 0..(visible.len() + 1).saturating_sub(2 * length) {
                let middle = start + length;
                let same = (0..length).all(|k| word(start + k) == word(middle + k));
                // In scripts without spaces doubled characters are ordinary words (看看): only phrases count there.
                let doubled_character = length == 1 && text.units[visible[start]].is_unspaced();
                if !same || doubled_character || (start..middle).any(|at| self.is_number(word(at))) {
                    continue;
                }
                if (start..middle).any(|at| text.ends_sentence(visible[at])) {
                    continue;
                }
                let sure =
                    self.function_words.contains(&word(start)) && (length == 1 || !CONJUNCTIONS.contains(&word(start)));
                found.push((start, middle, sure));
            }
        }
        found
    }

    /// Whether `word` (folded) is a number: never taken for a repetition.
    pub fn is_number(&self, word: &str) -> bool {
        word.chars().any(char::is_numeric) || self.numbers.contains(&word)
    }
}

struct Text<'a> {
    units: &'a [Unit],
    /// As compared by the fidelity check, one a unit.
    words: Vec<String>,
}

impl Text<'_> {
    fn ends_sentence(&self, at: usize) -> bool {
        self.units[at].trail.chars().any(is_terminal)
    }

    /// Whether marks or the ends of the text set `start..end` off on both sides.
    fn set_off(&self, start: usize, end: usize) -> bool {
        let before = start == 0 || !self.units[start - 1].trail.is_empty();
        // At the very end a filler needs a mark before it; alone, it is the whole message.
        before && !self.units[end - 1].trail.is_empty() && !(start == 0 && end == self.units.len())
    }

    /// A filler word written as a name or an abbreviation (`ER`, `Um` inside a sentence) is not a filler; and a
    /// character that is a filler in Chinese or Japanese must stand at an edge, since it is part of words, too.
    fn may_be_filler(&self, start: usize, end: usize) -> bool {
        let first = &self.units[start];
        if first.is_unspaced() {
            let joined_before = start > 0 && first.gap == super::units::Gap::None;
            return !joined_before || !self.units[start - 1].trail.is_empty() || !self.units[end - 1].trail.is_empty();
        }
        let capitals = first.core.chars().filter(|c| c.is_uppercase()).count();
        let starts_sentence = start == 0 || self.units[start - 1].ends_sentence();
        capitals == 0 || (capitals == 1 && starts_sentence)
    }
}

/// Broken-off words before the word they begin: "th- the", "w w what". Ranges over `visible`.
fn stutters(text: &Text, visible: &[usize]) -> Vec<(usize, usize, bool)> {
    let mut found = Vec::new();
    for start in 0..visible.len().saturating_sub(1) {
        let fragment = text.words[visible[start]].as_str();
        let stem = fragment.trim_end_matches('-');
        if stem.is_empty() || !stem.chars().all(char::is_alphabetic) || text.ends_sentence(visible[start]) {
            continue;
        }
        let next = text.words[visible[start + 1]].as_str();
        let broken_off = stem != fragment && next.starts_with(stem);
        let unit = &text.units[visible[start]];
        let lone_consonant = stem.chars().count() == 1
            && !unit.is_unspaced()
            && unit.core.chars().all(char::is_lowercase)
            && !"aeiouyàèéêóô".contains(stem)
            && next.starts_with(stem)
            && next.chars().all(char::is_alphabetic);
        if broken_off || lone_consonant {
            found.push((start, start + 1, broken_off));
        }
    }
    found
}

struct Table {
    /// Never words of a message.
    sure: &'static [&'static str],
    /// Fillers only where marks set them off.
    set_off: &'static [&'static str],
    /// Words that nobody says twice on purpose.
    function_words: &'static [&'static str],
    /// Never taken for a repetition: "five five".
    numbers: &'static [&'static str],
}

/// A phrase that starts with one of these may be repeated on purpose: "and over and over".
const CONJUNCTIONS: &[&str] = &["and", "or", "und", "oder", "et", "ou", "y", "o", "e"];

#[rustfmt::skip]
fn table(lang: Lang) -> Table {
    match lang.code() {
        "en" => Table {
            sure: &["um", "umm", "uh", "uhh", "uhm", "erm", "er", "ehm"],
            set_off: &["like", "you know", "i mean", "well", "so", "sort of", "kind of", "basically", "ah", "oh", "hm",
                "hmm", "mm", "you see", "right", "okay", "ok"],
            function_words: &["the", "a", "an", "to", "of", "in", "on", "at", "for", "from", "with", "and", "or", "but",
                "i", "we", "he", "she", "they", "it", "my", "your", "his", "our", "their", "this", "if", "as", "by",
                "because", "was", "were", "i'm", "it's", "we're", "he's", "she's", "they're", "there's", "i'll"],
            numbers: &["zero", "oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
                "twenty", "double", "triple", "hundred"],
        },
        "de" => Table {
            sure: &["äh", "ähm", "öh", "öhm", "ehm", "hm", "mhm äh"],
            set_off: &["also", "naja", "na ja", "halt", "sozusagen", "irgendwie", "weißt du", "ich mein", "ich meine",
                "quasi", "genau", "ja", "so"],
            function_words: &["ich", "wir", "er", "es", "und", "oder", "aber", "in", "im", "zu", "zum", "zur", "mit",
                "von", "vom", "ein", "eine", "einen", "einem", "auf", "für", "weil", "wenn", "mein", "meine", "den"],
            numbers: &["null", "eins", "zwei", "zwo", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn",
                "elf", "zwölf"],
        },
        "fr" => Table {
            sure: &["euh", "euuh", "heu", "hum"],
            set_off: &["ben", "bah", "genre", "tu sais", "vous savez", "tu vois", "voilà", "quoi", "en fait", "enfin",
                "bon", "alors", "du coup", "hein"],
            function_words: &["je", "le", "la", "les", "de", "du", "des", "un", "une", "et", "ou", "mais", "à", "au",
                "dans", "pour", "avec", "sur", "il", "elle", "on", "j'ai", "c'est", "mon", "ma", "mes"],
            numbers: &["zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf", "dix"],
        },
        "es" => Table {
            sure: &["eh", "ehh", "em", "emm", "ehm", "mmm"],
            set_off: &["este", "o sea", "pues", "bueno", "es que", "sabes", "a ver", "digamos", "como", "entonces"],
            function_words: &["el", "la", "los", "las", "de", "del", "un", "una", "y", "o", "pero", "a", "al", "en",
                "con", "por", "para", "yo", "mi", "su", "es"],
            numbers: &["cero", "uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve", "diez"],
        },
        "pt" => Table {
            sure: &["hum", "ahn", "ãh", "hã", "ehm", "éé"],
            set_off: &["tipo", "né", "sabe", "quer dizer", "então", "bom", "assim", "pois", "olha", "é", "eh"],
            function_words: &["o", "a", "os", "as", "de", "do", "da", "um", "uma", "e", "ou", "mas", "em", "no", "na",
                "com", "por", "para", "eu", "meu", "minha"],
            numbers: &["zero", "um", "dois", "três", "quatro", "cinco", "seis", "meia", "sete", "oito", "nove", "dez"],
        },
        "zh" | "yue" => Table {
            sure: &["嗯", "呃", "嗯嗯呃"],
            set_off: &["那个", "这个", "就是", "就是说", "然后", "额", "啊", "那個", "這個", "就是說", "然後"],
            function_words: &["我", "我们", "你", "他", "的"],
            numbers: &["零", "一", "二", "三", "四", "五", "六", "七", "八", "九", "十", "两", "百", "千", "幺"],
        },
        "ja" => Table {
            sure: &["えーと", "えっと", "ええと", "あのー", "えー", "うーん", "うーんと", "そのー"],
            set_off: &["あの", "その", "まあ", "なんか", "まぁ", "ほら"],
            function_words: &[],
            numbers: &["一", "二", "三", "四", "五", "六", "七", "八", "九", "十"],
        },
        "it" => Table {
            sure: &["ehm", "eh", "uhm", "mmm"],
            set_off: &["cioè", "allora", "tipo", "insomma", "diciamo", "ecco", "praticamente"],
            function_words: &["il", "lo", "la", "i", "gli", "le", "di", "un", "una", "e", "ma", "a", "in", "con", "per", "io"],
            numbers: &["zero", "uno", "due", "tre", "quattro", "cinque", "sei", "sette", "otto", "nove", "dieci"],
        },
        "nl" => Table {
            sure: &["eh", "ehm", "uh", "uhm"],
            set_off: &["nou", "weet je", "zeg maar", "dus", "eigenlijk"],
            function_words: &["ik", "de", "het", "een", "en", "of", "maar", "in", "op", "van", "met", "voor", "we"],
            numbers: &["nul", "een", "twee", "drie", "vier", "vijf", "zes", "zeven", "acht", "negen", "tien"],
        },
        _ => Table { sure: &[], set_off: &[], function_words: &[], numbers: &[] },
    }
}

#[cfg(test)]
mod tests {
    use super::super::units::parse;
    use super::*;

    fn spans(text: &str, lang: &str) -> Vec<(String, bool)> {
        let units = parse(text);
        Fillers::new(lang.parse().unwrap(), &[])
            .deletions(&units)
            .iter()
            .map(|d| (units[d.start..d.end].iter().map(|u| u.core.as_str()).collect::<Vec<_>>().join(" "), d.sure))
            .collect()
    }

    fn sure(words: &[&str]) -> Vec<(String, bool)> {
        words.iter().map(|w| (w.to_string(), true)).collect()
    }

    #[test]
    fn fillers_stutters_and_repetitions_go() {
        assert_eq!(spans("um so the the th- this is uh fine", "en"), sure(&["um", "the", "th-", "uh"]));
        assert_eq!(spans("I think I think we can go", "en"), sure(&["I think"]));
        assert_eq!(spans("to the um to the house", "en"), sure(&["to the", "um"]));
        assert_eq!(spans("ich ich äh gehe", "de"), sure(&["ich", "äh"]));
        assert_eq!(spans("euh je je pense", "fr"), sure(&["euh", "je"]));
        assert_eq!(spans("嗯，我们走吧", "zh"), sure(&["嗯"]));
        assert_eq!(spans("えーと、行きます", "ja"), sure(&["え ー と"]));
    }

    #[test]
    fn what_may_be_meant_is_left_to_the_model() {
        let maybe = |w: &str| vec![(w.to_owned(), false)];
        assert_eq!(spans("I know that that is so", "en"), maybe("that"));
        assert_eq!(spans("a very very good day", "en"), maybe("very"));
        assert_eq!(spans("it was, you know, cold", "en"), maybe("you know"));
        assert_eq!(spans("nous nous voyons demain", "fr"), maybe("nous"));
    }

    #[test]
    fn what_is_meant_stays() {
        for (text, lang) in [
            ("I like pizza and you know him", "en"),
            ("call five five five oh one two two", "en"),
            ("take her to the ER now", "en"),
            ("No. No. Stop. Stop.", "en"),
            ("谢谢，请看看金额", "zh"),
            ("plan B be ready", "en"),
        ] {
            assert_eq!(spans(text, lang), [], "{text}");
        }
    }
}
