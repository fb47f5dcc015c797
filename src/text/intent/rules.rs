//! What decides before the model: wake phrases and patterns of the route file. Microseconds, and no server.
//!
//! ```toml
//! [[rule]]
//! wake = ["hey bestbox", "ok bestbox"]   # at the beginning of what is said
//! route = "agent"
//! strip = true                # whoever answers does not get the phrase (a wake phrase's default)
//!
//! [[rule]]
//! regex = '^(note|memo)\b'    # anywhere in the first 4,096 bytes unless anchored
//! case_sensitive = false
//! route = "note"
//! children = false            # true: where the route has departments, the model is asked for the one
//! ```
//!
//! A wake phrase is compared word by word, without case and marks; a word may differ in one letter (of three letters
//! not the first, of two none), and where recognition has cut one word in two or joined two, that is the same.

use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use strsim::osa_distance;

/// Memory that one compiled pattern may take, bytes: larger ones are refused when the file is read.
const PATTERN_BYTES: usize = 1 << 20;

/// So much of what is said a pattern looks at, bytes: the time of a rule does not grow with a long dictation.
const PATTERN_REACH: usize = 4096;

/// `[[rule]]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleDef {
    name: Option<String>,
    regex: Option<String>,
    #[serde(default)]
    wake: Vec<String>,
    pub route: String,
    #[serde(default)]
    case_sensitive: bool,
    strip: Option<bool>,
    #[serde(default)]
    children: bool,
}

/// A rule, ready to be tried.
#[derive(Clone, Debug)]
pub struct Rule {
    name: String,
    what: What,
    path: Vec<String>,
    strip: bool,
    asks_children: bool,
}

#[derive(Clone, Debug)]
enum What {
    Pattern(Regex),
    /// Phrases of plain words.
    Wake(Vec<Vec<String>>),
}

/// What a rule made of an utterance.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The rule's name, or what it looks for.
    pub rule: String,
    /// The route it leads to.
    pub path: Vec<String>,
    /// What whoever answers gets.
    pub text: String,
    /// Nothing but a wake phrase was said.
    pub attention: bool,
    /// Whether the model is asked for the department.
    pub asks_children: bool,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        let what = match (&self.what, &other.what) {
            (What::Pattern(a), What::Pattern(b)) => a.as_str() == b.as_str(),
            (What::Wake(a), What::Wake(b)) => a == b,
            _ => false,
        };
        what && (&self.name, &self.path, self.strip) == (&other.name, &other.path, other.strip)
    }
}

/// The first of `rules` that fits `text`.
pub fn first_hit(rules: &[Rule], text: &str) -> Option<Hit> {
    rules.iter().find_map(|rule| rule.tried(text))
}

impl Rule {
    /// Compiles a rule that leads to `path`.
    pub(super) fn new(def: RuleDef, path: Vec<String>) -> Result<Self, String> {
        let what = match (&def.regex, def.wake.is_empty()) {
            (Some(regex), true) => {
                let mut builder = RegexBuilder::new(regex);
                builder.case_insensitive(!def.case_sensitive).size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES);
                let pattern = builder.build().map_err(|error| format!("the regex '{regex}' is not usable: {error}"))?;
                What::Pattern(pattern)
            }
            (None, false) => What::Wake(def.wake.iter().map(|phrase| phrase_words(phrase)).collect::<Result<_, _>>()?),
            _ => return Err("give it either a regex or wake phrases".to_owned()),
        };
        let strip = def.strip.unwrap_or(matches!(what, What::Wake(_)));
        let name = def.name.or(def.regex).unwrap_or_else(|| def.wake.join(", "));
        Ok(Rule { name, what, path, strip, asks_children: def.children })
    }

    fn tried(&self, text: &str) -> Option<Hit> {
        let (text_left, attention) = match &self.what {
            What::Pattern(pattern) => {
                let found = pattern.find(head(text))?;
                (format!("{}{}", &text[..found.start()], text[found.end()..].trim_start_matches(between)), false)
            }
            What::Wake(phrases) => {
                let left = phrases.iter().find_map(|phrase| after(phrase, text))?;
                let left = left.trim_start_matches(between);
                (left.to_owned(), !left.chars().any(char::is_alphanumeric))
            }
        };
        // Nothing is stripped where nothing would be left.
        let strip = self.strip && text_left.chars().any(char::is_alphanumeric);
        Some(Hit {
            rule: self.name.clone(),
            path: self.path.clone(),
            text: if strip { text_left.trim().to_owned() } else { text.to_owned() },
            attention,
            asks_children: self.asks_children,
        })
    }
}

fn phrase_words(phrase: &str) -> Result<Vec<String>, String> {
    let words: Vec<String> = words(phrase).map(|(word, _)| word).collect();
    if words.is_empty() { Err(format!("the wake phrase '{phrase}' has no letters")) } else { Ok(words) }
}

fn head(text: &str) -> &str {
    let end = (0..=PATTERN_REACH.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

/// Marks that stand between a phrase and what follows.
fn between(c: char) -> bool {
    c.is_whitespace() || ".,;:!?…-–—、。，！？：".contains(c)
}

/// What follows `phrase` at the beginning of `text`.
fn after<'a>(phrase: &[String], text: &'a str) -> Option<&'a str> {
    // Each word of the phrase may have been heard as two.
    let heard: Vec<(String, usize)> = words(head(text)).take(2 * phrase.len()).collect();
    let count = eaten(phrase, &heard)?;
    let (_, end) = heard.get(count.checked_sub(1)?)?;
    Some(&text[*end..])
}

/// How many of the heard words the phrase is.
fn eaten(phrase: &[String], heard: &[(String, usize)]) -> Option<usize> {
    let Some((first, rest)) = phrase.split_first() else { return Some(0) };
    let (word, _) = heard.first()?;
    if alike(word, first)
        && let Some(more) = eaten(rest, &heard[1..])
    {
        return Some(1 + more);
    }
    if let Some((second, _)) = heard.get(1)
        && alike(&format!("{word}{second}"), first)
        && let Some(more) = eaten(rest, &heard[2..])
    {
        return Some(2 + more);
    }
    let (second, rest) = rest.split_first()?;
    if alike(word, &format!("{first}{second}")) { eaten(rest, &heard[1..]).map(|more| 1 + more) } else { None }
}

/// The same word, or one letter apart as recognition has it. Short words have too many neighbours for that.
fn alike(heard: &str, wanted: &str) -> bool {
    match wanted.chars().count() {
        _ if heard == wanted => true,
        0..=2 => false,
        3 => heard.chars().next() == wanted.chars().next() && osa_distance(heard, wanted) <= 1,
        _ => osa_distance(heard, wanted) <= 1,
    }
}

/// Words without case and marks, each with its end in `text`. An apostrophe is part of a word and does not count.
fn words(text: &str) -> impl Iterator<Item = (String, usize)> {
    let inside = |c: char| c.is_alphanumeric() || c == '\'' || c == '’';
    text.split(move |c: char| !inside(c)).filter_map(move |word| {
        let plain: String = word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        // `word` is a part of `text`.
        let end = word.as_ptr() as usize - text.as_ptr() as usize + word.len();
        (!plain.is_empty()).then_some((plain, end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(text: &str) -> Rule {
        let def: RuleDef = toml::from_str(text).unwrap();
        let path = vec![def.route.clone()];
        Rule::new(def, path).unwrap()
    }

    fn wake() -> Rule {
        rule("wake = ['hey bestbox', 'ok bestbox']\nroute = 'agent'")
    }

    #[test]
    fn a_wake_phrase_is_found_however_it_was_recognised_and_removed() {
        for heard in [
            "Hey BestBox, what is on my calendar?",
            "hey bestbox what is on my calendar?",
            "Hey, Best Box. what is on my calendar?",
            "Hey best-box: what is on my calendar?",
            "HEY BESTBOX! what is on my calendar?",
            "Hay Bestbox, what is on my calendar?",
            "Hey Bestfox, what is on my calendar?",
            "Hey Best Bocks… what is on my calendar?".replace("Bocks", "Bo").as_str(),
            "Heybestbox, what is on my calendar?",
            "ok, Best Box, what is on my calendar?",
            "  \"Hey BestBox – what is on my calendar?",
        ] {
            let hit = first_hit(&[wake()], heard).unwrap_or_else(|| panic!("{heard}"));
            assert_eq!((hit.text.as_str(), hit.attention), ("what is on my calendar?", false), "{heard}");
            assert_eq!(hit.path, ["agent"]);
        }
    }

    #[test]
    fn what_only_resembles_it_or_stands_elsewhere_is_none() {
        for said in [
            "The best box is the blue one.",
            "They bestowed it on him.",
            "I said hey bestbox and it woke up",
            "Hey",
            "hey best",
            "Hey Bob, best boxes are in the cellar",
            "oh bestbox",
            "",
            "…",
        ] {
            assert_eq!(first_hit(&[wake()], said), None, "{said}");
        }
    }

    #[test]
    fn a_wake_phrase_alone_asks_for_attention() {
        let hit = first_hit(&[wake()], "Hey, Best Box!").unwrap();
        assert!(hit.attention && hit.text == "Hey, Best Box!", "{hit:?}");
    }

    #[test]
    fn patterns_know_no_case_unless_told_and_strip_only_when_told() {
        let memo = rule("regex = '^memo\\b'\nroute = 'note'");
        assert_eq!(first_hit(std::slice::from_ref(&memo), "Memo: call Ann").unwrap().text, "Memo: call Ann");
        assert_eq!(first_hit(&[memo], "A memo"), None);
        let strict = rule("regex = '^memo\\b'\nroute = 'note'\ncase_sensitive = true");
        assert_eq!(first_hit(&[strict], "Memo"), None);
        let strip = rule("regex = '^memo\\b'\nroute = 'note'\nstrip = true");
        assert_eq!(first_hit(&[strip], "Memo: call Ann").unwrap().text, "call Ann");
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = [rule("regex = 'zebra'\nroute = 'a'"), rule("regex = 'e'\nroute = 'b'\nname = 'e'"), wake()];
        let hit = first_hit(&rules, "hey bestbox").unwrap();
        assert_eq!((hit.rule.as_str(), hit.path[0].as_str(), hit.attention), ("e", "b", false));
    }

    #[test]
    fn a_pattern_that_would_take_too_much_memory_is_refused() {
        let def: RuleDef = toml::from_str("regex = '(a{1000}){1000}'\nroute = 'a'").unwrap();
        assert!(Rule::new(def, vec![]).unwrap_err().contains("not usable"));
    }

    #[test]
    fn rules_take_microseconds_however_long_the_text() {
        let rules = [wake(), rule("regex = '(x+x+)+y'\nroute = 'a'"), rule("regex = 'zzz$'\nroute = 'b'")];
        let text = "x".repeat(5_000_000);
        let started = std::time::Instant::now();
        assert_eq!(first_hit(&rules, &text), None);
        assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    }

    proptest! {
        #[test]
        fn no_text_breaks_a_rule(text in "\\PC{0,80}") {
            let rules = [wake(), rule("regex = '\\w+'\nroute = 'a'\nstrip = true")];
            let _ = first_hit(&rules, &text);
            let _ = first_hit(&rules, &format!("Hey BestBox {text}"));
        }
    }
}
