//! The spoken part of an answer: BestBox's models say it between `[SPEECH]` and `[/SPEECH]`, in front of or around the
//! part that is worth hearing. The tags are never shown, whatever pieces they come in; where there are none, the first
//! sentences are what is spoken.

use unicode_segmentation::UnicodeSegmentation;

const OPEN: &str = "[SPEECH]";
const CLOSE: &str = "[/SPEECH]";
/// Longest spoken part made by rule, characters: some ten seconds of speech.
const ENOUGH: usize = 160;

/// Feed it pieces, get visible text. Holds back at most a partial tag.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    held: String,
    /// What stands in tags.
    spoken: String,
    speaking: bool,
    /// A tag was there.
    tagged: bool,
    /// The next visible character begins a paragraph: it follows a closed tag.
    parted: bool,
    begun: bool,
    /// What is spoken next is another part.
    spoken_ended: bool,
}

impl Splitter {
    /// The part of `piece` (and of what was held back) that is certainly visible.
    pub fn push(&mut self, piece: &str) -> String {
        self.held.push_str(piece);
        let mut visible = String::new();
        loop {
            let found = [OPEN, CLOSE].into_iter().filter_map(|tag| Some((find(&self.held, tag)?, tag))).min();
            let end = found.map_or_else(|| self.held.len() - partial(&self.held), |(at, _)| at);
            let before: String = self.held.drain(..end).collect();
            self.show(&before, &mut visible);
            let Some((_, tag)) = found else { return visible };
            self.held.drain(..tag.len());
            self.tagged = true;
            self.parted |= self.speaking && tag == CLOSE;
            self.spoken_ended |= tag == CLOSE;
            self.speaking = tag == OPEN;
        }
    }

    /// What was held back and turned out not to be a tag, and what is to be spoken of `text`, the whole of the answer.
    pub fn finish(mut self) -> (String, Spoken) {
        let mut visible = String::new();
        let held = std::mem::take(&mut self.held);
        self.show(&held, &mut visible);
        let spoken = self.spoken.split_whitespace().collect::<Vec<_>>().join(" ");
        // An opening tag that is never closed makes all of the rest spoken: then the rule shortens it.
        let whole = self.tagged && !self.speaking && !spoken.is_empty();
        (visible, if whole { Spoken::Said(spoken) } else { Spoken::Rule })
    }

    fn show(&mut self, text: &str, visible: &mut String) {
        let mut text = text;
        if self.parted {
            text = text.trim_start();
            if text.is_empty() {
                return;
            }
            if self.begun {
                // Two spoken parts in a row are one text.
                visible.push_str(if self.speaking { " " } else { "\n\n" });
            }
            self.parted = false;
        }
        if self.speaking {
            if self.spoken_ended {
                self.spoken.push(' ');
                self.spoken_ended = false;
            }
            self.spoken.push_str(text);
        }
        self.begun |= !text.trim().is_empty();
        visible.push_str(text);
    }
}

/// What is to be spoken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    /// What the model set apart.
    Said(String),
    /// It set nothing apart: see [`by_rule`].
    Rule,
}

/// The first sentences of an answer, as long as they are short; without what cannot be spoken (code, tables, marks).
pub(super) fn by_rule(text: &str) -> String {
    let mut code = false;
    let prose: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| {
            code ^= line.starts_with("```");
            !code && !line.starts_with("```") && !line.starts_with('|')
        })
        .skip_while(|line| line.is_empty())
        .take_while(|line| !line.is_empty())
        .collect();
    let plain: String = prose.join(" ").chars().filter(|c| !"*`#".contains(*c)).collect();
    let plain = plain.trim();
    let mut spoken = String::new();
    for sentence in plain.unicode_sentences() {
        if !spoken.is_empty() && spoken.chars().count() + sentence.chars().count() > ENOUGH {
            break;
        }
        spoken.push_str(sentence);
    }
    spoken.trim().to_owned()
}

/// Where `tag` is, in any case. ASCII folding keeps byte positions.
fn find(text: &str, tag: &str) -> Option<usize> {
    text.to_ascii_uppercase().find(tag)
}

/// Length of the longest end of `text` that a tag starts with.
fn partial(text: &str) -> usize {
    let upper = text.to_ascii_uppercase();
    let end = |tag: &str| (1..tag.len()).rev().find(|length| upper.ends_with(&tag[..*length])).unwrap_or(0);
    end(OPEN).max(end(CLOSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, size: usize) -> (String, String) {
        let characters: Vec<char> = text.chars().collect();
        let mut splitter = Splitter::default();
        let mut out: String =
            characters.chunks(size).map(|piece| splitter.push(&piece.iter().collect::<String>())).collect();
        let (rest, spoken) = splitter.finish();
        out.push_str(&rest);
        let spoken = match spoken {
            Spoken::Said(words) => words,
            Spoken::Rule => by_rule(&out),
        };
        (out, spoken)
    }

    #[test]
    fn tags_go_whatever_the_pieces() {
        let cases = [
            ("[SPEECH]It is ten.[/SPEECH]\nIt is 10:00 in Oslo.", "It is ten.\n\nIt is 10:00 in Oslo.", "It is ten."),
            ("[speech]Ünlü 日本[/speech]", "Ünlü 日本", "Ünlü 日本"),
            ("[SPEECH]Never closed. And more.", "Never closed. And more.", "Never closed. And more."),
            ("No tags [SPE here.", "No tags [SPE here.", "No tags [SPE here."),
            ("Intro. [SPEECH]Said.[/SPEECH] Rest.", "Intro. Said.\n\nRest.", "Said."),
            ("[SPEECH]a[/SPEECH] [SPEECH]b[/SPEECH]", "a b", "a b"),
            ("[/SPEECH]Odd.", "Odd.", "Odd."),
        ];
        for (text, visible, spoken) in cases {
            for size in 1..=text.chars().count() {
                let (out, said) = split(text, size);
                assert_eq!(out.split_whitespace().collect::<Vec<_>>(), visible.split_whitespace().collect::<Vec<_>>());
                assert!(!out.to_uppercase().contains("SPEECH]"), "{out:?}");
                let said = said.split_whitespace().collect::<String>();
                assert_eq!(said, spoken.split_whitespace().collect::<String>(), "{text:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn without_tags_the_first_sentences_are_spoken() {
        assert_eq!(by_rule("**Paris.** It is in France.\n\nMore about it."), "Paris. It is in France.");
        let long = format!("Short one. And {}", "word ".repeat(60));
        assert_eq!(by_rule(&long), "Short one.");
        assert_eq!(by_rule("```rust\nfn main() {}\n```\nThat is it."), "That is it.");
        assert_eq!(by_rule(""), "");
    }
}
