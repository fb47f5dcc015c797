//! The check that a cleaned text has the speaker's words. Applied to every model output, also to those a grammar made,
//! and written apart from the code that builds grammars.
//!
//! Two texts have the same words when their [`words`] are equal, where
//! 1. the text is brought to NFC and cut at white space and control characters;
//! 2. each piece is cut around every character of a script without spaces (a combining mark stays with its letter);
//! 3. punctuation ([`is_punctuation`], without combining mark) comes off both ends, except a point directly before a
//!    letter or digit (`.5`, `.NET`) and a closing bracket whose partner stands inside (`f(x)`);
//!    a piece of nothing but punctuation and hyphens is no word;
//! 4. letters are compared in lower case (`ς` as `σ`); everything else exactly.

use super::disfluency::Deletion;
use super::script::{attaches, is_punctuation, is_separator, is_unspaced, opening_of};
use unicode_normalization::UnicodeNormalization;

/// The words of a text as they are compared.
pub fn words(text: &str) -> Vec<String> {
    let text: String = text.nfc().collect();
    let mut words = Vec::new();
    for chunk in text.split(is_separator) {
        let mut rest = chunk;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(first_piece(rest));
            words.extend(bare(piece).map(folded));
            rest = after;
        }
    }
    words
}

/// Whether `output` says what `input` says, but for `allowed` deletions (ranges over the words of `input`).
/// Gives, for each word of `output`, which word of `input` it is.
pub fn align(input: &str, output: &str, allowed: &[Deletion]) -> Option<Vec<usize>> {
    align_words(&words(input), &words(output), allowed)
}

/// As [`align`], for input whose words are known.
pub fn align_words(input: &[String], output: &[String], allowed: &[Deletion]) -> Option<Vec<usize>> {
    if allowed.is_empty() {
        return (input == output).then(|| (0..input.len()).collect());
    }
    // States (input position, output position) that can be reached, breadth first by input position: taking a word
    // where both agree, or leaping over a deletion. At most one visit a state.
    let mut came_from: Vec<Vec<Option<Step>>> = vec![vec![None; output.len() + 1]; input.len() + 1];
    came_from[0][0] = Some(Step::Start);
    for at in 0..=input.len() {
        for out in 0..=output.len() {
            if came_from[at][out].is_none() {
                continue;
            }
            if at < input.len() && out < output.len() && input[at] == output[out] {
                came_from[at + 1][out + 1].get_or_insert(Step::Took);
            }
            for deletion in allowed.iter().filter(|d| d.start == at && d.end > at && d.end <= input.len()) {
                came_from[deletion.end][out].get_or_insert(Step::Leapt(at));
            }
        }
    }
    let (mut at, mut out) = (input.len(), output.len());
    let mut kept = Vec::with_capacity(out);
    loop {
        match came_from[at][out]? {
            Step::Start => break,
            Step::Took => {
                (at, out) = (at - 1, out - 1);
                kept.push(at);
            }
            Step::Leapt(from) => at = from,
        }
    }
    kept.reverse();
    Some(kept)
}

#[derive(Clone, Copy)]
enum Step {
    Start,
    Took,
    Leapt(usize),
}

/// Bytes of the first piece: one character of a script without spaces and what attaches to it, or all before the next.
fn first_piece(text: &str) -> usize {
    let mut chars = text.char_indices().peekable();
    let alone = chars.next().is_some_and(|(_, c)| is_unspaced(c));
    for (at, c) in chars {
        if !attaches(c) && (alone || is_unspaced(c)) {
            return at;
        }
    }
    text.len()
}

/// The piece without the punctuation around it; `None` when nothing is left.
fn bare(piece: &str) -> Option<&str> {
    let chars: Vec<(usize, char)> = piece.char_indices().collect();
    let marked = |at: usize| chars.get(at + 1).is_some_and(|(_, next)| attaches(*next));
    if (0..chars.len()).all(|at| (is_punctuation(chars[at].1) || chars[at].1 == '-') && !marked(at)) {
        return None;
    }
    let points_ahead = |at: usize| {
        chars[at].1 == '.'
            && chars.get(at + 1).is_some_and(|(_, next)| next.is_alphanumeric())
            && (at == 0 || chars[at - 1].1 != '.')
    };
    let from = (0..chars.len()).find(|at| !is_punctuation(chars[*at].1) || marked(*at) || points_ahead(*at))?;
    let mut to = chars.len();
    while to > from + 1 {
        let (at, last) = chars[to - 1];
        let inside = &piece[chars[from].0..at];
        let partnered =
            opening_of(last).is_some_and(|open| inside.matches(open).count() > inside.matches(last).count());
        if !is_punctuation(last) || marked(to - 1) || partnered {
            break;
        }
        to -= 1;
    }
    let end = chars.get(to).map_or(piece.len(), |(at, _)| *at);
    Some(&piece[chars[from].0..end])
}

fn folded(word: &str) -> String {
    word.chars().flat_map(char::to_lowercase).map(|c| if c == 'ς' { 'σ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) -> bool {
        align(a, b, &[]).is_some()
    }

    #[test]
    fn punctuation_case_and_paragraphs_may_differ() {
        assert!(same("hello world how are you", "Hello, world.\n\nHow are you?"));
        assert!(same("你好世界", "你好，世界。"));
        assert!(same("qué tal", "¿Qué tal?"));
        assert!(same("the U.S", "the U.S."));
        assert!(same("ΟΔΟΣ", "οδος") && same("e\u{301}tude", "étude"));
    }

    #[test]
    fn any_other_difference_is_seen() {
        for (a, b) in [
            ("do it", "do not it"),
            ("i can", "i can't"),
            ("a b", "b a"),
            ("minus -5", "minus 5"),
            ("3.5", "35"),
            ("5%", "5"),
            ("hello", "hel\u{200b}lo"),
            ("pay", "p\u{430}y"),
            ("f(x)", "f(x"),
            ("e-mail", "e mail"),
            ("it's", "its"),
            ("三点五", "三五"),
            ("well", ""),
            ("", "Sure!"),
            ("a", "a \u{200b}"),
            ("x", "*x*"),
        ] {
            assert!(!same(a, b), "{a:?} {b:?}");
        }
    }

    #[test]
    fn deletions_are_only_those_allowed() {
        let allowed = [Deletion { start: 0, end: 1, sure: true }, Deletion { start: 2, end: 3, sure: true }];
        assert_eq!(align("um i i think", "I think.", &allowed), Some(vec![1, 3]));
        assert_eq!(align("um i i think", "um I I think.", &allowed), Some(vec![0, 1, 2, 3]));
        assert_eq!(align("um i i think", "I i.", &allowed), None);
        assert_eq!(align("um i i think", "think", &allowed), None);
    }
}
