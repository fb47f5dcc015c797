//! Text that may be shown before the speaker has finished, and need not be taken back.
//!
//! LocalAgreement-2 (Macháček, Dabre and Bojar 2023, "Turning Whisper into Real-Time Transcription System"; Liu et al.
//! 2020): the utterance is recognised again and again while it grows, and a word counts as known once two successive
//! hypotheses have it at the same place. Here the last word of a hypothesis never counts: it may be half a word, and
//! whether it ends the sentence is not yet known. Words are compared without case and punctuation.
//!
//! When the utterance has ended its final text takes over what was shown word for word where the words are the same
//! (so that the deltas add up to the transcript exactly); where they are not, the final text stands.

use unicode_segmentation::UnicodeSegmentation;

/// The text of one item, piece by piece: an utterance that is being spoken after those that are finished.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Final text.
    text: String,
    /// What was put between `text` and `shown`.
    lead: String,
    /// What was shown of the utterance being spoken.
    shown: Vec<Unit>,
    /// What the last hypothesis had after that.
    before: Vec<Unit>,
}

impl Told {
    /// A look at the utterance being spoken. Gives back what may be shown now; `joint` goes between utterances.
    pub fn guess(&mut self, hypothesis: &str, joint: &str) -> Option<String> {
        let mut heard = units(hypothesis);
        let (after, edits) = align(&self.shown, &heard);
        // A hypothesis that has lost what was shown says nothing of what follows.
        if 3 * edits > self.shown.len() {
            return None;
        }
        let rest = heard.split_off(after);
        let agreed = rest.iter().zip(&self.before).take_while(|(now, then)| now.key == then.key).count();
        let known = agreed.min(rest.len().saturating_sub(1));
        self.before = rest;
        if known == 0 {
            return None;
        }
        let now: Vec<Unit> = self.before.drain(..known).collect();
        let mut delta = join(&now);
        if self.shown.is_empty() && !self.text.is_empty() {
            joint.clone_into(&mut self.lead);
            delta.insert_str(0, joint);
        }
        self.shown.extend(now);
        Some(delta)
    }

    /// The final text of the utterance. Gives back what is to be shown besides what was.
    pub fn settle(&mut self, text: &str, joint: &str) -> Option<String> {
        let mut heard = units(text);
        let (shown, mut lead) = (std::mem::take(&mut self.shown), std::mem::take(&mut self.lead));
        self.before.clear();
        if shown.is_empty() && !self.text.is_empty() {
            joint.clone_into(&mut lead);
        }
        let (after, edits) = align(&shown, &heard);
        let rest = join(&heard.split_off(after));
        let whole = if edits == 0 { join(&shown) + &rest } else { text.trim().to_owned() };
        if whole.is_empty() {
            return None;
        }
        self.text.push_str(&lead);
        self.text.push_str(&whole);
        let between = match (shown.is_empty(), after) {
            (true, _) => lead.as_str(),
            // All of the words are others: at least not glued to those that were shown.
            (false, 0) => " ",
            (false, _) => "",
        };
        (!rest.is_empty()).then(|| between.to_owned() + &rest)
    }

    /// The final text of all that is finished.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A word (a character, where there are no spaces) with the space before it and the punctuation that touches it.
#[derive(Clone, Debug)]
struct Unit {
    text: String,
    /// Lower case, letters and digits alone.
    key: String,
}

fn units(text: &str) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    // Word bounds of UAX 29: Han and the like come apart by character, `don't` stays whole.
    for piece in text.trim().split_word_bounds() {
        let key: String = piece.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        let space = piece.chars().all(char::is_whitespace);
        match units.last_mut() {
            Some(unit) if unit.text.trim().is_empty() || !space && (key.is_empty() || unit.key.is_empty()) => {
                unit.text.push_str(piece);
                unit.key.push_str(&key);
            }
            _ => units.push(Unit { text: piece.to_owned(), key }),
        }
    }
    units
}

fn join(units: &[Unit]) -> String {
    units.iter().map(|unit| unit.text.as_str()).collect()
}

/// How many units of `heard` are `shown` said again, and how many edits that takes (Levenshtein, over words): the
/// beginning of `heard` with the fewest edits, of equals the one nearest in length.
fn align(shown: &[Unit], heard: &[Unit]) -> (usize, usize) {
    // Only the last row is kept: edits from all of `shown` so far to the first j units of `heard`.
    let mut row: Vec<usize> = (0..=heard.len()).collect();
    for (i, old) in shown.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, new) in heard.iter().enumerate() {
            let same = diagonal + usize::from(old.key != new.key);
            diagonal = row[j + 1];
            row[j + 1] = same.min(diagonal + 1).min(row[j] + 1);
        }
    }
    let nearest = |(j, edits): &(usize, usize)| (*edits, j.abs_diff(shown.len()));
    row.into_iter().enumerate().min_by_key(nearest).unwrap_or((0, shown.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(told: &mut Told, hypotheses: &[&str], last: &str) -> Vec<String> {
        let mut deltas: Vec<String> = hypotheses.iter().filter_map(|text| told.guess(text, " ")).collect();
        deltas.extend(told.settle(last, " "));
        deltas
    }

    #[test]
    fn only_what_two_hypotheses_agree_on_is_shown_and_it_adds_up() {
        let mut told = Told::default();
        let looks = ["The roof", "The roofers finish", "The roofers finished the south", "The roofers finished the"];
        let deltas = texts(&mut told, &looks, "The roofers finished the south side today, and it rained.");
        assert_eq!(deltas, ["The", " roofers", " finished", " the south side today, and it rained."]);
        assert_eq!(told.text(), deltas.concat());
    }

    #[test]
    fn punctuation_that_was_shown_stays_so_that_the_deltas_add_up() {
        let mut told = Told::default();
        let looks = ["Dear mister Carter thank you", "Dear Mister Carter. Thank you for"];
        let deltas = texts(&mut told, &looks, "Dear Mister Carter, thank you for your letter.");
        assert_eq!(deltas, ["Dear Mister Carter. Thank you", " for your letter."]);
        assert_eq!(told.text(), "Dear Mister Carter. Thank you for your letter.");
    }

    #[test]
    fn the_final_text_stands_where_its_words_are_others() {
        let mut told = Told::default();
        let looks = ["he was not a ill man", "he was not a ill man at"];
        let deltas = texts(&mut told, &looks, "He was not an ill man at all.");
        assert_eq!(deltas, ["he was not a ill man", " at all."], "the rest is shown all the same");
        assert_eq!(told.text(), "He was not an ill man at all.");
    }

    #[test]
    fn an_inserted_word_does_not_shift_what_follows() {
        let mut told = Told::default();
        let looks = ["one two three four five", "one two three four five six", "one two and three four five six seven"];
        let deltas = texts(&mut told, &looks, "one two three four five six seven");
        assert_eq!(deltas, ["one two three four five", " six", " seven"]);
        assert_eq!(told.text(), deltas.concat());
    }

    #[test]
    fn utterances_of_one_item_are_joined_once() {
        let mut told = Told::default();
        let mut deltas = texts(&mut told, &[], "First.");
        deltas.extend(texts(&mut told, &["Second one", "Second one is"], "Second one is longer."));
        deltas.extend(texts(&mut told, &["Noise again", "Noise again and"], ""));
        assert_eq!(deltas, ["First.", " Second one", " is longer.", " Noise again"]);
        assert_eq!(told.text(), "First. Second one is longer.");
        deltas.extend(texts(&mut told, &[], "Third."));
        assert_eq!(
            (deltas.last().map(String::as_str), told.text()),
            (Some(" Third."), "First. Second one is longer. Third.")
        );
    }

    #[test]
    fn text_without_spaces_goes_by_characters() {
        let mut told = Told::default();
        let mut deltas: Vec<String> =
            ["你好，明天", "你好，明天早上"].iter().filter_map(|text| told.guess(text, "")).collect();
        assert_eq!(deltas, ["你好，明天"]);
        deltas.extend(told.settle("你好，明天早上我和你一起去吃早餐。", ""));
        assert_eq!(told.text(), "你好，明天早上我和你一起去吃早餐。");
        assert_eq!(deltas.concat(), told.text());
    }

    proptest! {
        #[test]
        fn deltas_add_up_whenever_no_shown_word_changes(
            words in prop::collection::vec("[a-z']{1,6}[,.]?", 0..20), looks in prop::collection::vec(0_usize..20, 0..8)
        ) {
            let mut told = Told::default();
            let text = words.join(" ");
            let mut deltas = String::new();
            let mut cuts = looks;
            cuts.sort_unstable();
            for cut in cuts {
                deltas += &told.guess(&words[..cut.min(words.len())].join(" "), " ").unwrap_or_default();
                prop_assert!(text.starts_with(&deltas));
            }
            deltas += &told.settle(&text, " ").unwrap_or_default();
            prop_assert_eq!(&deltas, &text);
            prop_assert_eq!(told.text(), text);
        }

        #[test]
        fn nothing_is_lost_in_units(text in ".{0,60}") {
            prop_assert_eq!(join(&units(&text)), text.trim());
        }
    }
}
