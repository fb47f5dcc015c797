//! The user's replacement table.

use super::super::fidelity::words;
use super::super::units::{Unit, parse};
use super::{is_phrase, put};

/// Replaces every entry of `table` (what is said, what is written) in `units`: whole words, in any case, the longest
/// match first, then the earlier entry. What was written is not replaced again. Entries without a letter or digit on
/// the left are ignored; an empty right side takes the words out.
pub fn replace(units: &[Unit], table: &[(String, String)]) -> Vec<Unit> {
    let mut entries: Vec<(Vec<String>, &str)> = table
        .iter()
        .map(|(said, written)| (words(said), written.as_str()))
        .filter(|(said, _)| !said.is_empty())
        .collect();
    entries.sort_by_key(|(said, _)| std::cmp::Reverse(said.len()));
    let spoken: Vec<String> = units.iter().map(|unit| words(&unit.core).concat()).collect();
    let mut out = Vec::with_capacity(units.len());
    let mut at = 0;
    while at < units.len() {
        let hit =
            entries.iter().find(|(said, _)| spoken[at..].starts_with(said) && is_phrase(&units[at..at + said.len()]));
        let Some((said, written)) = hit else {
            out.push(units[at].clone());
            at += 1;
            continue;
        };
        let old = &units[at..at + said.len()];
        let new = parse(written);
        if new.is_empty() && !written.trim().is_empty() {
            // Only marks ("smiley" -> ":-)"): they stand as they are, as a word of their own.
            put(&mut out, old, vec![Unit { core: written.trim().to_owned(), ..Unit::default() }]);
        } else {
            put(&mut out, old, new);
        }
        at += said.len();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::super::units::join;
    use super::*;

    #[test]
    fn whole_words_longest_first_any_case_any_script() {
        let table: Vec<(String, String)> = [
            ("my mail", "me@x.org"),
            ("my mail address", "you@y.org"),
            ("btw", "by the way"),
            ("um", ""),
            ("微信", "WeChat"),
            ("c plus plus", "C++"),
        ]
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .into();
        let done = |text: &str| join(&replace(&parse(text), &table));
        assert_eq!(done("BTW, my mail address: send to My Mail."), "by the way, you@y.org: send to me@x.org.");
        assert_eq!(done("um my mailbox is um empty"), "my mailbox is empty");
        assert_eq!(done("用微信。"), "用WeChat。");
        assert_eq!(done("learn C plus plus!"), "learn C++!");
        assert_eq!(done("It is my. Mail it"), "It is my. Mail it");
    }
}
